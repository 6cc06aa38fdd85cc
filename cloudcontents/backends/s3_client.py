"""The way to S3: what a URL's options mean, the client they make, whose credentials it uses and how a call is run.

The credentials are those of boto3's own chain. A refusal that says that they are old looks them up again, once.
"""

from __future__ import annotations

import bisect
import functools
import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qs, urlsplit

from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.session import Session

from cloudcontents import redact
from cloudcontents.config import StoreUrl
from cloudcontents.errors import ConfigurationError, StorageAuthError, TruncatedError, UnsupportedError

from .interface import ALWAYS, When
from .s3_errors import OUTDATED, failure, is_bare
from .sdk import SdkThreads

T = TypeVar("T")

#: The SDK makes the class of its client at run time.
S3Client: TypeAlias = Any

OPTIONS = frozenset(
    {
        "endpoint_url",
        "public_endpoint",
        "region",
        "profile",
        "path_style",
        "anonymous",
        "sse",
        "sse_kms_key_id",
        "storage_class",
        "requester_pays",
        "checksums",
        "sign_payload",
    }
)

#: Seconds to wait for the next byte of a reply; while the store copies or joins parts, none comes.
_READ, _READ_LONG = 25, 600

#: Calls whose answer is a document, however little there is to tell.
_TOLD_IN_XML = frozenset(
    {
        "CompleteMultipartUpload",
        "CopyObject",
        "CreateMultipartUpload",
        "DeleteObjects",
        "ListBuckets",
        "ListMultipartUploads",
        "ListObjectsV2",
        "ListParts",
        "UploadPartCopy",
    }
)

#: What boto3 takes for a bucket's name, without its ARNs.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}\Z")


