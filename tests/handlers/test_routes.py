"""Conflicts, trash, checkpoints, status and metrics over HTTP."""

from __future__ import annotations

import secrets

import pytest

from cloudcontents.errors import UnavailableError

NOTEBOOK = b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


@pytest.fixture(scope="module", params=["memory", "file"])
def server(request, start_server, tmp_path_factory):
    if request.param == "memory":
        return start_server()
    return start_server(f"file://{tmp_path_factory.mktemp('bucket')}")


@pytest.fixture
def name():
    """A name that no other test uses."""
    return f"f{secrets.token_hex(4)}"


@pytest.fixture
def keep(server):
    """Keep a text as a refused save does."""

    def conflict(path, data=b"lost text", **what):
        what = {"client": "c", "base": None, "type": "file", "format": "text", **what}
        return server.run(lambda: server.manager.namespace.mounts[0].conflicts.keep(path, data, **what))

    return conflict


def save(server, path, text, **headers):
    return server.request("PUT", f"/api/contents/{path}", body={"type": "file", "format": "text", "content": text}, headers=headers)


# --- conflicts ----------------------------------------------------------------------------------------------------------


def test_the_text_of_a_refused_save_is_found(server, name):
    save(server, f"{name}.txt", "base")
    base = server.request("GET", f"/api/contents/{name}.txt").json["version"]
    save(server, f"{name}.txt", "the winner's")
    refused = server.request(
        "PUT", f"/api/contents/{name}.txt", body={"type": "file", "format": "text", "content": "the loser's", "version": base}
    )
    assert refused.status == 409
    (conflict,) = server.request("GET", "/cloudcontents/conflicts", query={"path": f"{name}.txt"}).json["conflicts"]
    assert conflict["id"] in refused.json["message"]
    assert (conflict["path"], conflict["base"], conflict["size"]) == (f"{name}.txt", base, len("the loser's"))
    text = server.request("GET", f"/cloudcontents/conflicts/{conflict['id']}")
    assert text.body == b"the loser's"
    assert save(server, f"{name}.txt", "x").status == 200  # and the file is still to be worked on


def test_conflicts_are_listed_by_path_and_all(server, name, keep):
    one, other = keep(f"{name}/a.txt"), keep(f"{name}/b.txt", by="someone")
    listed = server.request("GET", "/cloudcontents/conflicts", query={"path": f"/{name}/a.txt"}).json["conflicts"]
    assert [conflict["id"] for conflict in listed] == [one.id]
    every = {conflict["id"]: conflict for conflict in server.request("GET", "/cloudcontents/conflicts").json["conflicts"]}
    assert {one.id, other.id} <= set(every)
    assert every[other.id]["by"] == "someone"
    assert every[one.id]["kept"].endswith("+00:00")
    assert server.request("GET", "/cloudcontents/conflicts", query={"path": "none"}).json == {"conflicts": [], "unreachable": []}


def test_a_kept_text_is_a_download(server, name, keep):
    page = keep(f"{name}.html", b"<script>alert(1)</script>")
    reply = server.request("GET", f"/cloudcontents/conflicts/{page.id}")
    assert (reply.status, reply.body) == (200, b"<script>alert(1)</script>")
    assert reply.headers["content-disposition"] == f"attachment; filename*=utf-8''{name}.html"
    assert reply.headers["content-security-policy"].endswith("sandbox allow-scripts")
    assert reply.headers["x-content-type-options"] == "nosniff"
    info = server.request("GET", f"/cloudcontents/conflicts/{page.id}", query={"info": "1"})
    assert info.json["path"] == f"{name}.html"
    assert info.headers["content-type"] == "application/json"


def test_a_kept_text_is_forgotten(server, name, keep):
    conflict = keep(f"{name}.txt")
    assert server.request("DELETE", f"/cloudcontents/conflicts/{conflict.id}").status == 204
    for method in ("GET", "DELETE"):
        reply = server.request(method, f"/cloudcontents/conflicts/{conflict.id}")
        assert (reply.status, reply.json["code"]) == (404, "not_found")


def test_conflicts_of_hidden_files_are_hidden(server, name, keep, monkeypatch):
    conflict = keep(f".{name}/x.txt")
    ids = [found["id"] for found in server.request("GET", "/cloudcontents/conflicts").json["conflicts"]]
    assert conflict.id not in ids
    for method in ("GET", "DELETE"):
        assert server.request(method, f"/cloudcontents/conflicts/{conflict.id}").status == 404
    assert server.request("GET", "/cloudcontents/conflicts", query={"path": f".{name}/x.txt"}).status == 404
    monkeypatch.setattr(server.manager, "allow_hidden", True)
    assert server.request("GET", f"/cloudcontents/conflicts/{conflict.id}").body == b"lost text"


# --- trash ----------------------------------------------------------------------------------------------------------------


def trashed(server, path):
    (found,) = [item for item in server.request("GET", "/cloudcontents/trash").json["trash"] if item["path"] == path]
    return found


