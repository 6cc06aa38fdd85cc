"""A stand-in for `pathlib.Path` whose input and output go to a bucket, for test suites that write to a server's root directory.

Its text is a real path below an empty directory, so that it can be `ServerApp.root_dir`; only what upstream's tests use is here.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Callable, Coroutine
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from asking import ask

from cloudcontents.backends import IF_ABSENT, Backend
from cloudcontents.errors import AlreadyExistsError, NotFoundError

T = TypeVar("T")


class BucketPath:
    """A key of a bucket that looks like a path.

    Args:
        bucket: The URL of the bucket.
        prefix: What stands for `root` in it. `..` leads out of it, as a path does.
        root: The empty directory.
        key: Below the prefix.
    """

    def __init__(self, bucket: str, prefix: str, root: Path, key: str = "") -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.root = root
        self.key = key.strip("/")

    def _below_root(self, key: str) -> BucketPath:
        return BucketPath(self.bucket, self.prefix, self.root, key)

    def _ask(self, call: Callable[[Backend, str], Coroutine[Any, Any, T]]) -> T:
        key = posixpath.normpath(f"{self.prefix}/{self.key}")
        return ask(self.bucket, lambda backend: call(backend, key))

    def at(self, path: str | os.PathLike[str]) -> BucketPath:
        """The place of the bucket that a path below `root` stands for."""
        below = str(PurePosixPath(path).relative_to(self.root))
        return self._below_root("" if below == "." else below)

    def joinpath(self, *parts: object) -> BucketPath:
        return self._below_root("/".join(filter(None, [self.key, *(str(part).strip("/") for part in parts)])))

    def __truediv__(self, part: object) -> BucketPath:
        # An absolute path within the root replaces this one, as with pathlib.
        return self.at(str(part)) if str(part).startswith(str(self.root)) else self.joinpath(part)

    def __str__(self) -> str:
        return str(self.root / self.key) if self.key else str(self.root)

    __fspath__ = __str__

    @property
    def parent(self) -> BucketPath | Path:
        return self._below_root(self.key.rpartition("/")[0]) if self.key else self.root.parent

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name if self.key else self.root.name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.key).suffix

    def relative_to(self, other: BucketPath) -> PurePosixPath:
        return PurePosixPath(self.key).relative_to(other.key)

    def as_posix(self) -> str:
        return str(self)

    def write_bytes(self, data: bytes) -> int:
        self._ask(lambda backend, key: backend.put(key, data))
        return len(data)

    def write_text(self, data: str, encoding: str = "utf-8") -> int:
        return self.write_bytes(data.encode(encoding))

    def is_file(self) -> bool:
        try:
            self._ask(lambda backend, key: backend.head(key))
        except NotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        if not self.key:
            return True
        page = self._ask(lambda backend, key: backend.list(f"{key}/", page_size=1))
        return bool(page.objects or page.prefixes)

    def exists(self) -> bool:
        return self.is_dir() or self.is_file()

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if not exist_ok and self.exists():
            raise FileExistsError(str(self))
        if self.key:
            with contextlib.suppress(AlreadyExistsError):
                self._ask(lambda backend, key: backend.put(f"{key}/", b"", when=IF_ABSENT))
