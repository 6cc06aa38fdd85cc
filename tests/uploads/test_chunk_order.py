"""JupyterLab's chunks in the wrong order, twice, of two tabs, or cut off: what cannot be told apart is refused, and nothing is changed."""

from __future__ import annotations

import base64
import secrets

import pytest

OLD = b"the old file"


@pytest.fixture(scope="module")
def server(start_server):
    return start_server(None)


@pytest.fixture
def name(server):
    """A file that is there."""
    name = f"f-{secrets.token_hex(4)}.bin"
    assert put(server, name, None, OLD).status == 201
    return name


def put(server, name, number, data, **more):
    model = {"type": "file", "format": "base64", "content": base64.b64encode(data).decode(), **more}
    if number is not None:
        model["chunk"] = number
    return server.request("PUT", f"/api/contents/{name}", body=model)


def code(reply):
    return reply.status if reply.status >= 300 else "ok"


def stored(server, name):
    reply = server.request("GET", f"/files/{name}")
    return reply.body if reply.status == 200 else None


@pytest.mark.parametrize(
    ("chunks", "codes", "whole"),
    [
        ([(1, b"a"), (2, b"b"), (-1, b"c")], ["ok"] * 3, b"abc"),
        ([(1, b"a"), (1, b"a"), (2, b"b"), (2, b"b"), (-1, b"c")], ["ok"] * 5, b"abc"),
        ([(1, b"a"), (3, b"c"), (2, b"b"), (-1, b"c")], ["ok", 409, "ok", "ok"], b"abc"),
        ([(1, b"a"), (2, b"b")], ["ok", "ok"], None),
        ([(1, b"a"), (-1, b"b"), (-1, b"b")], ["ok", "ok", 409], b"ab"),
        ([(-1, b"b")], [409], None),
        ([(2, b"b")], [409], None),
        ([(0, b"b")], [400], None),
        ([(-2, b"b")], [400], None),
        ([("1", b"b")], [400], None),
        ([(1.5, b"b")], [400], None),
        ([(True, b"b")], [400], None),
        ([(1, b"a"), (2, b"b"), (2, b"x"), (-1, b"c")], ["ok", "ok", 409, 409], None),
        # Another tab takes over; the first one's next chunk is told so.
        ([(1, b"a"), (2, b"b"), (1, b"A"), (3, b"c"), (2, b"B"), (-1, b"C")], ["ok", "ok", "ok", 409, "ok", "ok"], b"ABC"),
        # Whose these are cannot be told: neither file is made.
        ([(1, b"a"), (1, b"A"), (2, b"b"), (2, b"B"), (-1, b"C")], ["ok", "ok", 409, 409, 409], None),
        ([(1, b"a"), (2, b"b"), (1, b"A"), (-1, b"c")], ["ok", "ok", "ok", 409], None),
        # The same file begun again.
        ([(1, b"a"), (2, b"b"), (1, b"a"), (2, b"b"), (-1, b"c")], ["ok"] * 5, b"abc"),
    ],
    ids=lambda value: (
        "".join(f"{item[0]}{item[1].decode()}" for item in value if isinstance(item, tuple)) if isinstance(value, list) else ""
    ),
)
def test_order(server, name, chunks, codes, whole):
    assert [code(put(server, name, number, data)) for number, data in chunks] == codes
    assert stored(server, name) == (whole or OLD)


@pytest.mark.parametrize("path", [".cloudcontents/uploads/x", ".hidden", "../x", "a//b"])
def test_a_path_that_cannot_be(server, path):
    assert put(server, path, 1, b"a").status in (400, 404)


def test_content_that_is_none(server, name):
    assert put(server, name, 1, b"", content="!!").status == 400
    assert put(server, name, 1, b"", content=None).status == 400
    assert put(server, name, 1, b"", type="notebook").status == 400
    assert stored(server, name) == OLD
