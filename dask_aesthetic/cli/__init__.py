"""Command line: ``dask-aesthetic``, ``python -m dask_aesthetic`` and ``dask aesthetic``."""

from __future__ import annotations

from importlib import import_module

import click

from dask_aesthetic.interrupt import end_on_signals
from dask_aesthetic.version import __version__

__all__ = ["main"]

# The modules that define them.
_COMMANDS = ("check", "demo", "export", "filter", "repack", "report", "score", "select", "selftest")


class _LazyGroup(click.Group):
    """Group that imports the module of a command when the command is used or listed.

    The modules import nothing heavy either: torch, pandas and Dask come when a command runs.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"dask_aesthetic.cli.{cmd_name}").command
        return command


@click.group(
    name="aesthetic",
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, prog_name="dask-aesthetic")
@click.pass_context
def main(context: click.Context) -> None:
    """Score image embeddings for aesthetic quality."""
    if context.parent is not None:  # A subcommand of dask's, which begins elsewhere.
        end_on_signals()
