"""Fresh interpreters that start at once: each is forked from one that has imported the slow libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

# The child continues after the loop, to its end as any script does.
SERVER = """
import importlib, json, os, sys

import dask.dataframe, pandas, pyarrow, torch


def request():
    for line in iter(sys.stdin.readline, ""):
        if (child := os.fork()) == 0:
            return json.loads(line)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def begin(code, env, argv, out, err):
    for number, (path, flags) in enumerate(((os.devnull, os.O_RDONLY), (out, os.O_WRONLY), (err, os.O_WRONLY))):
        os.dup2(os.open(path, flags), number)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv[1:] = argv
    importlib.invalidate_caches()
    return compile(code, "<string>", "exec")


exec(begin(**request()), {"__name__": "__main__"})
"""


class Interpreter:
    """An interpreter that raises warnings as errors, forked for every piece of code."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-W", "error", "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run code, in place of the environment with another one."""
        with TemporaryDirectory() as folder:
            out, err = (Path(folder) / name for name in ("out", "err"))
            out.touch()
            err.touch()
            request = {"code": code, "argv": argv, "env": {**(os.environ if env is None else env)}}
            print(json.dumps({**request, "out": str(out), "err": str(err)}), file=self._server.stdin, flush=True)
            status = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(argv, status, out.read_text(), err.read_text())

    def close(self) -> None:
        """End it."""
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()
