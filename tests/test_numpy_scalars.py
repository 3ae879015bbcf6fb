"""Arguments that are numbers of NumPy do as those of Python do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_aesthetic import filter_dataset, read_webdataset, score_dataset, select_dataset
from dask_aesthetic.synthetic import write_demo
from helpers import chaos, columns, tar_files


def _numpy(value):
    if isinstance(value, tuple):
        return tuple(map(_numpy, value))
    return np.bool_(value) if isinstance(value, bool) else np.dtype(type(value)).type(value)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("demo"), rows=200, shards=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"rows_per_shard": 50},
        {"part": (1, 2)},
        {"worker_timeout": 50},
        {"worker_timeout": 50.0},
        {"max_failed": 100},
        {"max_failed": 0.5},
    ],
)
def test_jobs(demo, tmp_path, settings):
    score_dataset(demo, tmp_path / "python", **settings)
    score_dataset(demo, tmp_path / "numpy", **{name: _numpy(value) for name, value in settings.items()})
    assert chaos.content(tmp_path / "python") == chaos.content(tmp_path / "numpy")


@pytest.mark.parametrize("settings", [{"top": 7}, {"keep_fraction": 0.25}])
def test_selections(demo, tmp_path, settings):
    score_dataset(demo, tmp_path / "scores")
    for name, convert in (("python", lambda value: value), ("numpy", _numpy)):
        converted = {key: convert(value) for key, value in settings.items()}
        select_dataset(tmp_path / "scores", tmp_path / name, **converted)
    assert chaos.content(tmp_path / "python") == chaos.content(tmp_path / "numpy")


def test_tars(tmp_path):
    tar = tar_files.write(tmp_path / "in/0.tar", *tar_files.samples(5))
    frame = pd.DataFrame({"key": [f"{at:05d}" for at in range(5)], "aesthetic_score": np.float32(6), "keep": True})
    filter_dataset(frame, tmp_path / "out", tars=tar, samples_per_shard=np.int64(2))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["00000.tar", "00001.tar", "00002.tar"]
    frame = read_webdataset(tar, blocksize=np.int64(4000))
    assert frame.npartitions == read_webdataset(tar, blocksize=4000).npartitions > 1


def test_frames(vectors, tmp_path):
    frame = pd.DataFrame({"image": columns.array(vectors[:9], "list"), "text": columns.array(vectors[9:18], "list")})
    similar = frame.aesthetic.similarity("image", "text", width=np.int64(768))
    assert similar.equals(frame.aesthetic.similarity("image", "text", width=768))
    scored = frame.assign(aesthetic_score=np.arange(9, dtype=np.float32), key=list("abcdefghi"))
    for high in (True, False):
        assert scored.aesthetic.top(3, higher_is_better=np.bool_(high)).equals(
            scored.aesthetic.top(3, higher_is_better=high)
        )
    pages = [scored.aesthetic.report(tmp_path / f"{seed!r}.html", seed=seed).read_bytes() for seed in (3, np.int64(3))]
    assert pages[0] == pages[1]
