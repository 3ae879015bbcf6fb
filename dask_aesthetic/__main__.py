"""``python -m dask_aesthetic``."""

from dask_aesthetic.cli import main

if __name__ == "__main__":
    main(prog_name="python -m dask_aesthetic")
