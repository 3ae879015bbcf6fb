"""Image columns of cuDF, and cuDF frames of results. cuDF has no type for bytes: it uses strings or lists of uint8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

if TYPE_CHECKING:
    import cudf

DEVICE = "cuda"


def arrow_type(column: cudf.Series) -> pa.DataType | None:
    """Arrow type of a column's values; None where the dtype cannot hold images."""
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype
    if isinstance(dtype, pd.StringDtype):
        return pa.string()
    if column.dtype == object:  # dask-cuDF's meta of lists and structs.
        return pa.null()
    # `to_arrow` of an empty column would turn its lists and structs into nulls.
    return dtype.to_arrow() if type(dtype).__name__ in ("ListDtype", "StructDtype") else None


def images(column: cudf.Series) -> Any:
    """Rows of a column in host memory, as an Arrow array or as values."""
    array = column.to_arrow()
    binary = _as_binary(array.type)
    return array if binary == array.type else (_text_or_bytes(row.as_py()) for row in array.cast(binary))


def _as_binary(dtype: pa.DataType) -> pa.DataType:
    """Arrow type with binary in place of string: cuDF stores bytes as strings, whether they are text or not."""
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return pa.binary() if pa.types.is_string(dtype) else pa.large_binary()
    if pa.types.is_list(dtype):
        return pa.list_(dtype.value_field.with_type(_as_binary(dtype.value_type)))
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(_as_binary(field.type)) for field in dtype])
    return dtype


def _text_or_bytes(value: Any) -> Any:
    """Paths as str, encoded images as bytes: no image format is UTF-8 text without a NUL."""
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return value
        return value if "\0" in text else text
    if isinstance(value, dict):
        return {name: _text_or_bytes(part) for name, part in value.items()}
    return [_text_or_bytes(part) for part in value] if isinstance(value, list) else value


def lists(embeddings: torch.Tensor, ok: torch.Tensor, dtype: str) -> cudf.Series:
    """Series of lists of embeddings, shape (n, width), rounded to a dtype; null where a row is not ok.

    The embeddings stay on the GPU. They are float32 there, as cuDF has no float16.
    """
    import cudf
    import pylibcudf as plc

    (rows, width), present = embeddings.shape, ok.numpy()
    values = embeddings.to(DEVICE)[ok.to(DEVICE)].to(getattr(torch, dtype)).to(torch.float32)
    ends = np.concatenate([[0], np.cumsum(present * width)]).astype(np.int32)
    nulls = rows - int(present.sum())
    # libcudf reads masks in words of 64 bytes.
    bits = np.packbits(np.pad(present, (0, -rows % 512)), bitorder="little")
    offsets, mask = (torch.from_numpy(part).to(DEVICE) for part in (ends, bits))
    children = [
        plc.Column(plc.DataType(kind), part.numel(), _span(part), None, 0, 0, [])
        for kind, part in ((plc.TypeId.INT32, offsets), (plc.TypeId.FLOAT32, values.reshape(-1)))
    ]
    column = plc.Column(plc.DataType(plc.TypeId.LIST), rows, None, _span(mask) if nulls else None, nulls, 0, children)
    _wait()
    return cudf.Series.from_pylibcudf(column)


def categories(codes: torch.Tensor, names: Sequence[str]) -> pa.DictionaryArray:
    """Dictionary array of the names that codes stand for; under cudf.pandas, pandas' categorical is a proxy."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.numpy()), pa.array(names, pa.string()))


def to_frame(columns: dict[str, Any], index: cudf.Index) -> cudf.DataFrame:
    """DataFrame of columns with an index."""
    import cudf

    frame = cudf.DataFrame({name: cudf.Series(values, nan_as_null=False) for name, values in columns.items()})
    frame.index = index
    return frame


def _span(values: torch.Tensor) -> Any:
    """A tensor's memory for pylibcudf."""
    import pylibcudf as plc

    return plc.gpumemoryview(values)


def _wait() -> None:
    """Wait for torch, which may be on another stream than cuDF."""
    torch.cuda.current_stream().synchronize()
