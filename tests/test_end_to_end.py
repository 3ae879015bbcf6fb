"""Images to kept tars through the command line, in small; ``helpers/end_to_end.py`` does so at full size."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from helpers import commands, end_to_end


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def here(arguments: list[str]) -> str:
    """Standard output of a command in this process; starting another takes seconds."""
    return commands.printed(*arguments)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_images_come_to_kept_tars_though_the_run_is_killed(tmp_path):
    result = end_to_end.run(tmp_path, 64, ["--threads", "1"], here)
    assert (result["rows"], result["failed"]) == (64, {"undecodable": 1})
    assert all(rate > 0 for rate in end_to_end.stages(tmp_path, most=16).values())
