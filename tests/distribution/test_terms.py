"""Distributions of the rows whose captions mention a term, against a split into words and counts by hand."""

from __future__ import annotations

import re
import unicodedata

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from dask_aesthetic import ArgumentError, ColumnError, ScoreDistribution
from dask_aesthetic.distribution.terms import find_terms
from helpers import columns
from helpers.laziness import no_compute
from helpers.parquet_files import spoil

PEOPLE = {"women": ["woman", "women", "her", "she"], "men": ["man", "men", "his", "he"], "Trump": ["trump"]}


@pytest.fixture(scope="module")
def captioned(verite, shared) -> pd.DataFrame:
    """Real captions and the scores of their images."""
    frame = columns.frame(verite, "list").aesthetic.score()[["aesthetic_score"]]
    return frame.assign(caption=pd.read_csv(shared / "data/verite_l14/captions.csv")["caption"])


def count_rows(captions: list[str | None], terms) -> dict[str | None, int]:
    frame = pd.DataFrame({"aesthetic_score": np.full(len(captions), 5.0), "caption": captions})
    return {term: group.rows for term, group in frame.aesthetic.distribution(terms=terms).items()}


@pytest.mark.parametrize("partitions", [0, 13])
def test_terms_in_real_captions_equal_a_split_into_words(captioned, partitions):
    frame = dd.from_pandas(captioned, npartitions=partitions) if partitions else captioned
    groups = frame.aesthetic.distribution(terms=PEOPLE)
    # English captions, split at everything but letters, digits and underscores.
    words = [set(re.split(r"[^a-z0-9_]+", caption.lower())) for caption in captioned["caption"]]
    mentions = {term: np.array([bool(set(wanted) & row) for row in words]) for term, wanted in PEOPLE.items()}
    mentions[None] = ~np.any(list(mentions.values()), axis=0)
    assert list(groups) == ["women", "men", "Trump", None]
    scores = captioned["aesthetic_score"].to_numpy()
    for term, rows in mentions.items():
        assert rows.sum() > 5
        assert groups[term] == ScoreDistribution.of(scores[rows])
        assert groups[term].keep_rate(4.5) == pytest.approx((scores[rows] >= 4.5).mean())
    assert sum(group.rows for group in groups.values()) > len(scores)  # Some captions mention two terms.


def test_words_match_whole_words_in_any_case():
    captions = ["Her cat", "There", "HER", "her-self", "mother", "x_her", "l'her,", "her2", None, "", "(her)"]
    assert count_rows(captions, ["her"]) == {"her": 5, None: 6}
    assert count_rows(["New\n  York", "new-york", "Newyork", "NEW YORK!"], ["new york"]) == {"new york": 2, None: 2}
    assert count_rows(["C++ and C", "c", "a.b", "axb"], ["c++", "a.b"]) == {"c++": 1, "a.b": 1, None: 2}


def test_words_of_other_scripts_match_whole_words():
    assert count_rows(["STRASSE", "straße", "Straßen"], ["Straße"]) == {"Straße": 2, None: 1}
    assert count_rows(["Женщина, окно", "женщинами"], ["женщина"]) == {"женщина": 1, None: 1}
    assert count_rows(["ΓΥΝΑΊΚΑ", "γυναίκες"], ["γυναίκα"]) == {"γυναίκα": 1, None: 1}
    # हि is no whole word in हिन्दी, although a regular expression takes the vowel sign for a space.
    assert count_rows(["हिन्दी", "ह न"], ["ह"]) == {"ह": 1, None: 1}
    assert count_rows(["यह हिन्दी है", "हिन्दीभाषी"], ["हिन्दी"]) == {"हिन्दी": 1, None: 1}
    # In scripts without spaces, a word matches if it stands alone.
    assert count_rows(["女", "一个女人", "猫、女、犬"], ["女"]) == {"女": 2, None: 1}


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKD"])
def test_unicode_forms_of_accents_match(form):
    captions = [unicodedata.normalize(form, text) for text in ("un café noir", "CAFÉ", "cafés", "cafe")]
    for word in ("café", unicodedata.normalize("NFD", "Café")):
        assert count_rows(captions, {"coffee": [word]}) == {"coffee": 2, None: 2}


