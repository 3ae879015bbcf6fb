"""The command line: ``dask-aesthetic``, ``python -m dask_aesthetic`` and ``dask aesthetic``."""

from __future__ import annotations

import click

from dask_aesthetic.cli.check import check
from dask_aesthetic.cli.demo import demo
from dask_aesthetic.cli.filter import filter_tars
from dask_aesthetic.cli.report import report
from dask_aesthetic.cli.score import score
from dask_aesthetic.cli.selftest import selftest
from dask_aesthetic.version import __version__

__all__ = ["main"]


@click.group(name="aesthetic", context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="dask-aesthetic")
def main() -> None:
    """Score image embeddings for aesthetic quality."""


main.add_command(score)
main.add_command(check)
main.add_command(filter_tars)
main.add_command(report)
main.add_command(demo)
main.add_command(selftest)
