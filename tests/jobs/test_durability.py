"""What is on the disk before what, and what a loss of power may take."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from dask_aesthetic import score_dataset
from helpers import chaos


def test_content_is_on_the_disk_before_its_name_and_names_before_the_manifest(tmp_path, monkeypatch):
    source, output = chaos.write_shards(tmp_path / "in", shards=3, rows=50), tmp_path / "out"
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(number):
        events.append(("sync", os.readlink(f"/proc/self/fd/{number}")))
        fsync(number)

    def seen_replace(old, new):
        events.append(("name", str(new)))
        replace(old, new)
        events[:] = [(what, str(new) if path == str(old) else path) for what, path in events]

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    score_dataset(source, output, threads=1)
    manifest = events.index(("name", str(output / "_SUCCESS")))
    named = [path for what, path in events if what == "name" and path.startswith(str(output))]
    for path in named:
        if "/markers/" in path:
            continue
        assert events.index(("sync", path)) < events.index(("name", path)), path
    for at in range(3):
        marker = output / f"_dask_aesthetic/markers/part-{at:04d}.json"
        assert events.index(("name", str(output / f"part-{at:04d}.parquet"))) < events.index(("name", str(marker)))
    for folder in {str(Path(path).parent) for path in named} - {str(output / "_dask_aesthetic")}:
        last = max(at for at, (what, path) in enumerate(events) if what == "name" and path.startswith(f"{folder}/p"))
        assert last < events.index(("sync", folder), last) < manifest
    assert ("sync", str(output)) in events[manifest:]
    # Outputs, a list of failures, settings, manifest, and four folders' names.
    assert sum(what == "sync" and path.startswith(str(output)) for what, path in events) == 3 + 1 + 1 + 1 + 4


def test_lost_markers_and_outputs_cost_time_alone(tmp_path):
    """A loss of power may take back names, and leave markers without content."""
    source = chaos.write_shards(tmp_path / "in", shards=6, rows=50)
    score_dataset(source, tmp_path / "calm")
    calm = chaos.content(tmp_path / "calm")
    for finished in (False, True):
        output = tmp_path / f"out-{finished}"
        score_dataset(source, output)
        markers = output / "_dask_aesthetic/markers"
        (markers / "part-0000.json").unlink()
        (markers / "part-0001.json").write_bytes(b"")
        (markers / "part-0002.json").write_bytes((markers / "part-0002.json").read_bytes()[:100])
        (output / "part-0003.parquet").unlink()
        if not finished:
            (output / "_SUCCESS").unlink()
        summary = score_dataset(source, output)
        chaos.check(output, calm, 300, summary)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"shards": []}', b'{"shards": [{"name": "part-0'])
def test_a_damaged_manifest_is_written_again(tmp_path, content):
    source, manifest = chaos.write_shards(tmp_path / "in", shards=3, rows=50), tmp_path / "out/_SUCCESS"
    score_dataset(source, tmp_path / "out")
    whole = json.loads(manifest.read_bytes())
    manifest.write_bytes(content)
    score_dataset(source, tmp_path / "out")
    assert json.loads(manifest.read_bytes()) == whole


def test_every_crash_point_in_the_documentation_has_its_test():
    folder = Path(__file__).parent
    table = (folder.parents[1] / "docs/crash-points.md").read_text()
    names = set(re.findall(r"test_\w{12,}", table))
    assert len(names) > 10
    tests = "".join(path.read_text() for path in folder.glob("test_*.py"))
    assert [name for name in sorted(names) if f"def {name}(" not in tests] == []
