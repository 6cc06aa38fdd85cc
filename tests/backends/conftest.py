"""A store that answers what it is told to, for replies that no emulator gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Script:
    """Answers in order, the last one again and again. A callable answer is given the request."""

    url: str = ""
    answers: list[Any] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def say(self, status: int, body: Any = b"", **headers: str) -> Script:
        """Add an answer; a body that is not bytes goes as JSON. In a header's name `_` is `-`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, content))
        return self

    def do(self, answer: Callable[[Asked], tuple[int, dict[str, str], bytes]]) -> Script:
        """Add an answer that depends on the request."""
        self.answers.append(answer)
        return self

    def take(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(asked)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(asked) if callable(answer) else answer


@pytest.fixture
def script() -> Iterator[Script]:
    """A server on a free port that says what it is told to say."""
    told = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            status, sent, content = told.take(Asked(self.command, parts.path, query, headers, body))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **sent}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="script")
    thread.start()
    yield told
    server.shutdown()
    thread.join()
    server.server_close()
