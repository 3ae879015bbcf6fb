"""Rules for keep: the rows that pandas' own boolean expression keeps, on every kind of column; refused spellings."""

from __future__ import annotations

import json
import operator
from functools import partial, reduce
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic.errors import ArgumentError, ColumnError, ThresholdError
from dask_aesthetic.keep_rule import Clause, KeepRule, Override, RuleCounts, mask_of, parse_rule
from dask_aesthetic.keep_rule.masks import series_mask
from dask_aesthetic.thresholds import Threshold, find_threshold
from helpers import backends

ROWS = 200
COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
VALUES = {
    "score": [5.1, 4.9, 5, 5.0, -1, 16777217],
    "half": [0.1, 0.25, 3],
    "unsafe": [0.1, 0.3, 0, 1e-50],
    "width": [512, 511.5, -1, 2**40, 2**53 + 1],
    "small": [3, 2.5, -1, 300],
    "license": ["cc0", "cc-by", "b", "Å", ""],
    "watermark": [True, False],
}


def table(seed: int) -> pa.Table:
    """Columns of all kinds, with values at the bounds, nulls and NaN."""
    rng = np.random.default_rng(seed)

    def column(name: str, dtype: pa.DataType, values: list[Any]) -> pa.Array:
        chosen = rng.choice(np.array(values, object), ROWS)
        return pa.array([None if rng.random() < 0.1 else value for value in chosen], dtype)

    return pa.table(
        {
            "score": column("score", pa.float32(), [np.float32(value) for value in (5.1, 4.9, 5, 6, 16777216, "nan")]),
            "half": column("half", pa.float16(), [np.float16(value) for value in (0.1, 0.2, 3)]),
            "unsafe": column("unsafe", pa.float64(), [0.1, 0.30000000000000004, 0.0, float("inf"), float("nan")]),
            "width": column("width", pa.int64(), [511, 512, -1, 2**53, 2**53 + 1]),
            "small": column("small", pa.uint8(), [0, 2, 3, 255]),
            "license": column("license", pa.string(), ["cc0", "cc-by", "Å", "", "zz"]),
            "watermark": column("watermark", pa.bool_(), [True, False]),
        }
    )


def random_rule(seed: int) -> list[list[tuple[str, str, Any]]]:
    rng = np.random.default_rng(seed)

    def clause() -> tuple[str, str, Any]:
        name = str(rng.choice(list(VALUES)))
        of_bools = ["==", "!=", "in", "not in"]
        symbol = str(rng.choice(of_bools if name == "watermark" else [*COMPARE, "in", "not in"]))
        values = [VALUES[name][at] for at in rng.permutation(len(VALUES[name]))]
        return name, symbol, values[: rng.integers(1, 4)] if symbol in ("in", "not in") else values[0]

    return [[clause() for _ in range(rng.integers(1, 4))] for _ in range(rng.integers(1, 4))]


def expected(frame: pd.DataFrame, rule: list[list[tuple[str, str, Any]]]) -> np.ndarray:
    """Rows by pandas' operators on nullable columns."""

    def satisfied(name: str, symbol: str, value: Any) -> pd.Series:
        column = frame[name].mask(frame[name].isna() | (frame[name] != frame[name]))
        if symbol in ("in", "not in"):
            members = reduce(operator.or_, [column == one for one in value])
            found = members if symbol == "in" else ~members
        else:
            found = COMPARE[symbol](column, value)
        return found.astype("boolean").fillna(False) & column.notna()

    return reduce(
        operator.or_, [reduce(operator.and_, [satisfied(*clause) for clause in one]) for one in rule]
    ).to_numpy(bool)


def nullable(table: pa.Table) -> pd.DataFrame:
    types = {pa.float32(): pd.Float32Dtype(), pa.float64(): pd.Float64Dtype(), pa.bool_(): pd.BooleanDtype()}
    types |= {pa.int64(): pd.Int64Dtype(), pa.uint8(): pd.UInt8Dtype(), pa.string(): pd.StringDtype("python")}
    frame = table.drop_columns("half").to_pandas(types_mapper=types.get)
    # pandas has no nullable float16; NumPy compares it as it stands, and NaN is null.
    return frame.assign(half=table["half"].to_pandas())


