"""Clients, servers (kill -9), both, and the line to the store are cut at random points of an upload to real servers, by tus, by parts and
by JupyterLab's chunks; other servers and clients go on.

What was acknowledged is never lost, what is sent again is told in parts of 8 MiB, the old file is whole until the new one is, and nothing
is left. A client sends one part a request; with ``stream`` everything in one, of which a killed server loses what was on its way.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import itertools
import json
import socket
import struct
import time

import pytest

from rig.jupyter import JupyterServer
from rig.leavings import new_bucket, seeded

MIB = 2**20
PART = 8 * MIB
PIECE = 64 * 1024
PATH = "big.bin"
OLD = b"the old file"

#: What goes wrong, by name. The last one needs a store that is reached over a line.
KINDS = ("client", "server", "both", "other server", "other client", "line")

#: Parts of one upload that a server has in its hands at the most: eight on their way, and the one that is being filled.
TOGETHER = 9


@pytest.fixture
def rng(request):
    """Chance; its seed is printed."""
    return seeded(request)


class Place:
    """Two servers on one bucket, and the line to it.

    Attributes:
        servers: The one that is asked is the first.
        hanging: Connections that were left open in the middle of a request.
    """

    def __init__(self, bucket, servers, line):
        self.bucket, self.servers, self.line = bucket, servers, line
        self.hanging, self.old = [], OLD
        self.browser = None

    @property
    def kinds(self):
        return KINDS if self.line is not None else KINDS[:-1]

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.servers[0].port, timeout=120)
        try:
            connection.request(method, path, body, self.headers(headers))
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def headers(self, more):
        every = {"Authorization": f"token {self.servers[0].token}", "Tus-Resumable": "1.0.0", **(more or {})}
        return {name: value for name, value in every.items() if value}

    def send_until(self, method, path, headers, body, cut, kind):
        """Send a request, and let something go wrong after `cut` bytes of its body; returns whether it was answered well all
        the same; None where it was refused before."""
        connection = socket.create_connection(("127.0.0.1", self.servers[0].port))
        connection.settimeout(120)
        lines = {"Host": "localhost", "Content-Length": len(body), **headers}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        connection.sendall(head.encode() + b"\r\n")
        try:
            for at in range(0, cut, PIECE):
                connection.sendall(body[at : min(at + PIECE, cut)])
        except ConnectionError:
            # Another server was still at work on what it had, and the upload goes on further on by now.
            reply = connection.recv(10_000)
            connection.close()
            assert reply.startswith(b"HTTP/1.1 409"), reply
            return None
        if kind == "line":
            self.line.down()
            self.line.up()
            connection.sendall(body[cut:])
            reply = http.client.HTTPResponse(connection)
            reply.begin()
            reply.read()
            connection.close()
            return reply.status < 300
        if kind in ("client", "both"):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        if kind in ("server", "both"):
            self.servers[0].kill()
            connection.close()
            self.servers[0].start()
            self.browser = None
        if kind == "other server":
            self.servers.reverse()
            self.browser = None
        if kind.startswith("other"):
            self.hanging.append(connection)
        return False

    def content(self):
        code, _, body = self.ask("GET", f"/files/{PATH}")
        return body if code == 200 else None

    def nothing_is_left(self):
        """Hanging requests end now; who finds his upload gone takes away what he still had in hands."""
        for connection in self.hanging:
            connection.close()
        ends = time.monotonic() + 30
        while self.bucket.left() and time.monotonic() < ends:
            time.sleep(0.2)
        return self.bucket.left() == []


@pytest.fixture
def place_of(request, tmp_path, monkeypatch):
    """Starts two servers on a new bucket of a store."""
    with contextlib.ExitStack() as running:

        def make(kind):
            bucket = new_bucket(kind, request, tmp_path)
            line = None
            if kind != "file":
                store = request.getfixturevalue(kind)
                line = running.enter_context(request.getfixturevalue("toxiproxy").proxy(store))
                for variable, value in store.environment(line.url).items():
                    monkeypatch.setenv(variable, value)
            servers = []
            for number in range(2):
                home = tmp_path / f"server-{number}"
                home.mkdir()
                servers.append(JupyterServer(home, {"url": bucket.url}))
                running.callback(servers[-1].kill)
                servers[-1].start()
            place = Place(bucket, servers, line)
            running.callback(lambda: [connection.close() for connection in place.hanging])
            return place

        yield make


class Tally:
    """What was sent again after each interruption, in parts."""

    def __init__(self, size, count, kinds, rng):
        self.again = []
        self.points = sorted(rng.sample(range(1, size), count))
        self.kinds = itertools.cycle(rng.sample(kinds, len(kinds)))

    def told(self, what):
        worst = max(self.again, default=0)
        average = sum(self.again) / max(len(self.again), 1)
        print(f"{what}: interrupted {len(self.again)} times; parts sent again: {worst:.2f} at most, {average:.2f} on average")


def by_tus(place, data, tally, step):
    named = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in {"path": PATH, "overwrite": "true"}.items())
    code, told, body = place.ask("POST", "/cloudcontents/uploads", headers={"Upload-Length": str(len(data)), "Upload-Metadata": named})
    assert code == 201, body
    address = told["Location"]
    acknowledged = position = 0
    struck = False
    while True:
        code, told, body = place.ask("HEAD", address)
        assert code == 200, body
        offset = int(told["Upload-Offset"])
        assert offset >= acknowledged, "what was acknowledged is kept"
        if struck:
            tally.again.append((position - offset) / PART)
        acknowledged, struck = offset, False
        if offset == len(data):
            return
        end = min(offset + step, len(data))
        headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        if tally.points and tally.points[0] <= end:
            position = max(tally.points.pop(0), offset)
            struck = True
            answered = place.send_until("PATCH", address, place.headers(headers), data[offset:end], position - offset, next(tally.kinds))
            if answered is None:
                tally.points.insert(0, position)
                struck = False
            elif answered:
                acknowledged = position = end
        else:
            code, told, body = place.ask("PATCH", address, data[offset:end], headers)
            if code == 409:
                continue  # as above
            assert (code, told["Upload-Offset"]) == (204, str(end)), body
            acknowledged = end


def by_parts(place, data, tally, step):
    code, _, body = place.ask(
        "POST", "/cloudcontents/uploads", json.dumps({"path": PATH, "size": len(data), "overwrite": True}), {"Tus-Resumable": None}
    )
    assert code == 201, body
    id = json.loads(body)["id"]
    held = set()
    while True:
        code, _, body = place.ask("GET", f"/cloudcontents/uploads/{id}/parts")
        assert code == 200, body
        needed = json.loads(body)["needed"]
        assert held.isdisjoint(needed), "what was acknowledged is kept"
        if not needed:
            break
        number = needed[len(needed) // 2]
        part = data[(number - 1) * PART : number * PART]
        path = f"/cloudcontents/uploads/{id}/parts/{number}"
        if tally.points:
            # As many points as there were, wherever they fall within this part.
            cut = tally.points.pop() % len(part)
            if place.send_until("PUT", path, place.headers(None), part, cut, next(tally.kinds)):
                held.add(number)
                cut = 0
            tally.again.append(cut / PART)
        else:
            code, _, body = place.ask("PUT", path, part)
            assert code == 200, body
            held.add(number)
    code, _, body = place.ask("POST", f"/cloudcontents/uploads/{id}/complete", b"")
    assert code == 200, body


def by_chunks(place, data, tally, step):
    """As JupyterLab: 1 MiB at a time, and from the first one again after a failure."""

    def chunk(number, piece):
        if place.browser is None:
            place.browser = place.servers[0].session()
        content = base64.b64encode(piece).decode()
        model = {"type": "file", "format": "base64", "name": PATH, "path": PATH, "content": content, "chunk": number}
        cookie = "; ".join(f"{name}={value}" for name, value in place.browser.cookies.items())
        sent = {"Cookie": cookie, "X-XSRFToken": place.browser.cookies["_xsrf"], "Content-Type": "application/json"}
        return json.dumps(model).encode(), sent

    while True:
        number = 0
        for at in range(0, len(data), MIB):
            last = at + MIB >= len(data)
            number = -1 if last else number + 1
            body, headers = chunk(number, data[at : at + MIB])
            if tally.points and tally.points[0] <= at + MIB:
                cut = (tally.points.pop(0) - at) % len(body)
                kind = next(tally.kinds)
                if not place.send_until("PUT", f"/api/contents/{PATH}", headers, body, cut, kind):
                    assert digest(place.content()) == digest(place.old)
                    tally.again.append(at / PART)
                    # Points are spread over the file, which begins anew.
                    break
            else:
                code, _, answer = _plain(place, body, headers)
                assert code in (200, 201), answer
            if last:
                return


def _plain(place, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", place.servers[0].port, timeout=120)
    try:
        connection.request("PUT", f"/api/contents/{PATH}", body, headers)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


CLIENTS = {"tus": by_tus, "stream": by_tus, "parts": by_parts, "chunks": by_chunks}


def digest(data):
    """What is compared: megabytes make no readable difference."""
    return len(data), hashlib.sha256(data).hexdigest()


def interrupted(place, protocol, size, count, rng):
    code, _, body = place.ask("PUT", f"/api/contents/{PATH}", json.dumps({"type": "file", "format": "text", "content": OLD.decode()}))
    assert code in (200, 201), body
    place.old = OLD
    tally = Tally(size, count, place.kinds, rng)
    while tally.points:
        # One upload may end before all of them were come to: where the store came back at once, its client noticed nothing.
        data = rng.randbytes(size)
        CLIENTS[protocol](place, data, tally, size if protocol == "stream" else PART)
        assert digest(place.content()) == digest(data)
        place.old = data
    if protocol == "chunks":
        # Of each attempt that was cut off something waits, until its client begins again, it is cancelled, or it has expired.
        for upload in json.loads(place.ask("GET", "/cloudcontents/uploads")[2])["uploads"]:
            assert place.ask("DELETE", f"/cloudcontents/uploads/{upload['id']}")[0] == 204
    assert place.nothing_is_left(), place.bucket.left()
    most = {"tus": 1, "parts": 1, "stream": TOGETHER, "chunks": size / PART}[protocol]
    assert max(tally.again) <= most
    return tally


def test_an_upload_is_interrupted_now_and_then(place_of, rng):
    place = place_of("minio")
    interrupted(place, "tus", 3 * PART + 12_345, len(place.kinds), rng)
    interrupted(place, "chunks", 3 * MIB, 2, rng)


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("store", ["file", "minio", "fake_gcs", "azurite"])
@pytest.mark.parametrize("protocol", CLIENTS)
def test_twenty_random_points(place_of, store, protocol, rng):
    place = place_of(store)
    size = 17 * MIB + 77 if protocol == "chunks" else 64 * MIB + 77
    tally = interrupted(place, protocol, size, 20, rng)
    tally.told(f"{store}, {protocol}")
