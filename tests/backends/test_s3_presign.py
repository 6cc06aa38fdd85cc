"""Requests that others send to MinIO, signed by us: what they may do, what is refused, and that no log shows them."""

import asyncio
import hashlib
import json
import logging
import re
import sys
import time
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests

from cloudcontents import redact
from cloudcontents.backends import IF_ABSENT, Presign
from cloudcontents.errors import ConfigurationError, NotFoundError, StorageAuthError, UnsupportedError
from cloudcontents.registry import open_backend

DATA = bytes(range(256)) * 40
#: Amazon calls what was altered 403; MinIO calls a header that is missing, or a body that does not fit, 400.
REFUSED = (400, 403)
NAME = 'é "x"\r\nSet-Cookie: a; naïve.ipynb'


def sha256(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def aws(minio, monkeypatch, tmp_path):
    """MinIO's variables, and nothing else of this machine's."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name, value in minio.environment().items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def opened(aws):
    """Open backends by URL; all are closed at the end."""
    backends = []

    def open_(url):
        backends.append(open_backend(url))
        return backends[-1]

    yield open_
    for backend in backends:
        asyncio.run(backend.close())


@pytest.fixture
def backend(minio, opened):
    return opened(f"s3://{minio.new_bucket()}/team/home")


async def send(signed, data=None, *, method=None, url=None, **headers):
    """Send it as it is meant to be, or with something altered; a header of None is left out."""
    sent = {name: value for name, value in {**signed.headers, **headers}.items() if value is not None}
    return await asyncio.to_thread(requests.request, method or signed.method, url or signed.url, data=data, headers=sent, timeout=20)


async def put_part(backend, upload, number, data, **options):
    return await backend.sign_part(upload, number, size=len(data), checksum=sha256(data), **options)


@pytest.fixture
def upload(backend):
    return asyncio.run(backend.begin("d/big", place="unused", part_size=5 << 20))


async def test_a_prefix_leaves_the_protocol_in_place(backend):
    assert isinstance(backend, Presign)


async def test_get_needs_nothing_but_the_url(backend):
    await backend.put("d/f", DATA)
    signed = await backend.sign_get("d/f", filename=NAME)
    assert (signed.method, signed.headers, signed.expires_in) == ("GET", {}, 900)
    reply = await send(signed)
    assert (reply.status_code, reply.content) == (200, DATA)
    assert reply.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{quote(NAME, safe='')}"
    assert (await send(signed, Range="bytes=5-9")).content == DATA[5:10]
    assert (await send(await backend.sign_get("d/f"))).headers["Content-Disposition"] == "attachment"


async def test_put_makes_one_object_and_only_where_none_is(backend):
    signed = await backend.sign_put("d/f", size=len(DATA), checksum=sha256(DATA))
    assert {name.lower() for name in signed.headers} == {"content-length", "x-amz-checksum-sha256", "if-none-match"}
    assert (await send(signed, DATA)).status_code == 200
    async with await backend.get("d/f") as reader:
        assert b"".join([piece async for piece in reader]) == DATA
    assert (await send(signed, DATA)).status_code == 412
    # The condition cannot be left out.
    assert (await send(signed, DATA, **{"If-None-Match": None})).status_code in REFUSED


async def test_parts_arrive_and_are_completed_here(backend, upload):
    pieces = [b"a" * (5 << 20), b"the rest"]
    for number, data in enumerate(pieces, 1):
        assert (await send(await put_part(backend, upload, number, data), data)).status_code == 200
    parts = await backend.list_parts(upload)
    assert [(part.number, part.size, part.checksum) for part in parts] == [(n, len(d), sha256(d)) for n, d in enumerate(pieces, 1)]
    info = await backend.complete(upload, parts, when=IF_ABSENT)
    assert info.size == sum(map(len, pieces))


async def test_what_a_signature_does_not_allow(backend, upload):
    """Another key, upload, part, verb, length, and other bytes."""
    signed = await put_part(backend, upload, 1, DATA)
    other = DATA[:-1] + b"?"
    url = signed.url
    altered = [
        {"url": url.replace("d/big", "d/other")},
        {"url": re.sub("uploadId=[^&]*", "uploadId=other", url)},
        {"url": url.replace("partNumber=1", "partNumber=2")},
        {"url": url.replace("X-Amz-Expires=900", "X-Amz-Expires=90000")},
        {"method": "DELETE"},
        {"method": "GET"},
        {"data": DATA + b"longer", "Content-Length": str(len(DATA) + 6)},
        {"data": DATA[:-1], "Content-Length": str(len(DATA) - 1)},
        {"data": other, "x-amz-checksum-sha256": "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="},
        {"x-amz-checksum-sha256": None},
        {"data": other},
    ]
    for change in altered:
        assert change.get("url") != url, "nothing was altered"
        reply = await send(signed, **{"data": DATA, **change})
        assert reply.status_code in REFUSED, (change, reply.text)
    assert list(await backend.list_parts(upload)) == []
    with pytest.raises(NotFoundError):
        await backend.head("d/big")
    assert (await send(signed, DATA)).status_code == 200, "the same, unaltered"


async def test_the_length_is_bound_where_the_checksum_is_not(minio, opened):
    backend = opened(f"s3://{minio.new_bucket()}?checksums=when_required")
    upload = await backend.begin("f", place="", part_size=5 << 20)
    signed = await put_part(backend, upload, 1, DATA)
    assert {name.lower(): value for name, value in signed.headers.items()} == {"content-length": str(len(DATA))}
    for data in (DATA + b"longer", DATA[:-1]):
        assert (await send(signed, data, **{"Content-Length": str(len(data))})).status_code in REFUSED
    assert list(await backend.list_parts(upload)) == []
    assert (await send(signed, DATA)).status_code == 200


async def test_it_expires(backend):
    await backend.put("f", DATA)
    signed = await backend.sign_get("f", expires_in=1)
    until = time.monotonic() + 30
    while (reply := await send(signed)).status_code == 200 and time.monotonic() < until:
        pass
    assert (reply.status_code, "expired" in reply.text.lower()) == (403, True)


async def test_none_holds_longer_than_an_hour(backend, upload):
    for seconds in (0, 3601):
        with pytest.raises(ValueError, match="3600"):
            await put_part(backend, upload, 1, DATA, expires_in=seconds)


@pytest.mark.parametrize(("left", "holds"), [(2 * 3600, range(600, 601)), (90, range(60, 91))])
async def test_credentials_that_expire_sooner_shorten_it(minio, backend, aws, monkeypatch, left, holds):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (aws / "process.py").write_text(
        "import json, time\n"
        f"keys = {json.dumps({'Version': 1, 'AccessKeyId': minio.access_key, 'SecretAccessKey': minio.secret_key})}\n"
        f"print(json.dumps({{**keys, 'Expiration': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + {left}))}}))\n"
    )
    (aws / "config").write_text(f"[default]\ncredential_process = {sys.executable} {aws / 'process.py'}\n")
    signed = await backend.sign_get("f", expires_in=600)
    assert signed.expires_in in holds
    assert f"X-Amz-Expires={signed.expires_in}" in signed.url
    await backend.put("f", DATA)
    assert (await send(signed)).content == DATA


async def test_without_credentials_nothing_is_signed(opened, monkeypatch):
    with pytest.raises(UnsupportedError, match="AWS_ACCESS_KEY_ID"):
        await opened("s3://bucket?anonymous=true").sign_get("f")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(UnsupportedError, match="anonymous"):
        await opened("s3://bucket").sign_get("f")


async def test_a_profile_that_has_expired_says_so(opened, aws, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (aws / "config").write_text("[default]\ncredential_process = false\n")
    with pytest.raises(StorageAuthError):
        await opened("s3://bucket").sign_get("f")


async def test_a_public_endpoint_is_what_is_signed_for(minio, opened, faultproxy):
    """Browsers reach the store by another name than the server does."""
    bucket = minio.new_bucket()
    outside = faultproxy(minio)
    host = urlsplit(outside.url)
    public = f"http://localhost:{host.port}"
    backend = opened(f"s3://{bucket}?public_endpoint={public}")
    await backend.put("f", DATA)
    assert outside.count() == 0
    signed = await backend.sign_get("f")
    assert signed.url.startswith(f"{public}/{bucket}/f?")
    assert (await send(signed)).content == DATA
    assert outside.count() == 1
    # The host is signed, too.
    assert (await send(signed, url=signed.url.replace(public, minio.url))).status_code == 403
    with pytest.raises(ConfigurationError, match="public_endpoint"):
        open_backend(f"s3://{bucket}?public_endpoint=minio.example:9000")


async def test_who_pays_and_what_is_encrypted_is_signed(opened):
    backend = opened("s3://bucket?requester_pays=true&sse=AES256&checksums=when_required")
    got = await backend.sign_get("f")
    assert got.headers == {}, "a link that is followed sends none"
    assert parse_qs(urlsplit(got.url).query)["x-amz-request-payer"] == ["requester"]
    put = await backend.sign_put("f", size=3, checksum=sha256(b"abc"))
    assert {name.lower(): value for name, value in put.headers.items()} == {
        "content-length": "3",
        "if-none-match": "*",
        "x-amz-server-side-encryption": "AES256",
    }


async def test_no_log_and_no_repr_shows_it(backend, upload, caplog):
    caplog.set_level(logging.DEBUG)
    redact.install()
    signed = [
        await backend.sign_get("d/f"),
        await backend.sign_put("d/f", size=len(DATA), checksum=sha256(DATA)),
        await put_part(backend, upload, 1, DATA),
    ]
    assert any(record.name.startswith("botocore") for record in caplog.records)
    for request in signed:
        signature = parse_qs(urlsplit(request.url).query)["X-Amz-Signature"][0]
        for text in (caplog.text, repr(request), str(request)):
            assert signature not in text
            assert request.url not in text
