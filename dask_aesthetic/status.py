"""Statuses of rows: one vocabulary for embeddings, images and samples of tars.

Every status is one lower-case word, the same in frames, Parquet files, summaries and reports.
"""

from __future__ import annotations

from enum import IntEnum

import pandas as pd


class Status(IntEnum):
    """Status of a row's embedding: why the row has a score, or why it has none."""

    OK = 0
    MISSING = 1
    WRONG_WIDTH = 2
    NOT_FINITE = 3
    ZERO = 4
    WRONG_TYPE = 5


class ImageStatus(IntEnum):
    """Status of a row's image: why the row has an embedding, or why it has none."""

    OK = 0
    MISSING = 1
    UNREADABLE = 2
    TOO_LARGE = 3
    UNDECODABLE = 4
    NOT_FINITE = 5
    ZERO = 6


STATUSES = tuple(status.name.lower() for status in Status)
IMAGE_STATUSES = tuple(status.name.lower() for status in ImageStatus)
STATUS_DTYPE = pd.CategoricalDtype(list(STATUSES))

# Statuses of a tar's sample without an image, as `read_webdataset` gives them.
SAMPLE_FAULTS = (
    *("damaged", "duplicate_member", "no_image", "several_images", "too_large", "not_in_tar"),
    *("unsafe_name", "not_a_file", "no_key"),
)

# Meanings of the statuses, for readers of a report.
MEANINGS = {
    "missing": "null or empty",
    "wrong_width": "another number of floats than the predictor takes",
    "wrong_type": "no list of numbers",
    "not_finite": "NaN or infinity among the floats",
    "zero": "all floats are zero",
    "unknown": "no reason is known; a status column would tell",
}
