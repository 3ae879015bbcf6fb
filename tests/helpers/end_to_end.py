"""Images to kept tars through the command line: generated, embedded, scored, killed half-way, resumed, filtered.

``python -m helpers.end_to_end --images 2000`` does so on a cluster of two workers, and prints images per second.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from dask_aesthetic.images import EncoderSpec
from dask_aesthetic.images.encoder import Encoder
from helpers import chaos
from helpers.tar_files import content, member, write

MODEL = "ViT-S-32-alt"  # Of those that open_clip knows a small one.
COMMAND = [sys.executable, "-W", "error", "-m", "dask_aesthetic"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}  # On which the bits of an encoder depend.
SHARDS = 8
SIZES = [(640, 480), (480, 640), (512, 512), (400, 300), (300, 225), (800, 533), (256, 256)]
KINDS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
BROKEN = (
    lambda data: data[: len(data) // 2],
    lambda data: data[:0],
    lambda data: data[:3] + np.random.default_rng(0).bytes(len(data)),
    lambda data: b"<!DOCTYPE html><html><body>404 Not Found</body></html>"[: len(data)],
)


def image(chance: np.random.Generator) -> Image.Image:
    """Colors at every scale, the finer the fainter, as in photographs."""
    width, height = SIZES[chance.integers(len(SIZES))]
    total = np.zeros((height, width, 3), np.float32)
    for scale in range(1, 8):
        coarse = chance.integers(0, 256, (2**scale, 2**scale, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)) / 2**scale
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def write_tars(folder: Path, count: int, seed: int = 0) -> dict[str, str]:
    """Tars of images, captions and JSON; the keys of those that are broken, which is every hundredth."""
    chance = np.random.default_rng(seed)
    broken = {}
    for shard in range(SHARDS):
        members = []
        for at in range(shard * count // SHARDS, (shard + 1) * count // SHARDS):
            ending = chance.choice(list(KINDS), p=[0.8, 0.1, 0.1])
            file = BytesIO()
            image(chance).save(file, KINDS[ending])
            data = file.getvalue()
            if at % 100 == 50:
                data = BROKEN[at // 100 % len(BROKEN)](data)
                broken[f"{at:06d}"] = "undecodable"
            members += [
                member(f"{at:06d}.{ending}", data),
                member(f"{at:06d}.txt", f"image {at}".encode()),
                member(f"{at:06d}.json", json.dumps({"at": at}).encode()),
            ]
        write(folder / f"{shard:05d}.tar", *members)
    return broken


def write_models(folder: Path) -> list[str]:
    """A small random encoder and a predictor for it, as options of the command."""
    import open_clip  # Pytest looks into this module where there is none, too.

    folder.mkdir()
    torch.manual_seed(0)
    model = open_clip.create_model(MODEL)
    torch.save(model.state_dict(), folder / "encoder.pt")
    weight = torch.randn(1, model.visual.output_dim)
    torch.save({"weight": weight, "bias": torch.tensor([5.0])}, folder / "head.pt")
    where = ["--model", MODEL, "--pretrained", str(folder / "encoder.pt"), "--predictor", str(folder / "head.pt")]
    return ["--embed", *where, "--threshold", "5"]


def finished(arguments: list[str]) -> str:
    """Standard output of the command in a process of its own."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=3600, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(
    folder: Path, count: int, executor: list[str], finished: Callable[[list[str]], str] = finished
) -> dict[str, object]:
    """Summary of an undisturbed run, after the whole pipeline has run and its invariants are checked."""
    broken, models = write_tars(folder / "in", count), write_models(folder / "models")
    source = folder / "in"

    def score(output: str) -> list[str]:
        return ["score", str(source), str(folder / output), *models, *executor, "--json", "--quiet"]

    print("$ dask-aesthetic", shlex.join(score("scored")), flush=True)
    result = json.loads(finished(score("calm")))
    assert result["rows"] == count == result["scored"] + sum(result["failed"].values())
    assert result["failed"] == ({"undecodable": len(broken)} if broken else {})
    failed = {row["key"]: row["status"] for row in pq.read_table(folder / "calm/_failed.parquet").to_pylist()}
    assert failed == broken

    done = kill_half_way(score("scored"), folder / "scored")
    resumed = json.loads(finished(score("scored")))
    assert resumed["shards_done_before"] == len(done) > 0
    after = chaos.committed(folder / "scored")
    assert {shard: after[shard] for shard in done} == done, "a committed shard was written again"
    assert chaos.content(folder / "scored") == chaos.content(folder / "calm"), "not as of the calm run"
    print(f"killed after {len(done)} of {SHARDS} shards and resumed: byte for byte as of a calm run", flush=True)

    check_files(folder, score("files-scored"), finished)
    rows = pq.read_table(folder / "scored").to_pandas()
    threshold = float(rows["aesthetic_score"].median())
    where = [str(folder / "kept"), "--tars", str(source), "--threshold", repr(threshold), "--quiet"]
    finished(["filter", str(folder / "scored"), *where])
    check_kept(source, folder / "kept", set(rows.loc[rows["aesthetic_score"] >= np.float32(threshold), "key"]))
    return result


