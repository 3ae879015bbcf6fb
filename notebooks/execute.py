"""Run notebooks in place: ``python notebooks/execute.py [NOTEBOOK ...]``; default: all notebooks.

Each runs in a fresh kernel of this interpreter and in an empty folder of its own, which stands beside `tests` as
`notebooks` does. Outputs are saved without the parts that change between runs and machines.
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

HERE = Path(__file__).resolve().parent
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))
TIMEOUT = 240  # Seconds of a cell; a tenth suffices unless the machine is busy.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# Text that depends on machine or time, and its replacement.
VOLATILE = (
    (re.compile(re.escape(tempfile.gettempdir()) + r"/\w+"), "temporary-folder"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), r"\1:8787"),
    (re.compile(r"\nExpr=\w+\([0-9a-f]+\)$"), ""),  # The repr of a Dask frame has a hash of the folder.
)


class ThisPython(AsyncKernelManager):
    """Kernel manager of this interpreter, independent of the kernels that Jupyter knows."""

    @property
    def kernel_spec(self) -> KernelSpec:
        # ipykernel warns that its loopback connection is unencrypted.
        quiet = "--IPKernelApp.log_level=ERROR"
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", quiet]
        return KernelSpec(argv=command, **METADATA["kernelspec"])


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run a notebook's cells in the new folder `folder` / notebooks, and replace its outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell failed.
    """
    environment = {**os.environ, "IPYTHONDIR": str(folder / ".ipython")}  # Ignore user settings.
    (folder / "tests").symlink_to(HERE.parent / "tests")
    (folder / HERE.name).mkdir()
    resources = {"metadata": {"path": str(folder / HERE.name)}}
    client = NotebookClient(notebook, timeout=TIMEOUT, kernel_manager_class=ThisPython, resources=resources)
    client.execute(env=environment)


def clean(notebook: NotebookNode) -> None:
    """Remove execution times, ports, temporary folders and unfinished progress bars from a notebook."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
            for output in cell.outputs:
                _clean_output(output)


def joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Join consecutive pieces of the same output stream."""
    merged: list[NotebookNode] = []
    for output in outputs:
        before = merged[-1] if merged else None
        if before is not None and output.output_type == "stream" and before.get("name") == output.name:
            before.text += output.text
        else:
            merged.append(output)
    return merged


def final_lines(text: str) -> str:
    """Final text of each terminal line, where progress bars overwrite themselves."""
    lines = []
    for line in text.replace("\x1b[2K", "").split("\n"):
        drawn = [piece.rstrip() for piece in line.split("\r") if piece.strip()]
        lines.append(drawn[-1] if drawn else "")
    return "\n".join(lines)


def _clean_output(output: NotebookNode) -> None:
    if output.output_type == "stream":
        output.text = _replace_volatile(final_lines(output.text))
        return
    output.metadata = {}
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/"):
            output.data[kind] = _replace_volatile(value)


def _replace_volatile(text: str) -> str:
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
