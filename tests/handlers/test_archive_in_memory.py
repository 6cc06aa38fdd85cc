"""Archives of what only an object store can hold, and of more than a plain zip can."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import pytest

from cloudcontents.backends import ALWAYS, ObjectInfo
from cloudcontents.lookup import LISTING_LIMIT


@pytest.fixture(scope="module")
def server(start_server):
    return start_server()


@pytest.fixture
def archive(server, tmp_path):
    """Download an archive to a file and open it."""

    def load(path):
        connection = server.begin(f"/cloudcontents/archive/{path}", {"Connection": "close"})
        stream = connection.makefile("rb")
        head = [stream.readline() for _ in range(2)]
        while head[-1].strip():
            head.append(stream.readline())
        assert head[0].startswith(b"HTTP/1.1 200")
        with open(tmp_path / "a.zip", "wb") as file:
            while size := int(stream.readline(), 16):
                file.write(stream.read(size))
                stream.readline()
        connection.close()
        return zipfile.ZipFile(tmp_path / "a.zip")

    return load


def fill(server, prefix, count):
    """Many empty objects, without a request for each."""
    store = server.store
    draft = ObjectInfo("", 0, "", server.run(lambda: server.bucket.put(f"{prefix}first", b"")).modified)
    for number in range(count - 1):
        store.write(f"{prefix}{number:06d}", b"", draft, ALWAYS)


def test_object_beside_a_directory_of_its_name(server, archive):
    for key, data in (("pair/d", b"beside"), ("pair/d/f", b"below"), ("pair/d.txt", b"other")):
        server.run(lambda key=key, data=data: server.bucket.put(key, data))
    found = archive("pair")
    names = found.namelist()
    assert found.testzip() is None
    assert found.read("pair/d/f") == b"below"
    (beside,) = [name for name in names if name.startswith("pair/d~")]
    assert found.read(beside) == b"beside"


def test_markers_and_keys_that_no_path_can_name(server, archive):
    for key in ("odd/", "odd//x", "odd/../x", "odd/a/.s3keep", "odd/b_$folder$", "odd/c/", "odd/f"):
        server.run(lambda key=key: server.bucket.put(key, b""))
    assert archive("odd").namelist() == ["odd/", "odd/a/", "odd/b/", "odd/c/", "odd/f"]


def test_a_path_deeper_than_pythons_stack(server, archive, monkeypatch):
    backend = server.bucket.backend
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, max_key_bytes=1 << 20))
    deep = "/".join(["deep", *["n"] * 1500, "f.txt"])
    server.run(lambda: server.bucket.put(deep, b"found"))
    assert archive("deep").read(deep) == b"found"


def test_a_directory_longer_than_a_listing_is_whole(server, archive):
    count = LISTING_LIMIT + 50
    fill(server, "long/", count)
    assert len(archive("long").namelist()) == count + 1


@pytest.mark.long
def test_more_entries_than_a_plain_zip_holds(server, archive):
    fill(server, "many/", 65_600)
    found = archive("many")
    assert len(found.namelist()) == 65_601
    assert found.testzip() is None


@pytest.mark.long
def test_a_file_larger_than_a_plain_zip_holds(start_server, tmp_path, tmp_path_factory):
    bucket = tmp_path_factory.mktemp("bucket")
    (bucket / "d").mkdir()
    with open(bucket / "d" / "sparse.bin", "wb") as file:
        file.truncate((4 << 30) + 5)
    server = start_server(f"file://{bucket}")
    reply = server.request("GET", "/cloudcontents/archive/d")
    (tmp_path / "a.zip").write_bytes(reply.body)
    found = zipfile.ZipFile(tmp_path / "a.zip")
    assert found.getinfo("d/sparse.bin").file_size == (4 << 30) + 5
    assert found.testzip() is None
