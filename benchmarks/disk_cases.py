"""What is measured: each case does one thing again and again for some seconds, against any server."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .notebooks import as_sent, notebook_bytes
from .servers import Server

ENTRIES = 10_000
FILES = 500

#: Does its work once and returns the seconds that count, and those to the first byte where that is of interest.
Once = Callable[[Server], tuple[float, float | None]]


@dataclass(frozen=True)
class Case:
    """One row of the report.

    Attributes:
        name: In the report.
        once: The work.
        seconds: How long it is repeated in each round, at least.
        every: Seconds from one start to the next; 0: one after the other. Where one server needs a fraction of the other's time, only
            an equal pace lets those who wait meet the same number of operations on both.
    """

    name: str
    once: Once
    seconds: float
    every: float = 0.0


def seed(directory: Path, gib: float) -> None:
    """Fill a directory with what the cases want."""
    many = directory / "many"
    many.mkdir(parents=True)
    for number in range(ENTRIES):
        (many / f"measurement-{number:05}.csv").write_bytes(b"1,2,3\n" * 10)
    tree = directory / "tree"
    for number in range(FILES):
        at = tree / f"part-{number % 10}"
        at.mkdir(parents=True, exist_ok=True)
        (at / f"{number}.txt").write_bytes(b"x" * 1000)
    (directory / "small.ipynb").write_bytes(notebook_bytes(10))
    (directory / "big.ipynb").write_bytes(notebook_bytes(1000))
    with (directory / "huge.bin").open("wb") as file:
        file.truncate(int(gib * 2**30))


def timed(work: Callable[[], object]) -> tuple[float, None]:
    """Seconds that some work took."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun, None


def fetch(path: str) -> Once:
    """A GET through the Contents API."""
    return lambda server: timed(lambda: server.request("GET", f"/api/contents/{path}"))


def save(path: str, cells: int) -> Once:
    """A save of a notebook that is there, through the Contents API."""
    body = json.dumps({"type": "notebook", "format": "json", "content": as_sent(cells)}).encode()
    return lambda server: timed(lambda: server.request("PUT", f"/api/contents/{path}", body))


def rename_directory(server: Server) -> tuple[float, None]:
    """Rename the tree, and back."""

    def work() -> None:
        server.json("PATCH", "/api/contents/tree", {"path": "moved"})
        server.json("PATCH", "/api/contents/moved", {"path": "tree"})

    took, _ = timed(work)
    return took / 2, None


def copy_directory(server: Server) -> tuple[float, None]:
    """Copy the tree; what was made is deleted, unmeasured."""
    made: list[str] = []
    took = timed(lambda: made.append(server.json("POST", "/api/contents", {"copy_from": "tree"})["path"]))
    server.request("DELETE", f"/api/contents/{made[0]}")
    return took


def delete_directory(server: Server) -> tuple[float, None]:
    """Delete a copy of the tree that was made unmeasured."""
    path = server.json("POST", "/api/contents", {"copy_from": "tree"})["path"]
    return timed(lambda: server.request("DELETE", f"/api/contents/{path}"))


def download(server: Server) -> tuple[float, float]:
    """GET /files/ of the big file, by a client that reads as fast as it can and keeps nothing."""
    size = (server.directory / "huge.bin").stat().st_size
    lines = f"GET /files/huge.bin HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: token {server.token}\r\n\r\n"
    buffer = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", server.port), timeout=600) as connection:
        begun = time.perf_counter()
        connection.sendall(lines.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        body = head.partition(b"\r\n\r\n")[2]
        assert b" 200 " in head.split(b"\r\n")[0], head[:300]
        got = len(body)
        if not got:
            got = connection.recv_into(buffer)
        first = time.perf_counter() - begun
        while got < size:
            count = connection.recv_into(buffer)
            assert count, "the download ended early"
            got += count
        return time.perf_counter() - begun, first


def cases(gib: float) -> list[Case]:
    """All of them."""
    return [
        Case(f"list {ENTRIES:,} entries", fetch("many"), 4.0),
        Case(f"list {ENTRIES:,} entries, every 3 s", fetch("many"), 6.0, every=3.0),
        Case("open a 5 MB notebook", fetch("big.ipynb"), 3.0),
        Case("save a 5 MB notebook", save("big.ipynb", 1000), 4.0),
        Case("save a 5 MB notebook, every 1 s", save("big.ipynb", 1000), 4.0, every=1.0),
        Case("open a 50 KB notebook", fetch("small.ipynb"), 1.0),
        Case("save a 50 KB notebook", save("small.ipynb", 10), 1.0),
        Case("look at a notebook (content=0)", fetch("small.ipynb?content=0"), 1.0),
        Case(f"rename a directory of {FILES}", rename_directory, 1.0),
        Case(f"copy a directory of {FILES}", copy_directory, 1.0),
        Case(f"delete a directory of {FILES}", delete_directory, 1.0),
        Case(f"download {gib:g} GiB from /files/", download, 0.0),
    ]
