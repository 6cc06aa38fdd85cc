"""What the S3 backend sends and how it takes what comes back: failures, checksums, cut bodies, credentials, options."""

import asyncio
import base64
import hashlib
import logging
import sys
import threading

import pytest

from cloudcontents import redact
from cloudcontents.backends import IF_ABSENT, IfVersion, SizedStream, s3_client
from cloudcontents.backends.s3_small_copies import SMALL
from cloudcontents.bucket import Bucket, Patience
from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    ChecksumError,
    CloudContentsError,
    ConfigurationError,
    ConflictError,
    DeadlineError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    StorageAuthError,
    TruncatedError,
    UnavailableError,
)
from cloudcontents.registry import open_backend

DATA = bytes(range(256)) * 400


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """No credentials or settings of this machine."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


@pytest.fixture
def proxy(minio, faultproxy, clean, monkeypatch):
    """A fault proxy before MinIO, which the SDK's own variables point to."""
    before = faultproxy(minio)
    for name, value in minio.environment(before.url).items():
        monkeypatch.setenv(name, value)
    return before


@pytest.fixture
def opened():
    """Open backends by URL; all are closed at the end."""
    backends = []

    def open_(url):
        backends.append(open_backend(url))
        return backends[-1]

    yield open_
    for backend in backends:
        asyncio.run(backend.close())


@pytest.fixture
def backend(minio, proxy, opened):
    return opened(f"s3://{minio.new_bucket()}")


async def read(backend, key, **options):
    async with await backend.get(key, **options) as reader:
        return b"".join([piece async for piece in reader])


def calls(backend):
    """Each way to reach the store once."""
    return [
        ("head", lambda: backend.head("f")),
        ("get", lambda: backend.get("f")),
        ("list", lambda: backend.list("")),
        ("put", lambda: backend.put("f", b"x")),
        ("delete", lambda: backend.delete("f")),
        ("delete_many", lambda: backend.delete_many([("f", None)])),
        ("copy", lambda: backend.copy("f", "g")),
    ]


# --- refusals: each one a message that a user can act on ----------------------------------------------------------------------


async def test_a_bucket_that_is_not_there(proxy, opened):
    for name, _ in calls(None):
        backend = opened("s3://no-such-bucket")
        with pytest.raises(BucketNotFoundError, match="check the bucket URL"):
            await dict(calls(backend))[name]()


async def test_a_missing_object_costs_one_question_more_only_at_first(backend, proxy):
    for expected in (2, 1, 1):
        proxy.forget()
        with pytest.raises(NotFoundError):
            await backend.head("missing")
        assert proxy.count() == expected


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [("AWS_ACCESS_KEY_ID", "nobody", "AWS_ACCESS_KEY_ID"), ("AWS_SECRET_ACCESS_KEY", "wrong", "AWS_SECRET_ACCESS_KEY")],
)
async def test_wrong_credentials(minio, proxy, opened, monkeypatch, variable, value, told):
    bucket = minio.new_bucket()
    monkeypatch.setenv(variable, value)
    for name, _ in calls(None):
        with pytest.raises(StorageAuthError, match=told):
            await dict(calls(opened(f"s3://{bucket}")))[name]()


async def test_no_credentials(clean, opened, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StorageAuthError, match=r"AWS_ACCESS_KEY_ID.*anonymous=true"):
        await opened("s3://bucket").head("f")


async def test_a_profile_that_is_not_there(clean):
    with pytest.raises(ConfigurationError, match="nobody"):
        open_backend("s3://bucket?profile=nobody")


async def test_an_endpoint_where_nobody_is(minio, proxy, opened):
    backend = opened("s3://bucket?endpoint_url=http://127.0.0.1:1")
    for _, call in calls(backend):
        with pytest.raises(UnavailableError, match="endpoint_url"):
            await call()


async def test_another_region(backend, proxy):
    proxy.answer(301, "PermanentRedirect", headers={"x-amz-bucket-region": "eu-west-3"}, method="GET")
    with pytest.raises(BucketNotFoundError, match="region=eu-west-3"):
        await backend.list("")


