"""Select jobs by a rule over scores and other columns, with overrides, as pandas' boolean expression keeps rows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, ThresholdError, select_dataset
from dask_aesthetic.keep_rule import parse_rule
from helpers import chaos, commands

RECORD = {
    "schema_version": 1,
    "predictor": {"name": "laion-v2", "scale": "laion-v2"},
    "weights_sha256": "0" * 64,
    "scale": "raw",
    "threshold": {"value": 5.0, "scale": "raw", "name": "standard", "predictor": ""},
}
FILES, ROWS = 3, 200


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    for at in range(FILES):
        rng = np.random.default_rng(at)

        def some(values: Any, dtype: pa.DataType, rng: np.random.Generator = rng) -> pa.Array:
            return pa.array(values, dtype, mask=rng.random(ROWS) < 0.1)

        table = pa.table(
            {
                "key": [f"{at}-{key:04d}" for key in rng.permutation(ROWS)],
                "unsafe": some(rng.random(ROWS), pa.float64()),
                "width": some(rng.integers(100, 1000, ROWS), pa.int32()),
                "source": some(rng.choice(["a", "b", "c"], ROWS).tolist(), pa.string()),
                "pick": pa.array(rng.choice(np.array([True, False, None], object), ROWS, p=[0.05, 0.05, 0.9])),
                "aesthetic_score": some(rng.normal(5, 1, ROWS).round(1), pa.float32()),
                "keep": pa.array(np.zeros(ROWS, bool)),
                "status": pa.array(["ok"] * ROWS).dictionary_encode(),
            }
        )
        pq.write_table(
            table.replace_schema_metadata({"dask_aesthetic": json.dumps(RECORD)}),
            folder / f"{at}.parquet",
            row_group_size=70,
        )
    return folder


@pytest.fixture(scope="module")
def frame(scores) -> pd.DataFrame:
    return rows(scores)


def rows(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))], ignore_index=True)


def kept(folder: Path) -> list[bool]:
    return rows(folder)["keep"].tolist()


def test_a_rule_and_its_command_keep_what_pandas_keeps_and_count_it(scores, frame, tmp_path):
    keep = [("aesthetic_score", ">=", 5.1), ("unsafe", "<", 0.5), ("width", ">=", 512.0)]
    done = select_dataset(scores, tmp_path / "python", keep=keep)
    good, safe, large = frame["aesthetic_score"] >= 5.1, frame["unsafe"] < 0.5, frame["width"] >= 512
    both = good & safe & large
    assert kept(tmp_path / "python") == both.tolist()
    assert (done.kept, done.rows) == (both.sum(), FILES * ROWS)
    counts = done.rule_counts
    assert list(counts.clauses.values()) == [good.sum(), safe.sum(), large.sum()]
    assert (counts.kept, counts.alternatives) == (both.sum(), {})
    assert counts.nulls == frame[["aesthetic_score", "unsafe", "width"]].isna().sum().to_dict()
    texts = [option for text in ("aesthetic_score>=5.1", "unsafe<0.5", "width>=512") for option in ("--keep-if", text)]
    printed = json.loads(commands.printed("select", scores, tmp_path / "command", *texts, "--quiet", "--json"))
    assert chaos.content(tmp_path / "command") == chaos.content(tmp_path / "python")
    assert printed["rule_counts"]["clauses"] == dict(counts.clauses)
    manifest = json.loads((tmp_path / "python/_SUCCESS").read_text())
    assert manifest["rule_counts"] == printed["rule_counts"]
    table = commands.printed("select", scores, tmp_path / "table", *texts)
    assert f"rule  {good.sum():,} rows: aesthetic_score >= 5.1\n" in table
    assert f"{both.sum():,} rows together\n" in table


def test_a_rule_is_written_into_the_files_and_decides_whether_a_run_is_resumed(scores, tmp_path):
    keep = [[("aesthetic_score", ">=", "high")], [("source", "in", ["a", "b"]), ("unsafe", "<", 0.1)]]
    done = select_dataset(scores, tmp_path / "out", keep=keep)
    text = 'aesthetic_score >= 6 or (source in ["a", "b"] and unsafe < 0.1)'
    assert done.rule == text
    record = json.loads(pq.read_schema(tmp_path / "out/0.parquet").metadata[b"dask_aesthetic"])
    assert record["selected"]["kept"] == text
    assert "threshold" not in record
    before = chaos.committed(tmp_path / "out")
    again = [[["aesthetic_score", ">=", 6.0]], [["source", "in", ["a", "b"]], ["unsafe", "<", 0.1]]]
    commands.printed("select", scores, tmp_path / "out", "--keep-if", json.dumps(again))
    assert chaos.committed(tmp_path / "out") == before
    was = [[["aesthetic_score", ">=", 6]], *again[1:]]
    wanted = f"keep.any was {was} and now is {was[:1]}."
    with pytest.raises(ValueError, match=re.escape(wanted)):
        select_dataset(scores, tmp_path / "out", keep=[("aesthetic_score", ">=", 6)])


@pytest.mark.parametrize("seed", range(6))
def test_alternatives_overrides_and_ids_against_pandas(scores, frame, tmp_path, seed):
    rng = np.random.default_rng(seed)
    low, share, width = round(rng.normal(5, 1), 1), round(rng.random(), 2), int(rng.integers(100, 1000))
    text = [
        [["aesthetic_score", "<", low], ["source", "not in", ["a"]]],
        [["unsafe", ">", share], ["width", "!=", width]],
        [["source", "==", "c"]],
    ]
    exclude, include = (write_ids(tmp_path / name, frame.sample(9, random_state=rng)) for name in ("gone", "picked"))
    done = select_dataset(
        scores,
        tmp_path / "out",
        keep=parse_rule([json.dumps(text)]),
        override_column="pick",
        exclude=exclude[0],
        include=include[0],
    )
    parts = [
        (frame["aesthetic_score"] < low) & frame["source"].notna() & (frame["source"] != "a"),
        (frame["unsafe"] > share) & frame["width"].notna() & (frame["width"] != width),
        frame["source"] == "c",
    ]
    of_rule = parts[0] | parts[1] | parts[2]
    gone, picked = frame["key"].isin(exclude[1]), frame["key"].isin(include[1])
    forced, dropped = (frame["pick"].eq(flag).astype(bool) for flag in (True, False))
    expected = ((of_rule & ~dropped) | forced | picked) & ~gone
    assert kept(tmp_path / "out") == expected.tolist()
    assert done.rule_counts.override_kept == (forced & ~of_rule & ~gone).sum()
    assert done.rule_counts.override_dropped == (dropped & of_rule & ~gone & ~picked).sum()
    assert done.included == (picked & ~gone & ~forced & (~of_rule | dropped)).sum()
    assert list(done.rule_counts.alternatives.values()) == [part.sum() for part in parts]


def write_ids(path: Path, rows: pd.DataFrame) -> tuple[Path, list[str]]:
    keys = rows["key"].tolist()
    pq.write_table(pa.table({"key": keys}), path)
    return path, keys


@pytest.mark.parametrize("by", [None, "source"])
def test_rows_that_satisfy_the_rule_compete_for_the_best(scores, frame, tmp_path, by):
    select_dataset(
        scores, tmp_path / "out", keep=[("unsafe", "<", 0.6)], override_column="pick", top=40, by=by, threads=1
    )
    forced, dropped = (frame["pick"].eq(flag).astype(bool) for flag in (True, False))
    competing = frame[(frame["unsafe"] < 0.6) & frame["aesthetic_score"].notna() & ~dropped]
    ranked = competing.sort_values(["aesthetic_score", "key"], ascending=[False, True])
    parts = [ranked] if by is None else [part for _, part in ranked.groupby(by, dropna=False)]
    best = frame.index.isin([index for part in parts for index in part.index[:40]])
    assert kept(tmp_path / "out") == (best | forced).tolist()


def test_an_override_wins_over_a_threshold_too(scores, frame, tmp_path):
    done = select_dataset(scores, tmp_path / "out", threshold=5.5, override_column="pick")
    good = frame["aesthetic_score"] >= 5.5
    expected = good.where(frame["pick"].isna(), frame["pick"].eq(True))
    assert kept(tmp_path / "out") == expected.tolist()
    assert done.rule_counts.clauses == {}
    printed = commands.printed("select", scores, tmp_path / "c", "--threshold", 5.5, "--override-column", "pick")
    counts = done.rule_counts
    assert f"rule  {counts.override_kept} rows kept and {counts.override_dropped} dropped by the override" in printed


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"keep": [("unsafe", "<", 0.1)], "threshold": 5}, ArgumentError, "got both: threshold=5 is short for"),
        ({"keep": [("unsave", "<", 0.1)]}, ColumnError, "did you mean 'unsafe'"),
        ({"keep": [("aesthetic_score", ">=", 0.5)]}, ThresholdError, "did you mean 5"),
        ({"keep": [("unsafe", "<", "high")]}, ArgumentError, "expected a number for column 'unsafe' of double"),
        ({"keep": []}, ArgumentError, "expected keep as a list of clauses"),
        ({"keep": [("unsafe", "<", 0.1)], "by": "source"}, ArgumentError, "expected top or keep_fraction with by"),
        ({"override_column": "unsafe"}, ColumnError, "a column of true, false or null, in 'unsafe', got double"),
        ({"override_column": "pock"}, ColumnError, "expected override_column='pock' to be a column.*mean 'pick'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_written(scores, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        select_dataset(scores, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("unsafe<", "expected a column, an operator"), ("unsave<1", "'unsave'"), ("unsafe<a", "number")],
)
def test_the_command_refuses_them_as_bad_usage(scores, tmp_path, text, message):
    ended = commands.run("select", scores, tmp_path / "out", "--keep-if", text)
    assert ended.status == 2
    assert message in ended.err
