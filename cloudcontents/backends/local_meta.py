"""What a file cannot hold, its content type and metadata, in a side file that is bound to the file's version.

The side file of ``a/b`` is ``.cloudcontents/meta/a/b``: JSON from version to what belongs to it. It is written before the file is
replaced and keeps the entry of the version that still stands, so that a crash between the two loses neither. An edit by another
program makes a version that has no entry.
"""

from __future__ import annotations

import contextlib
import json
import mimetypes
import os
import secrets
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcontents.keys import RESERVED

from .local_files import Root, look, version_of

_TOP = (RESERVED, "meta")
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Side:
    """What belongs to one version of a file."""

    content_type: str | None
    metadata: Mapping[str, str]


def guess_type(name: str) -> str | None:
    """The content type that a name says, which needs no side file."""
    return "application/x-ipynb+json" if name.endswith(".ipynb") else mimetypes.guess_type(name)[0]


def read_side(root: Root, names: Sequence[str], version: str) -> Side:
    """What belongs to a file's version; what its name says where nothing is kept."""
    entry = _load(root, names).get(version)
    if entry is None:
        return Side(guess_type(names[-1]), {})
    return Side(entry.get("type"), entry.get("metadata") or {})


def write_side(root: Root, names: Sequence[str], current: str | None, version: str, side: Side) -> None:
    """Keep what belongs to a version that is about to be published, if its name does not say it all. Durable on return.

    Args:
        root: The bucket.
        names: The file's segments.
        current: The version that stands until then, or None.
        version: The version to come.
        side: What belongs to it.
    """
    content_type = side.content_type or guess_type(names[-1])
    if not side.metadata and content_type == guess_type(names[-1]):
        return
    kept = {key: entry for key, entry in _load(root, names).items() if key == current}
    kept[version] = {"type": content_type, "metadata": dict(side.metadata)}
    data = json.dumps(kept, ensure_ascii=True).encode()
    _clear_way(root, names)
    with root.directory((*_TOP, *names[:-1]), create=True) as directory:
        part = f".{secrets.token_hex(8)}.part"
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o666, dir_fd=directory)
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(file)
            os.replace(part, names[-1], src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=directory)
            raise
        os.fsync(directory)


def move_side(root: Root, src: Sequence[str], dst: Sequence[str]) -> None:
    """Let the side files follow a renamed file or directory; what cannot follow is void, not wrong."""
    with contextlib.suppress(OSError), root.directory((*_TOP, *src[:-1])) as source:
        if look(src[-1], source) is None:
            return
        _clear_way(root, dst)
        with root.directory((*_TOP, *dst[:-1]), create=True) as target:
            _remove(dst[-1], target)
            os.rename(src[-1], dst[-1], src_dir_fd=source, dst_dir_fd=target)


def drop_side(root: Root, names: Sequence[str]) -> None:
    """Forget what belonged to a deleted file or an empty directory, and the empty directories that leaves."""
    for depth in range(len(names), 0, -1):
        try:
            with root.directory((*_TOP, *names[: depth - 1])) as directory:
                found = look(names[depth - 1], directory)
                if found is not None and stat.S_ISDIR(found.st_mode):
                    os.rmdir(names[depth - 1], dir_fd=directory)
                elif found is not None:
                    os.unlink(names[depth - 1], dir_fd=directory)
        except OSError:
            return


def sweep_sides(root: Root, older_than: float) -> int:
    """Remove side files that no file's version answers to and that were last written long ago.

    Returns:
        How many were removed.
    """
    removed = 0
    try:
        with root.directory(_TOP) as top:
            for names in _side_names(top):
                removed += _sweep_one(root, top, names, older_than)
    except FileNotFoundError:
        return removed
    return removed


def _side_names(top: int) -> list[list[str]]:
    return [
        [*([] if path == "." else path.removeprefix("./").split("/")), file]
        for path, _, files, _ in os.fwalk(".", dir_fd=top, follow_symlinks=False)
        for file in files
    ]


def _sweep_one(root: Root, top: int, names: list[str], older_than: float) -> int:
    with contextlib.suppress(OSError):
        status = os.stat("/".join(names), dir_fd=top, follow_symlinks=False)
        if time.time() - status.st_mtime < older_than:
            return 0
        with root.locked("/".join(names)):
            with contextlib.suppress(OSError), root.directory(names[:-1]) as directory:
                found = look(names[-1], directory)
                if found is not None and version_of(found) in _load(root, names):
                    return 0
            drop_side(root, names)
            return 1
    return 0


def _load(root: Root, names: Sequence[str]) -> dict[str, Any]:
    try:
        with root.directory((*_TOP, *names[:-1])) as directory:
            file = os.open(names[-1], os.O_RDONLY | os.O_NONBLOCK | _FILE, dir_fd=directory)
            with os.fdopen(file, "rb") as stream:
                found = json.loads(stream.read(_LARGEST))
    except (OSError, ValueError):
        return {}
    return {key: entry for key, entry in found.items() if isinstance(entry, dict)} if isinstance(found, dict) else {}


def _clear_way(root: Root, names: Sequence[str]) -> None:
    """Remove side files whose place is needed: a file that was ``a`` is void once ``a/b`` exists, and the other way round."""
    for depth in range(1, len(names) + 1):
        last = depth == len(names)
        try:
            with root.directory((*_TOP, *names[: depth - 1])) as directory:
                found = look(names[depth - 1], directory)
                if found is not None and stat.S_ISDIR(found.st_mode) == last:
                    _remove(names[depth - 1], directory)
        except FileNotFoundError:
            return


def _remove(name: str, directory: int) -> None:
    found = look(name, directory)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        for _, directories, files, at in os.fwalk(name, topdown=False, dir_fd=directory):
            for file in files:
                os.unlink(file, dir_fd=at)
            for below in directories:
                os.rmdir(below, dir_fd=at)
        os.rmdir(name, dir_fd=directory)
    else:
        os.unlink(name, dir_fd=directory)