async def test_a_clock_that_is_off(backend, proxy):
    proxy.answer(403, "RequestTimeTooSkewed")
    for _, call in calls(backend):
        with pytest.raises(StorageAuthError, match="clock"):
            await call()


async def test_a_denial_is_no_credential_problem(backend, proxy):
    proxy.answer(403, "AccessDenied")
    for _, call in calls(backend):
        with pytest.raises(PermissionDeniedError, match="doctor"):
            await call()


async def test_busy_says_for_how_long(backend, proxy):
    proxy.answer(503, "SlowDown", headers={"Retry-After": "7"})
    with pytest.raises(RateLimitedError) as caught:
        await backend.list("")
    assert caught.value.retry_after == 7


async def test_the_sdk_tries_nothing_twice(backend, proxy):
    for status, code in ((500, "InternalError"), (503, "SlowDown"), (400, "RequestTimeout"), (429, "TooManyRequests")):
        for name, call in calls(backend):
            if name == "head" and status == 400:
                continue  # without words it is asked for them
            proxy.heal()
            proxy.answer(status, code)
            proxy.forget()
            with pytest.raises(UnavailableError):
                await call()
            assert proxy.count() == 1, (name, code)


# --- replies that are lost, cut or altered ------------------------------------------------------------------------------------


async def test_a_lost_reply_to_a_conditional_put_is_no_conflict(backend, proxy):
    bucket = Bucket(backend, patience=Patience(first_pause=0.01))
    proxy.lose_reply(method="PUT", nth=1)
    info = await bucket.put("f", b"one", when=IF_ABSENT)
    proxy.heal()
    proxy.lose_reply(method="PUT", nth=1)
    info = await bucket.put("f", b"two", when=IfVersion(info.version))
    assert (await bucket.read("f"))[1] == b"two"
    assert (await bucket.head("f")).version == info.version
    assert proxy.count("PUT") == 2


