"""Scores of arrays, tensors and lists of embeddings, without a frame."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.utils.dlpack import from_dlpack

from dask_aesthetic import embeddings as columns
from dask_aesthetic.choices import EmbeddingDtype, OnInvalid, Scale
from dask_aesthetic.defaults import KEEP_COLUMN, PREDICTOR
from dask_aesthetic.embeddings import Run
from dask_aesthetic.embeddings.arrow import CONVERTED_ROWS, array_runs, may_hold_embeddings, share_memory, type_width
from dask_aesthetic.embeddings.axes import flat_shape
from dask_aesthetic.embeddings.objects import first_values, is_bytes
from dask_aesthetic.embeddings.packed import unpack_array
from dask_aesthetic.embeddings.rows import mark_nulls
from dask_aesthetic.embeddings.stored import check_held, check_zero_point
from dask_aesthetic.errors import AestheticWarning, ArgumentError, ColumnError, first_line
from dask_aesthetic.kernels import FLOATS
from dask_aesthetic.predictors import Predictor, Predictors
from dask_aesthetic.score_spec import ScoreSpec, refuse_width
from dask_aesthetic.scoring import first_invalid, score_runs
from dask_aesthetic.status import STATUSES, Status

NAME = "embeddings"  # Of the argument, for errors.


def score_embeddings(
    embeddings: Any,
    predictor: Predictors = PREDICTOR,
    *,
    scale: Scale = "raw",
    on_invalid: OnInvalid = "null",
    batch_size: int | None = None,
    return_status: bool = False,
    embedding_dtype: EmbeddingDtype | None = None,
    embedding_zero_point: int | None = None,
) -> Any:
    """Aesthetic scores of embeddings in an array, the same bits as ``frame.aesthetic.score()`` gives them.

    Parameters
    ----------
    embeddings : array, shape (n, width)
        One of: a NumPy array (masked values are nulls) or torch tensor, on a CPU or GPU, of float16, bfloat16, float32,
        float64 or integers, with any strides and maybe further axes of length 1; another library's array with
        ``__dlpack__``, such as CuPy's; an Arrow array or chunked array of lists of numbers; a pandas or cuDF Series of
        lists; a list or object array of rows, each a list or array of numbers or None. `width` is what the predictor
        takes (`laion-v2`: 768). Read only, and not copied where rows are contiguous floats. They are normalized first,
        so unnormalized ones score the same.
    predictor : str, path, Predictor, or mapping of str to one of them
        Any that `load_predictor` accepts; or several by name, as in ``.aesthetic.score``.
    scale : {"raw", "unit"}
        "raw" is the predictor's own, about 1..10; "unit" is raw / 10.
    on_invalid : {"null", "raise"}
        A row without a usable embedding gets NaN, or raises.
    batch_size : int, optional
        The most rows that a network scores at a time. It changes memory and speed, never a score.
    return_status : bool
        Return the status of every row as well.
    embedding_dtype : str, optional
        The rows are packed, as in ``.aesthetic.score``: an Arrow array or Series of binary, a list or array of bytes.
    embedding_zero_point : int, optional
        Zero point of an array of uint8, which needs one, or int8, or of an `embedding_dtype` of these: the values are
        the numbers less it.

    Returns
    -------
    scores : numpy.ndarray or torch.Tensor, shape (n,), float32
        NaN where a row has no usable embedding: missing, of another width, not finite, or zero. A tensor, on the same
        device, for tensors and what lies on a GPU. Of several predictors a dict of such scores by name.
    status : numpy.ndarray of str, shape (n,)
        Only if `return_status`: "ok", "missing", "wrong_width", "wrong_type", "not_finite" or "zero".

    Raises
    ------
    ColumnError
        The embeddings are no numbers, by their type or first rows, or of another width than the predictor takes, by
        their type or shape. A single row of another kind or width has NaN and a status.
    ArgumentError
        An argument is not usable, such as a single vector in place of a matrix.
    PredictorError
        The predictor is unknown or damaged.
    InvalidEmbeddingError
        Under ``on_invalid="raise"``, with row and reason.

    Warns
    -----
    AestheticWarning
        No row has a usable embedding, and `return_status` is False.

    See Also
    --------
    load_predictor : A predictor loaded once, for many calls.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.stack([np.full(768, 0.1), np.full(768, np.nan), np.full(768, 2.0)])
    >>> scores, status = score_embeddings(rows, return_status=True)
    >>> scores.astype(float).round(3).tolist(), status.tolist()
    ([4.883, nan, 4.883], ['ok', 'not_finite', 'ok'])
    """
    of_packed = None if embedding_dtype is None else embedding_zero_point
    spec = ScoreSpec.of(
        *(NAME, predictor, None, scale, None, KEEP_COLUMN, on_invalid, batch_size),
        embedding_dtype=embedding_dtype,
        zero_point=of_packed,
    )
    if spec.embedding_dtype is not None:
        embeddings = _unpacked(embeddings, spec.embedding_dtype)
    zero_point = check_zero_point(embedding_zero_point) if embedding_dtype is None else None
    is_series = isinstance(embeddings, pd.Series) or type(embeddings).__module__.partition(".")[0] == "cudf"
    with columns.stream(embeddings) if is_series else nullcontext():
        scores, status = score_runs(_runs(embeddings, spec.predictor, is_series, zero_point), spec)
        codes = status.cpu().numpy()
    row = first_invalid(status) if on_invalid == "raise" else None
    if row is not None:
        raise spec.invalid(NAME, None, row, None, codes[row])
    names = np.array(STATUSES)[codes]
    if len(codes) and not return_status and not (codes == Status.OK).any():
        reasons = ", ".join(sorted(set(names.tolist())))
        warnings.warn(
            f"expected {spec.predictor.width} floats per row for {spec.predictor.info.name}, got no usable embedding "
            f"in {len(codes):,} rows ({reasons}): all scores are NaN. return_status=True gives each row's reason",
            AestheticWarning,
            stacklevel=2,
        )
    is_tensor = isinstance(embeddings, torch.Tensor) or scores.device.type != "cpu"
    each = scores if is_tensor else scores.numpy()
    found = dict(zip(spec.score_columns, each, strict=True)) if isinstance(predictor, Mapping) else each[0]
    return (found, names) if return_status else found


def _unpacked(embeddings: Any, embedding_dtype: str) -> Any:
    """Lists of floats in place of the bytes of packed rows.

    Raises
    ------
    ColumnError
        The rows are no bytes.
    """
    if isinstance(embeddings, pa.Array | pa.ChunkedArray):
        return unpack_array(embeddings, embedding_dtype, NAME)
    if isinstance(embeddings, list | tuple) or (isinstance(embeddings, np.ndarray) and embeddings.dtype.kind in "OV"):
        embeddings = pd.Series(np.fromiter(iter(embeddings), object), dtype=object, name=NAME)
    elif not isinstance(embeddings, pd.Series):
        raise ColumnError(
            f"expected rows of bytes with embedding_dtype={embedding_dtype!r}, got {type(embeddings).__name__}: leave "
            "embedding_dtype out"
        )
    return columns.unpack(embeddings, embedding_dtype)


def _runs(embeddings: Any, predictor: Predictor, is_series: bool, zero_point: int | None = None) -> Iterator[Run]:
    """Runs of rows of any kind of embeddings, refused where their type or shape is wrong."""
    width = predictor.width
    is_rows = isinstance(embeddings, pa.Array | pa.ChunkedArray | list | tuple) or (
        isinstance(embeddings, np.ndarray) and embeddings.dtype == object
    )
    if zero_point is not None and (is_series or is_rows):
        raise ArgumentError(
            f"expected embedding_zero_point={zero_point} with an array of uint8 or int8, or with rows of bytes and "
            f"embedding_dtype='uint8', got {type(embeddings).__name__}"
        )
    if is_series:
        _refuse_others(embeddings)
        refuse_width(columns.width(embeddings), predictor, NAME)
        return columns.runs(embeddings, width)
    if isinstance(embeddings, pa.Array | pa.ChunkedArray):
        if not may_hold_embeddings(embeddings.type):
            raise ColumnError(f"expected Arrow lists of numbers, got {embeddings.type}")
        refuse_width(type_width(embeddings.type), predictor, NAME)
        return array_runs(embeddings, width)
    is_objects = isinstance(embeddings, np.ndarray) and embeddings.dtype == object and embeddings.ndim
    if isinstance(embeddings, list | tuple) or is_objects:
        rows = pd.Series(np.fromiter(iter(embeddings), object), dtype=object, name=NAME)
        _refuse_others(rows)
        return columns.runs(rows, width)
    masked = np.ma.getmaskarray(embeddings) if isinstance(embeddings, np.ma.MaskedArray) else None
    vectors = _tensor(embeddings)
    if vectors.ndim > 2 and len(flat_shape(tuple(vectors.shape[1:]))) == 1:
        vectors = vectors.reshape(len(vectors), *flat_shape(tuple(vectors.shape[1:])))
        masked = None if masked is None else masked.reshape(vectors.shape)
    if vectors.ndim != 2:
        raise ArgumentError(
            f"expected embeddings of shape (n, {width}), got {tuple(vectors.shape)}"
            + (": embeddings[None] is a matrix of one row" if vectors.ndim == 1 else "")
        )
    refuse_width(vectors.shape[1], predictor, NAME)
    _check_zero_point(vectors.dtype, zero_point)
    if masked is None and vectors.dtype not in FLOATS:
        return (Run.of_valid(_values(rows, zero_point)) for rows in vectors.split(CONVERTED_ROWS))
    if masked is None:
        return iter([Run.of_valid(vectors)])
    vectors = vectors if vectors.dtype in FLOATS else _values(vectors, zero_point)
    status = torch.full((len(vectors),), Status.OK, dtype=torch.uint8, device="cpu")
    return iter([Run(mark_nulls(status, torch.from_numpy(masked.any(axis=1))), vectors)])


def _values(integers: torch.Tensor, zero_point: int | None) -> torch.Tensor:
    return integers.double() if zero_point is None else integers.float() - zero_point


def _check_zero_point(dtype: torch.dtype, zero_point: int | None) -> None:
    """Raise ArgumentError for uint8 without a zero point, and for other numbers with one."""
    if zero_point is None and dtype == torch.uint8:
        raise ArgumentError(
            "expected floats, got uint8, which stand for floats by a zero point: embedding_zero_point=128, or 0 where "
            "the numbers are the values themselves"
        )
    if zero_point is not None and dtype not in (torch.uint8, torch.int8):
        raise ArgumentError(f"expected embedding_zero_point with uint8 or int8, got {dtype}: leave it out")
    check_held(str(dtype).removeprefix("torch."), zero_point)


def _refuse_others(rows: Any) -> None:
    """Refuse a Series whose first rows are no lists or arrays that may hold floats."""
    if columns.get_backend(rows).holds_lists(rows):
        return
    values = first_values(rows) if isinstance(rows, pd.Series) and rows.dtype == object else []
    kind = f"{rows.dtype} values" if not values else f"{type(values[0]).__name__} objects"
    if values and isinstance(values[0], Real):
        raise ArgumentError(f"expected a list or array of floats per row, got {kind}: [embeddings] has one row")
    dtype = getattr(values[0], "dtype", None) if values else None
    cure = ": np.frombuffer(row, 'float32') unpacks packed floats" if values and is_bytes(values[0]) else ""
    raise ColumnError(f"expected a list or array of floats per row, got {kind}{f' of {dtype}' if dtype else ''}{cure}")


_INTEGERS = tuple(
    getattr(torch, f"{sign}int{bits}")
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
    if hasattr(torch, f"{sign}int{bits}")
)


def _tensor(embeddings: Any) -> torch.Tensor:
    """Tensor of an array's memory, or of a copy where torch cannot describe it."""
    if isinstance(embeddings, np.ndarray):
        return _of_numpy(np.asarray(embeddings))
    if not isinstance(embeddings, torch.Tensor):
        if not hasattr(embeddings, "__dlpack__"):
            raise ArgumentError(
                "expected embeddings in an array, tensor, Arrow array, Series or list of rows, got "
                f"{type(embeddings).__name__}"
            )
        try:
            embeddings = from_dlpack(embeddings)
        except Exception as error:  # Of the other library, of any kind.
            raise ArgumentError(
                f"expected an array that torch takes by DLPack, got {type(embeddings).__name__}: {first_line(error)}"
            ) from error
    if embeddings.dtype not in (*FLOATS, *_INTEGERS) or embeddings.layout != torch.strided:
        _refuse_dtype(f"{embeddings.dtype}, {embeddings.layout}")
    if not _has_memory(embeddings):
        kind = type(embeddings).__name__
        raise ArgumentError(f"expected a tensor with memory of its own, got a {kind} on {embeddings.device}")
    return embeddings.detach()


