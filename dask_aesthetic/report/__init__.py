"""Report page of scores: one HTML file that loads nothing, to open from a disk or to send by mail.

``spec`` checks the arguments, ``data`` computes the counts and collects the sampled rows, ``sampling`` chooses them,
``thumbnails`` encodes their images, ``plots`` draws, and ``page`` renders and writes.
"""

from __future__ import annotations

from dask_aesthetic.report.page import write_report
from dask_aesthetic.report.spec import ReportSpec

__all__ = ["ReportSpec", "write_report"]
