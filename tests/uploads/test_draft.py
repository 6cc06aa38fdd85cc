"""Resumable uploads in the IETF's draft (interop version 8), each MUST of its text by section, against a real server."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import socket
import time

import pytest

TYPE = "application/partial-upload"
PROBLEMS = "https://iana.org/assignments/http-problem-types#"
MIB = 2**20
MAX = 5 * 2**30


def some(size, seed=1):
    return random.Random(seed).randbytes(size)


def field(algorithm, data):
    return f"{algorithm}=:{base64.b64encode(hashlib.new(algorithm.replace('-', ''), data).digest()).decode()}:"


class Client:
    def __init__(self, wire, server):
        self.wire = wire
        self.server = server

    def create(self, name, body=b"", complete="?0", **headers):
        told = {"Upload-Complete": complete, **{key.replace("_", "-"): value for key, value in headers.items()}}
        return self.wire("POST", f"{self.wire.base}?path={name}", body, told)

    def begin(self, name, length=None, body=b"", **headers):
        code, told, answer = self.create(name, body, Upload_Length=None if length is None else str(length), **headers)
        assert code == 201, answer
        return told["Location"]

    def patch(self, address, offset, body=b"", complete="?0", **headers):
        told = {"Upload-Complete": complete, "Upload-Offset": None if offset is None else str(offset), "Content-Type": TYPE}
        return self.wire("PATCH", address, body, {**told, **{key.replace("_", "-"): value for key, value in headers.items()}})

    def begin_patch(self, address, length, body):
        """An append of which only the beginning is sent, once the server is at it; its connection."""
        told = {"Host": f"127.0.0.1:{self.wire.port}", "Upload-Complete": "?1", "Upload-Offset": "0", "Content-Type": TYPE}
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**self.wire.headers, **told, "Content-Length": str(length)}.items())
        line = socket.create_connection(("127.0.0.1", self.wire.port))
        line.settimeout(30)
        line.sendall(f"PATCH {address} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        deadline = time.monotonic() + 30
        while not self.server.manager.uploads._sessions[address.rpartition("/")[2]].is_busy:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return line

    def state(self, address):
        code, told, _ = self.wire("HEAD", address)
        assert code == 204
        return int(told["Upload-Offset"]), told["Upload-Complete"]

    def stored(self, name):
        code, _, body = self.wire("GET", f"{self.server.base}/files/{name}")
        return body if code == 200 else None

    def under_way(self):
        return [upload["path"] for upload in json.loads(self.wire("GET")[2])["uploads"]]


@pytest.fixture(scope="module", params=["memory", "file"])
def server(request, start_server, tmp_path_factory):
    url = None if request.param == "memory" else f"file://{tmp_path_factory.mktemp('bucket')}"
    return start_server(url)


@pytest.fixture
def client(server, wire_to):
    return Client(wire_to(server, **{"Upload-Draft-Interop-Version": "8"}), server)


def limits(told):
    return dict(item.strip().split("=") for item in told["Upload-Limit"].split(","))


# --- 4.1.1 offset -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", ["x", "-1", "1.0", '"5"', "?1", "9" * 16, None])
def test_4_1_1_an_offset_that_is_no_integer_is_ignored(client, name, offset):
    address = client.begin(name, 10, b"12345")
    code, _, body = client.patch(address, offset, b"678")
    assert code == 400, body
    assert client.state(address) == (5, "?0")


def test_4_1_1_the_offset_never_decreases(client, name):
    address = client.begin(name, 9 * MIB)
    seen = 0
    for size in (1, MIB, 7 * MIB, 5):
        assert client.patch(address, seen, some(size))[0] == 204
        now, _ = client.state(address)
        assert now == seen + size
        seen = now
    assert client.patch(address, 0, b"again")[0] == 409
    assert client.state(address) == (seen, "?0")


# --- 4.1.2 completeness -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["true", "1", "?2", '"?1"', ""])
def test_4_1_2_a_value_that_is_no_boolean_is_ignored(client, name, value):
    assert client.create(name, b"12345", complete=value)[0] == 400
    address = client.begin(name, 10)
    assert client.patch(address, 0, b"12345", complete=value)[0] == 400
    assert client.state(address) == (0, "?0")


def test_4_1_2_parameters_of_an_item_are_ignored(client, name):
    assert client.create(name, b"12345", complete="?1;a=b")[0] == 201
    assert client.stored(name) == b"12345"


def test_4_1_2_nothing_can_be_appended_to_a_complete_upload(client, name):
    address = client.create(name, b"12345", complete="?1")[1]["Location"]
    code, _, body = client.patch(address, 5, b"6", complete="?1")
    assert (code, json.loads(body)["type"]) == (400, f"{PROBLEMS}completed-upload")
    assert client.patch(address, 3, b"45", complete="?1")[0] == 409
    assert client.state(address) == (5, "?1")
    assert client.stored(name) == b"12345"


def test_4_1_2_all_bytes_do_not_make_it_complete(client, name):
    address = client.begin(name, 5, b"12345")
    assert client.state(address) == (5, "?0")
    assert client.stored(name) is None
    code, told, _ = client.patch(address, 5, b"", complete="?1")
    assert (code, told["Upload-Complete"]) == (200, "?1")
    assert client.stored(name) == b"12345"


# --- 4.1.3 length -----------------------------------------------------------------------------------------------------------


def test_4_1_3_the_length_is_told_back_once_it_is_known(client, name):
    address = client.begin(name)
    assert "Upload-Length" not in client.wire("HEAD", address)[1]
    client.patch(address, 0, b"123", Upload_Length="5")
    assert client.wire("HEAD", address)[1]["Upload-Length"] == "5"
    client.patch(address, 3, b"45", complete="?1")
    assert client.wire("HEAD", address)[1]["Upload-Length"] == "5"


def test_4_1_3_a_completing_request_tells_the_length(client, name):
    address = client.begin(name, None, b"123")
    assert client.patch(address, 3, b"45", complete="?1")[0] == 200
    assert client.wire("HEAD", address)[1]["Upload-Length"] == "5"


@pytest.mark.parametrize("value", ["x", "-1", "9" * 16])
def test_4_1_3_a_length_that_is_no_integer_is_ignored(client, name, value):
    address = client.begin(name, value)
    assert "Upload-Length" not in client.wire("HEAD", address)[1]


def test_4_1_3_indicators_in_one_request_match(client, name):
    code, told, body = client.create(name, b"12345", complete="?1", Upload_Length="6")
    assert (code, told["Content-Type"], told["Upload-Complete"]) == (400, "application/problem+json", "?0")
    assert json.loads(body)["type"] == f"{PROBLEMS}inconsistent-upload-length"
    assert name not in client.under_way()


@pytest.mark.parametrize("headers", [{"Upload_Length": "11"}, {"complete": "?1"}])
def test_4_1_3_indicators_of_several_requests_match(client, name, headers):
    address = client.begin(name, 10)
    code, _, body = client.patch(address, 0, b"12345", **headers)
    assert (code, json.loads(body)["type"]) == (400, f"{PROBLEMS}inconsistent-upload-length")
    assert client.state(address) == (0, "?0")
    assert client.stored(name) is None


def test_4_1_3_a_stream_that_ends_before_its_length_does_not_complete(client, name):
    address = client.begin(name, 10)
    code, told, body = client.patch(address, 0, iter([b"123", b"45"]), complete="?1", Transfer_Encoding="chunked")
    assert (code, told["Upload-Complete"]) == (400, "?0"), body
    assert client.state(address) == (5, "?0")


# --- 4.1.4 limits -----------------------------------------------------------------------------------------------------------


def test_4_1_4_options_tell_the_limits(client):
    code, told, _ = client.wire("OPTIONS", headers={"Authorization": None, "Upload-Draft-Interop-Version": None})
    assert code == 204
    assert limits(told) == {"max-size": str(MAX)}


def test_4_1_4_a_larger_file_is_refused_with_the_limits(client, name):
    code, told, _ = client.create(name, Upload_Length=str(MAX + 1))
    assert (code, limits(told)["max-size"]) == (413, str(MAX))
    assert name not in client.under_way()


# --- 4.2 creation -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 8 * MIB + 1])
def test_4_2_a_whole_file_in_one_request(client, name, size):
    data = some(size)
    code, told, body = client.create(name, data, complete="?1", Upload_Length=str(size))
    assert (code, told["Upload-Complete"]) == (201, "?1")
    assert json.loads(body)["path"] == name
    assert client.stored(name) == data


def test_4_2_a_whole_file_of_unknown_length(client, name):
    pieces = [some(MIB, seed) for seed in range(9)]
    code, told, _ = client.create(name, iter(pieces), complete="?1", Transfer_Encoding="chunked")
    assert (code, told["Upload-Complete"]) == (201, "?1")
    assert client.stored(name) == b"".join(pieces)


def test_4_2_a_part_of_a_file(client, name):
    code, told, _ = client.create(name, b"12345", Upload_Length="10")
    assert (code, told["Upload-Complete"], told["Upload-Offset"]) == (201, "?0", "5")
    assert told["Location"].startswith("/")
    assert limits(told)["max-size"] == str(MAX)
    assert 86000 < int(limits(told)["max-age"]) <= 86400
    assert client.stored(name) is None


def test_4_2_nothing_at_first(client, name):
    code, told, _ = client.create(name)
    assert (code, told["Upload-Complete"], told["Upload-Offset"]) == (201, "?0", "0")
    assert "Location" in told
    assert "Upload-Limit" in told


def test_4_2_more_than_the_length(client, name):
    code, _, body = client.create(name, b"123456", Upload_Length="5")
    assert (code, json.loads(body)["type"]) == (400, f"{PROBLEMS}inconsistent-upload-length")
    code, told, _ = client.create(name, iter([b"123456"]), Upload_Length="5", Transfer_Encoding="chunked")
    assert code == 400
    assert client.wire("HEAD", told["Location"])[0] == 410
    assert name not in client.under_way()


@pytest.mark.parametrize(
    ("header", "stored_as"),
    [
        ('inline; filename="{}"', "{}"),
        ("attachment; filename={}", "{}"),
        ("inline; filename=\"no.bin\"; filename*=UTF-8''na%C3%AFve-{}", "naïve-{}"),
    ],
)
def test_4_2_a_name_in_content_disposition(client, name, header, stored_as):
    told = {"Upload-Complete": "?1", "Content-Disposition": header.format(name)}
    code, _, body = client.wire("POST", "", b"12345", told)
    assert code == 201, body
    assert json.loads(body)["path"] == stored_as.format(name)


@pytest.mark.parametrize(
    ("query", "header", "code"),
    [
        ("", None, 400),
        ("", 'inline; filename="../x"', 400),
        ("?path=../x", None, 404),
        ("?path=.cloudcontents/x", None, 400),
        ("?path=.hidden", None, 400),
        ("?path=a%00b", None, 400),
    ],
)
def test_4_2_names_are_checked(client, query, header, code):
    before = client.under_way()
    answer, told, body = client.wire("POST", f"{client.wire.base}{query}", b"1", {"Upload-Complete": "?1", "Content-Disposition": header})
    assert answer == code, body
    assert (told["Content-Type"], told["Upload-Complete"]) == ("application/problem+json", "?0")
    assert json.loads(body)["detail"]
    assert client.under_way() == before


def test_4_2_metadata_of_the_file_are_kept(client, name):
    client.create(name, b"{}", complete="?1", Content_Type="application/vnd.test+json")
    info = client.server.run(lambda: client.server.bucket.head(name))
    assert info.content_type == "application/vnd.test+json"
    assert client.create(f"x{name}", b"x", complete="?1", Content_Encoding="gzip")[0] == 415


def test_4_2_nothing_is_replaced_unasked(client, name):
    client.create(name, b"old", complete="?1")
    code, _, body = client.create(name, b"new", complete="?1")
    assert (code, json.loads(body)["code"]) == (409, "already_exists")
    assert client.create(name, b"new", complete="?1", If_Match="*")[0] == 201
    assert client.stored(name) == b"new"


def test_4_2_a_failure_of_the_target_is_told_as_the_result(client, name):
    address = client.begin(name, 3)
    client.create(name, b"other", complete="?1")
    code, told, _ = client.patch(address, 0, b"new", complete="?1")
    assert (code, told["Upload-Complete"]) == (409, "?1")
    assert client.stored(name) == b"other"
    code, _, body = client.wire("POST", f"{address}/complete", b'{"overwrite": true}', {"Upload-Draft-Interop-Version": None})
    assert (code, json.loads(body)["state"]) == (200, "complete")
    assert client.stored(name) == b"new"


# --- 4.3 offset retrieval ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["8", None])
def test_4_3_head(client, name, version):
    address = client.begin(name, 10, b"12345")
    code, told, body = client.wire("HEAD", address, headers={"Upload-Draft-Interop-Version": version})
    assert (code, body) == (204, b"")
    assert (told["Upload-Offset"], told["Upload-Complete"], told["Upload-Length"]) == ("5", "?0", "10")
    assert told["Cache-Control"] == "no-store"
    assert limits(told)["max-size"] == str(MAX)
    assert int(limits(told)["max-age"]) <= 86400


def test_4_3_get(client, name):
    address = client.begin(name, 10, b"12345")
    code, told, body = client.wire("GET", address)
    assert (code, told["Upload-Offset"], told["Upload-Complete"], told["Upload-Length"]) == (200, "5", "?0", "10")
    assert "Upload-Limit" in told
    assert json.loads(body)["offset"] == 5


def test_4_3_a_complete_upload(client, name):
    address = client.create(name, b"12345", complete="?1")[1]["Location"]
    code, told, _ = client.wire("HEAD", address)
    assert (code, told["Upload-Offset"], told["Upload-Complete"], told["Upload-Length"]) == (204, "5", "?1", "5")


def test_4_3_an_unknown_upload(client, name):
    address = client.begin(name, 10)
    assert client.wire("HEAD", address[:-4] + "0000")[0] == 404
    code, told, _ = client.patch(address[:-4] + "0000", 0, b"1")
    assert (code, told["Content-Type"]) == (404, "application/problem+json")
    assert client.wire("DELETE", address[:-4] + "0000")[0] == 404


# --- 4.4 append -------------------------------------------------------------------------------------------------------------


def test_4_4_a_file_in_three_requests(client, name):
    data = some(9 * MIB)
    address = client.begin(name, None, data[:100])
    code, told, body = client.patch(address, 100, data[100 : 8 * MIB])
    assert (code, told["Upload-Complete"], told["Upload-Offset"], body) == (204, "?0", str(8 * MIB), b"")
    code, told, body = client.patch(address, 8 * MIB, data[8 * MIB :], complete="?1")
    assert (code, told["Upload-Complete"]) == (200, "?1")
    assert json.loads(body)["path"] == name
    assert client.stored(name) == data


@pytest.mark.parametrize("offset", [0, 4, 6, 10])
def test_4_4_a_wrong_offset(client, name, offset):
    address = client.begin(name, 10, b"12345")
    code, told, body = client.patch(address, offset, b"x")
    assert (code, told["Upload-Offset"], told["Upload-Complete"]) == (409, "5", "?0")
    problem = json.loads(body)
    assert told["Content-Type"] == "application/problem+json"
    assert problem["type"] == f"{PROBLEMS}mismatching-upload-offset"
    assert (problem["expected-offset"], problem["provided-offset"], problem["status"]) == (5, offset, 409)
    assert client.state(address) == (5, "?0")


@pytest.mark.parametrize("type", ["text/plain", "application/offset+octet-stream", None])
def test_4_4_another_media_type(client, name, type):
    address = client.begin(name, 10)
    assert client.patch(address, 0, b"12345", Content_Type=type)[0] == 415
    assert client.state(address) == (0, "?0")


def test_4_4_more_than_the_length_makes_the_upload_invalid(client, name):
    for number, body in enumerate((b"678901", iter([b"678", b"901"]))):
        address = client.begin(f"{number}{name}", 10, b"12345")
        headers = {} if number == 0 else {"Transfer_Encoding": "chunked"}
        code, told, answer = client.patch(address, 5, body, **headers)
        assert (code, told["Upload-Complete"]) == (400, "?0"), answer
        assert client.wire("HEAD", address)[0] == 410
        assert client.patch(address, 5, b"67890", complete="?1")[0] == 410
        assert client.stored(f"{number}{name}") is None


def test_4_4_the_last_answer_is_told_again(client, name):
    address = client.begin(name, 5, b"123")
    first = client.patch(address, 3, b"45", complete="?1")
    again = client.patch(address, 5, b"", complete="?1")
    assert (first[0], again[0], again[1]["Upload-Complete"]) == (200, 200, "?1")
    assert json.loads(again[2])["version"] == json.loads(first[2])["version"]


def test_4_4_what_came_before_a_cut_is_kept_and_the_upload_is_not_complete(client, name):
    data = some(MIB)
    address = client.begin(name, len(data))
    client.begin_patch(address, len(data), data[: MIB // 2]).close()
    # A request that is still being read has taken up to all of what was sent.
    offset, complete = client.state(address)
    assert 0 <= offset <= MIB // 2
    assert complete == "?0"
    assert client.stored(name) is None
    assert client.patch(address, offset, data[offset:], complete="?1")[0] == 200
    assert client.stored(name) == data


# --- 4.5 cancellation -------------------------------------------------------------------------------------------------------


def test_4_5_cancel(client, name):
    address = client.begin(name, 10, b"12345")
    assert client.wire("DELETE", address)[0] == 204
    assert client.wire("HEAD", address)[0] == 410
    assert client.patch(address, 5, b"67890", complete="?1")[0] == 410
    assert client.stored(name) is None


# --- 4.6 concurrency --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_4_6_a_new_request_ends_the_older_one(client, name, method):
    address = client.begin(name, 100)
    with client.begin_patch(address, 100, b"12345") as line:
        if method == "PATCH":
            code, told, _ = client.patch(address, 1000, b"x")
            assert code == 409
        elif method == "HEAD":
            code, told, _ = client.wire("HEAD", address)
            assert code == 204
        else:
            assert client.wire("DELETE", address)[0] == 204
        assert re.match(rb"HTTP/1.1 4\d\d ", line.recv(1000)), "the older one is told, and does not hang"
    if method == "DELETE":
        assert client.wire("HEAD", address)[0] == 410
        return
    offset = int(told["Upload-Offset"])
    assert client.patch(address, offset, some(100)[offset:], complete="?1")[0] == 200, "the offset that was told is the one that is taken"


# --- 10 integrity digests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
@pytest.mark.parametrize("size", [100, 9 * MIB])
def test_10_2_content_digest(client, name, algorithm, size):
    data = some(size)
    address = client.begin(name, size)
    code, told, _ = client.patch(address, 0, data, complete="?1", Content_Digest=field(algorithm, data[::-1]))
    assert (code, told["Upload-Complete"]) == (400, "?0")
    assert client.state(address) == (0, "?0")
    assert client.patch(address, 0, data, complete="?1", Content_Digest=f"md5=:AAAA:, {field(algorithm, data)}")[0] == 200
    assert client.stored(name) == data


def test_10_2_content_digest_of_a_creation(client, name):
    code, told, _ = client.create(name, b"12345", complete="?1", Content_Digest=field("sha-256", b"54321"))
    assert (code, told["Upload-Complete"]) == (400, "?0")
    assert client.state(told["Location"]) == (0, "?0")
    assert client.stored(name) is None


@pytest.mark.parametrize("digest", ["md5=:AAAA:", "sha-256=AAAA", "sha-256=:§:", "sha-256", ""])
def test_10_2_a_digest_that_cannot_be_compared_is_refused(client, name, digest):
    for header in ("Content_Digest", "Repr_Digest"):
        code, told, _ = client.create(name, b"12345", complete="?1", **{header: digest})
        assert code == 400
        if digest.startswith("md5"):
            assert "sha-256=10" in told[f"Want-{header.replace('_', '-')}"]
    assert name not in client.under_way()


def test_10_1_repr_digest(client, name):
    address = client.begin(name, 10, b"12345", Repr_Digest=field("sha-256", b"1234567890"))
    assert client.patch(address, 5, b"67890", complete="?1")[0] == 200
    assert client.stored(name) == b"1234567890"
    address = client.begin(f"x{name}", 10, b"12345", Repr_Digest=field("sha-256", b"1234567890"))
    code, told, body = client.patch(address, 5, b"6789x", complete="?1")
    assert (code, told["Upload-Complete"], json.loads(body)["code"]) == (400, "?1", "checksum")
    assert client.stored(f"x{name}") is None


# --- who may --------------------------------------------------------------------------------------------------------------------


def test_who_is_not_logged_in_is_refused_before_the_body(client, name):
    address = client.begin(name, 10)
    for send in (client.patch, lambda address, *args: client.wire("DELETE", address, headers={"Authorization": None})):
        assert send(address, 0, b"x", "?0", **({"Authorization": None} if send == client.patch else {}))[0] == 403
    assert client.create(f"x{name}", b"x", complete="?1", Authorization=None)[0] == 403
    assert client.state(address) == (0, "?0")


# --- older interop versions: tus-js-client (5 and 6), iOS 17 (3) ----------------------------------------------------------------


@pytest.mark.parametrize("version", ["4", "5", "6"])
def test_older_clients_are_done_when_all_bytes_are_there(client, name, version):
    client.wire.headers["Upload-Draft-Interop-Version"] = version
    metadata = f"path {base64.b64encode(name.encode()).decode()}"
    code, told, _ = client.wire("POST", "", b"123", {"Upload-Complete": "?0", "Upload-Length": "5", "Upload-Metadata": metadata})
    assert (code, told["Upload-Offset"]) == (201, "3")
    type = {"Content_Type": TYPE if version == "6" else None}
    code, answer, _ = client.patch(told["Location"], 3, b"45", **type)
    assert (code, answer["Upload-Complete"], answer["Upload-Offset"]) == (200, "?1", "5")
    assert client.stored(name) == b"12345"


def test_interop_version_3_says_incomplete(client, name):
    client.wire.headers["Upload-Draft-Interop-Version"] = "3"
    code, told, _ = client.wire("POST", f"{client.wire.base}?path={name}", b"123", {"Upload-Incomplete": "?1"})
    assert (code, told["Upload-Incomplete"], "Upload-Complete" in told) == (201, "?1", False)
    address = told["Location"]
    assert client.wire("HEAD", address)[1]["Upload-Incomplete"] == "?1"
    code, told, _ = client.wire("PATCH", address, b"45", {"Upload-Incomplete": "?0", "Upload-Offset": "3"})
    assert (code, told["Upload-Incomplete"]) == (200, "?0")
    assert client.stored(name) == b"12345"
