"""Images to embeddings: `embed_images` for rows of any kind, `embed_column` for a partition of a frame."""

from __future__ import annotations

from dask_aesthetic.images.decode import image_suffixes, prepare_pillow
from dask_aesthetic.images.embed import EmbedSpec, embed_column, embed_images, embedding_lists, score_images
from dask_aesthetic.images.encoder import EncoderSpec
from dask_aesthetic.images.prompts import prompt_predictor
from dask_aesthetic.images.sources import check_images, get_backend, holds_images, rows_of

__all__ = [
    "EmbedSpec",
    "EncoderSpec",
    "check_images",
    "embed_column",
    "embed_images",
    "embedding_lists",
    "get_backend",
    "holds_images",
    "image_suffixes",
    "prepare_pillow",
    "prompt_predictor",
    "rows_of",
    "score_images",
]
