"""Performance targets: limits on medians of ratios."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Target:
    """Limit on the time of a way relative to another way of its case.

    Attributes
    ----------
    what : str
    suite, case, way, over : str
    limit : float
        Maximum time of `way` in units of `over`.
    """

    what: str
    suite: str
    case: str
    way: str
    over: str
    limit: float

    def reached(self, rows: pd.DataFrame) -> tuple[float, float, float] | None:
        """Median, minimum and maximum ratio; None if it was not measured."""
        rounds = rows.dropna(subset=["seconds"]).query("suite == @self.suite and case == @self.case")
        each = rounds.assign(each=rounds["seconds"] / rounds["rows"]).set_index("round").groupby("way")["each"]
        if not {self.way, self.over} <= set(each.groups):
            return None
        ratio = each.get_group(self.way) / each.get_group(self.over)
        return ratio.median(), ratio.min(), ratio.max()


KERNEL = ("the kernel alone", "numpy max")
OBJECTS = ("frame.aesthetic.score()", "the same rows in an Arrow column")
MEMORY = ("frame.aesthetic.score()", "numpy max")
THREADS, CLUSTER = "two threads", "local cluster, two workers of one thread"
READ = "read the column"
SCORED = ("read_parquet and the accessor", "read_parquet, no scoring")
WRITTEN = ("read_parquet, score, to_parquet", READ)
DASK_CUDF = "Parquet files to scores, dask-cuDF"
IMPORTS = ("import dask_aesthetic", "import dask.dataframe, torch")
START = "dask.cli and click"
DASK_HELP = ("dask --help", "dask --help without this package")
PASS = ("1 weight, Triton", "copy, read and written")
THEIRS = ("frame.aesthetic.score()", "NeMo Curator 0.9.0's partition function")
# Float16 is converted on the way, so half the bytes take more than half the time.
BOUND = [
    Target(f"{what} of {dtype}, {threads}: over the memory bound", "kernel", f"{dtype} list, {threads}", *way, limit)
    for dtype, limit in (("float32", 1.1), ("float16", 1.5))
    for threads in ("1 thread", "2 threads")
    for what, way in (("the kernel", KERNEL), ("a column", MEMORY))
]
ARRAYS = [
    Target(f"arrays of objects, {threads}: over Arrow", "kernel", f"float32 objects, {threads}", *OBJECTS, 2.5)
    for threads in ("1 thread", "2 threads")
]
FIRST_LINES = [
    Target(f"the README's first lines, {files}: over reading the column", "pipeline", case, *WRITTEN, 0.6)
    for files in ("plain files", "pyarrow's default settings")
    for case in [f"the README's first lines, {files}"]
]
TARGETS = (
    *BOUND,
    *ARRAYS,
    Target("the accessor: over the same graph without scoring", "pipeline", THREADS, *SCORED, 1.15),
    Target("read_and_score, two threads: over reading the column", "pipeline", THREADS, "read_and_score", READ, 0.30),
    Target("a job, two threads: over reading the column", "pipeline", THREADS, "job", READ, 0.45),
    Target("a job, local cluster: over reading the column", "pipeline", CLUSTER, "job", f"{READ}, two threads", 0.60),
    *FIRST_LINES,
    Target("the import: over dask.dataframe and torch", "import", "imports", *IMPORTS, 0.1),
    Target("--help: over dask.cli and click", "import", "command line", "dask-aesthetic --help", START, 1.2),
    Target("--version: over dask.cli and click", "import", "command line", "dask-aesthetic --version", START, 1.2),
    Target("a usage error: over dask.cli and click", "import", "command line", "a usage error", START, 1.2),
    Target("dask --help: over the same without this package", "import", "dask --help", *DASK_HELP, 1.2),
    # A copy moves everything twice, so 80 % of its bandwidth is 0.625 of its time.
    Target("GPU: one pass over the embeddings, over copying", "gpu", "arithmetic on the device", *PASS, 0.5 / 0.8),
    Target("GPU: a cuDF column, over NeMo Curator 0.9.0", "gpu", "a cuDF column", *THEIRS, 1 / 20),
    Target("GPU: reading and scoring, over reading", "gpu", DASK_CUDF, "read and score", READ, 1.05),
)
