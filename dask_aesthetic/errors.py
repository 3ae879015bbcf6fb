"""Errors and warnings. Every message says what was expected, what was found and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AestheticError(Exception):
    """Base class of every error that this package raises on purpose."""


class ColumnError(AestheticError, ValueError):
    """An embedding or image column that is missing or holds something else."""

    @classmethod
    def missing(cls, column: str, columns: Iterable[object], candidates: Iterable[str]) -> ColumnError:
        columns = list(columns)
        held = [repr(name) for name in columns]
        more = f" and {len(held) - _SHOWN:,} more" if len(held) > _SHOWN else ""
        names = ", ".join(held[:_SHOWN]) + more
        end = did_you_mean(column, columns) or "."
        return cls(
            f"expected an embedding column {column!r}; the frame has {names or 'no columns'}{end} {_hint(candidates)}"
        )

    @classmethod
    def repeated(cls, column: str) -> ColumnError:
        return cls(f"expected one column {column!r}, got several of that name: rename or drop the others")

    @classmethod
    def not_lists(cls, column: object, dtype: object, candidates: Iterable[str] = ()) -> ColumnError:
        if str(dtype).startswith(_ARROW_BINARY):
            return cls.packed(column, dtype, candidates)
        return cls(
            f"expected a list of floats per row (float16, float32 or float64) in column {column!r}, got {dtype}. "
            + _hint(candidates)
        )

    @classmethod
    def packed(cls, column: object, dtype: object, candidates: Iterable[str] = ()) -> ColumnError:
        return cls(
            f"expected a list of floats per row in column {column!r}, got bytes ({dtype}). If they are packed floats, "
            "say their dtype: embedding_dtype='float32' (--embedding-dtype), float16, float64, bfloat16, or uint8 and "
            "int8 with a zero point. The bytes do not say it: whoever packed them knows. " + _hint(candidates)
        )

    @classmethod
    def strings(cls, column: object, dtype: object, candidates: Iterable[str] = ()) -> ColumnError:
        return cls(
            f"expected a list of floats per row in column {column!r}, got strings ({dtype}). Dask turns object columns "
            "into strings unless dask.config.set({'dataframe.convert-string': False}) is set before the frame is made; "
            "an Arrow list column, such as read_parquet(..., dtype_backend='pyarrow') gives, avoids it. "
            + _hint(candidates)
        )

    @classmethod
    def no_images(cls, column: object, dtype: object) -> ColumnError:
        return cls(
            f"expected an image per row in column {column!r}: encoded bytes, a struct of bytes and path, a path or "
            f"URL, or a list of these; got {dtype}"
        )

    @classmethod
    def image_reprs(cls, value: str) -> ColumnError:
        return cls(
            f"expected images, got strings that are the repr of bytes ({value[:20]}...). Dask turns "
            "object columns into strings unless dask.config.set({'dataframe.convert-string': False}) is set before "
            "the frame is made; an Arrow column, such as read_parquet(..., dtype_backend='pyarrow') gives, avoids it"
        )

    @classmethod
    def clash(cls, role: str, column: str, other: str) -> ColumnError:
        return cls(f"expected {role}={column!r} to differ from {other}, got the same name for both: rename one")


class InvalidEmbeddingError(AestheticError, ValueError):
    """A row without a usable embedding, under ``on_invalid="raise"``.

    Attributes
    ----------
    partition : int, str or None
        Number of the partition, name of the file, or None for a frame that has neither.
    row : int
        Position of the row there, from 0.
    label : object
        The row's index label, None in a file.
    reason : str
        The row's status: ``missing``, ``wrong_width``, ``wrong_type``, ``not_finite`` or ``zero``.
    kind : str
        The row's type if that is the reason, else empty.
    """

    def __init__(
        self,
        column: object,
        partition: int | str | None,
        row: int,
        label: object,
        reason: str,
        width: int,
        kind: str = "",
    ) -> None:
        self.column, self.partition, self.row = column, partition, row
        self.label, self.reason, self.width, self.kind = label, reason, width, kind
        super().__init__(
            f"expected {width} finite numbers, not all zero, in every row of {column!r}; "
            f"{_place(partition, row, label)} is {reason}{f' ({kind})' if kind else ''}. "
            "on_invalid='null' gives such rows a missing score and keep=False"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (
            self.column,
            self.partition,
            self.row,
            self.label,
            self.reason,
            self.width,
            self.kind,
        )


class InvalidImageError(AestheticError, ValueError):
    """A row without a usable image, under ``on_invalid="raise"``.

    Attributes
    ----------
    partition : int, str or None
        Number of the partition, name of the shard, or None for a frame that has neither.
    row : int
        Position of the row there, from 0.
    label : object
        The row's index label, None in a file.
    reason : str
        The row's status, as `embed` adds it.
    """

    def __init__(self, column: object, partition: int | str | None, row: int, label: object, reason: str) -> None:
        self.column, self.partition, self.row, self.label, self.reason = column, partition, row, label, reason
        super().__init__(
            f"expected an image in every row of {column!r}; {_place(partition, row, label)} is {reason}. "
            "on_invalid='null' gives such rows a missing embedding and says why in their status"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.column, self.partition, self.row, self.label, self.reason)


class ThresholdError(AestheticError, ValueError):
    """A threshold that is no number, or belongs to another scale."""


class PredictorError(AestheticError, ValueError):
    """A predictor that is unknown, or a checkpoint that is damaged or of another kind."""


class EncoderError(AestheticError, ValueError):
    """An encoder that is unknown, whose weights are damaged or of another kind, or that does not fit the predictor."""


class ArgumentError(AestheticError, ValueError):
    """An argument of the wrong type or value."""

    @classmethod
    def choice(cls, name: str, value: object, choices: Iterable[str]) -> ArgumentError:
        choices = list(choices)
        hint = did_you_mean(value, choices)
        return cls(f"expected {name} to be one of {', '.join(map(repr, choices))}, got {value!r}{hint}")


class InputError(AestheticError, ValueError):
    """A file or folder that cannot be read as embeddings, or an output that cannot be written."""


class UnusableError(AestheticError, ValueError):
    """A shard in which no row has a usable embedding or image: most likely the wrong column or encoder.

    Attributes
    ----------
    shard : str
    rows : int
    failed : dict of str to int
        Rows by reason.
    """

    def __init__(self, shard: str, column: str, rows: int, failed: dict[str, int]) -> None:
        self.shard, self.column, self.rows, self.failed = shard, column, rows, failed
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in failed.items())
        super().__init__(
            f"expected usable rows in {column!r} of shard {shard}, got none in {rows:,} rows ({reasons}): most "
            "likely the wrong column or predictor. allow_unusable=True (--allow-unusable) lets such shards pass"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.shard, self.column, self.rows, self.failed)


class JobError(AestheticError, RuntimeError):
    """A job that did not finish. Committed shards stay, and the same call resumes from there."""


class JobStoppedError(JobError):
    """A job that was asked to stop."""


class MissingDependencyError(AestheticError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra, self.purpose = package, extra, purpose
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'dask-aesthetic[{extra}]'")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.package, self.extra, self.purpose)


class KernelError(AestheticError, RuntimeError):
    """A GPU on which none of the kernels runs.

    Attributes
    ----------
    device : str
    causes : dict of str to str
        Why not, by what would have compiled the kernel.
    """

    def __init__(self, device: str, causes: dict[str, str]) -> None:
        self.device, self.causes = device, causes
        tried = "; ".join(f"{name}: {cause}" for name, cause in causes.items())
        super().__init__(
            f"expected Triton or CuPy to compile the kernel for {device}, neither did ({tried}). Triton needs a C "
            "compiler: install gcc or clang, or set CC to one. CuPy needs none: install cupy-cuda12x or cupy-cuda13x, "
            "whichever fits torch's CUDA"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.device, self.causes)


class AestheticWarning(UserWarning):
    """A finding that does not stop a run but probably needs attention."""


PASSTHROUGH = "a job passes other columns of its input through by columns (--columns)"  # End of an error.
_SHOWN = 20  # Names of columns in an error.
_ARROW_BINARY = ("binary", "large_binary", "fixed_size_binary")  # Beginnings of Arrow type names.


def did_you_mean(name: object, names: Iterable[object], most: int = 1) -> str:
    """End of a message: names that are close to an unknown one, in any case; empty if none is.

    Examples
    --------
    >>> did_you_mean("Laoin-v2", ["laion-v2", "nsfw-l14"]), did_you_mean("other", ["laion-v2"])
    (": did you mean 'laion-v2'?", '')
    """
    known = {str(one).casefold(): one for one in names}
    folded = str(name).casefold()
    close = [repr(known[one]) for one in get_close_matches(folded, known, 1 if folded in known else most)]
    return f": did you mean {', '.join(close[:-1])}{' or ' if close[1:] else ''}{close[-1]}?" if close else ""


def first_line(error: BaseException) -> str:
    """First line of the message of another library's error, or the error's type."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _place(partition: int | str | None, row: int, label: object) -> str:
    where = f"partition {partition}, " if isinstance(partition, int) else f"{partition}, " if partition else ""
    return f"{where}row {row}" + ("" if label is None else f" (index {label!r})")


def _hint(candidates: Iterable[str]) -> str:
    names = ", ".join(repr(name) for name in candidates)
    return f"Columns that would do: {names}" if names else "No column of this frame is known to hold lists of floats"
