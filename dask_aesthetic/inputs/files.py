"""Which files a path, a URL, a folder or a glob names, here or elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from glob import glob
from typing import Any

import fsspec

from dask_aesthetic.errors import InputError, first_line
from dask_aesthetic.inputs.braces import expand
from dask_aesthetic.inputs.file import File, is_url, local_file, remote_file

Place = str | os.PathLike[str]
Source = Place | Iterable[Place]
__all__ = [
    "File",
    "Found",
    "Place",
    "Source",
    "ending_of",
    "find_files",
    "left_out",
    "list_files",
    "places",
    "shown",
    "sibling",
    "with_suffix",
]
_HIDDEN = "."  # What operating systems, editors and unfinished jobs leave.
_ASIDE = "_"  # What other programs write beside data: nothing to score, but cameras name images so as well.
# Not worth a word where it is left out: what Spark, Arrow, img2dataset and jobs of this package keep beside data.
_BOOKKEEPING = re.compile(
    r"(.*/)?(_SUCCESS|_metadata|_common_metadata|_(started|committed)_[^/]*|[^/]*_stats\.json"
    r"|(_delta_log|_temporary|_dask_aesthetic|_failed\.parquet)(/.*)?)"
)
_KINDS = {".parquet": "Parquet", ".npy": "npy", ".npz": "npz"}


@dataclass(frozen=True)
class Found:
    """A file and what it is called where it was looked for.

    Attributes
    ----------
    file : File
    name : str
        Relative to the folder or the part before a glob's first wildcard or brace, with "/" and its suffix.
    named : bool
        Whether it was named itself or matched by a glob, and so is meant, whatever its suffix.
    matched : bool
        Whether it was named by a glob alone.
    aside : bool
        Whether its name, or a folder's, begins with an underscore that nobody asked for: only images are taken then.
    """

    file: File
    name: str
    named: bool
    matched: bool = False
    aside: bool = False


def find_files(source: Source, suffix: str, options: Mapping[str, Any] | None = None) -> list[tuple[File, str]]:
    """The files that a path or URL names, in the order of their names.

    Parameters
    ----------
    source : str, path, or list of them
        A file, a folder (searched through, without what begins with "." or "_") or a glob; braces, as in
        ``{00000..00099}.tar`` or ``{en,fr}/``, stand for many names.
    suffix : str
        Of the files to take from folders, in any case: ".parquet". A file that is named, or matched by a glob, is taken
        as it is.
    options : mapping, optional
        fsspec's storage options.

    Returns
    -------
    list of (File, str)
        Each with its name relative to the folder, or to what stands before a glob's first wildcard, without suffix.

    Raises
    ------
    InputError
        There are none, something named is not there, or two files have the same name.
    """
    return with_suffix(list_files(source, options), suffix, source)


def list_files(source: Source, options: Mapping[str, Any] | None = None) -> list[Found]:
    """All files that a source names, of whatever kind; folders are searched through, but for names with a dot first.

    Raises
    ------
    InputError
        Something named is not there, or cannot be listed.
    """
    found: list[Found] = []
    for place, names in _places(source):
        for name in names:
            there = _there(name, options or {}) if is_url(name) else _here(name)
            found += there if name == place else _within(place, name, there)
    return found


def places(source: Source) -> list[str]:
    """The paths and URLs of a source, one by one; URLs of files here become paths, and braces names."""
    return [name for _, names in _places(source) for name in names]


def shown(source: Source) -> str:
    """A source in an error."""
    several = places(source)
    return ", ".join(map(repr, several[:3])) + (f" and {len(several) - 3} more" if len(several) > 3 else "")


def with_suffix(found: Iterable[Found], suffix: str, source: Source) -> list[tuple[File, str]]:
    """Those of a kind, by name without suffix, in its order.

    Raises
    ------
    InputError
        There are none, or two have the same name.
    """
    by_name: dict[str, File] = {}
    for one in sorted(found, key=lambda one: one.name):
        own = ending_of(one.name, (suffix,))
        if one.aside or (not one.named and not own):
            continue
        name = one.name.removesuffix(own)
        if name in by_name:
            raise InputError(f"expected files of different names, got {by_name[name].path} and {one.file.path}")
        by_name[name] = one.file
    if not by_name:
        kind = _KINDS.get(suffix, suffix)
        raise InputError(f"expected {kind} files (*{suffix}) in {shown(source)}, got none")
    return sorted(((file, name) for name, file in by_name.items()), key=lambda pair: pair[1])


def ending_of(name: str, endings: Iterable[str]) -> str:
    """The one of some endings, in any case, that a name has, as it is spelled there; empty if it has none.

    Examples
    --------
    >>> ending_of("00000.TAR", (".tar", ".tar.gz"))
    '.TAR'
    """
    return next((name[-len(one) :] for one in endings if name.lower().endswith(one)), "")


def left_out(found: Iterable[Found], taken: Iterable[File]) -> list[str]:
    """Names of the files that are none of those taken, without what is known to be no data."""
    paths = {file.path for file in taken}
    return [one.name for one in found if one.file.path not in paths and not _BOOKKEEPING.fullmatch(one.name)]


def sibling(file: File, endings: Iterable[str], ending: str) -> File | None:
    """The file beside another that is called as it is but for its ending; None if there is none.

    Raises
    ------
    InputError
        Its store cannot say.
    """
    pieces = file.path.split("::") if not file.is_local else [file.path]
    at = next(at for at, piece in enumerate(pieces) if file.is_local or "://" in piece)
    own = ending_of(pieces[at], endings)
    stem = pieces[at].removesuffix(own)
    if file.is_local:
        spelled = [path for path in (stem + ending, stem + ending.upper()) if os.path.isfile(path)]
        return local_file(spelled[0]) if spelled else None
    pieces[at] = stem + ending
    path = "::".join(pieces)
    try:
        system, root = fsspec.core.url_to_fs(path, **file.options)
        return remote_file(path, system.info(root), file.options)
    except FileNotFoundError:
        return None
    except Exception as error:  # Whatever the store's library raises.
        raise InputError(f"expected to learn whether there is {path!r}: {first_line(error)}") from error


def _here(path: str) -> list[Found]:
    if os.path.isdir(path):
        return list(_walk(path, path))
    if os.path.exists(path):
        return [Found(local_file(path), os.path.basename(path), named=True)]
    if not _wildcard(path):
        raise _absent(path)
    base = os.path.dirname(path[: _wildcard(path)]) or "."
    found: dict[str, Found] = {}
    for match in sorted(glob(path, recursive=True)):
        name = os.path.relpath(match, base)
        if _begins(name, path, _HIDDEN):
            continue
        aside = _begins(name, path, _ASIDE)
        if os.path.isdir(match):
            for one in _walk(match, base, aside):
                found.setdefault(one.name, one)
        else:
            found[name] = Found(local_file(match), name, named=True, matched=True, aside=aside)
    return list(found.values())


def _walk(folder: str, base: str, aside: bool = False) -> Iterator[Found]:
    """The files under a folder. Links to folders are followed, each folder is looked at once."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(_HIDDEN))
        for name in sorted(files):
            if not name.startswith(_HIDDEN):
                path = os.path.join(parent, name)
                inside = os.path.relpath(path, folder).replace(os.sep, "/")
                name = os.path.relpath(path, base).replace(os.sep, "/")
                yield Found(local_file(path), name, named=False, aside=aside or _any_begins(inside, _ASIDE))


