"""Default values and choices of arguments that several signatures share: plain constants, free to import."""

from __future__ import annotations

from typing import Final

EMBEDDING_COLUMN, SCORE_COLUMN, KEEP_COLUMN = "image_embedding", "aesthetic_score", "keep"
HASH_COLUMN = "embedding_hash"
TEXT_COLUMN, SIMILARITY_COLUMN, SIMILARITY_WIDTH = "text_embedding", "similarity", 768
CAPTION_COLUMN = "caption"
IMAGE_COLUMN, IMAGE_STATUS_COLUMN = "image", "image_status"
MATRIX_KEY, TEXT_KEY = "l14_img", "l14_txt"  # In DataComp's .npz files.

PREDICTOR = "laion-v2"
SIMILARITY, COSINE = "similarity", "cosine similarity"  # What stands for the predictor of similarities, and its scale.
THRESHOLD = "default"  # The predictor's own, if it has one.
ACTIVATIONS = ("none", "relu")  # Between the layers of a checkpoint.
OUTPUT_ACTIVATIONS = ("none", "sigmoid")  # After the last one.
MODEL, PRETRAINED = "ViT-L-14-quickgelu", "openai"  # The encoder, as open_clip names it.

PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}  # To open_clip's names.
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")  # Of images in tars.
PACKED: Final = "packed"
SMALL: Final = "small"
LAYOUTS = (PACKED, "lists", SMALL)  # Of repacked embeddings.
EMBEDDING_DTYPES = ("float32", "float16", "float64", "bfloat16", "uint8", "int8")  # Of packed embeddings.
POOLING = ("first", "mean", "max")

# Inputs that hold embeddings.
FORMATS = ("auto", "parquet", "clip-retrieval", "datacomp", "npy", "safetensors", "torch", "hf-dataset")
IMAGE_FORMATS = ("auto", "parquet", "webdataset", "images")  # Inputs that hold images.
STYLES = {"laion": "aesthetic", "coyo": "aesthetic_score_laion_v2"}  # To score columns.
STYLE_NAMES = ("default", *STYLES)
PROGRESS = ("auto", "text", "json", "none")
WORKER_TIMEOUT = 3600.0  # Seconds without any worker after which a job ends.
ROWS_PER_SHARD, IMAGES_PER_SHARD = 1_000_000, 10_000
SHARDS_PER_GPU = 2  # That are at work side by side, of images: one is encoded while the other is committed.
