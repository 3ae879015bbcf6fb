"""Scores kept by a rule and an override: frames, readers, jobs and the command keep what pandas' expression keeps."""

from __future__ import annotations

import html
import json

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dask_aesthetic  # noqa: F401
from dask_aesthetic import ArgumentError, ColumnError, ThresholdError, read_and_score, score_dataset, select_dataset
from helpers import chaos, commands
from helpers.laziness import no_compute
from helpers.parquet_frames import EMBEDDING, is_scored, reads

PREDICTORS = {"aesthetic_score": "laion-v2", "ava_score": "laion-v2-ava"}
COLUMNS = ["key", "unsafe", "width", "pick"]
FILES, ROWS = 3, 60


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    for at in range(FILES):
        rng = np.random.default_rng(at)
        vectors = [None if rng.random() < 0.1 else row for row in rng.standard_normal((ROWS, 768)).astype(np.float32)]
        table = pa.table(
            {
                "key": [f"{at}-{row:03d}" for row in range(ROWS)],
                "unsafe": pa.array(rng.random(ROWS), mask=rng.random(ROWS) < 0.1),
                "width": pa.array(rng.integers(1, 1000, ROWS), pa.int16(), mask=rng.random(ROWS) < 0.1),
                "pick": pa.array([[True, False, None][one] for one in rng.choice(3, ROWS, p=[0.1, 0.1, 0.8])]),
                EMBEDDING: pa.array(vectors, pa.list_(pa.float32())),
            }
        )
        pq.write_table(table, folder / f"{at}.parquet", row_group_size=25)
    return folder


@pytest.fixture(scope="module")
def frame(source) -> pd.DataFrame:
    return pd.concat([read(path) for path in sorted(source.glob("*.parquet"))], ignore_index=True)


def read(path) -> pd.DataFrame:
    return pq.read_table(path).to_pandas(types_mapper=pd.ArrowDtype)


@pytest.fixture(scope="module")
def scored(frame) -> pd.DataFrame:
    """Scores alone, with columns of NumPy, in which pandas compares."""
    found = frame.aesthetic.score(predictor=PREDICTORS, threshold=None)
    assert list(found.columns) == [*frame.columns, *PREDICTORS]
    return found.astype({"unsafe": float, "width": float, "pick": object})


@pytest.fixture(scope="module")
def keep(scored) -> list:
    """Rule over both scores and columns that are there, with alternatives."""
    low, high = (float(scored[name].quantile(q)) for name, q in (("aesthetic_score", 0.4), ("ava_score", 0.9)))
    return [[("aesthetic_score", ">=", low), ("unsafe", "<", 0.7), ("width", "!=", 500)], [("ava_score", ">", high)]]


@pytest.fixture(scope="module")
def of_rule(scored, keep) -> pd.Series:
    (_, _, low), (_, _, high) = keep[0][0], keep[1][0]
    first = (scored["aesthetic_score"] >= low) & (scored["unsafe"] < 0.7) & scored["width"].notna()
    return first & (scored["width"] != 500) | (scored["ava_score"] > high)


@pytest.fixture(scope="module")
def expected(scored, of_rule) -> list[bool]:
    pick = scored["pick"]
    found = of_rule.where(pick.isna(), pick.eq(True)).tolist()
    assert 0 < sum(found) < len(found)
    assert found != of_rule.tolist()
    return found


def check(found: pd.DataFrame, scored: pd.DataFrame, expected: list[bool]) -> None:
    assert found["keep"].dtype == bool
    assert found["keep"].tolist() == expected
    for name in PREDICTORS:
        assert found[name].to_numpy().tobytes() == scored[name].to_numpy().tobytes()


