"""Many uploads at once to one real server: all arrive, and who lists a directory meanwhile does not wait for them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from rig.jupyter import JupyterServer
from rig.leavings import new_bucket, seeded

MIB = 2**20
BLOCK = random.Random(1).randbytes(MIB)


def body(number, size):
    """The content of one file, block by block: every file is another one."""
    first = number.to_bytes(4, "big") + BLOCK
    for at in range(0, size, MIB):
        yield (first if at == 0 else BLOCK)[: min(MIB, size - at)]


def digest(number, size):
    found = hashlib.sha256()
    for piece in body(number, size):
        found.update(piece)
    return found.hexdigest()


def upload(server, number, size):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=900)
    every = {"Authorization": f"token {server.token}", "Tus-Resumable": "1.0.0"}
    named = f"path {base64.b64encode(f'many/f{number}.bin'.encode()).decode()}"
    connection.request("POST", "/cloudcontents/uploads", headers={**every, "Upload-Length": str(size), "Upload-Metadata": named})
    reply = connection.getresponse()
    assert reply.status == 201, reply.read()
    address = reply.getheader("Location")
    reply.read()
    sent = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0", "Content-Length": str(size)}
    connection.request("PATCH", address, body(number, size), {**every, **sent})
    reply = connection.getresponse()
    assert (reply.status, reply.getheader("Upload-Offset")) == (204, str(size)), reply.read()
    reply.read()
    connection.close()


def stored(server, number):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=900)
    connection.request("GET", f"/files/many/f{number}.bin", headers={"Authorization": f"token {server.token}"})
    reply = connection.getresponse()
    found = hashlib.sha256()
    while piece := reply.read(MIB):
        found.update(piece)
    connection.close()
    return found.hexdigest()


def together(request, tmp_path, kind, count, sizes):
    """Upload them all at once; returns what listings took, in seconds, and how the server's memory grew, in bytes."""
    rng = seeded(request)
    bucket = new_bucket(kind, request, tmp_path)
    home = tmp_path / "server"
    home.mkdir()
    server = JupyterServer(home, {"url": bucket.url})
    server.start()
    try:
        process = psutil.Process(server.pid)
        browser = server.session(300)
        browser.names("")
        idle, peak, seconds = process.memory_info().rss, 0, []
        done = threading.Event()

        def look():
            nonlocal peak
            while not done.is_set():
                began = time.perf_counter()
                browser.names("")
                seconds.append(time.perf_counter() - began)
                peak = max(peak, process.memory_info().rss)
                done.wait(0.02)

        lister = threading.Thread(target=look)
        lister.start()
        wanted = [rng.randint(*sizes) for _ in range(count)]
        try:
            with ThreadPoolExecutor(count) as clients:
                list(clients.map(lambda number: upload(server, number, wanted[number]), range(count)))
        finally:
            done.set()
            lister.join()
        with ThreadPoolExecutor(4) as clients:
            assert list(clients.map(lambda number: stored(server, number), range(count))) == list(map(digest, range(count), wanted))
        assert bucket.left() == []
    finally:
        server.kill()
    seconds.sort()
    median, slowest = (1000 * seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
    print(f"{kind}: {count} uploads, {sum(wanted) / MIB:.0f} MiB; {len(seconds)} listings: median {median:.0f} ms, p99 {slowest:.0f} ms")
    print(f"memory: {(peak - idle) / MIB:.0f} MiB over idle")


def test_twenty_uploads_at_once(request, tmp_path):
    together(request, tmp_path, "file", 20, (1, 3 * MIB))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["file", "minio"])
def test_two_hundred_uploads_at_once(request, tmp_path, kind):
    together(request, tmp_path, kind, 200, (MIB, 64 * MIB))
