"""Images to embeddings: decoding and preprocessing per core, and utilization of the model.

    python benchmarks/images.py preprocess [--rounds 7] [--json FILE]
    python benchmarks/images.py busy       [--large]    [--json FILE]

preprocess: JPEGs of 640 x 480 with a natural spectrum, about 160 KB each, in memory, to the 224 x 224 of a ViT-L-14.
Round by round in turn, on one thread: Pillow's decoder alone (the lower bound), ours up to the bytes for the model,
open_clip's own transform, torchvision's v2 transforms from Pillow and from tensors (with its own decoder, if it has
one). Then ours on the threads of the pool. Only ours and open_clip's give CLIP's pixels exactly.

busy: `embed` of bytes in a frame, with models of three sizes and random weights: the share of the wall time in which
the model runs, and the time of the same steps one after the other. Model and decoders share the cores here;
image_feed.py measures a model on a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch
from jpegs import SIZE, jpeg
from machine import machine
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode, v2

from dask_aesthetic.images import EncoderSpec, encoder
from dask_aesthetic.images.decode import prepare_pillow
from dask_aesthetic.images.decoder import Decoder
from dask_aesthetic.images.pool import decoding, thread_count

IMAGES = 96
TEXT = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 2, "layers": 1}
MODELS = {  # Layers, width, patch, images.
    "small": (4, 256, 32, 384),
    "ViT-B-32": (12, 768, 32, 96),
    "ViT-L-14": (24, 1024, 14, 8),
}


def checkpoint(folder: Path, name: str) -> dict[str, object]:
    """Arguments of `embed` for a model of a size, with random weights."""
    layers, width, patch, _ = MODELS[name]
    config = {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "layers": layers, "width": width, "patch_size": patch},
        "text_cfg": TEXT,
    }
    (folder / f"bench-{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.save(open_clip.create_model(f"bench-{name}").state_dict(), folder / f"{name}.pt")
    return {"model": f"bench-{name}", "pretrained": folder / f"{name}.pt"}


def preprocessed(data: bytes, model: encoder.Encoder) -> np.ndarray:
    """Pixels of the model's size."""
    slots = np.empty((1, model.resizer.height, model.resizer.width, 3), np.uint8)
    assert Decoder(model.resizer, False, {})([data], slots, [0]) == [0]
    return slots[0]


