"""How busy `embed` keeps a GPU: JPEGs of 640 x 480 in memory, decoded on all cores.

    python benchmarks/image_feed.py stand-in [--images N] [--rate 1937] [--json FILE]
    python benchmarks/image_feed.py gil      [--images N] [--json FILE]
    python benchmarks/image_feed.py gpu      [--images N] [--model NAME] [--json FILE]

stand-in: without a GPU. The model computes nothing: it takes as long as a GPU of a rate would, which works while the
process goes on, and no CPU. Its share of time at work, once at the given rate and once at a rate that leaves the cores
some room, beside the images per second that the cores decode when the model takes no time.

gil: the time for which an image holds the GIL in the process of the model, by py-spy, on one thread and on all; of a
frame, and of a job over a tar.

gpu: with a GPU (with a CPU, to try it out). The model alone on a batch that is there, decoding alone, and both by
`embed`; the time of the model's work on a batch and the time between two batches, as the GPU sees them; and whether an
image's embedding is the same bytes elsewhere in a batch, and by one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from itertools import count as counted
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch
from jpegs import jpeg
from machine import machine

from dask_aesthetic import score_dataset
from dask_aesthetic.images import EncoderSpec, encoder, pool

LARGE, WIDTH, DISTINCT = "ViT-L-14-quickgelu", 64, 32
MODEL = {
    "embed_dim": WIDTH,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 1, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 2, "layers": 1},
}
CORE_BATCH = encoder.GPU_BATCH // 16  # Images of a batch for each core, as on a GPU with 16 cores.
IN_FLIGHT = 2  # Batches that a GPU is given ahead.


def frame_of(images: int) -> pd.DataFrame:
    with ThreadPoolExecutor() as threads:
        some = list(threads.map(jpeg, range(min(images, DISTINCT))))
    return pd.DataFrame({"image": [some[at % len(some)] for at in range(images)]})


@contextmanager
def small_model() -> Iterator[dict[str, Any]]:
    """Arguments of `embed` for a model that a CPU loads at once."""
    with TemporaryDirectory() as folder:
        Path(folder, "bench-feed.json").write_text(json.dumps(MODEL))
        open_clip.add_model_config(folder)
        torch.save(open_clip.create_model("bench-feed").state_dict(), Path(folder, "weights.pt"))
        yield {"model": "bench-feed", "pretrained": Path(folder, "weights.pt")}


class StandIn:
    """In the place of `Encoder.encode`: a GPU that takes a batch's time for each batch, and nothing of the CPU."""

    def __init__(self, rate: float) -> None:
        self.rate, self.ends, self.busy = rate, 0.0, 0.0

    def __call__(self, pixels: torch.Tensor, batch: int) -> torch.Tensor:
        takes = batch / self.rate
        self.ends = max(self.ends, time.perf_counter()) + takes
        self.busy += takes
        time.sleep(max(self.ends - (IN_FLIGHT - 1) * takes - time.perf_counter(), 0))
        return torch.ones(len(pixels), WIDTH)

    def finish(self) -> None:
        """Wait for the last batch."""
        time.sleep(max(self.ends - time.perf_counter(), 0))


@contextmanager
def standing_in(rate: float) -> Iterator[StandIn]:
    stand_in, encode = StandIn(rate), encoder.Encoder.encode
    encoder.Encoder.encode = lambda _, pixels, batch: stand_in(pixels, batch)
    try:
        yield stand_in
    finally:
        encoder.Encoder.encode = encode


def run_stand_in(frame: pd.DataFrame, arguments: dict[str, Any], rate: float) -> tuple[float, float]:
    """Images per second, and the share of time at work."""
    with standing_in(rate) as stand_in:
        start = time.perf_counter()
        frame.aesthetic.embed(**arguments)
        stand_in.finish()
        wall = time.perf_counter() - start
    return len(frame) / wall, stand_in.busy / wall


def stand_in(images: int, rate: float, rounds: int = 5) -> dict[str, Any]:
    frame = frame_of(images)
    encoder.CPU_BATCH = CORE_BATCH * pool.thread_count()
    results: dict[str, Any] = {"images": images, "rounds": rounds, "batch": encoder.CPU_BATCH}
    with small_model() as arguments:
        frame.head(300).aesthetic.embed(**arguments)

        def measured(name: str, rate: float) -> float:
            runs = [run_stand_in(frame, arguments, rate) for _ in range(rounds)]
            (per_second, share), worst = (median(values) for values in zip(*runs, strict=True)), min(runs)[0]
            results[name] = {"rate": rate, "images_per_second": per_second, "share_at_work": share}
            print(
                f"  {name}: {per_second:,.0f} images/s (slowest round {worst:,.0f}); the model is at work "
                f"{share:.1%} of the time",
                flush=True,
            )
            return per_second

        cores = measured("a model that takes no time", 1e9)
        measured(f"a model of {rate:,.0f} images/s", rate)
        measured(f"a model of {0.75 * cores:,.0f} images/s, three quarters of what the cores decode", 0.75 * cores)
    return results