async def test_a_lost_reply_to_a_completion_is_no_conflict(backend, proxy):
    bucket = Bucket(backend, patience=Patience(first_pause=0.01))
    large = DATA * (SMALL // len(DATA) + 1)
    await bucket.put("src", large)
    proxy.lose_reply(method="POST", path="uploadId", nth=1)
    await bucket.copy("src", "dst", when=IF_ABSENT)
    assert proxy.count("POST", "uploadId")
    assert (await bucket.read("dst"))[1] == large


async def test_a_small_conditional_copy_is_two_requests_and_keeps_what_is_said_of_it(backend, proxy, minio):
    client, bucket_name = minio.client(), backend.url.removeprefix("s3://")
    try:
        client.put_object(
            Bucket=bucket_name,
            Key="src",
            Body=DATA,
            ContentType="text/x",
            CacheControl="no-cache",
            ContentLanguage="de",
            Metadata={"a": "b"},
        )
        source = await backend.head("src")
        proxy.forget()
        copy = await backend.copy("src", "dst", src_version=source.version, when=IF_ABSENT)
        # A HEAD more where the two replies are of different seconds, and do not tell the time of the copy.
        assert [request.method for request in proxy.requests][:2] == ["GET", "PUT"]
        assert {request.method for request in proxy.requests[2:]} <= {"HEAD"}
        assert copy == await backend.head("dst")
        found = client.head_object(Bucket=bucket_name, Key="dst")
        assert (found["ContentType"], found["CacheControl"], found["ContentLanguage"]) == ("text/x", "no-cache", "de")
        assert found["Metadata"] == {"a": "b"}
    finally:
        client.close()
    with pytest.raises(AlreadyExistsError):
        await backend.copy("src", "dst", when=IF_ABSENT)
    with pytest.raises(NotFoundError):
        await backend.copy("nothing", "other", when=IF_ABSENT)
    await backend.put("src", b"changed")
    with pytest.raises(ConflictError):
        await backend.copy("src", "other", src_version=source.version, when=IF_ABSENT)
    assert (await backend.copy("src", "dst", when=IfVersion(copy.version))).size == len(b"changed")
    with pytest.raises(ConflictError):
        await backend.copy("src", "dst", when=IfVersion(copy.version))


async def test_a_lost_reply_to_a_small_copy_is_no_conflict(backend, proxy):
    bucket = Bucket(backend, patience=Patience(first_pause=0.01))
    await bucket.put("src", DATA)
    proxy.lose_reply(method="PUT", path="/dst", nth=1)
    await bucket.copy("src", "dst", when=IF_ABSENT)
    assert (await bucket.read("dst"))[1] == DATA


async def test_a_write_is_done_even_where_its_time_cannot_be_seen(backend, proxy):
    await backend.put("src", DATA)
    proxy.answer(503, method="HEAD", path="/(f|dst)")
    assert (await backend.put("f", DATA, when=IF_ABSENT)).size == len(DATA)
    assert (await backend.copy("src", "dst", when=IF_ABSENT)).size == len(DATA)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("at", [0, 1, 10_000, len(DATA) - 1])
async def test_a_cut_body_is_never_taken_for_a_whole_one(backend, proxy, at, reset):
    await backend.put("f", DATA)
    proxy.truncate(at, reset=reset, method="GET", path="/f")
    with pytest.raises((TruncatedError, UnavailableError)):
        await read(backend, "f")
    with pytest.raises((TruncatedError, UnavailableError)):
        await read(backend, "f", start=5 if at < 10_000 else 0, length=len(DATA) - 10 if at < 10_000 else len(DATA))


async def test_an_altered_body_is_noticed_on_its_way_out(backend, proxy):
    await backend.put("f", DATA)
    proxy.flip(50_000, method="GET", path="/f")
    with pytest.raises(ChecksumError):
        await read(backend, "f")


async def test_an_altered_body_is_noticed_on_its_way_in(backend, proxy):
    proxy.flip(50_000, request=True, method="PUT", path="/f")
    with pytest.raises(ChecksumError):
        await backend.put("f", DATA)
    proxy.heal()
    with pytest.raises(NotFoundError):
        await backend.head("f")


async def test_the_sha256_goes_with_the_bytes(backend, proxy):
    await backend.put("f", DATA)
    sent = next(found for found in proxy.requests if found.method == "PUT").headers
    assert base64.b64decode(sent["x-amz-checksum-sha256"]) == hashlib.sha256(DATA).digest()


async def test_each_part_has_its_sha256(backend, proxy):
    data = DATA * 90
    proxy.flip(1_000_000, request=True, method="PUT", path="partNumber=1")
    with pytest.raises(ChecksumError):
        await backend.put("f", SizedStream(pieces(data), len(data)))
    proxy.heal()
    proxy.forget()
    await backend.put("f", SizedStream(pieces(data), len(data)))
    first = next(found for found in proxy.requests if found.query.get("partNumber") == "1")
    assert base64.b64decode(first.headers["x-amz-checksum-sha256"]) == hashlib.sha256(data[: 8 << 20]).digest()
    assert await read(backend, "f") == data


async def pieces(data):
    for at in range(0, len(data), 1 << 20):
        yield data[at : at + (1 << 20)]


async def test_a_failed_upload_leaves_no_parts(minio, backend, proxy):
    proxy.answer(500, method="PUT", path="partNumber=2")
    with pytest.raises(UnavailableError):
        await backend.put("f", SizedStream(pieces(DATA * 90), len(DATA) * 90))
    assert proxy.count("DELETE", "uploadId") == 1


@pytest.mark.parametrize(
    ("kind", "attributes", "outcome"),
    [
        ("timeout", {"timeout": 0}, DeadlineError),
        ("bandwidth", {"rate": 5}, DeadlineError),
        ("reset_peer", {"timeout": 0}, UnavailableError),
        ("limit_data", {"bytes": 10_000}, TruncatedError),
        ("slow_close", {"delay": 1000}, None),
        ("latency", {"latency": 200, "jitter": 100}, None),
    ],
)
async def test_a_bad_line_ends_by_the_deadline_and_leaves_nothing_behind(
    minio, toxiproxy, clean, opened, monkeypatch, kind, attributes, outcome
):
    data = DATA * 4
    with toxiproxy.proxy(minio) as line:
        for name, value in minio.environment(line.url).items():
            monkeypatch.setenv(name, value)
        bucket = Bucket(opened(f"s3://{minio.new_bucket()}"), patience=Patience(deadline=2, stall=2, first_pause=0.01))
        await bucket.put("f", data)
        line.toxic(kind, **attributes)
        if outcome is None:
            assert (await bucket.read("f"))[1] == data
        else:
            with pytest.raises(outcome):
                await bucket.read("f")
        line.reset()
        assert (await bucket.read("f"))[1] == data


# --- credentials that grow old, and none ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId"])
async def test_expired_credentials_are_looked_up_again_once(minio, backend, proxy, clean, monkeypatch, code):
    await backend.put("f", DATA)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    (clean / "credentials").write_text(
        f"[default]\naws_access_key_id = {minio.access_key}\naws_secret_access_key = {minio.secret_key}\naws_session_token =\n"
    )
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    proxy.answer(400, code, times=1)
    monkeypatch.setattr(s3_client, "_secrets", lambda session, known=s3_client._secrets: (*known(session), "newer"))
    assert await read(backend, "f") == DATA
    # A HEAD is refused without words: the SDK asks whether it is the region, and we for the words.
    proxy.heal()
    proxy.answer(400, code, times=3)
    monkeypatch.setattr(s3_client, "_secrets", lambda session, known=s3_client._secrets: (*known(session), "newest"))
    assert (await backend.head("f")).size == len(DATA)


async def test_a_transfer_goes_on_with_newer_credentials(backend, proxy, monkeypatch):
    data = DATA * 170
    proxy.answer(400, "ExpiredToken", method="PUT", path="partNumber=2", times=1)
    started = []

    async def chunks():
        async for piece in pieces(data):
            if not started:
                started.append(
                    monkeypatch.setattr(s3_client, "_secrets", lambda session, known=s3_client._secrets: (*known(session), "newer"))
                )
            yield piece

    await backend.put("f", SizedStream(chunks(), len(data)))
    assert await read(backend, "f") == data


async def test_credentials_that_stay_old_are_told(backend, proxy):
    proxy.answer(400, "ExpiredToken")
    for name, call in calls(backend):
        proxy.forget()
        with pytest.raises(StorageAuthError, match="expired"):
            await call()
        assert proxy.count() == (3 if name == "head" else 1)


@pytest.mark.parametrize("option", ["", "&anonymous=true"])
async def test_a_public_bucket_needs_no_credentials(moto, faultproxy, clean, opened, monkeypatch, option):
    proxy, bucket = faultproxy(moto), moto.new_bucket()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if not option:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, "not-for-this-one")
    backend = opened(f"s3://{bucket}?endpoint_url={proxy.url}{option}")
    with pytest.raises((NotFoundError, PermissionDeniedError)):
        await backend.get("missing")
    assert proxy.count()
    assert not [found for found in proxy.requests if "authorization" in found.headers]


