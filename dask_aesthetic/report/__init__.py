"""A page of what scores look like: one file that loads nothing, to be opened from a disk or sent by mail.

``spec`` is what is asked, ``facts`` what the frame says, ``samples`` and ``thumbnails`` which rows are shown and how,
``plots`` numbers as lines, ``page`` all of it as HTML.
"""

from __future__ import annotations

from dask_aesthetic.report.spec import ReportSpec
from dask_aesthetic.report.writing import write_report

__all__ = ["ReportSpec", "write_report"]
