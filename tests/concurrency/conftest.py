"""Real servers in processes of their own, and browser sessions on them: each with its own cookies."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Session:
    """One browser: logged in with the token once, its cookies from then on."""

    port: int
    token: str
    cookies: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        assert self._ask("GET", "/login", None, {}).status == 200
        assert self._ask("GET", "/api/status", None, {"Authorization": f"token {self.token}"}).status == 200
        assert len(self.cookies) == 2, "a session has its XSRF cookie and the user's"

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request as this browser; `path` is unquoted, without a query."""
        lines = {"X-XSRFToken": self.cookies["_xsrf"], "Content-Type": "application/json", **(headers or {})}
        return self._ask(method, quote(path), None if body is None else json.dumps(body), lines)

    def text(self, path: str) -> str:
        """What a file holds, read as JupyterLab opens it."""
        answer = self.request("GET", f"/api/contents/{path}")
        assert answer.status == 200, answer.body
        return answer.json["content"]

    def save(self, path: str, text: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        """Save a text file."""
        return self.request("PUT", f"/api/contents/{path}", {"type": "file", "format": "text", "content": text, **fields}, headers)

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, target: str, body: str | None, headers: dict[str, str]) -> Answer:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self._connection.request(method, target, body, {"Cookie": cookie, **headers} if cookie else headers)
        reply = self._connection.getresponse()
        data = reply.read()
        for line in reply.headers.get_all("Set-Cookie") or ():
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, data)


@pytest.fixture(scope="module")
def server_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Callable[[], Session]]]:
    """Starts a server on a bucket's URL; returns what opens a browser session on it."""
    running: list[subprocess.Popen[bytes]] = []
    sessions: list[Session] = []

    def start(url: str) -> Callable[[], Session]:
        home = tmp_path_factory.mktemp("server")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        token = secrets.token_hex(16)
        places = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        settings = {
            "ServerApp.contents_manager_class": "cloudcontents.CloudContentsManager",
            "ServerApp.port": port,
            "ServerApp.port_retries": 0,
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.root_dir": str(home),
            "ServerApp.open_browser": False,
            "CloudContentsManager.url": url,
        }
        log = (home / "log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", "--allow-root", *(f"--{name}={value}" for name, value in settings.items())],
            env={**os.environ, **places, "HOME": str(home), "JUPYTER_NO_CONFIG": "1", "JUPYTER_TOKEN": token, "IPYTHONDIR": str(home)},
            stdout=log,
            stderr=log,
        )
        log.close()
        running.append(process)
        _wait_until_it_answers(port, process, home / "log")

        def session() -> Session:
            opened = Session(port, token)
            sessions.append(opened)
            return opened

        return session

    yield start
    for session in sessions:
        session.close()
    for process in running:
        process.terminate()
    for process in running:
        process.wait(60)


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + 120
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < ends, log.read_text()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/api")
            connection.getresponse().read()
            connection.close()
        except ConnectionError:
            time.sleep(0.05)
        else:
            return
