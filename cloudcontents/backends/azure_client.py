"""The way to Azure Blob Storage: what a URL's options mean, whose credentials are used, the client, and how a call is run.

Credentials are looked for in the environment, then by the SDK's `DefaultAzureCredential`. A refusal of the credentials looks them up
again, once.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import requests
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import (
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    StandardBlobTier,
    UserDelegationKey,
    generate_blob_sas,
    generate_container_sas,
)
from requests.adapters import HTTPAdapter

from cloudcontents import redact
from cloudcontents.config import StoreUrl
from cloudcontents.errors import ConfigurationError, UnsupportedError

from .azure_errors import failure, is_about_credentials
from .interface import ALWAYS, When
from .sdk import SdkThreads

if TYPE_CHECKING:
    from azure.identity import DefaultAzureCredential

T = TypeVar("T")

OPTIONS = frozenset({"endpoint_url", "anonymous", "encryption_scope", "tier"})

#: Most bytes that one Put Blob or Put Blob From URL takes.
ONE_REQUEST = 5_000 * 2**20

#: Seconds to connect, and that a reply may stand still; while the store copies, none comes.
_CONNECT, _READ, _READ_LONG = 10, 60, 600

#: A connection for each thread, and some for bodies that are being read.
_CONNECTIONS = 64

#: Seconds that a server-side copy may read its source.
_SOURCE_SECONDS = 3600

#: How long a key is borrowed that signs for a token: twice what a signed request may hold.
_LENT = timedelta(hours=2)

_CANNOT_SIGN = (
    "The server's Azure credentials cannot sign. The account's key can (AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_KEY), and so can "
    "an identity with the role Storage Blob Delegator; a SAS and anonymous access cannot."
)

_SCOPE = "https://storage.azure.com/.default"
_TIERS = {"hot": StandardBlobTier.HOT, "cool": StandardBlobTier.COOL, "cold": StandardBlobTier.COLD}
_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9-]{1,62}\Z")
CONTAINER = re.compile(r"(\$root|\$web|(?=.{3,63}\Z)[a-z0-9](-?[a-z0-9])*)\Z")

#: The account that every Azurite has, with the key that its documentation prints: no secret.
_EMULATOR = "devstoreaccount1"
_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_EMULATOR_ENDPOINT = f"http://127.0.0.1:10000/{_EMULATOR}"


@dataclass(frozen=True)
class Access:
    """Where the account is and what opens it: exactly one of `key` and `sas`, or `token`, or nothing for an anonymous client."""

    endpoint: str
    key: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)
    token: bool = False


@dataclass(frozen=True)
class LakeAccess:
    """Where a container is and what a request to it carries.

    Attributes:
        endpoint: The account's blob end point.
        container: The container.
        query: A SAS, or "".
        headers: A token, or nothing.
        informed: Asks the account whether its namespace is hierarchical; None with a token, which that question does not take.
    """

    endpoint: str
    container: str
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    informed: Callable[[], bool] | None = None


class AzureConnection:
    """One container's connection, or that of a whole account: makes no request and no client before the first call.

    Args:
        url: The bucket's URL with its options.

    Attributes:
        account: The storage account.
        container: The container; "" in the connection of an account.
        write: Arguments of every call that makes a blob.
        scope: The encryption scope among them, which blocks need too.
        tier: The tier among them.

    Raises:
        ConfigurationError: The URL or an option cannot be.
    """

    def __init__(self, url: StoreUrl) -> None:
        self.account, _, self.container = url.bucket.partition("/")
        if not _ACCOUNT.match(self.account) or (self.container and not CONTAINER.match(self.container)):
            raise ConfigurationError("An az:// URL names its storage account and container: az://account/container or …/container/prefix.")
        self.threads = SdkThreads("azure")
        self._endpoint = _full_endpoint(url.options.get("endpoint_url"), self.account)
        self._anonymous = url.flag("anonymous")
        self.scope: dict[str, Any] = {}
        if "encryption_scope" in url.options:
            self.scope["encryption_scope"] = url.options["encryption_scope"]
        self.tier: dict[str, Any] = {}
        if "tier" in url.options:
            tier = _TIERS.get(url.options["tier"].lower())
            if tier is None:
                raise ConfigurationError("tier is Hot, Cool or Cold (a blob in the archive tier cannot be read).")
            self.tier["standard_blob_tier"] = tier
        self.write = {**self.scope, **self.tier}
        self._lock = threading.Lock()
        self._made: _Client | None = None

    async def call(self, work: Callable[[ContainerClient], T], key: str = "", when: When = ALWAYS) -> T:
        """Run one SDK call in a thread, with the credentials looked up again once where the store refuses them.

        Args:
            work: The call.
            key: What it is about, for the message of its failure.
            when: The condition that it carries.

        Raises:
            CloudContentsError: What the failure means.
        """
        return await self._call(lambda made: work(made.service.get_container_client(self.container)), key, when)

    async def call_account(self, work: Callable[[BlobServiceClient], T]) -> T:
        """As `call`, for what is about the account."""
        return await self._call(lambda made: work(made.service), "", ALWAYS)

    async def _call(self, work: Callable[[_Client], T], key: str, when: When) -> T:
        def run() -> T:
            made = self._client()
            try:
                return work(made)
            except HttpResponseError as error:
                if not is_about_credentials(error) or not self._renewed(made):
                    raise
            return work(self._client())

        try:
            return await self.threads.run(run)
        except Exception as error:
            raise failure(error, key, when) from error

    def source(self, key: str, *, same_account: bool = False) -> dict[str, Any]:
        """The arguments by which a server-side copy finds its source and may read it. Blocks: call it in a thread.

        Args:
            key: The source.
            same_account: The operation reaches its own account's blobs with the key that its request was signed with.
        """
        made = self._client()
        url = made.service.get_blob_client(self.container, key).url
        if made.access.key and not same_account:
            return {"source_url": f"{url}?{self.sas(key, BlobSasPermissions(read=True), _SOURCE_SECONDS)}"}
        if made.access.sas:
            return {"source_url": f"{url}?{made.access.sas}"}
        if made.token is not None:
            return {"source_url": url, "source_authorization": f"Bearer {made.token.get_token(_SCOPE).token}"}
        return {"source_url": url}

    def lake(self) -> LakeAccess:
        """What opens the container at the account's Data Lake end point, for requests that the SDK has no call for. Blocks."""
        made = self._client()

        def informed() -> bool:
            try:
                told = made.service.get_container_client(self.container).get_account_information()
            except HttpResponseError as error:
                if error.status_code is None or error.status_code >= 500:
                    raise failure(error, "", ALWAYS) from error
                return False  # the store has no such thing, or tells these credentials nothing
            return bool(told.get("is_hns_enabled", False))

        endpoint, query = made.access.endpoint, made.access.sas
        if made.token is not None:
            return LakeAccess(endpoint, self.container, headers={"Authorization": f"Bearer {made.token.get_token(_SCOPE).token}"})
        if made.access.key:
            query = generate_container_sas(
                self.account,
                self.container,
                account_key=made.access.key,
                permission=ContainerSasPermissions(read=True, create=True, write=True, delete=True, move=True),
                expiry=datetime.now(timezone.utc) + timedelta(hours=1),
            )
        return LakeAccess(endpoint, self.container, query, informed=informed)

    def sas(self, key: str, permission: BlobSasPermissions, seconds: int, **more: Any) -> str:
        """A shared access signature for one blob, by the account's key or, with a token, by a key that the store lends for it. Blocks.

        Args:
            key: The blob.
            permission: What its holder may do.
            seconds: For how long from now.
            more: What else it says, as `generate_blob_sas` takes it.

        Raises:
            UnsupportedError: These credentials cannot sign.
        """
        made = self._client()
        until = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        signer: dict[str, Any]
        if made.access.key:
            signer = {"account_key": made.access.key}
        elif made.token is not None:
            signer = {"user_delegation_key": made.delegation_key(until)}
        else:
            raise UnsupportedError(_CANNOT_SIGN)
        if made.access.endpoint.startswith("https://"):
            signer["protocol"] = "https"
        return generate_blob_sas(self.account, self.container, key, permission=permission, expiry=until, **signer, **more)

    async def close(self) -> None:
        """End connections and threads. Safe to repeat; a later call makes new ones."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            await self.threads.run(made.close)
        await self.threads.close()

    # --- the client ---------------------------------------------------------------------------------------------------------

    def _client(self) -> _Client:
        with self._lock:
            if self._made is None:
                self._made = self._connected(self._access())
            return self._made

    def _renewed(self, made: _Client) -> bool:
        """Whether the environment has other credentials than this client's by now; if so, a new client uses them."""
        fresh = self._access()
        with self._lock:
            if self._made is not made:
                return True  # by another thread
            if fresh == made.access:
                return False
            # Others may still be using it; it closes itself when the last one is done.
            self._made = None
            return True

    def _access(self) -> Access:
        found = find_access(self.account, self._endpoint, anonymous=self._anonymous, environment=os.environ)
        if found.key != _EMULATOR_KEY:
            redact.register(found.key, *(part.partition("=")[2] for part in found.sas.split("&") if part.startswith("sig=")))
        return found

    def _connected(self, access: Access) -> _Client:
        token: DefaultAzureCredential | None = None
        credential: AzureNamedKeyCredential | AzureSasCredential | DefaultAzureCredential | None = None
        if access.key:
            credential = AzureNamedKeyCredential(self.account, access.key)
        elif access.sas:
            credential = AzureSasCredential(access.sas)
        elif access.token:
            # Takes a second to import: only where it is needed.
            from azure.identity import DefaultAzureCredential

            credential = token = DefaultAzureCredential()
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS, max_retries=0))
        service = BlobServiceClient(
            access.endpoint,
            credential=credential,
            transport=RequestsTransport(session=session, connection_timeout=_CONNECT, read_timeout=_READ),
            # Retries are `Bucket`'s affair: here one more try would make a lost reply look like a conflict.
            retry_total=0,
            max_single_put_size=ONE_REQUEST,
            # A download is one request, and read as a stream; see `azure_download`.
            max_single_get_size=2**50,
        )
        return _Client(service, access, token)


