"""Choices of arguments that several signatures share, as types; free to import."""

from __future__ import annotations

from typing import Literal, TypeVar

Frame = TypeVar("Frame")  # Of pandas, Dask or cuDF.

Scale = Literal["raw", "unit"]
OnInvalid = Literal["null", "raise"]
Activation = Literal["none", "relu"]
OutputActivation = Literal["none", "sigmoid"]

Dtype = Literal["float32", "float16"]
EmbeddingDtype = Literal["float32", "float16", "float64", "bfloat16", "uint8", "int8"]  # Of packed embeddings.
Layout = Literal["packed", "lists", "small"]  # Of repacked embeddings.
Pooling = Literal["first", "mean", "max"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

Format = Literal[
    "auto", "parquet", "clip-retrieval", "datacomp", "npy", "safetensors", "torch", "hf-dataset", "webdataset", "images"
]
Style = Literal["default", "laion", "coyo"]
Device = Literal["auto", "gpu", "cpu"]
