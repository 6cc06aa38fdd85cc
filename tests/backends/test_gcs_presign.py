"""Signed requests to Google Cloud Storage: what is signed, by whom, and what a store that takes them does."""

import hashlib
import json
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.auth import impersonated_credentials
from google.auth.credentials import AnonymousCredentials
from google.oauth2.credentials import Credentials as UserCredentials

from cloudcontents.backends import gcs_client
from cloudcontents.backends.multipart import Upload
from cloudcontents.backends.presign import Presign
from cloudcontents.errors import InvalidPathError, NotFoundError, UnsupportedError
from cloudcontents.registry import open_backend

UPLOAD = Upload("d/big file", ".cloudcontents/uploads/u 1/parts", "", 1000)
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def keyfile(key, tmp_path):
    """A service account's key, as Google writes it."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    told = {
        "type": "service_account",
        "client_email": "signer@project.iam.gserviceaccount.com",
        "token_uri": "http://127.0.0.1:1/token",
        "private_key": pem,
    }
    path = tmp_path / "key.json"
    path.write_text(json.dumps(told))
    return path


@pytest.fixture
def backend(keyfile):
    return open_backend(f"gs://bucket?keyfile={keyfile}")


def string_to_sign(method, url, headers):
    """What the V4 process signs, by Google's description of it: the canonical request's hash and where it comes from."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query.pop("X-Goog-Signature")
    told = "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))
    sent = {"host": parts.netloc, **{name.lower(): value.strip() for name, value in headers.items()}}
    lines = "".join(f"{name}:{sent[name]}\n" for name in sorted(sent))
    canonical = "\n".join((method, parts.path, told, lines, ";".join(sorted(sent)), "UNSIGNED-PAYLOAD"))
    scope = query["X-Goog-Credential"].partition("/")[2]
    return "\n".join((query["X-Goog-Algorithm"], query["X-Goog-Date"], scope, hashlib.sha256(canonical.encode()).hexdigest()))


def check(key, signed):
    """The signature is of this request, and by this key."""
    told = dict(parse_qsl(urlsplit(signed.url).query))
    text = string_to_sign(signed.method, signed.url, signed.headers).encode()
    key.public_key().verify(bytes.fromhex(told["X-Goog-Signature"]), text, padding.PKCS1v15(), hashes.SHA256())
    assert set(told["X-Goog-SignedHeaders"].split(";")) == {"host", *signed.headers}
    assert told["X-Goog-Expires"] == str(signed.expires_in)
    return told


def test_the_check_agrees_with_googles_published_example():
    """The "Simple GET" of the conformance tests that Google's own libraries pass (googleapis/conformance-tests, v4_signatures.json)."""
    url = (
        "https://storage.googleapis.com/test-bucket/test-object?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=test-iam-credentials"
        "%40dummy-project-id.iam.gserviceaccount.com%2F20190201%2Fauto%2Fstorage%2Fgoog4_request&X-Goog-Date=20190201T090000Z"
        "&X-Goog-Expires=10&X-Goog-SignedHeaders=host&X-Goog-Signature=00"
    )
    assert string_to_sign("GET", url, {}) == (
        "GOOG4-RSA-SHA256\n20190201T090000Z\n20190201/auto/storage/goog4_request\n"
        "00e2fb794ea93d7adb703edaebdd509821fcc7d4f1a79ac5c8d2b394df109320"
    )


async def test_a_get_is_for_one_object_and_a_download(backend, key):
    signed = await backend.sign_get("d/ä b.txt", expires_in=60, filename="ü.txt")
    told = check(key, signed)
    parts = urlsplit(signed.url)
    assert (signed.method, parts.scheme, parts.netloc, unquote(parts.path)) == (
        "GET",
        "https",
        "storage.googleapis.com",
        "/bucket/d/ä b.txt",
    )
    assert told["response-content-disposition"] == "attachment; filename*=UTF-8''%C3%BC.txt"
    assert told["X-Goog-Credential"].startswith("signer@project.iam.gserviceaccount.com/")
    assert (signed.headers, signed.expires_in) == ({}, 60)
    await backend.close()


async def test_a_put_binds_its_size_and_that_nothing_is_there(backend, key):
    signed = await backend.sign_put("f", size=5, checksum=DIGEST)
    check(key, signed)
    assert signed.headers == {"x-goog-content-length-range": "5,5", "x-goog-if-generation-match": "0"}
    await backend.close()


async def test_a_part_binds_its_number_and_size_and_is_of_a_class_that_costs_nothing_to_delete(backend, key):
    signed = await backend.sign_part(UPLOAD, 7, size=1000, checksum=DIGEST, expires_in=3600)
    check(key, signed)
    assert unquote(urlsplit(signed.url).path) == f"/bucket/{UPLOAD.place}/0000007-{'ab' * 32}"
    assert signed.headers == {"x-goog-content-length-range": "1000,1000", "x-goog-storage-class": "STANDARD"}
    await backend.close()