def chunked(table: pa.Table) -> pa.Table:
    dictionary = table["license"].dictionary_encode()
    halves = [table.set_column(5, "license", dictionary)[:77], table.set_column(5, "license", dictionary)[77:]]
    return pa.concat_tables(halves)


FRAMES = {
    "arrow": lambda table: table,
    "chunked": chunked,
    "batch": lambda table: table.combine_chunks().to_batches()[0],
    "numpy": lambda table: table.to_pandas(),
    "category": lambda table: table.to_pandas().astype({"license": "category", "watermark": object}),
    "nullable": nullable,
    "arrow_dtypes": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
}


@pytest.mark.parametrize("kind", [*FRAMES, pytest.param("cudf", marks=backends.on_gpu)])
def test_a_rule_keeps_the_rows_that_pandas_expression_keeps(kind):
    for seed in range(30):
        rows, rule = table(seed), random_rule(seed)
        if kind in ("numpy", "category", "cudf"):  # No integers with nulls, and no float16.
            filled = {name: pa.array(rows[name].fill_null(0).combine_chunks()) for name in ("width", "small")}
            for name, values in filled.items():
                rows = rows.set_column(rows.schema.get_field_index(name), name, values)
        if kind == "cudf":
            rows = rows.set_column(1, "half", rows["half"].cast(pa.float32()))
        frame = backends.frame_of(rows, "cudf") if kind == "cudf" else FRAMES[kind](rows)
        of_frame = {name: frame[name] for name in rows.schema.names}
        keep, counts = KeepRule.of(rule).evaluate(of_frame)
        mask = KeepRule.of(rule).mask(of_frame)
        found = mask.to_numpy() if kind == "cudf" else mask
        assert found.tolist() == expected(nullable(rows), rule).tolist(), rule
        assert (counts.rows, counts.kept) == (ROWS, int(found.sum()))
        assert bool((keep == mask).all())


def test_cudf_columns_are_compared_by_methods_that_nullable_pandas_columns_have():
    for seed in range(30):
        rows, rule = table(seed), random_rule(seed)
        frame = nullable(rows)
        for clause in KeepRule.of(rule).clauses:
            if clause.column == "half":
                continue
            mask, valid = series_mask(clause, frame[clause.column], rows.schema.field(clause.column).type)
            plain = (clause.column, clause.operator, clause.value)
            assert mask.tolist() == expected(frame, [[plain]]).tolist(), clause
            column = rows[clause.column].to_pandas()
            assert valid.tolist() == column.notna().tolist()


def test_files_are_filtered_alike_by_pyarrow(tmp_path):
    rows = table(1).select(["width", "small", "license"])
    pq.write_table(rows, tmp_path / "rows.parquet")
    for filters in (
        [("width", ">=", 512), ("license", "!=", "cc0")],
        [[("small", "<", 3)], [("width", "=", 511), ("license", "in", ["Å", "zz"])]],
    ):
        kept = pq.read_table(tmp_path / "rows.parquet", filters=filters)
        mask = KeepRule.of(filters).mask({name: rows[name] for name in rows.schema.names})
        assert rows.filter(pa.array(mask)).equals(kept)


def test_a_float32_column_is_compared_with_the_nearest_float32_in_every_library():
    values = np.array([5.1, np.nextafter(np.float32(5.1), np.float32(0))], np.float32)
    for column in (values, pa.array(values), pd.Series(values), pd.Series(values, dtype="float32[pyarrow]")):
        for clause, kept in ((("x", ">=", 5.1), [True, False]), (("x", "<", 5.1), [False, True])):
            assert KeepRule.of([clause]).mask({"x": column}).tolist() == kept
        assert KeepRule.of([("x", "in", [5.1])]).mask({"x": column}).tolist() == [True, False]