# --- options -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sent(moto, faultproxy, clean, opened, monkeypatch):
    """Write in each way with these options, and return the requests that were sent."""
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    proxy, bucket = faultproxy(moto), moto.new_bucket()

    async def sent_with(options):
        backend = opened(f"s3://{bucket}?endpoint_url={proxy.url}&{options}")
        proxy.forget()
        await backend.put("small", b"x")
        await backend.put("large", SizedStream(pieces(DATA * 90), len(DATA) * 90))
        await backend.copy("small", "copy")
        await backend.copy("small", "other", when=IF_ABSENT)
        return proxy.requests

    return sent_with


def making(requests):
    """Of these, the ones that make an object."""
    return [r for r in requests if (r.method == "PUT" and "partNumber" not in r.query) or (r.method == "POST" and "uploads" in r.query)]


async def test_encryption_and_storage_class_are_passed_on(sent):
    requests = making(await sent("sse=aws:kms&sse_kms_key_id=arn:aws:kms:us-east-1:1:key/k&storage_class=STANDARD_IA"))
    assert len(requests) == 4
    for found in requests:
        assert found.headers["x-amz-server-side-encryption"] == "aws:kms"
        assert found.headers["x-amz-server-side-encryption-aws-kms-key-id"].endswith("key/k")
        assert found.headers["x-amz-storage-class"] == "STANDARD_IA"


