"""What a download does when things go wrong on the way: it breaks, and never ends well with a part."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading

import pytest

from cloudcontents.backends import Reader
from cloudcontents.errors import UnavailableError

MIB = 1 << 20


def piece_of(number):
    """One MiB that no compression makes smaller."""
    return random.Random(number % 8).randbytes(MIB)


class ScriptedReader(Reader):
    """Yields pieces of one MiB, and does what the test says before each."""

    def __init__(self, info, pieces, before):
        self.info = info
        self.length = pieces * MIB
        self.pieces = pieces
        self.before = before
        self.given = 0
        self.closed = threading.Event()

    async def __aiter__(self):
        for number in range(self.pieces):
            await self.before(number)
            self.given += MIB
            yield piece_of(number)

    async def aclose(self):
        self.closed.set()


@pytest.fixture(scope="module")
def server(start_server):
    return start_server()


@pytest.fixture
def scripted(server, monkeypatch):
    """Let the store answer each GET of `big.bin` with a scripted reader; returns it."""

    def script(before, pieces=64):
        server.run(lambda: server.bucket.put("big.bin", b"x"))
        info = server.run(lambda: server.bucket.head("big.bin"))
        reader = ScriptedReader(info, pieces, before)
        inner = server.bucket.backend.get

        async def get(key, **options):
            if key == "big.bin":
                return reader
            return await inner(key, **options)

        monkeypatch.setattr(server.bucket.backend, "get", get, raising=False)
        return reader

    return script


async def nothing(number):
    return None


def read_to_the_end(connection):
    while connection.recv(MIB):
        pass


def failing_at(when):
    async def before(number):
        if number == when:
            raise UnavailableError("The store is away.")

    return before


def test_failure_before_the_first_byte_has_its_own_status(server, scripted):
    scripted(failing_at(0))
    reply = server.request("GET", "/files/big.bin")
    assert (reply.status, reply.json["code"]) == (503, "unavailable")
    assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize("when", [1, 32, 63])
def test_failure_on_the_way_breaks_the_connection(server, scripted, when):
    reader = scripted(failing_at(when))
    reply = server.request("GET", "/files/big.bin")
    assert reply.status == 200
    assert reply.broken
    assert len(reply.body) < 64 * MIB
    assert reader.closed.wait(10)


def test_a_short_body_breaks_the_connection(server, scripted):
    reader = scripted(nothing, pieces=3)
    reader.length = 4 * MIB
    reply = server.request("GET", "/files/big.bin")
    assert reply.headers["content-length"] == str(4 * MIB)
    assert reply.broken


def test_archive_that_fails_breaks_the_connection(server, scripted):
    scripted(failing_at(3))
    reply = server.request("GET", "/cloudcontents/archive")
    assert reply.status == 200
    assert reply.broken


def test_a_broken_archive_is_a_reset_for_http_1_0(server, scripted):
    # Without chunks the end of the connection is the end of the body: only a reset tells a client, or a proxy, of the failure.
    scripted(failing_at(3))
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(f"GET {server.base}/cloudcontents/archive HTTP/1.0\r\nAuthorization: token {server.token}\r\n\r\n".encode())
    with pytest.raises(ConnectionResetError):
        read_to_the_end(connection)
    connection.close()


def test_first_bytes_come_before_the_last_exist(server, scripted):
    go_on = asyncio.Event()

    async def before(number):
        if number == 1:
            await go_on.wait()

    scripted(before, pieces=2)
    connection = server.begin("/files/big.bin")
    received = b""
    while len(received) < MIB:
        received += connection.recv(MIB)

    async def release():
        go_on.set()

    server.run(release)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    while len(body) < 2 * MIB:
        body += connection.recv(MIB)
    assert body == piece_of(0) + piece_of(1)
    connection.close()


def test_a_client_that_does_not_read_is_waited_for(server, scripted):
    ran_ahead = threading.Event()

    async def before(number):
        if number == 64:  # far more than the kernel's buffers hold
            ran_ahead.set()

    reader = scripted(before, pieces=128)
    connection = server.begin("/files/big.bin")
    assert not ran_ahead.wait(1)
    received = 0
    while received < 100 * MIB:
        received += len(connection.recv(MIB))
    assert ran_ahead.is_set()
    connection.close()
    assert reader.closed.wait(10)


def test_a_client_that_goes_away_stops_the_reading(server, scripted):
    waiting = threading.Event()

    async def before(number):
        if number == 1:
            waiting.set()
            await asyncio.Event().wait()  # a store that never answers again

    reader = scripted(before)
    connection = server.begin("/files/big.bin")
    assert waiting.wait(10)
    connection.close()
    assert reader.closed.wait(10)


def test_overwritten_while_it_is_sent(server):
    old, new = os.urandom(24 * MIB), os.urandom(24 * MIB)
    server.run(lambda: server.bucket.put("moving.bin", old))
    reply = server.received_while("/files/moving.bin", lambda: server.run(lambda: server.bucket.put("moving.bin", new)))
    assert not reply.broken
    assert reply.body == old


@pytest.fixture
def swapped(server, monkeypatch):
    """Overwrite `swap.txt` once, right after the first HEAD of it."""
    server.run(lambda: server.bucket.put("swap.txt", b"one"))
    backend = server.bucket.backend
    inner = backend.head
    done = []

    async def head(key):
        info = await inner(key)
        if not done:
            done.append(await backend.put(key, b"two"))
        return info

    monkeypatch.setattr(backend, "head", head, raising=False)
    return done


def test_overwritten_between_the_two_requests_of_a_conditional_read(server, swapped):
    reply = server.request("GET", "/files/swap.txt", headers={"If-None-Match": '"x"'})
    assert (reply.status, reply.body) == (200, b"two")
    assert swapped[0].version in reply.headers["etag"]


def test_what_if_match_asked_for_is_what_is_sent(server, swapped):
    tag = server.request("GET", "/files/swap.txt").headers["etag"]
    assert not swapped
    reply = server.request("GET", "/files/swap.txt", headers={"If-Match": tag})
    assert swapped
    assert (reply.status, reply.json["code"]) == (412, "precondition_failed")


def test_object_beside_a_directory_is_reachable(server):
    server.run(lambda: server.bucket.put("both/f", b"below"))
    server.run(lambda: server.bucket.put("both", b"beside"))
    assert server.request("GET", "/files/both").body == b"beside"
