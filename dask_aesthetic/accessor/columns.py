"""What the columns are called unless the user says otherwise."""

from __future__ import annotations

EMBEDDING_COLUMN, SCORE_COLUMN, KEEP_COLUMN = "image_embedding", "aesthetic_score", "keep"
CAPTION_COLUMN = "caption"
IMAGE_COLUMN, IMAGE_STATUS_COLUMN = "image", "image_status"