def _there(url: str, options: Mapping[str, Any]) -> list[Found]:
    try:
        return _listed(url, options)
    except FileNotFoundError as error:
        raise _absent(url) from error
    except InputError:
        raise
    except Exception as error:  # Whatever the store's library raises.
        raise InputError(f"expected a URL that fsspec can list, got {url!r}: {first_line(error)}") from error


def _listed(url: str, options: Mapping[str, Any]) -> list[Found]:
    system, root = fsspec.core.url_to_fs(url, **options)
    # A store's client lives as long as the process, and another process may have written since.
    system.invalidate_cache()
    if not _wildcard(url):
        info = system.info(root)
        if info["type"] != "directory":
            return [Found(remote_file(url, info, options), remote_file(url, info, options).name, named=True)]
        return list(_under(system, root, url, root, options))
    base_url = url[: _wildcard(url)].rpartition("/")[0]
    chain = url.partition("::")[2] if "://" in url.partition("::")[0] else ""
    base_url = f"{base_url}::{chain}" if chain else base_url
    base = fsspec.core.url_to_fs(base_url, **options)[1]
    found: dict[str, Found] = {}
    for path, info in sorted(system.glob(root, detail=True).items()):
        name = _relative(path, base)
        if not name or _begins(name, url, _HIDDEN):
            continue
        aside = _begins(name, url, _ASIDE)
        if info["type"] == "directory":
            for one in _under(system, path, base_url, base, options, aside):
                found.setdefault(one.name, one)
        else:
            file = remote_file(_join(base_url, name), info, options)
            found[name] = Found(file, name, named=True, matched=True, aside=aside)
    return list(found.values())


