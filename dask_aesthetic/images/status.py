"""What became of a row's picture."""

from __future__ import annotations

from enum import IntEnum

import pandas as pd


class ImageStatus(IntEnum):
    """Why a row has an embedding, or why it has none."""

    OK = 0
    MISSING = 1
    UNREADABLE = 2
    TOO_LARGE = 3
    UNDECODABLE = 4
    NOT_FINITE = 5
    ZERO = 6


IMAGE_STATUSES = tuple(status.name.lower() for status in ImageStatus)
IMAGE_STATUS_DTYPE = pd.CategoricalDtype(list(IMAGE_STATUSES))
