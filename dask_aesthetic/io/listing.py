"""Listing of files: paths, folders, globs, braces and fsspec URLs."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from glob import glob
from typing import Any

import fsspec

from dask_aesthetic.errors import AestheticError, ArgumentError, InputError, first_line
from dask_aesthetic.io.braces import expand
from dask_aesthetic.io.retries import BACKOFF, is_absent, is_throttled
from dask_aesthetic.io.storage import File, escape_undecodable, is_url, is_utf8, local_file, remote_file
from dask_aesthetic.validation import check_options

StrPath = str | os.PathLike[str]
Source = StrPath | Iterable[StrPath]
__all__ = [
    "File",
    "ListedFile",
    "StrPath",
    "Source",
    "match_suffix",
    "find_files",
    "skipped_files",
    "list_files",
    "source_paths",
    "format_source",
    "sibling",
    "files_with_suffix",
    "refuse_repeated",
    "refuse_undecodable",
]
_HIDDEN = "."  # Prefix of files that operating systems, editors and unfinished jobs leave.
_UNDERSCORE = "_"  # Prefix of files that other programs write beside data; but cameras use it for images, too.
# Files that other programs and jobs of this package keep beside data; skipped without a warning.
_BOOKKEEPING = re.compile(
    r"(.*/)?(_SUCCESS|_metadata|_common_metadata|_(started|committed)_[^/]*|[^/]*_stats\.json|stats/\d+\.json|[^/]*\.idx"
    r"|state\.json|dataset_info\.json|cache-[0-9a-f]+[^/]*\.arrow|(_delta_log|_temporary|_dask_aesthetic|_failed\.parquet)(/.*)?)"
)
_KINDS = {".parquet": "Parquet", ".npy": "npy", ".npz": "npz"}


@dataclass(frozen=True)
class ListedFile:
    """A file and its name relative to the source that was listed.

    Attributes
    ----------
    file : File
    name : str
        Relative to the folder or the part before a glob's first wildcard or brace, with "/" and its suffix.
    explicit : bool
        Whether the source names or matches the file itself, not only its folder: any suffix is accepted then.
    by_glob : bool
        Whether only a glob matches it.
    underscored : bool
        Whether its name, or a folder's, begins with an underscore that the source does not spell out: only images are
        read then.
    """

    file: File
    name: str
    explicit: bool
    by_glob: bool = False
    underscored: bool = False


def find_files(source: Source, suffix: str, options: Mapping[str, Any] | None = None) -> list[tuple[File, str]]:
    """Find files with a suffix in a path, folder, glob or URL, sorted by name.

    Parameters
    ----------
    source : str, path, or list of them
        A file, a folder (searched recursively, without names that begin with "." or "_") or a glob; braces, as in
        ``{00000..00099}.tar`` or ``{en,fr}/``, are expanded.
    suffix : str
        Suffix of the files to take from folders, in any case: ".parquet". A file that is named itself, or matched by a
        glob, may have any suffix.
    options : mapping, optional
        fsspec's storage options.

    Returns
    -------
    list of (File, str)
        Each with its name relative to the folder, or to the part before a glob's first wildcard, without suffix.

    Raises
    ------
    InputError
        No such files exist, a named path does not exist, or two files have the same name.
    """
    return files_with_suffix(list_files(source, options), suffix, source)


def list_files(source: Source, options: Mapping[str, Any] | None = None) -> list[ListedFile]:
    """List all files of a source, with any suffix; folders are searched recursively, without hidden files.

    Raises
    ------
    InputError
        A named path does not exist, or cannot be listed.
    """
    check_options("storage_options", options)
    found: list[ListedFile] = []
    for path, names in _expand(source):
        for name in names:
            files = _list(name, options or {})
            found += files if name == path else _renamed_by_braces(path, name, files)
    return found


def source_paths(source: Source) -> list[str]:
    """Paths and URLs of a source, with file:// URLs as paths and braces expanded."""
    return [name for _, names in _expand(source) for name in names]


