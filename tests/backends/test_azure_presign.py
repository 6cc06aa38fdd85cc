"""Signed requests to Azure: what Azurite, which checks signatures, takes and refuses from a stranger, and who can sign."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from azure.core.credentials import AccessToken
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, UserDelegationKey

from cloudcontents.backends.azure_client import ONE_REQUEST
from cloudcontents.backends.multipart import Upload
from cloudcontents.backends.presign import Presign
from cloudcontents.errors import InvalidPathError, NotFoundError, TooLargeError, UnsupportedError
from cloudcontents.registry import open_backend
from cloudcontents.testing.behaviours_parts import checksum
from cloudcontents.testing.calls import files, read

UPLOAD = Upload("d/big", ".cloudcontents/uploads/u1/parts", "", 1000)


@pytest.fixture
def container(azurite, monkeypatch):
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    return f"az://{azurite.account}/{azurite.new_bucket()}"


@pytest.fixture
def backend(container):
    opened = open_backend(f"{container}/home")
    yield opened
    asyncio.run(opened.close())


@pytest.fixture
def stranger():
    """Who has nothing but what was signed."""
    with requests.Session() as session:

        def send(signed, data=None, *, method=None, url=None, **headers):
            sent = {**signed.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
            return session.request(method or signed.method, url or signed.url, data=data, headers=sent)

        yield send


async def test_a_get_is_for_one_blob_and_a_download(backend, stranger):
    await backend.put("d/ä b.txt", b"hello")
    await backend.put("d/other", b"secret")
    signed = await backend.sign_get("d/ä b.txt", filename="ü.txt")
    reply = stranger(signed)
    assert (reply.status_code, reply.content) == (200, b"hello")
    assert reply.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%BC.txt"
    assert stranger(signed, url=signed.url.replace("%C3%A4%20b.txt", "other")).status_code == 403
    assert stranger(signed, url=signed.url.replace("sp=r", "sp=rw")).status_code == 403
    assert stranger(signed, url=signed.url.replace("attachment", "inline")).status_code == 403
    assert stranger(signed, b"x", method="PUT", x_ms_blob_type="BlockBlob").status_code == 403
    assert stranger(signed, method="DELETE").status_code == 403
    assert await read(backend, "d/ä b.txt") == b"hello"


async def test_a_signature_expires(backend, stranger):
    await backend.put("f", b"hello")
    signer = backend.sign_get.__self__._signer.sign_get.__self__._azure

    def expired(seconds_ago):
        url = signer._client().service.get_blob_client(signer.container, "home/f").url
        return f"{url}?{signer.sas('home/f', BlobSasPermissions(read=True), -seconds_ago)}"

    signed = await backend.sign_get("f", expires_in=60)
    assert stranger(signed).status_code == 200
    assert stranger(signed, url=expired(60)).status_code == 403
    until = datetime.fromisoformat(parse_qs(urlsplit(signed.url).query)["se"][0].replace("Z", "+00:00"))
    assert timedelta(seconds=50) < until - datetime.now(timezone.utc) <= timedelta(seconds=60)


async def test_a_put_makes_a_blob_and_replaces_none(backend, stranger):
    signed = await backend.sign_put("new", size=5, checksum=checksum(b"hello"))
    damaged = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert stranger(signed, b"hello", Content_MD5=damaged).status_code == 400
    assert stranger(signed, b"hello", method="GET").status_code == 403
    assert stranger(signed, b"hello", url=signed.url.replace("/new?", "/old?")).status_code == 403
    assert await files(backend) == []
    assert stranger(signed, b"hello").status_code == 201
    assert stranger(signed, b"again").status_code == 403
    assert stranger(replace(signed, headers={"x-ms-blob-type": "BlockBlob"}), b"again").status_code == 403, "it may create, not write"
    assert await read(backend, "new") == b"hello"


async def test_parts_by_strangers_become_the_object(backend, stranger):
    upload = await backend.begin("d/big", place=UPLOAD.place, part_size=1000)
    pieces = [b"x" * 1000, b"tail"]
    for number, data in enumerate(pieces, 1):
        signed = await backend.sign_part(upload, number, size=len(data), checksum=checksum(data))
        damaged = base64.b64encode(hashlib.md5(b"other").digest()).decode()
        assert stranger(signed, data, Content_MD5=damaged).status_code == 400
        assert len(await backend.list_parts(upload)) == number - 1
        assert stranger(signed, data).status_code == 201
    held = await backend.list_parts(upload)
    assert [(part.number, part.size, part.checksum) for part in held] == [(1, 1000, checksum(pieces[0])), (2, 4, checksum(b"tail"))]
    assert await files(backend) == []
    await backend.complete(upload, held, content_type="text/plain")
    assert await read(backend, "d/big") == b"".join(pieces)


async def test_a_part_is_never_for_the_target_nor_for_another_upload(backend, stranger):
    await backend.put("d/big", b"the target")
    signed = await backend.sign_part(UPLOAD, 1, size=5, checksum=checksum(b"hello"))
    for place in ("home/d/big", "home/.cloudcontents/uploads/u2/parts/blob"):
        url = signed.url.replace(f"home/{UPLOAD.place}/blob", place)
        assert url != signed.url
        assert stranger(signed, b"hello", url=url).status_code == 403
    for method in ("GET", "DELETE"):
        assert stranger(signed, b"hello", method=method).status_code == 403
    assert await read(backend, "d/big") == b"the target"


async def test_what_cannot_be_signed(container):
    backend = open_backend(container)
    assert isinstance(backend, Presign)
    for seconds in (0, 3601):
        with pytest.raises(ValueError, match="3600"):
            await backend.sign_get("f", expires_in=seconds)
    for wrong in ("", "md5:00", "sha256:" + "x" * 64):
        with pytest.raises(UnsupportedError, match="sha256"):
            await backend.sign_part(UPLOAD, 1, size=5, checksum=wrong)
    with pytest.raises(TooLargeError):
        await backend.sign_put("f", size=ONE_REQUEST + 1, checksum=checksum(b""))
    with pytest.raises(InvalidPathError):
        await backend.sign_put("a/../b", size=5, checksum=checksum(b""))
    with pytest.raises(NotFoundError):
        await backend.sign_get("a/../b")
    await backend.close()


@pytest.mark.parametrize("access", ["sas", "anonymous"])
async def test_credentials_that_cannot_sign_say_which_can(azurite, container, monkeypatch, access):
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    if access == "sas":
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2024-01-01&sig=x")
    backend = open_backend(f"{container}?endpoint_url={azurite.url}" + ("&anonymous=true" if access == "anonymous" else ""))
    for call in (
        backend.sign_get("f"),
        backend.sign_put("f", size=5, checksum=checksum(b"")),
        backend.sign_part(UPLOAD, 1, size=5, checksum=checksum(b"")),
    ):
        with pytest.raises(UnsupportedError, match="account's key can"):
            await call
    await backend.close()


async def test_an_identity_signs_by_a_key_that_the_store_lends(monkeypatch):
    class Identity:
        def get_token(self, *_, **__):
            return AccessToken("token", 1 << 40)

        def close(self):
            pass

    asked = []

    def lend(_self, start, until, **_):
        asked.append((start, until))
        key = UserDelegationKey()
        key.signed_oid, key.signed_tid, key.signed_service, key.signed_version = "oid", "tid", "b", "2024-01-01"
        key.signed_start, key.signed_expiry = start.strftime("%Y-%m-%dT%H:%M:%SZ"), until.strftime("%Y-%m-%dT%H:%M:%SZ")
        key.value = base64.b64encode(b"lent").decode()
        return key

    for name in ("CONNECTION_STRING", "KEY", "SAS_TOKEN", "ACCOUNT"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.setattr("azure.identity.DefaultAzureCredential", Identity)
    monkeypatch.setattr(BlobServiceClient, "get_user_delegation_key", lend)
    backend = open_backend("az://account/box?encryption_scope=mine&tier=cool")
    get, part = await backend.sign_get("f"), await backend.sign_part(UPLOAD, 3, size=5, checksum=checksum(b""), expires_in=3600)
    put = await backend.sign_put("f", size=5, checksum=checksum(b""))
    assert len(asked) == 1, "one key signs for an hour"
    for signed, may in ((get, "r"), (part, "w"), (put, "c")):
        told = {name: values[0] for name, values in parse_qs(urlsplit(signed.url).query).items()}
        assert (told["skoid"], told["sp"], told["spr"], told["sr"]) == ("oid", may, "https", "b")
        assert told["se"] <= told["ske"]
        assert told.get("ses") == (None if signed is get else "mine")
    assert put.headers == {"x-ms-blob-type": "BlockBlob", "If-None-Match": "*", "x-ms-access-tier": "Cool"}
    sent = {name: values[0] for name, values in parse_qs(urlsplit(part.url).query).items()}
    assert (sent["comp"], base64.b64decode(sent["blockid"])[:8]) == ("block", b"0000003-")
    held = backend._azure._client()
    held.lent = (datetime.now(timezone.utc) + timedelta(minutes=5), held.lent[1])
    await backend.sign_get("f")
    assert len(asked) == 2, "another one before it ends"
    await backend.close()
