"""The two proxies, before each kind of store, by the store's own SDK."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from azure.core.exceptions import AzureError, HttpResponseError
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, IncompleteReadError
from google.api_core.exceptions import GoogleAPICallError
from requests.exceptions import RequestException

FAILURES = (BotoCoreError, ClientError, AzureError, GoogleAPICallError, RequestException, ConnectionError)


class Objects:
    """Put, get and list with the store's own SDK, without retries."""

    def __init__(self, server, url=None):
        self.server, self.bucket = server, server.new_bucket()
        self.client = server.client(url)

    def put(self, name, data):
        if self.server.dialect == "s3":
            self.client.put_object(Bucket=self.bucket, Key=name, Body=data)
        elif self.server.dialect == "gcs":
            self.client.bucket(self.bucket).blob(name).upload_from_string(data, retry=None)
        else:
            self.client.get_blob_client(self.bucket, name).upload_blob(data, overwrite=True)

    def get(self, name):
        if self.server.dialect == "s3":
            return self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        if self.server.dialect == "gcs":
            return self.client.bucket(self.bucket).blob(name).download_as_bytes(retry=None, checksum=None)
        return self.client.get_blob_client(self.bucket, name).download_blob().readall()

    def names(self):
        if self.server.dialect == "s3":
            return [found["Key"] for found in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        if self.server.dialect == "gcs":
            return [found.name for found in self.client.list_blobs(self.bucket, retry=None)]
        return [found.name for found in self.client.get_container_client(self.bucket).list_blobs()]

    def put_method(self):
        return "POST" if self.server.dialect == "gcs" else "PUT"


@pytest.fixture(params=["minio", "moto", "fake_gcs", "azurite"])
def store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def proxy(store, faultproxy):
    return faultproxy(store)


@pytest.fixture
def objects(store, proxy):
    objects = Objects(store, proxy.url)
    yield objects
    objects.client.close()


def direct(objects):
    """The same bucket without the proxy."""
    other = Objects.__new__(Objects)
    other.server, other.bucket, other.client = objects.server, objects.bucket, objects.server.client()
    return other


# --- the fault proxy ----------------------------------------------------------------------------------------------------


def test_what_passes_is_unchanged_and_counted(objects, proxy):
    data = random.Random(1).randbytes(3_000_000)
    objects.put("a/ü b+c%20.bin", data)
    assert objects.get("a/ü b+c%20.bin") == data
    assert objects.names() == ["a/ü b+c%20.bin"]
    assert proxy.count(objects.put_method()) == 1
    assert [(found.status, found.fault, found.forwarded) for found in proxy.requests] == [
        (found.status, "", True) for found in proxy.requests
    ]
    assert all(200 <= found.status < 300 for found in proxy.requests)
    assert sum(found.sent for found in proxy.requests) >= len(data)
    assert sum(found.received for found in proxy.requests) >= len(data)
    proxy.forget()
    assert proxy.count() == 0


def test_records_no_secret(objects, proxy, store):
    objects.put("a", b"x")
    assert proxy.requests
    text = repr(proxy.requests)
    if store.dialect != "gcs":
        assert proxy.requests[0].headers["authorization"] == "hidden"
        assert "Signature=" not in text
        assert "SharedKey" not in text
    if store.dialect == "s3":
        url = objects.client.generate_presigned_url("get_object", Params={"Bucket": objects.bucket, "Key": "a"})
        with urlopen(url) as reply:
            assert reply.read() == b"x"
        assert proxy.requests[-1].query["X-Amz-Signature"] == "hidden"
        assert proxy.requests[-1].query["X-Amz-Expires"]


@pytest.mark.parametrize("status", [403, 412, 500, 503])
def test_answers_the_nth_request_as_the_store_would(objects, proxy, store, status):
    proxy.answer(status, method=objects.put_method(), nth=2, headers={"Retry-After": "1"})
    objects.put("a", b"1")
    with pytest.raises(FAILURES) as caught:
        objects.put("a", b"2")
    if store.dialect == "s3":
        assert (
            caught.value.response["Error"]["Code"]
            == {403: "AccessDenied", 412: "PreconditionFailed", 500: "InternalError", 503: "SlowDown"}[status]
        )
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    elif store.dialect == "gcs":
        assert caught.value.code == status
    else:
        assert isinstance(caught.value, HttpResponseError)
        assert caught.value.status_code == status
        assert caught.value.error_code in ("AuthenticationFailed", "ConditionNotMet", "InternalError", "ServerBusy")
    assert direct(objects).get("a") == b"1"
    objects.put("a", b"3")
    assert objects.get("a") == b"3"
    assert [found.forwarded for found in proxy.requests if found.method == objects.put_method()] == [True, False, True]


def test_a_share_is_struck_by_the_seed(store, faultproxy):
    def outcomes(seed):
        proxy = faultproxy(store, seed=seed)
        proxy.answer(503, share=0.3)
        objects = Objects(store, proxy.url)
        objects.client.close()
        found = []
        for _ in range(30):
            try:
                objects.names()
                found.append(True)
            except FAILURES:
                found.append(False)
        objects.client.close()
        return found

    first = outcomes(1)
    assert first == outcomes(1) != outcomes(2)
    assert 10 < sum(first) < 30


def test_a_lost_reply_is_of_something_done(objects, proxy):
    proxy.lose_reply(method=objects.put_method(), nth=1)
    with pytest.raises(FAILURES):
        objects.put("a", b"done all the same")
    assert direct(objects).get("a") == b"done all the same"
    assert [found.fault for found in proxy.requests if found.method == objects.put_method()] == ["lose_reply"]
    proxy.heal()
    objects.put("a", b"again")
    assert objects.get("a") == b"again"


def test_a_failure_can_be_told_of_what_was_done(objects, proxy):
    proxy.answer(500, method=objects.put_method(), done=True, times=1)
    with pytest.raises(FAILURES):
        objects.put("a", b"done all the same")
    assert direct(objects).get("a") == b"done all the same"
    assert [(found.status, found.forwarded) for found in proxy.requests if found.method == objects.put_method()] == [(500, True)]
    objects.put("a", b"again")
    assert objects.get("a") == b"again"


def test_only_one_credential_is_refused(minio, faultproxy):
    proxy = faultproxy(minio)
    objects = Objects(minio, proxy.url)
    proxy.answer(400, "ExpiredToken", message="Old.", credential=f"Credential={minio.access_key}/")
    with pytest.raises(ClientError, match=r"ExpiredToken.*Old\."):
        objects.put("a", b"x")
    proxy.heal()
    proxy.answer(400, "ExpiredToken", credential="Credential=somebody-else/")
    objects.put("a", b"x")
    objects.client.close()


@pytest.mark.parametrize("reset", [False, True])
def test_a_body_is_cut(objects, proxy, store, reset):
    data = random.Random(2).randbytes(100_000)
    objects.put("a", data)
    proxy.truncate(10_000, reset=reset, method="GET", times=None if store.dialect == "azure" else 1)
    with pytest.raises(FAILURES):
        objects.get("a")
    cut = next(found for found in proxy.requests if found.fault)
    assert cut.received <= 10_000
    proxy.heal()
    assert objects.get("a") == data


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_is_an_end_or_a_reset(moto, faultproxy, reset):
    proxy = faultproxy(moto)
    objects = Objects(moto, proxy.url)
    objects.put("a", bytes(1000))
    url = urlsplit(objects.client.generate_presigned_url("get_object", Params={"Bucket": objects.bucket, "Key": "a"}))
    objects.client.close()
    proxy.truncate(10, reset=reset, method="GET")
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port), timeout=60) as client:
        client.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError) if reset else contextlib.nullcontext():
            while client.recv(4096):
                pass
    assert (proxy.requests[-1].status, proxy.requests[-1].received) == (200, 10)


