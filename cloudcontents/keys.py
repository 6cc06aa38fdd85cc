"""Names: the one place where an API path or a key is validated, joined or taken apart.

An *API path* is what Jupyter sees (``a/b.ipynb``, no slash at either end, "" the root). A *key* is what the store sees. Within a
bucket the two are the same text; a configured prefix is put before it by `cloudcontents.backends.prefix`, and nowhere else. Names
are never altered: no folding of case or Unicode, no replaced characters. A name that cannot be is refused.
"""

from __future__ import annotations

import re

from .errors import InvalidPathError, OutsideRootError

#: The segment that holds what is ours, reserved at every depth (another server may root at a subdirectory).
RESERVED = ".cloudcontents"

#: Bytes of a key kept free for what the reserved prefix puts around a path, so that each file we create can have checkpoints.
RESERVED_BYTES = 160

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ID = re.compile(r"[A-Za-z0-9][\w-]{0,127}\Z", re.ASCII)


def clean(path: str, *, reserved: bool = False) -> str:
    """Return the canonical form of an API path, or refuse it.

    One slash at either end is dropped, as Jupyter sends both forms; nothing else changes.

    Args:
        path: The path as a client sent it, percent-decoded.
        reserved: Whether the reserved segment is allowed (for our own objects only).

    Raises:
        OutsideRootError: A ``..`` segment.
        InvalidPathError: An empty or ``.`` segment, a control character, text that is not UTF-8, or the reserved segment.
    """
    if not isinstance(path, str):
        raise InvalidPathError(f"A path is text, not {type(path).__name__}.")
    name = path[1:] if path.startswith("/") else path
    name = name.removesuffix("/")
    if not name:
        return ""
    if _CONTROL.search(name):
        raise InvalidPathError(f"{show(path)} holds a control character; use a name without it.")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidPathError(f"{show(path)} is not valid Unicode text; use another name.") from None
    segments = name.split("/")
    if ".." in segments:
        raise OutsideRootError(f"{show(path)} does not exist.")
    if "" in segments or "." in segments:
        raise InvalidPathError(f"{show(path)} holds an empty or '.' segment; name the path without it.")
    if not reserved and any(is_reserved_segment(segment) for segment in segments):
        raise InvalidPathError(f"{show(path)} uses the reserved name {RESERVED!r}; use another name.")
    return name


def check_new(path: str, *, max_bytes: int, max_segment_bytes: int | None = None) -> str:
    """Return the canonical form of a path that is about to be created; `clean`, and short enough to have checkpoints.

    Args:
        path: The path.
        max_bytes: The longest key that the bucket takes (its own prefix already taken off).
        max_segment_bytes: The longest segment, or None.

    Raises:
        InvalidPathError: Not a good name, or too long; the message says the limit.
    """
    name = clean(path)
    limit = max_bytes - RESERVED_BYTES
    if len(name.encode()) > limit:
        raise InvalidPathError(f"{show(path)} is too long: this bucket takes paths of at most {limit} bytes.")
    if max_segment_bytes is not None:
        for segment in name.split("/"):
            if len(segment.encode()) > max_segment_bytes:
                raise InvalidPathError(f"{show(segment)} is too long: this bucket takes names of at most {max_segment_bytes} bytes.")
    return name


def is_reserved_segment(segment: str) -> bool:
    """Whether a segment is ours. Compared without case, since some disks do so too."""
    return segment.casefold() == RESERVED


def is_reserved(path: str) -> bool:
    """Whether any segment of a path or key is ours."""
    return RESERVED in path.casefold() and any(is_reserved_segment(s) for s in path.split("/"))


def is_hidden(path: str) -> bool:
    """Whether any segment starts with a dot, or is ours. By name only: no request."""
    return any(segment.startswith(".") for segment in path.strip("/").split("/"))


def is_nameable(key: str) -> bool:
    """Whether an API path can name this key (a trailing slash is a directory's marker)."""
    try:
        return clean(key, reserved=True) == key.removesuffix("/")
    except InvalidPathError:
        return False


def join(*parts: str) -> str:
    """Join canonical paths; empty ones vanish."""
    return "/".join(part for part in parts if part)


def split(path: str) -> tuple[str, str]:
    """Take a canonical path apart into its parent and its last segment."""
    parent, _, name = path.rpartition("/")
    return parent, name


def as_prefix(path: str) -> str:
    """The prefix of everything below a directory: ends in a slash, so that ``exp`` never means ``exp2`` or ``exp.csv``."""
    return f"{path}/" if path else ""


def is_within(path: str, directory: str) -> bool:
    """Whether a canonical path is a directory or lies below it; by segments, never by characters."""
    return not directory or path == directory or path.startswith(f"{directory}/")


def reserved_key(*parts: str) -> str:
    """The key of something of ours: ``.cloudcontents/…``."""
    return join(RESERVED, *parts)


def companion_prefix(kind: str, path: str) -> str:
    """The prefix of what belongs to a *file*, as its checkpoints: ``.cloudcontents/<kind>/<path>/.cloudcontents/``.

    The inner reserved segment tells ``d``'s own from those of ``d/f``.
    """
    return f"{RESERVED}/{kind}/{as_prefix(path)}{RESERVED}/"


def companion_tree(kind: str, path: str) -> str:
    """The prefix of what belongs to a path *and all below it*, so that it moves with its directory as one."""
    return f"{RESERVED}/{kind}/{as_prefix(path)}"


def check_id(value: str, what: str = "id") -> str:
    """Return an identifier of ours (checkpoint, conflict, trash entry), or refuse it.

    Raises:
        InvalidPathError: Anything but ASCII letters, digits, ``_`` and ``-``.
    """
    if not _ID.match(value):
        raise InvalidPathError(f"{show(value)} is not a valid {what}: letters, digits, '_' and '-' only.")
    return value


def show(name: object) -> str:
    """A name fit for messages and logs: quoted, escaped, cut at 200 characters."""
    text = ascii(str(name)) if not str(name).isprintable() else f"'{name}'"
    return text if len(text) <= 200 else f"{text[:199]}…"
