"""The compiled kernels, imported when the first score is asked for."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

from dask_aesthetic.errors import first_line


@cache
def get_compiled() -> Any:
    """Module of the compiled kernels; None, after one warning, where numba does not run."""
    try:
        from dask_aesthetic.kernels import compiled
    except Exception as error:  # numba raises errors of several kinds for versions that it does not know.
        warnings.warn(
            "scores are computed by numpy, with the same bits and many times slower: numba does not run here "
            f"({type(error).__name__}: {first_line(error)})",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return compiled


@cache
def get_parquet_pages() -> Any:
    """Module of the compiled code that walks over Parquet pages; None where numba does not run."""
    if get_compiled() is None:
        return None
    from dask_aesthetic.kernels import parquet_pages

    return parquet_pages


@cache
def get_resize() -> Any:
    """Module of the compiled resize of images; None where numba does not run."""
    if get_compiled() is None:
        return None
    from dask_aesthetic.kernels import resize

    return resize


@cache
def get_jpeg_header() -> Any:
    """Module of the compiled code that reads headers of JPEGs; None where numba does not run."""
    if get_compiled() is None:
        return None
    from dask_aesthetic.kernels import jpeg_header

    return jpeg_header


@cache
def get_row_hash() -> Any:
    """Module of the compiled hash of rows; None where numba does not run."""
    if get_compiled() is None:
        return None
    from dask_aesthetic.kernels import row_hash

    return row_hash
