"""Downloads from a directory: files that change under the reader, links, and the memory that a large one takes."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def server(start_server, bucket):
    return start_server(f"file://{bucket}")


def test_replaced_file_is_sent_as_it_was(server, bucket):
    old, new = os.urandom(24 * MIB), os.urandom(24 * MIB)
    (bucket / "replaced.bin").write_bytes(old)
    reply = server.received_while("/files/replaced.bin", lambda: server.run(lambda: server.bucket.put("replaced.bin", new)))
    assert not reply.broken
    assert reply.body == old
    assert server.request("GET", "/files/replaced.bin").body == new


def test_file_changed_in_place_breaks_the_download(server, bucket):
    (bucket / "scribbled.bin").write_bytes(b"a" * 24 * MIB)

    def scribble():
        with open(bucket / "scribbled.bin", "r+b") as file:
            file.write(b"b" * 24 * MIB)

    reply = server.received_while("/files/scribbled.bin", scribble)
    assert reply.broken
    assert b"b" not in reply.body


def test_truncated_file_breaks_the_download(server, bucket):
    (bucket / "cut.bin").write_bytes(b"a" * 24 * MIB)
    assert server.received_while("/files/cut.bin", lambda: os.truncate(bucket / "cut.bin", MIB)).broken


def test_nothing_outside_is_served(server, bucket, tmp_path):
    (tmp_path / "outside.txt").write_text("canary")
    (bucket / "link.txt").symlink_to(tmp_path / "outside.txt")
    (bucket / "linked").symlink_to(tmp_path)
    (server.directory / "server-root" / "own.txt").write_text("canary")
    paths = ["/files/link.txt", "/files/linked/outside.txt", "/files/own.txt", f"/files/{tmp_path}/outside.txt"]
    for path in [*paths, "/files/..%2Foutside.txt", "/files/%2e%2e/outside.txt", "/files/%2Fetc/passwd"]:
        reply = server.request("GET", path, raw=True)
        assert reply.status == 404, path
        assert b"canary" not in reply.body
    assert b"canary" not in server.request("GET", "/cloudcontents/archive").body


@pytest.fixture
def process(jupyter_environment, tmp_path):
    """A server in a process of its own, on a bucket with a sparse file of 1 GiB; yields the process, its port and its token."""
    bucket = tmp_path / "big"
    bucket.mkdir()
    with open(bucket / "sparse.bin", "wb") as file:
        file.truncate(GIB)
    with http_port() as port:
        pass
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--CloudContentsManager.url=file://{bucket}", "--ServerApp.contents_manager_class=cloudcontents.CloudContentsManager"]
    command += ["--IdentityProvider.token=abc", f"--ServerApp.root_dir={tmp_path}"]
    with open(tmp_path / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            wait_for(port, running, tmp_path / "log")
            yield running, port
        finally:
            running.terminate()
            running.wait(30)


@contextlib.contextmanager
def http_port():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def wait_for(port, running, log):
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        assert running.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/api/status", headers={"Authorization": "token abc"})
            if connection.getresponse().status == 200:
                connection.close()
                return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def peak(pid):
    """The most memory that a process ever had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's peak figure is Linux's")
def test_a_large_download_takes_little_memory(process):
    running, port = process
    before = psutil.Process(running.pid).memory_info().rss
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/files/sparse.bin", headers={"Authorization": "token abc"})
    reply = connection.getresponse()
    received = 0
    while piece := reply.read(MIB):
        received += len(piece)
    connection.close()
    assert received == GIB
    assert peak(running.pid) - before <= 64 * MIB
