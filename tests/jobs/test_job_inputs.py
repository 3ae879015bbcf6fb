"""Jobs over published layouts of embeddings, local and on an object store."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import read_and_score, score_dataset
from dask_aesthetic.check_dataset import check_dataset
from dask_aesthetic.errors import AestheticWarning, ColumnError, InputError
from dask_aesthetic.jobs import plan_dataset
from dask_aesthetic.jobs.store import Store
from helpers import chaos, columns, commands

FORMS = ("parquet", "clip-retrieval", "datacomp", "npy")


def lay(folder: Path, form: str, rows: np.ndarray, metadata: pa.Table, kind: str = "list") -> Path:
    """Rows in two shards, as a program of the field writes them."""
    cuts = [(0, len(rows) // 3), (len(rows) // 3, len(rows))]
    for name in ("img_emb", "metadata"):
        (folder / name if form == "clip-retrieval" else folder).mkdir(parents=True, exist_ok=True)
    for at, (start, stop) in enumerate(cuts):
        part, result = rows[start:stop], metadata.slice(start, stop - start)
        if form == "parquet":
            embeddings = columns.array(part, kind, str(part.dtype))
            pq.write_table(result.append_column("image_embedding", embeddings), folder / f"{at}.parquet")
        elif form == "clip-retrieval":
            np.save(folder / f"img_emb/img_emb_{at}.npy", part)
            pq.write_table(result, folder / f"metadata/metadata_{at}.parquet")
        elif form == "datacomp":
            np.savez(folder / f"{at}.npz", l14_img=part)
            pq.write_table(result, folder / f"{at}.parquet")
        else:
            np.save(folder / f"{at}.npy", part)
    return folder


@pytest.fixture(scope="module")
def genuine(shared) -> pa.Table:
    """509 rows of LAION's own metadata, whose columns are named in capitals."""
    return pq.read_table(shared / "data/laion2b_korean_limit_10000.parquet").slice(0, 509)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_form_gets_the_same_scores_to_the_bit(tmp_path, verite, reference, genuine, dtype):
    rows = verite.astype(dtype)
    got = {}
    for form in FORMS:
        lay(tmp_path / form, form, rows, genuine)
        score_dataset(tmp_path / form, tmp_path / f"{form}-out")
        got[form] = pq.read_table(tmp_path / f"{form}-out")
    for kind in ("large_list", "fixed_size_list"):
        score_dataset(lay(tmp_path / kind, "parquet", rows, genuine, kind), tmp_path / f"{kind}-out")
        got[kind] = pq.read_table(tmp_path / f"{kind}-out")
    by_frame = columns.frame(rows, "list", dtype).aesthetic.score()["aesthetic_score"].to_numpy()
    for form, table in got.items():
        assert table["aesthetic_score"].to_numpy().tobytes() == by_frame.tobytes(), form
        ids = (
            ["shard", "row"]
            if form == "npy"
            else [name for name in genuine.column_names if name.lower() in ("url", "hash", "key")]
        )
        assert table.column_names == [*ids, "aesthetic_score", "keep", "status"], form
        if form != "npy":
            assert table["URL"].to_pylist() == genuine["URL"].to_pylist()
    if dtype == "float16":  # A float32 copy of the same values, in a job and with the same bytes of every file.
        score_dataset(lay(tmp_path / "copy", "parquet", rows.astype("f4"), genuine), tmp_path / "copy-out")
        for name in ("0.parquet", "1.parquet"):
            assert (tmp_path / "copy-out" / name).read_bytes() == (tmp_path / "parquet-out" / name).read_bytes()
    tolerance = 2e-6 if dtype == "float32" else 1e-3
    assert np.abs(by_frame - reference["sac+logos+ava1-l14-linearMSE"]).max() <= tolerance


