"""All servers of the rig together: each is started when first asked for, and all end with it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rig.servers import Azurite, FakeGcs, Minio, Moto, Server
from rig.toxiproxy import Toxiproxy
from rig.tusd import Tusd

SERVERS: dict[str, type[Server]] = {
    "minio": Minio,
    "fake_gcs": FakeGcs,
    "azurite": Azurite,
    "moto": Moto,
    "toxiproxy": Toxiproxy,
    "tusd": Tusd,
}


class Rig:
    """The servers that are running. A context manager: at its end every server is killed, and its data is gone.

    Args:
        logs: Where each server's output goes, a file each.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._data = tempfile.TemporaryDirectory(prefix="cloudcontents-rig-", ignore_cleanup_errors=True)
        self._servers: dict[str, Server] = {}

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.kill()
        self._data.cleanup()

    def server(self, name: str) -> Any:
        """A server by the name of its fixture, started if it is not running yet.

        Raises:
            RigError: It cannot be installed or does not start.
        """
        if name not in self._servers:
            data = Path(self._data.name) / name
            data.mkdir()
            self._logs.mkdir(parents=True, exist_ok=True)
            server = SERVERS[name](data, self._logs)
            server.start()
            self._servers[name] = server
        return self._servers[name]
