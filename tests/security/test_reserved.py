"""What is ours in the bucket is unreachable at every depth, through every route that takes a path; hidden files unless allowed."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

CANARY = b"nobody may read this"

#: As a URL has them. The same names percent-decoded stand in bodies and queries.
RESERVED = [
    *(".cloudcontents", ".cloudcontents/x.txt", ".cloudcontents/trash", "a/.cloudcontents", "a/.cloudcontents/x.txt"),
    *("a/b/.cloudcontents/x.txt", ".CloudContents/x.txt", "a/.CLOUDCONTENTS/x.txt", ".cloudcontents/.cloudcontents/x.txt"),
]
ESCAPED = {"a/.cloudcontents/x.txt": ["a%2F.cloudcontents%2Fx.txt", "a/%2Ecloudcontents/x.txt", "a/.cloud%63ontents/x.txt"]}

HIDDEN = [".hidden/x.txt", "a/.hidden.txt", "a/.hidden/x.txt"]

TEXT = {"type": "file", "format": "text", "content": "x"}


def requests(path, name, made):
    contents = f"/api/contents/{path}"
    query = f"?path={path}"
    return [
        *(("GET", contents, None), ("GET", f"{contents}?content=0", None), ("PUT", contents, TEXT), ("DELETE", contents, None)),
        ("PUT", contents, {"type": "directory"}),
        ("PUT", contents, {**TEXT, "chunk": 1}),
        ("PATCH", contents, {"path": "a/out.txt"}),
        *(("POST", contents, {"type": "file"}), ("POST", contents, {"copy_from": "a/source.txt"})),
        ("POST", "/api/contents/a", {"copy_from": name}),
        ("POST", "/api/contents", {"copy_from": name}),
        ("PATCH", "/api/contents/a/source.txt", {"path": name}),
        *(("POST", f"{contents}/checkpoints", None), ("POST", f"{contents}/checkpoints/x", None)),
        *(("DELETE", f"{contents}/checkpoints/x", None), ("POST", f"{contents}/trust", None)),
        *(("GET", f"/files/{path}", None), ("HEAD", f"/files/{path}", None), ("GET", f"/view/{path}", None)),
        *(("GET", f"/cloudcontents/archive/{path}", None), ("HEAD", f"/cloudcontents/archive/{path}", None)),
        ("GET", f"/cloudcontents/conflicts{query}", None),
        ("GET", f"/cloudcontents/checkpoints/x/content{query}", None),
        ("PATCH", f"/cloudcontents/checkpoints/x{query}", {"name": "y"}),
        ("POST", f"/cloudcontents/trash/{made}/restore", {"to": name}),
    ]


@pytest.fixture(scope="module", params=[(store, hidden) for store in ("memory", "file") for hidden in (False, True)], ids=str)
def server(request, start_server, tmp_path_factory):
    store, allow_hidden = request.param
    url = None if store == "memory" else f"file://{tmp_path_factory.mktemp('bucket')}"
    return start_server(url, config={"ContentsManager": {"allow_hidden": allow_hidden}})


@pytest.fixture(scope="module")
def made(server):
    """A bucket with something behind each name; returns the id of an entry of its trash."""
    for name in [*RESERVED, *HIDDEN]:
        if name.endswith(".txt"):
            server.run(lambda name=name: server.bucket.put(name, CANARY))
    for key in ("a/source.txt", "gone.txt"):
        server.run(lambda key=key: server.bucket.put(key, b"source"))
    return server.run(lambda: server.manager.namespace.mounts[0].trash.put("gone.txt")).id


def everything(server):
    """All keys and bytes of the bucket."""

    async def read():
        found = {}
        async for info in server.bucket.objects(""):
            if not info.key.endswith("/"):
                found[info.key] = (await server.bucket.read(info.key))[1]
        return found

    return server.run(read)


@pytest.mark.parametrize("name", RESERVED)
def test_reserved(server, made, name):
    before = everything(server)
    for form in [name, *ESCAPED.get(name, [])]:
        for method, path, body in requests(form, name, made):
            reply = server.request(method, path, body=body, raw=True)
            assert reply.status in (400, 404), (method, path, body)
            assert CANARY not in reply.body
    # A directory's name may stand in the server's own route for checkpoints; then there are none.
    listed = server.request("GET", f"/api/contents/{name}/checkpoints")
    assert listed.status in (400, 404)
    assert everything(server) == before


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden(server, made, name):
    before = everything(server)
    if server.manager.allow_hidden:
        assert server.request("GET", f"/files/{name}").body == CANARY
        assert server.request("GET", f"/api/contents/{name}").json["content"] == CANARY.decode()
        return
    for method, path, body in requests(name, name, made):
        reply = server.request(method, path, body=body, raw=True)
        if not path.startswith("/view/"):  # the server's own frame around /files/, which asks only whether there is such a file
            assert reply.status in (400, 404), (method, path, body)
        assert CANARY not in reply.body
    assert everything(server) == before


def test_no_listing_shows_what_is_ours(server, made):
    for path in ("", "a", "a/b"):
        listing = server.request("GET", f"/api/contents/{path}").json["content"]
        assert not [entry["name"] for entry in listing if entry["name"].lower() == ".cloudcontents"]
    for path in ("", "/a"):
        reply = server.request("GET", f"/cloudcontents/archive{path}")
        names = zipfile.ZipFile(io.BytesIO(reply.body)).namelist()
        assert not [name for name in names if ".cloudcontents" in name.lower()]


def test_a_copy_of_a_directory_leaves_ours_behind(server, made):
    copied = server.request("POST", "/api/contents", body={"copy_from": "a"})
    assert copied.status == 201, copied.body
    path = json.loads(copied.body)["path"]
    assert not [key for key in everything(server) if key.startswith(f"{path}/") and ".cloudcontents" in key.lower()]
