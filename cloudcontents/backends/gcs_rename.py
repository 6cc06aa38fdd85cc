"""Renames in a Google bucket with a hierarchical namespace: folders and objects in one atomic step of the store.

By the JSON interface: buckets.getStorageLayout (asked once), folders.rename and its operation, folders.get, folders.insert, objects.move
(https://cloud.google.com/storage/docs/json_api/v1). A folder is renamed by metadata alone, however much is in it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from cloudcontents.errors import AlreadyExistsError, LockedError, NotFoundError, UnavailableError, UnsupportedError
from cloudcontents.keys import show

from .gcs_client import COPYING, GcsClient
from .gcs_errors import Refusal, failure
from .interface import ALWAYS, IF_ABSENT
from .sdk import SdkThreads

T = TypeVar("T")

#: Seconds between two looks at a rename that goes on after its answer: the first pause, and the longest.
_PAUSE, _LONGEST_PAUSE = 0.2, 2.0

#: Statuses by which a store says that it knows no layouts, or tells these credentials nothing of them.
_NO_LAYOUT = (400, 403, 404, 405, 501)

# Codes of google.rpc.Status, which a finished operation's error carries.
_NOT_FOUND, _EXISTS, _PRECONDITION = 5, 6, 9


class GcsRenames:
    """The renames of one bucket.

    Args:
        client: The bucket's requests.
        threads: Where they run.
    """

    def __init__(self, client: GcsClient, threads: SdkThreads) -> None:
        self._client = client
        self._threads = threads
        self._base = f"/storage/v1/b/{quote(client.bucket, safe='')}"
        self._hierarchical: bool | None = None

    async def rename(self, src: str, dst: str) -> None:
        """See `Rename.rename`."""
        if not await self._is_hierarchical(src):
            raise UnsupportedError("The bucket's namespace is flat: what is renamed is copied.")
        if not src.endswith("/"):
            await self._move_object(src, dst)
            return
        try:
            await self._rename_folder(src, dst)
        except _Missing as missing:
            if await self._folder(src) is None:
                if await self._is_empty(src):
                    raise NotFoundError(f"{show(src)} does not exist.") from missing
                raise UnsupportedError("What is below this prefix is no folder of the store's.") from missing
            await self._make_parent(dst)
            try:
                await self._rename_folder(src, dst)
            except _Missing:
                raise UnsupportedError("The store does not rename this folder.") from missing

    async def _is_hierarchical(self, src: str) -> bool:
        if self._hierarchical is None:
            # The permission is looked for below this prefix alone, as in the credentials of one user.
            params = {"prefix": src[: src.rstrip("/").rfind("/") + 1] or None, "fields": "hierarchicalNamespace"}
            try:
                layout = await self._threads.run(lambda: self._client.json("GET", f"{self._base}/storageLayout", params))
                self._hierarchical = bool(layout.get("hierarchicalNamespace", {}).get("enabled"))
            except Refusal as error:
                if error.status not in _NO_LAYOUT:
                    raise failure(error) from error
                self._hierarchical = False
            except Exception as error:
                raise failure(error) from error
        return self._hierarchical

    async def _move_object(self, src: str, dst: str) -> None:
        path = f"{self._client.object_path(src)}/moveTo/o/{quote(dst, safe='')}"
        try:
            await self._send("POST", path, {"ifGenerationMatch": "0", "fields": "generation"})
        except Refusal as error:
            raise failure(error, *((dst, IF_ABSENT) if error.status == 412 else (src, ALWAYS))) from error

    async def _rename_folder(self, src: str, dst: str) -> None:
        path = f"{self._base}/folders/{quote(src, safe='')}/renameTo/folders/{quote(dst, safe='')}"
        if not await self._is_empty(dst):
            raise _taken(dst)
        try:
            operation = await self._send("POST", path, {})
        except Refusal as error:
            if error.status == 404:
                raise _Missing from error
            if error.status in (409, 412):
                raise await self._in_the_way(dst) from error
            raise failure(error, src) from error
        pause = _PAUSE
        while not operation.get("done"):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            name = str(operation["name"]).rpartition("/")[2]
            try:
                operation = await self._send("GET", f"{self._base}/operations/{quote(name, safe='')}", {})
            except Refusal as error:
                raise failure(error) from error
        problem: Mapping[str, Any] = operation.get("error") or {}
        if not problem:
            return
        if problem.get("code") == _NOT_FOUND:
            raise _Missing
        if problem.get("code") in (_EXISTS, _PRECONDITION):
            raise await self._in_the_way(dst)
        raise UnavailableError(f"The store did not rename {show(src)} and put everything back (code {problem.get('code')}); try again.")

    async def _in_the_way(self, dst: str) -> Exception:
        if await self._folder(dst) is not None:
            return _taken(dst)
        return LockedError("Another operation is at work on this folder, or on one above it; try again in a moment.")

    async def _folder(self, key: str) -> Mapping[str, Any] | None:
        try:
            return await self._send("GET", f"{self._base}/folders/{quote(key, safe='')}", {"fields": "name"})
        except Refusal as error:
            if error.status == 404:
                return None
            raise failure(error, key) from error

    async def _make_parent(self, key: str) -> None:
        parent = key.rstrip("/").rpartition("/")[0]
        if not parent:
            return
        arguments: dict[str, Any] = {"headers": {"Content-Type": "application/json"}, "data": json.dumps({"name": f"{parent}/"}).encode()}
        try:
            await self._send("POST", f"{self._base}/folders", {"recursive": "true", "fields": "name"}, **arguments)
        except Refusal as error:
            if error.status != 409:  # it is there already
                raise failure(error, key) from error

    async def _is_empty(self, prefix: str) -> bool:
        params = {"prefix": prefix, "maxResults": 1, "fields": "items(name),nextPageToken"}
        try:
            reply = await self._send("GET", f"{self._base}/o", params)
        except Refusal as error:
            raise failure(error) from error
        return not reply.get("items")

    async def _send(self, method: str, path: str, params: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
        """Send a request; a `Refusal` comes as it is, everything else as an error of ours."""
        return await self._run(lambda: self._client.json(method, path, params, timeout=COPYING, **arguments))

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await self._threads.run(work)
        except Refusal:
            raise
        except Exception as error:
            raise failure(error) from error


class _Missing(Exception):
    """The store says of a rename that something is not there: the source, or what the target would lie in."""


def _taken(dst: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"{show(dst)} exists already.")