def _under(
    system: Any, folder: str, base_url: str, base: str, options: Mapping[str, Any], aside: bool = False
) -> Iterator[Found]:
    for path, info in sorted(system.find(folder, detail=True).items()):
        inside = _relative(path, folder)
        if inside and info["type"] == "file" and not _any_begins(inside, _HIDDEN):
            name = _relative(path, base)
            file = remote_file(_join(base_url, name), info, options)
            yield Found(file, name, named=False, aside=aside or _any_begins(inside, _ASIDE))


def _relative(path: str, base: str) -> str:
    return path.removeprefix(base).strip("/")


def _join(url: str, name: str) -> str:
    """A file's URL under a folder's; of a chain of URLs the first that has a path is the folder's."""
    pieces = url.split("::")
    at = next(at for at, piece in enumerate(pieces) if "://" in piece)
    scheme, _, path = pieces[at].partition("://")
    pieces[at] = f"{scheme}://{path.rstrip('/')}/{name}" if path.strip("/") else f"{scheme}://{path}{name}"
    return "::".join(pieces)


def _wildcard(path: str) -> int:
    """Where a glob's first wildcard stands; 0 if it is none. In a web address a question mark is none."""
    match = re.search(r"[*\[]" if path.startswith("http") else r"[*?\[]", path)
    return match.start() if match else 0


def _begins(name: str, pattern: str, mark: str) -> bool:
    """Whether a part of a match begins with a mark, and the glob does not ask for such."""
    asked = _any_begins(pattern[pattern.rfind("/", 0, _wildcard(pattern)) + 1 :], mark)
    return not asked and _any_begins(name, mark)


def _any_begins(name: str, mark: str) -> bool:
    return any(part.startswith(mark) for part in name.split("/"))


def _places(source: Source) -> list[tuple[str, list[str]]]:
    """Each place, and the names that it stands for by its braces, unless there is a file of that very name here."""
    several = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    plain = [_plain(os.fspath(place)) for place in several]
    return [(place, [place] if not is_url(place) and os.path.exists(place) else expand(place)) for place in plain]


def _within(place: str, name: str, found: list[Found]) -> list[Found]:
    """What one of the names of braces holds, called by what follows the folder that the braces stand in."""
    if _wildcard(name):
        folder = _folder(name[: _wildcard(name)])
    else:
        folder = _folder(name) if any(one.named for one in found) else name
    base = _folder(place[: min(place.index("{"), _wildcard(place) or len(place))])
    inside = folder.removeprefix(base).strip("/")
    return [replace(one, name=f"{inside}/{one.name}") for one in found] if inside else found


def _folder(name: str) -> str:
    return name.replace(os.sep, "/").rpartition("/")[0]


def _plain(place: str) -> str:
    if place.startswith(("file://", "local://")):
        return str(fsspec.implementations.local.LocalFileSystem._strip_protocol(place))
    return place


def _absent(place: str) -> InputError:
    return InputError(f"expected a file, a folder or a glob, got {place!r}, which does not exist")
