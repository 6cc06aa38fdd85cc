"""The server extension: what it does at the start, now and then, and at the end."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from cloudcontents.errors import UnavailableError
from cloudcontents.extension import CloudContentsExtension
from cloudcontents.journal import Journal


@pytest.fixture
def extension():
    """The extension of a running server."""

    def of(server):
        (app,) = server.app.extension_manager.extension_apps["cloudcontents"]
        return app

    return of


def logged(server, text):
    return [line for line in server.log if text in line]


def test_enabled_by_the_package(start_server, extension):
    server = start_server(extension=True)
    assert isinstance(extension(server), CloudContentsExtension)
    assert len(extension(server)._tasks) == 2


def test_recovers_what_a_dead_server_left(start_server, extension):
    server = start_server(extension=True)
    for number in range(3):
        server.run(lambda number=number: server.bucket.put(f"old/{number}", b"x"))

    async def die():
        journal = Journal(server.bucket)
        journal._owner |= {"pid": os.getpid(), "start": "another process had this number", "instance": "dead"}
        async with journal.operation("move", [("old/", "new/")]):
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        server.run(die)
    server.run(extension(server).recover)
    assert sorted(key for key in server.store.snapshot() if key.startswith(("old/", "new/"))) == ["new/0", "new/1", "new/2"]
    assert logged(server, "Recovered: move")


def test_says_that_a_store_is_unsafe(start_server, extension, monkeypatch):
    server = start_server(extension=True)
    assert not logged(server, "no conditional writes")
    backend = server.bucket.backend
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, put_if_version=False))
    server.run(extension(server).warn_of_unsafe_stores)
    (line,) = logged(server, "no conditional writes")
    assert server.url in line


def test_starts_and_ends_with_a_store_that_is_away(start_server, extension, monkeypatch):
    asked = threading.Event()

    async def away(*args, **kwargs):
        asked.set()
        raise UnavailableError("The store is away.")

    monkeypatch.setattr("cloudcontents.backends.memory.MemoryBackend.list", away)
    monkeypatch.setattr("cloudcontents.backends.memory.MemoryBackend.close", away)
    server = start_server(extension=True)
    assert asked.wait(10)
    assert server.request("GET", "/api/status").status == 200

    async def once():
        await extension(server)._carefully("recover", extension(server).recover)

    monkeypatch.setattr(server.bucket, "patience", replace(server.bucket.patience, attempts=1))
    server.run(once)
    assert logged(server, "Could not recover; trying again later. The store is away.")
    server.stop()
    assert not logged(server, "Traceback")


def test_a_failure_of_ours_does_not_end_the_work(start_server, extension):
    server = start_server(extension=True)

    async def broken():
        raise RuntimeError("a mistake")

    async def once():
        await extension(server)._carefully("sweep", broken)

    server.run(once)
    assert logged(server, "Could not sweep; trying again later.")


def test_sweeps(start_server, extension):
    server = start_server(extension=True, config={"CloudContentsManager": {"trash_days": 0}})
    server.request("PUT", "/api/contents/x.txt", body={"type": "file", "format": "text", "content": "x"})
    server.request("DELETE", "/api/contents/x.txt")
    server.run(extension(server).sweep)
    assert server.request("GET", "/cloudcontents/trash").json == {"trash": [], "unreachable": []}


def test_closes_the_manager_at_the_end(start_server, extension, monkeypatch):
    server = start_server(extension=True)
    closed = []
    inner = server.manager.close

    async def close():
        closed.append(True)
        await inner()

    monkeypatch.setattr(server.manager, "close", close)
    app = extension(server)
    server.stop()
    assert closed
    assert app._tasks == ()


def test_keeps_credentials_out_of_the_servers_log(start_server):
    server = start_server(extension=True)
    server.app.log.warning("GET https://x/y?X-Amz-Signature=0123456789abcdef0123456789abcdef")
    (line,) = logged(server, "X-Amz-Signature")
    assert "0123456789abcdef" not in line


def test_does_nothing_under_another_manager(start_server, extension):
    server = start_server(
        extension=True,
        config={"ServerApp": {"contents_manager_class": "jupyter_server.services.contents.largefilemanager.AsyncLargeFileManager"}},
    )
    app = extension(server)
    assert app._tasks == ()
    for work in (app.recover, app.sweep, app.warn_of_unsafe_stores, app.stop_extension):
        server.run(work)
    assert server.request("GET", "/api/contents").status == 200
    assert server.request("GET", "/cloudcontents/status").status == 404


def test_a_preferred_directory_that_is_missing_is_told_and_stops_nothing(start_server, extension):
    server = start_server(config={"CloudContentsManager": {"preferred_dir": "not/there"}}, extension=True)
    server.run(extension(server).look_for_preferred_dir)
    assert logged(server, "preferred directory 'not/there' does not exist")
    server.run(lambda: server.bucket.put("not/there/x.txt", b"x"))
    server.log.clear()
    server.run(extension(server).look_for_preferred_dir)
    assert not logged(server, "preferred directory")


def test_a_store_that_is_away_does_not_keep_the_server_from_starting(start_server, extension, tmp_path):
    url = (tmp_path / "away").as_uri()
    server = start_server(url, {"CloudContentsManager": {"preferred_dir": "d"}}, extension=True)
    assert server.request("GET", "/api/status").status == 200
    assert server.request("GET", "/api/contents").status in (502, 503)