async def test_what_is_configured_goes_with_what_is_signed(keyfile, key):
    backend = open_backend(f"gs://bucket/home/me?keyfile={keyfile}&storage_class=NEARLINE&kms_key_name=k&user_project=payer")
    assert isinstance(backend, Presign)
    put, part = await backend.sign_put("f", size=5, checksum=DIGEST), await backend.sign_part(UPLOAD, 1, size=5, checksum=DIGEST)
    assert urlsplit(put.url).path == "/bucket/home/me/f"
    for signed, storage_class in ((put, "NEARLINE"), (part, "STANDARD")):
        assert check(key, signed)["userProject"] == "payer"
        assert signed.headers["x-goog-encryption-kms-key-name"] == "k"
        assert signed.headers["x-goog-storage-class"] == storage_class
    await backend.close()


async def test_what_cannot_be_signed(backend):
    for seconds in (0, 3601):
        with pytest.raises(ValueError, match="3600"):
            await backend.sign_get("f", expires_in=seconds)
    for checksum in ("", "md5:00", "sha256:../../../secret", "sha256:" + "x" * 64):
        with pytest.raises(UnsupportedError, match="sha256"):
            await backend.sign_part(UPLOAD, 1, size=5, checksum=checksum)
    with pytest.raises(InvalidPathError):
        await backend.sign_put("..", size=5, checksum=DIGEST)
    with pytest.raises(NotFoundError):
        await backend.sign_get(".")
    await backend.close()


@pytest.mark.parametrize("credentials", [AnonymousCredentials(), UserCredentials("token")], ids=["anonymous", "user"])
async def test_credentials_that_cannot_sign_say_which_can(monkeypatch, credentials):
    monkeypatch.setattr(gcs_client.google.auth, "default", lambda scopes: (credentials, "project"))
    backend = open_backend("gs://bucket")
    for call in (
        backend.sign_get("f"),
        backend.sign_put("f", size=5, checksum=DIGEST),
        backend.sign_part(UPLOAD, 1, size=5, checksum=DIGEST),
    ):
        with pytest.raises(UnsupportedError, match="service account's key can"):
            await call
    await backend.close()


async def test_an_impersonated_service_account_signs_by_a_request_to_iam(monkeypatch):
    credentials = impersonated_credentials.Credentials(UserCredentials("token"), "target@project.iam.gserviceaccount.com", ["scope"])
    asked = []
    monkeypatch.setattr(credentials, "sign_bytes", lambda message: asked.append(message) or b"signature")
    monkeypatch.setattr(gcs_client.google.auth, "default", lambda scopes: (credentials, "project"))
    backend = open_backend("gs://bucket")
    signed = await backend.sign_get("f")
    told = dict(parse_qsl(urlsplit(signed.url).query))
    assert told["X-Goog-Credential"].startswith("target@project.iam.gserviceaccount.com/")
    assert told["X-Goog-Signature"] == b"signature".hex()
    assert [text.decode() for text in asked] == [string_to_sign("GET", signed.url, {})]
    await backend.close()


async def test_a_stranger_puts_parts_that_become_the_object(fake_gcs, keyfile, monkeypatch):
    """fake-gcs-server takes any signature: what it binds is for the real service to show."""
    backend = open_backend(f"gs://{fake_gcs.new_bucket()}/home?endpoint_url={fake_gcs.url}&keyfile={keyfile}")
    upload = await backend.begin("d/f", place=".cloudcontents/uploads/u1/parts", part_size=1000)
    pieces = [b"x" * 1000, b"tail"]
    with requests.Session() as stranger:
        for number, data in enumerate(pieces, 1):
            signed = await backend.sign_part(upload, number, size=len(data), checksum=f"sha256:{hashlib.sha256(data).hexdigest()}")
            assert stranger.request(signed.method, signed.url, data=data, headers=dict(signed.headers)).status_code == 200
    # The store's own requests would ask for a token, which nobody gives here.
    plain = open_backend(backend.url.partition("?")[0] + f"?endpoint_url={fake_gcs.url}")
    held = await plain.list_parts(upload)
    assert [(part.number, part.size) for part in held] == [(1, 1000), (2, 4)]
    await plain.complete(upload, held, content_type="text/plain")
    signed = await backend.sign_get("d/f", filename="f")
    with requests.Session() as stranger:
        reply = stranger.get(signed.url)
        assert reply.content == b"".join(pieces)
        assert reply.headers["Content-Disposition"].startswith("attachment")
    await backend.close()
    await plain.close()
