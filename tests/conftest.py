"""Frames by name, real embeddings, and a guard against computing early."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import fsspec
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster

from dask_aesthetic.io import pages
from helpers import columns
from helpers.interpreter import Interpreter

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def no_figure_stays() -> Iterator[None]:
    """Close the figures of a test: the next one would draw into them."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real checkpoints and embeddings that stand beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, the real checkpoints and embeddings, which is not part of the project")
    return SHARED


@pytest.fixture(scope="session")
def verite(shared) -> np.ndarray:
    """509 real OpenAI CLIP ViT-L/14 image embeddings."""
    return np.load(shared / "data/verite_l14/image_embeddings.npy")


@pytest.fixture(scope="session")
def ratings() -> np.ndarray:
    """LAION's ten ViT-L/14 embeddings, one per rating, with known default-head `rating_scores`."""
    return np.load(Path(__file__).parent / "data/laion_ratings_l14.npy")


@pytest.fixture(scope="session")
def rating_scores() -> list[float]:
    """Default-head scores of `ratings`, as published to three digits."""
    return [1.655, 2.359, 3.070, 3.672, 4.238, 4.701, 5.073, 5.365, 5.577, 5.747]


@pytest.fixture(scope="session")
def reference(shared) -> pd.DataFrame:
    """Their scores under five heads, layer by layer in float64."""
    return pd.read_csv(shared / "data/verite_l14/reference_scores.csv")


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    """300 random vectors of norm 1."""
    z = np.random.default_rng(7).standard_normal((300, 768))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def in_pages(monkeypatch) -> None:
    """The first row is worth compiling the reader of Parquet pages."""
    monkeypatch.setattr(pages, "COLD_ROWS", 0)
    monkeypatch.setattr(pages, "_warmup", pages._Warmup())


@pytest.fixture(params=columns.KINDS)
def kind(request) -> str:
    """Each type of column that can hold embeddings."""
    return request.param


@pytest.fixture(scope="session")
def interpreter():
    """A fresh interpreter for every piece of code."""
    with closing(Interpreter()) as interpreter:
        yield interpreter


@pytest.fixture(scope="session")
def cluster():
    """A client of two worker processes of two threads, given to ``compute(scheduler=...)`` and never the default."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


class S3(NamedTuple):
    """An empty bucket of a server of this machine."""

    url: str
    options: dict[str, Any]

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        return fsspec.filesystem("s3", **self.options)

    def put(self, folder: Path) -> None:
        """Everything in a folder into the bucket, under the same names."""
        for file in folder.rglob("*"):
            if file.is_file():
                self.fs.pipe_file(f"{self.url}/{file.relative_to(folder).as_posix()}", file.read_bytes())


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server that this process runs, on a free port of the loopback."""
    from moto.server import ThreadedMotoServer  # It takes a second, which most tests need not wait.

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server) -> S3:
    """A bucket and the storage options to reach it: ``read_and_score(s3.url, storage_options=s3.options)``."""
    options = {"key": "nobody", "secret": "nothing", "endpoint_url": s3_server}
    bucket = S3(f"s3://b{uuid4().hex}", options | {"client_kwargs": {"region_name": "eu-west-1"}})
    bucket.fs.mkdir(bucket.url)
    return bucket
