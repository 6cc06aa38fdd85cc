"""`/files/`: what a browser, curl and a media player ask of it."""

from __future__ import annotations

import hashlib
from email.utils import format_datetime
from urllib.parse import quote

import pytest

from cloudcontents.backends import ALWAYS
from cloudcontents.handlers.files import content_type

TEXT = bytes(range(256)) * 40


@pytest.fixture(scope="module", params=["memory", "file"])
def server(request, start_server, tmp_path_factory):
    if request.param == "memory":
        return start_server()
    return start_server(f"file://{tmp_path_factory.mktemp('bucket')}")


@pytest.fixture(scope="module")
def put(server):
    def write(key, data, **options):
        return server.run(lambda: server.bucket.put(key, data, when=ALWAYS, **options))

    return write


@pytest.fixture
def calls(server, monkeypatch):
    """The requests made to the store."""
    made = []
    backend = server.bucket.backend

    def counted(name):
        inner = getattr(backend, name)

        async def call(*args, **kwargs):
            made.append(name)
            return await inner(*args, **kwargs)

        return call

    for name in ("get", "head", "list", "put", "copy", "delete"):
        monkeypatch.setattr(backend, name, counted(name), raising=False)
    return made


def test_whole_file(server, put, calls):
    info = put("whole.bin", TEXT)
    calls.clear()
    reply = server.request("GET", "/files/whole.bin")
    assert (reply.status, reply.body) == (200, TEXT)
    assert calls == ["get"]
    assert reply.headers["content-length"] == str(len(TEXT))
    assert reply.headers["accept-ranges"] == "bytes"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"].endswith("; sandbox allow-scripts")
    assert reply.headers["last-modified"] == format_datetime(info.modified.replace(microsecond=0), usegmt=True)
    assert reply.headers["etag"].startswith('"')
    assert "content-disposition" not in reply.headers


def test_head_says_what_get_would(server, put, calls):
    put("head.bin", TEXT)
    calls.clear()
    head = server.request("HEAD", "/files/head.bin", headers={"Range": "bytes=0-1"})
    assert calls == ["head"]
    get = server.request("GET", "/files/head.bin")
    assert (head.status, head.body) == (200, b"")
    for name in ("content-length", "etag", "last-modified", "content-type", "accept-ranges"):
        assert head.headers[name] == get.headers[name]


def test_empty_file(server, put):
    put("empty.bin", b"")
    reply = server.request("GET", "/files/empty.bin")
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=10-", 10, len(TEXT) - 1),
        ("bytes=-5", len(TEXT) - 5, len(TEXT) - 1),
        ("bytes=0-999999999999999999999999999999", 0, len(TEXT) - 1),
        ("bytes=-999999999999999999999999999999", 0, len(TEXT) - 1),
        ("Bytes = 3 - 7", 3, 7),
    ],
)
def test_range(server, put, calls, header, first, last):
    put("range.bin", TEXT)
    calls.clear()
    reply = server.request("GET", "/files/range.bin", headers={"Range": header})
    assert (reply.status, reply.body) == (206, TEXT[first : last + 1])
    assert reply.headers["content-range"] == f"bytes {first}-{last}/{len(TEXT)}"
    assert reply.headers["content-length"] == str(last - first + 1)
    assert calls == ["get"]


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "lines=1-2", "bytes=9-3", "bytes=", "bytes=-", "bytes=a-b", "rubbish"])
def test_range_that_is_not_served_gives_all(server, put, header):
    put("all.bin", TEXT)
    reply = server.request("GET", "/files/all.bin", headers={"Range": header})
    assert (reply.status, reply.body) == (200, TEXT)
    assert "content-range" not in reply.headers


@pytest.mark.parametrize("header", [f"bytes={len(TEXT)}-", "bytes=99999999999999999999999999-", "bytes=-0", f"bytes={10**9}-{10**9 + 5}"])
def test_range_behind_the_end(server, put, calls, header):
    put("short.bin", TEXT)
    calls.clear()
    reply = server.request("GET", "/files/short.bin", headers={"Range": header})
    assert reply.status == 416
    assert reply.headers["content-range"] == f"bytes */{len(TEXT)}"
    assert reply.json["code"] == "bad_range"
    assert len(calls) <= 2


def test_any_range_of_an_empty_file_is_refused(server, put):
    put("nothing.bin", b"")
    for header in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        reply = server.request("GET", "/files/nothing.bin", headers={"Range": header})
        assert (reply.status, reply.headers["content-range"]) == (416, "bytes */0")


def test_if_none_match(server, put, calls):
    put("known.bin", b"one")
    tag = server.request("GET", "/files/known.bin").headers["etag"]
    calls.clear()
    for known in (tag, f'"other", W/{tag}', "*"):
        for method in ("GET", "HEAD"):
            reply = server.request(method, "/files/known.bin", headers={"If-None-Match": known})
            assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", tag)
    assert set(calls) == {"head"}
    put("known.bin", b"two!")
    calls.clear()
    reply = server.request("GET", "/files/known.bin", headers={"If-None-Match": tag})
    assert (reply.status, reply.body) == (200, b"two!")
    assert reply.headers["etag"] != tag
    assert calls == ["head", "get"]


