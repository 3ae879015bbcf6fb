"""Arguments that several functions repeat have one annotation and one default."""

from __future__ import annotations

import inspect

import pytest

from dask_aesthetic import AestheticAccessor, filter_dataset, read_and_score, score_dataset, select_dataset
from dask_aesthetic.filter import plan_filter
from dask_aesthetic.jobs import plan_dataset
from dask_aesthetic.select import plan_select


def parameters(function, *without: str) -> dict[str, inspect.Parameter]:
    return {name: one for name, one in inspect.signature(function).parameters.items() if name not in {"self", *without}}


@pytest.mark.parametrize(
    ("whole", "plan", "own"),
    [
        (score_dataset, plan_dataset, ("threads", "max_failed", "progress")),
        (filter_dataset, plan_filter, ("threads", "progress")),
        (select_dataset, plan_select, ("progress",)),
    ],
)
def test_a_job_and_its_plan_take_the_same_arguments(whole, plan, own):
    assert list(parameters(whole, *own).values()) == list(parameters(plan).values())
    assert set(own) <= set(parameters(whole))
    assert all(f"    {name}" in whole.__doc__ or f", {name}" in whole.__doc__ for name in parameters(whole))


@pytest.mark.parametrize(
    ("function", "differs"),
    [
        (AestheticAccessor.filter, ()),
        (read_and_score, ()),
        (score_dataset, ("predictor", "score_column")),  # `style` names the score.
    ],
)
def test_arguments_of_score_are_the_same_elsewhere(function, differs):
    score, other = parameters(AestheticAccessor.score), parameters(function)
    shared = (score.keys() & other.keys()) - {*differs, "embedding_column"}
    assert len(shared) >= 6
    for name in shared:
        assert (other[name].annotation, other[name].default) == (score[name].annotation, score[name].default), name
    assert other["embedding_column"].default == score["embedding_column"].default
