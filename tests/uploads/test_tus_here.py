"""What tus leaves to the server: where files go, what they replace, who may; uploads as JSON beside it."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import socket

import pytest

TYPE = "application/offset+octet-stream"
MIB = 2**20


def some(size, seed=1):
    return random.Random(seed).randbytes(size)


def metadata(**told):
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in told.items())


class Client:
    def __init__(self, wire, server):
        self.wire = wire
        self.server = server

    def __call__(self, method, address="", body=None, headers=None, *, tus=True, token=True):
        left_out = {} if tus else {"Tus-Resumable": None}
        return self.wire(method, address, body, {**left_out, **({} if token else {"Authorization": None}), **(headers or {})})

    def create(self, path, size, **headers):
        code, told, body = self("POST", "", headers={"Upload-Length": str(size), "Upload-Metadata": metadata(path=path), **headers})
        assert code == 201, body
        return told["Location"]

    def patch(self, address, offset, data, **headers):
        return self("PATCH", address, data, {"Content-Type": TYPE, "Upload-Offset": str(offset), **headers})

    def offset(self, address):
        code, told, _ = self("HEAD", address)
        assert code == 200
        return int(told["Upload-Offset"])


@pytest.fixture(scope="module", params=["memory", "file"])
def server(request, start_server, tmp_path_factory):
    url = None if request.param == "memory" else f"file://{tmp_path_factory.mktemp('bucket')}"
    return start_server(url)


@pytest.fixture
def client(server, wire_to):
    return Client(wire_to(server, **{"Tus-Resumable": "1.0.0"}), server)


def stored(client, name):
    code, _, body = client("GET", f"{client.server.base}/files/{name}", tus=False)
    return body if code == 200 else None


def under_way(client):
    return [upload["id"] for upload in json.loads(client("GET", tus=False)[2])["uploads"]]


def test_nothing_shows_before_the_end(client, name):
    address = client.create(name, 10)
    client.patch(address, 0, b"12345")
    assert stored(client, name) is None
    client.patch(address, 5, b"67890")
    assert stored(client, name) == b"1234567890"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "9" * 30}, 400),
        ({"Upload-Length": str(5 * 2**30 + 1)}, 413),
        ({"Upload-Length": None}, 400),
        ({"Upload-Metadata": "path !!"}, 400),
        ({"Upload-Metadata": metadata(path="../x")}, 404),
        ({"Upload-Metadata": metadata(path=".cloudcontents/x")}, 400),
        ({"Upload-Metadata": metadata(path=".hidden")}, 400),
        ({"Upload-Metadata": metadata(path="f", big="x" * 9000)}, 400),
        ({"Upload-Metadata": ""}, 400),
        ({"Tus-Resumable": "2.0.0"}, 412),
        ({"Upload-Concat": "middle"}, 400),
        ({"Upload-Concat": "final;"}, 400),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_creation_begins_nothing(client, headers, code):
    wanted = {"Upload-Length": "10", "Upload-Metadata": metadata(path="never.bin"), **headers}
    if headers.get("Upload-Concat") == "final;":
        del wanted["Upload-Length"]
    before = under_way(client)
    answer, _, body = client("POST", "", headers={key: value for key, value in wanted.items() if value is not None})
    assert answer == code, body
    assert json.loads(body)["message"]
    assert under_way(client) == before


def test_nothing_is_replaced_unasked(client, name):
    client.patch(client.create(name, 3), 0, b"old")
    code, _, body = client("POST", "", headers={"Upload-Length": "3", "Upload-Metadata": metadata(path=name)})
    assert (code, json.loads(body)["code"]) == (409, "already_exists")
    code, told, _ = client("POST", "", headers={"Upload-Length": "3", "Upload-Metadata": metadata(path=name, overwrite="true")})
    assert code == 201
    client.patch(told["Location"], 0, b"new")
    assert stored(client, name) == b"new"


def test_a_file_that_appeared_meanwhile_is_kept_and_the_client_is_told_again(client, name):
    address = client.create(name, 3)
    code, told, _ = client("POST", "", headers={"Upload-Length": "5", "Upload-Metadata": metadata(path=name)})
    client.patch(told["Location"], 0, b"other")
    assert client.patch(address, 0, b"new")[0] == 409
    assert client("HEAD", address)[0] == 409, "an offset at the end would pass for success"
    assert stored(client, name) == b"other"
    id = address.rpartition("/")[2]
    code, _, body = client("POST", f"{id}/complete", json.dumps({"overwrite": True}).encode(), tus=False)
    assert (code, json.loads(body)["state"]) == (200, "complete")
    assert stored(client, name) == b"new"


def test_who_is_not_logged_in_is_refused_before_the_body(client, name):
    address = client.create(name, 10)
    for method, headers in (("PATCH", {"Content-Type": TYPE, "Upload-Offset": "0"}), ("HEAD", {}), ("DELETE", {})):
        assert client(method, address, b"x" if method == "PATCH" else None, headers, token=False)[0] == 403
    assert client("POST", "", headers={"Upload-Length": "1"}, token=False)[0] == 403
    assert client.offset(address) == 0


def test_json_beside_it(client, name):
    data = some(MIB + 5)
    code, told, body = client("POST", "", json.dumps({"path": name, "size": len(data), "part_size": MIB}).encode(), tus=False)
    assert code == 201, body
    id = json.loads(body)["id"]
    pieces = [data[:MIB], data[MIB:]]
    digest = hashlib.sha256(pieces[1]).hexdigest()
    assert client("PUT", f"{id}/parts/2", pieces[1], {"X-Checksum-Sha256": "0" * 64}, tus=False)[0] == 400
    assert client("PUT", f"{id}/parts/2", pieces[1], {"X-Checksum-Sha256": digest}, tus=False)[0] == 200
    state = json.loads(client("GET", f"{id}/parts", tus=False)[2])
    assert (state["needed"], [item["number"] for item in state["held"]]) == ([1], [2])
    assert json.loads(client("GET", f"{id}/parts/2?sha256={digest}", tus=False)[2]) == {"verified": True}
    assert client("POST", f"{id}/complete", b"", tus=False)[0] == 409
    assert client("PUT", f"{id}/parts/3", b"x", tus=False)[0] == 400
    assert client("PUT", f"{id}/parts/1", pieces[0], tus=False)[0] == 200
    assert json.loads(client("GET", id, tus=False)[2])["progress"] == 1.0
    assert client("POST", f"{id}/complete", b"", tus=False)[0] == 200
    assert stored(client, name) == data
    assert json.loads(client("GET", "stats", tus=False)[2])["today"] >= 1
    code, told, body = client("GET", f"{id}/events", tus=False)
    assert (code, told["Content-Type"]) == (200, "text/event-stream")
    assert json.loads(body.removeprefix(b"data: "))["state"] == "complete"


def test_a_wrong_offset_is_answered_with_the_right_one(client, name):
    address = client.create(name, 10)
    client.patch(address, 0, b"12345")
    code, told, body = client.patch(address, 0, b"x")
    assert (code, told["Upload-Offset"], json.loads(body)["code"]) == (409, "5", "wrong_offset")


def test_an_upload_that_was_given_up_is_gone(client, name):
    address = client.create(name, 10)
    client.patch(address, 0, b"12345")
    assert client("DELETE", address)[0] == 204
    assert [client("HEAD", address)[0], client.patch(address, 5, b"x")[0], client("DELETE", address)[0]] == [410, 410, 410]


def test_more_than_declared_is_refused_before_it_comes(client, name):
    address = client.create(name, 10)
    code, _, answer = client.patch(address, 0, b"x" * 11)
    assert (code, json.loads(answer)["code"]) == (413, "too_large")
    assert client.offset(address) == 0


def test_more_than_declared_is_refused_while_it_comes(client, name):
    address = client.create(name, 10)
    told = {**client.wire.headers, "Content-Type": TYPE, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    with socket.create_connection(("127.0.0.1", client.server.port), timeout=30) as line:
        line.sendall(f"PATCH {address} HTTP/1.1\r\nHost: 127.0.0.1:{client.server.port}\r\n{lines}\r\nb\r\n12345678901\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(1000), b""))  # the body has no end; the answer comes, and the connection is closed
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Tus-Resumable: 1.0.0" in answer
    assert client.offset(address) == 0


def test_an_override_that_would_evade_the_token_of_a_cookie_is_not_obeyed(client, name):
    address = client.create(name, 10)
    assert client("GET", address, headers={"X-HTTP-Method-Override": "DELETE"})[0] == 200
    assert client.offset(address) == 0


@pytest.mark.parametrize("value", ["sha1 §", "md4 AAAA"])
def test_a_creation_with_a_checksum_that_is_none_begins_nothing(client, name, value):
    before = under_way(client)
    told = {"Upload-Length": "5", "Upload-Metadata": metadata(path=name), "Content-Type": TYPE, "Upload-Checksum": value}
    assert client("POST", "", b"12345", told)[0] == 400
    assert under_way(client) == before
