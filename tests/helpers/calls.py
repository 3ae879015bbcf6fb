"""Calls between functions of the package in a job: ``python -m helpers.calls`` in tests/.

Each pair of a caller and a callee counts once; a change of file is a pair in two files.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import dask_aesthetic
from dask_aesthetic import score_dataset
from dask_aesthetic.synthetic import write_demo
from helpers import end_to_end

ROOT = str(Path(dask_aesthetic.__file__).parent) + "/"
JOBS = f"{ROOT}jobs/"


def pairs_of(run: Callable[[], object]) -> set[tuple[str, str, str, str]]:
    """Pairs of functions, as (file, name, file, name): the first has called the second."""
    pairs: set[tuple[str, str, str, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(ROOT):
            return
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(ROOT):
            caller = caller.f_back
        if caller is not None and caller.f_code is not code:
            before = caller.f_code
            pairs.add((before.co_filename, before.co_qualname, code.co_filename, code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return pairs


def main() -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = write_demo(folder / "in", rows=400)
        found = {"embeddings": pairs_of(lambda: score_dataset(source, folder / "out", threads=1))}
        (folder / "tars").mkdir()
        end_to_end.write_tars(folder / "tars", 16)
        _, *options = end_to_end.write_models(folder / "models")
        names = [name.strip("-") for name in options[::2]]
        model: dict[str, Any] = dict(zip(names, options[1::2], strict=True))
        model["threshold"] = float(model["threshold"])
        found["tars"] = pairs_of(
            lambda: score_dataset(folder / "tars", folder / "scores", embed=True, threads=1, **model)
        )
    for name, pairs in found.items():
        of_job = {one for one in pairs if one[0].startswith(JOBS)}
        for what, some in (("all", pairs), ("by functions of jobs/", of_job)):
            print(f"{name}, {what}: {len(some)} calls, {sum(one[0] != one[2] for one in some)} changes of file")


if __name__ == "__main__":
    main()
