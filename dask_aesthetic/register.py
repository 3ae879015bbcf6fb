"""Registration of ``.aesthetic`` on pandas, Dask (so dask-cuDF) and cuDF dataframes, without importing any of them.

A library that is loaded already gets the accessor at once. An import hook waits for each other one, registers the
accessor as soon as the library has been executed, and removes itself.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAME = "aesthetic"

_registering = threading.Lock()


def register() -> None:
    """Register the accessor on each loaded library, and an import hook for each other one; safe to call again."""
    for name in _REGISTER:
        # The hook comes first: a library that another thread imports meanwhile is found by either.
        if not any(_is_hook(finder, name) for finder in sys.meta_path):
            sys.meta_path.insert(0, _ImportHook(name))
        module = sys.modules.get(name)
        if _is_initializing(module) or (module is None and _is_locked(name)):
            module = import_module(name)  # Another thread imports it: wait for the end.
        if not _is_initializing(module):
            _register_on(name, module)


def _is_initializing(module: Any) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _is_locked(name: str) -> bool:
    """Whether a thread has begun to import a module, maybe by finders that it listed before the hook was there."""
    return name in getattr(importlib._bootstrap, "_module_locks", ())


def _is_hook(finder: Any, name: str) -> bool:
    # By name: after a reload of this module its class is another.
    return type(finder).__module__ == __name__ and finder.name == name


def _register_on(name: str, module: Any) -> None:
    """Register on an imported library, and remove its hook; another module of that name is left alone."""
    if hasattr(module, "DataFrame"):
        with _registering:
            _REGISTER[name](module)
        sys.meta_path[:] = [finder for finder in sys.meta_path if not _is_hook(finder, name)]


def _register_dask(module: Any) -> None:
    from dask.dataframe.extensions import register_dataframe_accessor

    from dask_aesthetic.accessor import AestheticAccessor

    if NAME not in vars(module.DataFrame):
        register_dataframe_accessor(NAME)(AestheticAccessor)


def _register_pandas_or_cudf(module: Any) -> None:
    from dask_aesthetic.accessor import AestheticAccessor

    if not hasattr(module.DataFrame, NAME):
        module.api.extensions.register_dataframe_accessor(NAME)(AestheticAccessor)


_REGISTER: dict[str, Callable[[Any], None]] = {
    "pandas": _register_pandas_or_cudf,
    "dask.dataframe": _register_dask,
    "cudf": _register_pandas_or_cudf,
}


class _ImportHook(MetaPathFinder):
    """Finder of one library by the other finders, with a loader that registers the accessor."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._delegating = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name or vars(self._delegating):
            return None
        self._delegating.active = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            del self._delegating.active
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, spec)
        return spec


class _RegisteringLoader(Loader):
    """Loader that registers the accessor once the module has been executed."""

    def __init__(self, loader: Loader, spec: ModuleSpec) -> None:
        self._loader = loader
        self._spec = spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        # The hook goes only now: a spec may be requested and not used, and a failed import may be tried again.
        _register_on(self._spec.name, module)

    def __getattr__(self, name: str) -> Any:  # Code that requests a spec may use other methods of its loader.
        return getattr(self._loader, name)
