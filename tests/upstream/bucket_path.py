"""A stand-in for `pathlib.Path` whose input and output go to a bucket, for test suites that write to a server's root directory.

Its text is a real path below an empty directory, so that it can be `ServerApp.root_dir`; only what upstream's tests use is here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from cloudcontents.backends import Backend
from cloudcontents.errors import NotFoundError
from cloudcontents.registry import open_backend

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from anywhere, also where a loop is running."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, coroutine).result()


def ask(url: str, call: Callable[[Backend], Coroutine[Any, Any, T]]) -> T:
    """Make one call to a bucket, and close it."""

    async def asked() -> T:
        backend = open_backend(url)
        try:
            return await call(backend)
        finally:
            await backend.close()

    return run(asked())


class BucketPath:
    """A key of a bucket that looks like a path below `root`."""

    def __init__(self, url: str, root: Path, key: str = "") -> None:
        self.url = url
        self.root = root
        self.key = key.strip("/")

    def at(self, path: str | os.PathLike[str]) -> BucketPath:
        """The place of the bucket that a path below `root` stands for."""
        return BucketPath(self.url, self.root, str(PurePosixPath(path).relative_to(self.root)).removeprefix("."))

    def joinpath(self, *parts: object) -> BucketPath:
        return BucketPath(self.url, self.root, "/".join(filter(None, [self.key, *(str(part).strip("/") for part in parts)])))

    def __truediv__(self, part: object) -> BucketPath:
        # An absolute path within the root replaces this one, as with pathlib.
        return self.at(str(part)) if str(part).startswith(str(self.root)) else self.joinpath(part)

    def __str__(self) -> str:
        return str(self.root / self.key) if self.key else str(self.root)

    __fspath__ = __str__

    @property
    def parent(self) -> BucketPath | Path:
        return BucketPath(self.url, self.root, self.key.rpartition("/")[0]) if self.key else self.root.parent

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
        ask(self.url, lambda backend: backend.put(self.key, data))
        return len(data)

    def write_text(self, data: str, encoding: str = "utf-8") -> int:
        return self.write_bytes(data.encode(encoding))

    def is_file(self) -> bool:
        try:
            ask(self.url, lambda backend: backend.head(self.key))
        except NotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        if not self.key:
            return True
        page = ask(self.url, lambda backend: backend.list(f"{self.key}/", page_size=1))
        return bool(page.objects or page.prefixes)

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.exists():
            if not exist_ok:
                raise FileExistsError(str(self))
            return
        ask(self.url, lambda backend: backend.put(f"{self.key}/", b""))
