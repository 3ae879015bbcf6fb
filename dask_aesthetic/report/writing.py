"""The page, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dask_aesthetic.atomic import write_atomic
from dask_aesthetic.errors import InputError
from dask_aesthetic.report.facts import gather
from dask_aesthetic.report.page import render
from dask_aesthetic.report.spec import ReportSpec
from dask_aesthetic.thresholds import Threshold


def write_report(
    frame: Any,
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str | None],
    threshold: float | str | Threshold,
    known: dict[str, str],
    samples: int,
    seed: int,
    title: str,
    provenance: Mapping[str, Any],
) -> Path:
    """Write the page of a frame's scores; see ``.aesthetic.report``.

    Parameters
    ----------
    frame : pandas, cuDF or Dask DataFrame
    path : str or path
        An earlier file of that name is replaced once the page is whole.
    columns, threshold, known, samples, seed, title, provenance
        As `ReportSpec` has them; columns of None are not asked for.

    Raises
    ------
    InputError
        There is no such folder; found before anything is computed.
    ColumnError, ArgumentError, ThresholdError, MissingDependencyError
    """
    target = Path(path)
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise InputError(f"expected a file to write in a folder that exists, got {target}")
    spec = ReportSpec.of(frame.columns, columns, threshold, known, samples, seed, title, provenance)
    page = render(gather(frame, spec), spec)
    write_atomic(target, page.encode("utf-8"))  # Bytes: hashes in the page's policy hold for these line ends alone.
    return target