def test_if_modified_since(server, put):
    put("dated.bin", b"one")
    when = server.request("GET", "/files/dated.bin").headers["last-modified"]
    assert server.request("GET", "/files/dated.bin", headers={"If-Modified-Since": when}).status == 304
    assert server.request("GET", "/files/dated.bin", headers={"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}).status == 200
    assert server.request("GET", "/files/dated.bin", headers={"If-Modified-Since": "yesterday"}).status == 200
    # If-None-Match is the better witness where both are there.
    assert server.request("GET", "/files/dated.bin", headers={"If-Modified-Since": when, "If-None-Match": '"x"'}).status == 200


def test_if_match(server, put):
    put("matched.bin", b"one")
    tag = server.request("GET", "/files/matched.bin").headers["etag"]
    assert server.request("GET", "/files/matched.bin", headers={"If-Match": tag}).body == b"one"
    assert server.request("GET", "/files/matched.bin", headers={"If-Match": "*"}).status == 200
    for wrong in ('"x"', f"W/{tag}"):
        reply = server.request("GET", "/files/matched.bin", headers={"If-Match": wrong})
        assert (reply.status, reply.json["code"]) == (412, "precondition_failed")
    assert server.request("HEAD", "/files/matched.bin", headers={"If-Match": '"x"'}).status == 412


def test_the_etag_is_what_a_save_may_be_conditional_on(server, put):
    put("edited.txt", b"one")
    tag = server.request("GET", "/files/edited.txt").headers["etag"]
    body = {"type": "file", "format": "text", "content": "two"}
    assert server.request("PUT", "/api/contents/edited.txt", body=body, headers={"If-Match": tag}).status == 200
    assert server.request("PUT", "/api/contents/edited.txt", body=body, headers={"If-Match": tag}).status == 412
    assert server.request("GET", "/files/edited.txt").body == b"two"


def test_if_range(server, put, calls):
    put("resumed.bin", TEXT)
    tag = server.request("GET", "/files/resumed.bin").headers["etag"]
    calls.clear()
    same = server.request("GET", "/files/resumed.bin", headers={"Range": "bytes=100-", "If-Range": tag})
    assert (same.status, same.body, calls) == (206, TEXT[100:], ["get"])
    put("resumed.bin", TEXT[::-1])
    calls.clear()
    other = server.request("GET", "/files/resumed.bin", headers={"Range": "bytes=100-", "If-Range": tag})
    assert (other.status, other.body) == (200, TEXT[::-1])
    assert len(calls) <= 2
    # A part of what is now shorter than where the client stands: all of it, not a 416.
    put("resumed.bin", b"short")
    gone = server.request("GET", "/files/resumed.bin", headers={"Range": "bytes=100-", "If-Range": tag})
    assert (gone.status, gone.body) == (200, b"short")
    dated = server.request("GET", "/files/resumed.bin", headers={"Range": "bytes=1-", "If-Range": gone.headers["last-modified"]})
    assert (dated.status, dated.body) == (200, b"short")


@pytest.mark.parametrize("name", ["plain.txt", "naïve – ☃ file.txt", "a'b\"c;d.txt", "100%.txt", "50% off #1?.txt", "*.txt"])
def test_download_says_the_name(server, put, name):
    put(name, b"x")
    reply = server.request("GET", f"/files/{name}", query={"download": "1"})
    assert reply.status == 200
    assert reply.headers["content-disposition"] == f"attachment; filename*=utf-8''{quote(name)}"


def test_notebooks_are_downloads(server, put):
    put("n.ipynb", b"{}")
    reply = server.request("GET", "/files/n.ipynb")
    assert reply.headers["content-type"] == "application/x-ipynb+json"
    assert reply.headers["content-disposition"] == "attachment; filename*=utf-8''n.ipynb"
    assert reply.body == b"{}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", "text/plain; charset=UTF-8"),
        ("a.html", "text/html"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.tar.gz", "application/gzip"),
        ("a.csv.bz2", "application/octet-stream"),
        ("a.IPYNB", "application/x-ipynb+json"),
        ("LICENSE", "application/octet-stream"),
    ],
)
def test_types(server, put, name, expected):
    put(name, b"x")
    assert server.request("GET", f"/files/{name}").headers["content-type"] == expected


def test_the_stores_type_is_used_only_where_it_is_one():
    assert content_type("x", "application/x-own") == "application/x-own"
    assert content_type("x", "text/plain; charset=utf-8") == "text/plain; charset=utf-8"
    assert content_type("x", "text/plain\r\nSet-Cookie: a=b") == "application/octet-stream"
    assert content_type("x.png", "text/html") == "image/png"


def test_what_is_not_a_file(server, put):
    put("d/f.txt", b"x")
    put(".secret/f.txt", b"x")
    for path in ("/files/d", "/files/d/", "/files/"):
        reply = server.request("GET", path)
        if reply.status == 302:  # the server's own: no slash at the end
            reply = server.request("GET", reply.headers["location"].removeprefix(server.base), raw=True)
        assert reply.status in (400, 404)
    assert server.request("GET", "/files/d").json["code"] == "wrong_type"
    assert server.request("HEAD", "/files/d").status == 400
    for path in ("/files/none.txt", "/files/d/none.txt", "/files/.secret/f.txt", "/files/.cloudcontents/x", "/files/d/.CloudContents/x"):
        for method in ("GET", "HEAD"):
            reply = server.request(method, path)
            assert reply.status == 404, path
    assert server.request("GET", "/files/none.txt").json["code"] == "not_found"


def test_large_body_arrives_whole(server, put):
    data = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(300_000))  # 9.6 MB, no two pieces the same
    put("large.bin", data)
    reply = server.request("GET", "/files/large.bin")
    assert hashlib.sha256(reply.body).digest() == hashlib.sha256(data).digest()


def test_errors_tell_neither_host_nor_traceback(server, put, monkeypatch):
    async def broken(*args, **kwargs):
        raise RuntimeError("secret=abc /etc/passwd")

    monkeypatch.setattr(server.bucket.backend, "get", broken, raising=False)
    reply = server.request("GET", "/files/x.txt")
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert b"Traceback" not in reply.body
    assert set(reply.json) == {"message", "code", "reason"}
