"""Run the notebooks in place: ``python notebooks/execute.py [NOTEBOOK ...]``, all of them if none is named.

Each runs in a fresh kernel of this very interpreter and in an empty folder of its own. What it shows is kept without
what would differ from run to run and machine to machine.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = sorted(Path(__file__).resolve().parent.glob("*.ipynb"))
TIMEOUT = 240  # Seconds for a cell. A notebook takes a tenth of it, but not on a machine that is busy with other work.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What names a machine or a moment, and what stands for it.
VOLATILE = (
    (re.compile(re.escape(tempfile.gettempdir()) + r"/\w+"), "temporary-folder"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), r"\1:8787"),
    (re.compile(r"\nExpr=\w+\([0-9a-f]+\)$"), ""),  # In Dask's text for a frame: a hash of the folder, too.
)


class ThisPython(AsyncKernelManager):
    """Kernels of the interpreter that runs this, whichever are installed for Jupyter."""

    @property
    def kernel_spec(self) -> KernelSpec:
        # It would warn, and rightly, that it talks over the loopback unencrypted.
        quiet = "--IPKernelApp.log_level=ERROR"
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", quiet]
        return KernelSpec(argv=command, **METADATA["kernelspec"])


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run a notebook's cells in `folder`; what they show replaces what it showed before.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell failed.
    """
    environment = {**os.environ, "IPYTHONDIR": str(folder / ".ipython")}  # Nobody's own settings.
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=TIMEOUT, kernel_manager_class=ThisPython, resources=resources)
    client.execute(env=environment)


def clean(notebook: NotebookNode) -> None:
    """Leave what people read: no times of execution, ports, temporary folders and bars half drawn."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
            for output in cell.outputs:
                _clean_output(output)


def joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Outputs, with pieces of a stream that follow each other as one."""
    whole: list[NotebookNode] = []
    for output in outputs:
        before = whole[-1] if whole else None
        if before is not None and output.output_type == "stream" and before.get("name") == output.name:
            before.text += output.text
        else:
            whole.append(output)
    return whole


def settled(text: str) -> str:
    """What was last drawn on each line of a terminal, where progress bars draw over themselves."""
    lines = []
    for line in text.replace("\x1b[2K", "").split("\n"):
        drawn = [piece.rstrip() for piece in line.split("\r") if piece.strip()]
        lines.append(drawn[-1] if drawn else "")
    return "\n".join(lines)


def _clean_output(output: NotebookNode) -> None:
    if output.output_type == "stream":
        output.text = _plain(settled(output.text))
        return
    output.metadata = {}
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/"):
            output.data[kind] = _plain(value)


def _plain(text: str) -> str:
    for pattern, name in VOLATILE:
        text = pattern.sub(name, text)
    return text


def main(paths: Iterable[Path]) -> None:
    """Run notebooks in place."""
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, Path(folder))
        clean(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or NOTEBOOKS)
