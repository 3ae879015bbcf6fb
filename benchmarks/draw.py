"""Bar chart of the results for README and docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from harness import medians
from matplotlib.figure import Figure

# Suite, case, title, what 1 is, and names of the bars: ours first.
PANELS = (
    (
        "pipeline",
        "two threads",
        "From Parquet files to scores, two threads",
        "time relative to pyarrow that only reads the embeddings",
        {
            "read_and_score": "read_and_score()",
            "read_parquet and the accessor": "dd.read_parquet(), .aesthetic.score()",
            "job": "dask-aesthetic score (durable job)",
        },
        {
            "read the column": "pyarrow reads, no scores",
            "read and score, no graph": "pyarrow reads, this package scores",
            "read_parquet, no scoring": "dd.read_parquet(), no scores",
            "DuckDB SQL, into a file as the job": "DuckDB SQL, into a file",
        },
    ),
    (
        "peers",
        "scores of embeddings in memory",
        "Scores of real embeddings in memory",
        "time relative to dask-aesthetic on one thread",
        {"dask_aesthetic": "dask-aesthetic"},
        {
            "polars": "polars, expression",
            "duckdb": "DuckDB, SQL",
            "simple_aesthetics_predictor": "simple-aesthetics-predictor",
            "vision_data_curation": "vision-data-curation",
            "nemo_curator": "NeMo Curator 1.4, stage",
            "pandas_and_torch": "torch, as LAION's script",
        },
    ),
)
OURS, OTHERS = "#2a6f97", "#b8b8b8"


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw bars of medians, with the range of single rounds."""
    panels = [panel for panel in PANELS if panel[0] in results]
    if not panels:
        return
    figure = Figure(figsize=(7.5, 3.1 * len(panels)), layout="constrained")
    for axes, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        suite, case, title, unit, ours, others = panel
        rows = pd.DataFrame(results[suite]["rows"])
        summary = medians(rows[rows["case"] == case]).sort_values("ratio", ascending=False)
        spread = [summary["ratio"] - summary["low"], summary["high"] - summary["ratio"]]
        colors = [OURS if way in ours else OTHERS for way in summary["way"]]
        names = [(ours | others).get(way, way) for way in summary["way"]]
        bars = axes.barh(names, summary["ratio"], color=colors, xerr=spread, ecolor="#555555")
        labels = [f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}" for ratio in summary["ratio"]]
        axes.bar_label(bars, [f"{label}x" for label in labels], padding=4)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{unit} (less is better)", fontsize=9)
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=140, metadata={"Software": None})
