"""What a column is made of: how it stores its lists, what is in them, and how long they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.embeddings.objects import is_missing, list_length

WIDEST = 1 << 16  # Lists longer than this are counted together, so that counts stay few.
OBJECTS = "objects"


@dataclass
class Make:
    """Rows by what they are made of.

    Attributes
    ----------
    storage : Counter of str
        "Arrow list", "Arrow large_list", "Arrow fixed_size_list", "cuDF list" or "objects".
    leaves : Counter of str
        "float32" and so on; of objects, the dtypes of arrays and the types of anything else.
    widths : Counter of int
        Of the lists that are not empty; those above 65,536 count as 65,537.
    nulls, empty, not_lists : int
    """

    storage: Counter[str] = field(default_factory=Counter)
    leaves: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    nulls: int = 0
    empty: int = 0
    not_lists: int = 0

    @classmethod
    def of(cls, column: Any) -> Make:
        """Look at a pandas or cuDF column of lists of floats, or of objects."""
        if type(column).__module__.partition(".")[0] == "cudf":
            from dask_aesthetic.embeddings.cudf import leaf_dtype

            if not len(column):
                return cls()
            lengths = column.list.len()
            valid = lengths.dropna().to_pandas().to_numpy()
            return cls._lists("cuDF list", str(leaf_dtype(column)), valid, len(column))
        if isinstance(column.dtype, pd.ArrowDtype):
            lists = pa.array(column.array)
            return cls._arrow(lists if isinstance(lists, pa.ChunkedArray) else pa.chunked_array([lists]))
        return cls._objects(column.to_numpy())

    @classmethod
    def _arrow(cls, lists: pa.ChunkedArray) -> Make:
        dtype = lists.type
        if isinstance(dtype, pa.BaseExtensionType):
            dtype = dtype.storage_type
            lists = pa.chunked_array([chunk.storage for chunk in lists.chunks], dtype)
        valid = pc.list_value_length(lists).drop_null().to_numpy()
        storage = str(dtype).partition("<")[0]
        return cls._lists(f"Arrow {storage}", f"float{dtype.value_type.bit_width}", valid, len(lists))

    @classmethod
    def _lists(cls, storage: str, leaf: str, lengths: np.ndarray, rows: int) -> Make:
        widths, counts = np.unique(np.minimum(lengths, WIDEST + 1), return_counts=True)
        seen = Counter(dict(zip(widths.tolist(), counts.tolist(), strict=True)))
        empty = seen.pop(0, 0)
        return cls(Counter({storage: rows}), Counter({leaf: rows}), seen, nulls=rows - len(lengths), empty=empty)

    @classmethod
    def _objects(cls, values: np.ndarray) -> Make:
        make = cls(Counter({OBJECTS: len(values)}))
        for value in values:
            if is_missing(value):
                make.nulls += 1
                continue
            make.leaves[str(getattr(value, "dtype", type(value).__name__))] += 1
            length = list_length(value)
            if length is None:
                make.not_lists += 1
            elif length == 0:
                make.empty += 1
            else:
                make.widths[min(length, WIDEST + 1)] += 1
        return make