def test_counts_of_parts_add_up_to_the_counts_of_all():
    rows, rule = table(3), KeepRule.of([[("score", ">=", 5), ("unsafe", "<", 0.2)], [("license", "==", "cc0")]])
    parts = [rows[:50], rows[50:51], rows[51:51], rows[51:]]
    counts = [rule.evaluate({name: part[name] for name in rule.columns})[1] for part in parts]
    total = sum(counts, RuleCounts())
    assert total == rule.evaluate({name: rows[name] for name in rule.columns})[1]
    frame = rows.to_pandas()
    good, safe, free = frame["score"] >= 5, frame["unsafe"] < 0.2, frame["license"] == "cc0"
    assert dict(total.clauses) == {
        "score >= 5": good.sum(),
        "unsafe < 0.2": safe.sum(),
        'license == "cc0"': free.sum(),
    }
    assert list(total.alternatives.values()) == [(good & safe).sum(), free.sum()]
    assert total.kept == (good & safe | free).sum()
    assert dict(total.nulls) == frame[["score", "unsafe", "license"]].isna().sum().to_dict()
    assert total.lines[-1] == f"{frame['license'].isna().sum():,} rows without license"


@pytest.mark.parametrize("dtype", [object, "boolean", "bool[pyarrow]", pa.bool_()])
def test_an_override_wins_where_it_has_a_value(dtype):
    flags = [True, False, None, True, False, None]
    column = pa.array(flags, dtype) if isinstance(dtype, pa.DataType) else pd.Series(flags, dtype=dtype)
    keep = np.array([True, True, True, False, False, False])
    assert Override.of(column, "pick").apply(keep).tolist() == [True, False, True, True, False, False]
    assert Override.of(pa.nulls(6), "pick").apply(keep).tolist() == keep.tolist()
    with pytest.raises(ColumnError, match="expected override_column, a column of true, false or null, in 'pick', got"):
        Override.of(pd.Series([1, 0]), "pick")


def test_a_mask_takes_the_index_of_a_column():
    column = pd.Series([1, 2], index=["a", "b"])
    found = mask_of(KeepRule.of([("x", ">", 1)]).mask({"x": column}), column)
    pd.testing.assert_series_equal(found, pd.Series([False, True], index=["a", "b"]))


# Spelling


@pytest.mark.parametrize("seed", range(10))
def test_text_json_and_dict_give_the_same_rule_again(seed):
    rule = KeepRule.of(random_rule(seed))
    for one in rule.alternatives:
        assert parse_rule([str(clause) for clause in one]).alternatives == (one,)
    assert parse_rule([json.dumps(rule.to_dict()["any"])]) == rule
    assert KeepRule.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("unsafe<0.1", ("unsafe", "<", 0.1)),
        (" width >= 512 ", ("width", ">=", 512)),
        ("width=512.0", ("width", "==", 512)),
        ("p<.5", ("p", "<", 0.5)),
        ("watermark==true", ("watermark", "==", True)),
        ("watermark == False", ("watermark", "==", False)),
        ("license != cc-by", ("license", "!=", "cc-by")),
        ("url==https://a.b/?c=1&d=2", ("url", "==", "https://a.b/?c=1&d=2")),
        ('s == "this and that >= 5"', ("s", "==", "this and that >= 5")),
        ('license == "true"', ("license", "==", "true")),
        ('caption == "made in china"', ("caption", "==", "made in china")),
        ('license in ["cc0"]', ("license", "in", ["cc0"])),
        ("small not  in [1, 2.0]", ("small", "not in", [1, 2])),
        ('"a<b" > 3', ("a<b", ">", 3)),
        ("image width>3", ("image width", ">", 3)),
        ("aesthetic_score>=high", ("aesthetic_score", ">=", "high")),
    ],
)
def test_clauses_of_the_command_line(text, clause):
    assert parse_rule([text]).clauses == [Clause(*clause)]