class S3Connection:
    """One bucket's connection, or that of all buckets: makes no request and no client before the first call.

    Args:
        url: The bucket's URL with its options; without a bucket, for calls that name theirs.
        beside: A connection to the same store by the same options: its endpoint, which is found in the SDK's files, is this one's.

    Attributes:
        amazon: Whether the store is Amazon's own, whose documentation holds.
        check: Whether bodies carry a checksum even where nobody gave one.
        write: Arguments of every call that makes an object.
        every: Arguments of every call.

    Raises:
        ConfigurationError: An option, or the SDK's own configuration, cannot be.
    """

    def __init__(self, url: StoreUrl, *, beside: S3Connection | None = None) -> None:
        if url.bucket and not _BUCKET.match(url.bucket):
            raise ConfigurationError(f"{url.bucket!r} cannot be the name of a bucket; an s3:// URL is s3://bucket or s3://bucket/prefix.")
        self.bucket = url.bucket
        self.threads = SdkThreads("s3")
        self.every: dict[str, Any] = {"RequestPayer": "requester"} if url.flag("requester_pays") else {}
        if url.bucket:
            self.every["Bucket"] = url.bucket
        self.write = _write_options(url)
        self._profile = url.options.get("profile")
        self._region = url.options.get("region")
        self._endpoint: str | None = (
            beside._endpoint if beside is not None else url.options.get("endpoint_url") or self._configured_endpoint()
        )
        host = _host("endpoint_url", self._endpoint)
        self.amazon = host is None or _is_amazon(host)
        self._config = _client_config(url, path_style=not self.amazon)
        self._public = url.options.get("public_endpoint") or self._endpoint
        public = _host("public_endpoint", self._public)
        self._signing_config = _client_config(url, path_style=not (public is None or _is_amazon(public)))
        self.check = self._config.request_checksum_calculation == "when_supported"
        self._lock = threading.Lock()
        self._clients: dict[bool, S3Client] = {}
        self._signer: tuple[S3Client, Any] | None = None
        self._secrets: tuple[str | None, ...] = ()
        # Of a bucket that others share too, no more may be listed than what is below the URL's prefix.
        self._below = f"{url.prefix}/" if url.prefix else ""
        self._reached = False

    async def call(self, work: Callable[[S3Client], T], key: str = "", when: When = ALWAYS, *, long: bool = False) -> T:
        """Run one SDK call in a thread, with the credentials looked up again once where they have expired.

        Args:
            work: The call.
            key: What it is about, for the message of its failure.
            when: The condition that it carries.
            long: The store may be silent for minutes before it answers.

        Raises:
            CloudContentsError: What the failure means.
        """
        try:
            return await self.threads.run(lambda: self._run(work, long))
        except Exception as error:
            raise failure(error, key, when) from error

    async def sign(self, operation: str, arguments: Mapping[str, Any], expires_in: int) -> tuple[str, dict[str, str], int]:
        """Sign a call that somebody else will make; nothing is sent.

        Args:
            operation: The SDK's name of the call.
            arguments: Those of the call. All that goes into headers is signed.
            expires_in: Seconds that it holds; fewer where the credentials expire before.

        Returns:
            The URL, the headers that must be sent with it, and the seconds that it holds.

        Raises:
            UnsupportedError: Nothing is signed on this bucket.
        """
        try:
            return await self.threads.run(lambda: self._signed(operation, arguments, expires_in))
        except Exception as error:
            raise failure(error, "", ALWAYS) from error

    async def close(self) -> None:
        """End connections and threads. Safe to repeat; a later call makes new ones."""
        with self._lock:
            clients = [*self._clients.values(), *([self._signer[0]] if self._signer else [])]
            self._clients, self._signer = {}, None
        for client in clients:
            await self.threads.run(client.close)
        await self.threads.close()

    def _run(self, work: Callable[[S3Client], T], long: bool) -> T:
        client = self._client(long)
        try:
            result = self._told(work, client)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in OUTDATED or not self._renewed(client, long):
                raise
            return self._told(work, self._client(long))
        return result

    def _told(self, work: Callable[[S3Client], T], client: S3Client) -> T:
        """Do it; where the refusal has no words, as those of a HEAD, ask for them."""
        try:
            result = work(client)
        except ClientError as error:
            bare = is_bare(error)
            if bare is None:
                self._reached = self._reached or error.response["Error"].get("Code") == "NoSuchKey"
                raise
            if bare not in (400, 401, 403, 404) or (bare == 404 and self._reached):
                raise
            try:
                client.list_objects_v2(MaxKeys=1, Prefix=self._below, **self.every)
            except ClientError as told:
                if told.response.get("Error", {}).get("Code") == "AccessDenied":
                    raise error from None  # no right to list, which says nothing of what was asked
                raise
            self._reached = True
            raise
        self._reached = True
        return result

    def _signed(self, operation: str, arguments: Mapping[str, Any], expires_in: int) -> tuple[str, dict[str, str], int]:
        with self._lock:
            if self._signer is None:
                self._signer = self._made_signer()
            client, credentials = self._signer
        # Looks them up again where they are about to expire.
        redact.register(*filter(None, (credentials.get_frozen_credentials().secret_key, credentials.token)))
        expires_in = _lasting(credentials, expires_in)
        url = client.generate_presigned_url(operation, Params=dict(arguments), ExpiresIn=expires_in)
        # What went into headers is known to the SDK's description of the call; which of them were signed, to the URL.
        model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
        places = {name: member.serialization for name, member in model.input_shape.members.items()}
        sent = {places[name]["name"]: str(value) for name, value in arguments.items() if places[name].get("location") == "header"}
        signed = parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")
        return url, {name: value for name, value in sent.items() if name.lower() in signed}, expires_in

    # --- the client ---------------------------------------------------------------------------------------------------------

    def _client(self, long: bool) -> S3Client:
        with self._lock:
            if long not in self._clients:
                self._clients[long] = self._made(long)
            return self._clients[long]

    def _made(self, long: bool) -> S3Client:
        session = self._session()
        config = self._config.merge(Config(read_timeout=_READ_LONG)) if long else self._config
        if config.signature_version is not UNSIGNED:
            self._secrets = _secrets(session)
            if not self._secrets:
                if not (self._endpoint or "").startswith("http://"):
                    raise NoCredentialsError
                config = config.merge(Config(signature_version=UNSIGNED))  # an emulator, or a public store on this network
        region = session.get_config_variable("region") or "us-east-1"
        client = session.create_client("s3", endpoint_url=self._endpoint, config=config, region_name=region)
        client.meta.events.register("after-call.s3", _check_whole)
        return client

    def _made_signer(self) -> tuple[S3Client, Any]:
        """A client that signs for others, under the name that they reach the store by, and its credentials."""
        session = self._session()
        credentials = session.get_credentials() if self._config.signature_version is not UNSIGNED else None
        if credentials is None:
            raise UnsupportedError(
                "Nothing can be signed without credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role, and "
                "leave anonymous out of the bucket's URL; or send the bytes through the server."
            )
        config = self._signing_config.merge(Config(signature_version="s3v4"))
        region = session.get_config_variable("region") or "us-east-1"
        client = session.create_client("s3", endpoint_url=self._public, config=config, region_name=region)
        client.meta.events.register("before-sign.s3", _payer_into_query)
        return client, credentials

    def _renewed(self, client: S3Client, long: bool) -> bool:
        """Whether the chain has other credentials than this client's by now; if so, new clients use them."""
        fresh = _secrets(self._session())
        with self._lock:
            if self._clients.get(long) is not client:
                return True  # by another thread
            if not fresh or fresh == self._secrets:
                return False
            # Others may still be using them; they close themselves when the last one is done.
            self._clients, self._signer = {}, None
            return True

    def _session(self) -> Session:
        session = Session(profile=self._profile)
        if self._region:
            session.set_config_variable("region", self._region)
        session.register_component("data_loader", _loader())
        return session

    def _configured_endpoint(self) -> str | None:
        """Where the SDK's own variables and files point, since other stores than Amazon's are asked differently."""
        if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
            return None
        try:
            session = self._session()
            profile, services = session.get_scoped_config(), session.full_config.get("services", {})
        except BotoCoreError as error:
            raise failure(error, "", ALWAYS) from error
        own = services.get(profile.get("services"), {}).get("s3", {})
        found = (os.environ.get("AWS_ENDPOINT_URL_S3"), os.environ.get("AWS_ENDPOINT_URL"))
        return next((url for url in (*found, own.get("endpoint_url"), profile.get("endpoint_url")) if url), None)