async def test_the_requester_pays_for_every_request(sent):
    assert {found.headers.get("x-amz-request-payer") for found in await sent("requester_pays=true")} == {"requester"}


async def test_checksums_can_be_left_to_those_who_give_one(sent):
    requests = await sent("checksums=when_required")
    assert not [found for found in requests if any(name.startswith("x-amz-checksum") for name in found.headers)]
    assert not [found for found in requests if "aws-chunked" in found.headers.get("content-encoding", "")]
    parts = [
        found for found in requests if found.method == "PUT" and "partNumber" in found.query and "x-amz-copy-source" not in found.headers
    ]
    assert parts
    assert all("content-md5" in found.headers for found in parts), "what every store knows"


async def test_path_style(sent):
    assert all(found.path.startswith("/bucket-") for found in await sent("path_style=true"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://", "s3://bucket"),
        ("s3://b?endpont_url=http://x", "endpoint_url"),
        ("s3://b?storage_clas=X", "storage_class"),
        ("s3://b?endpoint_url=ftp://x", "http"),
        ("s3://b?endpoint_url=http://", "host"),
        ("s3://b?sse=rot13", "aws:kms"),
        ("s3://b?sse_kms_key_id=x", "sse=aws:kms"),
        ("s3://b?checksums=no", "when_required"),
        ("s3://b?path_style=maybe", "true or false"),
        ("s3://b!d", "b!d"),
        ("s3://b?secret_access_key=x", "credential"),
    ],
)
def test_wrong_urls_name_the_right_one(clean, url, told):
    with pytest.raises(ConfigurationError, match=told):
        open_backend(url)


def test_amazon_is_known_by_its_address(clean, monkeypatch):
    assert open_backend("s3://b").capabilities.delete_if_version
    assert open_backend("s3://b?endpoint_url=https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com").capabilities.delete_if_version
    assert not open_backend("s3://b?endpoint_url=https://amazonaws.com.example").capabilities.delete_if_version
    (clean / "config").write_text("[default]\nservices = mine\n[services mine]\ns3 =\n  endpoint_url = https://s3.example\n")
    assert not open_backend("s3://b").capabilities.delete_if_version
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert open_backend("s3://b").capabilities.delete_if_version


def test_without_the_sdk_the_message_names_the_extra(monkeypatch):
    for name in ("s3", "s3_client", "s3_errors"):
        monkeypatch.delitem(sys.modules, f"cloudcontents.backends.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'cloudcontents\[s3\]'"):
        open_backend("s3://bucket")


# --- secrets, threads ----------------------------------------------------------------------------------------------------------


async def test_no_secret_in_a_log_a_message_or_a_repr(minio, proxy, opened, monkeypatch, caplog):
    bucket = minio.new_bucket()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "CANARYACCESSKEY00000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret-of-the-key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-token-of-the-session")
    caplog.set_level(logging.DEBUG)
    redact.install()
    texts = []
    for name, _ in calls(None):
        backend = opened(f"s3://{bucket}")
        with pytest.raises(CloudContentsError) as caught:
            await dict(calls(backend))[name]()
        texts += [str(caught.value), repr(caught.value), repr(backend), backend.url, repr(vars(caught.value))]
    assert any(record.name.startswith("botocore") for record in caplog.records)
    for text in (*texts, caplog.text):
        assert "canary" not in text


async def test_threads_and_connections_are_bounded(backend, proxy):
    await asyncio.gather(*(backend.put(f"k{n}", b"x") for n in range(60)))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("cloudcontents-s3")]
    assert len(threads) <= 8


async def test_one_key_that_xml_cannot_hold_keeps_no_other_from_being_deleted(backend):
    odd = ["d/\uffff", "d/a\ufffeb"]
    for key in (*odd, "d/a", "d/b"):
        await backend.put(key, b"x")
    assert await backend.delete_many([(key, None) for key in (*odd, "d/a", "d/b")]) == []
    assert (await backend.list("d/")).objects == []
