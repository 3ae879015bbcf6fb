"""Data sets as Hugging Face's own library saves them, and scoring in its `map`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dask_aesthetic
from dask_aesthetic import InputError, read_and_score, read_hf_dataset, score_dataset, score_embeddings

SAVE = """
import sys
import numpy as np
from datasets import Array2D, Dataset, DatasetDict, Features, Sequence, Value, disable_progress_bars

disable_progress_bars()
rows, folder = np.load(sys.argv[1]), sys.argv[2]
keys = [f"k{at}" for at in range(len(rows))]
kinds = {
    "fixed": (Sequence(Value("float32"), length=768), list(rows)),
    "variable": (Sequence(Value("float32")), list(rows)),
    "half": (Sequence(Value("float16"), length=768), list(rows.astype("float16"))),
    "array2d": (Array2D((1, 768), "float32"), list(rows[:, None])),
    "bytes": (Value("binary"), [row.tobytes() for row in rows]),
}
for name, (kind, values) in kinds.items():
    features = Features({"key": Value("string"), "image_embedding": kind})
    made = Dataset.from_dict({"key": keys, "image_embedding": values}, features=features)
    made.save_to_disk(f"{folder}/{name}", num_shards=3)
whole = made = Dataset.load_from_disk(f"{folder}/fixed")
whole.shuffle(seed=4).select(range(50)).save_to_disk(f"{folder}/selected")
whole.filter(lambda row: row["key"] < "k2").save_to_disk(f"{folder}/filtered")  # Leaves a cache beside "fixed".
DatasetDict(train=whole, test=whole.select([3, 1])).save_to_disk(f"{folder}/splits")
"""


@pytest.fixture(scope="module")
def saved(vectors, tmp_path_factory) -> Path:
    pytest.importorskip("datasets", reason="needs Hugging Face's datasets, of the extra 'test'")
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "rows.npy", vectors)
    run(SAVE, folder)
    return folder


def run(code: str, folder: Path) -> None:
    """Run code in a process of its own: the library registers extension types, which others would then see."""
    environment = {**os.environ, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "rows.npy"), str(folder)],
        env=environment,
        timeout=200,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr


def scores(frame) -> list[float]:
    return frame["aesthetic_score"].compute().tolist()


@pytest.mark.parametrize("kind", ["fixed", "variable", "array2d"])
def test_every_feature_scores_as_its_rows_do(saved, vectors, tmp_path, kind):
    wanted = score_embeddings(vectors).tolist()
    assert scores(read_and_score(saved / kind)) == wanted
    assert scores(read_hf_dataset(saved / kind).aesthetic.score()) == wanted
    score_dataset(saved / kind, tmp_path / "out", columns="all")
    assert scores(dask_aesthetic.read_scores(tmp_path / "out")) == wanted


def test_half_floats_and_bytes(saved, vectors):
    wanted = score_embeddings(vectors.astype(np.float16)).tolist()
    assert scores(read_and_score(saved / "half")) == wanted
    assert scores(read_and_score(saved / "bytes", embedding_dtype="float32")) == score_embeddings(vectors).tolist()
    frame = read_hf_dataset(saved / "bytes", embedding_dtype="float32")
    assert scores(frame.aesthetic.score()) == score_embeddings(vectors).tolist()


def test_selected_and_filtered_rows_are_those_that_were_saved(saved, vectors):
    for kind, count in (("selected", 50), ("filtered", sum(f"k{at}" < "k2" for at in range(len(vectors))))):
        found = read_and_score(saved / kind).compute()
        at = [int(key[1:]) for key in found["key"]]
        assert len(set(at)) == len(at) == count
        assert found["aesthetic_score"].tolist() == score_embeddings(vectors[at]).tolist()
    assert at == [row for row in range(len(vectors)) if f"k{row}" < "k2"]


def test_the_cache_of_a_map_beside_the_files_is_not_read(saved, vectors, recwarn):
    assert list((saved / "fixed").glob("cache-*.arrow"))
    assert len(read_and_score(saved / "fixed")) == len(vectors)
    assert not recwarn


def test_splits_are_read_one_by_one(saved):
    with pytest.raises(InputError, match=r"the splits test, train: name one, as .*/splits/test"):
        read_and_score(saved / "splits")
    assert read_and_score(saved / "splits/test").compute()["key"].tolist() == ["k3", "k1"]


MAP = """
import sys
import numpy as np
from datasets import Dataset, disable_progress_bars
import dask_aesthetic

disable_progress_bars()
rows, folder = sys.argv[1:]
wanted = dask_aesthetic.score_embeddings(np.load(rows)).tolist()
made = Dataset.load_from_disk(f"{folder}/fixed")
for view in (made, made.with_format("numpy"), made.with_format("torch"), made.with_format("arrow")):
    score = lambda batch: {"score": np.asarray(dask_aesthetic.score_embeddings(batch["image_embedding"]))}
    assert view.map(score, batched=True).with_format("numpy")["score"][:].tolist() == wanted
for kind in ("array2d", "fixed"):
    assert dask_aesthetic.read_and_score(f"{folder}/{kind}")["aesthetic_score"].compute().tolist() == wanted
    frame = dask_aesthetic.read_hf_dataset(f"{folder}/{kind}").aesthetic.score()
    assert frame["aesthetic_score"].compute().tolist() == wanted
"""


def test_scores_in_a_map_and_with_the_extension_types_of_the_library(saved):
    run(MAP, saved)
