"""Notebooks run unchanged in a fresh kernel of this interpreter, and are committed with their outputs."""

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
SCORE, ETL, TASTE, CHOOSE = "01-score-and-choose", "02-rapids-etl", "03-your-own-taste", "04-choose"

# Variables at the end of each notebook that the tests check; saved by an appended cell.
FACTS = {
    SCORE: """
        scores=scored["aesthetic_score"].compute(), keep=scored["keep"].compute(), threshold=threshold.value,
        kept=dd.read_parquet(folder / "kept")["aesthetic_score"].compute(), page=page.read_text(),
        usable=check.usable""",
    ETL: """
        scores=(frame := ddf.aesthetic.score().compute())["aesthetic_score"], keep=frame["keep"],
        threshold=threshold.value, counted=again.kept,
        kept=kept["aesthetic_score"], job=job["aesthetic_score"], job_keep=job["keep"],
        success=(folder / "scored" / "_SUCCESS").stat().st_size, cluster=cluster.status.name""",
    TASTE: """
        unrated=unrated, liking=liking, laion=laion, own=own, threshold=threshold.value, best=threshold.best["f1"],
        labeled=labeled["aesthetic_score"], wanted=labeled["wanted"], kept=kept["aesthetic_score"],
        same=loaded == taste, held_out=taste.held_out.pearson, prior=taste.prior_held_out.pearson""",
    CHOOSE: """
        rows=(rows := scores.compute())["aesthetic_score"], key=rows["key"].to_numpy(str),
        source=rows["source"].to_numpy(str), kept=kept["key"].to_numpy(str),
        ruled=read_scores(folder / "ruled").compute()["keep"],
        exported=pd.read_parquet(folder / "urls.parquet")["key"].to_numpy(str)""",
}

# Absolute paths of a machine, but not `</tr>` and `a/b`.
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
    """Function that runs a notebook, once, and returns it with its facts."""
    done = {}

    def run(name: str) -> tuple[NotebookNode, dict[str, np.ndarray]]:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
            ask = f"import sys, numpy\nnumpy.savez('facts.npz', python=sys.executable, {FACTS[name].strip()})"
            notebook.cells.append(new_code_cell(ask))
            executing.execute(notebook, folder)
            notebook.cells.pop()
            with np.load(folder / "notebooks/facts.npz") as facts:
                done[name] = notebook, dict(facts)
            left = {path.name for path in (folder / "notebooks").iterdir()} - {"facts.npz"}
            assert not left, "a notebook writes into its temporary folder alone"
        return done[name]

    return run


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def texts(notebook: NotebookNode) -> Iterator[str]:
    """All text of cells and outputs."""
    for cell in notebook.cells:
        yield cell.source
    for output in outputs(notebook):
        yield output.get("text", "")
        yield from (value for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


def test_every_notebook_is_tested():
    assert [path.stem for path in NOTEBOOKS] == list(FACTS)


@pytest.mark.timeout(600)  # Seconds, on a machine that is busy with other work.
@pytest.mark.parametrize("name", FACTS)
@pytest.mark.slow
def test_a_notebook_runs_and_prints_nothing_unexpected_on_stderr(ran, name):
    notebook, facts = ran(name)
    assert facts["python"].item() == sys.executable
    stderr = "".join(output.text for output in outputs(notebook) if output.get("name") == "stderr")
    assert [line for line in stderr.splitlines() if not line.startswith("local cluster: ")] == []
    assert ("local cluster: " in stderr) == (name == ETL)
    assert not any("Warning" in text for text in texts(notebook))


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.slow
def test_a_notebook_has_the_kinds_of_output_that_are_committed(ran, executing, name):
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
def test_committed_outputs_can_be_read_anywhere(executing, path):
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
    cleaned = nbformat.from_dict(notebook)
    executing.clean(cleaned)
    assert cleaned == notebook, "run notebooks/execute.py"
    assert path.stat().st_size < 200_000


@pytest.mark.slow
def test_score_and_choose_keeps_the_rows_that_numpy_keeps(ran):
    _, facts = ran(SCORE)
    scores = facts["scores"]
    assert len(scores) == 20_000
    assert facts["usable"]
    np.testing.assert_array_equal(facts["keep"], scores >= PRESETS["standard"])
    np.testing.assert_array_equal(facts["kept"], scores[scores >= np.float32(facts["threshold"])])
    assert 0.2 <= (scores >= np.float32(facts["threshold"])).sum() / np.isfinite(scores).sum() < 0.21
    assert "</html>" in facts["page"].item()
    assert "Synthetic embeddings" in facts["page"].item()


@pytest.mark.slow
def test_graph_and_job_on_a_cluster_keep_the_rows_that_numpy_keeps(ran):
    _, facts = ran(ETL)
    scores, threshold = facts["scores"], np.float32(facts["threshold"])
    np.testing.assert_array_equal(facts["keep"], scores >= PRESETS["standard"])
    np.testing.assert_array_equal(facts["kept"], scores[scores >= threshold])
    np.testing.assert_array_equal(facts["job"], scores)
    np.testing.assert_array_equal(facts["job_keep"], scores >= threshold)
    assert facts["counted"] == (scores >= threshold).sum()
    assert facts["success"] > 0
    assert facts["cluster"] == "closed"


@pytest.mark.slow
def test_your_own_taste_finds_the_rule_and_the_best_f1(ran):
    _, facts = ran(TASTE)
    unrated, liking = facts["unrated"], facts["liking"]
    assert len(unrated) == 7_500

    def correlation(scores):
        return np.corrcoef(scores[unrated], liking[unrated])[0, 1]

    assert correlation(facts["own"]) > 0.9 > 0.6 > correlation(facts["laion"])
    assert facts["held_out"] > facts["prior"] + 0.2
    assert facts["same"]
    threshold = np.float32(facts["threshold"])
    np.testing.assert_array_equal(facts["kept"], facts["own"][facts["own"] >= threshold])
    labeled, wanted = facts["labeled"], facts["wanted"]

    def f1(cutoff):
        kept = labeled >= cutoff
        return 2 * (kept & wanted).sum() / (kept.sum() + wanted.sum())

    assert len(labeled) == 500
    assert f1(threshold) == pytest.approx(max(map(f1, labeled)))
    assert f1(threshold) == pytest.approx(facts["best"])


@pytest.mark.slow
def test_choose_takes_the_best_of_each_source_that_numpy_takes(ran):
    _, facts = ran(CHOOSE)
    order = np.lexsort((facts["key"], -facts["rows"]))
    ranked = {name: facts["key"][order][facts["source"][order] == name] for name in np.unique(facts["source"])}
    assert set(ranked) == {"photos", "drawings"}
    assert set(facts["kept"]) == {key for keys in ranked.values() for key in keys[:500]}
    lowest = np.where(facts["source"] == "photos", np.float32(5.5), np.float32(5))
    np.testing.assert_array_equal(facts["ruled"], facts["rows"] >= lowest)
    best = facts["key"][order][np.isin(facts["key"][order], facts["kept"])]
    without = {key for keys in ranked.values() for key in keys[~np.isin(keys, best[:2])][:500]}
    assert set(facts["exported"]) == without | {"synthetic-000000"}


def test_executing_removes_outputs_that_change_between_runs(executing, monkeypatch):
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
