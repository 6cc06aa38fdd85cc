"""Names as Azure Blob Storage takes them: which keys it cannot hold, and how the names of metadata are written."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cloudcontents.errors import InvalidPathError, NotFoundError
from cloudcontents.keys import show

#: The metadata by which the tools of Azure mark a blob as a directory.
FOLDER = "hdi_isfolder"

# A metadata name is an identifier of C#: no '-'. What it cannot be is written as __0x2d__, and so is what would read as such.
_UNFIT = re.compile(r"[^a-z0-9_]|\A[0-9]|_(?=_0x)")
_WRITTEN = re.compile(r"__0x([0-9a-f]{2})__")


def is_holdable(key: str) -> bool:
    """Whether the store can hold a key as it is written.

    It cannot where a URL's path says something else: it takes a backslash for a slash, and ``.`` and ``..`` segments are resolved on
    the way, the latter maybe into another container.
    """
    return "\\" not in key and not any(segment in (".", "..") for segment in key.split("/"))


def check_readable(key: str) -> None:
    """Refuse to look for a key that cannot be there.

    Raises:
        NotFoundError: The store cannot hold it.
    """
    if not is_holdable(key):
        raise NotFoundError(f"{show(key)} does not exist.")


def check_writable(key: str) -> None:
    """Refuse to write a key that would become another one.

    Raises:
        InvalidPathError: The store cannot hold it.
    """
    if not is_holdable(key):
        raise InvalidPathError(f"Azure cannot hold the name {show(key)}: no backslash, and no '.' or '..' between slashes.")


def written_metadata(key: str, metadata: Mapping[str, str] | None) -> dict[str, str]:
    """The metadata to send for an object; a directory's marker says in Azure's own way that it is one."""
    found = {_UNFIT.sub(lambda match: f"__0x{ord(match[0]):02x}__", name): value for name, value in (metadata or {}).items()}
    if key.endswith("/"):
        found[FOLDER] = "true"
    return found


def metadata_of(sent: Mapping[str, str] | None) -> dict[str, str]:
    """The metadata that were sent, by their own names."""
    return {_WRITTEN.sub(lambda match: chr(int(match[1], 16)), name.lower()): value for name, value in (sent or {}).items()}
