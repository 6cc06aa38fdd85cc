"""Signed requests to Google Cloud Storage: V4 signatures, by the SDK and with the server's own credentials.

Bound by the signature: verb, object, time, and every header that is named: the size (`x-goog-content-length-range`), for a whole object
that none is there yet, class and key. Not bound is the checksum: the store compares CRC32C and MD5, and nobody has told us those. The name
of a part's object says the SHA-256 that its sender claimed; whoever has the URL can put other bytes of that size there until it expires.
A sender may add `Content-MD5`, which the store compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from google.auth.credentials import Signing

from cloudcontents.errors import UnsupportedError

from .body import sha256_of
from .gcs_client import GcsClient
from .gcs_errors import failure
from .gcs_multipart import CLASS
from .gcs_objects import check_found, check_name
from .multipart import Part, Upload
from .part_objects import part_name
from .presign import SignedRequest, disposition, lifetime
from .sdk import SdkThreads

_CANNOT = (
    "The server's Google credentials cannot sign. A service account's key can (?keyfile= or GOOGLE_APPLICATION_CREDENTIALS), and so can an "
    "impersonated service account (role Service Account Token Creator); a user's sign-in, a machine's own identity and anonymous access "
    "cannot."
)


class GcsSigner:
    """`Presign` of one bucket. An impersonated service account signs by a request to IAM; a key signs here.

    Args:
        client: The bucket's requests.
        threads: Where they run.
        storage_class: What objects are to be of, where that is configured.
        kms_key: What they are encrypted with, where that is configured.
        payer: The project that pays for requests, where that is configured.
    """

    def __init__(
        self, client: GcsClient, threads: SdkThreads, *, storage_class: str | None, kms_key: str | None, payer: str | None
    ) -> None:
        self._client = client
        self._threads = threads
        self._class = storage_class
        self._written = {"x-goog-encryption-kms-key-name": kms_key} if kms_key else {}
        # Whoever sends the request cannot be asked to pay.
        self._query = {"userProject": payer} if payer else {}

    async def sign_get(self, key: str, *, expires_in: int = 900, filename: str | None = None) -> SignedRequest:
        """See `Presign.sign_get`."""
        check_found(key)
        return await self._sign("GET", key, {}, expires_in, response_disposition=disposition(filename))

    async def sign_put(self, key: str, *, size: int, checksum: str, expires_in: int = 900) -> SignedRequest:
        """See `Presign.sign_put`. Bound: the size, and that nothing is there. A repeat of a request that was done answers 412."""
        check_name(key)
        headers = {**self._sized(size), "x-goog-if-generation-match": "0"}
        if self._class is not None:
            headers["x-goog-storage-class"] = self._class
        return await self._sign("PUT", key, headers, expires_in)

    async def sign_part(self, upload: Upload, number: int, *, size: int, checksum: str, expires_in: int = 900) -> SignedRequest:
        """See `Presign.sign_part`. Bound: the part's number and size. A repeat replaces it, which tells by the part's version."""
        name = part_name(upload, Part(number, size, "", f"sha256:{sha256_of(checksum).hex()}"))
        return await self._sign("PUT", name, {**self._sized(size), "x-goog-storage-class": CLASS}, expires_in)

    def _sized(self, size: int) -> dict[str, str]:
        return {**self._written, "x-goog-content-length-range": f"{size},{size}"}

    async def _sign(self, method: str, key: str, headers: Mapping[str, str], expires_in: int, **more: Any) -> SignedRequest:
        seconds = lifetime(expires_in)

        def work() -> str:
            client, credentials = self._client.signing()
            if not isinstance(credentials, Signing):
                raise UnsupportedError(_CANNOT)
            url: str = (
                client.bucket(self._client.bucket)
                .blob(key)
                .generate_signed_url(
                    version="v4",
                    expiration=timedelta(seconds=seconds),
                    method=method,
                    headers=dict(headers),
                    query_parameters=dict(self._query),
                    credentials=credentials,
                    **more,
                )
            )
            return url

        try:
            url = await self._threads.run(work)
        except Exception as error:
            raise failure(error, key) from error
        return SignedRequest(method, url, dict(headers), seconds)