@dataclass
class _Client:
    service: BlobServiceClient
    access: Access
    token: DefaultAzureCredential | None
    # A key that the store lends, and until when.
    lent: tuple[datetime, UserDelegationKey] | None = None

    def delegation_key(self, until: datetime) -> UserDelegationKey:
        """A key that holds until then, by a request where there is none. Blocks. Two at once ask twice, which does no harm."""
        lent = self.lent
        if lent is None or lent[0] < until:
            now = datetime.now(timezone.utc)
            # The store's clock may be behind.
            lent = now + _LENT, self.service.get_user_delegation_key(now - timedelta(minutes=5), now + _LENT)
            self.lent = lent
        return lent[1]

    def close(self) -> None:
        self.service.close()
        if self.token is not None:
            self.token.close()


def patient() -> dict[str, Any]:
    """Arguments of a call to which the store may be silent for minutes."""
    return {"read_timeout": _READ_LONG}


def find_access(account: str, endpoint: str | None, *, anonymous: bool, environment: Mapping[str, str]) -> Access:
    """What opens an account: a connection string, an account key, a SAS token, else a token of `DefaultAzureCredential`.

    A variable that belongs to another account is passed over. Over plain ``http://``, where no token may go, nothing found means
    anonymous, and the emulator's own account has its well-known key.

    Args:
        account: The account.
        endpoint: Where it is, or None for the public cloud's address of it.
        anonymous: Look for nothing.
        environment: The variables: ``AZURE_STORAGE_CONNECTION_STRING``, ``…_KEY``, ``…_SAS_TOKEN`` and ``…_ACCOUNT``.
    """
    told = _connection_string(environment.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    mine = told.get("accountname") == account
    suffix = told.get("endpointsuffix", "core.windows.net") if mine else "core.windows.net"
    there = endpoint or (told.get("blobendpoint") if mine else None) or f"https://{account}.blob.{suffix}"
    if anonymous:
        return Access(there)
    if mine:
        if told.get("accountkey"):
            return Access(there, key=told["accountkey"])
        if told.get("sharedaccesssignature"):
            return Access(there, sas=told["sharedaccesssignature"].removeprefix("?"))
    if environment.get("AZURE_STORAGE_ACCOUNT", account) == account:
        if environment.get("AZURE_STORAGE_KEY"):
            return Access(there, key=environment["AZURE_STORAGE_KEY"])
        if environment.get("AZURE_STORAGE_SAS_TOKEN"):
            return Access(there, sas=environment["AZURE_STORAGE_SAS_TOKEN"].removeprefix("?"))
    if there.startswith("http://"):
        return Access(there, key=_EMULATOR_KEY if account == _EMULATOR else "")
    return Access(there, token=True)


def _connection_string(text: str) -> Mapping[str, str]:
    told = {name.strip().lower(): value.strip() for name, _, value in (part.partition("=") for part in text.split(";"))}
    if told.get("usedevelopmentstorage", "").lower() == "true":
        return {"accountname": _EMULATOR, "accountkey": _EMULATOR_KEY, "blobendpoint": _EMULATOR_ENDPOINT}
    if "accountname" not in told and "blobendpoint" in told:
        # One with a SAS may name no account; its address does.
        told["accountname"] = (urlsplit(told["blobendpoint"]).hostname or "").partition(".")[0]
    return told


def _full_endpoint(endpoint: str | None, account: str) -> str | None:
    """The address of the account; an emulator has the account in the path, where its user may leave it out."""
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("endpoint_url begins with http:// or https:// and names a host.")
    if parts.query or parts.fragment or parts.username:
        raise ConfigurationError("endpoint_url is an address only: no credentials, no '?'.")
    plain = endpoint.rstrip("/")
    if parts.hostname.startswith(f"{account}.") or parts.path.strip("/"):
        return plain
    return f"{plain}/{account}"
