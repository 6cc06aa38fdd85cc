"""A whole server on each cloud, with everything between it and its store that can go wrong, and what a user does through it."""

from __future__ import annotations

import base64
import functools
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import urllib3

from cloudcontents.bucket import SLOWEST, Bucket, Patience
from rig.faultproxy import FaultProxy

CLOUDS = ["minio", "fake_gcs", "azurite"]


@dataclass
class Asked:
    """One request of a user, and what became of it."""

    name: str
    status: int
    body: bytes
    whole: bool
    seconds: float


@dataclass
class Call:
    """One call of the library to its bucket: how long it took and how long it may."""

    name: str
    seconds: float
    allowed: float


@dataclass
class Cloud:
    """A server on a store: server → Toxiproxy (`line`) → fault proxy (`proxy`) → store.

    Attributes:
        calls: What the library asked of its bucket, with the times.
        begun: How many such calls were begun.
        on_loop: Requests to the store that were made, or read, by the server's event loop; there must be none.
    """

    name: str
    store: Any
    proxy: FaultProxy
    line: Any
    url: str
    server: Any
    calls: list[Call] = field(default_factory=list)
    on_loop: list[str] = field(default_factory=list)
    begun: int = 0

    @property
    def put_method(self) -> str:
        """How the store is asked to make an object."""
        return "POST" if self.store.dialect == "gcs" else "PUT"

    def patience(self, **values: Any) -> None:
        """How long the server waits for its store from now on."""
        self.server.bucket.patience = Patience(**values)

    def heal(self) -> None:
        """No faults; what is under way breaks."""
        self.proxy.heal()
        self.line.down()
        self.line.reset()

    # --- what a user does -------------------------------------------------------------------------------------------------

    def ask(self, name: str, method: str, path: str, **arguments: Any) -> Asked:
        started = time.monotonic()
        reply = self.server.request(method, path, **arguments)
        return Asked(name, reply.status, reply.body, not reply.broken, time.monotonic() - started)

    def save(self, path: str, text: str, **fields: Any) -> Asked:
        return self.ask("save", "PUT", f"/api/contents/{path}", body={"type": "file", "format": "text", "content": text, **fields})

    def text(self, path: str) -> str:
        """What a file holds; the store is well again."""
        reply = self.server.request("GET", f"/api/contents/{path}")
        assert reply.status == 200, reply.body
        return reply.json["content"]

    def folder(self, texts: dict[str, str]) -> str:
        """A new directory with files in it, each known to the server as one."""
        folder = f"d-{secrets.token_hex(4)}"
        for name, text in texts.items():
            assert self.save(f"{folder}/{name}", text).status == 201
        return folder

    def conflicts(self) -> list[str]:
        """The texts that were refused and kept."""

        async def found() -> list[str]:
            return [info.key async for info in self.server.bucket.objects(".cloudcontents/conflicts/")]

        return self.server.run(found)

    @contextmanager
    def asked_for_its_status(self) -> Iterator[list[float]]:
        """The seconds that each of many questions to ``/api/status`` took, while something else goes on."""
        took: list[float] = []
        done = threading.Event()

        def poll() -> None:
            while not done.wait(0.02):
                took.append(self.ask("status", "GET", "/api/status").seconds)

        with ThreadPoolExecutor(1) as thread:
            polling = thread.submit(poll)
            try:
                yield took
            finally:
                done.set()
                polling.result()


@pytest.fixture(scope="module", params=CLOUDS)
def cloud(request, toxiproxy, start_server) -> Iterator[Cloud]:
    store = request.getfixturevalue(request.param)
    bucket = store.new_bucket()
    url = {"s3": f"s3://{bucket}/home", "gcs": f"gs://{bucket}/home", "azure": f"az://rig/{bucket}/home"}[store.dialect]
    with FaultProxy(store) as proxy, toxiproxy.proxy(proxy) as line, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment(line.url).items():
            patch.setenv(name, value)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server = start_server(url)
        found = Cloud(request.param, store, proxy, line, url, server)
        _watch_calls(found, patch)
        _watch_loop(found, patch)
        # The first answer of a bucket costs a request more.
        assert found.ask("list", "GET", "/api/contents/").status == 200
        yield found
        server.stop()


@pytest.fixture(autouse=True)
def _well_again(request) -> Iterator[None]:
    """Each test begins and ends with a store that is well, and no test may have let the event loop ask it."""
    if "cloud" not in request.fixturenames:
        yield
        return
    cloud = request.getfixturevalue("cloud")
    cloud.patience()
    cloud.calls.clear()
    yield
    cloud.heal()
    assert cloud.on_loop == []


def _watch_calls(cloud: Cloud, patch: pytest.MonkeyPatch) -> None:
    def timed(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def call(self: Bucket, *args: Any, **kwargs: Any) -> Any:
            started = time.monotonic()
            cloud.begun += 1
            try:
                return await method(self, *args, **kwargs)
            finally:
                body = args[1] if name == "put" else b""
                size = len(body) if isinstance(body, bytes) else body.size
                # A read into memory may take longer for its bytes, as a write may.
                more = size if name == "put" else 10 * 2**20 if name == "read" else 0
                allowed = self.patience.deadline * (10 if name == "copy" else 1) + more / SLOWEST
                cloud.calls.append(Call(name, time.monotonic() - started, allowed))

        return call

    for name in ("list", "head", "get", "read", "put", "copy", "delete", "delete_many"):
        patch.setattr(Bucket, name, timed(name, getattr(Bucket, name)))


def _watch_loop(cloud: Cloud, patch: pytest.MonkeyPatch) -> None:
    """All three SDKs send and read by urllib3."""

    def seen(what: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == cloud.server._thread.ident:
                cloud.on_loop.append(what)
            return method(*args, **kwargs)

        return call

    patch.setattr(urllib3.HTTPConnectionPool, "urlopen", seen("asked", urllib3.HTTPConnectionPool.urlopen))
    patch.setattr(urllib3.HTTPResponse, "read", seen("read", urllib3.HTTPResponse.read))
    patch.setattr(urllib3.HTTPResponse, "stream", seen("streamed", urllib3.HTTPResponse.stream))


def noise(size: int) -> str:
    """Text that nothing compresses."""
    return base64.b64encode(secrets.token_bytes(size)).decode()[:size]


@pytest.fixture(name="noise")
def _noise() -> Callable[[int], str]:
    return noise