def test_a_deleted_file_is_restored(server, name):
    save(server, f"{name}.txt", "text")
    assert server.request("DELETE", f"/api/contents/{name}.txt").status == 204
    item = trashed(server, f"{name}.txt")
    assert item["kind"] == "file"
    reply = server.request("POST", f"/cloudcontents/trash/{item['id']}/restore")
    assert (reply.status, reply.json) == (200, {"path": f"{name}.txt"})
    assert server.request("GET", f"/files/{name}.txt").body == b"text"
    assert server.request("POST", f"/cloudcontents/trash/{item['id']}/restore").status == 404


def test_a_restore_is_told_to_listeners(server, name, monkeypatch):
    save(server, f"{name}.txt", "text")
    server.request("DELETE", f"/api/contents/{name}.txt")
    told = []
    monkeypatch.setattr(server.manager, "emit", lambda data: told.append(data))
    server.request("POST", f"/cloudcontents/trash/{trashed(server, f'{name}.txt')['id']}/restore")
    assert told == [{"action": "save", "path": f"{name}.txt"}]


def test_restore_to_another_name_and_never_over_something(server, name):
    save(server, f"{name}.txt", "old")
    server.request("DELETE", f"/api/contents/{name}.txt")
    save(server, f"{name}.txt", "new")
    restore = f"/cloudcontents/trash/{trashed(server, f'{name}.txt')['id']}/restore"
    refused = server.request("POST", restore)
    assert (refused.status, refused.json["code"]) == (409, "already_exists")
    for to in (f".{name}", f"x/.cloudcontents/{name}", "../x", "a//b", 5, ""):
        assert server.request("POST", restore, body={"to": to}).status in (400, 404, 409), to
    assert server.request("POST", restore, body=["to"]).status == 400
    assert server.request("POST", restore, body=b"{").status == 400
    reply = server.request("POST", restore, body={"to": f"{name}/back/old.txt"})
    assert reply.json == {"path": f"{name}/back/old.txt"}
    assert server.request("GET", f"/files/{name}/back/old.txt").body == b"old"
    assert server.request("GET", f"/files/{name}.txt").body == b"new"


def test_deleted_for_good(server, name):
    for suffix in ("a", "b"):
        save(server, f"{name}{suffix}", "x")
        server.request("DELETE", f"/api/contents/{name}{suffix}")
    one = trashed(server, f"{name}a")
    assert server.request("DELETE", f"/cloudcontents/trash/{one['id']}").status == 204
    assert server.request("DELETE", f"/cloudcontents/trash/{one['id']}").status == 404
    trashed(server, f"{name}b")
    assert server.request("DELETE", "/cloudcontents/trash").status == 204
    assert server.request("GET", "/cloudcontents/trash").json == {"trash": [], "unreachable": []}
    assert server.request("DELETE", "/cloudcontents/trash").status == 204


def test_hidden_trash_is_neither_shown_nor_emptied(server, name, monkeypatch):
    server.run(lambda: server.bucket.put(f".{name}", b"hidden"))
    item = server.run(lambda: server.manager.namespace.mounts[0].trash.put(f".{name}"))
    assert item.id not in [found["id"] for found in server.request("GET", "/cloudcontents/trash").json["trash"]]
    assert server.request("POST", f"/cloudcontents/trash/{item.id}/restore", body={"to": name}).status == 404
    assert server.request("DELETE", f"/cloudcontents/trash/{item.id}").status == 404
    assert server.request("DELETE", "/cloudcontents/trash").status == 204
    monkeypatch.setattr(server.manager, "allow_hidden", True)
    assert server.request("POST", f"/cloudcontents/trash/{item.id}/restore").json == {"path": f".{name}"}


@pytest.mark.parametrize("id", ["..", "%2e%2e", "a.b", "..%2F..%2Fx", "x%00", "%F0%9F%98%80", "-x", "a" * 200])
def test_bad_ids(server, id):
    for method, path in [
        *(("GET", f"/cloudcontents/conflicts/{id}"), ("DELETE", f"/cloudcontents/conflicts/{id}")),
        *(("DELETE", f"/cloudcontents/trash/{id}"), ("POST", f"/cloudcontents/trash/{id}/restore")),
        *(("PATCH", f"/cloudcontents/checkpoints/{id}?path=x"), ("GET", f"/cloudcontents/checkpoints/{id}/content?path=x")),
    ]:
        reply = server.request(method, path, raw=True, body={"name": "x"} if method == "PATCH" else None)
        assert reply.status in (400, 404), (method, path)


