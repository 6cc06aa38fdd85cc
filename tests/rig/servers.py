"""The object stores of the rig: MinIO, fake-gcs-server, Azurite and moto, all with one face."""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rig.install import RigError, azurite, go_program
from rig.process import Process, answers, free_port

ATTEMPTS_AT_A_PORT = 3
REGION = "us-east-1"


class Server(ABC):
    """A server on a free loopback port, with credentials of its own. It is started by `start` and then keeps its port.

    Attributes:
        name: What it is called in messages and in the name of its log.
        dialect: Whose protocol it speaks, `s3`, `gcs` or `azure`; empty for none of them.
        scheme: That of its buckets' URLs in `cloudcontents`.
        keeps: Whether its objects outlive `kill` and `restart`. Where they do not, its buckets are made again, empty.
        url: The end point as SDKs want it.
        endpoint: Scheme, host and port of it, without a path.
        buckets: What `new_bucket` made.
    """

    name: ClassVar[str]
    dialect: ClassVar[str] = ""
    scheme: ClassVar[str] = ""
    keeps: ClassVar[bool] = True

    def __init__(self, data: Path, logs: Path) -> None:
        self.data = data
        self.log = logs / f"{self.name}-{os.getpid()}.log"
        self.port = 0
        self.buckets: list[str] = []
        self._process: Process | None = None
        self._own: Any = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return self.endpoint

    @property
    def pid(self) -> int:
        """Its process id. It changes with `restart`."""
        return self._running().pid

    # --- its life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            RigError: It cannot be installed or does not start.
        """
        chosen = self.port
        command = self.install()
        for attempt in range(1, ATTEMPTS_AT_A_PORT + 1):
            self.port = chosen or free_port()
            process = Process([*command, *self.arguments()], log=self.log, environment=self.variables())
            try:
                process.wait_until(self.ready)
            except RigError:
                # Somebody may have taken the port in between.
                if attempt == ATTEMPTS_AT_A_PORT or "in use" not in process.last_words():
                    raise
            else:
                self._process = process
                return

    def kill(self) -> None:
        """Kill it (SIGKILL). Safe to repeat."""
        self._close_own()
        if self._process is not None:
            self._process.kill()
            self._process = None

    def stop(self) -> None:
        """Stop it in good order. Safe to repeat."""
        self._close_own()
        if self._process is not None:
            self._process.stop()
            self._process = None

    def restart(self) -> None:
        """Start it again on its port, after stopping it in good order if it is running. See `keeps`."""
        self.stop()
        self.start()
        if not self.keeps:
            for bucket in self.buckets:
                self.make_bucket(bucket)

    def pause(self) -> None:
        """Let it stand still: connections are accepted by the kernel, and nobody answers."""
        self._running().pause()

    def resume(self) -> None:
        """End a pause. Safe to repeat."""
        self._running().resume()

    def _running(self) -> Process:
        if self._process is None:
            raise RigError(f"{self.name} is not running")
        return self._process

    # --- its buckets ----------------------------------------------------------------------------------------------------

    def new_bucket(self) -> str:
        """Make an empty bucket and return its name, which no other has."""
        name = f"bucket-{secrets.token_hex(6)}"
        self.make_bucket(name)
        self.buckets.append(name)
        return name

    def make_bucket(self, name: str) -> None:
        """Make a bucket of this name with the store's own SDK."""
        raise NotImplementedError(f"{self.name} has no buckets")

    def bucket_url(self, name: str) -> str:
        """The bucket as `cloudcontents` names it; `environment` tells it the way and the credentials."""
        return f"{self.scheme}://{name}"

    def own_client(self) -> Any:
        """One client that is kept for making buckets: a new one for each takes half a second on a busy machine."""
        if self._own is None:
            self._own = self.client()
        return self._own

    def _close_own(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None

    def client(self, url: str | None = None) -> Any:
        """A new client of the store's own SDK, without retries, for this server or a proxy's URL. Close it."""
        raise NotImplementedError(f"{self.name} has no SDK")

    def environment(self, url: str | None = None) -> dict[str, str]:
        """The variables by which the SDK finds this server (or a proxy of it) and its credentials."""
        raise NotImplementedError(f"{self.name} has no SDK")

    def advertise(self, endpoint: str) -> None:  # noqa: B027 - most servers name no address in their replies
        """Make the server name this end point in its replies; a proxy does so for itself."""

    # --- what each of them says about itself ----------------------------------------------------------------------------

    @abstractmethod
    def install(self) -> Sequence[str]:
        """The command, without arguments, installed now if it was not before."""

    @abstractmethod
    def arguments(self) -> Sequence[str]:
        """Its arguments, with the port."""

    @abstractmethod
    def ready(self) -> bool:
        """Ask its health end point."""

    def variables(self) -> Mapping[str, str]:
        """What it wants in its environment."""
        return {}


class _S3(Server):
    """What the two S3 servers share."""

    dialect = scheme = "s3"
    access_key = "rig"
    region = REGION

    def __init__(self, data: Path, logs: Path) -> None:
        super().__init__(data, logs)
        self.secret_key = secrets.token_hex(16)

    def make_bucket(self, name: str) -> None:
        self.own_client().create_bucket(Bucket=name)

    def client(self, url: str | None = None) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=url or self.url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def environment(self, url: str | None = None) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": url or self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }


class Minio(_S3):
    """MinIO on one directory. Checks signatures; conditional writes are real."""

    name = "minio"

    def install(self) -> Sequence[str]:
        return [str(go_program("minio"))]

    def arguments(self) -> Sequence[str]:
        return ["server", "--address", f"127.0.0.1:{self.port}", "--certs-dir", str(self.data), str(self.data / "minio")]

    def variables(self) -> Mapping[str, str]:
        return {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }

    def ready(self) -> bool:
        return answers(self.port, "/minio/health/ready")


class Moto(_S3):
    """moto's S3 server, in memory. Checks no signature; every credential is right."""

    name = "moto"
    keeps = False

    def install(self) -> Sequence[str]:
        return [sys.executable, "-W", "ignore", "-m", "moto.server"]

    def arguments(self) -> Sequence[str]:
        return ["-H", "127.0.0.1", "-p", str(self.port)]

    def ready(self) -> bool:
        return answers(self.port, "/moto-api/")


class FakeGcs(Server):
    """fake-gcs-server, in memory. Checks no credentials."""

    name = "fake-gcs-server"
    dialect = "gcs"
    scheme = "gs"
    keeps = False
    project = "rig"

    def install(self) -> Sequence[str]:
        return [str(go_program("fake-gcs-server"))]

    def arguments(self) -> Sequence[str]:
        # A public host without a port is any port of that host: the proxies' too.
        bound = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port), "-public-host", "127.0.0.1"]
        return [*bound, "-external-url", self.endpoint, "-backend", "memory", "-log-level", "warn"]

    def ready(self) -> bool:
        return answers(self.port, "/_internal/healthcheck")

    def make_bucket(self, name: str) -> None:
        self.own_client().create_bucket(name)

    def client(self, url: str | None = None) -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        return Client(project=self.project, credentials=AnonymousCredentials(), client_options={"api_endpoint": url or self.url})

    def environment(self, url: str | None = None) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": url or self.url, "GOOGLE_CLOUD_PROJECT": self.project}

    def advertise(self, endpoint: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("PUT", "/_internal/config", json.dumps({"externalUrl": endpoint}))
            reply = connection.getresponse()
            if reply.status != 200:
                raise RigError(f"fake-gcs-server answered {reply.status} to a change of its address: {reply.read()!r}")
            reply.read()
        finally:
            connection.close()


class Azurite(Server):
    """Azurite's blob service on one directory. Checks signatures. What it stored in its last seconds may be lost by `kill`."""

    name = "azurite"
    dialect = "azure"
    scheme = "az"
    account = "rig"

    def __init__(self, data: Path, logs: Path) -> None:
        super().__init__(data, logs)
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()

    @property
    def url(self) -> str:
        return f"{self.endpoint}/{self.account}"

    def connection_string(self, url: str | None = None) -> str:
        """How Azure's SDK finds it, or a proxy of it."""
        parts = {"DefaultEndpointsProtocol": "http", "AccountName": self.account, "AccountKey": self.key, "BlobEndpoint": url or self.url}
        return ";".join(f"{name}={value}" for name, value in parts.items()) + ";"

    def install(self) -> Sequence[str]:
        return azurite()

    def arguments(self) -> Sequence[str]:
        bound = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.data / "azurite")]
        return [*bound, "--silent", "--disableTelemetry", "--skipApiVersionCheck"]

    def variables(self) -> Mapping[str, str]:
        return {"AZURITE_ACCOUNTS": f"{self.account}:{self.key}"}

    def ready(self) -> bool:
        # It has no health end point; it signs even its refusals.
        return answers(self.port, "/", header=("Server", "Azurite-Blob"))

    def make_bucket(self, name: str) -> None:
        self.own_client().create_container(name)

    def bucket_url(self, name: str) -> str:
        return f"{self.scheme}://{self.account}/{name}"

    def client(self, url: str | None = None) -> Any:
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(self.connection_string(url), retry_total=0)

    def environment(self, url: str | None = None) -> dict[str, str]:
        return {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string(url)}