GIL = """
import sys, tempfile, time
from pathlib import Path
import torch
import image_feed as bench
from dask_aesthetic.images import encoder, pool
what, (images, threads, seconds) = sys.argv[1], map(int, sys.argv[2:])
torch.set_num_threads(1)
pool.thread_count = lambda: threads
encoder.CPU_BATCH = encoder.GPU_BATCH
frame = bench.frame_of(images)
with bench.small_model() as arguments, tempfile.TemporaryDirectory() as folder, bench.standing_in(1e9):
    run = bench.embed_frame(frame, arguments) if what == "frame" else bench.score_tar(frame, arguments, Path(folder))
    run()
    start = time.perf_counter()
    run()
    print(time.perf_counter() - start, flush=True)
    input()
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        run()
    print(time.perf_counter() - start, flush=True)
    input()
"""


def embed_frame(frame: pd.DataFrame, arguments: dict[str, Any]) -> Callable[[], object]:
    return lambda: frame.aesthetic.embed(**arguments)


def score_tar(frame: pd.DataFrame, arguments: dict[str, Any], folder: Path) -> Callable[[], object]:
    """A job over a tar of a frame's images."""
    (folder / "in").mkdir()
    with tarfile.open(folder / "in/0.tar", "w") as tar:
        for at, data in enumerate(frame["image"]):
            member = tarfile.TarInfo(f"{at:06d}.jpg")
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    torch.save({"weight": torch.ones(1, WIDTH), "bias": torch.zeros(1)}, folder / "head.pt")
    numbers = counted()
    return lambda: score_dataset(
        folder / "in", folder / f"out{next(numbers)}", embed=True, predictor=folder / "head.pt", threads=1, **arguments
    )


def gil(images: int) -> dict[str, Any]:
    from suites.gil import RATE, sampled

    results: dict[str, Any] = {}
    for what in ("frame", "job over a tar"):
        for threads in dict.fromkeys((1, pool.thread_count())):
            with TemporaryDirectory() as folder:
                command = [sys.executable, "-c", GIL, what, str(images), str(threads), "6"]
                wall, samples, seconds = sampled(command, Path(folder), cwd=Path(__file__).parent)
            share = samples / (RATE * seconds)
            held = share * wall / images
            results[f"{what}, {threads} threads"] = {"gil_ms": 1e3 * held, "images_per_second": images / wall}
            print(
                f"  {what}, {threads} threads: an image holds the GIL for {1e3 * held:.3f} ms, which is {share:.0%} of "
                f"the time; {images / wall:,.0f} images/s",
                flush=True,
            )
    return results