def test_genuine_clip_retrieval_of_another_encoder(shared, tmp_path):
    source = shared / "data/clip_retrieval_b32"
    with pytest.raises(ColumnError, match=r"got 512 in shard .*: laion-v1-b32"):
        score_dataset(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    summary = score_dataset(source, tmp_path / "out", predictor="laion-v1-b32", threshold=5, columns="all")
    table = pq.read_table(tmp_path / "out")
    matrix = np.load(next((source / "img_emb").glob("*.npy")))
    expected = columns.frame(matrix, "list", "float16")
    expected = expected.aesthetic.score(predictor="laion-v1-b32", threshold=5)
    assert summary.rows == len(matrix) == 9
    assert table["aesthetic_score"].to_numpy().tobytes() == expected["aesthetic_score"].to_numpy().tobytes()
    metadata = pq.read_table(next((source / "metadata").glob("*.parquet")))
    assert set(metadata.column_names) <= set(table.column_names)


def test_genuine_img2dataset_metadata_as_ids(shared, tmp_path):
    metadata = pq.read_table(shared / "data/img2dataset/00001.parquet")
    rows = [np.full(768, 0.1) if status == "success" else None for status in metadata["status"].to_pylist()]
    lists = pa.array(rows, pa.list_(pa.float32()))
    (tmp_path / "in").mkdir()
    # img2dataset has a status of its own, which "ids" leaves out.
    pq.write_table(metadata.append_column("image_embedding", lists), tmp_path / "in/00001.parquet")
    summary = score_dataset(tmp_path / "in", tmp_path / "out")
    assert (summary.rows, summary.scored, summary.failed) == (168, 30, {"missing": 138})
    table = pq.read_table(tmp_path / "out").to_pandas()
    assert table["key"].tolist() == metadata["key"].to_pylist()
    failed = pd.read_parquet(tmp_path / "out/_failed.parquet")
    downloads = metadata.to_pandas()
    assert failed["key"].tolist() == downloads.loc[downloads["status"] != "success", "key"].tolist()


def test_passthrough_embeddings_are_the_inputs(tmp_path, vectors):
    metadata = pa.table({"key": [str(at) for at in range(300)]})
    for form in ("parquet", "clip-retrieval"):
        lay(tmp_path / form, form, vectors, metadata)
        score_dataset(tmp_path / form, tmp_path / f"{form}-out", columns=["key", "image_embedding"], keep_only=True)
        table = pq.read_table(tmp_path / f"{form}-out")
        kept = [int(key) for key in table["key"].to_pylist()]
        assert np.array_equal(np.stack(table["image_embedding"].to_numpy(zero_copy_only=False)), vectors[kept])


# An object store


def job(source: str, output: str, options: dict, threads: int = 2) -> None:
    score_dataset(source, output, storage_options=options, threads=threads)


def outputs(folder: Path) -> dict[str, bytes]:
    """Files that a job wrote, without those that name their source."""
    return {name: data for name, data in chaos.content(folder).items() if not name.startswith(("_SUCCESS", "_dask"))}


def test_a_job_on_an_object_store_is_killed_and_resumes(tmp_path, s3):
    local = chaos.write_shards(tmp_path / "in", shards=8, rows=400)
    score_dataset(local, tmp_path / "local")
    s3.put(tmp_path)
    score_dataset(f"{s3.url}/in", tmp_path / "calm", storage_options=s3.options)
    assert outputs(tmp_path / "calm") == outputs(tmp_path / "local")
    fs, output = s3.fs, f"{s3.url}/out"
    processes = chaos.fork_server()
    process = processes.Process(target=job, args=(f"{s3.url}/in", output, s3.options, 1))
    process.start()
    markers = f"{output}/_dask_aesthetic/markers"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        fs.invalidate_cache()
        if fs.exists(markers) and len(fs.ls(markers)) >= 2:
            break
        time.sleep(0.02)
    process.kill()
    process.join()
    assert not fs.exists(f"{output}/_SUCCESS")
    plan = plan_dataset(f"{s3.url}/in", output, storage_options=s3.options)
    assert 2 <= len(plan.done) < 8
    before = {name: fs.info(f"{output}/{name}.parquet")["LastModified"] for name in plan.done}
    summary = score_dataset(f"{s3.url}/in", output, storage_options=s3.options)
    assert summary.rows == 3200 == summary.scored + sum(summary.failed.values())
    fs.invalidate_cache()
    assert {name: fs.info(f"{output}/{name}.parquet")["LastModified"] for name in before} == before
    for name, data in chaos.content(tmp_path / "calm").items():
        assert fs.cat_file(f"{output}/{name}") == data, name
    assert plan_dataset(f"{s3.url}/in", output, storage_options=s3.options).todo == []


def test_a_store_elsewhere_is_a_folder_of_whole_files(tmp_path, s3):
    store = Store.of(f"{s3.url}/out", s3.options)
    assert store.read("a/b.json") is None
    store.write("a/b.json", b"{}")
    with store.temporary("c.parquet") as path:
        path.write_bytes(b"x" * 1000)
        written = store.place(path, "c.parquet")
    assert not path.exists()
    assert store.sizes() == {"a/b.json": 2, "c.parquet": 1000}
    assert store.sha256("c.parquet") == written["sha256"]
    store.remove("c.parquet")
    store.remove("c.parquet")
    assert store.sizes() == {"a/b.json": 2}
    assert "nothing" not in repr(store)


def test_from_an_object_store_to_here_on_a_cluster(tmp_path, s3, cluster):
    local = chaos.write_shards(tmp_path / "in", shards=4, rows=200)
    s3.put(tmp_path)
    shutil.copytree(local, tmp_path / "copy")
    score_dataset(tmp_path / "copy", tmp_path / "calm")
    score_dataset(f"{s3.url}/in", tmp_path / "out", storage_options=s3.options, client=cluster)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "calm")
    assert not [name for name, data in chaos.content(tmp_path / "out").items() if b"nothing" in data]


