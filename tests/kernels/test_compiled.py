"""The compiled kernel where it cannot be cached, and the way without numba."""

from __future__ import annotations

import os

import numpy as np
import pytest

SCORES = """
import numpy as np, pandas as pd, torch
import dask_aesthetic

random = np.random.default_rng(0)
x = random.standard_normal((600, 768), dtype=np.float32)
found = [dask_aesthetic.load_predictor(name).score(torch.from_numpy(x).to(dtype))[0]
         for name in ("laion-v2", "simulacra-l14") for dtype in (torch.float16, torch.bfloat16, torch.float32)]
rows = [*x[:40], None, [1.0] * 768, x[0].astype("f2"), np.zeros(768)]
frame = pd.DataFrame({"image_embedding": pd.Series(rows, dtype=object)}).aesthetic.score()
found.append(torch.tensor(frame["aesthetic_score"].to_list()))
np.save(sys.argv[1], torch.cat(found).numpy())
"""


@pytest.fixture
def scores(interpreter, tmp_path):
    """Scores by a fresh interpreter after some setup, and what it wrote to stderr."""

    def run(setup: str = "", **settings: str) -> tuple[np.ndarray, str]:
        file = tmp_path / "scores.npy"
        code = f"import sys\n{setup}\n{SCORES}"
        done = interpreter.run(code, str(file), env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **settings})
        assert done.returncode == 0, done.stderr
        return np.load(file), done.stderr

    return run


def test_without_numba_numpy_gives_the_same_bits_after_one_warning(scores):
    expected, _ = scores()
    blocked = "import warnings; warnings.simplefilter('default'); sys.modules['numba'] = None"
    found, printed = scores(blocked)
    assert found.tobytes() == expected.tobytes()
    assert printed.count("RuntimeWarning") == 1
    assert "scores are computed by numpy, with the same bits and many times slower: numba does not run here" in printed


def test_numba_that_is_switched_off_is_missing(scores):
    expected, _ = scores()
    found, printed = scores("import warnings; warnings.simplefilter('default')", NUMBA_DISABLE_JIT="1")
    assert found.tobytes() == expected.tobytes()
    assert "(ImportError: NUMBA_DISABLE_JIT is set)" in printed


def test_a_cache_that_cannot_be_written_stops_nothing(scores):
    """No file may grow beyond 20,000 bytes, as on a full disk; and a folder that is none."""
    expected, _ = scores()
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    assert scores(limited, NUMBA_CACHE_DIR="")[0].tobytes() == expected.tobytes()
    assert scores(NUMBA_CACHE_DIR=os.devnull)[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_cache_stops_nothing(scores, tmp_path, suffix):
    expected, _ = scores()
    files = list(tmp_path.rglob(f"*.{suffix}"))
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:-100])
    assert scores()[0].tobytes() == expected.tobytes()


def test_cached_code_of_other_types_is_not_run(scores, tmp_path):
    """As a full disk or a kill leaves it between index and code."""
    expected, _ = scores()
    code = sorted(tmp_path.rglob("*score_rows*.nbc"))
    assert len(code) > 2
    contents = [file.read_bytes() for file in code]
    for file, other in zip(code, [*contents[1:], contents[0]], strict=True):
        file.write_bytes(other)
    assert scores()[0].tobytes() == expected.tobytes()
