"""tus 1.0.0 over HTTP, as its specification says, against a real server."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
import secrets
import zlib

import pytest

PATCH_TYPE = "application/offset+octet-stream"
MIB = 2**20


def some(size, seed=1):
    return random.Random(seed).randbytes(size)


def metadata(**told):
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in told.items())


class Client:
    """Plain HTTP, so that nothing is added or retried."""

    def __init__(self, server):
        self.server = server

    def __call__(self, method, address, body=None, headers=None, *, tus=True, token=True):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        sent = {"Tus-Resumable": "1.0.0"} if tus else {}
        if token:
            sent["Authorization"] = f"token {self.server.token}"
        path = address if address.startswith("/") else f"{self.server.base}/cloudcontents/uploads{address and '/' + address}"
        connection.request(method, path, body=body, headers={**sent, **(headers or {})})
        response = connection.getresponse()
        answer = (response.status, dict(response.getheaders()), response.read())
        connection.close()
        return answer

    def create(self, path, size, **headers):
        code, told, body = self("POST", "", headers={"Upload-Length": str(size), "Upload-Metadata": metadata(path=path), **headers})
        assert code == 201, body
        return told["Location"]

    def patch(self, address, offset, data, **headers):
        return self("PATCH", address, data, {"Content-Type": PATCH_TYPE, "Upload-Offset": str(offset), **headers})

    def offset(self, address):
        code, told, _ = self("HEAD", address)
        assert code == 200
        return int(told["Upload-Offset"])


@pytest.fixture(scope="module", params=["memory", "file"])
def server(request, start_server, tmp_path_factory):
    url = None if request.param == "memory" else f"file://{tmp_path_factory.mktemp('bucket')}"
    return start_server(url)


@pytest.fixture
def client(server):
    return Client(server)


@pytest.fixture
def name():
    return f"f-{secrets.token_hex(4)}.bin"


def stored(client, name):
    code, _, body = client("GET", f"{client.server.base}/files/{name}", tus=False)
    return body if code == 200 else None


def under_way(client):
    return [upload["id"] for upload in json.loads(client("GET", "", tus=False)[2])["uploads"]]


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1])
def test_a_file_in_two_patches(client, name, size):
    data = some(size)
    address = client.create(name, size)
    half = size // 2
    at = 0
    for piece in (data[:half], data[half:]):
        if piece:
            code, told, _ = client.patch(address, at, piece)
            at += len(piece)
            assert (code, told["Upload-Offset"], told["Tus-Resumable"]) == (204, str(at), "1.0.0")
            assert "Upload-Expires" in told
    assert client.offset(address) == size, "the end is told again to who did not hear it"
    assert stored(client, name) == data


def test_options(client):
    code, told, body = client("OPTIONS", "", tus=False, token=False)
    assert (code, body) == (204, b"")
    assert told["Tus-Version"] == "1.0.0"
    assert set(told["Tus-Extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "checksum",
        "expiration",
        "termination",
        "concatenation",
    }
    assert told["Tus-Checksum-Algorithm"] == "sha1,sha256,crc32"
    assert int(told["Tus-Max-Size"]) == 5 * 2**30


def test_nothing_shows_before_the_end(client, name):
    address = client.create(name, 10)
    client.patch(address, 0, b"12345")
    assert stored(client, name) is None
    client.patch(address, 5, b"67890")
    assert stored(client, name) == b"1234567890"


@pytest.mark.parametrize("offset", [0, 4, 6, 10])
def test_a_wrong_offset(client, name, offset):
    address = client.create(name, 10)
    client.patch(address, 0, b"12345")
    code, told, _ = client.patch(address, offset, b"x")
    assert (code, told["Upload-Offset"]) == (409, "5")
    assert client.offset(address) == 5


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Upload-Offset": "-1"}, 400),
        ({"Upload-Offset": "x"}, 400),
        ({"Upload-Offset": "9" * 40}, 400),
        ({"Content-Type": "text/plain"}, 415),
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({"Upload-Checksum": "md4 AAAA"}, 400),
        ({"Upload-Checksum": "sha1 §"}, 400),
        ({"Upload-Checksum": "sha1 AAAA"}, 460),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_patch_changes_nothing(client, name, headers, code):
    address = client.create(name, 10)
    client.patch(address, 0, b"12345")
    headers = {key: value.encode("latin-1").decode("latin-1") for key, value in headers.items()}
    answer, told, body = client.patch(address, 5, b"678", **headers)
    assert answer == code, body
    assert told["Tus-Resumable"] == "1.0.0"
    if code == 412:
        assert told["Tus-Version"] == "1.0.0"
    assert client.offset(address) == 5


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


def test_more_than_declared(client, name):
    address = client.create(name, 10)
    code, _, _ = client.patch(address, 0, b"x" * 11)
    assert code == 413
    assert client.offset(address) == 0


@pytest.mark.parametrize("size", [100, 9 * MIB])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "crc32"])
def test_checksums(client, name, algorithm, size):
    data = some(size)
    digest = zlib.crc32(data).to_bytes(4, "big") if algorithm == "crc32" else hashlib.new(algorithm, data).digest()
    right = f"{algorithm} {base64.b64encode(digest).decode()}"
    address = client.create(name, size)
    code, _, _ = client.patch(address, 0, data[::-1], **{"Upload-Checksum": right})
    assert code == 460
    assert client.offset(address) == 0
    code, _, _ = client.patch(address, 0, data, **{"Upload-Checksum": right})
    assert code == 204
    assert stored(client, name) == data


def test_creation_with_upload(client, name):
    headers = {"Upload-Length": "10", "Upload-Metadata": metadata(path=name), "Content-Type": PATCH_TYPE}
    code, told, _ = client("POST", "", b"12345", headers)
    assert (code, told["Upload-Offset"]) == (201, "5")
    client.patch(told["Location"], 5, b"67890")
    assert stored(client, name) == b"1234567890"


def test_deferred_length(client, name):
    code, told, _ = client("POST", "", headers={"Upload-Defer-Length": "1", "Upload-Metadata": metadata(path=name)})
    assert code == 201
    address = told["Location"]
    client.patch(address, 0, b"12345")
    code, told, _ = client("HEAD", address)
    assert (told["Upload-Defer-Length"], "Upload-Length" in told) == ("1", False)
    code, _, _ = client.patch(address, 5, b"67890", **{"Upload-Length": "10"})
    assert code == 204
    assert stored(client, name) == b"1234567890"


def test_termination(client, name):
    address = client.create(name, 10)
    client.patch(address, 0, b"12345")
    assert client("DELETE", address)[0] == 204
    assert client("HEAD", address)[0] == 410
    assert client.patch(address, 5, b"x")[0] == 410
    assert client("DELETE", address)[0] == 410
    assert client("HEAD", address[:-4] + "0000")[0] == 404


def test_method_override(client, name):
    address = client.create(name, 5)
    code, _, _ = client("POST", address, b"12345", {"Content-Type": PATCH_TYPE, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"})
    assert code == 204
    assert stored(client, name) == b"12345"
    address = client.create(f"x{name}", 5)
    assert client("POST", address, headers={"X-HTTP-Method-Override": "DELETE"})[0] == 204
    assert client("HEAD", address)[0] == 410


def test_concatenation(client, name):
    addresses = []
    for piece in (b"12345", b"678", b"90"):
        code, told, _ = client("POST", "", headers={"Upload-Length": str(len(piece)), "Upload-Concat": "partial"})
        assert code == 201
        assert client.patch(told["Location"], 0, piece)[0] == 204
        assert client("HEAD", told["Location"])[1]["Upload-Concat"] == "partial"
        addresses.append(told["Location"])
    code, told, body = client("POST", "", headers={"Upload-Concat": f"final;{' '.join(addresses)}", "Upload-Metadata": metadata(path=name)})
    assert code == 201, body
    assert stored(client, name) == b"1234567890"


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
    for method, headers in (("PATCH", {"Content-Type": PATCH_TYPE, "Upload-Offset": "0"}), ("HEAD", {}), ("DELETE", {})):
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
