"""The notebooks run as they stand, in a fresh kernel of this interpreter, and are committed with what they show."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

from dask_aesthetic import PRESETS

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SCORE, ETL, TASTE = "01-score-and-choose", "02-rapids-etl", "03-your-own-taste"

# Appended to a notebook: what it has at its end, for the tests to look at.
FACTS = {
    SCORE: """
        scores=scored["aesthetic_score"].compute(), keep=scored["keep"].compute(), cut=cut.value,
        kept=dd.read_parquet(folder / "kept")["aesthetic_score"].compute(), page=page.read_text(),
        usable=check.usable""",
    ETL: """
        scores=(frame := ddf.aesthetic.score().compute())["aesthetic_score"], keep=frame["keep"], cut=cut.value,
        kept=kept["aesthetic_score"], job=job["aesthetic_score"], job_keep=job["keep"], counted=again.kept,
        success=(folder / "scored" / "_SUCCESS").stat().st_size, cluster=cluster.status.name""",
    TASTE: """
        unrated=unrated, liking=liking, laion=laion, own=own, cut=cut.value, best=cut.best["f1"],
        labeled=labeled["aesthetic_score"], wanted=labeled["wanted"], kept=kept["aesthetic_score"],
        same=loaded == taste, held_out=taste.held_out.pearson, prior=taste.prior_held_out.pearson""",
}

# What names a machine: folders from the root, but not `</tr>` and `a/b`.
MACHINE = re.compile(r"(?<![\w.<])/(tmp|home|root|work|Users|var|opt|usr|private)\b|[A-Z]:\\\\")


@pytest.fixture(scope="module")
def executing():
    """notebooks/execute.py."""
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ran(executing, tmp_path_factory):
    """A notebook as it runs, and its facts; each runs once."""
    done = {}

    def run(name: str) -> tuple[NotebookNode, dict[str, np.ndarray]]:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
            ask = f"import sys, numpy\nnumpy.savez('facts.npz', python=sys.executable, {FACTS[name].strip()})"
            notebook.cells.append(new_code_cell(ask))
            executing.execute(notebook, folder)
            notebook.cells.pop()
            with np.load(folder / "facts.npz") as facts:
                done[name] = notebook, dict(facts)
            left = {path.name for path in folder.iterdir()} - {"facts.npz", ".ipython"}
            assert not left, "a notebook writes into its temporary folder alone"
        return done[name]

    return run


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def texts(notebook: NotebookNode) -> Iterator[str]:
    """All that people read, but pictures."""
    for cell in notebook.cells:
        yield cell.source
    for output in outputs(notebook):
        yield output.get("text", "")
        yield from (value for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


def test_the_notebooks_are_those_that_are_tested():
    assert [path.stem for path in NOTEBOOKS] == list(FACTS)


@pytest.mark.timeout(600)  # Seconds, on a machine that is busy with other work.
@pytest.mark.parametrize("name", FACTS)
@pytest.mark.slow
def test_a_notebook_runs_in_this_interpreter_and_says_nothing_on_standard_error_but_what_the_cluster_is(ran, name):
    notebook, facts = ran(name)
    assert facts["python"].item() == sys.executable
    said = "".join(output.text for output in outputs(notebook) if output.get("name") == "stderr")
    assert [line for line in said.splitlines() if not line.startswith("local cluster: ")] == []
    assert ("local cluster: " in said) == (name == ETL)
    assert not any("Warning" in text for text in texts(notebook))


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.slow
def test_a_notebook_shows_the_kinds_of_output_that_are_committed(ran, executing, name):
    def kinds(notebook):
        return [
            sorted(
                sorted([*output.get("data", {}), output.get("name", "")]) for output in executing.joined(cell.outputs)
            )
            for cell in notebook.cells
            if cell.cell_type == "code"
        ]

    notebook, _ = ran(name)
    assert kinds(notebook) == kinds(nbformat.read(FOLDER / f"{name}.ipynb", as_version=4))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_outputs_that_people_can_read_anywhere(executing, path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(cell.outputs) for cell in code) >= len(code) - 1
    for output in outputs(notebook):
        assert output.output_type != "error"
        shown = set(output.get("data", {"text/plain": ""}))
        assert "text/plain" in shown
        assert shown <= {"text/plain", "text/html", "image/png"}, "a code host shows no widgets"
    assert not [text for text in texts(notebook) if MACHINE.search(text)]
    assert not any("\x1b" in text or "\r" in text for text in texts(notebook))
    again = nbformat.from_dict(notebook)
    executing.clean(again)
    assert again == notebook, "run notebooks/execute.py"
    assert path.stat().st_size < 200_000


@pytest.mark.slow
def test_score_and_choose_keeps_what_numpy_keeps(ran):
    _, facts = ran(SCORE)
    scores = facts["scores"]
    assert len(scores) == 20_000
    assert facts["usable"]
    np.testing.assert_array_equal(facts["keep"], scores >= PRESETS["standard"])
    np.testing.assert_array_equal(facts["kept"], scores[scores >= np.float32(facts["cut"])])
    assert 0.2 <= (scores >= np.float32(facts["cut"])).sum() / np.isfinite(scores).sum() < 0.21
    assert "</html>" in facts["page"].item()
    assert "Synthetic embeddings" in facts["page"].item()


@pytest.mark.slow
def test_on_a_cluster_graph_and_job_keep_what_numpy_keeps(ran):
    _, facts = ran(ETL)
    scores, cut = facts["scores"], np.float32(facts["cut"])
    np.testing.assert_array_equal(facts["keep"], scores >= PRESETS["standard"])
    np.testing.assert_array_equal(facts["kept"], scores[scores >= cut])
    np.testing.assert_array_equal(facts["job"], scores)
    np.testing.assert_array_equal(facts["job_keep"], scores >= cut)
    assert facts["counted"] == (scores >= cut).sum()
    assert facts["success"] > 0
    assert facts["cluster"] == "closed"


@pytest.mark.slow
def test_your_own_taste_finds_the_rule_and_the_threshold_of_the_best_f1(ran):
    _, facts = ran(TASTE)
    unrated, liking = facts["unrated"], facts["liking"]
    assert len(unrated) == 7_500

    def agrees(scores):
        return np.corrcoef(scores[unrated], liking[unrated])[0, 1]

    assert agrees(facts["own"]) > 0.9 > 0.6 > agrees(facts["laion"])
    assert facts["held_out"] > facts["prior"] + 0.2
    assert facts["same"]
    cut = np.float32(facts["cut"])
    np.testing.assert_array_equal(facts["kept"], facts["own"][facts["own"] >= cut])
    labeled, wanted = facts["labeled"], facts["wanted"]

    def f1(threshold):
        kept = labeled >= threshold
        return 2 * (kept & wanted).sum() / (kept.sum() + wanted.sum())

    assert len(labeled) == 500
    assert f1(cut) == pytest.approx(max(map(f1, labeled)))
    assert f1(cut) == pytest.approx(facts["best"])


def test_executing_leaves_out_what_changes_from_run_to_run(executing, monkeypatch):
    bar = "\r[####    ] | 50% Completed |  0.1s\r[########] | 100% Completed |  0.2s\x1b[2K\r"
    folder = Path(tempfile.gettempdir()) / "ab_12cd"
    cell = new_code_cell(
        "cell",
        id="cell",
        execution_count=1,
        metadata={"execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"}},
        outputs=[
            new_output("stream", name="stdout", text=f"open {folder}/report.html\n"),
            new_output("stream", name="stdout", text=bar),
            new_output("stream", name="stderr", text="dashboard http://127.0.0.1:40123/status\n"),
            new_output("execute_result", {"text/plain": "Dask Name: a, 1 expression\nExpr=ReadParquet(30fa1)"}),
        ],
    )
    notebook = nbformat.v4.new_notebook(
        cells=[cell], metadata={"language_info": {"name": "python", "version": "3.11.7"}}
    )
    executing.clean(notebook)
    shown = [output.get("text") or output.data["text/plain"] for output in outputs(notebook)]
    assert shown == [
        "open temporary-folder/report.html\n[########] | 100% Completed |  0.2s",
        "dashboard http://127.0.0.1:8787/status\n",
        "Dask Name: a, 1 expression",
    ]
    assert cell.metadata == {}
    assert notebook.metadata == executing.METADATA
