"""Members of a tar as samples, by webdataset's rule; and what is no part of one, with the reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from tarfile import TarInfo
from typing import NamedTuple

IMAGES = ("jpg", "jpeg", "png", "webp")
OK = "ok"
LARGEST = 1 << 28  # Bytes of a member that is read into a column. A gzip of a few kilobytes can hold any number.
_SHOWN = 200  # Characters of a name in an error.
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a FIFO",
}


class Fault(NamedTuple):
    """What is wrong with a sample or a member.

    Attributes
    ----------
    status : str
        One word of those that `read_webdataset` lists.
    error : str
        More of it, for people.
    """

    status: str
    error: str


@dataclass
class Sample:
    """Members of one key, in their order; or, without a key, something in the tar that is part of no sample.

    Attributes
    ----------
    key : str or None
    members : dict of str to TarInfo
        By extension, in lower case.
    repeated : dict of str to list of TarInfo
        More members of an extension that is there already: which of them is meant, nobody can tell.
    fault : Fault or None
        What was found while the tar was looked through.
    """

    key: str | None
    members: dict[str, TarInfo] = field(default_factory=dict)
    repeated: dict[str, list[TarInfo]] = field(default_factory=dict)
    fault: Fault | None = None

    @property
    def size(self) -> int:
        """Bytes of its members."""
        return sum(member.size for member in self.members.values())

    def only(self, extension: str | None) -> TarInfo | None:
        """The member of an extension, if there is one and it can be read into a column."""
        member = None if extension is None or extension in self.repeated else self.members.get(extension)
        return None if member is None or member.size > LARGEST else member

    def image(self, images: Collection[str]) -> str | None:
        """The extension of its picture; None if it has none, or several."""
        found = [extension for extension in self.members if extension in images]
        return found[0] if len(found) == 1 else None

    def faults(self, images: Collection[str], read: Iterable[str]) -> list[Fault]:
        """What is wrong with it, the worst first, if its picture and the members `read` are to be read."""
        found = [self.fault] if self.fault else []
        if self.key is None:
            return found
        for extension, more in self.repeated.items():
            names = ", ".join(shown(member.name) for member in [self.members[extension], *more])
            found.append(Fault("duplicate_member", f"{extension} is there {len(more) + 1} times: {names}"))
        pictures = [extension for extension in self.members if extension in images]
        if not pictures:
            found.append(Fault("no_image", f"expected {', '.join(images)}, got {', '.join(self.members)}"))
        elif len(pictures) > 1:
            found.append(Fault("several_images", f"expected one picture, got {', '.join(pictures)}"))
        for extension in dict.fromkeys([*pictures, *read]):
            member = self.members.get(extension)
            if member is not None and member.size > LARGEST:
                found.append(Fault("too_large", f"{extension} has {member.size:,} bytes, more than {LARGEST:,}"))
        return found


def split(name: str) -> tuple[str, str] | None:
    """Key and extension of a member: what stands before and after the first dot of its last part.

    The rule, extensions in lower case among it, is webdataset's.

    Examples
    --------
    >>> split("a.b/c.seg.PNG")
    ('a.b/c', 'seg.png')
    >>> split("README")
    """
    match = re.match(r"((?:.*/|)[^.]+)[.]([^/]*)$", name)
    return None if match is None else (match[1], match[2].lower())


def fault_of(member: TarInfo) -> Fault | None:
    """Why a member can be part of no sample, None if it can."""
    name = shown(member.name)
    unsafe = why_unsafe(member.name)
    if unsafe is not None:
        return Fault("unsafe_name", f"{name} {unsafe}")
    if member.issparse():
        return Fault("not_a_file", f"{name} is a sparse file")
    if not member.isreg():
        return Fault("not_a_file", f"{name} is {_KINDS.get(member.type, f'of type {member.type!r}')}")
    if re.match(r"__[^/]*__($|/)", member.name):
        return Fault("no_key", f"{name} is of the names that webdataset keeps for itself")
    if split(member.name) is None:
        return Fault("no_key", f"{name} has no key and extension")
    return None


def why_unsafe(name: str) -> str | None:
    """Why a name may not become one of a file, None if it may.

    Examples
    --------
    >>> why_unsafe("../a.jpg")
    'leads out of its folder'
    """
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", name):
        return "is absolute"
    if ".." in re.split(r"[/\\]", name):
        return "leads out of its folder"
    if re.search(r"[\x00-\x1f\x7f-\x9f]", name):
        return "has control characters"
    if re.search(r"[\ud800-\udfff]", name):
        return "is not UTF-8"
    return None


def shown(name: str) -> str:
    """A name in an error."""
    text = repr(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def group(members: Iterable[TarInfo]) -> list[Sample]:
    """The samples of a tar in the order in which they begin; members of one key may lie apart."""
    samples: list[Sample] = []
    by_key: dict[str, Sample] = {}
    for member in members:
        if member.isdir() and why_unsafe(member.name) is None:
            continue  # Holds nothing.
        fault, parts = fault_of(member), split(member.name)
        if fault is not None or parts is None:
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
