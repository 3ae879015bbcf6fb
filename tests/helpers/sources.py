"""The same embeddings as files of every layout that is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

COLUMN = "image_embedding"


class Source(NamedTuple):
    """A layout: what writes it into a folder, and the options by which it is read."""

    write: Callable[[Path, np.ndarray], None]
    options: Mapping[str, Any] = MappingProxyType({})


def lists(rows: np.ndarray, kind: str = "list") -> pa.Array:
    flat = pa.array(rows.reshape(-1))
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
    ends = pa.array(np.arange(len(rows) + 1) * rows.shape[1], pa.int32())
    inner = pa.ListArray.from_arrays(ends, flat)
    return inner if kind == "list" else pa.ListArray.from_arrays(pa.array(np.arange(len(rows) + 1), pa.int32()), inner)


def binary(rows: np.ndarray, fixed: bool = True) -> pa.Array:
    dtype = pa.binary(rows.shape[1] * rows.itemsize) if fixed else pa.binary()
    return pa.array([row.tobytes() for row in rows], dtype)


def keys(rows: Any) -> pa.Array:
    return pa.array([f"k{at}" for at in range(len(rows))])


def write_parquet(folder: Path, column: pa.Array, **options: Any) -> None:
    table = pa.table({"key": keys(column), COLUMN: column})
    pq.write_table(table, folder / "part.parquet", row_group_size=90, **options)


def write_saved(folder: Path, column: pa.Array, batch: int = 70, files: int = 2, **state: Any) -> None:
    """A folder as Dataset.save_to_disk leaves it."""
    folder.mkdir(exist_ok=True)
    table = pa.table({"key": keys(column), COLUMN: column})
    names, each = [], -(-len(table) // files)
    for at in range(files):
        names.append(f"data-{at:05d}-of-{files:05d}.arrow")
        part = table.slice(at * each, each)
        with pa.ipc.new_stream(folder / names[-1], part.schema) as stream:
            stream.write_table(part, max_chunksize=batch)
    described = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": None, **state}
    (folder / "state.json").write_text(json.dumps(described))
    (folder / "dataset_info.json").write_text("{}")


def write_clip_retrieval(folder: Path, rows: np.ndarray) -> None:
    (folder / "img_emb").mkdir()
    (folder / "metadata").mkdir()
    np.save(folder / "img_emb/img_emb_0.npy", rows)
    pq.write_table(pa.table({"key": keys(rows)}), folder / "metadata/metadata_0.parquet")


def write_datacomp(folder: Path, rows: np.ndarray) -> None:
    np.savez(folder / "part.npz", l14_img=rows)
    pq.write_table(pa.table({"key": keys(rows)}), folder / "part.parquet")


def write_safetensors(folder: Path, rows: Any, **others: torch.Tensor) -> None:
    tensor = rows if isinstance(rows, torch.Tensor) else torch.from_numpy(rows)
    save_file({"images": tensor, **others}, folder / "part.safetensors")


SOURCES: dict[str, Source] = {
    "fixed-size lists": Source(lambda folder, rows: write_parquet(folder, lists(rows, "fixed"))),
    "lists without dictionary": Source(lambda folder, rows: write_parquet(folder, lists(rows), use_dictionary=False)),
    "packed": Source(
        lambda folder, rows: write_parquet(folder, binary(rows), use_dictionary=False), {"embedding_dtype": "float32"}
    ),
    "packed of any length": Source(
        lambda folder, rows: write_parquet(folder, binary(rows, fixed=False)), {"embedding_dtype": "float32"}
    ),
    "clip-retrieval": Source(write_clip_retrieval),
    "datacomp": Source(write_datacomp),
    "npy": Source(lambda folder, rows: np.save(folder / "part.npy", rows)),
    "safetensors": Source(write_safetensors),
    "safetensors, by name": Source(
        lambda folder, rows: write_safetensors(folder, rows, texts=torch.zeros(3, 768)), {"matrix_key": "images"}
    ),
    "pt": Source(lambda folder, rows: torch.save(torch.from_numpy(rows), folder / "part.pt")),
    "pt, by name": Source(
        lambda folder, rows: torch.save(
            {"a": torch.zeros(2, 2), "images": torch.from_numpy(rows)}, folder / "part.pth"
        ),
        {"matrix_key": "images"},
    ),
    "pt, transposed": Source(
        lambda folder, rows: torch.save(torch.from_numpy(np.asfortranarray(rows)), folder / "part.pt")
    ),
    "hf-dataset": Source(lambda folder, rows: write_saved(folder, lists(rows, "fixed"))),
    "hf-dataset of lists": Source(lambda folder, rows: write_saved(folder, lists(rows))),
    "hf-dataset of lists of lists": Source(lambda folder, rows: write_saved(folder, lists(rows, "nested"))),
    "hf-dataset of bytes": Source(
        lambda folder, rows: write_saved(folder, binary(rows, fixed=False)), {"embedding_dtype": "float32"}
    ),
}
