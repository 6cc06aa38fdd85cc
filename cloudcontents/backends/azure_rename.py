"""Renames in an Azure account with a hierarchical namespace (Data Lake Storage): directories and files in one atomic step.

By the account's other end point, ``….dfs.…``: Path - Create with ``x-ms-rename-source``, and ``If-None-Match: *`` so that nothing is
replaced (https://learn.microsoft.com/rest/api/storageservices/datalakestoragegen2/path/create). Whether the account has such a namespace
is asked once: by Get Account Information, and with a token, which that does not take, by Filesystem - Get Properties.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import requests

from cloudcontents.errors import NotFoundError, UnsupportedError
from cloudcontents.keys import show

from .azure_client import AzureConnection, LakeAccess
from .azure_errors import answer, failure
from .azure_names import check_readable, check_writable
from .interface import ALWAYS, IF_ABSENT

T = TypeVar("T")

_VERSION = "2023-11-03"
_TIMEOUT = (10, 120)

#: What the service says where the target's own directory is missing.
_NO_PARENT = "RenameDestinationParentPathNotFound"
_TAKEN = frozenset({"PathAlreadyExists", "TargetConditionNotMet", "ConditionNotMet", "BlobAlreadyExists"})
_MISSING = frozenset({"SourcePathNotFound", "PathNotFound", "RenameSourcePathNotFound", "BlobNotFound"})


class AzureRenames:
    """The renames of one container.

    Args:
        azure: The container's connection.
    """

    def __init__(self, azure: AzureConnection) -> None:
        self._azure = azure
        self._hierarchical: bool | None = None

    async def rename(self, src: str, dst: str) -> None:
        """See `Rename.rename`."""
        check_readable(src)
        check_writable(dst)
        if not await self._is_hierarchical():
            raise UnsupportedError("The account's namespace is flat: what is renamed is copied.")
        await self._run(lambda: self._rename(src.rstrip("/"), dst.rstrip("/")))

    async def _is_hierarchical(self) -> bool:
        if self._hierarchical is None:
            self._hierarchical = await self._run(self._look)
        return self._hierarchical

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await self._azure.threads.run(work)
        except Exception as error:
            # What requests raises is an OSError.
            raise failure(error, "", ALWAYS) from error

    def _look(self) -> bool:
        access = self._azure.lake()
        root = lake_endpoint(access.endpoint)
        if root is None:
            return False
        if access.informed is not None:
            return access.informed()
        status, headers = self._send("HEAD", f"{root}/{access.container}?resource=filesystem", access, {})
        if status >= 500:
            raise answer(headers.get("x-ms-error-code", ""), status, "", ALWAYS)
        return status == 200 and headers.get("x-ms-namespace-enabled", "").lower() == "true"

    def _rename(self, src: str, dst: str) -> None:
        access = self._azure.lake()
        root = lake_endpoint(access.endpoint)
        target = f"{root}/{access.container}/{quote(dst)}"
        source = f"/{access.container}/{quote(src)}" + (f"?{access.query}" if access.query else "")
        headers = {"x-ms-rename-source": source, "If-None-Match": "*"}
        continuation, made_parent = "", False
        while True:
            query = f"?continuation={quote(continuation, safe='')}" if continuation else ""
            status, reply = self._send("PUT", target + query, access, headers)
            code = reply.get("x-ms-error-code", "")
            if status < 300:
                continuation = reply.get("x-ms-continuation", "")
                if not continuation:
                    return
            elif code == _NO_PARENT and not made_parent:
                made_parent = True
                self._make_directory(f"{root}/{access.container}/{quote(dst.rpartition('/')[0])}", access)
            elif code in _MISSING:
                raise NotFoundError(f"{show(src)} does not exist.")
            elif code in _TAKEN or status == 412:
                raise answer("BlobAlreadyExists", 409, dst, IF_ABSENT)
            else:
                raise answer(code, status, src, ALWAYS)

    def _make_directory(self, address: str, access: LakeAccess) -> None:
        status, reply = self._send("PUT", f"{address}?resource=directory", access, {"If-None-Match": "*"})
        code = reply.get("x-ms-error-code", "")
        if status >= 300 and code not in _TAKEN and status != 412:
            raise answer(code, status, "", ALWAYS)

    def _send(
        self, method: str, address: str, access: LakeAccess, headers: dict[str, str]
    ) -> tuple[int, requests.structures.CaseInsensitiveDict[str]]:
        signed = f"{address}{'&' if '?' in address else '?'}{access.query}" if access.query else address
        everything = {"x-ms-version": _VERSION, "Content-Length": "0", **access.headers, **headers}
        with requests.request(method, signed, headers=everything, timeout=_TIMEOUT, allow_redirects=False) as response:
            return response.status_code, response.headers


def lake_endpoint(endpoint: str) -> str | None:
    """The Data Lake end point beside a blob end point: ``account.dfs.…`` for ``account.blob.…``; None for an address of another kind."""
    parts = urlsplit(endpoint)
    if ".blob." not in parts.netloc:
        return None
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(".blob.", ".dfs.", 1))).rstrip("/")
