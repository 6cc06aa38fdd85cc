"""Checkpoints over HTTP, as JupyterLab asks for them."""

from __future__ import annotations

import re

import pytest


@pytest.fixture(scope="module")
def server(start_server):
    return start_server()


def put(server, path, content):
    reply = server.request("PUT", f"/api/contents/{path}", body={"type": "file", "format": "text", "content": content})
    assert reply.status in (200, 201), reply.body


def text(server, path):
    return server.request("GET", f"/api/contents/{path}", query={"type": "file"}).json["content"]


def test_the_whole_round(server):
    put(server, "a.txt", "one")
    made = server.request("POST", "/api/contents/a.txt/checkpoints")
    assert made.status == 201
    assert set(made.json) == {"id", "last_modified"}
    assert made.headers["location"].endswith(f"/api/contents/a.txt/checkpoints/{made.json['id']}")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)", made.json["last_modified"])
    assert server.request("GET", "/api/contents/a.txt/checkpoints").json == [made.json]
    put(server, "a.txt", "two")
    one = f"/api/contents/a.txt/checkpoints/{made.json['id']}"
    assert server.request("POST", one).status == 204
    assert text(server, "a.txt") == "one"
    put(server, "a.txt", "three")
    listed = server.request("GET", "/api/contents/a.txt/checkpoints").json
    assert [model["id"].endswith("-undo") for model in listed] == [False, True]
    assert server.request("DELETE", one).status == 204
    assert server.request("DELETE", one).status == 404
    assert server.request("POST", one).status == 404


def test_what_there_is_none_of(server):
    assert server.request("GET", "/api/contents/missing.txt/checkpoints").json == []
    assert server.request("POST", "/api/contents/missing.txt/checkpoints").status == 404


def test_a_denying_store_is_a_403_with_its_reason(server, monkeypatch):
    """The one status at which JupyterLab opens the file all the same."""
    from cloudcontents.errors import PermissionDeniedError

    put(server, "b.txt", "one")

    async def deny(*args, **kwargs):
        raise PermissionDeniedError("This bucket can only be read.")

    monkeypatch.setattr(server.bucket.backend, "copy", deny)
    reply = server.request("POST", "/api/contents/b.txt/checkpoints")
    assert (reply.status, reply.json["message"]) == (403, "This bucket can only be read.")


@pytest.mark.parametrize("path", [".hidden", ".cloudcontents/x", "d/.cloudcontents/checkpoints/x", "d/.h/x"])
def test_what_is_hidden_or_ours_is_not_there(server, path):
    for method, route in (("GET", ""), ("POST", ""), ("POST", "/x"), ("DELETE", "/x")):
        reply = server.request(method, f"/api/contents/{path}/checkpoints{route}")
        assert reply.status in (400, 404), (method, route, reply.body)
