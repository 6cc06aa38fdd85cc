"""The corpus of bad names through every route that takes a path: no 5xx, nothing outside the bucket, nobody else's keys."""

from __future__ import annotations

import http.client
import json
import os
import shutil
from urllib.parse import quote, urlencode

import pytest

from cloudcontents.backends import ALWAYS
from cloudcontents.backends.memory import memory_store
from cloudcontents.testing.names import CORPUS, groups

CANARY = b"canary: nobody may read or change this"

#: Keys beside the prefix "data": its neighbours by name, and what lies above it.
OUTSIDE = ("data-secret", "data.txt", "data2/x", "x", "etc/passwd", "secret/.cloudcontents/x")

#: In the bucket, under names that are not in the corpus.
KEPT = {"zz-kept/a.txt": b"kept", "zz-source.txt": b"source", "zz-kept/.cloudcontents/x": CANARY, ".cloudcontents/zz": CANARY}

TEXT = {"type": "file", "format": "text", "content": "text"}


class MemoryPlace:
    """A store with a prefix, seen from outside of the prefix."""

    def __init__(self, name):
        self.url = f"memory://{name}/data"
        self.store = memory_store(name)

    def write(self, key, data):
        draft = type(self)._draft(len(data))
        self.store.write(key, data, draft, ALWAYS)

    @staticmethod
    def _draft(size):
        from datetime import datetime, timezone

        from cloudcontents.backends import ObjectInfo

        return ObjectInfo("", size, "", datetime.now(timezone.utc))

    def clear(self):
        self.store.clear()

    def read(self):
        return self.store.snapshot()


class FilePlace:
    """A directory, seen from the one above it."""

    def __init__(self, directory):
        self.outer = directory
        self.url = f"file://{directory}/data"

    def write(self, key, data):
        path = self.outer / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def clear(self):
        (self.outer / "data").mkdir(exist_ok=True)
        for entry in os.scandir(self.outer / "data"):
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)

    def read(self):
        found = {}
        for directory, _, files in os.walk(self.outer):
            for file in files:
                path = os.path.join(directory, file)
                with open(path, "rb") as opened:
                    found[os.path.relpath(path, self.outer)] = opened.read()
        return found


@pytest.fixture(scope="module", params=["memory", "file"])
def place(request, tmp_path_factory):
    if request.param == "memory":
        return MemoryPlace("names-corpus")
    directory = tmp_path_factory.mktemp("outer")
    (directory / "data").mkdir()
    return FilePlace(directory)


@pytest.fixture(scope="module")
def server(place, start_server):
    # With hidden files allowed more names come through: the harder case.
    return start_server(place.url, config={"ContentsManager": {"allow_hidden": True}})


@pytest.fixture
def seeded(server, place):
    """Put the bucket into its first state; returns a function that does so, and gives the id of something in the trash."""

    def seed():
        place.clear()
        for key in OUTSIDE:
            place.write(key, CANARY)
        for key, data in KEPT.items():
            place.write(f"data/{key}", data)
        place.write("data/zz-gone.txt", b"gone")
        mount = server.manager.namespace.mounts[0]
        return server.run(lambda: mount.trash.put("zz-gone.txt")).id

    return seed


def encoded(name):
    """A name as it may stand in a URL. One that must not be is also tried with its slashes, and its dots, escaped."""
    raw = name.raw.encode("utf-8", "surrogatepass")
    forms = [quote(raw, safe="/")]
    if name.expect != "ok":
        forms.append(quote(raw, safe=""))
        if set(name.raw) <= set("./abx"):
            forms.append(name.raw.replace(".", "%2e"))
    return dict.fromkeys(forms)


def requests(name, trash):
    """Every request that hands a name to the server: method, path, body."""
    query = urlencode({"path": name.raw.encode("utf-8", "surrogatepass")})
    for form in encoded(name):
        contents = f"/api/contents/{form}"
        yield "GET", contents, None
        yield "GET", f"{contents}?content=0&hash=1", None
        yield "GET", f"{contents}/checkpoints", None
        yield "POST", f"{contents}/checkpoints", None
        yield "POST", f"{contents}/checkpoints/x", None
        yield "DELETE", f"{contents}/checkpoints/x", None
        yield "POST", f"{contents}/trust", None
        yield "POST", contents, {"type": "file", "ext": ".txt"}
        yield "GET", f"/files/{form}", None
        yield "HEAD", f"/files/{form}", None
        yield "GET", f"/files/{form}?download=1", None
        yield "GET", f"/view/{form}", None
        yield "GET", f"/cloudcontents/archive/{form}", None
        yield "PATCH", contents, {"path": "zz-moved.txt"}
        yield "PUT", contents, TEXT
        yield "GET", f"/files/{form}", None
        yield "DELETE", contents, None
    yield "POST", "/api/contents/zz-kept", {"copy_from": name.raw}
    yield "PATCH", "/api/contents/zz-source.txt", {"path": name.raw}
    yield "GET", f"/cloudcontents/conflicts?{query}", None
    yield "GET", f"/cloudcontents/checkpoints/x/content?{query}", None
    yield "PATCH", f"/cloudcontents/checkpoints/x?{query}", {"name": "y"}
    yield "POST", f"/cloudcontents/trash/{trash}/restore", {"to": name.raw}


class Client:
    """Many requests on one connection."""

    def __init__(self, server):
        self.server = server
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def send(self, method, path, body):
        data = None if body is None else json.dumps(body)
        headers = {"Authorization": f"token {self.server.token}"}
        self.connection.request(method, self.server.base + path, data, headers)
        reply = self.connection.getresponse()
        return reply.status, reply.read()


@pytest.fixture
def client(server):
    client = Client(server)
    yield client
    client.connection.close()


@pytest.mark.parametrize("group", list(dict.fromkeys(name.group for name in CORPUS)))
def test_every_route_that_takes_a_path(server, place, seeded, client, group):
    for name in (name for name in CORPUS if name.group == group):
        trash = seeded()
        before = place.read()
        for method, path, body in requests(name, trash):
            said = (name, method, path[:200], body)
            status, answer = client.send(method, path, body)
            assert status < 500, said
            assert CANARY not in answer, said
            if name.expect != "ok":
                # A path that ends in a slash never comes to a route: the server redirects a GET and lets nothing else through.
                slash = path.partition("?")[0].endswith("/") and status in (302, 403)
                # 403 is the one refusal of a checkpoint to which JupyterLab opens the file all the same.
                too_long = name.group == "length" and "/checkpoints" in path and status == 403
                # What cannot be has no checkpoints and no kept texts.
                nothing = name.group == "length" and answer in (b"[]", b'{"conflicts": [], "unreachable": []}')
                assert status in (400, 404, 405) or slash or too_long or nothing, (status, *said)
        after = place.read()
        for key in OUTSIDE:
            assert after.pop(key, None) == CANARY, (name, key)
            before.pop(key)
        assert all(key.startswith("data/") for key in after), (name, set(after) - set(before))
        for key, data in KEPT.items():
            if key != "zz-source.txt":  # renamed to the name, if that is one
                assert after.get(f"data/{key}") == data, (name, key)
        if name.expect != "ok":
            assert after == before, name


def test_the_corpus_has_all_kinds():
    assert len(CORPUS) >= 150
    assert {"traversal", "ours"} <= {*groups("refuse"), *groups("not-found")}