def test_pandas_and_dask_frames(frame, scored, keep, expected):
    rule = {"predictor": PREDICTORS, "keep": keep, "override_column": "pick"}
    check(frame.aesthetic.score(**rule), scored, expected)
    assert list(frame.columns) == [*COLUMNS, EMBEDDING]
    numpy = frame.assign(unsafe=scored["unsafe"], width=scored["width"], pick=scored["pick"])
    check(numpy.aesthetic.score(**rule), scored, expected)
    with no_compute():
        lazy = dd.from_pandas(frame, npartitions=4).aesthetic.score(**rule)
    check(lazy.compute(), scored, expected)
    kept = dd.from_pandas(frame, npartitions=4).aesthetic.filter(**rule).compute()
    assert kept["key"].tolist() == frame["key"][expected].tolist()
    assert len(frame.aesthetic.filter(**rule)) == sum(expected)


@pytest.mark.parametrize("options", [{}, {"dtype_backend": "pyarrow"}, {"filesystem": "arrow"}])
def test_frames_that_are_scored_while_dask_reads(source, scored, keep, expected, options):
    lazy = dd.read_parquet(source, **options)
    found = lazy.aesthetic.score(predictor=PREDICTORS, keep=keep, override_column="pick")
    some = found[["key", *PREDICTORS, "keep"]]
    assert is_scored(some)
    for computed in (some.compute(), found.compute()):  # Arrow lists files in any order.
        check(computed.sort_values("key", ignore_index=True), scored, expected)
    narrow = lazy.aesthetic.score(keep=[("unsafe", "<", 0.5)])[["key", "keep"]]
    assert all(set(names) == {"key", "unsafe"} for _, names in reads(narrow))
    assert narrow.compute().sort_values("key")["keep"].tolist() == (scored["unsafe"] < 0.5).tolist()


def test_read_and_score_reads_the_columns_of_the_rule(source, scored, keep, expected):
    found = read_and_score(source, predictor=PREDICTORS, keep=keep, override_column="pick", rows_per_partition=40)
    assert list(found.columns) == [*COLUMNS, *PREDICTORS, "keep"]
    check(found.compute(), scored, expected)


def test_a_job_and_its_command_keep_count_and_resume(source, scored, keep, of_rule, expected, tmp_path):
    done = score_dataset(
        source, tmp_path / "out", predictor=PREDICTORS, keep=keep, override_column="pick", rows_per_shard=30
    )
    found = pd.concat([read(path) for path in sorted((tmp_path / "out").glob("[0-9]*.parquet"))], ignore_index=True)
    assert list(found.columns) == [*COLUMNS, *PREDICTORS, "keep", "status"]
    assert found["keep"].tolist() == expected
    counts, pick = done.rule_counts, scored["pick"]
    assert (done.kept, counts.rows, counts.kept) == (sum(expected), FILES * ROWS, of_rule.sum())
    assert counts.clauses["unsafe < 0.7"] == (scored["unsafe"] < 0.7).sum()
    assert counts.nulls == {name: scored[name].isna().sum() for name in counts.nulls}
    assert (counts.override_kept, counts.override_dropped) == (
        (pick.eq(True) & ~of_rule).sum(),
        (pick.eq(False) & of_rule).sum(),
    )
    record = json.loads(pq.read_schema(tmp_path / "out/0.00000-of-00002.parquet").metadata[b"dask_aesthetic"])
    assert record["keep"]["any"] == json.loads(json.dumps(keep))
    assert (record["override_column"], "threshold" in record) == ("pick", False)
    before = chaos.content(tmp_path / "out")
    options = ["--predictor", "aesthetic_score=laion-v2", "--predictor", "ava_score=laion-v2-ava"]
    options += ["--rows-per-shard", 30, "--override-column", "pick", "--keep-if", json.dumps(keep)]
    committed = chaos.committed(tmp_path / "out")
    assert "rows together" in commands.printed("score", source, tmp_path / "out", *options)
    assert chaos.committed(tmp_path / "out") == committed
    printed = json.loads(commands.printed("score", source, tmp_path / "again", *options, "--json", "--quiet"))
    assert printed["rule_counts"]["clauses"] == counts.clauses
    assert chaos.content(tmp_path / "again") == before
    with pytest.raises(ValueError, match=r"keep\.any was"):
        score_dataset(source, tmp_path / "out", predictor=PREDICTORS, keep=keep[0], rows_per_shard=30)
    commands.printed("report", tmp_path / "out", "--output", tmp_path / "report.html")
    page = html.unescape((tmp_path / "report.html").read_text())
    safe = (scored["unsafe"] < 0.7).sum()
    assert f"<bdi>unsafe < 0.7</bdi></th><td>{safe}</td><td>{safe / len(scored):.2%}</td>" in page
    assert f"<bdi>by any alternative</bdi></th><td>{of_rule.sum()}</td>" in page
    again = select_dataset(tmp_path / "out", tmp_path / "selected")
    assert (again.kept, again.rule_counts.clauses) == (done.kept, counts.clauses)
    other = select_dataset(tmp_path / "out", tmp_path / "other", keep=[("ava_score", "<", 4.5), ("width", ">", 99)])
    assert other.kept == ((scored["ava_score"] < 4.5) & (scored["width"] > 99)).sum()


