"""The way to Google Cloud Storage: credentials and addresses by the SDK's client, and one function that sends a request.

Requests go through the SDK's own authorized session, by the documented JSON and XML interfaces. The SDK's `Blob` would send some that
nobody asked for (it looks the bucket up in a thread of its own), try again by itself, and cannot tell an object's metadata in the reply
to a download.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import google.auth
import requests
from google.auth.credentials import AnonymousCredentials, CredentialsWithQuotaProject
from google.cloud.storage import Client
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from cloudcontents.config import StoreUrl
from cloudcontents.errors import ConfigurationError

from .gcs_errors import Refusal

#: The SDK has no types.
Credentials: TypeAlias = Any
Session: TypeAlias = Any

#: Seconds to connect or to send a piece, and that a reply may stand still.
TIMEOUT = (10, 25)

#: The same while the store copies.
COPYING = (10, 120)

_CONNECTIONS = 64
_PIECE = 1 << 16
OPTIONS = frozenset({"endpoint_url", "project", "user_project", "anonymous", "keyfile", "kms_key_name", "storage_class"})

_PROJECT_VARIABLES = ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT")
_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)


class GcsClient:
    """One bucket's requests, or those about all buckets. Blocks: call it in a thread. Made at the first request, and again after `close`.

    Args:
        url: The bucket's URL with its options.

    Raises:
        ConfigurationError: The endpoint is not an address.
    """

    def __init__(self, url: StoreUrl) -> None:
        self.bucket = url.bucket
        self._options = url.options
        self._anonymous = url.flag("anonymous")
        self._endpoint = _endpoint(url)
        self._payer = url.options.get("user_project")
        self._lock = threading.Lock()
        self._made: tuple[Client, Session, str] | None = None
        self._found_project: str | None = None

    def project(self) -> str | None:
        """The project that the URL, the environment or the credentials name, in this order."""
        told = (self._options.get("project"), *(os.environ.get(name) for name in _PROJECT_VARIABLES))
        named = next((name for name in told if name), None)
        if named is None:
            self._session()
        return named or self._found_project

    def object_path(self, key: str) -> str:
        """The path of an object in the JSON interface."""
        return f"/storage/v1/b/{quote(self.bucket, safe='')}/o/{quote(key, safe='')}"

    def json(self, method: str, path: str, params: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
        """Send a request of the JSON interface and return its answer ({} for an empty one); None among `params` is left out.

        Raises:
            Refusal: The store answered with an error.
            ValueError: Something answered that is not the store.
        """
        with self.send(method, path, params, **arguments) as response:
            return response.json() if response.content else {}

    def send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        stream: bool = False,
        timeout: tuple[float, float] | None = None,
        expect: tuple[int, ...] = (200, 201, 204, 206),
    ) -> requests.Response:
        """Send one request, once. Credentials are renewed when they have expired, or when the store says that they have.

        Args:
            method: GET, POST, …
            path: Quoted path, or an address that the store gave.
            params: The query; None: as XML's interface, or the address, has it.
            headers: More headers.
            data: The body.
            stream: Leave the reply's body to be read; close the reply afterwards.
            timeout: Default: `TIMEOUT`.
            expect: What is no error.

        Raises:
            Refusal: The store answered with an error.
        """
        session, base = self._session()
        query = None
        if params is not None:
            query = {name: value for name, value in {**params, "userProject": self._payer}.items() if value is not None}
        elif self._payer is not None:
            headers = {**(headers or {}), "x-goog-user-project": self._payer}
        response: requests.Response = session.request(
            method,
            path if "://" in path else base + path,
            params=query,
            headers=dict(headers or {}),
            data=_Pieces(data) if data and len(data) > _PIECE else data,
            stream=stream,
            timeout=timeout or TIMEOUT,
            allow_redirects=False,
        )
        if response.status_code not in expect:
            raise Refusal.of(response)
        return response

    def signing(self) -> tuple[Client, Credentials]:
        """What signs requests for others: the SDK's client, and the credentials, whether or not they can."""
        client, session, _ = self._connected()
        return client, session.credentials

    def close(self) -> None:
        """Close idle connections. Safe to repeat."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made[0].close()

    def _session(self) -> tuple[Session, str]:
        return self._connected()[1:]

    def _connected(self) -> tuple[Client, Session, str]:
        with self._lock:
            if self._made is None:
                client = Client(
                    project=self._options.get("project"),
                    credentials=self._credentials(),
                    client_options={"api_endpoint": self._endpoint} if self._endpoint else None,
                )
                session = client._http
                session.hooks["response"].append(_read_refusal)
                if not session.is_mtls:
                    for scheme in ("https://", "http://"):
                        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
                self._made = client, session, client.api_endpoint.rstrip("/")
            return self._made

    def _credentials(self) -> Credentials:
        """The SDK's own chain; no credentials for a plain ``http://`` endpoint unless they were named."""
        if self._anonymous:
            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        keyfile = self._options.get("keyfile")
        if keyfile is None and self._plain and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            # An emulator, or a public store on this network; the machine's own identity is not for everybody to read.
            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        if keyfile is None:
            credentials, self._found_project = google.auth.default(scopes=_SCOPES)
        else:
            try:
                credentials = service_account.Credentials.from_service_account_file(keyfile, scopes=_SCOPES)  # type: ignore[no-untyped-call]
            except (OSError, ValueError) as error:
                raise ConfigurationError("The file that keyfile names cannot be read, or is no service account's key.") from error
            self._found_project = credentials.project_id
        if self._payer is not None and isinstance(credentials, CredentialsWithQuotaProject):
            return credentials.with_quota_project(self._payer)  # type: ignore[no-untyped-call]
        return credentials

    @property
    def _plain(self) -> bool:
        return (self._endpoint or "").startswith("http://")


class _Pieces:
    """A body that is sent piece by piece: a socket's time limit is for what is sent at once, and a slow line is no broken one.

    It can be sent again from its start, as the session does with new credentials.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[memoryview]:
        for at in range(0, len(self._data), _PIECE):
            yield self._data[at : at + _PIECE]


def _read_refusal(response: requests.Response, **_arguments: object) -> None:
    """Read an error's body at once: the session, when it asks again with new credentials, leaves the first reply open."""
    if response.status_code >= 400:
        response.content  # noqa: B018 - reading it is the point


def _endpoint(url: StoreUrl) -> str | None:
    told = url.options.get("endpoint_url")
    if told is None:
        told = os.environ.get("STORAGE_EMULATOR_HOST")
        if not told:
            return None
        if "://" not in told:
            told = f"http://{told}"
    parts = urlsplit(told)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("endpoint_url begins with http:// or https:// and a host.")
    if "@" in parts.netloc:
        raise ConfigurationError("endpoint_url holds no user name or password; use the credential chain of the store's SDK.")
    return told.rstrip("/")
