"""A Jupyter server as a process of its own, asked as a browser asks it: cookies of one login, and what the process has in memory."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any


class RefusedError(Exception):
    """The server answered with something else than success."""


@dataclass
class Server:
    """One running server.

    Attributes:
        name: In the report.
        home: A directory of its own.
        arguments: Of ``python -m jupyter_server``, beyond what every one gets.
        environment: Variables beyond this process' own.
        python: The interpreter of its environment.
    """

    name: str
    home: Path
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    port: int = 0
    _headers: dict[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Its local directory; what it serves, where it serves the disk."""
        return self.home / "bucket"

    def start(self) -> None:
        """Start it; returns when it answers and has let us in."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        arguments = [
            *self.arguments,
            f"--ServerApp.root_dir={self.directory}",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            "--no-browser",
            "--allow-root",
            "--log-level=ERROR",
        ]
        names = {f"JUPYTER_{kind}_DIR": str(self.home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
        environment = {**os.environ, **names, "JUPYTER_NO_CONFIG": "1", **self.environment}
        with (self.home / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", "jupyter_server", *arguments], env=environment, cwd=self.home, stdout=log, stderr=log
            )
        until = time.monotonic() + 120
        while True:
            try:
                self._log_in()
                return
            except ConnectionError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{self.name} does not start:\n{(self.home / 'log.txt').read_text()[-2000:]}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _log_in(self) -> None:
        cookies: dict[str, str] = {}
        for path, headers in (("/login", {}), ("/api/status", {"Authorization": f"token {self.token}"})):
            reply, _ = self._ask("GET", path, None, headers)
            found = SimpleCookie("; ".join(reply.headers.get_all("Set-Cookie") or ()))
            cookies |= {name: morsel.value for name, morsel in found.items()}
        self._headers = {
            "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
            "X-XSRFToken": cookies["_xsrf"],
            "Content-Type": "application/json",
        }

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply, reply.read()
        finally:
            connection.close()

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """One request; fails on any status but success.

        Raises:
            RefusedError: Any other status.
        """
        reply, content = self._ask(method, path, body, self._headers)
        if reply.status >= 300:
            raise RefusedError(f"{reply.status} {content[:200].decode(errors='replace')}")
        return content

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """One request whose bodies are JSON."""
        content = self.request(method, path, None if body is None else json.dumps(body).encode())
        return json.loads(content) if content else None

    # --- memory and processor time, of the process that serves ----------------------------------------------------------

    def memory(self, what: str = "VmRSS") -> float:
        """MiB that it has in memory; ``VmHWM``: at most, since `reset_peak`."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"no {what} in /proc")

    def processor(self) -> float:
        """Seconds of processor time that it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def reset_peak(self) -> None:
        """Begin to look for the peak anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


#: Jupyter Server's own manager on its directory.
ON_DISK = [
    "--ServerApp.contents_manager_class=jupyter_server.services.contents.largefilemanager.AsyncLargeFileManager",
    "--ServerApp.jpserver_extensions=cloudcontents=False",
    # Its trash is the desktop's, which a server mostly does not have.
    "--FileContentsManager.delete_to_trash=False",
    "--FileContentsManager.always_delete_dir=True",
]

#: Ours, on the bucket that the variable CLOUDCONTENTS_URL names.
OURS = [
    "--ServerApp.contents_manager_class=cloudcontents.CloudContentsManager",
    "--ServerApp.jpserver_extensions=cloudcontents=True",
]
