"""``s3://``, ``gs://`` and ``az://account`` on real servers, through the real server and the command line."""

from __future__ import annotations

import pytest

from cloudcontents.cli import main

#: How each store asks which buckets there are, as it stands in a request.
ASKED = {"minio": r"^/(\?x-id=ListBuckets)?$", "fake_gcs": r"/storage/v1/b\?", "azurite": r"^/rig/?\?comp=list"}

#: How a store says that a role lacks a right, where it is not its usual 403.
DENIED = {"az://": "AuthorizationPermissionMismatch"}


@pytest.fixture(params=ASKED)
def cloud(request, monkeypatch, faultproxy):
    """A store behind a proxy that the environment leads to: its URL without a bucket, two buckets of it, and both."""
    store = request.getfixturevalue(request.param)
    proxy = faultproxy(store)
    for name, value in store.environment(proxy.url).items():
        monkeypatch.setenv(name, value)
    scheme = {"minio": "s3://", "fake_gcs": "gs://", "azurite": f"az://{getattr(store, 'account', '')}"}[request.param]
    return scheme, [store.new_bucket(), store.new_bucket()], proxy, ASKED[request.param]


def text(content="x"):
    return {"type": "file", "format": "text", "content": content}


def test_buckets_through_the_server(cloud, start_server, capfd):
    url, (one, other), proxy, asked = cloud
    server = start_server(url, {"CloudContentsManager": {"mounts": {"mine": f"{url}?manage_buckets=true"}}}, extension=True)

    def ask(method, path, body=None, query=None):
        reply = server.request(method, f"/api/contents/{path}", body=body, query=query)
        # The server itself answers to a missing path in plain words.
        return reply.status, reply.body.decode() if reply.status >= 400 else reply.json if reply.body else None

    status, top = ask("GET", "")
    assert status == 200
    assert {one, other, "mine"} <= {model["name"] for model in top["content"]}
    assert {model["type"] for model in top["content"]} == {"directory"}

    # Read, save, keep, copy and move.
    assert ask("PUT", f"{one}/a.txt", text("first"))[0] == 201
    assert ask("PUT", f"{one}/d", {"type": "directory"})[0] == 201
    assert ask("POST", f"{one}/a.txt/checkpoints")[0] == 201
    assert ask("PATCH", f"{one}/a.txt", {"path": f"{one}/d/b.txt"})[0] == 200
    assert ask("PATCH", f"{one}/d", {"path": f"{other}/e"})[0] == 200
    assert ask("POST", one, {"copy_from": f"{other}/e/b.txt"})[0] == 201
    assert ask("GET", f"{one}/b.txt")[1]["content"] == "first"
    assert len(ask("GET", f"{other}/e/b.txt/checkpoints")[1]) == 1
    assert server.request("GET", f"/files/{one}/b.txt").body == b"first"
    assert [model["name"] for model in ask("GET", one)[1]["content"]] == ["b.txt"]

    # Created and removed only where configured.
    name = f"made-{one}"
    for method, path, body in (("PUT", name, {"type": "directory"}), ("DELETE", other, None)):
        status, refusal = ask(method, path, body)
        assert status == 403
        assert "manage_buckets=true" in refusal
    assert ask("GET", name)[0] == 404
    assert ask("PUT", f"mine/{name}", {"type": "directory"})[0] == 201
    assert ask("PUT", f"mine/{name}/f.txt", text())[0] == 201
    assert ask("GET", f"{name}/f.txt")[0] == 200
    status, refusal = ask("DELETE", f"mine/{name}")
    assert status == 400
    assert "not empty" in refusal
    assert ask("PUT", "mine/No Such Name", {"type": "directory"})[0] == 400
    status, made = ask("POST", "mine", {"type": "directory"})
    assert status == 201
    assert ask("PATCH", made["path"], {"path": f"mine/renamed-{one}"})[0] == 200
    assert ask("DELETE", f"mine/renamed-{one}")[0] == 204
    assert ask("GET", f"mine/renamed-{one}")[0] == 404

    # Credentials that may not ask which buckets there are still open one by its name.
    proxy.answer(403, DENIED.get(url[:5]), method="GET", path=asked)
    status, refusal = ask("GET", "")
    assert status == 403
    assert "opens by its path" in refusal
    assert ask("GET", f"{one}/b.txt")[0] == 200
    proxy.heal()

    # A bucket that does not answer holds up no other.
    proxy.answer(503, path=f"/{other}")
    assert ask("GET", one)[0] == 200
    assert {one, other} <= {model["name"] for model in ask("GET", "")[1]["content"]}
    proxy.heal()

    capfd.readouterr()
    assert main(["ls", url]) == 0
    assert {f"{one}/", f"{other}/", f"{name}/"} <= set(capfd.readouterr().out.splitlines())
    assert main(["ls", "-R", url]) == 1
    assert main(["cp", "-r", url, "."]) == 2


async def test_a_bucket_is_listed_with_as_many_requests_as_one_that_is_configured(cloud, start_server):
    url, (one, _), proxy, asked = cloud
    server = start_server(url)
    server.request("GET", f"/api/contents/{one}", query={"type": "directory"})
    proxy.forget()
    server.request("GET", f"/api/contents/{one}", query={"type": "directory"})
    assert proxy.count() == 1
    proxy.forget()
    server.request("GET", "/api/contents")
    assert proxy.count() == proxy.count(path=asked) == 1
