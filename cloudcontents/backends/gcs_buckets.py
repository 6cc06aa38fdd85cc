"""``gs://`` without a bucket: the buckets of a project, created and deleted only where the URL says so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from cloudcontents.config import StoreUrl
from cloudcontents.errors import AlreadyExistsError, ConfigurationError, DirectoryNotEmptyError, NotFoundError, PermissionDeniedError
from cloudcontents.keys import show

from .buckets import MANAGE, AccountBackend
from .gcs_client import OPTIONS, GcsClient
from .gcs_errors import Refusal, failure
from .interface import Backend
from .sdk import SdkThreads

T = TypeVar("T")

_PART = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{3,222}}\Z){_PART}(?:\.{_PART})*\Z")
_LONG = 63
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+\Z")

#: Where new buckets are: the place is chosen once, and never changes.
_LOCATION = "location"


class GcsBuckets(AccountBackend):
    """The buckets of one project. Credentials and options are those of `GcsBackend`."""

    rules = "A bucket's name has 3 to 63 lower-case letters, digits, hyphens, underscores and dots."
    own_options = frozenset({MANAGE, _LOCATION})

    def __init__(self, url: StoreUrl) -> None:
        super().__init__(url)
        url.check_options(OPTIONS | self.own_options)
        self._client = GcsClient(url)
        self._threads = SdkThreads("gcs")
        self._location = url.options.get(_LOCATION)

    def is_name(self, name: str) -> bool:
        """The store's rules; beyond 63 characters there is a dot."""
        return _NAME.match(name) is not None and (len(name) <= _LONG or "." in name) and _ADDRESS.match(name) is None

    def is_new_name(self, name: str) -> bool:
        """See `AccountBackend.is_new_name`."""
        return self.is_name(name) and not name.startswith("goog") and "google" not in name

    def open_named(self, url: StoreUrl) -> Backend:
        """See `AccountBackend.open_named`."""
        from .gcs import open_gcs  # it opens this one, too

        return open_gcs(url)

    async def list_buckets(self) -> Sequence[str]:
        """One request a thousand; ``storage.buckets.list`` of the project."""

        def work() -> Sequence[str]:
            names: list[str] = []
            token: str | None = None
            while True:
                params = {
                    "project": self._project(),
                    "maxResults": 1000,
                    "pageToken": token,
                    "fields": "items(name),nextPageToken",
                }
                reply = self._client.json("GET", "/storage/v1/b", params)
                names += [found["name"] for found in reply.get("items", ())]
                token = reply.get("nextPageToken")
                if not token:
                    return names

        try:
            return await self._call(work)
        except PermissionDeniedError as error:
            raise PermissionDeniedError(
                "The store does not tell these credentials which buckets there are (storage.buckets.list of the project). "
                "One whose name you know opens by its path."
            ) from error

    async def create(self, name: str) -> None:
        """Where `location` says, with uniform access (no access lists of single objects)."""
        described: dict[str, Any] = {"name": name, "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}}
        if self._location:
            described["location"] = self._location
        arguments: dict[str, Any] = {"headers": {"Content-Type": "application/json"}, "data": json.dumps(described).encode()}
        try:
            await self._call(lambda: self._client.json("POST", "/storage/v1/b", {"project": self._project()}, **arguments))
        except Exception as error:
            if _status(error) == 409:
                raise AlreadyExistsError(f"The name {show(name)} is taken, here or in another project; choose another one.") from error
            raise

    async def delete_empty(self, name: str) -> None:
        """The store refuses where anything is in it, old versions too."""
        try:
            await self._call(lambda: self._client.json("DELETE", f"/storage/v1/b/{quote(name, safe='')}", {}))
        except Exception as error:
            # 409; 412 of fake-gcs-server.
            if _status(error) in (409, 412):
                raise DirectoryNotEmptyError(
                    f"The bucket {show(name)} is not empty. What its trash and its checkpoints keep counts, and so do old versions."
                ) from error
            if _status(error) == 404:
                raise NotFoundError(f"There is no bucket {show(name)}.") from error
            raise

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._threads.run(self._client.close)
        await self._threads.close()

    def _project(self) -> str:
        told = self._client.project()
        if told is None:
            raise ConfigurationError(
                "Buckets are listed by project: name it in the URL (gs://?project=my-project) or in GOOGLE_CLOUD_PROJECT."
            )
        return told

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await self._threads.run(work)
        except Exception as error:
            raise failure(error) from error


def _status(error: Exception) -> int:
    cause = error.__cause__
    return cause.status if isinstance(cause, Refusal) else 0
