"""Output folder of a job, local or behind an fsspec URL, in which a file is whole or absent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, cast
from uuid import uuid4

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from dask_aesthetic.atomic import sync_file, sync_folder
from dask_aesthetic.errors import ArgumentError, InputError, first_line
from dask_aesthetic.io.job_folders import JOB_FOLDER, JobFolders, parent_folder
from dask_aesthetic.io.listing import File, Source, source_paths
from dask_aesthetic.io.storage import escape_undecodable, is_utf8
from dask_aesthetic.validation import check_options

TEMPORARY = ".dask-aesthetic-"


@dataclass(frozen=True)
class Store:
    """Folder whose files appear as wholes, under names relative to it.

    Attributes
    ----------
    url : str
        An absolute path, or a URL.
    options : mapping
        Storage options of fsspec; they may hold secrets, so they are neither compared nor printed.
    part : str
        Part of the job that writes to the folder beside others, such as "3-of-64"; empty for the whole job.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    part: str = ""

    @classmethod
    def of(cls, url: str | os.PathLike[str], options: Mapping[str, Any] | None = None, part: str = "") -> Store:
        """Store of a path or URL.

        Raises
        ------
        ArgumentError, InputError
            It is no path, a file is in its way, or nothing may be written there.
        """
        check_options("output_options", options)
        if not isinstance(url, str | os.PathLike) or isinstance(os.fspath(url), bytes):
            raise ArgumentError(f"expected an output folder or URL, got {url!r}")
        if not os.fspath(url):
            raise ArgumentError("expected an output folder or URL, got an empty text: '.' is the working folder")
        if not is_utf8(os.fspath(url)):
            name = escape_undecodable(os.fspath(url))
            raise ArgumentError(f"expected an output folder with a name in UTF-8, got {name}: choose another name")
        try:
            fs, path = url_to_fs(os.fspath(url), **(options or {}))
        except (ValueError, ImportError) as error:
            raise ArgumentError(f"expected an output folder or URL, got {url!r}: {first_line(error)}") from error
        if isinstance(fs, LocalFileSystem):
            path = os.path.abspath(path)
            file = next((one for one in (Path(path), *Path(path).parents) if os.path.lexists(one)), None)
            if file is not None and not file.is_dir():
                raise InputError(f"expected a folder to write to, got the file {file}: choose another name")
            by_effect = os.access in os.supports_effective_ids
            if file is not None and not os.access(file, os.W_OK | os.X_OK, effective_ids=by_effect):
                raise InputError(
                    f"expected a folder to write to, got {file}: permission denied or a read-only file system"
                )
            return cls(path, part=part)
        return cls(fs.unstrip_protocol(path), dict(options or {}), part)

    @property
    def folder(self) -> Path | None:
        """Local folder, None behind a URL."""
        return None if "://" in self.url else Path(self.url)

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        """Local path to write to before `place`; a file left there is removed."""
        if self.folder is not None:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path = target.with_name(f"{self._prefix}{uuid4().hex}")
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)
        else:
            with TemporaryDirectory(prefix=TEMPORARY) as folder:
                yield Path(folder) / "file"

    def place(self, temporary: Path, name: str, durable: bool = True) -> dict[str, Any]:
        """Size and sha256 of a file after its rename; its content is on the disk before if it is `durable`.

        The name itself is there after a loss of power once `sync` has returned.
        """
        with temporary.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            size = os.fstat(stream.fileno()).st_size
        self.move(temporary, name, durable)
        return {"bytes": size, "sha256": sha256}

    def move(self, temporary: Path, name: str, durable: bool = True) -> None:
        """Give a file its name; as `place`, without reading it."""
        if self.folder is not None:
            if durable:
                sync_file(temporary)
            os.replace(temporary, self.folder / name)
        else:
            fs, root = self._remote()
            fs.put_file(str(temporary), f"{root}/{name}")

    def write(self, name: str, content: bytes, durable: bool = True) -> None:
        """Write a small file; as of `place`."""
        if self.folder is None:
            fs, root = self._remote()
            fs.pipe_file(f"{root}/{name}", content)
            return
        with self.temporary(name) as path:
            path.write_bytes(content)
            self.place(path, name, durable)

    def sync(self, names: Iterable[str]) -> None:
        """Put the names of files on the disk; files that do not exist are skipped."""
        if self.folder is not None:
            for folder in sorted({name.rpartition("/")[0] for name in names}):
                if (self.folder / folder).is_dir():
                    sync_folder(self.folder / folder)

    def read(self, name: str) -> bytes | None:
        """Content of a file, None if it is absent."""
        try:
            if self.folder is not None:
                return (self.folder / name).read_bytes()
            fs, root = self._remote()
            return cast(bytes, fs.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None

    def refuse_replacing(self, name: str, overwrite: bool) -> None:
        """Raise InputError if a folder of this name exists, or a file that is not to be overwritten."""
        if self.folder is not None:
            path = self.folder / name
            exists, is_folder = os.path.lexists(path), path.is_dir()
        else:
            fs, root = self._remote()
            fs.invalidate_cache()
            exists, is_folder = fs.exists(f"{root}/{name}"), fs.isdir(f"{root}/{name}")
        if is_folder:
            raise InputError(f"expected a file to write, got {name} in {self.url}, a folder: choose another name")
        if exists and not overwrite:
            raise InputError(
                f"expected no {name} in {self.url}, got one: choose another name; or overwrite=True (--overwrite) "
                "replaces it"
            )

    def open(self, name: str) -> IO[bytes]:
        """Binary stream of a file, with seek."""
        if self.folder is not None:
            return (self.folder / name).open("rb")
        fs, root = self._remote()
        return cast("IO[bytes]", fs.open(f"{root}/{name}", "rb"))

    def sha256(self, name: str) -> str:
        """sha256 of the content of a file."""
        with self.open(name) as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def sizes(self) -> dict[str, int]:
        """Sizes of all files by name, without temporary ones."""
        if self.folder is not None:
            return {
                path.relative_to(self.folder).as_posix(): path.stat().st_size
                for path in self.folder.rglob("*")
                if not path.name.startswith(TEMPORARY) and path.is_file()
            }
        fs, root = self._remote()
        fs.invalidate_cache()
        try:
            found = fs.find(root, detail=True)
        except FileNotFoundError:
            return {}
        return {path[len(root) + 1 :]: int(info["size"]) for path, info in found.items()}

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with suppress(FileNotFoundError):
            if self.folder is not None:
                (self.folder / name).unlink()
            else:
                fs, root = self._remote()
                fs.rm_file(f"{root}/{name}")

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Lock the folder against other runs on this machine and on shared disks with locks.

        Parts of a job share it with one another, but not with a run of the same part or of the whole job.

        Raises
        ------
        InputError
            Another run holds it.

        Notes
        -----
        Object stores have no locks. There two runs of the same settings write the same bytes.
        """
        if self.folder is None:
            yield
            return
        (self.folder / JOB_FOLDER).mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            lock = stack.enter_context((self.folder / JOB_FOLDER / "lock").open("a"))
            _lock(lock, self.url, shared=bool(self.part))
            if self.part:
                lock = stack.enter_context((self.folder / JOB_FOLDER / f"lock-{self.part}").open("a"))
                _lock(lock, self.url)
            self._clean()
            yield
            self._clean()

    @property
    def _prefix(self) -> str:
        """Of the names of temporary files."""
        return f"{TEMPORARY}{self.part}-" if self.part else TEMPORARY

    def _clean(self) -> None:
        """Remove temporary files of killed runs and workers; no other run of the part may be writing."""
        for path in self.folder.rglob(f"{self._prefix}*") if self.folder else []:
            path.unlink(missing_ok=True)

    def _remote(self) -> tuple[Any, str]:
        fs, root = url_to_fs(self.url, **self.options)
        return fs, root.rstrip("/")


def _lock(stream: IO[str], url: str, shared: bool = False) -> None:
    try:
        import fcntl
    except ImportError:  # Not on Windows.
        return
    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"expected to be the only run that writes to {url}, got another one at work there: wait for it or stop it"
        ) from error
    except OSError:  # A disk without locks; files still appear as wholes.
        return


def refuse_overlap(source: Source, files: Iterable[File], store: Store) -> None:
    """Refuse an output folder inside the input, one that holds the input, and one inside another job's output."""
    for path in source_paths(source):
        if _inside(store.url, path):
            raise InputError(f"expected an output folder outside of the input, got {store.url} in {path}")
    # A folder's real path is that of its files, but for links.
    inside = cache(partial(_inside, folder=store.url))
    for file in files:
        path = os.path.dirname(file.path) if file.is_local and not os.path.islink(file.path) else file.path
        if inside(path):
            raise InputError(f"expected an output folder apart from the input, got {store.url}, with {file.path} in it")
    outer = JobFolders(store.options).enclosing(parent_folder(store.url))
    if outer is not None:
        raise InputError(
            f"expected an output folder outside of other jobs' outputs, got {store.url} in {outer}, to which a job "
            "writes: choose a folder beside it"
        )


def _inside(path: str, folder: str) -> bool:
    if "://" in folder or "://" in path:
        inner, outer, separator = path.rstrip("/"), folder.rstrip("/"), "/"
    else:
        inner, outer, separator = os.path.realpath(path), os.path.realpath(folder), os.sep
    return inner == outer or inner.startswith(outer + separator)
