"""Start of the command line: commands are found without importing torch, pandas or Dask's dataframes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

START = """
import sys
from contextlib import suppress
{group}
with suppress(SystemExit):
    group({arguments}, prog_name="command")
heavy = {{"torch", "pandas", "dask.dataframe", "pyarrow", "dask_aesthetic.jobs", "dask_aesthetic.accessor"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
OURS = "from dask_aesthetic.cli import main as group"
DASK = f"{OURS}\nfrom dask.cli import cli\ncli.add_command(group)\ngroup = cli"


@pytest.mark.parametrize(
    ("group", "arguments", "printed"),
    [
        (OURS, ["--help"], "selftest  Compare scores of golden vectors"),
        (OURS, ["--version"], "dask-aesthetic, version"),
        (OURS, ["score", "--help"], "--rows-per-shard"),
        (OURS, ["filter", "--help"], "SCORES OUTPUT"),
        (OURS, ["score"], "Missing argument 'INPUT'"),
        (OURS, ["score", "in", "out", "--rows-per-shard", "0"], "0 is not in the range"),
        (OURS, ["absent"], "No such command 'absent'"),
        (DASK, ["--help"], "aesthetic  Score image embeddings"),
        (DASK, ["aesthetic", "report", "--help"], "--output"),
    ],
)
def test_help_version_and_usage_errors_import_nothing_heavy(group, arguments, printed):
    code = START.format(group=group, arguments=arguments)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert " ".join(printed.split()) in " ".join((done.stdout + done.stderr).split())


def test_the_commands_are_also_a_dask_subcommand():
    done = subprocess.run([Path(sys.executable).parent / "dask", "aesthetic", "--help"], capture_output=True, text=True)
    if done.returncode and "No such command" in done.stderr:
        pytest.skip("the package is on the path, but not installed, so its entry points do not exist")
    assert done.returncode == 0
    assert "selftest" in done.stdout
