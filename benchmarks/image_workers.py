"""How busy a job over images keeps the GPUs of a machine, with stand-ins for them.

    python benchmarks/image_workers.py [--gpus 8] [--rate 8] [--shards 48] [--images 32] [--commit 0] [--json FILE]

Tars of small JPEGs are scored by a worker process per GPU. Each GPU is a lock of the machine that one process holds at
a time, for as long as a batch takes at a rate of images per second; it computes nothing, so that a few cores are enough
to feed all. `--commit` adds seconds to the commit of each file, as a slow file system would.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from distributed import Client, LocalCluster
from image_feed import WIDTH, small_model
from machine import machine
from PIL import Image

from dask_aesthetic import cluster, score_dataset
from dask_aesthetic.images import encoder
from dask_aesthetic.images.own_gpu import own_gpu
from dask_aesthetic.jobs.store import Store


def write_tars(folder: Path, shards: int, images: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(3)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for at in range(images):
                file = BytesIO()
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((224, 224)).save(file, "JPEG")
                member = tarfile.TarInfo(f"{shard:05d}{at:04d}.jpg")
                member.size = file.tell()
                file.seek(0)
                tar.addfile(member, file)


def stand_in(folder: Path, config: Path, gpus: int, rate: float, commit: float, alike: bool) -> None:
    """In a worker: make it see stand-ins for GPUs. With `alike` all workers take the first, as torch does by itself."""
    open_clip.add_model_config(config)
    torch.set_num_threads(1)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    torch.cuda.device_count = lambda: len(seen)
    torch.cuda.current_device = lambda: 0
    torch.cuda.get_device_properties = lambda at: SimpleNamespace(uuid=f"{folder}-{seen[at]}")
    gpu = folder / f"gpu-{seen[0 if alike else own_gpu().index]}"

    def encode(_: encoder.Encoder, pixels: torch.Tensor, batch: int) -> torch.Tensor:
        with gpu.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            time.sleep(batch / rate)
            file.write(f"{batch / rate}\n")
        return torch.ones(len(pixels), WIDTH)

    encoder.Encoder.encode = encode
    place = Store.place

    def slow_place(self: Store, *arguments: Any) -> Any:
        time.sleep(commit)
        return place(self, *arguments)

    Store.place = slow_place


@contextmanager
def plain(gpus: int) -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=gpus, threads_per_worker=1, dashboard_address=":0") as workers:
        yield workers


@contextmanager
def one_each(gpus: int, **options: Any) -> Iterator[LocalCluster]:
    torch.version.cuda = "stand-in"
    cluster.visible_devices = lambda: [str(number) for number in range(gpus)]
    with cluster.local_cluster(embed=True, dashboard_address=":0", **options) as workers:
        yield workers


CASES: dict[str, tuple[Callable[..., Any], dict[str, Any], bool]] = {
    "plain workers, all on the first GPU": (plain, {}, True),
    "plain workers": (plain, {}, False),
    "local_cluster(embed=True, threads_per_worker=1)": (one_each, {"threads_per_worker": 1}, False),
    "local_cluster(embed=True)": (one_each, {}, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--rate", type=float, default=8.0, help="Images per second of a GPU.")
    parser.add_argument("--shards", type=int, default=48)
    parser.add_argument("--images", type=int, default=32, help="Of a shard.")
    parser.add_argument("--commit", type=float, default=0.0, help="Seconds that each file takes beside the usual.")
    parser.add_argument("--case", action="append", help="The start of a name; default: all.")
    parser.add_argument("--json", type=Path, help="Add the figures to this file.")
    options = parser.parse_args()
    print(machine(), f"{len(os.sched_getaffinity(0))} cores of this process", sep="; ", flush=True)
    results: dict[str, Any] = {}
    with TemporaryDirectory() as name, small_model() as model:
        folder = Path(name)
        write_tars(folder / "in", options.shards, options.images)
        head = folder / "head.pt"
        torch.save({"weight": torch.ones(1, WIDTH), "bias": torch.zeros(1)}, head)
        for at, (case, (start, arguments, alike)) in enumerate(CASES.items()):
            if options.case and not case.startswith(tuple(options.case)):
                continue
            devices = folder / str(at)
            devices.mkdir()
            with start(options.gpus, **arguments) as workers, Client(workers, set_as_default=False) as client:
                config = model["pretrained"].parent
                client.run(stand_in, devices, config, options.gpus, options.rate, options.commit, alike)
                # The first shards load the model.
                score = partial(score_dataset, client=client, embed=True, predictor=head, threshold=1.0, **model)
                score(folder / "in/000[0-1]?.tar", devices / "warm")
                for file in devices.glob("gpu-*"):
                    file.write_text("")
                begin = time.perf_counter()
                score(folder / "in", devices / "out")
                wall = time.perf_counter() - begin
            busy = [sum(map(float, file.read_text().split())) for file in sorted(devices.glob("gpu-*"))]
            share = sum(busy) / (options.gpus * wall)
            results[case] = {"gpus_at_work": len(busy), "share_at_work": share, "seconds": wall}
            per_second = options.shards * options.images / wall
            print(
                f"  {case}: {len(busy)} of {options.gpus} GPUs, at work {share:.1%} of the time; "
                f"{per_second:,.0f} images/s",
                flush=True,
            )
    if options.json:
        before = json.loads(options.json.read_text()) if options.json.exists() else {}
        options.json.write_text(json.dumps({**before, "workers": {"machine": machine(), **results}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
