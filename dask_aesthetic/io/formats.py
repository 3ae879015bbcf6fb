"""Layouts of embeddings on disk: detection by file names, and pairing of matrices with metadata."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TypeVar

from dask_aesthetic.defaults import FORMATS
from dask_aesthetic.errors import AestheticWarning, ArgumentError, ColumnError, InputError
from dask_aesthetic.in_threads import MapAll, map_in_threads
from dask_aesthetic.io.listing import (
    ListedFile,
    Source,
    files_with_suffix,
    format_source,
    match_suffix,
    refuse_undecodable,
    skipped_files,
    source_paths,
)
from dask_aesthetic.io.saved_datasets import SPLITS, STATE
from dask_aesthetic.io.saved_datasets import SUFFIX as ARROW
from dask_aesthetic.io.storage import File

CLIP_RETRIEVAL = "img_emb/img_emb_N.npy beside metadata/metadata_N.parquet"
DATACOMP = "<name>.npz beside <name>.parquet"
BY_COLUMN = ("parquet", "hf-dataset")  # Layouts whose embeddings are a column.
# Layouts of files that are one matrix or hold it under a name, and the suffixes of these files.
MATRICES = {"npy": (".npy",), "safetensors": (".safetensors",), "torch": (".pt", ".pth")}
TENSORS = ("safetensors", "torch")
_MAX_NAMED = 10  # Files named in an error.
_SHOWN = 3  # Files named in a note.
# Words in names of matrices and of their folders.
_TEXTS, _IMAGES = (re.compile(rf"(?<![a-z])({words})s?(?![a-z])") for words in ("text|txt|caption", "image|img|photo"))
_SUFFIXES = tuple(suffix for own in MATRICES.values() for suffix in own)
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class PairedFiles:
    """A matrix and the Parquet file with its rows' metadata, if there is one; `name` is without suffix.

    `texts` is the file of the same rows' text embeddings, if there is one.
    """

    name: str
    matrix: File
    metadata: File | None
    texts: File | None = None


def choose_format(found: Iterable[ListedFile], source: Source, requested: str) -> str:
    """Layout of listed files: the requested one, or with "auto" the one that the file names show.

    Raises
    ------
    ArgumentError
        The layout does not exist.
    InputError
        The files match no layout, or more than one.
    """
    if requested not in FORMATS:
        raise ArgumentError.choice("format", requested, FORMATS)
    if requested != "auto":
        return requested
    files = [one for one in found if not one.underscored]
    folders = {one.name.partition("/")[0] for one in files if "/" in one.name}
    if {"img_emb", "metadata"} <= folders:
        return "clip-retrieval"
    suffixes = Counter(os.path.splitext(one.name)[1].lower() for one in files)
    if ARROW in suffixes and any(PurePosixPath(one.name).name in (STATE, SPLITS) for one in files):
        return "hf-dataset"
    known = {".npz", ".npy", ".parquet"} & suffixes.keys()
    if known == {".npz", ".parquet"}:
        return "datacomp"
    if known == {".npy"}:
        return "npy"
    others = [layout for layout, own in MATRICES.items() if not suffixes.keys().isdisjoint(own)]
    if not known and len(others) == 1:  # Checkpoints may lie beside Parquet files.
        return others[0]
    if known == {".parquet"} or (files and not known and all(one.explicit for one in files)):
        return "parquet"
    if known == {".npz"}:
        raise InputError(
            f"expected {DATACOMP} in {format_source(source)}, got no .parquet beside .npz: write the rows' metadata "
            "beside it, or save the matrix alone by numpy.save as .npy"
        )
    counts = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in suffixes.most_common())
    raise InputError(
        f"expected .parquet, .npy, .safetensors, .pt, {CLIP_RETRIEVAL}, {DATACOMP}, or a folder as "
        f"Dataset.save_to_disk leaves it in {format_source(source)}, got "
        f"{counts or 'none'}: choose with format= (--format) one of {', '.join(FORMATS[1:])}; images "
        "are scored with embed=True (--embed)"
    )


def find_matrices(layout: str, found: Iterable[ListedFile], source: Source) -> list[PairedFiles]:
    """Matrices of a layout (of `MATRICES`, "clip-retrieval" or "datacomp") among listed files, in order.

    Raises
    ------
    InputError
        No such files exist, a file has no partner, or the layout needs a folder and the source is none.
    """
    files = list(found)
    if layout in MATRICES:
        texts = set(text_matrices(files))
        named = files_with_suffix((one for one in files if one not in texts), MATRICES[layout], source)
        return [PairedFiles(name, file, None) for file, name in named]
    check_folder(files, source)
    return (clip_retrieval if layout == "clip-retrieval" else datacomp)(files, source)


def clip_retrieval(found: Iterable[ListedFile], source: Source) -> list[PairedFiles]:
    """Pair clip-retrieval's matrices and metadata by number, in numeric order.

    Raises
    ------
    InputError
        No such files exist, a file has no partner, or two files have the same number.
    """
    files = list(found)
    matrices = _by_number(files, "img_emb", ".npy")
    tables = _by_number(files, "metadata", ".parquet")
    texts = _by_number(files, "text_emb", ".npy")
    return _pair_up(matrices, tables, source, CLIP_RETRIEVAL, texts)


def datacomp(found: Iterable[ListedFile], source: Source) -> list[PairedFiles]:
    """Pair DataComp's .npz and Parquet files by name, sorted by name.

    Raises
    ------
    InputError
        No such files exist, or a file has no partner.
    """
    files = sorted((one for one in found if not one.underscored), key=lambda one: one.name)
    matrices, tables = (_by_stem(files, suffix) for suffix in (".npz", ".parquet"))
    return _pair_up(matrices, tables, source, DATACOMP, matrices)


def text_matrices(found: Iterable[ListedFile]) -> list[ListedFile]:
    """Matrices of text embeddings, recognized by name, if matrices of image embeddings lie beside them.

    A file that the source names itself is never among them.

    Examples
    --------
    >>> from dask_aesthetic.io.storage import File
    >>> names = ["img_emb/img_emb_0.npy", "text_emb/text_emb_0.npy", "textures.npy"]
    >>> [one.name for one in text_matrices(ListedFile(File(name, 0, ""), name, explicit=False) for name in names)]
    ['text_emb/text_emb_0.npy']
    """
    matrices = [one for one in found if not one.underscored and match_suffix(one.name, _SUFFIXES)]
    texts = [bool(_TEXTS.search(one.name.lower())) for one in matrices]
    images = [bool(_IMAGES.search(one.name.lower())) for one in matrices]
    if not any(image and not text for text, image in zip(texts, images, strict=True)):
        return []
    return [
        one
        for one, text, image in zip(matrices, texts, images, strict=True)
        if text and not image and (one.by_glob or not one.explicit)
    ]


def warn_text_matrices(found: Sequence[ListedFile]) -> None:
    """Warn that matrices of text embeddings are left out, since matrices of image embeddings lie beside them."""
    texts = [one.name for one in text_matrices(found)]
    if texts:
        more = f" and {len(texts) - 3:,} more" if len(texts) > 3 else ""
        warnings.warn(
            f"left out: {', '.join(map(repr, texts[:3]))}{more}, embeddings of texts by their names, beside those of "
            "images. A file that is named itself is read",
            AestheticWarning,
            stacklevel=3,
        )


def describe_left_out(found: Sequence[ListedFile], taken: Sequence[File]) -> list[str]:
    """Notes about listed files that are not read, by their number and the first names, and about files read twice."""
    names = skipped_files(found, taken)
    texts = [one.name for one in text_matrices(found) if one.name in set(names)]
    notes = [f"left out: {_named(texts)}, embeddings of texts by their names, beside those of images"] if texts else []
    return [*notes, *_other_notes(found, taken, [name for name in names if name not in set(texts)])]


def warn_left_out(found: Sequence[ListedFile], taken: Sequence[File]) -> None:
    """Warn of what `describe_left_out` notes, but for matrices of texts."""
    texts = {one.name for one in text_matrices(found)}
    names = [name for name in skipped_files(found, taken) if name not in texts]
    for note in _other_notes(found, taken, names):
        warnings.warn(note, AestheticWarning, stacklevel=4)


def _other_notes(found: Sequence[ListedFile], taken: Sequence[File], names: Sequence[str]) -> list[str]:
    notes = []
    if any("_delta_log" in one.name.split("/")[:-1] for one in found):
        notes.append("a Delta table's log is not read: rows that the table has removed or replaced are scored, too")
    if names:
        notes.append(f"not read: {_named(names)}, of other kinds or with an underscore first")
    # As Arrow and Dask do, a name is read even if it is a link to another one.
    links = [file.path for file in taken if file.is_local and os.path.islink(file.path)]
    if links:
        targets = Counter(os.path.realpath(path) for path in {file.path for file in taken if file.is_local})
        twice = [os.path.basename(path) for path in links if targets[os.path.realpath(path)] > 1]
        if twice:
            notes.append(f"read twice: {_named(twice)}, linked to what is read under another name, too")
    return notes


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, sorted(names)[:_SHOWN]))
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{len(names):,} {'file' if len(names) == 1 else 'files'} ({shown}{more})"


def check_folder(found: Iterable[ListedFile], source: Source) -> None:
    """Raise InputError unless the source is one folder, as layouts of paired files need."""
    paths = source_paths(source)
    if len(paths) != 1:
        raise InputError(f"expected a folder, got {len(paths)} of them: read them one by one")
    if any(one.explicit for one in found):
        raise InputError(f"expected a folder, got {paths[0]!r}, which is a file or a glob")


def inspect_all(
    items: Iterable[Item], inspect: Callable[[Item], Result], map_all: MapAll = map_in_threads
) -> list[Result]:
    """Apply a function to many files, and report all damaged files in one error.

    Parameters
    ----------
    items : iterable
    inspect : callable
    map_all : callable
        ``map_all(function, items)`` gives the results in order; if it asks other processes, `inspect` and its results
        can be pickled.

    Raises
    ------
    InputError
        The error of the one damaged file, or one error that names all damaged files.
    ColumnError
        No file is damaged, but one lacks a requested column.
    """
    results: list[Result | InputError | ColumnError] = map_all(partial(_attempt, inspect), items)
    errors = [one for one in results if isinstance(one, InputError)]
    if len(errors) == 1:
        raise errors[0]
    if not errors:
        for one in results:
            if isinstance(one, ColumnError):
                raise one
        return [one for one in results if not isinstance(one, (InputError, ColumnError))]
    more = f"\n  and {len(errors) - _MAX_NAMED:,} more" if len(errors) > _MAX_NAMED else ""
    named = "".join(f"\n  {error}" for error in errors[:_MAX_NAMED])
    raise InputError(f"expected {len(results):,} valid inputs, got {len(errors):,} that cannot be read:{named}{more}")


def _attempt(inspect: Callable[[Item], Result], item: Item) -> Result | InputError | ColumnError:
    try:
        return inspect(item)
    except (InputError, ColumnError) as error:
        return error


def _by_number(files: Iterable[ListedFile], name: str, suffix: str) -> dict[str, ListedFile]:
    found: dict[int, ListedFile] = {}
    for one in sorted(files, key=lambda one: one.name):
        match = re.fullmatch(rf"{name}/{name}_(\d+){re.escape(suffix)}", one.name, re.IGNORECASE)
        if match is None:
            continue
        number = int(match[1])
        if number in found:
            raise InputError(
                f"expected one {name} file of number {number}, got {found[number].file.path} and {one.file.path}"
            )
        found[number] = one
    return {str(number): found[number] for number in sorted(found)}


def _by_stem(files: Iterable[ListedFile], suffix: str) -> dict[str, ListedFile]:
    return {one.name.removesuffix(own): one for one in files if (own := match_suffix(one.name, (suffix,)))}


def _pair_up(
    matrices: dict[str, ListedFile],
    tables: dict[str, ListedFile],
    source: Source,
    layout: str,
    texts: dict[str, ListedFile],
) -> list[PairedFiles]:
    """Pair files of the same key, in the order of `matrices`; `texts` may lack some."""
    if not matrices and not tables:
        raise InputError(f"expected {layout} in {format_source(source)}, got neither")
    alone = [one for key, one in [*matrices.items(), *tables.items()] if key not in matrices or key not in tables]
    refuse_undecodable(one.file for one in (*matrices.values(), *tables.values()))
    if alone:
        names = ", ".join(one.name for one in alone[:3])
        more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
        raise InputError(f"expected {layout} in {format_source(source)}, got {names}{more} without its partner")
    return [
        PairedFiles(
            tables[key].name[: -len(".parquet")],
            one.file,
            tables[key].file,
            texts[key].file if key in texts else None,
        )
        for key, one in matrices.items()
    ]