def check_files(folder: Path, arguments: list[str], finished: Callable[[list[str]], str]) -> None:
    """Check that the same images in files of their own get the same scores."""
    for path in (folder / "in").glob("*.tar"):
        (folder / "files" / path.stem).mkdir(parents=True)
        for name, data in content(path).items():
            (folder / "files" / path.stem / name).write_bytes(data)
    result = json.loads(finished(["score", str(folder / "files"), *arguments[2:]]))
    got, expected = (pq.read_table(folder / name).to_pandas() for name in ("files-scored", "scored"))
    assert result["rows"] == len(expected)
    assert [Path(path).stem for path in got["image_path"]] == expected["key"].tolist()
    assert got["status"].tolist() == expected["status"].tolist()
    difference = np.abs(got["aesthetic_score"] - expected["aesthetic_score"]).max()
    assert difference < 1e-5
    print(f"the same images as {len(got):,} files: statuses equal, scores within {difference:.1g}", flush=True)


def kill_half_way(arguments: list[str], output: Path) -> dict[str, tuple[int, int]]:
    """Kill the command and all its workers when half of the shards are done; those that are."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=ENVIRONMENT,
    )
    while len(chaos.committed(output)) < SHARDS // 2 and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, process.stderr.read().decode()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return chaos.committed(output)


def check_kept(source: Path, kept: Path, keys: set[str]) -> None:
    """Every member of the samples to keep is there as it was, and no other."""
    whole = {path.name: _digests(path) for path in source.glob("*.tar")}
    got = {path.name: _digests(path) for path in kept.glob("*.tar")}
    assert got == {
        shard: {name: digest for name, digest in members.items() if name.partition(".")[0] in keys}
        for shard, members in whole.items()
    }
    count = sum(len(members) for members in got.values())
    assert count == 3 * len(keys) > 0
    print(f"kept {len(keys):,} samples: {count:,} members with the sha256 of the source's", flush=True)


def stages(folder: Path, most: int = 400) -> dict[str, float]:
    """Images per second of each single stage, over the same images, on one core."""
    encoder = Encoder(EncoderSpec.of(MODEL, folder / "models/encoder.pt", "float32"))
    files = [
        data
        for path in sorted((folder / "in").glob("*.tar"))
        for name, data in content(path).items()
        if name.partition(".")[2] in KINDS
    ][:most]
    seconds, count, size = np.zeros(3), 0, encoder.batch_size(None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        side = encoder.resizer.side
        encoder.encode(torch.zeros(size, side, side, 3, dtype=torch.uint8), size)  # To warm up.
        for start in range(0, len(files), size):
            begin = time.perf_counter()
            images = [image for image in map(_decoded, files[start : start + size]) if image is not None]
            decoded = time.perf_counter()
            pixels = torch.from_numpy(np.stack([np.asarray(encoder.resizer.transform(image)) for image in images]))
            prepared = time.perf_counter()
            encoder.encode(pixels, size)
            seconds += np.diff([begin, decoded, prepared, time.perf_counter()])
            count += len(images)
    finally:
        torch.set_num_threads(threads)
    return dict(zip(("decode", "preprocess", "encode"), count / seconds, strict=True))


def _decoded(data: bytes) -> Image.Image | None:
    try:
        image = Image.open(BytesIO(data))
        image.load()
    except OSError:
        return None
    return image


def _digests(path: Path) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in content(path).items()}


@click.command()
@click.option("--images", type=click.IntRange(min=100), default=2000, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="New folder for what is made; else a temporary one.")
def main(images: int, folder: Path | None) -> None:
    """From images to kept tars on two workers."""
    with TemporaryDirectory(prefix="end-to-end-") as temporary:
        place = folder or Path(temporary)
        result = run(place, images, ["--workers", "2"])
        for stage, rate in stages(place).items():
            print(f"{stage:>10}  {rate:8,.0f} images/s on one core")
        seconds = result["seconds"]
        rate = images / seconds
        print(f"{'whole':>10}  {rate:8,.0f} images/s, two workers, {seconds:.1f} s with their start")
    print("all checks passed")


if __name__ == "__main__":
    main()
