"""Select jobs: another keep from scores that are there, as by pandas, also after an interrupted run."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError, ThresholdError, read_scores, select_dataset
from dask_aesthetic.errors import AestheticWarning, JobError
from dask_aesthetic.jobs.pool import Pool
from dask_aesthetic.jobs.runner import run_plan
from dask_aesthetic.select import plan_select
from helpers import chaos, commands

RECORD = {
    "schema_version": 1,
    "predictor": {"name": "laion-v2", "scale": "laion-v2"},
    "weights_sha256": "0" * 64,
    "scale": "raw",
    "threshold": {"value": 5.0, "scale": "raw", "name": "standard", "predictor": ""},
}
FILES, ROWS = 4, 300


def write_scores(folder: Path, record: dict | None = RECORD, files: int = FILES) -> Path:
    """Scores as a job writes them: with ties, nulls, and keys that repeat in other shards."""
    folder.mkdir(parents=True)
    for at in range(files):
        rng = np.random.default_rng(at)
        scores = rng.normal(5, 1, ROWS).round(1).astype(np.float32)
        valid = rng.random(ROWS) < 0.9
        status = pa.DictionaryArray.from_arrays(pa.array((~valid).astype(np.int8)), pa.array(["ok", "missing"]))
        table = pa.table(
            {
                "shard": pa.repeat(pa.scalar(f"{at:05d}"), ROWS),
                "key": [f"{key:04d}" for key in rng.permutation(ROWS)],
                "source": [None if one == "c" else one for one in rng.choice(["a", "b", "c"], ROWS, p=[0.7, 0.2, 0.1])],
                "aesthetic_score": pa.array(scores, mask=~valid),
                "keep": pa.array(scores >= 5),
                "status": status,
            }
        )
        table = table.replace_schema_metadata(None if record is None else {"dask_aesthetic": json.dumps(record)})
        pq.write_table(table, folder / f"{at:05d}.parquet", row_group_size=100)
    return folder


@pytest.fixture
def scores(tmp_path) -> Path:
    return write_scores(tmp_path / "scores")


def rows(folder: Path) -> pd.DataFrame:
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    as_text = [table.set_column(5, "status", table["status"].cast("string")) for table in tables]
    return pa.concat_tables(as_text).to_pandas()


def best(frame: pd.DataFrame, n: int) -> pd.DataFrame:
    """The best rows by a full sort, ties by key and position."""
    frame = frame.assign(position=np.arange(len(frame)))
    ranked = frame.dropna(subset="aesthetic_score").sort_values(
        ["aesthetic_score", "key", "position"], ascending=[False, True, True]
    )
    return ranked.head(n)


def write_ids(path: Path, **columns: list) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def command(*arguments: object) -> str:
    return commands.printed("select", *arguments)


# What is kept


def test_a_threshold_moves_keep_and_nothing_else(scores, tmp_path):
    before = rows(scores)
    done = select_dataset(scores, tmp_path / "out", threshold="high")
    after = rows(tmp_path / "out")
    expected = (before["aesthetic_score"] >= 6).fillna(False)
    assert after["keep"].tolist() == expected.tolist()
    assert (done.rows, done.scored, done.kept) == (1200, before["aesthetic_score"].notna().sum(), expected.sum())
    pd.testing.assert_frame_equal(after.drop(columns="keep"), before.drop(columns="keep"))
    assert pq.read_schema(tmp_path / "out/00000.parquet").names == pq.read_schema(scores / "00000.parquet").names
    frame = read_scores(tmp_path / "out")
    record = json.loads(pq.read_schema(tmp_path / "out/00000.parquet").metadata[b"dask_aesthetic"])
    assert (record["threshold"]["value"], record["weights_sha256"]) == (6.0, RECORD["weights_sha256"])
    assert frame.aesthetic.distribution().predictor == "laion-v2"
    manifest = json.loads((tmp_path / "out/_SUCCESS").read_text())
    assert (manifest["rows"], manifest["kept"], len(manifest["shards"])) == (1200, done.kept, FILES)


@pytest.mark.parametrize("n", [1, 137, 5000])
@pytest.mark.parametrize("by", [None, "source"])
def test_the_best_rows_are_those_of_a_full_sort(scores, tmp_path, n, by):
    before = rows(scores)
    done = select_dataset(scores, tmp_path / "out", top=n, by=by)
    ranked = best(before, len(before))
    groups = [ranked] if by is None else [part for _, part in ranked.groupby("source", dropna=False)]
    expected = sorted(index for part in groups for index in part.index[:n])
    after = rows(tmp_path / "out")
    assert np.flatnonzero(after["keep"]).tolist() == expected
    assert done.kept == len(expected)
    select_dataset(scores, tmp_path / "only", top=n, by=by, keep_only=True)
    pd.testing.assert_frame_equal(rows(tmp_path / "only"), after[after["keep"]].reset_index(drop=True))


def test_a_share_of_each_group_is_rounded_up(scores, tmp_path):
    done = select_dataset(scores, tmp_path / "out", keep_fraction=0.07, by="source", threshold=4.5)
    competing = rows(scores).query("aesthetic_score >= 4.5")["source"].fillna("none").value_counts()
    after = rows(tmp_path / "out")
    kept = after[after["keep"]]["source"].fillna("none").value_counts()
    assert kept.to_dict() == {group: int(np.ceil(round(0.07 * count, 6))) for group, count in competing.items()}
    assert done.rule == "the best 0.07 of each source by aesthetic_score, of raw aesthetic_score >= 4.5"


def test_excluded_rows_do_not_count_and_included_ones_are_kept_beside(scores, tmp_path):
    before = rows(scores)
    ranked = best(before, len(before))
    gone, picked = ranked.iloc[:20], before[before["aesthetic_score"].isna()].iloc[:3]
    exclude = write_ids(tmp_path / "gone.parquet", shard=gone["shard"].tolist(), key=gone["key"].tolist())
    both = pd.concat([picked, gone.iloc[:1]])
    include = write_ids(tmp_path / "picked.parquet", shard=both["shard"].tolist(), key=both["key"].tolist())
    done = select_dataset(scores, tmp_path / "out", top=50, exclude=exclude, include=include)
    expected = sorted([*ranked.index[20:70], *picked.index])
    assert np.flatnonzero(rows(tmp_path / "out")["keep"]).tolist() == expected
    assert (done.kept, done.excluded, done.included) == (53, 20, 3)


def test_ids_without_a_shard_match_in_all_of_them_and_the_threshold_of_the_run_holds(scores, tmp_path):
    exclude = write_ids(tmp_path / "gone.parquet", key=["0005", None, "0007", "0007"])
    done = select_dataset(scores, tmp_path / "out", exclude=exclude)
    before = rows(scores)
    expected = (before["aesthetic_score"] >= 5).fillna(False) & ~before["key"].isin(["0005", "0007"])
    assert rows(tmp_path / "out")["keep"].tolist() == expected.tolist()
    assert done.excluded == 2 * FILES
    others = write_ids(tmp_path / "others.parquet", key=["0005"])
    with pytest.raises(InputError, match=r"got others: exclude is another. Give"):
        select_dataset(scores, tmp_path / "out", exclude=others)


@pytest.mark.parametrize(
    ("keys", "ids", "expected"),
    [
        (["7", "10", None, "-3"], pa.array([7, -3]), ["7", "-3"]),
        (["7", "10", None, "-3"], pa.array([7.0, None, 10.0]), ["7", "10"]),
        ([7, 10, None, -3], pa.array(["7", "-3"]), [7, -3]),
        ([7, 10, None, -3], pa.array([7.0, None, 12.0]), [7]),
        ([7, 10, None, -3], pa.array([7], pa.uint8()), [7]),
        (["a", "é"], pa.array(["é".encode()], pa.binary()), ["é"]),
        (["a", "b"], pa.array(["b", None]).dictionary_encode(), ["b"]),
        (pa.array(["a", "b"]).dictionary_encode(), pa.array(["b"], pa.large_string()), ["b"]),
    ],
)
def test_ids_of_another_type_match_where_they_are_written_alike(tmp_path, keys, ids, expected):
    scores = pa.array([6.0] * len(keys), pa.float32())
    pq.write_table(pa.table({"key": keys, "aesthetic_score": scores}), tmp_path / "scores.parquet")
    exclude = write_ids(tmp_path / "gone.parquet", key=ids)
    done = select_dataset(tmp_path / "scores.parquet", tmp_path / "out", threshold=5, exclude=exclude)
    after = pq.read_table(tmp_path / "out/scores.parquet").to_pylist()
    assert [row["key"] for row in after if not row["keep"]] == expected
    assert done.excluded == len(expected)


@pytest.mark.parametrize(
    ("keys", "ids", "message"),
    [
        (
            ["007", "010"],
            pa.array([7]),
            "got int64, which cannot be matched one to one: one side has texts such as '007'",
        ),
        ([7, 10], pa.array(["7", "07"]), "type, int64, in column 'key' of .*such as '07': write the ids as"),
        (["7"], pa.array([7.5]), "got double, which cannot"),
        ([7], pa.array([True]), "got bool, which cannot"),
    ],
)
def test_ids_that_may_be_written_otherwise_are_refused(tmp_path, keys, ids, message):
    scores = pa.array([6.0] * len(keys), pa.float32())
    pq.write_table(pa.table({"key": keys, "aesthetic_score": scores}), tmp_path / "scores.parquet")
    write_ids(tmp_path / "gone.parquet", key=ids)
    with pytest.raises(ColumnError, match=message):
        select_dataset(tmp_path / "scores.parquet", tmp_path / "out", threshold=5, exclude=tmp_path / "gone.parquet")


@pytest.mark.parametrize("role", ["exclude", "include"])
def test_ids_of_which_no_row_has_any_are_a_warning(scores, tmp_path, role):
    nowhere = write_ids(tmp_path / "nowhere.parquet", key=["x-1", "x-2"])
    with pytest.warns(AestheticWarning, match=f"none of the 2 ids of {role}, such as 'x-1', is in column 'key'"):
        done = select_dataset(scores, tmp_path / "out", **{role: nowhere})
    assert done.kept == select_dataset(scores, tmp_path / "plain").kept
    ended = commands.run("select", scores, tmp_path / "out", f"--{role}", nowhere, "--quiet")
    assert (ended.status, ended.err.startswith("caution: none of the 2 ids")) == (0, True)
    low = rows(scores).query("aesthetic_score >= 5").iloc[:1]
    kept = write_ids(tmp_path / "kept.parquet", shard=low["shard"].tolist(), key=low["key"].tolist())
    done = select_dataset(scores, tmp_path / "kept", include=kept)
    assert (done.included, done.include_matches) == (0, 1)


# Runs that are stopped, changed and repeated


def test_a_killed_run_is_resumed_to_the_same_bytes(scores, tmp_path):
    options = {"top": 100, "by": "source", "threads": 1}
    select_dataset(scores, tmp_path / "calm", **options)
    expected = chaos.content(tmp_path / "calm")
    processes = chaos.fork_server()
    for at in (4, 7):
        output = tmp_path / f"out-{at}"
        process = processes.Process(target=killed, args=(scores, output, options, at))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kept = chaos.committed(output)
        select_dataset(scores, output, **options)
        assert chaos.content(output) == expected
        assert kept.items() <= chaos.committed(output).items()


def killed(scores: Path, output: Path, options: dict, at: int) -> None:
    chaos.die(at, after=True)
    select_dataset(scores, output, **options)


def test_only_what_changed_is_written_again(scores, tmp_path):
    select_dataset(scores, tmp_path / "out", threshold="standard")
    calm = chaos.content(tmp_path / "out")
    before = chaos.committed(tmp_path / "out")
    select_dataset(scores, tmp_path / "out", threshold=5)
    assert chaos.committed(tmp_path / "out") == before
    (tmp_path / "out/00001.parquet").write_bytes(b"")
    assert list(plan_select(scores, tmp_path / "out").why.items()) == [("00001", "output changed")]
    select_dataset(scores, tmp_path / "out")
    assert chaos.content(tmp_path / "out") == calm
    more = write_scores(tmp_path / "more", files=FILES + 1)
    (more / "00004.parquet").rename(scores / "00004.parquet")
    done = select_dataset(scores, tmp_path / "out")
    again = select_dataset(scores, tmp_path / "once")
    assert (done.rows, done.kept, done.files) == (again.rows, again.kept, FILES + 1)
    assert chaos.content(tmp_path / "out") == chaos.content(tmp_path / "once")
    with pytest.raises(InputError, match=r"threshold was 5\.0 and now is 6\.0"):
        select_dataset(scores, tmp_path / "out", threshold=6)
    assert select_dataset(scores, tmp_path / "out", threshold=6, overwrite=True).kept < done.kept


def test_the_best_of_a_data_set_that_has_grown_are_others(scores, tmp_path):
    select_dataset(scores, tmp_path / "out", top=50)
    write_scores(tmp_path / "more", files=FILES + 1)
    (tmp_path / "more/00004.parquet").rename(scores / "00004.parquet")
    with pytest.raises(InputError, match=r"got others: best_rows is another. Give the earlier ones; .* overwrite"):
        select_dataset(scores, tmp_path / "out", top=50)
    done = select_dataset(scores, tmp_path / "out", top=50, overwrite=True)
    select_dataset(scores, tmp_path / "once", top=50)
    assert chaos.content(tmp_path / "out") == chaos.content(tmp_path / "once")
    assert (done.kept, done.files) == (50, FILES + 1)


def test_the_cut_is_in_the_provenance(scores, tmp_path):
    select_dataset(scores, tmp_path / "all", top=50)
    select_dataset(scores, tmp_path / "each", top=50, by="source")
    before = rows(scores)
    lowest = best(before, 50)["aesthetic_score"].min()
    each = before.groupby(before["source"].fillna("none"))["aesthetic_score"].nlargest(50).groupby(level=0).min()
    for folder, expected in (("all", lowest), ("each", each)):
        record = json.loads(pq.read_schema(tmp_path / folder / "00000.parquet").metadata[b"dask_aesthetic"])
        cut = record["selected"]["cut"]
        assert json.loads((tmp_path / folder / "_SUCCESS").read_text())["cut"] == cut
        if folder == "all":
            assert np.float32(cut) == np.float32(expected)
        else:
            assert {group or "none": np.float32(score) for group, score in cut} == each.astype("float32").to_dict()
            assert [score for _, score in cut] == sorted((score for _, score in cut), reverse=True)


def test_a_file_that_changes_after_the_plan_is_an_error(scores, tmp_path):
    plan = plan_select(scores, tmp_path / "out", threshold=4)
    write_ids(scores / "00001.parquet", other=[1])
    with Pool(threads=1) as pool, pytest.raises(JobError, match=r"1 of 4 shards failed: 00001: .*it has changed"):
        run_plan(plan, pool)


# Errors, and the command


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"top": 5, "keep_fraction": 0.5}, ArgumentError, "expected top or keep_fraction, got top=5 and"),
        ({"by": "source"}, ArgumentError, "a threshold has no groups"),
        ({"top": 0}, ArgumentError, "expected top"),
        ({"keep_fraction": 2.0}, ArgumentError, "expected keep_fraction"),
        ({"keep_fraction": 0}, ArgumentError, "expected keep_fraction to be a number above 0, up to 1, got 0"),
        ({"drop_duplicates": True, "top": 5}, ColumnError, r"expected a column 'embedding_hash' .*--embedding-hash"),
        ({"top": 5, "by": "where"}, ColumnError, "expected by 'where' in the files of scores"),
        ({"top": 5, "id_column": "uid"}, ColumnError, "expected id_column 'uid'"),
        ({"threshold": 0.5}, ThresholdError, "did you mean 5"),
        ({"threshold": 5, "scale": "unit"}, ArgumentError, "expected scale='raw', as the files say"),
        ({"exclude": "two.parquet"}, ColumnError, "expected a column 'key' in .*two.parquet', got a, b"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_written(scores, tmp_path, arguments, error, message):
    write_ids(tmp_path / "two.parquet", a=["0001"], b=["0001"])
    arguments = {name: tmp_path / value if name == "exclude" else value for name, value in arguments.items()}
    with pytest.raises(error, match=message):
        select_dataset(scores, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_files_without_a_threshold_or_provenance_need_a_request(tmp_path):
    plain = write_scores(tmp_path / "plain", record=None)
    with pytest.raises(ArgumentError, match="and the files name no threshold"):
        select_dataset(plain, tmp_path / "out")
    assert select_dataset(plain, tmp_path / "out", top=10).kept == 10
    with pytest.raises(InputError, match="expected an output folder outside of the input"):
        select_dataset(plain, plain / "out", top=10)


def test_the_command_does_the_same(scores, tmp_path):
    assert "4 files, 1,200 rows; to write: 4 files; to keep: the best 100 of each source" in command(
        scores, tmp_path / "out", "--top", 100, "--by", "source", "--dry-run"
    )
    assert not (tmp_path / "out").exists()
    printed = command(scores, tmp_path / "out", "--top", 100, "--by", "source", "--quiet", "--json")
    select_dataset(scores, tmp_path / "python", top=100, by="source")
    assert chaos.content(tmp_path / "out") == chaos.content(tmp_path / "python")
    assert json.loads(printed)["kept"] == 300
    assert "kept  121 (11.1% of the scored): the best 0.11" in command(
        scores, tmp_path / "share", "--keep-fraction", 0.11
    )
    ended = commands.run("select", scores, tmp_path / "out", "--threshold", "best")
    assert ended.status == 2
    assert "presets" in ended.err


def test_a_report_of_the_best_rows_by_a_head_of_ones_own_takes_their_cut_as_its_threshold(tmp_path):
    record = {name: value for name, value in RECORD.items() if name != "threshold"}
    scores = write_scores(tmp_path / "scores", {**record, "predictor": {"name": "mine", "scale": "unknown"}})
    with pytest.raises(ThresholdError, match="expected a threshold"):
        read_scores(scores).aesthetic.report(tmp_path / "all.html")
    select_dataset(scores, tmp_path / "best", top=100)
    best = read_scores(tmp_path / "best").compute()
    cut = best["aesthetic_score"].sort_values(ascending=False).iloc[99]
    text = read_scores(tmp_path / "best").aesthetic.report(tmp_path / "best.html").read_text()
    assert f"{cut:.2f}" in text
    assert "the best 100 by aesthetic_score" in text
    table = read_scores(tmp_path / "best").aesthetic.distribution(by="source")
    assert table.threshold.cut == np.float32(cut)
    select_dataset(scores, tmp_path / "of-each", top=100, by="source")
    with pytest.raises(ThresholdError, match="expected a threshold"):
        read_scores(tmp_path / "of-each").aesthetic.report(tmp_path / "each.html")
