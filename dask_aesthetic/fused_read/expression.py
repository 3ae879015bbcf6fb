"""Columns computed from embeddings as one expression over a frame, until Dask optimizes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from dask_aesthetic.frame_columns import EmbeddingColumns
from dask_aesthetic.fused_read.private import (
    Assign,
    Elemwise,
    Expr,
    Filter,
    Head,
    Projection,
    RenameFrame,
    determine_column_projection,
    is_on,
    new_collection,
)
from dask_aesthetic.fused_read.reader import ReadAestheticColumns, fused_like, is_readable, is_reader


def computed(frame: Any, embedding_column: str, columns: EmbeddingColumns) -> Any:
    """Dask frame with the columns, as one expression; None over frames that cannot be read in one."""
    expression = frame.expr
    names = list(expression.columns)
    if len(set(names)) < len(names) or embedding_column in columns.names:
        return None
    reader = _reader(expression)
    name = _read_name(expression, reader, embedding_column) if reader is not None else None
    if name is None or not is_readable(reader, columns, name):
        return None
    wanted = [*names, *(name for name in columns.names if name not in names)]
    return new_collection(AestheticColumns(expression, embedding_column, columns, wanted))


class AestheticColumns(Elemwise):
    """Columns of a frame with computed columns.

    It takes part in column projection, over all that is wanted above it, and is replaced when that has come to rest:
    as part of the reader, or as the graph over partitions. So no other operand of the reader changes while the user
    builds an expression, and all that comes from the same reader stays aligned.

    Parameters
    ----------
    frame : Expr
    embedding_column : str
    computed : EmbeddingColumns
    wanted : list of str
        The columns of this.
    shared : {"columns", "embeddings"}, optional
        What others take from the same reader.
    """

    _parameters: ClassVar[list[str]] = ["frame", "embedding_column", "computed", "wanted", "shared"]
    _defaults: ClassVar[dict[str, Any]] = {"shared": None}

    @functools.cached_property
    def _name(self) -> str:
        return f"aesthetic_columns-{self.deterministic_token}"

    @functools.cached_property
    def _meta(self) -> Any:
        meta = self.frame._meta
        values = self.computed.empty(meta[self.embedding_column])
        return meta.assign(**self.computed.from_values(values))[self.wanted]

    @property
    def _projection_columns(self) -> list[str]:
        return list(self.frame.columns)  # What is needed below, not what is given above.

    @functools.cached_property
    def unique_partition_mapping_columns_from_shuffle(self) -> set[Any]:
        return set()  # A reader knows none.

    def _simplify_up(self, parent: Any, dependents: Any) -> Any:
        if not isinstance(parent, Projection):
            return self._noted(parent, dependents)
        wanted = determine_column_projection(self, parent, dependents)
        wanted = wanted if isinstance(wanted, list) else [wanted]
        wanted = [name for name in self.columns if name in wanted]
        if not set(wanted) & set(self.computed.names):
            return type(parent)(self.frame, *parent.operands[1:])
        if wanted == self.wanted:
            return self._noted(parent, dependents)
        needed = {*wanted, self.embedding_column} - set(self.computed.names)
        frame = self.frame[[name for name in self.frame.columns if name in needed]]
        # All parents of this find the same projected node, so that nothing is computed twice.
        return type(parent)(AestheticColumns(frame, self.embedding_column, self.computed, wanted), *parent.operands[1:])

    def _noted(self, parent: Any, dependents: Any) -> Any:
        """The parent, with a note in this of what others take from the same reader; None if it is noted already."""
        reader = _reader(self.frame)
        if reader is None:
            return None
        below = {node._name for node in self.frame.walk()}
        users = [node for node in (known() for known in dependents[reader._name]) if node is not None]
        others = [node for node in users if node._name not in below and not _is_over(node, self.frame)]
        name = _read_name(self.frame, reader, self.embedding_column)
        takes_all = any(type(node) is not Projection or name in node.columns for node in others)
        shared = ("embeddings" if takes_all else "columns") if others else None
        return None if shared == self.shared else parent.substitute(self, AestheticColumns(*self.operands[:4], shared))

    def _tune_down(self) -> Any:
        return self._optimized(tune=True)

    def _lower(self) -> Any:
        return self._optimized(tune=False)  # Where tuning is switched off; else nothing of this is left.

    def _optimized(self, tune: bool) -> Any:
        head = _head(self.frame)
        if head is not None:  # Dask moves it below whatever works row by row, where it keeps columns in the reader.
            frame = self.frame.substitute(head, head.frame)
            whole = AestheticColumns(frame, self.embedding_column, self.computed, self.wanted)
            return Head(whole._optimized(tune), *head.operands[1:])
        found = self._read(tune) if is_on() and self.embedding_column not in self.wanted else None
        return self._by_partition() if found is None else found

    def _by_partition(self) -> Any:
        """The graph over partitions that hold the embeddings."""
        return self.computed.add(new_collection(self.frame), self.embedding_column, self.wanted, self._meta).expr

    def _read(self, tune: bool) -> Any:
        """Columns of a reader that computes them; None where that is not possible or does not pay."""
        reader = _reader(self.frame)
        name = _read_name(self.frame, reader, self.embedding_column) if reader is not None else None
        narrow = _narrowed(reader, self.frame) if reader is not None else None
        if name is None or not is_readable(narrow, self.computed, name):
            return None
        like = fused_like(reader) if tune else reader
        if self.shared == "embeddings" or (self.shared and like is not reader):
            return None  # The others' reader reads the embeddings: for them, or for nothing, since it is fused.
        if self.computed.read_spec.on_invalid == "raise" and any(
            isinstance(node, Filter) for node in self.frame.walk()
        ):
            return None  # A row that is filtered out does not end a run.
        # Values stand in the place of the embeddings: what lies between does not touch them.
        read = ReadAestheticColumns(narrow, like, name, self.embedding_column, self.computed)
        frame = new_collection(self.frame.substitute(reader, read))
        added = self.computed.from_values(frame[self.embedding_column])
        return Projection(frame.assign(**added).expr, self.wanted)


def _head(frame: Any) -> Any:
    """The first rows that a frame is, maybe some columns of them; None if it is something else."""
    if type(frame) is Projection:
        return _head(frame.frame)
    return frame if type(frame) is Head else None


def _reader(frame: Any) -> Any:
    """The one Parquet reader that a frame comes from, None if there is another origin."""
    origins = {node._name: node for node in frame.walk() if not node.dependencies()}
    (origin,) = origins.values() if len(origins) == 1 else (None,)
    return origin if is_reader(origin) else None


def _narrowed(reader: Any, frame: Any) -> Any:
    """The reader with the columns that a frame takes of it: others that stand over it may take more."""
    users = [node for node in frame.walk() if any(one._name == reader._name for one in node.dependencies())]
    if not users or not all(type(node) is Projection for node in users):
        return reader
    taken = {name for node in users for name in node.columns}
    return reader.substitute_parameters({"columns": [name for name in reader.columns if name in taken]})


def _read_name(frame: Any, reader: Any, column: str) -> str | None:
    """Name in the reader of a frame's column; None where a step in between changes or uses its values."""
    if frame._name == reader._name:
        return column if column in reader.columns else None
    kind, beside = type(frame), [operand for operand in frame.operands[1:] if isinstance(operand, Expr)]
    if kind is RenameFrame and isinstance(frame.operand("columns"), Mapping):
        names = frame.operand("columns")
        before = [name for name in frame.frame.columns if names.get(name, name) == column]
        return _read_name(frame.frame, reader, before[0]) if len(before) == 1 else None
    takes_columns = kind is Projection and isinstance(frame.operand("columns"), list)
    assigns_others = kind is Assign and column not in frame.keys
    if not (takes_columns or assigns_others or kind is Filter or kind.__name__ == "NoOp"):  # dask-cuDF's
        return None
    name = _read_name(frame.frame, reader, column)
    return name if name is not None and all(_is_apart(one, reader, name) for one in beside) else None


def _is_apart(expression: Any, reader: Any, name: str) -> bool:
    """Whether an expression is computed row by row from other columns than the reader's column of a name."""
    if name in expression.columns:
        return False
    if type(expression) is Projection and name in expression.frame.columns:
        return _read_name(expression.frame, reader, name) == name
    return isinstance(expression, Elemwise) and all(_is_apart(one, reader, name) for one in expression.dependencies())


def _is_over(node: Any, frame: Any) -> bool:
    return isinstance(node, AestheticColumns) and node.frame._name == frame._name