def _has_memory(tensor: torch.Tensor) -> bool:
    """Whether all values of a strided tensor lie in its storage; some of torch's tensors have none."""
    if tensor.is_nested or tensor.device.type not in ("cpu", "cuda"):
        return False
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    try:
        storage = tensor.untyped_storage()
        held = storage.nbytes() if storage.data_ptr() else 0
    except (RuntimeError, NotImplementedError):  # A subclass that wraps other tensors.
        return False
    return not tensor.numel() or int(tensor.storage_offset() + reach + 1) * tensor.itemsize <= held


def _of_numpy(array: np.ndarray) -> torch.Tensor:
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiu":
        _refuse_dtype(str(array.dtype))
    if array.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # What float64 cannot hold becomes infinite, which has a status.
            array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not array.flags.writeable and array.flags.c_contiguous and array.size:  # torch warns of it, Arrow does not.
        flat = pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), array.size, [None, pa.py_buffer(array)])
        return share_memory(flat).view(array.shape)
    describable = array.flags.writeable and all(s >= 0 and s % array.itemsize == 0 for s in array.strides)
    return torch.from_numpy(array if describable else array.copy())


def _refuse_dtype(dtype: str) -> None:
    raise ColumnError(
        f"expected embeddings of float16, bfloat16, float32, float64 or integers, got {dtype}: convert them, as by "
        ".astype('float32')"
    )
