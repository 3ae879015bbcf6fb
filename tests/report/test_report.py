"""Report page without a browser: counts against NumPy, samples, plots, escaping, and the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, ColumnError, InputError, MissingDependencyError, ScoreDistribution, Threshold
from helpers import columns, commands
from helpers.hostile import page as hostile_page
from helpers.hostile import strings
from helpers.report_page import Page, assert_inert, encoded

pytest.importorskip("jinja2", reason="needs pip install 'dask-aesthetic[report]'")
Image = pytest.importorskip("PIL.Image", reason="needs pip install 'dask-aesthetic[report]'")

from dask_aesthetic.escape import escape_text, link
from dask_aesthetic.report import plots
from dask_aesthetic.report.page import format_share, policy
from dask_aesthetic.report.sampling import choose, draw
from dask_aesthetic.report.spec import ReportSpec


@pytest.fixture(scope="module")
def scored() -> pd.DataFrame:
    """Scores with ties, at edges, missing and infinite; keys, groups, statuses, URLs."""
    rng = np.random.default_rng(11)
    scores = rng.normal(4.9, 0.8, 4000).astype(np.float32)
    scores[:40] = np.float32(5)
    scores[40:80] = np.nextafter(np.float32(5), np.float32(0))
    scores[80:130] = np.nan
    scores[130] = np.inf
    status = np.where(np.arange(4000) < 100, "zero", "missing")
    frame = pd.DataFrame({"key": [f"row-{at:04d}" for at in range(4000)], "aesthetic_score": scores})
    frame["status"] = np.where(np.isnan(scores), status, "ok")
    frame["source"] = rng.choice(["web", "archive", None], 4000, p=[0.6, 0.3, 0.1])
    frame["url"] = "https://example.com/" + frame["key"]
    return frame.sample(frac=1, random_state=1, ignore_index=True)


def write(frame, tmp_path, **options) -> Page:
    return Page(frame.aesthetic.report(tmp_path / "report.html", **options))


def test_counts_equal_numpy(scored, tmp_path):
    page = write(scored, tmp_path, status_column="status", by="source", predictor="laion-v2", title="Mine & yours")
    scores = scored["aesthetic_score"].to_numpy()
    finite = scores[np.isfinite(scores)]
    kept = int((finite >= 5).sum())
    assert f"{len(finite):,} of 4,000 rows have a score by laion-v2" in page.text
    assert f"{kept:,} of them are kept: {kept / len(finite):.2%}" in page.text
    assert f"Mean score {finite.astype(float).mean():.2f}" in page.text
    assert "missing 30 0.75% null or empty" in page.text
    assert "zero 20 0.50%" in page.text
    assert "unknown 1 0.0250%" in page.text  # Infinite, with a usable embedding.
    for source, rows in scored[np.isfinite(scores)].groupby("source", dropna=False)["aesthetic_score"]:
        name, at_least = "no value" if pd.isna(source) else source, int((rows >= 5).sum())
        every = int((scored["source"] == source).sum()) if name != "no value" else int(scored["source"].isna().sum())
        expected = f"{name} {every:,} {len(rows):,} {at_least:,} {at_least / len(rows):.2%} {rows.mean():.2f}"
        assert expected in page.text
    assert "sha256 21dd590f" in page.text
    assert ("title", "Mine & yours") in page.texts


@pytest.mark.parametrize("scale", ["raw", "unit"])
def test_slider_counts_equal_numpy_at_every_hundredth(scored, tmp_path, scale):
    part = np.float32(1 if scale == "raw" else 10)
    frame = scored.assign(aesthetic_score=scored["aesthetic_score"] / part)
    page, scores = write(frame, tmp_path, scale=scale), frame["aesthetic_score"].to_numpy()
    scores, counts = scores[np.isfinite(scores)], page.counts
    slider = next(one for one in page.all("input") if one["type"] == "range")
    low, high = int(slider["min"]), int(slider["max"])
    assert (counts["low"], counts["scored"], high - low + 1) == (low, len(scores), len(counts["kept"]))
    steps = 100 * int(part)
    assert counts["steps"] == steps
    assert counts["kept"] == [int((scores >= np.float32(at / steps)).sum()) for at in range(low, high + 1)]
    assert low / steps <= scores.min()
    assert high / steps > scores.max()
    for at in range(-(-low // 25) * 25, high + 1, 25):
        kept = int((scores >= np.float32(at / steps)).sum())
        assert f"{kept:,} {format_share(kept / len(scores))}" in page.text


@pytest.mark.parametrize("threshold", [5.0, 4.99, 5.0003, Threshold(4.25, name="by hand"), "high"])
def test_kept_rows_are_exact_at_any_threshold(scored, tmp_path, threshold):
    value = {"high": 6.0}.get(threshold, getattr(threshold, "value", threshold))
    kept = int((scored["aesthetic_score"] >= np.float32(value)).sum()) - 1  # The infinite one is no score.
    page = write(scored, tmp_path, threshold=threshold)
    assert re.search(rf"At the threshold of {value:g}\d*\b.*?, {kept:,} of them are kept", page.text)


def test_page_is_the_same_for_every_partitioning(scored, tmp_path):
    options = {"status_column": "status", "by": "source", "url_column": "url", "seed": 3}
    expected = scored.aesthetic.report(tmp_path / "expected.html", **options).read_bytes()
    for partitions in (1, 20):
        frame = dd.from_pandas(scored, npartitions=partitions)
        assert frame.aesthetic.report(tmp_path / "other.html", **options).read_bytes() == expected
    assert expected != scored.aesthetic.report(tmp_path / "other.html", **{**options, "seed": 4}).read_bytes()


def test_partitions_of_files_stay_the_same_in_both_passes(scored, tmp_path):
    """Dask joins files by the columns that are read: another number of them for the keys than for the images."""
    rows = scored.assign(image=[encoded((at % 256, at // 256, 0), (4, 4)) for at in range(len(scored))])
    for number, part in enumerate(np.array_split(np.arange(len(rows)), 12)):
        table = pa.Table.from_pandas(rows.iloc[part], preserve_index=False)
        pq.write_table(table, tmp_path / f"{number:02d}.parquet")
    frame = dd.read_parquet(str(tmp_path), filesystem="arrow", dtype_backend="pyarrow")
    with dask.config.set({"dataframe.parquet.minimum-partition-size": 60_000}):
        joined = [frame[names].optimize().npartitions for names in (["aesthetic_score", "key"], ["image", "key"])]
        assert 1 < joined[0] < joined[1]
        page = write(frame, tmp_path, image_column="image")
    expected = rows.aesthetic.report(tmp_path / "expected.html", image_column="image")
    assert page.all("img") == Page(expected).all("img")
    assert len(page.all("img")) == len(page.cards) > 50


def test_samples_have_the_lowest_hashes_of_their_half_point(scored, tmp_path):
    page = write(scored, tmp_path, samples=5)
    finite = scored[np.isfinite(scored["aesthetic_score"])]
    drawn = draw(finite["key"].to_numpy(dtype=object), finite["aesthetic_score"].to_numpy(), 0)
    bucket = np.floor(finite["aesthetic_score"].to_numpy() * 2)
    expected = []
    for place in sorted(np.unique(bucket), reverse=True):
        rows = np.flatnonzero(bucket == place)
        expected += finite.iloc[rows[np.argsort(drawn[rows])[:5]]]["key"].tolist()
    keys = [data for tag, data in page.texts if tag == "bdi" and data.startswith("row-")]
    assert keys[10:] == expected
    assert page.cards[:5] == [5.0] * 5
    assert page.cards[5:10] == [float(np.nextafter(np.float32(5), np.float32(0)))] * 5


def test_sampling_is_uniform_within_a_half_point():
    frame = pd.DataFrame({"key": range(50), "aesthetic_score": np.float32(5.2)})
    times = np.zeros(50)
    for seed in range(200):
        spec = ReportSpec({"score_column": "aesthetic_score", "key_column": "key"}, Threshold(9.0), {}, 5, seed)
        chosen = choose(frame, spec)
        times[chosen.loc[chosen["place"] >= -1, "key"].astype(int)] += 1
    # 20 expected of each, with a variance of 18; chi-square of 49 degrees of freedom, in 99.9 of 100 below 86.
    assert ((times - 20) ** 2 / 18).sum() < 86


def test_other_rows_in_the_second_pass_are_refused(scored, tmp_path):
    ticks = iter(range(100))

    def other(part):
        return part.sample(frac=1, random_state=next(ticks))

    frame = dd.from_pandas(scored, npartitions=2).map_partitions(other, meta=scored)
    with pytest.raises(InputError, match=r"expected the frame to hold the same rows.*persist\(\)"):
        frame.aesthetic.report(tmp_path / "page.html", url_column="url")
    assert list(tmp_path.iterdir()) == []


def test_real_scores_and_images(verite, shared, tmp_path):
    frame = columns.frame(verite, "list").aesthetic.score()
    files = sorted((shared / "data/images").iterdir())
    frame["image"] = [str(files[at % len(files)]) for at in range(len(frame))]
    page = write(frame.drop(columns="image_embedding"), tmp_path, image_column="image")
    kept = int((frame["aesthetic_score"] >= 5).sum())
    assert f"{kept} of them are kept: {kept / 509:.2%}" in page.text
    assert len(page.all("img")) == len(page.cards)
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_a_page_of_many_rows_and_groups_stays_small(tmp_path):
    rng = np.random.default_rng(2)
    image = encoded(kind="JPEG")
    frame = pd.DataFrame({"key": np.arange(200_000), "aesthetic_score": rng.normal(5, 0.7, 200_000).astype("f4")})
    frame["image"] = [image] * len(frame)
    frame["source"] = rng.integers(0, 500, len(frame))
    path = frame.aesthetic.report(tmp_path / "page.html", image_column="image", by="source", samples=24)
    assert path.stat().st_size < 3_000_000
    assert "And 300 smaller groups" in Page(path).text


def test_hostile_strings_are_escaped(tmp_path):
    texts = strings()
    for seed, title in enumerate(texts[::8]):
        assert_inert(Page(hostile_page(tmp_path / "page.html", texts, title, seed)))


def test_only_safe_urls_become_links():
    refused = [text for text in strings() if not re.match(r"https?://(example\.com|\[)", text)]
    assert [text for text in refused if link(text).href] == []
    assert link("https://example.com/?a=1&b=<c>").href == "https://example.com/?a=1&b=<c>"
    assert link("http://[half").href is None
    assert link("https://example.com/" + "a" * 3000).href is None
    assert link(5).href is None
    assert link(None) == link("")


def test_text_is_one_line_with_invisible_characters_escaped():
    assert escape_text("a\nb\tc\u202e\0\ud800\u2028") == r"a\nb\tc\u202e\x00\ud800\u2028"
    assert escape_text("naïve 画像 🎨 עברית \u200d") == "naïve 画像 🎨 עברית \u200d"
    for text in strings():
        assert len(escape_text(text)) <= 120 * 6
        escape_text(text).encode("utf-8")


def test_content_security_policy_allows_only_the_pages_own_code(scored, tmp_path):
    page = write(scored, tmp_path)
    held = [next(data for tag, data in page.texts if tag == "style")]
    held += [data for tag, data in page.texts if tag == "script"][1:]
    stated = next(one for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert stated["content"] == policy(*held)
    assert stated["content"].startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in stated["content"]


def test_page_is_written_atomically(scored, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("earlier")
    with pytest.raises(ColumnError, match="expected by='nobody' to be a column; the frame has 'key'"):
        scored.aesthetic.report(path, by="nobody")
    assert path.read_text() == "earlier"
    assert scored.aesthetic.report(str(path)) == path
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(InputError, match="a file to write in a folder that exists"):
        scored.aesthetic.report(tmp_path / "nowhere" / "report.html")
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"ends in \.html or \.htm for a file to replace, got .*scores\.parquet"):
        scored.aesthetic.report(tmp_path / "scores.parquet")
    assert (tmp_path / "scores.parquet").read_bytes() == b"PAR1"
    with pytest.raises(InputError, match="a file to write in a folder that exists"):
        scored.aesthetic.report(tmp_path)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"samples": 25}, "samples to be a whole number from 0 to 24, got 25"),
        ({"samples": True}, "got True"),
        ({"seed": 0.5}, "seed to be a whole number, got 0.5"),
        ({"threshold": 0.5}, "did you mean 5, or scale='unit'?"),
        ({"scale": "percent"}, "scale to be one of 'raw', 'unit'"),
        ({"score_column": "key"}, "expected scores, a column of floats, in 'key'"),
        ({"key_column": "none"}, "key_column='none' to be a column"),
        ({"threshold": "standard", "predictor": "laion-v1-l14"}, "presets are set on laion-v2 scores"),
    ],
)
def test_bad_arguments_are_refused(scored, tmp_path, options, match):
    with pytest.raises((ArgumentError, ColumnError, ValueError), match=re.escape(match)):
        scored.aesthetic.report(tmp_path / "page.html", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_before_anything_is_computed(scored, tmp_path, monkeypatch):
    from importlib.util import find_spec

    monkeypatch.setattr("dask_aesthetic.report.spec.find_spec", lambda name: None if name == "PIL" else find_spec(name))
    with pytest.raises(MissingDependencyError, match=r"needs Pillow.*pip install 'dask-aesthetic\[report\]'"):
        scored.aesthetic.report(tmp_path / "page.html", image_column="url")
    scored.aesthetic.report(tmp_path / "page.html")


@pytest.mark.parametrize("scores", [[], [np.nan, np.nan], [5.0], [-1e30, 1e30], [25.0, 24.999], [-15.0]])
def test_extreme_frames_have_a_page(tmp_path, scores):
    frame = pd.DataFrame({"aesthetic_score": np.array(scores, np.float32)})
    page = write(frame, tmp_path, by=None)
    found = np.array(scores, np.float32)
    assert f"{np.isfinite(found).sum()} of {len(found)} rows have a score" in page.text
    if np.isfinite(found).any():
        counts = page.counts
        low = counts["low"]
        expected = [int((found >= np.float32(at / 100)).sum()) for at in range(low, low + len(counts["kept"]))]
        assert counts["kept"] == expected


def test_a_page_of_which_lower_scores_are_better_counts_what_numpy_counts(tmp_path):
    random = np.random.default_rng(5)
    scores = (random.random(3000, dtype=np.float32) ** 3).round(4).astype(np.float32)
    scores[:300] = np.float32(random.integers(0, 101, 300) / 100)  # At edges, both ends among them.
    scores[300:310] = np.nan
    frame = pd.DataFrame({"key": [f"k{at}" for at in range(3000)], "unsafe_probability": scores})
    frame["source"] = np.where(np.arange(3000) % 3, "a", "b")
    options = {"score_column": "unsafe_probability", "predictor": "nsfw-l14", "by": "source"}
    page, found = write(frame, tmp_path, **options), scores[np.isfinite(scores)]
    kept = int((found <= 0.5).sum())
    assert "At the threshold of 0.50, which keeps lower scores" in page.text
    assert f"{kept:,} of them are kept" in page.text
    counts = page.counts
    assert (counts["low"], counts["keepsLow"], len(counts["kept"])) == (0, True, 111)
    assert counts["kept"] == [int((found <= np.float32(at / 100)).sum()) for at in range(111)]
    quarter = int((found <= 0.25).sum())
    assert f"0.25 {quarter:,} {quarter / len(found):.2%}" in page.text
    theirs = frame[frame["source"] == "a"]["unsafe_probability"]
    low = int((theirs <= 0.5).sum())
    assert f"a 2,000 {theirs.count():,} {low:,} {low / theirs.count():.2%}" in page.text
    verdicts = [data for tag, data in page.texts if tag == "span" and data in ("kept", "dropped")]
    assert verdicts == ["kept" if score <= 0.5 else "dropped" for score in page.cards]
    nearest = sorted(found[found <= 0.5])[-6:]
    assert sorted(page.cards[:6]) == pytest.approx(nearest)  # Just below the threshold comes first.
    assert "Rows at or below the threshold are filled" in page.text
    lazy = dd.from_pandas(frame, npartitions=3)
    assert Page(lazy.aesthetic.report(tmp_path / "lazy.html", **options)).text == page.text
    with pytest.raises(ArgumentError, match="expected predictor with scores in 'unsafe_probability', got none"):
        write(frame, tmp_path, score_column="unsafe_probability")


def test_laion_shares_are_shown_for_laion_v2_scores_only(scored, tmp_path):
    assert len(write(scored, tmp_path, predictor="laion-v2").all("circle")) == 6
    other = write(scored, tmp_path, predictor="laion-v1-l14", threshold=5)
    assert other.all("circle") == []
    assert "LAION-2B-en" not in other.text


def test_histogram_bars_count_every_row():
    scores = np.random.default_rng(4).normal(5, 0.6, 5000).astype("f4")
    distribution, cut = ScoreDistribution.of(scores), Threshold(5)
    span = plots.Range.of(distribution, cut)
    edges, counts = plots.bars(distribution.hundredths, span.low, span.high)
    assert counts.tolist() == np.histogram(scores.astype(float), np.append((edges / 100)[:-1], 99.0))[0].tolist()
    assert counts.sum() == len(scores)
    heights = [float(height) for height in re.findall(r"V([\d.]+)H", plots.histogram(distribution, cut, span).path)]
    assert np.argmin(heights) == np.argmax(counts[counts > 0])


def test_plot_returns_axes_with_the_counts():
    matplotlib = pytest.importorskip("matplotlib", reason="needs pip install 'dask-aesthetic[report]'")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    scores = np.random.default_rng(4).normal(5, 0.6, 5000).astype("f4")
    distribution = ScoreDistribution.of(scores)
    try:
        ax = distribution.plot(threshold="high", color="tab:orange", label="mine")
        assert isinstance(ax, matplotlib.axes.Axes)
        assert ax is plt.gca()
        assert ax.patches[0].get_data().values.sum() == len(scores)
        assert ax.lines[0].get_xdata() == [6.0, 6.0]
        assert distribution.plot(ax=ax) is ax
        other = plt.figure().subplots()
        unit = ScoreDistribution.of(scores / np.float32(10), scale="unit")
        assert unit.plot(ax=other) is other
        assert 0.2 < other.get_xlim()[0] < other.get_xlim()[1] < 0.8
        assert ScoreDistribution.of([]).plot(ax=other) is other
    finally:
        plt.close("all")


def write_files(scored, folder, **metadata_changes) -> Path:
    folder.mkdir()
    metadata = {"predictor": {"name": "laion-v2", "scale": "laion-v2"}, "weights_sha256": "ab", "scale": "raw"}
    metadata = {**metadata, "threshold": {"value": 4.5, "name": "mine"}, "version": "9", **metadata_changes}
    table = pa.Table.from_pandas(scored, preserve_index=False)
    table = table.replace_schema_metadata({"dask_aesthetic": json.dumps(metadata)})
    pq.write_table(table.slice(0, 1500), folder / "a.parquet")
    pq.write_table(table.slice(1500), folder / "b.parquet")
    (folder / "_dask_aesthetic").mkdir()
    pq.write_table(table, folder / "_dask_aesthetic" / "failed.parquet")
    pq.write_table(table, folder / ".b.parquet")
    return folder


def command(*arguments) -> tuple[int, str]:
    ended = commands.run("report", *arguments)
    return ended.status, ended.out + ended.err


def test_the_command_takes_threshold_and_provenance_from_the_files(scored, tmp_path):
    folder, page = write_files(scored, tmp_path / "scored"), tmp_path / "page.html"
    code, output = command(folder, "--output", page, "--by", "source", "--url-column", "url")
    assert (code, output) == (0, f"{page}: {page.stat().st_size / 1000:,.0f} kB\n")
    text = Page(page).text
    kept = int((scored["aesthetic_score"] >= 4.5).sum()) - 1
    assert "3,949 of 4,000 rows have a score by laion-v2" in text
    assert f"At the threshold of 4.50 ( mine ), {kept:,} of them are kept" in text
    assert "zero 20" in text
    assert "weights sha256 ab" in text
    assert command(folder, "--output", page, "--threshold", "high")[0] == 0
    assert "At the threshold of 6.00 ( high )" in Page(page).text


def test_scores_without_a_default_threshold_ask_for_one(tmp_path):
    rows = pd.DataFrame({"image_embedding": list(np.random.default_rng(3).standard_normal((50, 768), np.float32))})
    rows.to_parquet(tmp_path / "in.parquet")
    commands.printed("score", tmp_path / "in.parquet", tmp_path / "out", "--predictor", "laion-v1-l14")
    command = ["report", tmp_path / "out", "--output", tmp_path / "report.html"]
    assert "expected a threshold, as laion-v1-l14 has no default one" in commands.run(*command).err
    commands.printed(*command, "--threshold", "5")


def test_the_command_refuses_bad_usage(scored, tmp_path):
    folder, page = write_files(scored, tmp_path / "scored"), tmp_path / "page.html"
    cases = [
        ((tmp_path / "nowhere",), "does not exist"),
        ((folder, "--by", "nobody"), "expected by='nobody' to be a column"),
        ((folder, "--scale", "unit"), "expected scale='raw', as the files say, got 'unit'"),
        ((folder, "--threshold", "0.5"), "did you mean 5"),
        ((folder, "--samples", "99"), "not in the range"),
    ]
    for arguments, message in cases:
        code, output = command(*arguments, "--output", page)
        assert (code, message in output) == (2, True), output
    assert not page.exists()
    write_files(scored, folder / "other", weights_sha256="cd")
    code, output = command(folder, "--output", page)
    assert (code, "expected scores of one predictor on one scale" in output) == (2, True)
