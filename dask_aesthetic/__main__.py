"""The command: ``dask-aesthetic`` and ``python -m dask_aesthetic``."""

from dask_aesthetic.interrupt import end_on_signals


def main() -> None:
    """Run the command; Ctrl-C ends it in order from here on, also while the rest is imported."""
    end_on_signals()
    from dask_aesthetic.cli import main as command

    command(prog_name="python -m dask_aesthetic" if __name__ == "__main__" else None)


if __name__ == "__main__":
    main()