# What would be lost, replaced or scored along without a word


def test_what_a_folder_holds_that_is_not_read_is_counted_and_named(tmp_path, vectors, caplog):
    metadata = pa.table({"key": [f"k{at}" for at in range(300)]})
    for form in FORMS:
        folder = lay(tmp_path / form, form, vectors, metadata)
        for name in ("notes.txt", "_part-9.parquet", "_SUCCESS", "_metadata", ".crc", "00000_stats.json"):
            (folder / name).write_bytes(b"x")
        caplog.clear()
        with caplog.at_level("WARNING", "dask_aesthetic"):
            assert score_dataset(folder, tmp_path / f"{form}-out").rows == 300
        assert "not read: 2 files ('_part-9.parquet', 'notes.txt')" in caplog.text
        printed = commands.printed("score", folder, tmp_path / f"{form}-out", "--dry-run")
        assert "caution: not read: 2 files" in printed


def test_a_matrix_with_bytes_after_it_ends_the_job_before_it_begins(tmp_path, vectors):
    with (tmp_path / "twice.npy").open("wb") as file:
        np.save(file, vectors[:200])
        np.save(file, vectors[200:])
    ended = commands.run("score", tmp_path / "twice.npy", tmp_path / "out")
    assert ended.status == 2
    assert f"twice.npy to end after its matrix of 200 x 768 float32, got {128 + 3072 * 100:,} more bytes" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["pairs", "npy"])
def test_texts_beside_images_are_left_out_with_a_line(tmp_path, vectors, layout):
    for kind in ("img", "text"):
        (tmp_path / f"in/{kind}_emb").mkdir(parents=True)
        np.save(tmp_path / f"in/{kind}_emb/{kind}_emb_0.npy", vectors)
    if layout == "pairs":
        (tmp_path / "in/metadata").mkdir()
        pq.write_table(pa.table({"key": [str(at) for at in range(300)]}), tmp_path / "in/metadata/metadata_0.parquet")
    ended = commands.run("score", tmp_path / "in", tmp_path / "out")
    assert ended.status == 0
    assert "left out: 1 file ('text_emb/text_emb_0.npy'), embeddings of texts" in ended.err
    assert pq.read_table(tmp_path / "out").num_rows == 300
    named = score_dataset(tmp_path / "in/text_emb/text_emb_0.npy", tmp_path / "texts")
    assert named.rows == 300


def test_texts_and_other_encoders_are_cautioned_of_and_scored(shared, verite, tmp_path):
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((768, 768)))
    inputs = {
        "images": verite,
        "texts": np.load(shared / "data/verite_l14/text_embeddings.npy"),
        "others": verite @ rotation.astype(np.float32),
    }
    said = {}
    for name, rows in inputs.items():
        np.save(tmp_path / f"{name}.npy", rows)
        ended = commands.run("score", tmp_path / f"{name}.npy", tmp_path / name, "--json")
        assert ended.status == 0
        assert json.loads(ended.out)["scored"] == len(rows)
        said[name] = ended.err
    assert said["images"] == ""
    assert "first 509 rows of shard texts: rows lie where OpenAI's ViT-L/14 puts texts, not images" in said["texts"]
    assert "rows lie neither where OpenAI's ViT-L/14 puts images" in said["others"]
    again = commands.run("score", tmp_path / "texts.npy", tmp_path / "again", "--quiet", "--allow-unusable")
    assert (again.status, again.err) == (0, "")