@pytest.mark.parametrize(
    ("keep", "error", "message"),
    [
        ([], ArgumentError, "expected keep as a list of clauses"),
        ([[]], ArgumentError, "expected a list of clauses"),
        ("unsafe<0.1", ArgumentError, "expected keep as a list of clauses such as"),
        (["unsafe<0.1"], ArgumentError, "expected keep as a list of clauses such as"),
        (("unsafe", "<", 0.1), ArgumentError, r"got one clause: keep=\[\('unsafe', '<', 0.1\)\]"),
        ([("unsafe", "<")], ArgumentError, r"expected a column, an operator and a value .*, got \('unsafe', '<'\)"),
        ([("unsafe", "<", 0.1), [("width", ">", 3)]], ArgumentError, "expected a column, an operator and a value"),
        ([("unsafe", "=<", 0.1)], ArgumentError, "expected one of the operators ==, =, !=,.* got '=<'"),
        ([("unsafe", "<", [0.1])], ArgumentError, "expected one value for the operator '<'"),
        ([("unsafe", "in", 0.1)], ArgumentError, "expected a list of values for the operator 'in'"),
        ([("unsafe", "in", [])], ArgumentError, "expected one or more values"),
        ([("license", "in", ["cc0", 1])], ArgumentError, "expected numbers, texts or bools alone"),
        ([("unsafe", "==", None)], ArgumentError, "got None: a row without a value satisfies no clause"),
        ([("unsafe", "==", pd.NA)], ArgumentError, "got <NA>: a row without a value satisfies no clause"),
        ([("unsafe", "<", float("inf"))], ArgumentError, "expected a finite number, a text or a bool"),
        ([("unsave", "<", 0.1)], ColumnError, r"expected column 'unsave' in keep \(unsave < 0.1\).*mean 'unsafe'"),
        ([("license", "<", 3)], ArgumentError, "expected a text for column 'license' of string, got license < 3"),
        ([("width", ">", "3")], ArgumentError, "expected a number for column 'width' of int64, got width > \"3\""),
        ([("watermark", "==", 1)], ArgumentError, "expected true or false for column 'watermark'"),
        ([("width", "==", True)], ArgumentError, "expected a number for column 'width'"),
        ([("watermark", "<", True)], ArgumentError, "expected ==, !=, in or not in for column 'watermark'"),
        ([("vector", "==", 1)], ColumnError, "expected numbers, texts or bools in column 'vector'.* list<"),
        ([("unsafe", "<", 10**400)], ArgumentError, "expected a number as a double holds it for 'unsafe'"),
        ([("score", ">=", 0.5)], ThresholdError, r"did you mean 5, .* \(in keep: score >= 0.5\)"),
        ([("score", "<", 55)], ThresholdError, "did you mean 5.5"),
        ([("score", ">=", "best")], ThresholdError, "expected a number or one of the presets"),
        ([("unsafe", "<", Threshold(0.1))], ThresholdError, r"got a Threshold: unsafe < 0.1 \(raw\).*'score'"),
    ],
)
def test_what_is_no_rule_for_these_columns_is_refused(keep, error, message):
    types = dict(zip(table(0).schema.names, table(0).schema.types, strict=True)) | {"vector": pa.list_(pa.float32())}
    find = partial(find_threshold, scale="raw", predictor_scale="laion-v2", predictor="laion-v2")
    with pytest.raises(error, match=message):
        KeepRule.of(keep).with_thresholds({"score": find}).check(types)


@pytest.mark.parametrize(
    "text",
    [
        "s=='a'",
        's=="a',
        "s==a and b<2",
        "s==a OR t==b",
        "s!=a & b in [1] & c=2",
        "s=>a",
        "s =< 6",
        "s<>6",
        "unsafe",
        "unsafe<",
        "<3",
        "unsafe<null",
        "unsafe<nan",
        "[3]",
        "[[",
        "a in 3",
        '"a>1',
        '"\\x">1',
        "[" * 10**5,
    ],
)
def test_what_is_no_clause_on_the_command_line_is_refused(text):
    with pytest.raises(ArgumentError, match="expected"):
        parse_rule([text])


def test_bounds_of_scores_may_be_presets_and_thresholds():
    find = partial(find_threshold, scale="unit", predictor_scale="laion-v2", predictor="laion-v2")
    keep = [("score", ">=", "high"), ("score", "<", Threshold(7.0)), ("score", "!=", 5)]
    rule = KeepRule.of(keep).with_thresholds({"score": find})
    assert str(rule) == "score >= 0.6 and score < 0.7 and score != 5"


def test_objects_of_several_types_are_refused():
    with pytest.raises(ColumnError, match="expected numbers, texts or bools in column 'x', got others"):
        KeepRule.of([("x", ">", 1)]).mask({"x": pd.Series([1, "a", None], dtype=object)})