def test_one_bit_of_a_reply_is_flipped(objects, proxy, store):
    data = bytes(1000)
    objects.put("a", data)
    proxy.flip(500, method="GET")
    if store.dialect == "s3":
        # Not by get(): boto3 sees it by the checksum that it stored.
        body = objects.client.get_object(Bucket=objects.bucket, Key="a")
        raw = body["Body"]._raw_stream.read()
        body["Body"].close()
    else:
        raw = objects.get("a")
    assert raw == data[:500] + b"\x01" + data[501:]


def test_one_bit_of_a_request_is_flipped(minio, faultproxy):
    proxy = faultproxy(minio)
    objects = Objects(minio, proxy.url)
    proxy.flip(5, request=True, method="PUT")
    with pytest.raises(ClientError) as caught:
        objects.client.put_object(Bucket=objects.bucket, Key="a", Body=bytes(1000), ChecksumCRC32="8VYL+A==")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    proxy.heal()
    assert objects.names() == []
    objects.client.close()


def test_a_server_that_is_gone_is_a_broken_connection(faultproxy, toxiproxy, minio):
    with toxiproxy.proxy(minio) as line:
        proxy = faultproxy(line)
        objects = Objects(minio, proxy.url)
        objects.put("a", b"x")
        line.down()
        with pytest.raises((BotoCoreError, ConnectionError)):
            objects.get("a")
        line.up()
        assert objects.get("a") == b"x"
        objects.client.close()


