"""The servers that are compared: jupyter_server with one contents manager or the other, each a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: The server's arguments, by the name in the report.
MANAGERS = {
    "cloudcontents": [
        "--ServerApp.contents_manager_class=cloudcontents.CloudContentsManager",
        "--ServerApp.jpserver_extensions=cloudcontents=True",
    ],
    "AsyncLargeFileManager": [
        "--ServerApp.contents_manager_class=jupyter_server.services.contents.largefilemanager.AsyncLargeFileManager",
        "--ServerApp.jpserver_extensions=cloudcontents=False",
        # Its trash is the desktop's, which a server mostly does not have.
        "--FileContentsManager.delete_to_trash=False",
        "--FileContentsManager.always_delete_dir=True",
    ],
}


@dataclass
class Server:
    """One running server on a directory."""

    name: str
    home: Path
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    port: int = 0

    @property
    def directory(self) -> Path:
        """What it serves."""
        return self.home / "bucket"

    def start(self) -> None:
        """Start it; returns when it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        arguments = [
            *MANAGERS[self.name],
            f"--ServerApp.root_dir={self.directory}",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            "--no-browser",
            "--allow-root",
            "--log-level=ERROR",
        ]
        names = {f"JUPYTER_{kind}_DIR": str(self.home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
        environment = {**os.environ, **names, "JUPYTER_NO_CONFIG": "1", "CLOUDCONTENTS_URL": self.directory.as_uri()}
        self.process = subprocess.Popen([sys.executable, "-m", "jupyter_server", *arguments], env=environment, cwd=self.home)
        until = time.monotonic() + 60
        while True:
            try:
                self.request("GET", "/api/status")
                return
            except ConnectionError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{self.name} does not start") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """One request; fails on any status but success."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request(method, path, body, {"Authorization": f"token {self.token}"})
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        if reply.status >= 300:
            raise RuntimeError(f"{self.name}: {method} {path}: {reply.status} {content[:300]!r}")
        return content

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """One request whose bodies are JSON."""
        content = self.request(method, path, None if body is None else json.dumps(body).encode())
        return json.loads(content) if content else None

    # --- memory, of the process that serves ---------------------------------------------------------------------------------

    def memory(self, what: str = "VmRSS") -> float:
        """MiB that it has in memory; ``VmHWM``: at most, since `reset_peak`."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"no {what} in /proc")

    def reset_peak(self) -> None:
        """Begin to look for the peak anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
