"""Pictures to kept tars through the command line, in small; ``tests/end_to_end.py`` does so at full size."""

from __future__ import annotations

import pytest

pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

import end_to_end


def test_pictures_come_to_kept_tars_though_the_run_is_killed(tmp_path):
    told = end_to_end.run(tmp_path, 120, ["--threads", "1"])
    assert (told["rows"], told["failed"]) == (120, {"undecodable": 1})


def test_each_stage_has_a_rate(tmp_path):
    end_to_end.write_tars(tmp_path / "in", 40)
    end_to_end.write_models(tmp_path / "models")
    assert all(rate > 0 for rate in end_to_end.stages(tmp_path).values())
