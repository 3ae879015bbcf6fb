"""Puts `.aesthetic` on the frames of Dask (so of dask-cuDF), pandas and cuDF. cuDF is never imported for that."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import dask.dataframe as dd
import pandas as pd
from dask.dataframe.extensions import register_dataframe_accessor as register_dask

from dask_aesthetic.accessor import AestheticAccessor

NAME = "aesthetic"


def register() -> None:
    """Register the accessor wherever it is not yet registered; safe to call again."""
    if NAME not in vars(dd.DataFrame):
        register_dask(NAME)(AestheticAccessor)
    if not hasattr(pd.DataFrame, NAME):
        pd.api.extensions.register_dataframe_accessor(NAME)(AestheticAccessor)
    if "cudf" in sys.modules:
        _register_cudf(sys.modules["cudf"])
    elif not any(isinstance(finder, _WhenCudfIsImported) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenCudfIsImported())


def _register_cudf(cudf: Any) -> None:
    if not hasattr(cudf.DataFrame, NAME):
        cudf.api.extensions.register_dataframe_accessor(NAME)(AestheticAccessor)


class _WhenCudfIsImported(MetaPathFinder):
    """Finds cudf as the other finders do, and registers the accessor once it has been executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "cudf":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            sys.meta_path.insert(0, self)
            return None
        spec.loader = _Registering(spec.loader)
        return spec


class _Registering(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _register_cudf(module)

    def __getattr__(self, name: str) -> Any:  # Resource readers and tracebacks ask the loader for more.
        return getattr(self._loader, name)
