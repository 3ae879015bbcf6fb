"""Tables in a terminal and in a notebook."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dask_aesthetic
from dask_aesthetic import FilterSummary, JobSummary
from dask_aesthetic.synthetic import write_demo
from dask_aesthetic.tables import Grid, format_html, format_text
from helpers.laziness import no_compute

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\n"


class Cells(HTMLParser):
    """Texts of the cells of a page, and the names of its tags."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, _):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td", "br", "ul", "li", "b"}


def assert_safe(page: str) -> None:
    found = Cells(page)
    assert set(found.tags) <= TAGS, set(found.tags) - TAGS
    assert not re.search(r"[\x00-\x1f\u202e]", "".join(found.texts))


def test_what_comes_from_data_is_escaped_everywhere():
    tables = [
        format_html(HOSTILE, {HOSTILE: HOSTILE, "lines": [HOSTILE, "b"]}),
        Grid([HOSTILE, "n"], [[HOSTILE, "1"]], HOSTILE, [HOSTILE, "2"]).html(HOSTILE),
    ]
    for page in tables:
        assert_safe(page)
        assert "<script>alert(1)" in "".join(Cells(page).texts)
    texts = [
        format_text(HOSTILE, {HOSTILE: HOSTILE}),
        Grid([HOSTILE, "n"], [[HOSTILE, "1"]], HOSTILE, [HOSTILE, "2"]).text(HOSTILE),
    ]
    for text, lines in zip(texts, (2, 5), strict=True):
        assert len(text.splitlines()) == lines
        assert not re.search(r"[\x1b\u202e]", text)
    assert len(format_text("t", {"a": "x" * 5000})) < 1100


def test_facts_without_a_value_are_left_out():
    assert format_text("t", {"a": "", "bcd": "1", "e": []}).splitlines() == ["t", "  bcd  1"]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    write_demo(folder / "in", rows=600)
    summary = dask_aesthetic.score_dataset(
        folder / "in", folder / "scores", predictor={"aesthetic_score": "laion-v2", "unsafe": "nsfw-l14"}
    )
    return folder, summary


def both(shown) -> str:
    """Text of a table, after its page was checked to have the same words."""
    page = Cells(shown._repr_html_())
    assert_safe(shown._repr_html_())
    text = repr(shown)
    assert str(shown) == text
    words = " ".join(page.texts).split()
    assert set(words) == set(text.split())
    return text


def test_the_summary_of_a_scoring_job_counts_what_its_files_hold(job):
    folder, summary = job
    table = pq.read_table(folder / "scores").to_pandas()
    text = both(summary)
    assert text.splitlines()[0] == "Summary of a scoring job"
    scored = table["aesthetic_score"].notna()
    kept = int(table["keep"].sum())
    for line in (
        "shards  4",
        f"rows  {len(table):,}",
        f"scored  {scored.sum():,}",
        f"kept  {kept:,} ({kept / scored.sum():.1%} of the scored)",
        f"{(table['status'] == 'zero').sum()} zero",
    ):
        assert line in text, line
    assert re.search(r"raw scores  \(first\)  1% .*\n +unsafe  1% ", text)


def test_summaries_of_other_jobs_say_what_they_wrote(job, tmp_path):
    folder, _ = job
    chosen = dask_aesthetic.select_dataset(folder / "scores", tmp_path / "best", keep=[("unsafe", "<", 0.5)])
    text = both(chosen)
    assert text.startswith("Summary of a select job\n")
    assert f"kept  {chosen.kept:,} (" in text
    assert re.search(r"rule  \d+ rows: unsafe < 0.5\n +\d+ rows together", text)
    exported = dask_aesthetic.export_dataset(tmp_path / "best", tmp_path / "urls.csv")
    assert both(exported).split()[-2:] == ["rows", f"{chosen.kept:,}"]
    assert str(tmp_path / "urls.csv") in repr(exported)
    packed = dask_aesthetic.repack_dataset(folder / "in", tmp_path / "r", layout="lists")
    size = sum(file.stat().st_size for file in (tmp_path / "r").glob("*.parquet"))
    assert f"bytes  {size:,}, from " in both(packed)


