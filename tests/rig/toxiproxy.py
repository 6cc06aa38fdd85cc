"""Toxiproxy: what can go wrong with a connection. Delays, narrow lines, resets, black holes, cuts, a server that is down."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from rig.install import RigError, go_program
from rig.process import answers
from rig.servers import Server


class Upstream(Protocol):
    """What a proxy can stand before: a server of the rig, or another proxy."""

    @property
    def dialect(self) -> str: ...

    @property
    def endpoint(self) -> str: ...

    @property
    def url(self) -> str: ...

    def advertise(self, endpoint: str) -> None: ...


class Toxiproxy(Server):
    """The program that runs the proxies."""

    name = "toxiproxy"

    def install(self) -> Sequence[str]:
        return [str(go_program("toxiproxy"))]

    def arguments(self) -> Sequence[str]:
        return ["-host", "127.0.0.1", "-port", str(self.port)]

    def ready(self) -> bool:
        return answers(self.port, "/version")

    def proxy(self, upstream: Upstream) -> Proxy:
        """Put a new proxy before a server or another proxy. Close it, or use it in a `with`."""
        return Proxy(self, upstream)

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """One request to its API.

        Raises:
            RigError: It refused.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, None if content is None else json.dumps(content))
            reply = connection.getresponse()
            body = reply.read()
            if reply.status >= 300:
                raise RigError(f"Toxiproxy answered {reply.status} to {method} {path}: {body.decode(errors='replace')}")
            return json.loads(body) if body else None
        finally:
            connection.close()


class Proxy:
    """One proxy, which does nothing until told.

    Attributes:
        url: What to give to the SDK in place of the server's.
        endpoint: Scheme, host and port of it.
        dialect: The server's.
    """

    def __init__(self, toxiproxy: Toxiproxy, upstream: Upstream) -> None:
        self._toxiproxy, self._upstream = toxiproxy, upstream
        self._path = f"/proxies/{secrets.token_hex(6)}"
        wanted = {"listen": "127.0.0.1:0", "upstream": urlsplit(upstream.endpoint).netloc, "enabled": True}
        made = toxiproxy.ask("POST", "/proxies", {"name": self._path.rpartition("/")[2], **wanted})
        self.dialect = upstream.dialect
        self.endpoint = f"http://{made['listen']}"
        self.url = self.endpoint + urlsplit(upstream.url).path
        upstream.advertise(self.endpoint)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove it; its connections break."""
        self._toxiproxy.ask("DELETE", self._path)
        self._upstream.advertise(self._upstream.endpoint)

    def advertise(self, endpoint: str) -> None:
        """Make the server behind it name this end point in its replies."""
        self._upstream.advertise(endpoint)

    def toxic(self, kind: str, *, stream: str = "downstream", toxicity: float = 1.0, **attributes: int) -> None:
        """Spoil the line from now on, for open connections too.

        Args:
            kind: `latency` (latency, jitter in ms), `bandwidth` (rate in KB/s), `slow_close` (delay in ms), `timeout` (timeout in ms;
                0 is a black hole), `reset_peer` (timeout in ms), `slicer` (average_size, size_variation in bytes, delay in µs),
                `limit_data` (bytes).
            stream: `downstream` spoils replies, `upstream` requests.
            toxicity: The share of connections that are struck.
            attributes: Of this kind.
        """
        wanted = {"name": secrets.token_hex(6), "type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        self._toxiproxy.ask("POST", f"{self._path}/toxics", wanted)

    def down(self) -> None:
        """Break every connection and refuse new ones."""
        self._toxiproxy.ask("POST", self._path, {"enabled": False})

    def up(self) -> None:
        """Accept connections again, on the same port."""
        self._toxiproxy.ask("POST", self._path, {"enabled": True})

    def reset(self) -> None:
        """Remove every toxic and be up."""
        for toxic in self._toxiproxy.ask("GET", f"{self._path}/toxics"):
            self._toxiproxy.ask("DELETE", f"{self._path}/toxics/{toxic['name']}")
        self.up()
