"""Large answers of the Contents API: written in a thread, otherwise the server's own."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest

from cloudcontents.handlers import contents


@pytest.fixture(scope="module")
def server(start_server):
    server = start_server(extension=True)

    async def fill():
        for number in range(700):
            await server.bucket.put(f"many/{number:03}.txt", b"x")
        await server.bucket.put("large.txt", b"x" * 300_000)
        await server.bucket.put("n.ipynb", json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode())

    server.run(fill)
    return server


@pytest.fixture
def written(monkeypatch):
    """The threads in which large answers were written."""
    threads = []

    def dumps(*args, **options):
        threads.append(threading.current_thread())
        return json.dumps(*args, **options)

    monkeypatch.setattr(contents, "json", SimpleNamespace(dumps=dumps))
    return threads


@pytest.mark.parametrize("path", ["many", "large.txt"])
def test_large_answers_are_written_off_the_event_loop(server, written, path):
    reply = server.request("GET", f"/api/contents/{path}", query={"content": "1"})
    (thread,) = written
    assert thread is not server._thread
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert "last-modified" in reply.headers
    model = server.run(lambda: server.manager.get(path))
    assert len(reply.json["content"]) == len(model["content"])
    assert reply.json["path"] == path
    assert set(reply.json) == set(model)


def test_small_answers_are_written_as_ever(server, written):
    assert server.request("GET", "/api/contents/n.ipynb").json["type"] == "notebook"
    assert server.request("GET", "/api/contents/many", query={"content": "0"}).json["content"] is None
    assert written == []


def test_the_routes_behind_the_pattern_still_work(server):
    assert server.request("POST", "/api/contents/n.ipynb/checkpoints").status == 201
    (checkpoint,) = server.request("GET", "/api/contents/n.ipynb/checkpoints").json
    assert server.request("POST", f"/api/contents/n.ipynb/checkpoints/{checkpoint['id']}").status == 204
    assert server.request("POST", "/api/contents/n.ipynb/trust").status == 201


def test_nobody_comes_in_who_did_not_before(server):
    assert server.bare("GET", "/api/contents/many").status == 403
    assert server.bare("PUT", "/api/contents/many/x.txt", body={"type": "file"}).status == 403


def test_an_answer_that_cannot_be_written_is_an_error(server, monkeypatch):
    def fail(*args, **options):
        raise ValueError("secret detail")

    monkeypatch.setattr(contents, "json", SimpleNamespace(dumps=fail))
    reply = server.request("GET", "/api/contents/many")
    assert reply.status == 500
    assert b"secret detail" not in reply.body