def test_a_predictor_of_another_encoder_is_not_cautioned_of(tmp_path, vectors):
    np.save(tmp_path / "in.npy", vectors[:, :512])
    ended = commands.run(
        "score", tmp_path / "in.npy", tmp_path / "out", "--predictor", "laion-v1-b32", "--threshold", 5
    )
    assert (ended.status, ended.err) == (0, "")


@pytest.mark.parametrize("name", ["status", "keep", "aesthetic_score"])
def test_columns_of_the_input_are_replaced_only_if_that_is_said(tmp_path, vectors, name):
    metadata = pa.table({"key": [f"k{at}" for at in range(300)], name: list(range(300))})
    source = lay(tmp_path / "in", "parquet", vectors, metadata)
    for columns_ in ("all", name):
        ended = commands.run("score", source, tmp_path / "out", "--columns", columns_)
        assert ended.status == 2
        assert f"'{name}' to be a new column" in ended.err
        assert "--replace-columns" in ended.err
    assert not (tmp_path / "out").exists()
    score_dataset(source, tmp_path / "ids")  # What is not passthrough over is not replaced.
    commands.printed("score", source, tmp_path / "out", "--columns", "all", "--replace-columns", "--quiet")
    for output in ("ids", "out"):
        table = pq.read_table(tmp_path / output)
        assert sorted(table.column_names) == ["aesthetic_score", "keep", "key", "status"]
        assert set(table["status"].to_pylist()) == {"ok"}


def test_a_score_takes_the_name_of_no_id_place_folder_or_status(tmp_path, vectors):
    metadata = pa.table({"key": [f"k{at}" for at in range(300)]})
    source = lay(tmp_path / "in", "parquet", vectors, metadata)
    with pytest.raises(ColumnError, match="score_column='key' to be a new column"):
        score_dataset(source, tmp_path / "out", score_column="key")
    assert "key" in pq.read_schema(source / "0.parquet").names
    with pytest.raises(ColumnError, match="score_column='status' to differ from the column of statuses"):
        score_dataset(source, tmp_path / "out", score_column="status", replace_columns=True)
    (tmp_path / "hive").mkdir()
    shutil.move(source, tmp_path / "hive/keep=1")
    with pytest.raises(ColumnError, match="keep_column='keep' to be a new column"):
        score_dataset(tmp_path / "hive", tmp_path / "out", replace_columns=True)
    shutil.copy(tmp_path / "hive/keep=1/0.parquet", tmp_path / "hive/0.parquet")  # In no such folder, and first.
    with pytest.raises(ColumnError, match="keep_column='keep' to be a new column"):
        score_dataset(tmp_path / "hive", tmp_path / "out")
    score_dataset(tmp_path / "hive", tmp_path / "out", keep_column="kept")


def test_a_job_does_not_resume_with_another_matrix(tmp_path, vectors):
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in/0.npz", l14_img=vectors, other=vectors[::-1])
    pq.write_table(pa.table({"key": [f"k{at}" for at in range(300)]}), tmp_path / "in/0.parquet")
    score_dataset(tmp_path / "in", tmp_path / "out")
    assert plan_dataset(tmp_path / "in", tmp_path / "out", matrix_key="l14_img").finished
    with pytest.raises(InputError, match="others: matrix_key was None and now is 'other'"):
        score_dataset(tmp_path / "in", tmp_path / "out", matrix_key="other")
    score_dataset(tmp_path / "in", tmp_path / "out", matrix_key="other", overwrite=True)
    score_dataset(tmp_path / "in", tmp_path / "fresh", matrix_key="other")
    assert (tmp_path / "out/0.parquet").read_bytes() == (tmp_path / "fresh/0.parquet").read_bytes()


def test_columns_that_only_later_files_have_are_named(tmp_path, vectors):
    source = tmp_path / "in"
    source.mkdir()
    for at, more in enumerate([{}, {"url": ["u"] * 300, "words": list(range(300))}]):
        table = {"key": [f"k{row}" for row in range(300)], **more, "image_embedding": columns.array(vectors, "list")}
        pq.write_table(pa.table(table), source / f"{at}.parquet")
    for chosen, names in (("all", "'url', 'words'"), ("ids", "'url'")):
        caution = f"left out: columns {names}, which shard 0 does not have"
        assert caution in plan_dataset(source, tmp_path / "out", columns=chosen).notes
    for of, chosen in ((source, ["key"]), (source / "1.parquet", "all")):
        assert "left out" not in str(plan_dataset(of, tmp_path / "out", columns=chosen).notes)


