"""What a page of another origin is told of uploads: nothing, unless the server's own settings let its origin in."""

from __future__ import annotations

import pytest

PAGE = "https://page.test"
ASKS = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,tus-resumable,upload-offset"}
UPLOADS = "/cloudcontents/uploads"
TUS = {"Tus-Resumable": "1.0.0"}


def words(reply):
    return {name for name in reply.headers if name.startswith("access-control-")}


@pytest.fixture(scope="module", params=[{"allow_origin": PAGE}, {"allow_origin_pat": r"https://page\.test"}, {"allow_origin": "*"}])
def open_server(request, start_server):
    return start_server(config={"ServerApp": request.param}), request.param.get("allow_origin") or PAGE


@pytest.mark.parametrize("path", [UPLOADS, f"{UPLOADS}/some-id"])
def test_an_origin_that_is_let_in_may_ask_with_the_headers_of_the_protocols(open_server, path):
    server, origin = open_server
    reply = server.bare("OPTIONS", path, headers={"Origin": PAGE, **ASKS})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, origin)
    assert set(reply.headers["access-control-allow-methods"].split(", ")) >= {"POST", "HEAD", "PATCH", "DELETE"}
    allowed = reply.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "tus-resumable", "upload-offset", "upload-complete", "content-digest"} <= set(allowed)


def test_it_may_read_the_headers_of_answers_and_of_errors(open_server):
    server, origin = open_server
    told = {"Origin": PAGE, **TUS}
    made = server.request("POST", UPLOADS, headers={"Upload-Length": "3", **told}, query={"path": "a"})
    address = made.headers["location"].removeprefix(server.base)
    wrong = server.request(
        "PATCH", address, body=b"abc", headers={"Upload-Offset": "2", "Content-Type": "application/offset+octet-stream", **told}
    )
    stranger = server.bare("HEAD", address, headers=told)
    assert (made.status, wrong.status, stranger.status) == (201, 409, 403)
    assert wrong.headers["upload-offset"] == "0"
    for reply in (made, wrong, stranger):
        assert reply.headers["access-control-allow-origin"] == origin
        assert {"Location", "Upload-Offset", "Tus-Resumable"} <= set(reply.headers["access-control-expose-headers"].split(", "))
    assert server.request("DELETE", address, headers=told).status == 204


def test_no_origin_is_let_in_by_default(start_server):
    server = start_server()
    assert words(server.bare("OPTIONS", UPLOADS)) == set()
    reply = server.bare("OPTIONS", UPLOADS, headers={"Origin": PAGE, **ASKS})
    assert words(reply) == set()


def test_another_origin_than_the_one_that_is_let_in(start_server):
    server = start_server(config={"ServerApp": {"allow_origin": PAGE}})
    reply = server.bare("OPTIONS", UPLOADS, headers={"Origin": "https://other.test", **ASKS})
    assert words(reply) <= {"access-control-allow-origin"}
    assert reply.headers.get("access-control-allow-origin") != "https://other.test"