def gpu(images: int, name: str) -> dict[str, Any]:
    results: dict[str, Any] = {}

    def say(what: str, value: Any, text: str) -> None:
        results[what] = value
        print(f"  [{time.perf_counter() - begun:5.1f} s] {what}: {text}", flush=True)

    begun = time.perf_counter()
    frame = frame_of(images)
    # Random weights, whichever tag they stand for.
    encoder._weights = lambda _: ("", {})
    tag = "openai" if name == LARGE else open_clip.list_pretrained_tags_by_model(name)[0]
    arguments = {"model": name, "pretrained": tag}
    model = encoder.load_encoder(EncoderSpec.of(name, tag, "auto"))
    batch, side = model.batch_size(None), model.resizer.side
    on_gpu = model.device.type == "cuda"
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    from dask_aesthetic.images.jpeg import get_simplejpeg

    say(
        "made ready",
        True,
        f"{name} in {model._dtype} on {model.device}, batches of {batch}, {pool.thread_count()} decoding threads; "
        f"compiled resize: {model.resizer.is_compiled}, simplejpeg: {get_simplejpeg() is not None}",
    )

    def per_second(count: int, run: Callable[[], object]) -> float:
        wait()
        start = time.perf_counter()
        run()
        wait()
        return count / (time.perf_counter() - start)

    pixels = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8).to(model.device)
    inputs = model.tensor(pixels).to(model._dtype)
    turns = max(images // batch // 2, 1)

    def alone() -> None:
        with torch.inference_mode():
            for _ in range(turns):
                model._visual(inputs)

    def encoded() -> None:
        for _ in range(turns):
            model.encode(pixels, batch)

    alone()
    rates = [per_second(turns * batch, alone) for _ in range(2)]
    say("model alone", max(rates), f"{max(rates):,.1f} images/s, on a batch that is there")
    with timed(model) as marks:
        rate = per_second(turns * batch, encoded)
    say(
        "encode alone",
        {"images_per_second": rate, **marks},
        f"{rate:,.1f} images/s, from bytes that are there; {listed(marks)}",
    )

    some = frame.head(min(images, 3072))
    threads = pool.thread_count
    for count in dict.fromkeys((threads(), max(threads() // 2, 1), 1)):
        pool.thread_count = lambda count=count: count
        part = some if count > 1 else some.head(256)
        with standing_in(1e9):
            rate = max(per_second(len(part), lambda part=part: _decode_only(part, model)) for _ in range(2))
        say(f"decode alone, {count} threads", rate, f"{rate:,.0f} images/s")
    pool.thread_count = threads

    frame.head(2 * batch).aesthetic.embed(**arguments)
    best = 0.0
    for turn in range(3):
        with timed(model) as marks:
            cpu = time.process_time()
            rate = per_second(images, lambda: frame.aesthetic.embed(**arguments))
            cpu = time.process_time() - cpu
        best = max(best, rate)
        say(
            f"embed, round {turn + 1}",
            {"images_per_second": rate, **marks},
            f"{rate:,.1f} images/s, {rate / results['model alone']:.3f} of the model alone; "
            f"{1e3 * cpu / images:.2f} ms of CPU an image; {listed(marks)}",
        )
    say("embed / model alone", best / results["model alone"], f"{best / results['model alone']:.3f}")

    def embeddings(part: pd.DataFrame) -> np.ndarray:
        return np.array(part.aesthetic.embed(**arguments)["image_embedding"].tolist(), np.float32)

    part = frame.head(min(images, batch + batch // 2))
    whole = embeddings(part)
    same = np.array_equal(embeddings(part[::-1])[::-1], whole)
    say("the same bytes elsewhere in a batch", same, str(same))
    pool.thread_count = lambda: 1
    same = np.array_equal(embeddings(part), whole)
    pool.thread_count = threads
    say("the same bytes by one thread", same, str(same))
    return results


def listed(marks: dict[str, float]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value:.1f}" for key, value in marks.items())


def _decode_only(frame: pd.DataFrame, model: encoder.Encoder) -> None:
    """All of `embed` up to the pixels, in a CPU's memory."""
    from dask_aesthetic.images.decoder import Decoder
    from dask_aesthetic.images.feed import decode_ahead

    shape = (model.batch_size(None), model.resizer.height, model.resizer.width, 3)
    codes: list[int] = []
    decode = Decoder(model.resizer, False, {})
    batches = decode_ahead(iter(frame["image"]), decode, shape, torch.device("cpu"), codes)
    assert sum(len(rows) for _, rows in batches) == len(frame)
    assert not any(codes)


@contextmanager
def timed(model: encoder.Encoder) -> Iterator[dict[str, float]]:
    """Milliseconds per batch: on the GPU, between batches on the GPU, and of the thread that queues the work."""
    found: dict[str, float] = {}
    encode = encoder.Encoder.encode
    marks: list[tuple[Any, Any]] = []
    queued: list[float] = []
    on_gpu = model.device.type == "cuda"

    def marked(self: encoder.Encoder, *given: Any) -> torch.Tensor:
        start = time.perf_counter()
        if on_gpu:
            marks.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
            marks[-1][0].record()
        made = encode(self, *given)
        if on_gpu:
            marks[-1][1].record()
        queued.append(time.perf_counter() - start)
        return made

    encoder.Encoder.encode = marked
    try:
        yield found
    finally:
        encoder.Encoder.encode = encode
    found["ms_to_queue_a_batch"] = 1e3 * median(queued)
    if on_gpu:
        torch.cuda.synchronize()
        found["ms_in_the_model"] = median(first.elapsed_time(last) for first, last in marks)
        gaps = [last.elapsed_time(first) for (_, last), (first, _) in pairwise(marks)]
        found["ms_between_batches"] = median(gaps) if gaps else 0.0
        found["most_ms_between_batches"] = max(gaps, default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["stand-in", "gil", "gpu"])
    parser.add_argument("--images", type=int)
    parser.add_argument(
        "--rate", type=float, default=1937.0, help="Images per second of the model that is stood in for."
    )
    parser.add_argument("--model", default=LARGE, help=f"open_clip's name, for gpu; default: {LARGE}.")
    parser.add_argument("--json", type=Path, help="Add the figures to this file.")
    options = parser.parse_args()
    print(machine(), f"{len(os.sched_getaffinity(0))} cores of this process", sep="; ", flush=True)
    if options.part == "stand-in":
        results = stand_in(options.images or 2048, options.rate)
    elif options.part == "gil":
        results = gil(options.images or 512)
    else:
        results = gpu(options.images or (8192 if torch.cuda.is_available() else 16), options.model)
    if options.json:
        before = json.loads(options.json.read_text()) if options.json.exists() else {}
        options.json.write_text(
            json.dumps({**before, options.part: {"machine": machine(), **results}}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