# --- checkpoints ------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_looked_into_and_named(server, name):
    save(server, f"{name}.txt", "first")
    id = server.request("POST", f"/api/contents/{name}.txt/checkpoints").json["id"]
    save(server, f"{name}.txt", "second")
    query = {"path": f"{name}.txt"}
    reply = server.request("GET", f"/cloudcontents/checkpoints/{id}/content", query=query)
    assert (reply.status, reply.body) == (200, b"first")
    assert reply.headers["content-disposition"] == f"attachment; filename*=utf-8''{name}.txt"
    assert reply.headers["content-security-policy"].endswith("sandbox allow-scripts")
    named = server.request("PATCH", f"/cloudcontents/checkpoints/{id}", query=query, body={"name": "before-lunch"})
    assert (named.status, named.json["id"]) == (200, "before-lunch")
    assert server.request("GET", "/cloudcontents/checkpoints/before-lunch/content", query=query).body == b"first"
    assert server.request("GET", f"/cloudcontents/checkpoints/{id}/content", query=query).status == 404
    assert [found["id"] for found in server.request("GET", f"/api/contents/{name}.txt/checkpoints").json] == ["before-lunch"]


def test_what_the_checkpoint_routes_refuse(server, name):
    save(server, f"{name}.txt", "first")
    id = server.request("POST", f"/api/contents/{name}.txt/checkpoints").json["id"]
    assert server.request("GET", f"/cloudcontents/checkpoints/{id}/content").status == 400
    assert server.request("PATCH", f"/cloudcontents/checkpoints/{id}", body={"name": "x"}).status == 400
    query = {"path": f"{name}.txt"}
    for body in (None, {}, {"name": 5}, {"name": "a/b"}, {"name": ""}, {"name": ".."}):
        assert server.request("PATCH", f"/cloudcontents/checkpoints/{id}", query=query, body=body).status == 400, body
    for path in (f"{name}.other", f".{name}", "a/.cloudcontents/b", "../x", f"{name}.txt/"):
        reply = server.request("GET", f"/cloudcontents/checkpoints/{id}/content", query={"path": path})
        assert reply.status == (200 if path.endswith("/") else 404), path


def test_a_path_in_a_query_is_taken_as_it_is(server, name):
    save(server, f"{name} x.txt", "text")
    id = server.request("POST", f"/api/contents/{name} x.txt/checkpoints").json["id"]
    assert server.request("GET", f"/cloudcontents/checkpoints/{id}/content", query={"path": f"{name} x.txt"}).body == b"text"
    # tornado's own reading of arguments would make a space of the line break, and so name the file above.
    assert server.request("GET", f"/cloudcontents/checkpoints/{id}/content", query={"path": f"{name}\nx.txt"}).status == 404
    reply = server.request("GET", f"/cloudcontents/checkpoints/{id}/content?path=%FF", raw=True)
    assert reply.status == 400


# --- status and metrics --------------------------------------------------------------------------------------------------


def test_status(server):
    reply = server.request("GET", "/cloudcontents/status")
    assert reply.status == 200
    assert reply.json["version"]
    (mount,) = reply.json["mounts"]
    assert mount["url"] == server.url
    assert (mount["reachable"], mount["error"], mount["pending_operations"]) == (True, None, 0)
    assert mount["safe_for_concurrent_editing"] is True
    assert mount["milliseconds"] >= 0
    assert mount["capabilities"]["put_if_version"] is True


def test_status_of_a_store_that_is_away(server, monkeypatch):
    async def away(*args, **kwargs):
        raise UnavailableError("The store is away.")

    monkeypatch.setattr(server.bucket.backend, "list", away, raising=False)
    monkeypatch.setattr("cloudcontents.handlers.status._DEADLINE", 0.2)
    (mount,) = server.request("GET", "/cloudcontents/status").json["mounts"]
    assert mount["reachable"] is False
    assert mount["error"]["code"] in ("unavailable", "deadline")
    assert mount["pending_operations"] is None


def test_status_of_an_unfinished_move(server, monkeypatch):
    async def wait():
        async with server.manager.namespace.mounts[0].journal.operation("move", [("a/", "b/")]):
            return await server_status()

    async def server_status():
        import asyncio

        return await asyncio.to_thread(server.request, "GET", "/cloudcontents/status")

    assert server.run(wait).json["mounts"][0]["pending_operations"] == 1


def test_under_another_manager_our_routes_say_so(server, monkeypatch):
    # An extension may put another manager in the place of ours after the routes are made.
    monkeypatch.setitem(server.app.web_app.settings, "contents_manager", object())
    for path in ("/files/x", "/cloudcontents/status", "/cloudcontents/archive", "/cloudcontents/trash", "/cloudcontents/conflicts"):
        reply = server.request("GET", path)
        assert (reply.status, reply.json["code"]) == (501, "unsupported")
        assert "CloudContentsManager" in reply.json["message"]


def test_metrics_are_on_the_servers_own_page(server, name):
    save(server, f"{name}.txt", "text")
    server.request("GET", f"/files/{name}.txt")
    text = server.request("GET", "/metrics").body.decode()
    scheme = server.url.split(":")[0]
    assert f'cloudcontents_store_requests_total{{operation="get",outcome="ok",scheme="{scheme}"}}' in text
    assert f'cloudcontents_store_read_bytes_total{{scheme="{scheme}"}}' in text
    assert "cloudcontents_store_request_seconds_bucket" in text
    assert "cloudcontents_conflicts_total" in text
