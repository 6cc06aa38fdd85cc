"""Requests that others send to S3, signed by us: `Presign`, by the SDK's own query signatures."""

from __future__ import annotations

from typing import Any

from .interface import Backend
from .multipart import Upload
from .presign import SignedRequest, disposition, lifetime
from .s3_client import S3Connection
from .s3_multipart import base64_of


class S3Presign(Backend):
    """The part of `S3Backend` that signs for others.

    A signature binds all that is sent beside the bytes: a PUT's length, its SHA-256 where the store checks it, and its condition. The
    URL points to `public_endpoint` where the bucket's URL names one, and holds no longer than credentials that expire.
    """

    _store: S3Connection

    async def sign_get(self, key: str, *, expires_in: int = 900, filename: str | None = None) -> SignedRequest:
        """See `Presign.sign_get`. No header is needed. A HEAD is another verb, and refused."""
        return await self._sign("GET", "get_object", expires_in, Key=key, ResponseContentDisposition=disposition(filename))

    async def sign_put(self, key: str, *, size: int, checksum: str, expires_in: int = 900) -> SignedRequest:
        """See `Presign.sign_put`. Sent again after it was done, it is refused (412): the object is there."""
        arguments = {**self._store.write, **self._bound(size, checksum)}
        return await self._sign("PUT", "put_object", expires_in, Key=key, IfNoneMatch="*", **arguments)

    async def sign_part(self, upload: Upload, number: int, *, size: int, checksum: str, expires_in: int = 900) -> SignedRequest:
        """See `Presign.sign_part`. No object comes of it before `complete`."""
        arguments = {"Key": upload.key, "UploadId": upload.id, "PartNumber": number, **self._bound(size, checksum)}
        return await self._sign("PUT", "upload_part", expires_in, **arguments)

    def _bound(self, size: int, checksum: str) -> dict[str, Any]:
        return {"ContentLength": size, **({"ChecksumSHA256": base64_of(checksum)} if self._store.check else {})}

    async def _sign(self, verb: str, operation: str, expires_in: int, **arguments: Any) -> SignedRequest:
        url, headers, seconds = await self._store.sign(operation, {**self._store.every, **arguments}, lifetime(expires_in))
        return SignedRequest(verb, url, headers, seconds)
