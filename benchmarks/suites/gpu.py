"""One GPU: arithmetic versus copying, a cuDF column versus NeMo Curator 0.x, Parquet files and images to scores.

Cases with missing requirements are left out and reported. Environment variables: CURATOR_0, the wheel of nemo-curator
0.9.0; CHECKPOINTS, a folder with the published head, `sac+logos+ava1-l14-linearMSE.pth`. DRY_RUN=1 runs the cases that
need only torch on a CPU, with few rows; its times mean nothing.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory

import data
import numpy as np
import pyarrow as pa
import torch
from harness import Case, Way
from torch import nn

import dask_aesthetic
from dask_aesthetic.kernels import gpu

DRY = bool(os.environ.get("DRY_RUN"))
DEVICE = torch.device("cpu" if DRY else "cuda")
ROWS, LAYERED, COLUMN = (2_000, 2_000, 2_000) if DRY else (2_000_000, 1 << 18, 1_000_000)
FILES, FILE_ROWS = 8, 250_000
IMAGES = 1024
MODEL = "ViT-L-14-quickgelu"


def cases() -> Iterator[Case]:
    if not DRY and not torch.cuda.is_available():
        sys.exit("expected a CUDA device, got none; DRY_RUN=1 goes through without one")
    yield Case("arithmetic on the device", _arithmetic, rounds=15)
    if DRY:
        print("left out: several weights: it needs a GPU", flush=True)
    else:
        for dtype in (torch.float32, torch.float16):
            yield Case(f"several weights, {str(dtype)[6:]}", partial(_weights, dtype), rounds=9)
    yield Case("to the device", _transfer, rounds=9)
    for names, case in (
        (("cudf",), Case("a cuDF column", _column, rounds=15)),
        (("dask_cudf",), Case("Parquet files to scores, dask-cuDF", _parquet, rounds=9)),
        (("dask_cudf", "dask_cuda"), Case("Parquet files to scores, LocalCUDACluster", _cluster, rounds=5)),
        (("open_clip",), Case(f"images to embeddings, {MODEL} in bfloat16", _images, rounds=3)),
    ):
        missing = [name for name in names if find_spec(name) is None]
        if missing or (DRY and "open_clip" not in names):
            print(f"left out: {case.name}: it needs {', '.join(missing) or 'a GPU'}", flush=True)
        else:
            yield case


def _timed(run: Callable[[], object]) -> Callable[[], float]:
    """Time of a run on the device, in seconds."""

    def timed() -> float | None:
        if DRY:
            return run()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1e3

    return timed


def _finished(run: Callable[[], object]) -> Callable[[], None]:
    """A run that waits for the work it started on the device."""

    def finished() -> None:
        run()
        if not DRY:
            torch.cuda.synchronize()

    return finished


@contextmanager
def _arithmetic() -> Iterator[list[Way]]:
    x = torch.randn(ROWS, data.WIDTH, device=DEVICE)
    target = torch.empty_like(x)
    predictor = dask_aesthetic.load_predictor()
    weight = torch.tensor(predictor.weight, dtype=torch.float32, device=DEVICE)
    layered, part = _layered(), x[:LAYERED]

    def network() -> None:
        with torch.inference_mode():
            layered(nn.functional.normalize(part, dim=1))

    runs = {
        "copy, read and written": lambda: target.copy_(x),
        "predictor.score": lambda: predictor.score(x),
        "torch.mv and vector_norm, two passes": lambda: (torch.mv(x, weight), torch.linalg.vector_norm(x, dim=1)),
    }
    for name, dots_and_squares in _kernels().items():
        runs[f"1 weight, {name}"] = partial(dots_and_squares, x, weight[None])
    yield [Way(name, _timed(run), ROWS) for name, run in runs.items()] + [
        Way("layered network, float32", _timed(network), LAYERED)
    ]


def _kernels() -> dict[str, Callable[..., object]]:
    """The function of each kernel that could run here, by what compiles it."""
    if DRY:
        return {}
    modules = {"Triton": "triton", "CuPy": "cupy"}
    return {
        name: import_module(f"dask_aesthetic.kernels.{gpu.COMPILERS[name]}").dots_and_squares
        for name, module in modules.items()
        if find_spec(module) is not None
    }


@contextmanager
def _weights(dtype: torch.dtype) -> Iterator[list[Way]]:
    x = torch.randn(ROWS, data.WIDTH, device=DEVICE).to(dtype)
    target, weights = torch.empty_like(x), torch.randn(16, data.WIDTH, device=DEVICE)
    ways = [Way("copy, read and written", _timed(lambda: target.copy_(x)), ROWS)]
    for (name, dots_and_squares), k in product(_kernels().items(), (0, 1, 2, 4, 8, 16)):
        ways.append(Way(f"{k} weights, {name}", _timed(partial(dots_and_squares, x, weights[:k])), ROWS))
    yield ways


def _layered() -> nn.Module:
    """A network of the published head's shape."""
    widths = (data.WIDTH, 1024, 128, 64, 16, 1)
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths))).to(DEVICE).eval()