@pytest.mark.parametrize("dtype", ["object", "string", "category", "string[pyarrow]", "large_string[pyarrow]"])
def test_caption_dtypes(captioned, dtype):
    holes = captioned["caption"].where(np.arange(len(captioned)) % 7 > 0)
    expected = captioned.assign(caption=holes.astype(object)).aesthetic.distribution(terms=PEOPLE)
    if dtype == "large_string[pyarrow]":
        import pyarrow as pa

        dtype = pd.ArrowDtype(pa.large_string())
    frame = captioned.assign(caption=holes.astype(dtype)).rename(columns={"caption": "TEXT"})
    assert frame.aesthetic.distribution(terms=PEOPLE, caption_column="TEXT") == expected
    ddf = dd.from_pandas(frame, npartitions=3)
    assert ddf.aesthetic.distribution(terms=PEOPLE, caption_column="TEXT") == expected


def test_statuses_scales_and_predictors_apply_to_terms():
    frame = pd.DataFrame(
        {
            "aesthetic_score": [0.4, np.nan, np.nan],
            "status": ["ok", "zero", "missing"],
            "caption": ["a cat", "cat", "dog"],
        }
    )
    groups = frame.aesthetic.distribution(terms=["cat"], status_column="status", scale="unit", predictor="laion-v2")
    assert (groups["cat"].reasons, groups[None].reasons) == ({"zero": 1}, {"missing": 1})
    assert (groups["cat"].scale, groups["cat"].predictor) == ("unit", "laion-v2")
    assert (groups["cat"].rows, groups["cat"].count) == (2, 1)


def test_terms_without_rows_have_empty_distributions():
    assert count_rows(["a cat"], ["cat", "unicorn"]) == {"cat": 1, "unicorn": 0, None: 0}
    empty = pd.DataFrame({"aesthetic_score": pd.Series([], dtype="float32"), "caption": pd.Series([], dtype="object")})
    for frame in (empty, dd.from_pandas(empty, npartitions=1)):
        assert {term: group.rows for term, group in frame.aesthetic.distribution(terms=["cat"]).items()} == {
            "cat": 0,
            None: 0,
        }


def test_terms_read_only_scores_and_captions(tmp_path, captioned):
    table = captioned.assign(heavy="x" * 100)
    table.to_parquet(tmp_path / "a.parquet")
    spoil(str(tmp_path), {"heavy"})
    groups = dd.read_parquet(tmp_path).aesthetic.distribution(terms=PEOPLE)
    assert groups == captioned.aesthetic.distribution(terms=PEOPLE)


def test_find_terms_accepts_words_lists_and_mappings():
    assert find_terms("woman") == {"woman": ("woman",)}
    assert find_terms({"women": "woman"}) == {"women": ("woman",)}
    assert find_terms(word for word in ("a", "b")) == {"a": ("a",), "b": ("b",)}


@pytest.mark.parametrize("terms", [[], {}, [""], [" "], {"women": []}, {"women": None}, {"women": [3]}, [3], 3, [None]])
def test_invalid_terms_are_refused(terms):
    frame = pd.DataFrame({"aesthetic_score": [5.0], "caption": ["a"]})
    with pytest.raises(ArgumentError, match="expected terms to be words, or names with a list of words each"):
        frame.aesthetic.distribution(terms=terms)


def test_invalid_caption_columns_are_refused():
    frame = pd.DataFrame({"aesthetic_score": [5.0], "text": ["a"], "number": [3]})
    for frames in (frame, dd.from_pandas(frame, npartitions=1)):
        with no_compute(), pytest.raises(ColumnError, match="caption_column='caption' to be a column"):
            frames.aesthetic.distribution(terms=["a"])
        with pytest.raises(ColumnError, match="expected text in caption_column='number', got 3"):
            frames.aesthetic.distribution(terms=["a"], caption_column="number")
        with pytest.raises(ArgumentError, match="either by or terms, got by='text'"):
            frames.aesthetic.distribution(terms=["a"], by="text")