def test_a_refusal_before_the_body_is_whole_arrives(minio, faultproxy):
    proxy = faultproxy(minio)
    objects = Objects(minio, proxy.url)
    secret, minio.secret_key = minio.secret_key, "wrong"
    try:
        stranger = minio.client(proxy.url)
    finally:
        minio.secret_key = secret
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.put_object(Bucket=objects.bucket, Key="a", Body=bytes(8_000_000))
    assert proxy.requests[-1].status == 403
    stranger.close()
    objects.client.close()


def test_ends_while_a_request_is_under_way(minio, faultproxy):
    proxy = faultproxy(minio)
    minio.pause()
    try:
        with socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port), timeout=60) as client:
            client.sendall(b"GET /minio/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            while not (proxy.requests and proxy.requests[0].forwarded):
                time.sleep(0.01)
            proxy.close()
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
    finally:
        minio.resume()


def test_many_at_once(minio, faultproxy):
    proxy = faultproxy(minio)
    objects = Objects(minio, proxy.url)
    data = random.Random(3).randbytes(200_000)

    def both(number):
        objects.put(f"{number:03}", data)
        return objects.get(f"{number:03}") == data

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(both, range(40)))
    assert (proxy.count("PUT"), proxy.count("GET")) == (40, 40)
    objects.client.close()


def test_links_of_fake_gcs_lead_through_the_proxy(fake_gcs, faultproxy):
    proxy = faultproxy(fake_gcs)
    objects = Objects(fake_gcs, proxy.url)
    objects.put("a", b"x")
    blob = objects.client.bucket(objects.bucket).get_blob("a")
    before = proxy.count()
    assert blob.media_link.startswith(proxy.url)
    assert blob.download_as_bytes() == b"x"
    assert proxy.count() == before + 1
    writer = objects.client.bucket(objects.bucket).blob("b", chunk_size=256 * 1024).open("wb")
    writer.write(bytes(600_000))
    writer.close()
    assert proxy.count("PUT", "upload_id=|/upload/resumable/") >= 3
    objects.client.close()


# --- Toxiproxy ----------------------------------------------------------------------------------------------------------


def test_every_store_works_through_toxiproxy(store, toxiproxy):
    with toxiproxy.proxy(store) as line:
        objects = Objects(store, line.url)
        objects.put("a", b"x")
        line.toxic("latency", latency=20, jitter=5)
        line.toxic("bandwidth", rate=1000)
        assert objects.get("a") == b"x"
        line.reset()
        line.toxic("reset_peer", timeout=0)
        with pytest.raises(FAILURES):
            objects.get("a")
        line.reset()
        assert objects.get("a") == b"x"
        line.down()
        with pytest.raises(FAILURES):
            objects.get("a")
        line.up()
        assert objects.get("a") == b"x"
        objects.client.close()


def test_cut_after_some_bytes(minio, toxiproxy):
    with toxiproxy.proxy(minio) as line:
        objects = Objects(minio, line.url)
        objects.put("a", bytes(100_000))
        line.toxic("limit_data", bytes=10_000)
        with pytest.raises((IncompleteReadError, ConnectionClosedError, BotoCoreError)):
            objects.get("a")
        objects.client.close()