def ways(data: list[bytes], model: encoder.Encoder) -> dict[str, Callable[[], object]]:
    """Functions that preprocess all images from bytes, one after the other."""
    by_open_clip = open_clip.image_transform(model.resizer.side, is_train=False)
    normalize = v2.Normalize(by_open_clip.transforms[-1].mean, by_open_clip.transforms[-1].std)
    steps = [v2.Resize(224, InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(224)]
    floats = [v2.ToDtype(torch.float32, scale=True), normalize]
    by_pillow, by_tensors = v2.Compose([*steps, v2.PILToTensor(), *floats]), v2.Compose([*steps, *floats])

    def opened(one: bytes) -> Image.Image:
        return Image.open(BytesIO(one))

    def decoded(one: bytes) -> torch.Tensor:
        return decode_jpeg(torch.frombuffer(bytearray(one), dtype=torch.uint8), ImageReadMode.RGB)

    each: dict[str, Callable[[bytes], object]] = {
        "Pillow's decoder alone": lambda one: opened(one).load(),
        "ours, to the bytes for the model": lambda one: preprocessed(one, model),
        "open_clip's transform": lambda one: by_open_clip(opened(one)),
        "torchvision v2, from Pillow": lambda one: by_pillow(opened(one).convert("RGB")),
    }
    try:
        decoded(data[0])
    except (RuntimeError, OSError) as error:
        print(f"torchvision has no decoder of its own here: {str(error).splitlines()[0]}")
    else:
        each["torchvision v2, its own decoder, tensors"] = lambda one: by_tensors(decoded(one))
    return {name: lambda way=way: [way(one) for one in data] for name, way in each.items()}


def preprocess(rounds: int) -> dict:
    data = [jpeg(seed) for seed in range(IMAGES)]
    size = sum(map(len, data)) / IMAGES
    print(f"{IMAGES} JPEGs of {SIZE[0]} x {SIZE[1]}, {size / 1024:.0f} KiB each; {rounds} rounds: median (min..max)")
    torch.set_num_threads(1)
    prepare_pillow()
    with TemporaryDirectory() as folder, decoding() as threads:
        model = encoder.load_encoder(EncoderSpec.of(**checkpoint(Path(folder), "small"), precision="float32"))
        by_name = ways(data, model)
        pool = f"ours, on {thread_count()} threads"
        by_name[pool] = lambda: list(threads.map(lambda one: preprocessed(one, model), data))
        for way in by_name.values():
            way()
        seconds: dict[str, list[float]] = {name: [] for name in by_name}
        for _ in range(rounds):
            for name, way in by_name.items():
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
    first = next(iter(seconds.values()))
    rates, ratios = {}, {}
    for name, values in seconds.items():
        rates[name] = [IMAGES / value for value in values]
        ratios[name] = [a / b for a, b in zip(values, first, strict=True)]
        print(
            f"  {name:<42} {median(rates[name]):6.0f} images/s ({min(rates[name]):.0f}..{max(rates[name]):.0f})  "
            f"over Pillow alone {median(ratios[name]):.2f} ({min(ratios[name]):.2f}..{max(ratios[name]):.2f})"
        )
    return {"images": IMAGES, "bytes_each": size, "images_per_second": rates, "over_pillow_alone": ratios}


def busy(large: bool) -> dict:
    results = {}
    encode = encoder.Encoder.encode
    for name, (*_, count) in MODELS.items():
        if name == "ViT-L-14" and not large:
            continue
        some = [jpeg(seed) for seed in range(min(count, IMAGES))]
        frame = pd.DataFrame({"image": [some[at % len(some)] for at in range(count)]})
        with TemporaryDirectory() as folder:
            arguments = checkpoint(Path(folder), name)
            model = encoder.load_encoder(EncoderSpec.of(**arguments, precision="auto"))
            frame.head(2).aesthetic.embed(**arguments)
            start = time.perf_counter()
            raw = [preprocessed(one, model) for one in frame["image"]]
            prepared = time.perf_counter() - start
            start = time.perf_counter()
            for at in range(0, count, encoder.CPU_BATCH):
                model.encode(torch.from_numpy(np.stack(raw[at : at + encoder.CPU_BATCH])))
            alone = time.perf_counter() - start
            inside = 0.0

            def timed(self: encoder.Encoder, *batch: Any) -> torch.Tensor:
                nonlocal inside
                begun = time.perf_counter()
                made = encode(self, *batch)
                inside += time.perf_counter() - begun
                return made

            encoder.Encoder.encode = timed
            start = time.perf_counter()
            out = frame.aesthetic.embed(**arguments)
            wall = time.perf_counter() - start
            encoder.Encoder.encode = encode
        assert (out["image_status"] == "ok").all()
        results[name] = {
            "images": count,
            "prepare_on_one_thread": count / prepared,
            "encode_alone": count / alone,
            "embed": count / wall,
            "share_in_the_model": inside / wall,
        }
        print(
            f"  {name:<9} {count:>4} images: {count / wall:6.1f} images/s, running {inside / wall:.0%} of the "
            f"time; one after the other {count / (prepared + alone):.1f} (prepare {count / prepared:.0f} on "
            f"one thread, encode {count / alone:.1f})"
        )
    return {"here": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["preprocess", "busy"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--large", action="store_true", help="The size of ViT-L-14 too (half a minute).")
    parser.add_argument("--json", type=Path, help="Add the figures to this file.")
    options = parser.parse_args()
    print(machine())
    results = preprocess(options.rounds) if options.part == "preprocess" else busy(options.large)
    if options.json:
        before = json.loads(options.json.read_text()) if options.json.exists() else {}
        options.json.write_text(
            json.dumps({**before, options.part: {"machine": machine(), **results}}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
