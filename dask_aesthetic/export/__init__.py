"""Lists of selected rows for downloaders and resharders."""

from __future__ import annotations

from dask_aesthetic.export.export import ExportSummary, export_dataset

__all__ = ["ExportSummary", "export_dataset"]
