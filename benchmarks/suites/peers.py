"""Other implementations of the same scores, by their own code in their own environments, on real embeddings in memory.

Environment variables: PEER_PYTHONS, pairs of a peer and the Python that has it, "nemo_curator=/path";
CHECKPOINTS, a folder with the published head as a .pth file and as ttj/sac-logos-ava1-l14-linearMSE/model.safetensors;
EMBEDDINGS, an .npy file of real embeddings, shape (n, 768), which is repeated up to 50,000 rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import data
import numpy as np
from harness import Case, Way

ROWS = 50_000
SERVE = Path(__file__).parents[1] / "peers" / "serve.py"
# Tolerance of scores: each peer sums 768 products in its own order.
NEAR = 1e-4
FOUND: dict[str, dict[str, object]] = {}


def cases() -> Iterator[Case]:
    """A case: all peers in turn, each in a process of its own with the threads that it takes by default."""
    yield Case("scores of embeddings in memory", _ways, rounds=9)


@contextmanager
def _ways() -> Iterator[list[Way]]:
    pythons = dict(pair.split("=", 1) for pair in os.environ["PEER_PYTHONS"].split())
    real = np.load(os.environ["EMBEDDINGS"]).astype(np.float32)
    matrix = np.tile(real, (-(-ROWS // len(real)), 1))
    folder = data.FOLDER / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "embeddings.npy", matrix)
    with ExitStack() as stack:
        ways = []
        for name, python in {"dask_aesthetic": sys.executable, **pythons}.items():
            scores = folder / f"{name}.npy"
            command = [python, str(SERVE), name, str(folder / "embeddings.npy"), os.environ["CHECKPOINTS"], str(scores)]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
            )
            stack.callback(process.stdin.close)
            what = _answer(process, name, "ready: ")
            ways.append(Way(name, partial(_again, process, name), len(matrix)))
            difference = float(np.abs(np.load(scores) - np.load(folder / "dask_aesthetic.npy")).max())
            assert difference < NEAR, (name, difference)
            FOUND[name] = {"version": what, "difference": difference}
        yield ways


def _again(process: subprocess.Popen, name: str) -> float:
    process.stdin.write("\n")
    process.stdin.flush()
    return float(_answer(process, name))


def _answer(process: subprocess.Popen, name: str, expected: str = "") -> str:
    """Next line of a peer with the expected prefix; libraries may print other lines before."""
    for line in process.stdout:
        if line.startswith(expected):
            return line.removeprefix(expected).strip()
    raise RuntimeError(f"{name} has ended with {process.wait()}")


def more(_) -> dict[str, object]:
    """Version of each peer, and the maximum difference of its scores from ours."""
    return {"peers": FOUND}