def test_the_summary_of_a_filter_job_names_its_unit():
    counts = {"shards": 2, "samples": 10, "kept": 4, "members": 8, "bytes": 4096, "unscored": 1, "missing": 2}
    tars = FilterSummary("/out", **counts, left_out={"unsafe_name": 3}, notes={})
    assert both(tars).splitlines()[1:] == [
        "    shards  2 -> /out",
        "   samples  10",
        "      kept  4 (40.0%), 8 members",
        "     bytes  4,096",
        "  unscored  1 samples without a row, not kept",
        "   missing  2 rows to keep without a sample",
        "  left out  3 unsafe_name",
    ]
    images = both(FilterSummary(HOSTILE, **counts, unit="images"))
    assert "4 (40.0%), 8 files" in images
    assert "\x1b" not in images


def test_an_empty_summary_can_be_printed():
    assert "rows  0" in both(JobSummary())
    assert "kept" not in both(JobSummary(kept=None))


def test_the_accessor_says_what_it_can_do_without_computing(job):
    import dask.dataframe as dd

    folder, _ = job
    with no_compute():
        frame = dd.read_parquet(folder / "in", dtype_backend="pyarrow")
        lazy = both(frame.aesthetic)
        scores = both(dask_aesthetic.read_scores(folder / "scores").aesthetic)
    assert lazy.startswith(".aesthetic of a Dask frame of pandas, 4 partitions, with 'key', 'url', 'image_embedding'\n")
    assert re.search(r"^ +embeddings  'image_embedding', list<\w+: float>\[pyarrow\]$", lazy, re.MULTILINE)
    assert "laion-v2 by default, for 768 floats of ViT-L-14-quickgelu (openai); keeps raw score >= 5" in lazy
    assert re.search(r"^ +score\(\)  ", lazy, re.MULTILINE)
    assert "a column of scores: top, distribution, report, calibrate" in lazy
    assert "'image': embed, embed_and_score" in lazy
    assert re.search(r"scores  'aesthetic_score' by laion-v2, raw\n +'unsafe' by nsfw-l14, raw\n", scores)
    assert re.search(r"^ +top\(n\)  ", scores, re.MULTILINE)


def test_the_accessor_names_columns_that_would_do():
    rows = pd.array([[1.0] * 4], dtype=pd.ArrowDtype(pa.list_(pa.float32())))
    frame = pd.DataFrame({HOSTILE: rows, "image_embedding": ["no lists"]})
    text = both(frame.aesthetic)
    assert "pandas frame, 1 row, with " in text
    assert "no 'image_embedding' of lists of floats; say embedding_column=" in text
    assert "'image_embedding': score, filter, status, check, fit" in text
    wide = pd.DataFrame({f"c{at}": [1] for at in range(30)})
    assert "'c7' and 22 more" in both(wide.aesthetic)
    assert "with no columns" in both(pd.DataFrame().aesthetic)


def test_every_method_of_the_accessor_is_named_once(job):
    frame = pd.DataFrame({"image_embedding": [np.ones(768, np.float32)], "aesthetic_score": [5.0], "image": [b"x"]})
    text = repr(frame.assign(text_embedding=frame["image_embedding"]).aesthetic)
    methods = [name for name in dir(dask_aesthetic.AestheticAccessor) if not name.startswith("_")]
    assert sorted(re.findall(r"^ +(\w+)\(", text, re.MULTILINE)) == methods
    assert "lacks" not in text


def test_the_check_of_a_hostile_column_is_escaped():
    frame = pd.DataFrame({HOSTILE: [np.ones(768, np.float32)] * 3})
    found = frame.aesthetic.check(HOSTILE)
    assert_safe(found._repr_html_())
    assert "\x1b" not in repr(found)
    assert "usable" in repr(found).splitlines()[0]