def format_source(source: Source) -> str:
    """Text of a source for error messages."""
    paths = source_paths(source)
    return ", ".join(map(repr, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def files_with_suffix(
    found: Iterable[ListedFile], suffix: str | tuple[str, ...], source: Source
) -> list[tuple[File, str]]:
    """Select the listed files with a suffix, or one of some: (file, name without suffix), sorted by name.

    Raises
    ------
    InputError
        No file has the suffix, two have the same name, or the source holds one twice.
    """
    suffixes = (suffix,) if isinstance(suffix, str) else suffix
    by_name: dict[str, File] = {}
    for one in sorted(found, key=lambda one: one.name):
        own = match_suffix(one.name, suffixes)
        if one.underscored or (not one.explicit and not own):
            continue
        name = one.name.removesuffix(own)
        if name in by_name:
            raise InputError(f"expected files of different names, got {by_name[name].path} and {one.file.path}")
        by_name[name] = one.file
    if not by_name:
        kind = _KINDS.get(suffixes[0], suffixes[0])
        hint = ""
        if any(path.startswith("http") and _wildcard(path) for path in source_paths(source)):
            hint = f": http servers list files only as links of a page; name them, as by {{00000..00099}}{suffixes[0]}"
        named = ", ".join(f"*{one}" for one in suffixes)
        raise InputError(f"expected {kind} files ({named}) in {format_source(source)}, got none{hint}")
    refuse_repeated(by_name.values(), source)
    refuse_undecodable(by_name.values())
    return sorted(((file, name) for name, file in by_name.items()), key=lambda pair: pair[1])


def refuse_repeated(files: Iterable[File], source: Source) -> None:
    """Refuse a source that holds a file twice, as a folder and a folder inside it do: its rows would count twice.

    Raises
    ------
    InputError
    """
    seen: set[str] = set()
    for file in files:
        if file.path in seen:
            raise InputError(f"expected each file once, got {file.path} twice in {format_source(source)}: name it once")
        seen.add(file.path)


def refuse_undecodable(files: Iterable[File]) -> None:
    """Refuse files whose paths are not UTF-8, since neither Arrow nor columns of names can hold them.

    Raises
    ------
    InputError
        It names the first ones.
    """
    names = [file.path for file in files if not is_utf8(file.path)]
    if names:
        shown = ", ".join(escape_undecodable(name) for name in names[:3])
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        raise InputError(f"expected file names in UTF-8, got {shown}{more}: rename them (convmv -t utf8 does)")


def match_suffix(name: str, suffixes: Iterable[str]) -> str:
    """Suffix of a name among some suffixes, in any case, as the name spells it; empty if it has none of them.

    Examples
    --------
    >>> match_suffix("00000.TAR", (".tar", ".tar.gz"))
    '.TAR'
    """
    lower = name.lower()
    for one in suffixes:
        if lower.endswith(one):
            return name[-len(one) :]
    return ""


def skipped_files(found: Iterable[ListedFile], taken: Iterable[File]) -> list[str]:
    """Names of listed files that were not taken, without known bookkeeping files (_SUCCESS, _metadata)."""
    paths = {file.path for file in taken}
    return [one.name for one in found if one.file.path not in paths and not _BOOKKEEPING.fullmatch(one.name)]


def sibling(file: File, suffixes: Iterable[str], suffix: str) -> File | None:
    """Sibling of a file with another suffix, in the same folder; None if it does not exist.

    Raises
    ------
    InputError
        The store cannot be reached.
    """
    pieces = file.path.split("::") if not file.is_local else [file.path]
    at = next(at for at, piece in enumerate(pieces) if file.is_local or "://" in piece)
    own = match_suffix(pieces[at], suffixes)
    stem = pieces[at].removesuffix(own)
    if file.is_local:
        if os.path.isfile(stem + suffix):
            return local_file(stem + suffix)
        folder, name = os.path.split(stem)
        spelled = _names_without_case(folder, os.stat(folder).st_mtime_ns).get(f"{name}{suffix}".lower(), [])
        found = [one for one in spelled if one.startswith(name) and os.path.isfile(os.path.join(folder, one))]
        return local_file(os.path.join(folder, found[0])) if found else None
    pieces[at] = stem + suffix
    path = "::".join(pieces)
    try:
        system, root = fsspec.core.url_to_fs(path, **file.options)
        return remote_file(path, system.info(root), file.options)
    except FileNotFoundError:
        return None
    except Exception as error:  # Stores raise whatever their libraries raise.
        raise InputError(f"expected to learn whether there is {path!r}: {first_line(error)}") from error


@lru_cache(maxsize=8)  # For each tar in a folder.
def _names_without_case(folder: str, mtime: int) -> dict[str, list[str]]:  # noqa: ARG001
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        names.setdefault(name.lower(), []).append(name)
    return names


def _list(path: str, options: Mapping[str, Any]) -> list[ListedFile]:
    """Files of a path, folder, glob or URL, with names relative to the folder or the part before a wildcard."""
    try:
        if is_url(path):
            return BACKOFF.call(lambda: _list_once(path, options), passing=is_throttled)
        return _list_once(path, options)
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec says so of any error of an http server, too.
        fault = ", which does not exist" if cause is None or is_absent(cause) else f": {first_line(cause)}"
        raise InputError(f"expected a file, a folder or a glob, got {path!r}{fault}") from error
    except AestheticError:
        raise
    except Exception as error:
        # Stores raise whatever their libraries raise. Of a local folder, any other error is a bug of this package.
        if not is_url(path) and not isinstance(error, OSError):
            raise
        raise InputError(f"expected a path or URL that can be listed, got {path!r}: {first_line(error)}") from error


def _list_once(path: str, options: Mapping[str, Any]) -> list[ListedFile]:
    if is_url(path):
        system, root = fsspec.core.url_to_fs(path, **options)
        # fsspec caches listings for the life of the process, but other processes may have written since.
        system.invalidate_cache()
    else:
        # A wildcard in the first place has a folder before it, too.
        path = f"./{path}" if path[:1] in "*?[" and not os.path.exists(path) else path
        system, root = fsspec.filesystem("file"), os.path.abspath(path)
    at = 0 if not is_url(path) and os.path.exists(path) else _wildcard(path)
    # Brackets may be part of a name.
    info = _find_info(system, root) if at and is_url(path) and not re.search(r"[*?]", path) else None
    if at and info is None:
        return _match(system, path, root, at, options)
    info = system.info(root) if info is None else info
    if info["type"] == "other":
        raise InputError(f"expected a file, a folder or a glob, got {path!r}, a pipe or device: write a file first")
    if info["type"] != "directory":
        file = _file(path, info, options)
        return [ListedFile(file, file.name, explicit=True)]
    return list(_walk(system, root, root, path, options))


def _find_info(system: Any, root: str) -> Any:
    """Info of a file or folder of exactly this name; None if there is none."""
    try:
        return system.info(root)
    except FileNotFoundError:
        return None


def _match(system: Any, pattern: str, root: str, at: int, options: Mapping[str, Any]) -> list[ListedFile]:
    """Files that a glob, whose first wildcard is at `at`, matches, and the files of the folders that it matches."""
    folder = pattern[:at].rpartition("/")[0]
    if is_url(pattern):
        chain = pattern.partition("::")[2] if "://" in pattern.partition("::")[0] else ""
        folder = f"{folder}::{chain}" if chain else folder
        base = fsspec.core.url_to_fs(folder, **options)[1]
        matched = system.glob(root, detail=True)
    else:
        folder = base = os.path.abspath(folder) if folder or not pattern.startswith("/") else "/"
        _refuse_unreadable(root)
        found_here = glob(root, recursive=True)
        matched = {path: {"type": "directory" if os.path.isdir(path) else "file"} for path in found_here}
    found: dict[str, ListedFile] = {}
    for path, info in sorted(matched.items()):
        name = _relative(path, base)
        if not name or _has_prefix(name, pattern, _HIDDEN):
            continue
        underscored = _has_prefix(name, pattern, _UNDERSCORE)
        if info["type"] == "directory":
            for one in _walk(system, path, base, folder, options, underscored):
                found.setdefault(one.name, one)
        else:
            file = _file(_join(folder, name), info, options)
            found[name] = ListedFile(file, name, explicit=True, by_glob=True, underscored=underscored)
    return list(found.values())


def _walk(
    system: Any, folder: str, base: str, base_url: str, options: Mapping[str, Any], underscored: bool = False
) -> Iterator[ListedFile]:
    """Files under a folder, named relative to `base`, whose URL or path is `base_url`."""
    found = system.find(folder, detail=True) if is_url(base_url) else _find_local(folder)
    for path, info in sorted(found.items()):
        inside = _relative(path, folder)
        if inside and info.get("type", "file") == "file" and not _any_has_prefix(inside, _HIDDEN):
            name = _relative(path, base)
            hidden = underscored or _any_has_prefix(inside, _UNDERSCORE)
            yield ListedFile(_file(_join(base_url, name), info, options), name, explicit=False, underscored=hidden)


def _find_local(folder: str) -> dict[str, dict[str, Any]]:
    """Files under a local folder. Links to folders are followed, as fsspec does not; each folder is visited once.

    A folder is visited under its own name before links to it are: hive partitions are in the names of folders.
    """

    def fail(error: OSError) -> None:
        raise error

    found: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    linked = deque([folder])
    while linked:
        top = linked.popleft()
        for parent, folders, files in os.walk(top, onerror=fail):
            real = os.path.realpath(parent)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            shown = sorted(name for name in folders if not name.startswith(_HIDDEN))
            linked.extend(path for name in shown if os.path.islink(path := os.path.join(parent, name)))
            folders[:] = [name for name in shown if not os.path.islink(os.path.join(parent, name))]
            found |= {os.path.join(parent, name): {} for name in files}
    return found


def _refuse_unreadable(pattern: str) -> None:
    """Raise PermissionError for a folder that a local glob has to list and may not: Python's leaves it out."""
    pieces = pattern.split(os.sep)
    for at, piece in enumerate(pieces):
        if re.search(r"[*?\[]", piece):
            before = os.sep.join(pieces[:at]) or os.sep
            reached = [*glob(before), *(glob(os.path.join(before, "**", ""), recursive=True) if piece == "**" else ())]
            for folder in reached:
                if os.path.isdir(folder):
                    os.scandir(folder).close()


def _file(path: str, info: Mapping[str, Any], options: Mapping[str, Any]) -> File:
    return remote_file(path, info, options) if is_url(path) else local_file(path)


def _relative(path: str, base: str) -> str:
    return path.removeprefix(base).replace(os.sep, "/").strip("/")


def _join(url: str, name: str) -> str:
    """Path or URL of a file in a folder; in a chain of URLs, the first one with a protocol is the folder."""
    if not is_url(url):
        return os.path.join(url, name)
    pieces = url.split("::")
    at = next(at for at, piece in enumerate(pieces) if "://" in piece)
    scheme, _, path = pieces[at].partition("://")
    pieces[at] = f"{scheme}://{path.rstrip('/')}/{name}" if path.strip("/") else f"{scheme}://{path}{name}"
    return "::".join(pieces)


def _wildcard(path: str) -> int:
    """Position of a glob's first wildcard; 0 if there is none. In an http URL a question mark is not a wildcard."""
    match = re.search(r"[*\[]" if path.startswith("http") else r"[*?\[]", path)
    return match.start() if match else 0


def _has_prefix(name: str, pattern: str, prefix: str) -> bool:
    """Whether a part of a matched name begins with a prefix that the glob does not spell out."""
    spelled_out = _any_has_prefix(pattern[pattern.rfind("/", 0, _wildcard(pattern)) + 1 :], prefix)
    return not spelled_out and _any_has_prefix(name, prefix)


def _any_has_prefix(name: str, prefix: str) -> bool:
    return name.startswith(prefix) or f"/{prefix}" in name


def _expand(source: Source) -> list[tuple[str, list[str]]]:
    """Each path with the names that its braces expand to; a local file with braces in its own name stays."""
    stripped = [_strip_file_protocol(path) for path in _checked(source)]
    return [(path, [path] if not is_url(path) and os.path.exists(path) else expand(path)) for path in stripped]


def _checked(source: Source) -> list[str]:
    """Paths of a source as text.

    Raises
    ------
    ArgumentError
        It is no path or list of paths, or one is empty.
    """
    if isinstance(source, bytes) or not isinstance(source, (str, os.PathLike, Iterable)):
        raise ArgumentError(f"expected a path, a URL or a list of them, got {source!r}")
    is_path = isinstance(source, (str, os.PathLike))
    paths = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not paths:
        raise ArgumentError("expected a path, a URL or a list of them, got an empty list: no file was found, maybe")
    for path in paths:
        if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
            raise ArgumentError(f"expected a path or a URL, got {path!r}{'' if is_path else ' in the list'}")
        if not os.fspath(path):
            raise ArgumentError("expected a path or a URL, got an empty text: '.' is the working folder")
    return [os.fspath(path) for path in paths]


def _renamed_by_braces(path: str, name: str, found: list[ListedFile]) -> list[ListedFile]:
    """Files of one expanded name, with names relative to the folder that holds the braces."""
    if _wildcard(name):
        folder = _folder(name[: _wildcard(name)])
    else:
        folder = _folder(name) if any(one.explicit for one in found) else name
    base = _folder(path[: min(path.index("{"), _wildcard(path) or len(path))])
    inside = folder.removeprefix(base).strip("/")
    return [replace(one, name=f"{inside}/{one.name}") for one in found] if inside else found


def _folder(name: str) -> str:
    return name.replace(os.sep, "/").rpartition("/")[0]


def _strip_file_protocol(path: str) -> str:
    if path.startswith(("file://", "local://")):
        return str(fsspec.implementations.local.LocalFileSystem._strip_protocol(path))
    return path
