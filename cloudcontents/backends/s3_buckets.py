"""``s3://`` without a bucket: the buckets of an account, created and deleted only where the URL says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cloudcontents.config import StoreUrl
from cloudcontents.errors import AlreadyExistsError, CloudContentsError, DirectoryNotEmptyError, NotFoundError, PermissionDeniedError
from cloudcontents.keys import show

from .buckets import MANAGE, AccountBackend
from .interface import Backend
from .s3_client import OPTIONS, S3Connection
from .s3_errors import error_code

# Before 2018 North Virginia took up to 255 characters, capitals and underscores.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]\Z")
_NEW = re.compile(r"[a-z0-9](?:[a-z0-9]|\.(?!\.)|-){1,61}[a-z0-9]\Z")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+\Z")
_TAKEN_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_TAKEN_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")

#: Buckets that one reply holds; without it Amazon lists no account of more than 10,000.
_PAGE = 1000


class S3Buckets(AccountBackend):
    """The buckets of an account. Credentials and options are those of `S3Backend`."""

    rules = "A bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens."

    def __init__(self, url: StoreUrl) -> None:
        super().__init__(url)
        url.check_options(OPTIONS | {MANAGE})
        self._s3 = S3Connection(url)

    def is_name(self, name: str) -> bool:
        """See `AccountBackend.is_name`."""
        return _NAME.match(name) is not None

    def is_new_name(self, name: str) -> bool:
        """The rules of general purpose buckets."""
        return (
            _NEW.match(name) is not None
            and _ADDRESS.match(name) is None
            and not name.startswith(_TAKEN_STARTS)
            and not name.endswith(_TAKEN_ENDS)
        )

    def open_named(self, url: StoreUrl) -> Backend:
        """See `AccountBackend.open_named`."""
        from .s3 import S3Backend  # its module opens this one

        return S3Backend(url, beside=self._s3)

    async def list_buckets(self) -> Sequence[str]:
        """One request a thousand; ``s3:ListAllMyBuckets``."""
        names: list[str] = []
        # Only Amazon's own is known to page.
        arguments: dict[str, Any] = {"MaxBuckets": _PAGE} if self._s3.amazon else {}
        while True:
            try:
                reply = await self._s3.call(lambda s3: s3.list_buckets(**arguments))
            except PermissionDeniedError as error:
                raise PermissionDeniedError(
                    "The store does not tell these credentials which buckets there are (s3:ListAllMyBuckets). "
                    "One whose name you know opens by its path."
                ) from error
            names += [found["Name"] for found in reply.get("Buckets", ())]
            token = reply.get("ContinuationToken")
            if not token:
                return names
            arguments["ContinuationToken"] = token

    async def create(self, name: str) -> None:
        """In the region of the URL, or of the SDK's configuration."""

        def work(s3: Any) -> Any:
            region = s3.meta.region_name
            # The one region that is not named.
            place = {} if region in ("us-east-1", "aws-global") else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            return s3.create_bucket(Bucket=name, **place)

        try:
            await self._s3.call(work)
        except CloudContentsError as error:
            if error_code(error) == "BucketAlreadyOwnedByYou":
                raise AlreadyExistsError(f"The bucket {show(name)} exists already.") from error
            if error_code(error) == "BucketAlreadyExists":
                raise AlreadyExistsError(f"Somebody has a bucket {show(name)} already; choose another name.") from error
            raise

    async def delete_empty(self, name: str) -> None:
        """The store refuses where anything is in it, versions and unfinished uploads too."""
        try:
            await self._s3.call(lambda s3: s3.delete_bucket(Bucket=name))
        except CloudContentsError as error:
            if error_code(error) == "BucketNotEmpty":
                raise DirectoryNotEmptyError(
                    f"The bucket {show(name)} is not empty. What its trash and its checkpoints keep counts, and so do old versions."
                ) from error
            if error_code(error) == "NoSuchBucket":
                raise NotFoundError(f"There is no bucket {show(name)}.") from error
            raise

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._s3.close()