@contextmanager
def _transfer() -> Iterator[list[Way]]:
    rows = min(ROWS, 500_000)
    host = torch.from_numpy(data.vectors(rows))
    pinned = host if DRY else host.pin_memory()
    predictor, there = dask_aesthetic.load_predictor(), host.to(DEVICE)
    runs = {
        "score on the device": lambda: predictor.score(there),
        "host to device, pinned": lambda: pinned.to(DEVICE),
        "host to device": lambda: host.to(DEVICE),
    }
    yield [Way(name, _timed(run), rows) for name, run in runs.items()]


@contextmanager
def _column() -> Iterator[list[Way]]:
    import cudf

    vectors = np.tile(_units(10_000), (COLUMN // 10_000, 1))
    frame = cudf.DataFrame({"image_embedding": cudf.Series.from_arrow(data.lists(vectors, pa.list_(pa.float32())))})
    leaves = frame["image_embedding"].list.leaves.values
    ways = [
        Way("frame.aesthetic.score()", _finished(frame.aesthetic.score), COLUMN),
        Way("copy of its floats", _finished(leaves.copy), COLUMN),
    ]
    if {"CURATOR_0", "CHECKPOINTS"} <= os.environ.keys():
        from peers.curator_0 import classifier

        head = Path(os.environ["CHECKPOINTS"], "sac+logos+ava1-l14-linearMSE.pth")
        theirs = classifier(Path(os.environ["CURATOR_0"]), head)
        few = frame.iloc[:10_000].copy(deep=False)
        difference = abs(
            theirs(few.copy(deep=False))["aesthetic_score"].to_pandas()
            - few.aesthetic.score()["aesthetic_score"].to_pandas()
        )
        print(f"NeMo Curator 0.9.0's scores differ from ours by at most {difference.max():.1e}", flush=True)
        assert difference.max() < 1e-3  # Its products may be TF32, and its vectors are normalized in float32.
        ways.append(
            Way("NeMo Curator 0.9.0's partition function", _finished(lambda: theirs(frame.copy(deep=False))), COLUMN)
        )
    else:
        print("left out: NeMo Curator 0.x: it needs CURATOR_0 and CHECKPOINTS", flush=True)
    yield ways


def _units(rows: int) -> np.ndarray:
    vectors = data.vectors(rows)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _graphs(folder: Path, **compute: object) -> list[Way]:
    import dask
    import dask_cudf

    files = f"{folder}/*.parquet"

    def read() -> object:
        ddf = dask_cudf.read_parquet(files, columns=["image_embedding"], blocksize=None)
        return ddf.map_partitions(len).compute(**compute)

    def score() -> object:
        return dask_cudf.read_parquet(files, blocksize=None).aesthetic.score()["aesthetic_score"].compute(**compute)

    def scored() -> object:
        with dask.config.set({"dataframe.backend": "cudf"}):
            return dask_aesthetic.read_and_score(files, rows_per_partition=None)["aesthetic_score"].compute(**compute)

    runs = {"read the column": read, "read and score": score, "read_and_score": scored}
    return [Way(name, _finished(run), FILES * FILE_ROWS) for name, run in runs.items()]


@contextmanager
def _parquet() -> Iterator[list[Way]]:
    yield _graphs(data.embeddings(FILES, FILE_ROWS), scheduler="synchronous")


@contextmanager
def _cluster() -> Iterator[list[Way]]:
    from dask_aesthetic.cluster import local_cluster

    gc.collect()
    torch.cuda.empty_cache()  # Free this process's cache for the worker's memory pool.
    with local_cluster("gpu", rmm_pool_size=0.5) as cluster, cluster.get_client():
        yield _graphs(data.embeddings(FILES, FILE_ROWS))


@contextmanager
def _images() -> Iterator[list[Way]]:
    import open_clip
    import pandas as pd
    from jpegs import jpeg

    from dask_aesthetic.images import EncoderSpec, encoder

    count = 2 if DRY else IMAGES
    with TemporaryDirectory() as folder:
        weights = Path(folder, "random.pt")
        torch.save(open_clip.create_model(MODEL).state_dict(), weights)
        arguments = {"model": MODEL, "pretrained": weights, "precision": "float32" if DRY else "bfloat16"}
        some = [jpeg(seed) for seed in range(min(count, 64))]
        frame = pd.DataFrame({"image": [some[at % len(some)] for at in range(count)]})
        model = encoder.load_encoder(EncoderSpec.of(**arguments))
        batch = min(count, encoder.CPU_BATCH if DRY else encoder.GPU_BATCH)
        pixels = torch.randint(0, 256, (batch, 224, 224, 3), dtype=torch.uint8)
        ready = model.tensor(pixels).to(model._dtype)

        def bare() -> None:
            with torch.inference_mode():
                for _ in range(count // batch):
                    model._visual(ready)

        yield [
            Way("the model alone, on tensors that are ready", _finished(bare), count // batch * batch),
            Way("embed, from JPEGs of 640 x 480", _finished(partial(frame.aesthetic.embed, **arguments)), count),
        ]
