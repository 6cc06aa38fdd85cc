"""Plain HTTP for the suites of the upload protocols: nothing is added, followed or retried."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Mapping
from typing import Any

import pytest


class Wire:
    """Requests to one server, each on a connection of its own.

    Args:
        port: Where it listens.
        base: The path of its uploads.
        headers: What every request has.
    """

    def __init__(self, port: int, base: str, headers: Mapping[str, str]) -> None:
        self.port = port
        self.base = base
        self.headers = dict(headers)

    def __call__(
        self, method: str, address: str = "", body: Any = None, headers: Mapping[str, str | None] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of an answer. `address` is a path, or an upload's id; a header that is None is not sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name: value for name, value in {**self.headers, **(headers or {})}.items() if value is not None}
        address = address.removeprefix(f"http://127.0.0.1:{self.port}")
        path = address if address.startswith("/") else f"{self.base}{address and '/' + address}"
        try:
            connection.request(method, path, body=body, headers=sent, encode_chunked="Transfer-Encoding" in sent)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()


@pytest.fixture(scope="session")
def wire_to():
    """Talk to one of our servers: `wire_to(server, **headers)`."""

    def make(server: Any, **headers: str) -> Wire:
        return Wire(server.port, f"{server.base}/cloudcontents/uploads", {"Authorization": f"token {server.token}", **headers})

    return make


@pytest.fixture(scope="session")
def wire():
    """Talk to any server: `wire(port, base, headers)`."""
    return Wire


@pytest.fixture
def name() -> str:
    """A file that no other test has."""
    return f"f-{secrets.token_hex(4)}.bin"
