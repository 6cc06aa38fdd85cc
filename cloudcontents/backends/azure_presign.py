"""Signed requests to Azure Blob Storage: a shared access signature for one blob and one permission, for a short time.

Bound by the signature: the blob, what may be done with it, time, HTTPS, and how a download is named. Not bound are length, checksum,
headers and the query, the block's name in it: who holds the URL of a part can put any block of the upload's private blob, or commit it,
until the URL expires, and so can spoil this one upload; never the target, which is only written when the server completes the upload.
A sender may add `Content-MD5`, which the store compares.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from azure.storage.blob import BlobSasPermissions, ContainerClient

from cloudcontents.errors import TooLargeError
from cloudcontents.keys import show

from .azure_client import ONE_REQUEST, AzureConnection
from .azure_multipart import block_name, staging_blob
from .azure_names import check_readable, check_writable
from .body import sha256_of
from .multipart import Upload
from .presign import SignedRequest, disposition, lifetime


class AzureSigner:
    """`Presign` of one container: with the account's key, or by a request now and then for a key that the store lends to an identity.

    Args:
        azure: The way to the container.
    """

    def __init__(self, azure: AzureConnection) -> None:
        self._azure = azure

    async def sign_get(self, key: str, *, expires_in: int = 900, filename: str | None = None) -> SignedRequest:
        """See `Presign.sign_get`. Its holder may send a HEAD as well."""
        check_readable(key)
        may = BlobSasPermissions(read=True)
        return await self._sign("GET", key, may, expires_in, {}, content_disposition=disposition(filename))

    async def sign_put(self, key: str, *, size: int, checksum: str, expires_in: int = 900) -> SignedRequest:
        """See `Presign.sign_put`. Bound: that nothing is there, since its holder may create a blob and not replace one (403).

        Raises:
            TooLargeError: More than the store takes in one request.
        """
        check_writable(key)
        sha256_of(checksum)
        if size > ONE_REQUEST:
            raise TooLargeError(f"{show(key)} is larger than the store takes in one request; send it in parts.")
        headers = {"x-ms-blob-type": "BlockBlob", "If-None-Match": "*"}
        if "standard_blob_tier" in self._azure.tier:
            headers["x-ms-access-tier"] = self._azure.tier["standard_blob_tier"].value
        return await self._sign("PUT", key, BlobSasPermissions(create=True), expires_in, headers, **self._azure.scope)

    async def sign_part(self, upload: Upload, number: int, *, size: int, checksum: str, expires_in: int = 900) -> SignedRequest:
        """See `Presign.sign_part`."""
        block = base64.b64encode(block_name(number, checksum).encode()).decode()
        query = f"comp=block&blockid={quote(block, safe='')}&"
        may = BlobSasPermissions(write=True)
        return await self._sign("PUT", staging_blob(upload), may, expires_in, {}, query, **self._azure.scope)

    async def _sign(
        self,
        method: str,
        key: str,
        may: BlobSasPermissions,
        expires_in: int,
        headers: Mapping[str, str],
        query: str = "",
        **more: Any,
    ) -> SignedRequest:
        seconds = lifetime(expires_in)

        def work(container: ContainerClient) -> str:
            return f"{container.get_blob_client(key).url}?{query}{self._azure.sas(key, may, seconds, **more)}"

        return SignedRequest(method, await self._azure.call(work, key), headers, seconds)
