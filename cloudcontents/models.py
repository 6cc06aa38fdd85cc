"""The one place where a model of the Contents API is built, and where content turns into bytes and back.

Pure functions. Those that touch content (`read_*`, `*_bytes`) may take long on a big file: call them in a thread.
"""

from __future__ import annotations

import binascii
import hashlib
import mimetypes
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import nbformat
import pybase64
from nbformat.v4 import new_notebook

from . import keys
from .backends.interface import ObjectInfo
from .errors import InvalidContentError, WrongTypeError
from .lookup import Entry, Listing
from .notebook_text import notebook_text

Model = dict[str, Any]

#: The time of a directory for which the store knows none. A constant, so that it is the same in every answer of every server.
NO_TIME = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: Name of the metadata entry with the SHA-256 of the content.
SHA256 = "cc-sha256"

#: Name of the metadata entry that says who saved, where the identity is a real one.
SAVED_BY = "cc-by"


def whole_seconds(time: datetime | None) -> datetime:
    """A time as every model tells it: aware, UTC, whole seconds, never null."""
    return NO_TIME if time is None else time.astimezone(timezone.utc).replace(microsecond=0)


def directory_model(path: str, modified: datetime | None, *, writable: bool = True) -> Model:
    """A directory without its content."""
    return _base(path, "directory", whole_seconds(modified), writable) | {"version": None}


def file_model(path: str, info: ObjectInfo, type: str | None = None, *, require_hash: bool = False, writable: bool = True) -> Model:
    """A file or notebook without its content.

    Args:
        path: Its API path.
        info: The object.
        type: ``notebook`` or ``file``; None decides by the name.
        require_hash: Whether to tell the hash; what a HEAD knows, never a download.
        writable: False where the whole mount cannot be written.
    """
    kind = type or ("notebook" if path.endswith(".ipynb") else "file")
    model = _base(path, kind, whole_seconds(info.modified), writable and info.writable)
    model["size"] = info.size
    model["version"] = info.version
    if kind == "file":
        model["mimetype"] = mimetypes.guess_type(path)[0]
    if require_hash:
        model["hash"], model["hash_algorithm"] = content_hash(info)
    return model


def content_hash(info: ObjectInfo) -> tuple[str, str]:
    """An object's hash and the name of its algorithm: the SHA-256 that we stored with it, else its version."""
    digest = (info.metadata or {}).get(SHA256)
    return (digest, "sha256") if digest else (info.version, "version")


def entry_model(entry: Entry, prefix: str = "", *, writable: bool = True) -> Model:
    """An entry of a listing; equal to what `get` without content says of it."""
    path = keys.join(prefix, entry.path)
    if entry.info is None:
        return directory_model(path, entry.modified, writable=writable)
    return file_model(path, entry.info, writable=writable)


def listing_model(path: str, listing: Listing, children: Sequence[Model], *, writable: bool = True) -> Model:
    """A directory with its content."""
    model = directory_model(path, listing.modified, writable=writable)
    model["format"] = "json"
    model["content"] = children
    if listing.cut_after is not None:
        model["message"] = (
            f"This directory has more than {len(listing.entries)} entries; those after {keys.show(listing.cut_after)} are not shown."
        )
    return model


def read_text(path: str, data: bytes, format: str | None) -> tuple[str, str]:
    """A file's content as the Contents API sends it, and its format: text, or base64 where it is not UTF-8 or that was asked for.

    Raises:
        WrongTypeError: Text was asked for and it is none.
    """
    if format != "base64":
        try:
            return data.decode("utf-8"), "text"
        except UnicodeDecodeError:
            if format == "text":
                raise WrongTypeError(f"{keys.show(path)} is not UTF-8 encoded; ask for it in base64, or download it.") from None
    # Lines of 76 characters, as the standard library's encoder writes and other managers send.
    return pybase64.encodebytes(data).decode("ascii"), "base64"


def read_notebook(path: str, data: bytes, validation_error: dict[str, Any]) -> Any:
    """A notebook of the current format; what is invalid in it is told in `validation_error`.

    Raises:
        InvalidContentError: It cannot be read as a notebook at all.
    """
    try:
        return nbformat.reads(data.decode("utf-8"), as_version=4, capture_validation_error=validation_error)
    except Exception as error:  # nbformat raises whatever the content makes it stumble over
        raise InvalidContentError(
            f"Unreadable Notebook: {path} {_first_line(error)} (open it as text, or download it, to see what it holds)"
        ) from error


def notebook_bytes(content: Any, validation_error: dict[str, Any]) -> tuple[Any, bytes]:
    """A notebook node from a model's content, and the bytes to store.

    Raises:
        InvalidContentError: It is no notebook.
    """
    if not isinstance(content, dict):
        raise InvalidContentError("The content of a notebook is a JSON object; nothing was saved.")
    if not isinstance(content.get("nbformat"), int):
        raise InvalidContentError("The content has no format number (nbformat), so it is no notebook; nothing was saved.")
    try:
        node = nbformat.from_dict(content)
        text = notebook_text(node, validation_error)
        return node, (text if text.endswith("\n") else text + "\n").encode("utf-8")
    except Exception as error:  # as above
        raise InvalidContentError(f"This cannot be written as a notebook: {_first_line(error)}; nothing was saved.") from error


def file_bytes(content: Any, format: str | None) -> bytes:
    """The bytes of a file from a model's content.

    Raises:
        InvalidContentError: The format is neither text nor base64, or the content does not fit it.
    """
    if format not in ("text", "base64"):
        raise InvalidContentError("Must specify format of file contents as 'text' or 'base64'")
    if not isinstance(content, str):
        raise InvalidContentError("The content of a file is text; nothing was saved.")
    try:
        if format == "text":
            return content.encode("utf-8")
        # Line breaks are allowed in it, anything else foreign is refused.
        return pybase64.b64decode("".join(content.split()).encode("ascii"), validate=True)
    except (UnicodeError, binascii.Error, ValueError) as error:
        raise InvalidContentError(f"The content is not valid {format}: {_first_line(error)}; nothing was saved.") from None


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def empty_content(type: str) -> tuple[Any, str]:
    """Content and format of a new file or notebook."""
    return (new_notebook(), "json") if type == "notebook" else ("", "text")


def _base(path: str, type: str, modified: datetime, writable: bool) -> Model:
    return {
        "name": keys.split(path)[1],
        "path": path,
        "type": type,
        "created": modified,
        "last_modified": modified,
        "content": None,
        "format": None,
        "mimetype": None,
        "size": None,
        "writable": writable,
        "hash": None,
        "hash_algorithm": None,
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
