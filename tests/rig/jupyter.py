"""Jupyter servers in processes of their own, to be asked at once and killed, and browser sessions on them: each with its own cookies."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rig.install import RigError
from rig.process import SECONDS_BETWEEN_QUESTIONS, SECONDS_TO_START, free_port

SECONDS_TO_ANSWER = 60.0


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
    """One browser: logged in with the token once, its cookies from then on. It waits `patience` seconds for an answer."""

    port: int
    token: str
    patience: float = SECONDS_TO_ANSWER
    cookies: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.patience)
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

    def names(self, path: str) -> list[str]:
        """What a directory holds, as JupyterLab shows it; nothing where there is none."""
        answer = self.request("GET", f"/api/contents/{path}")
        assert answer.status in (200, 404), answer.body
        return [entry["name"] for entry in answer.json["content"]] if answer.status == 200 else []

    def save(self, path: str, text: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        """Save a text file."""
        return self.request("PUT", f"/api/contents/{path}", {"type": "file", "format": "text", "content": text, **fields}, headers)

    def rename(self, path: str, new: str) -> Answer:
        """Rename or move a file or directory."""
        return self.request("PATCH", f"/api/contents/{path}", {"path": new})

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


class JupyterServer:
    """One server with our manager and our extension, on a free port that it keeps through `kill` and `start`.

    Args:
        home: A directory of its own; its log is there.
        settings: Of the manager, as ``{"url": …}`` or ``{"mounts": …}``.
        options: Of the server itself, by their full names, as ``{"ServerApp.allow_origin": …}``.
    """

    def __init__(self, home: Path, settings: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> None:
        self.home = home
        self.log = home / "log"
        self.token = secrets.token_hex(16)
        self.port = free_port()
        self._settings = settings
        self._options = options or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: list[Session] = []

    @property
    def pid(self) -> int:
        """Its process id. It changes with `start`."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            RigError: It ended, or did not answer.
        """
        settings = {
            "ServerApp.contents_manager_class": "cloudcontents.CloudContentsManager",
            "ServerApp.jpserver_extensions": {"cloudcontents": True},
            "ServerApp.port": self.port,
            "ServerApp.port_retries": 0,
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.root_dir": str(self.home),
            "ServerApp.open_browser": False,
            **{f"CloudContentsManager.{name}": value for name, value in self._settings.items()},
            **self._options,
        }
        places = {f"JUPYTER_{name}_DIR": str(self.home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        private = {"HOME": str(self.home), "JUPYTER_NO_CONFIG": "1", "JUPYTER_TOKEN": self.token, "IPYTHONDIR": str(self.home)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyter_server", "--allow-root", *(f"--{name}={value}" for name, value in settings.items())],
                env={**os.environ, **places, **private},
                stdout=log,
                stderr=log,
            )
        self._wait_until_it_answers()

    def session(self, patience: float = SECONDS_TO_ANSWER) -> Session:
        """A new browser on it."""
        opened = Session(self.port, self.token, patience)
        self._sessions.append(opened)
        return opened

    def kill(self) -> None:
        """Kill it (SIGKILL). Safe to repeat."""
        if self._process is not None:
            self._process.kill()
        self._ended()

    def stop(self) -> None:
        """Stop it in good order. Safe to repeat."""
        if self._process is not None:
            self._process.terminate()
        self._ended()

    def _ended(self) -> None:
        for session in self._sessions:
            session.close()
        self._sessions.clear()
        if self._process is not None:
            self._process.wait(SECONDS_TO_ANSWER)
            self._process = None

    def _wait_until_it_answers(self) -> None:
        ends = time.monotonic() + SECONDS_TO_START
        while True:
            if self._process is None or self._process.poll() is not None or time.monotonic() > ends:
                raise RigError(f"The Jupyter server did not start:\n{self.log.read_text()}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS_TO_ANSWER)
                connection.request("GET", "/api")
                connection.getresponse().read()
                connection.close()
            except ConnectionError:
                time.sleep(SECONDS_BETWEEN_QUESTIONS)
            else:
                return
