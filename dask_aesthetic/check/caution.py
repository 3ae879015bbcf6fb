"""Whether embeddings look like an encoder's images, told by some of them while they are scored."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pyarrow as pa

from dask_aesthetic.check.facts import Facts, sum_facts
from dask_aesthetic.check.findings import CAUTION, encoder_findings
from dask_aesthetic.check.measure import check_spec, facts_of_vectors, has_signature
from dask_aesthetic.check.result import Check
from dask_aesthetic.distribution import ScoreDistribution
from dask_aesthetic.embeddings.arrow import array_runs
from dask_aesthetic.predictors import Predictor


def caution_of(lists: pa.Array, predictor: Predictor) -> str | None:
    """What `Check` would caution of the encoder of some embeddings, a list of floats per row; None if nothing."""
    if not has_signature(predictor):
        return None
    parts = [Facts(ScoreDistribution())]
    for run in array_runs(lists, predictor.width):
        status = run.status if run.present is None else run.status[run.present]
        parts.append(facts_of_vectors(run.vectors, status, check_spec(predictor)))
    facts = sum_facts([replace(part, scores=ScoreDistribution()) for part in parts])
    facts = replace(facts, status=Counter(ok=facts.kinds.total()))
    found = encoder_findings(Check.of(facts, "", predictor))
    return next((f"{finding.what}: {finding.do}" for finding in found if finding.level == CAUTION), None)
