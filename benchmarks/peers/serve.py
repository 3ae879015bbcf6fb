"""Process of one peer in its own environment: it scores embeddings in memory by its own code.

    python serve.py PEER EMBEDDINGS.npy CHECKPOINTS SCORES.npy

It scores once, saves the scores and prints a line; then it scores again at every line that it reads, and prints the
seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

Score = Callable[[], np.ndarray]
HEAD = "sac+logos+ava1-l14-linearMSE.pth"


def dask_aesthetic(embeddings: np.ndarray, _: Path) -> Score:
    """One thread; no checkpoint is needed."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import data
    import pyarrow as pa

    import dask_aesthetic  # noqa: F401

    frame = data.frame(data.lists(embeddings, pa.list_(pa.float32())))
    return lambda: frame.aesthetic.score()["aesthetic_score"].to_numpy()


def nemo_curator(embeddings: np.ndarray, checkpoints: Path) -> Score:
    """The stage as its pipelines call it, with its default batch size."""
    from nemo_curator.stages.image.filters.aesthetic_filter import ImageAestheticFilterStage
    from nemo_curator.tasks import ImageBatch
    from nemo_curator.tasks.image import ImageObject

    stage = ImageAestheticFilterStage(model_dir=str(checkpoints))
    stage.setup()
    batch = ImageBatch(
        dataset_name="", data=[ImageObject(image_id=str(at), embedding=row) for at, row in enumerate(embeddings)]
    )

    def score() -> np.ndarray:
        stage.process(batch)
        return np.array([image.aesthetic_score for image in batch.data])

    return score


def vision_data_curation(embeddings: np.ndarray, checkpoints: Path) -> Score:
    """Its network in its default batches, without the files that its script reads and writes around it."""
    import torch
    from vdc.scripts.aesthetic_filter import AestheticClassifier

    network = AestheticClassifier(input_dim=embeddings.shape[1])
    network.load_state_dict(torch.load(checkpoints / HEAD, map_location="cpu", weights_only=True))
    return _batches(network.eval(), embeddings, 2048)


def simple_aesthetics_predictor(embeddings: np.ndarray, checkpoints: Path) -> Score:
    """The head of its model, on normalized embeddings, as its forward pass does after CLIP."""
    import torch
    from aesthetics_predictor import AestheticsPredictorV2Linear
    from transformers.models.clip.configuration_clip import CLIPVisionConfig

    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    head = AestheticsPredictorV2Linear(CLIPVisionConfig(**small, projection_dim=embeddings.shape[1])).layers
    state = torch.load(checkpoints / HEAD, map_location="cpu", weights_only=True)
    head.load_state_dict({name.removeprefix("layers."): tensor for name, tensor in state.items()})

    def forward(batch: torch.Tensor) -> torch.Tensor:
        return head(batch / batch.norm(dim=-1, keepdim=True))

    head.eval()
    return _batches(forward, embeddings, 1024)


def pandas_and_torch(embeddings: np.ndarray, checkpoints: Path) -> Score:
    """LAION's script: rows of a pandas column, stacked into a matrix."""
    import pandas as pd
    import torch
    from torch import nn

    layers = nn.Sequential(
        nn.Linear(768, 1024),
        nn.Dropout(0.2),
        nn.Linear(1024, 128),
        nn.Dropout(0.2),
        nn.Linear(128, 64),
        nn.Dropout(0.1),
        nn.Linear(64, 16),
        nn.Linear(16, 1),
    ).eval()
    state = torch.load(checkpoints / HEAD, map_location="cpu", weights_only=True)
    layers.load_state_dict({name.removeprefix("layers."): tensor for name, tensor in state.items()})
    frame = pd.DataFrame({"image_embedding": list(embeddings)})

    def score() -> np.ndarray:
        matrix = np.stack(frame["image_embedding"].to_list())
        norms = np.linalg.norm(matrix, axis=-1, keepdims=True)
        norms[norms == 0] = 1
        with torch.no_grad():
            return layers(torch.from_numpy(matrix / norms)).numpy().ravel()

    return score


def duckdb(embeddings: np.ndarray, checkpoints: Path) -> Score:
    """SQL over an Arrow table of arrays, with the folded weights."""
    import duckdb
    import pyarrow as pa

    weight, bias = _folded(checkpoints)
    leaves = pa.array(embeddings.reshape(-1))
    table = pa.table({"e": pa.FixedSizeListArray.from_arrays(leaves, embeddings.shape[1])})
    w = f"{weight.astype(np.float32).tolist()}::FLOAT[{len(weight)}]"
    query = f"SELECT array_inner_product(e, {w}) / sqrt(array_inner_product(e, e)) + {bias!r} AS s FROM embeddings"  # noqa: S608
    connection = duckdb.connect()
    connection.register("embeddings", table)
    return lambda: connection.sql(query).fetchnumpy()["s"]


def polars(embeddings: np.ndarray, checkpoints: Path) -> Score:
    """Expressions over an array column, with the folded weights."""
    import polars as pl

    weight, bias = _folded(checkpoints)
    kind = pl.Array(pl.Float32, embeddings.shape[1])
    frame = pl.DataFrame({"e": pl.Series(embeddings, dtype=kind)})
    w = pl.lit(pl.Series([weight.astype(np.float32)], dtype=kind))
    e = pl.col("e")
    return lambda: frame.select(s=(e * w).arr.sum() / (e * e).arr.sum().sqrt() + bias)["s"].to_numpy()


def _batches(network: Callable, embeddings: np.ndarray, rows: int) -> Score:
    import torch

    vectors = torch.from_numpy(embeddings)

    def score() -> np.ndarray:
        with torch.inference_mode():
            return torch.cat([network(batch) for batch in vectors.split(rows)]).numpy().ravel()

    return score


def _folded(checkpoints: Path) -> tuple[np.ndarray, float]:
    """The head as one affine map, which SQL can express."""
    import torch

    state = torch.load(checkpoints / HEAD, map_location="cpu", weights_only=True)
    weight, bias = np.eye(768), np.zeros(768)
    for layer in (0, 2, 4, 6, 7):
        w, b = (state[f"layers.{layer}.{part}"].double().numpy() for part in ("weight", "bias"))
        weight, bias = w @ weight, w @ bias + b
    return weight[0], float(bias[0])


PEERS = {
    "dask_aesthetic": (dask_aesthetic, "dask-aesthetic"),
    "nemo_curator": (nemo_curator, "nemo-curator"),
    "vision_data_curation": (vision_data_curation, "vision-data-curation"),
    "simple_aesthetics_predictor": (simple_aesthetics_predictor, "simple-aesthetics-predictor"),
    "pandas_and_torch": (pandas_and_torch, "torch"),
    "duckdb": (duckdb, "duckdb"),
    "polars": (polars, "polars"),
}


def main() -> None:
    name, embeddings, checkpoints, out = sys.argv[1:]
    peer, distribution = PEERS[name]
    score = peer(np.load(embeddings), Path(checkpoints))
    np.save(out, score())
    print("ready:", distribution, version(distribution), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        score()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
