"""A real Jupyter server on a bucket, in a thread of its own, and a plain HTTP client for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from jupyter_server.serverapp import ServerApp
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from traitlets.config import Config

from cloudcontents.backends.memory import MemoryStore, drop_memory_store, memory_store

# The real object stores: `minio`, `fake_gcs`, `azurite`, `moto`, `toxiproxy`, `faultproxy`.
pytest_plugins = ["rig.fixtures"]

MANAGER = "cloudcontents.CloudContentsManager"


@dataclass
class Reply:
    """What a server answered; `broken` where the body ended before its declared end."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running server. `request` sends the token; `bare` sends what it is told and nothing else."""

    url: str
    directory: Path
    base: str = "/base"
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    port: int = 0
    app: Any = None
    log: list[str] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None

    # --- asking it ------------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        raw: bool = False,
    ) -> Reply:
        """One request with the token. `path` starts with a slash, below the base URL, unquoted unless `raw`."""
        return self.bare(method, path, body=body, headers={"Authorization": f"token {self.token}", **(headers or {})}, query=query, raw=raw)

    def bare(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        raw: bool = False,
    ) -> Reply:
        """One request without credentials."""
        target = self.base + (path if raw else quote(path, safe="/"))
        if query:
            target += f"?{urlencode(query, errors='surrogatepass')}"
        data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, target, data, headers or {})
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            cookies = SimpleCookie("; ".join(reply.headers.get_all("Set-Cookie") or ()))
            answer = Reply(reply.status, found, b"", cookies={name: morsel.value for name, morsel in cookies.items()})
            try:
                answer.body = reply.read()
            except http.client.IncompleteRead as error:
                answer.body, answer.broken = error.partial, True
            except ConnectionError:
                answer.broken = True
            return answer
        finally:
            connection.close()

    def begin(self, path: str, headers: dict[str, str] | None = None) -> socket.socket:
        """Send a GET with the token and return the socket, unread, with a small buffer: the server cannot run ahead."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", self.port))
        lines = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"token {self.token}", **(headers or {})}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        connection.sendall(f"GET {self.base}{quote(path)} HTTP/1.1\r\n{text}\r\n".encode())
        return connection

    def received_while(self, path: str, change: Callable[[], Any]) -> Reply:
        """What a client gets of a file that is changed after the headers came."""
        connection = self.begin(path)
        reply = http.client.HTTPResponse(connection)
        try:
            reply.begin()
            change()
            try:
                return Reply(reply.status, {}, reply.read())
            except http.client.IncompleteRead as error:
                return Reply(reply.status, {}, error.partial, broken=True)
            except ConnectionError:
                return Reply(reply.status, {}, b"", broken=True)
        finally:
            reply.close()
            connection.close()

    # --- looking inside -------------------------------------------------------------------------------------------------

    @property
    def manager(self) -> Any:
        return self.app.web_app.settings["contents_manager"]

    @property
    def bucket(self) -> Any:
        return self.manager.namespace.mounts[0].bucket

    @property
    def store(self) -> MemoryStore:
        """The bucket's memory."""
        return memory_store(self.url.removeprefix("memory://").split("/")[0])

    def run(self, work: Callable[[], Any]) -> Any:
        """Await `work()` on the server's own event loop and return its result."""
        assert self._loop is not None
        done: Future[Any] = asyncio.run_coroutine_threadsafe(_awaited(work), self._loop)
        return done.result(60)

    # --- its life -------------------------------------------------------------------------------------------------------

    def start(self, config: dict[str, Any], *, extension: bool = False) -> None:
        """Start it and return when it listens."""
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(Config(config), extension, ready), name="server")
        self._thread.start()
        ready.result(60)

    def stop(self) -> None:
        """Stop it in good order and wait for it. Safe to repeat."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(60)
            self._loop = None

    def _main(self, config: Config, extension: bool, ready: Future[None]) -> None:
        try:
            asyncio.run(self._serve(config, extension, ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, config: Config, extension: bool, ready: Future[None]) -> None:
        root = self.directory / "server-root"
        root.mkdir(exist_ok=True)
        defaults = Config()
        defaults.ServerApp.contents_manager_class = MANAGER
        defaults.ServerApp.root_dir = str(root)
        defaults.ServerApp.base_url = self.base
        defaults.ServerApp.open_browser = False
        defaults.ServerApp.allow_root = True
        defaults.ServerApp.jpserver_extensions = {"cloudcontents": extension}
        defaults.CloudContentsManager.url = self.url
        defaults.IdentityProvider.token = self.token
        defaults.NotebookNotary.db_file = ":memory:"
        defaults.merge(config)
        ServerApp.clear_instance()
        app = ServerApp.instance(config=defaults, log_level=logging.INFO)
        app.init_signal = lambda: None
        app.log.addHandler(_Lines(self.log))
        app.initialize(argv=[], new_httpserver=False)
        http_server = HTTPServer(app.web_app)
        (listening,) = bind_sockets(0, "127.0.0.1")
        http_server.add_socket(listening)
        self.app, self.port = app, listening.getsockname()[1]
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if extension:
            await app.extension_manager.start_all_extensions()
        ready.set_result(None)
        await self._stop.wait()
        http_server.stop()
        await http_server.close_all_connections()
        await app._cleanup()
        app.kernel_manager.context.destroy()
        ServerApp.clear_instance()


class _Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))


async def _awaited(work: Callable[[], Any]) -> Any:
    return await work()


@pytest.fixture(scope="session")
def jupyter_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No configuration, data or running server of this machine reaches a test."""
    home = tmp_path_factory.mktemp("jupyter")
    values = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    values |= {"JUPYTER_NO_CONFIG": "1", "JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": str(home / "ipython")}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    yield home
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="module")
def start_server(jupyter_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server on a bucket, by default one in memory: `start_server(url, config, extension=…)`.

    One at a time: a new one stops the one before. All of a module share what they start; give each test names of its own.
    """
    running: list[Server] = []
    names: list[str] = []

    def start(url: str | None = None, config: dict[str, Any] | None = None, *, extension: bool = False) -> Server:
        while running:
            running.pop().stop()
        if url is None:
            names.append(f"server-{secrets.token_hex(4)}")
            url = f"memory://{names[-1]}"
        server = Server(url, tmp_path_factory.mktemp("server"))
        server.start(config or {}, extension=extension)
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()
    for name in names:
        drop_memory_store(name)