@functools.cache
def _loader() -> Any:
    """The SDK's description of the service: megabytes of JSON, read once for all connections."""
    return Session().get_component("data_loader")


def _host(option: str, endpoint: str | None) -> str | None:
    """The host that an end point names; None without one."""
    parts = urlsplit(endpoint or "")
    if endpoint and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ConfigurationError(f"{option} begins with http:// or https:// and names a host.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(f"{option} is an address only: no credentials, no '?'.")
    return parts.hostname


def _check_whole(*, http_response: Any, model: Any, **_: Any) -> None:
    """Refuse an answer without a body where the store always sends one: the SDK would take a cut listing for an empty one.

    Raises:
        TruncatedError: There is none.
    """
    if model.name in _TOLD_IN_XML and http_response.status_code == 200 and not http_response.content.strip():
        raise TruncatedError("The store broke off while sending its answer; try again.")


def _lasting(credentials: Any, seconds: int) -> int:
    """So many seconds, or as many as the credentials last, which must be one at least."""
    if not isinstance(credentials, RefreshableCredentials):
        return seconds
    # The SDK tells whether they expire within a time, and no more.
    last = bisect.bisect_left(range(seconds + 1), True, key=lambda ahead: credentials.refresh_needed(ahead)) - 1
    if last < 1:
        raise StorageAuthError("The server's credentials for the store have expired and no newer ones were found; renew them.")
    return last


def _payer_into_query(request: Any, **_: Any) -> None:
    """Who pays is asked for in the URL, since a link that is followed sends no headers of ours."""
    payer = request.headers.get("x-amz-request-payer")
    if payer is not None:
        del request.headers["x-amz-request-payer"]
        request.params["x-amz-request-payer"] = payer


def _is_amazon(host: str) -> bool:
    return re.search(r"\.amazonaws\.com(\.cn)?\Z", host) is not None


def _secrets(session: Session) -> tuple[str | None, ...]:
    """The credentials of a session, known to the filter of the logs from now on; () where there are none."""
    credentials = session.get_credentials()
    if credentials is None:
        return ()
    frozen = credentials.get_frozen_credentials()
    redact.register(*filter(None, (frozen.secret_key, frozen.token)))
    return (frozen.access_key, frozen.secret_key, frozen.token)


def _client_config(url: StoreUrl, *, path_style: bool) -> Config:
    checksums = url.options.get("checksums", "when_supported")
    if checksums not in ("when_supported", "when_required"):
        raise ConfigurationError("checksums is when_supported or when_required (for stores that know no CRC).")
    s3: dict[str, Any] = {}
    if url.flag("path_style", default=path_style):
        s3["addressing_style"] = "path"
    if "sign_payload" in url.options:
        s3["payload_signing_enabled"] = url.flag("sign_payload")
    return Config(
        signature_version=UNSIGNED if url.flag("anonymous") else None,
        connect_timeout=10,
        read_timeout=_READ,
        # A line that died in silence is noticed, and time is left for another try.
        tcp_keepalive=True,
        # Retries are `Bucket`'s affair: here one more try would make a lost reply look like a conflict.
        retries={"total_max_attempts": 1, "mode": "standard"},
        # A connection for each thread, and some for bodies that are being read.
        max_pool_connections=64,
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
        s3=s3 or None,
    )


def _write_options(url: StoreUrl) -> dict[str, Any]:
    found: dict[str, Any] = {}
    sse, key = url.options.get("sse"), url.options.get("sse_kms_key_id")
    if sse not in (None, "AES256", "aws:kms", "aws:kms:dsse"):
        raise ConfigurationError("sse is AES256, aws:kms or aws:kms:dsse.")
    if key and sse in (None, "AES256"):
        raise ConfigurationError("sse_kms_key_id needs sse=aws:kms or sse=aws:kms:dsse beside it.")
    if sse:
        found["ServerSideEncryption"] = sse
    if key:
        found["SSEKMSKeyId"] = key
    if "storage_class" in url.options:
        found["StorageClass"] = url.options["storage_class"]
    return found