def _write_keys(folder: Path, vectors: np.ndarray, *keys: pa.Array) -> Path:
    """A file of the same embeddings for each array of keys."""
    folder.mkdir()
    for at, one in enumerate(keys):
        table = pa.table({"key": one, "image_embedding": columns.array(vectors, "list")})
        pq.write_table(table, folder / f"{at}.parquet")
    return folder


@pytest.mark.parametrize(
    ("types", "common"),
    [
        ((pa.string(), pa.large_string()), pa.large_string()),
        ((pa.large_string(), pa.null(), pa.string()), pa.large_string()),
        ((pa.int32(), pa.int64()), pa.int64()),
        ((pa.uint32(), pa.int16()), pa.int64()),
        ((pa.binary(), pa.large_binary()), pa.large_binary()),
    ],
)
def test_files_whose_identifiers_hold_alike_values_pass_together(tmp_path, vectors, types, common):
    numbers = pa.array(range(300))
    words = numbers.cast(pa.string())
    plain = numbers if pa.types.is_integer(common) else words
    keys = [pa.nulls(300) if pa.types.is_null(dtype) else plain.cast(dtype) for dtype in types]
    source = _write_keys(tmp_path / "in", vectors, *keys)
    assert score_dataset(source, tmp_path / "out").scored == 300 * len(types)
    alone = score_dataset(source / "0.parquet", tmp_path / "alone")
    assert alone.scored == 300
    read = read_and_score(source).compute()
    for at, key in enumerate(keys):
        output = pq.read_table(tmp_path / f"out/{at}.parquet")
        assert output.schema.field("key").type == common
        assert output["key"].to_pylist() == key.cast(common).to_pylist()
        assert output["aesthetic_score"] == pq.read_table(tmp_path / "alone/0.parquet")["aesthetic_score"]
        assert pa.array(read["key"][300 * at : 300 * (at + 1)]).cast(common).to_pylist() == key.cast(common).to_pylist()


@pytest.mark.parametrize(
    ("one", "other"),
    [(pa.int64(), pa.string()), (pa.int64(), pa.float64()), (pa.uint64(), pa.int64()), (pa.string(), pa.binary())],
)
def test_files_whose_identifiers_would_change_are_refused_and_check_says_so(tmp_path, vectors, one, other):
    numbers = pa.array(range(300))
    keys = [(numbers.cast(pa.string()) if pa.types.is_binary(dtype) else numbers).cast(dtype) for dtype in (one, other)]
    source = _write_keys(tmp_path / "in", vectors, *keys)
    with pytest.raises(InputError, match=r"columns of the same types in all files, got .*1\.parquet"):
        score_dataset(source, tmp_path / "out")
    with pytest.warns(AestheticWarning, match=r"other columns than 'ids', by columns= \(--columns\): .*1\.parquet"):
        assert check_dataset(source).usable
    assert score_dataset(source, tmp_path / "out", columns=[]).scored == 600


def test_a_delta_table_is_cautioned_of(tmp_path, vectors):
    source = tmp_path / "in"
    source.mkdir()
    columns.frame(vectors, "list").to_parquet(source / "part-0.parquet")
    assert "Delta" not in str(plan_dataset(source, tmp_path / "out").notes)
    (source / "_delta_log").mkdir()
    (source / "_delta_log/00000000000000000000.json").write_text("{}")
    caution = "a Delta table's log is not read: rows that the table has removed or replaced are scored, too"
    assert caution in plan_dataset(source, tmp_path / "out").notes


def test_suffixes_of_files_are_taken_in_any_case(tmp_path, vectors):
    metadata = pa.table({"key": [f"k{at}" for at in range(300)]})
    for form in FORMS:
        source = lay(tmp_path / form, form, vectors, metadata)
        score_dataset(source, tmp_path / f"{form}-out")
        for file in [file for file in source.rglob("*.*") if file.is_file()]:
            file.rename(file.with_suffix(file.suffix.upper()))
        score_dataset(source, tmp_path / f"{form}-upper")
        lower, upper = (
            {file.name: file.read_bytes() for file in (tmp_path / f"{form}-{end}").rglob("*.parquet")}
            for end in ("out", "upper")
        )
        assert lower == upper