def test_clauses_of_the_command_and_an_override_of_a_threshold(source, scored, tmp_path):
    low = round(float(scored["aesthetic_score"].median()), 2)
    texts = ["--keep-if", f"aesthetic_score>={low}", "--keep-if", "unsafe<0.5", "--keep-only"]
    table = commands.printed("score", source, tmp_path / "out", *texts)
    safe = scored["unsafe"] < 0.5
    kept = (scored["aesthetic_score"].astype(float) >= np.float32(low)) & safe
    assert f"kept  {kept.sum()} (" in table
    assert f"of the scored: aesthetic_score >= {low:g} and unsafe < 0.5)" in table
    assert f"{safe.sum()} rows: unsafe < 0.5" in table
    assert sum(len(pq.read_table(path)) for path in (tmp_path / "out").glob("[0-9]*.parquet")) == kept.sum()
    done = score_dataset(source, tmp_path / "threshold", threshold=low, override_column="pick")
    good, pick = scored["aesthetic_score"] >= low, scored["pick"]
    assert done.kept == good.where(pick.isna(), pick.eq(True)).sum()
    record = json.loads(pq.read_schema(tmp_path / "threshold/0.parquet").metadata[b"dask_aesthetic"])
    assert (record["threshold"]["value"], record["override_column"]) == (low, "pick")


REFUSED = [
    ({"keep": [("unsafe", "<", 0.1)], "threshold": 5}, ArgumentError, "expected keep or threshold, got both"),
    ({"keep": [("aesthetic_score", ">=", 0.5)]}, ThresholdError, "did you mean 5"),
    ({"keep": [("aesthetic_score", ">=", 5)], "scale": "unit"}, ThresholdError, "did you mean 0.5"),
    ({"keep": [("v1", ">=", "high")], "predictor": {"v1": "laion-v1-l14"}}, ThresholdError, "expected a number as thr"),
    ({"keep": [("unsave", "<", 0.1)]}, ColumnError, "expected column 'unsave' in keep .*mean 'unsafe'"),
    ({"keep": [("unsafe", "<", "a")]}, ArgumentError, "expected a number for column 'unsafe' of double"),
    ({"keep": [(EMBEDDING, "<", 1)]}, ColumnError, f"expected numbers, texts or bools in column '{EMBEDDING}'"),
    ({"keep": [("keep", "==", True)]}, ColumnError, "expected keep_column='keep' to differ from the columns of keep"),
    (
        {"override_column": "width"},
        ColumnError,
        "expected override_column, a column of true, false or null, in 'width'",
    ),
    ({"override_column": "pick", "threshold": None}, ThresholdError, "expected a threshold with override_column"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_read(
    source, frame, tmp_path, arguments, error, message
):
    for call in (
        lambda: frame.aesthetic.score(**arguments),
        lambda: dd.from_pandas(frame, npartitions=2).aesthetic.score(**arguments),
        lambda: read_and_score(source, **arguments),
        lambda: score_dataset(source, tmp_path / "out", **arguments),
    ):
        with no_compute(), pytest.raises(error, match=message):
            call()
    assert not (tmp_path / "out").exists()
