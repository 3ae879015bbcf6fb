"""Files of data sets on Hugging Face's hub, by hf:// URLs: a server on 127.0.0.1 answers as the hub does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import InputError, read_and_score, read_hf_dataset, score_dataset, score_embeddings
from helpers import hub_datasets, sources

URL = "hf://datasets/me/art"


@pytest.fixture(scope="module")
def wanted(vectors) -> list[float]:
    return score_embeddings(vectors).tolist()


@pytest.fixture
def hub(tmp_path, vectors, monkeypatch) -> Iterator[hub_datasets.DatasetHub]:
    """A data set with a Parquet file, and with the same rows as `save_to_disk` leaves them."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    sources.write_parquet(tmp_path, sources.lists(vectors))
    sources.write_saved(tmp_path / "saved", sources.lists(vectors))
    files = {"data/train-0.parquet": (tmp_path / "part.parquet").read_bytes(), "README.md": b"# Art"}
    files |= {f"saved/{file.name}": file.read_bytes() for file in (tmp_path / "saved").iterdir()}
    with hub_datasets.serving("me/art", files) as server:
        yield server


def options(hub) -> dict[str, object]:
    return {"endpoint": hub.url, "token": False}


@pytest.mark.parametrize("path", ["/data/train-0.parquet", "/data", "/data/*.parquet", "@main/data", "/saved"])
def test_files_folders_globs_and_revisions_are_scored(hub, wanted, path):
    assert read_and_score(URL + path, storage_options=options(hub))["aesthetic_score"].compute().tolist() == wanted


def test_a_saved_data_set_is_a_frame(hub, vectors):
    frame = read_hf_dataset(f"{URL}/saved", storage_options=options(hub)).compute()
    np.testing.assert_array_equal(np.stack(frame["image_embedding"].to_numpy()), vectors)
    assert frame["key"].tolist() == sources.keys(vectors).to_pylist()


def test_a_job_reads_what_it_needs_once_and_nothing_when_it_is_done(hub, tmp_path, wanted):
    size = len(hub.files["data/train-0.parquet"])
    score_dataset(f"{URL}/data", tmp_path / "out", storage_options=options(hub), output_options={})
    assert pq.read_table(tmp_path / "out")["aesthetic_score"].to_pylist() == pytest.approx(wanted, abs=0)
    ranges = [line.rpartition("bytes=")[2].split("-") for line in hub.requests if "bytes=" in line]
    got = sum(int(end) + 1 - int(begin) for begin, end in ranges)
    assert got < 2.5 * size + 10 * 65536  # No request is read ahead of; the first rows are looked at, and hashed.
    hub.requests.clear()
    score_dataset(f"{URL}/data", tmp_path / "out", storage_options=options(hub), output_options={})
    again = [line.rpartition("bytes=")[2].split("-") for line in hub.requests if "bytes=" in line]
    assert sum(int(end) + 1 - int(begin) for begin, end in again) < got / 2  # Footers and first rows.


def test_what_the_hub_does_not_have_is_an_error_that_names_it(hub):
    for path in (f"{URL}/nothing.parquet", "hf://datasets/me/other/data"):
        with pytest.raises(InputError, match=path):
            read_and_score(path, storage_options=options(hub))


def test_a_file_that_changes_on_the_hub_is_an_error(hub, vectors, tmp_path: Path):
    frame = read_and_score(f"{URL}/data", storage_options=options(hub))
    sources.write_parquet(tmp_path, sources.lists(vectors[:200]))
    hub.files["data/train-0.parquet"] = (tmp_path / "part.parquet").read_bytes()
    with pytest.raises(InputError, match="expected"):
        frame.compute(scheduler="sync")
