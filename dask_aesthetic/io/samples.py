"""Samples of a tar: members grouped by key as webdataset does, and faults of members and samples."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from tarfile import TarInfo
from typing import NamedTuple

from dask_aesthetic.defaults import IMAGE_EXTENSIONS

IMAGES = IMAGE_EXTENSIONS
OK = "ok"
LARGEST = 1 << 28  # Maximum bytes of a member that is read. A gzip of a few kilobytes can expand to any size.
_LONGEST = 4096  # Maximum characters of a name. No file system takes more, and the pattern of keys is quadratic in it.
_SHOWN = 200  # Maximum characters of a name in an error.
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a FIFO",
}


class Fault(NamedTuple):
    """Status and error message of an invalid sample or member.

    Attributes
    ----------
    status : str
        One of the statuses that `read_webdataset` lists.
    error : str
        Error message.
    """

    status: str
    error: str


@dataclass
class Sample:
    """Members of one key, in their order; or, without a key, a part of the tar that belongs to no sample.

    Attributes
    ----------
    key : str or None
    members : dict of str to TarInfo
        By extension, in lower case.
    repeated : dict of str to list of TarInfo
        Further members with an extension that the sample already has.
    fault : Fault or None
        Fault that was found while the tar was read.
    """

    key: str | None
    members: dict[str, TarInfo] = field(default_factory=dict)
    repeated: dict[str, list[TarInfo]] = field(default_factory=dict)
    fault: Fault | None = None

    @property
    def size(self) -> int:
        """Total bytes of the members."""
        return sum(member.size for member in self.members.values())

    def only(self, extension: str | None) -> TarInfo | None:
        """Member of an extension; None if it is missing, repeated or too large."""
        member = None if extension is None or extension in self.repeated else self.members.get(extension)
        return None if member is None or member.size > LARGEST else member

    def image(self, images: Collection[str]) -> str | None:
        """Extension of the image; None if the sample has no image, or more than one."""
        found = [extension for extension in self.members if extension in images]
        return found[0] if len(found) == 1 else None

    def faults(self, images: Collection[str], read: Iterable[str]) -> list[Fault]:
        """Faults of the sample, the worst first, that matter for its image and the members `read`."""
        found = [self.fault] if self.fault else []
        if self.key is None:
            return found
        for extension, more in self.repeated.items():
            names = ", ".join(format_name(member.name) for member in [self.members[extension], *more])
            found.append(Fault("duplicate_member", f"{extension} occurs {len(more) + 1} times: {names}"))
        present = [extension for extension in self.members if extension in images]
        if not present:
            found.append(Fault("no_image", f"expected {', '.join(images)}, got {', '.join(self.members)}"))
        elif len(present) > 1:
            found.append(Fault("several_images", f"expected one image, got {', '.join(present)}"))
        for extension in dict.fromkeys([*present, *read]):
            member = self.members.get(extension)
            if member is not None and member.size > LARGEST:
                found.append(Fault("too_large", f"{extension} has {member.size:,} bytes, more than {LARGEST:,}"))
        return found


def split_key(name: str) -> tuple[str, str] | None:
    """Split a member's name into key and extension, at the first dot of its last part, as webdataset does.

    Extensions become lower case.

    Examples
    --------
    >>> split_key("a.b/c.seg.PNG")
    ('a.b/c', 'seg.png')
    >>> split_key("README")
    """
    match = re.match(r"((?:.*/|)[^.]+)[.]([^/]*)$", name)
    return None if match is None else (match[1], match[2].lower())


def member_fault(member: TarInfo) -> Fault | None:
    """Fault of a member that cannot belong to a sample; None if it can."""
    name = format_name(member.name)
    unsafe = unsafe_reason(member.name)
    if unsafe is not None:
        return Fault("unsafe_name", f"{name} {unsafe}")
    if member.issparse():
        return Fault("not_a_file", f"{name} is a sparse file")
    if not member.isreg():
        return Fault("not_a_file", f"{name} is {_KINDS.get(member.type, f'of type {member.type!r}')}")
    if re.match(r"__[^/]*__($|/)", member.name):
        return Fault("no_key", f"{name} is a name that webdataset reserves")
    if split_key(member.name) is None:
        return Fault("no_key", f"{name} has no key and extension")
    return None


def unsafe_reason(name: str) -> str | None:
    """Reason why a name is unsafe as a file path; None if it is safe.

    Examples
    --------
    >>> unsafe_reason("../a.jpg")
    'leads out of its folder'
    """
    if len(name) > _LONGEST:
        return f"has more than {_LONGEST:,} characters"
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", name):
        return "is absolute"
    if ".." in re.split(r"[/\\]", name):
        return "leads out of its folder"
    if re.search(r"[\x00-\x1f\x7f-\x9f]", name):
        return "has control characters"
    if re.search(r"[\ud800-\udfff]", name):
        return "is not UTF-8"
    return None


def format_name(name: str) -> str:
    """Name of a member for error messages, escaped and truncated."""
    text = repr(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def group(members: Iterable[TarInfo]) -> list[Sample]:
    """Group members by key into samples, in order of first appearance; members of one key may be apart."""
    samples: list[Sample] = []
    by_key: dict[str, Sample] = {}
    for member in members:
        if member.isdir() and unsafe_reason(member.name) is None:
            continue  # Folders hold no data.
        fault = member_fault(member)
        parts = split_key(member.name) if fault is None else None
        if parts is None:
            samples.append(Sample(None, fault=fault))
            continue
        key, extension = parts
        if key not in by_key:
            by_key[key] = Sample(key)
            samples.append(by_key[key])
        sample = by_key[key]
        if extension in sample.members:
            sample.repeated.setdefault(extension, []).append(member)
        else:
            sample.members[extension] = member
    return samples
