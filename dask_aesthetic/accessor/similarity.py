"""The method that compares images and texts."""

from __future__ import annotations

from typing import Any, Generic

from dask_aesthetic.choices import EmbeddingDtype, Frame, OnInvalid
from dask_aesthetic.defaults import EMBEDDING_COLUMN, SIMILARITY_COLUMN, TEXT_COLUMN
from dask_aesthetic.proxies import through_proxies


class SimilarityMethods(Generic[Frame]):
    """Methods that compare the embeddings of a row."""

    _frame: Any

    def similarity(
        self,
        text_column: str = TEXT_COLUMN,
        embedding_column: str = EMBEDDING_COLUMN,
        similarity_column: str = SIMILARITY_COLUMN,
        *,
        width: int | None = None,
        on_invalid: OnInvalid = "null",
        replace_columns: bool = False,
        embedding_dtype: EmbeddingDtype | None = None,
        embedding_zero_point: int | None = None,
    ) -> Frame:
        """Add a column with the cosine similarity of each row's image and text embedding.

        Parameters
        ----------
        text_column, embedding_column : str
            Columns with a list of numbers per row, of the text and of the image, by the same encoder. They are
            normalized first.
        similarity_column : str
            Name of the added column.
        width : int, optional
            Floats per embedding; by default that of the columns' type, where one is a fixed-size list, and else 768
            (ViT-L/14).
        on_invalid : {"null", "raise"}
            A row without two usable embeddings gets a missing similarity, or raises.
        replace_columns : bool
            Let the added column replace one of its name, which is refused otherwise.
        embedding_dtype, embedding_zero_point
            As in `score`, for those of the two columns that hold bytes.

        Returns
        -------
        DataFrame
            The same frame, rows, order and index, with ``similarity`` (float32, from -1 to 1; NaN where one of the two
            has no usable embedding: `status` of either column says why).

        Raises
        ------
        ColumnError
            A column does not exist, or holds no lists of numbers; their types have other widths; or the added column
            exists already.
        ArgumentError
        InvalidEmbeddingError
            Under ``on_invalid="raise"``, with partition, row and reason; lazily on Dask frames.

        Warns
        -----
        AestheticWarning
            No row of a column has a usable embedding, so that all similarities are missing.

        Notes
        -----
        Products and sums are added in one order, as those of scores are: a similarity is the same 32 bits in any kind
        of column, partition and file. CLIP's similarities of images and their texts are low: LAION kept
        pairs of 0.28 or more by ViT-B/32 (0.3 in LAION-400M), and DataComp the best 30 % by ViT-L/14.

        Examples
        --------
        >>> import pandas as pd, dask_aesthetic
        >>> frame = pd.DataFrame({"image_embedding": [[3.0, 4.0], [1.0, 0.0]], "text_embedding": [[4.0, 3.0], None]})
        >>> frame.aesthetic.similarity(width=2)["similarity"].round(2)
        0    0.96
        1     NaN
        Name: similarity, dtype: float32
        """
        from dask_aesthetic import frame as frames
        from dask_aesthetic.embeddings import check_embedding_dtype
        from dask_aesthetic.similarity import SimilaritySpec

        packed = check_embedding_dtype(embedding_dtype, embedding_zero_point)
        spec = SimilaritySpec(embedding_column, text_column, similarity_column, width, on_invalid, packed)
        return through_proxies(frames.similarity, self._frame, spec, replace_columns)
