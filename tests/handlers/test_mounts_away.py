"""One bucket that is away hinders no other, in what asks all of them."""

from __future__ import annotations

import pytest

MOUNTS = {"": "memory://mounts-away", "away": "file:///no/such/directory/anywhere", "there": "memory://mounts-away-2"}


@pytest.fixture(scope="module")
def server(start_server):
    return start_server(config={"CloudContentsManager": {"mounts": MOUNTS}})


def test_the_trash_of_the_others_is_listed(server):
    server.request("PUT", "/api/contents/there/f.txt", body={"type": "file", "format": "text", "content": "x"})
    server.request("DELETE", "/api/contents/there/f.txt")
    reply = server.request("GET", "/cloudcontents/trash")
    (item,) = reply.json["trash"]
    assert (reply.status, item["path"]) == (200, "there/f.txt")
    assert [(mount["path"], mount["code"]) for mount in reply.json["unreachable"]] == [("away", "bucket_not_found")]
    assert server.request("POST", f"/cloudcontents/trash/{item['id']}/restore").status == 200
    assert server.request("DELETE", "/cloudcontents/trash").status == 204


def test_conflicts_of_the_others_are_listed(server):
    mount = server.manager.namespace.resolve("there/f.txt").mount
    kept = server.run(lambda: mount.conflicts.keep("f.txt", b"x", client="c", base=None, type="file", format="text"))
    reply = server.request("GET", "/cloudcontents/conflicts")
    assert [item["path"] for item in reply.json["conflicts"]] == ["there/f.txt"]
    assert [mount["path"] for mount in reply.json["unreachable"]] == ["away"]
    assert server.request("GET", f"/cloudcontents/conflicts/{kept.id}").body == b"x"


def test_uploads_of_the_others_are_listed(server):
    begun = server.request("POST", "/cloudcontents/uploads", body={"path": "there/up.bin", "size": 3})
    assert begun.status == 201
    assert [item["path"] for item in server.request("GET", "/cloudcontents/uploads").json["uploads"]] == ["there/up.bin"]
    assert server.request("GET", "/cloudcontents/uploads/stats").json["active"] == 1
    assert server.run(lambda: server.manager.uploads.sweep()) == 0
