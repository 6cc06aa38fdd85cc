"""``az://account`` without a container: the containers of a storage account, created and deleted only where the URL says so."""

from __future__ import annotations

from collections.abc import Sequence

from azure.storage.blob import BlobServiceClient

from cloudcontents.config import StoreUrl
from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    CloudContentsError,
    DirectoryNotEmptyError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from cloudcontents.keys import show

from .azure_client import CONTAINER, OPTIONS, AzureConnection
from .azure_errors import error_code
from .buckets import MANAGE, AccountBackend
from .interface import Backend

#: What keeps a container from being empty, beside its blobs.
_EVERYTHING = ["snapshots", "versions", "uncommittedblobs"]


class AzureContainers(AccountBackend):
    """The containers of one storage account. Credentials and options are those of `AzureBackend`."""

    rules = "A container's name has 3 to 63 lower-case letters, digits and single hyphens."

    def __init__(self, url: StoreUrl) -> None:
        super().__init__(url)
        url.check_options(OPTIONS | {MANAGE})
        self._azure = AzureConnection(url)

    def is_name(self, name: str) -> bool:
        """See `AccountBackend.is_name`."""
        return CONTAINER.match(name) is not None

    def is_new_name(self, name: str) -> bool:
        """See `AccountBackend.is_new_name`."""
        return self.is_name(name)

    def open_named(self, url: StoreUrl) -> Backend:
        """See `AccountBackend.open_named`."""
        from .azure import open_azure  # it opens this one, too

        return open_azure(url)

    async def list_buckets(self) -> Sequence[str]:
        """One request for each 5,000; ``Microsoft.Storage/storageAccounts/blobServices/containers/read``."""

        def work(service: BlobServiceClient) -> Sequence[str]:
            return [str(found.name) for found in service.list_containers()]

        try:
            return await self._azure.call_account(work)
        except PermissionDeniedError as error:
            raise PermissionDeniedError(
                "The store does not tell these credentials which containers there are (a role at the account, or a SAS of the account). "
                "One whose name you know opens by its path."
            ) from error

    async def create(self, name: str) -> None:
        """Private: nobody reads it without credentials."""
        try:
            await self._azure.call_account(lambda service: service.create_container(name))
        except CloudContentsError as error:
            if error_code(error) == "ContainerAlreadyExists":
                raise AlreadyExistsError(f"The container {show(name)} exists already.") from error
            if error_code(error) == "ContainerBeingDeleted":
                raise UnavailableError(f"A container {show(name)} is still being deleted; try again in a minute.") from error
            raise

    async def delete_empty(self, name: str) -> None:
        """Two requests: the store would delete a full container, so a look comes first. What is written between the two goes with it."""

        def look(service: BlobServiceClient) -> bool:
            found = service.get_container_client(name).list_blobs(include=_EVERYTHING, results_per_page=1)
            return next(iter(found), None) is None

        try:
            if not await self._azure.call_account(look):
                raise DirectoryNotEmptyError(
                    f"The container {show(name)} is not empty. What its trash and its checkpoints keep counts, and so do old versions."
                )
            await self._azure.call_account(lambda service: service.delete_container(name))
        except BucketNotFoundError as error:
            raise NotFoundError(f"There is no container {show(name)}.") from error

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._azure.close()
