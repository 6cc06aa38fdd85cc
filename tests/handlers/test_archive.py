"""A directory as a zip: what is in it, under which names, and what is left out."""

from __future__ import annotations

import io
import re
import zipfile

import pytest

from cloudcontents.handlers.archive import safe_name


@pytest.fixture(scope="module", params=["memory", "file"])
def server(request, start_server, tmp_path_factory):
    if request.param == "memory":
        return start_server()
    return start_server(f"file://{tmp_path_factory.mktemp('bucket')}")


@pytest.fixture(scope="module")
def put(server):
    def write(key, data=b"x", **options):
        return server.run(lambda: server.bucket.put(key, data, **options))

    return write


def archive(server, path="", **query):
    reply = server.request("GET", f"/cloudcontents/archive/{path}" if path else "/cloudcontents/archive", query=query)
    assert reply.status == 200, reply.body
    assert not reply.broken
    assert reply.headers["content-type"] == "application/zip"
    found = zipfile.ZipFile(io.BytesIO(reply.body))
    assert found.testzip() is None
    return found


def test_everything_below_and_nothing_beside(server, put):
    put("exp/b.txt", b"bee")
    put("exp/a.txt", b"")
    put("exp/sub/deep/c.bin", bytes(range(256)) * 9000)  # more than one piece
    put("exp/empty/", b"")
    put("exp2/no.txt")
    put("exp.csv")
    found = archive(server, "exp", format="zip")
    assert found.namelist() == [
        *("exp/", "exp/a.txt", "exp/b.txt", "exp/empty/", "exp/sub/", "exp/sub/deep/", "exp/sub/deep/c.bin"),
    ]
    assert found.read("exp/b.txt") == b"bee"
    assert found.read("exp/sub/deep/c.bin") == bytes(range(256)) * 9000
    info = server.run(lambda: server.bucket.head("exp/b.txt"))
    assert found.getinfo("exp/b.txt").date_time[:5] == info.modified.timetuple()[:5]


def test_headers(server, put):
    put("naïve dir/x.txt")
    reply = server.request("GET", "/cloudcontents/archive/naïve dir")
    assert reply.headers["content-disposition"] == "attachment; filename*=utf-8''na%C3%AFve%20dir.zip"
    assert reply.headers["content-security-policy"].endswith("sandbox allow-scripts")
    assert reply.headers["x-content-type-options"] == "nosniff"
    head = server.request("HEAD", "/cloudcontents/archive/naïve dir")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-disposition"] == reply.headers["content-disposition"]
    assert "content-length" not in head.headers


def test_the_root(server, put):
    put("top.txt", b"top")
    put(".hidden/x.txt")
    put("shown/.hidden.txt")
    put("shown/x.txt")
    put(".cloudcontents/trash/x")
    put("shown/.cloudcontents/x")
    reply = server.request("GET", "/cloudcontents/archive")
    assert reply.headers["content-disposition"] == "attachment; filename*=utf-8''files.zip"
    names = archive(server).namelist()
    assert "top.txt" in names
    assert "shown/x.txt" in names
    assert not [name for name in names if "/." in f"/{name}"]


def test_hidden_files_where_they_are_allowed(server, put, monkeypatch):
    put("dots/.hidden/x.txt", b"dot")
    put("dots/.cloudcontents/x")
    assert archive(server, "dots").namelist() == ["dots/"]
    monkeypatch.setattr(server.manager, "allow_hidden", True)
    assert archive(server, "dots").namelist() == ["dots/", "dots/.hidden/", "dots/.hidden/x.txt"]


def test_what_is_no_directory(server, put):
    put("file.txt")
    assert server.request("GET", "/cloudcontents/archive/file.txt").json["code"] == "wrong_type"
    for path in ("none", ".hidden", ".cloudcontents", "a/.cloudcontents/b"):
        reply = server.request("GET", f"/cloudcontents/archive/{path}")
        assert (reply.status, reply.json["code"]) == (404, "not_found")
    assert server.request("GET", "/cloudcontents/archive", query={"format": "tar"}).status == 400


def test_a_file_deleted_before_its_turn_is_left_out(server, put, monkeypatch):
    put("going/a.txt")
    put("going/b.txt")
    put("going/c.txt")
    inner = server.bucket.backend.get

    async def get(key, **options):
        if key == "going/b.txt":
            await server.bucket.backend.delete(key)
        return await inner(key, **options)

    monkeypatch.setattr(server.bucket.backend, "get", get, raising=False)
    assert archive(server, "going").namelist() == ["going/", "going/a.txt", "going/c.txt"]


def test_names_that_lead_out_of_the_folder(server, put):
    bodies = {"up\\..\\..\\evil.txt": b"1", "C:evil.txt": b"2", "up_.._.._evil.txt": b"3", "a:b.txt": b"4", "é:.txt": b"5"}
    for name, body in bodies.items():
        put(f"slip/{name}", body)
    found = archive(server, "slip")
    names = [name.removeprefix("slip/") for name in found.namelist()[1:]]
    assert sorted(found.read(f"slip/{name}") for name in names) == sorted(bodies.values())
    for name in names:
        assert "\\" not in name
        assert "/" not in name
        assert not re.match("[A-Za-z]:", name)


@pytest.mark.parametrize("segment", ["..\\x", "\\", "C:", "c:\\windows", "a\\b.txt"])
def test_safe_name(segment):
    name = safe_name(segment)
    assert "\\" not in name
    assert name[1:2] != ":"
    assert name not in (".", "..")
    assert name != segment
    assert name == safe_name(segment)


def test_safe_names_stay_apart_and_good_ones_stay_as_they_are():
    assert safe_name("a\\b.txt") != safe_name("a_b.txt") == "a_b.txt"
    assert safe_name("a\\b.txt").endswith(".txt")
    for name in ("x.tar.gz", "ü☃", "12:30.txt", " .x"):
        assert safe_name(name) == name
