"""Columns of a scoring job's output: what passes through, and what is computed beside the scores."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dask_aesthetic.defaults import HASH_COLUMN
from dask_aesthetic.io import parquet
from dask_aesthetic.io.shard import first_of_each
from dask_aesthetic.io.shards import LOCATION, Shard
from dask_aesthetic.jobs.settings import STATUS_COLUMN, TEXT_STATUS_COLUMN, status_type
from dask_aesthetic.score_spec import ScoreSpec, refuse_replacing
from dask_aesthetic.shard_texts import TextSide

SHOWN = 3  # Names of columns that are left out.


def other_columns(shards: Sequence[Shard], columns: str, embedding_column: str) -> list[str]:
    """A caution about columns of later files that the first one lacks, which do not pass through."""
    first = set(shards[0].schema.names)
    others = dict.fromkeys(name for shard in shards for name in shard.schema.names if name not in first)
    lost = pa.schema([(name, pa.null()) for name in others])
    names = parquet.choose_columns(lost, columns, embedding_column) if columns in ("all", "ids") else []
    if not names:
        return []
    return [f"left out: columns {', '.join(map(repr, names[:SHOWN]))}, which shard {shards[0].name} does not have"]


def passthrough_schema(
    shards: Sequence[Shard],
    columns: str | Sequence[str],
    embedding_column: str,
    embedding_type: pa.DataType | None,
    spec: ScoreSpec,
    replace_columns: bool,
    embedding_hash: bool,
    texts: TextSide | None,
) -> pa.Schema:
    """Schema of the passthrough columns of every output, and of what is computed beside the scores.

    New embeddings replace earlier ones.
    """

    def schema_of(shard: Shard) -> pa.Schema:
        embeddings = [pa.field(embedding_column, embedding_type or shard.scored_type)]
        if texts is not None:
            embeddings.append(texts.field_of(shard))
        names = {field.name for field in embeddings}
        return pa.schema([*(field for field in shard.schema if field.name not in names), *embeddings])

    def kind_of(shard: Shard) -> tuple[int, pa.DataType, str]:
        return id(shard.schema), shard.scored_type, "" if texts is None else shard.name  # Texts may lie beside both.

    schemas = [(shard.files[-1], schema_of(shard)) for shard in first_of_each(shards, kind_of)]
    first = schemas[0][1]
    if columns == "ids" and shards[0].schema.names == LOCATION.names:
        columns = LOCATION.names
    computed = pa.schema(
        [
            *([pa.field(HASH_COLUMN, pa.uint64())] if embedding_hash else []),
            *([pa.field(texts.spec.similarity_column, pa.float32())] if texts is not None else []),
            *([pa.field(TEXT_STATUS_COLUMN, status_type())] if texts is not None else []),
        ]
    )
    spec.check_rule({field.name: field.type for field in (*first, *computed)})
    chosen = parquet.choose_columns(first, columns, embedding_column)
    if columns == "all" and texts is not None:
        chosen.remove(texts.column)
    chosen += [name for name in spec.rule_columns if name not in computed.names]
    added = {**spec.added, "status_column": STATUS_COLUMN, **computed_columns(embedding_hash, texts)}
    # Readers find a row by these columns, and the output's folders repeat the input's.
    folders = {name for shard in shards for name in shard.partitions}
    refuse_replacing([*shards[0].location_columns, *folders], added, replace_columns=False)
    refuse_replacing(chosen, added, replace_columns)
    left_out = [*added.values(), *(shards[0].partitions if columns == "all" else ())]
    names = [name for name in dict.fromkeys([*shards[0].location_columns, *chosen]) if name not in left_out]
    passthrough = parquet.common_schema(schemas, names)
    return pa.schema([*passthrough, *computed])


def computed_columns(embedding_hash: bool, texts: TextSide | None) -> dict[str, str]:
    """Names of the columns that are computed beside scores, keep and status, by role."""
    return {
        **({"embedding_hash": HASH_COLUMN} if embedding_hash else {}),
        **({"similarity_column": texts.spec.similarity_column} if texts is not None else {}),
        **({"the text's status": TEXT_STATUS_COLUMN} if texts is not None else {}),
    }
