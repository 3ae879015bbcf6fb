"""Puts `.aesthetic` on the frames of Dask (so of dask-cuDF), pandas and cuDF. cuDF is never imported for that."""

from __future__ import annotations

import importlib.util
import sys
import threading
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
    cudf = sys.modules.get("cudf")
    if hasattr(cudf, "DataFrame"):
        _register_cudf(cudf)
    elif not any(isinstance(finder, _WhenCudfIsImported) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenCudfIsImported())


def _register_cudf(cudf: Any) -> None:
    if not hasattr(cudf.DataFrame, NAME):
        cudf.api.extensions.register_dataframe_accessor(NAME)(AestheticAccessor)


class _WhenCudfIsImported(MetaPathFinder):
    """Finds cudf as the other finders do, registers the accessor once it has been executed, and is gone then."""

    def __init__(self) -> None:
        self._asking = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "cudf" or vars(self._asking):
            return None
        self._asking.the_others = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            del self._asking.the_others
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader, spec)
        return spec


class _Registering(Loader):
    def __init__(self, loader: Loader, spec: ModuleSpec) -> None:
        self._loader = loader
        self._spec = spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        # Only now: a spec may be asked for and not used, and an import that failed may be tried again.
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _WhenCudfIsImported)]
        if hasattr(module, "DataFrame"):
            _register_cudf(module)

    def __getattr__(self, name: str) -> Any:  # Whoever asks for a spec may ask its loader for more.
        return getattr(self._loader, name)
