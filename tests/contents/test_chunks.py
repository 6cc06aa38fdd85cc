"""Chunk saves over HTTP: one uploader's pieces belong together, two uploaders' never mix."""

from __future__ import annotations

import base64

import pytest


@pytest.fixture(scope="module")
def server(start_server):
    return start_server()


def chunk(number, data):
    return {"type": "file", "format": "base64", "content": base64.b64encode(data).decode(), "chunk": number}


def cookies(server):
    found = server.bare("GET", "/login").cookies | server.request("GET", "/api/status").cookies
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in found.items()), "X-XSRFToken": found["_xsrf"]}


def test_a_program_with_a_token_and_no_cookie(server):
    for number, data in ((1, b"a" * 1000), (2, b"b" * 1000), (-1, b"c")):
        assert server.request("PUT", "/api/contents/token.bin", body=chunk(number, data)).status in (200, 201)
    assert server.store.snapshot()["token.bin"] == b"a" * 1000 + b"b" * 1000 + b"c"


def test_two_browsers_do_not_mix(server):
    ann, ben = cookies(server), cookies(server)
    for number, data in ((1, b"a"), (2, b"b"), (-1, b"c")):
        assert server.bare("PUT", "/api/contents/two.bin", body=chunk(number, data), headers=ann).status in (200, 201)
        if number != -1:
            assert server.bare("PUT", "/api/contents/two.bin", body=chunk(number, data.upper()), headers=ben).status in (200, 201)
    assert server.store.snapshot()["two.bin"] == b"abc"
    server.bare("GET", "/api/contents/two.bin", query={"content": "0"}, headers=ben)
    assert server.bare("PUT", "/api/contents/two.bin", body=chunk(-1, b"C"), headers=ben).status == 200
    assert server.store.snapshot()["two.bin"] == b"ABC"
