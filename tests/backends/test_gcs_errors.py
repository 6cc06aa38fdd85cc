"""Google Cloud Storage: what its refusals become, options, credentials, and that none of those is ever shown."""

import base64
import contextlib
import json
import logging
import socket
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2.service_account import Credentials

from cloudcontents import redact
from cloudcontents.backends.interface import IF_ABSENT, IfVersion, SizedStream
from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    ChecksumError,
    ConfigurationError,
    ConflictError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    RangeError,
    RateLimitedError,
    StorageAuthError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from cloudcontents.registry import open_backend


def json_error(message="", reason=""):
    """An error of the JSON interface."""
    return {"error": {"message": message, "errors": [{"message": message, "domain": "global", "reason": reason}]}}


def xml_error(code, message=""):
    """An error of the XML interface."""
    return f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


NO_BUCKET = json_error("The specified bucket does not exist.", "notFound")
NO_OBJECT = json_error("No such object: bucket/The specified bucket does not exist.", "notFound")
FAILED = json_error("At least one of the pre-conditions you specified did not hold.", "conditionNotMet")
ANONYMOUS = json_error("Anonymous caller does not have storage.objects.get access to the Google Cloud Storage object.", "required")
PAYER = json_error("Bucket is a requester pays bucket but no user project provided.", "required")

CALLS = {
    "head": lambda backend: backend.head("f"),
    "get": lambda backend: backend.get("f"),
    "get from 3": lambda backend: backend.get("f", start=3),
    "get if": lambda backend: backend.get("f", if_version="7"),
    "list": lambda backend: backend.list(""),
    "put": lambda backend: backend.put("f", b"x"),
    "put new": lambda backend: backend.put("f", b"x", when=IF_ABSENT),
    "put if": lambda backend: backend.put("f", b"x", when=IfVersion("7")),
    "delete": lambda backend: backend.delete("f"),
    "delete if": lambda backend: backend.delete("f", if_version="7"),
    "copy": lambda backend: backend.copy("f", "g"),
}


@contextlib.asynccontextmanager
async def opened(url, **options):
    backend = open_backend("gs://bucket?" + "&".join(f"{name}={value}" for name, value in {"endpoint_url": url, **options}.items()))
    try:
        yield backend
    finally:
        await backend.close()


@pytest.mark.parametrize(
    ("call", "status", "body", "kind", "says"),
    [
        ("head", 404, NO_OBJECT, NotFoundError, "f"),
        ("head", 404, NO_BUCKET, BucketNotFoundError, "bucket"),
        ("get", 404, xml_error("NoSuchKey"), NotFoundError, "f"),
        ("get", 404, xml_error("NoSuchBucket"), BucketNotFoundError, "bucket"),
        ("get if", 404, xml_error("NoSuchKey"), ConflictError, "gone"),
        ("list", 404, b"", BucketNotFoundError, "bucket"),
        ("put", 404, b"", BucketNotFoundError, "bucket"),
        ("put if", 404, NO_BUCKET, BucketNotFoundError, "bucket"),
        ("delete", 404, NO_BUCKET, BucketNotFoundError, "bucket"),
        ("delete if", 404, NO_OBJECT, ConflictError, "gone"),
        ("copy", 404, NO_OBJECT, NotFoundError, "f"),
        ("put new", 412, FAILED, AlreadyExistsError, "exists"),
        ("put if", 412, FAILED, ConflictError, "changed"),
        ("get if", 412, xml_error("PreconditionFailed"), ConflictError, "changed"),
        ("delete if", 412, FAILED, ConflictError, "changed"),
        ("put", 412, json_error("A policy of the organisation", "constraintViolated"), UnsupportedError, "refused"),
        ("head", 401, json_error("Invalid Credentials", "authError"), StorageAuthError, "public"),
        ("get", 401, ANONYMOUS, StorageAuthError, "public"),
        ("put", 403, json_error("no access", "forbidden"), PermissionDeniedError, "doctor"),
        ("get", 403, xml_error("AccessDenied"), PermissionDeniedError, "doctor"),
        ("head", 400, PAYER, PermissionDeniedError, "user_project"),
        ("delete", 403, json_error("held", "retentionPolicyNotMet"), PermissionDeniedError, "retention"),
        ("put", 403, json_error("slow", "rateLimitExceeded"), RateLimitedError, "fewer"),
        ("put", 429, json_error("slow", "rateLimitExceeded"), RateLimitedError, "fewer"),
        ("get", 429, xml_error("SlowDown"), RateLimitedError, "fewer"),
        ("get", 503, xml_error("ServiceUnavailable"), UnavailableError, "again"),
        ("list", 500, b"<html>oops</html>", UnavailableError, "again"),
        ("head", 408, b"", UnavailableError, "again"),
        ("put", 409, json_error("busy", "conflict"), UnavailableError, "again"),
        ("put", 413, json_error("large", "uploadTooLarge"), TooLargeError, "larger"),
        ("get from 3", 416, xml_error("InvalidRange"), RangeError, "range"),
        ("put", 400, json_error('Provided CRC32C "a" doesn\'t match calculated CRC32C "b".', "invalid"), ChecksumError, "damaged"),
        ("put", 400, json_error("Disallowed unicode characters present in object name 'x'", "invalid"), InvalidPathError, "name"),
        ("list", 400, json_error("Invalid argument.", "invalid"), UnsupportedError, "invalid"),
        ("list", 307, b"", ConfigurationError, "endpoint_url"),
        ("list", 405, b"", UnsupportedError, "405"),
    ],
)
async def test_what_a_refusal_becomes(script, call, status, body, kind, says):
    script.say(status, body)
    async with opened(script.url) as backend:
        with pytest.raises(kind, match=says) as caught:
            await CALLS[call](backend)
    assert type(caught.value) is kind
    assert len(script.asked) == 1, "retries are the bucket's"


async def test_how_long_to_wait_is_passed_on(script):
    script.say(429, json_error("slow", "rateLimitExceeded"), Retry_After="7").say(503, b"", Retry_After="8").say(
        429, b"", Retry_After="soon"
    )
    async with opened(script.url) as backend:
        for kind, seconds in ((RateLimitedError, 7), (UnavailableError, 8), (RateLimitedError, None)):
            with pytest.raises(kind) as caught:
                await backend.head("f")
            assert caught.value.retry_after == seconds


async def test_nobody_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with opened(f"http://127.0.0.1:{taken.getsockname()[1]}") as backend:
            with pytest.raises(UnavailableError, match="endpoint_url"):
                await backend.head("f")


# --- options --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("gs://", "names its bucket"),
        ("gs://b?endpoint=http://x", "endpoint_url"),
        ("gs://b?userproject=x", "user_project"),
        ("gs://b?key_file=x", "keyfile"),
        ("gs://b?token=x", "credential"),
        ("gs://b?endpoint_url=storage.googleapis.com", "http://"),
        ("gs://b?endpoint_url=http://me:word@host", "credential chain"),
        ("gs://b?anonymous=perhaps", "true or false"),
        ("gs://b?storage_class=GLACIER", "ARCHIVE"),
        ("gs://b/x/../y", "prefix"),
    ],
)
def test_wrong_urls(url, says):
    with pytest.raises(ConfigurationError, match=says):
        open_backend(url)


def test_what_is_missing_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("cloudcontents.backends.gcs")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    with pytest.raises(ConfigurationError) as caught:
        open_backend("gs://bucket")
    assert "pip install 'cloudcontents[gcs]'" in str(caught.value)


async def test_the_sdks_own_variable_leads_to_an_emulator(script, monkeypatch):
    script.say(200, {})
    for told in (script.url, script.url.removeprefix("http://")):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", told)
        backend = open_backend("gs://bucket")
        await backend.list("")
        await backend.close()
    assert len(script.asked) == 2


# --- credentials ----------------------------------------------------------------------------------------------------------------

TOKEN = "ya29.canary-of-an-access-token"


@pytest.fixture(scope="module")
def private_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


@pytest.fixture
def keyfile(tmp_path, script, private_key, monkeypatch):
    # The SDK asks Google in the background where an account may be used; no test talks to the world.
    monkeypatch.setattr(Credentials, "_is_regional_access_boundary_lookup_required", lambda _: False, raising=False)
    path = tmp_path / "key.json"
    content = {"type": "service_account", "client_email": "robot@example.iam.gserviceaccount.com", "token_uri": f"{script.url}/token"}
    path.write_text(json.dumps({**content, "private_key": private_key, "private_key_id": "id", "project_id": "p", "client_id": "1"}))
    return path


def signing_in(asked, answer, tokens):
    """Give tokens, and after that what is answered to whom has the newest."""
    if asked.path == "/token":
        tokens.append(f"{TOKEN}-{len(tokens)}")
        return 200, {"Content-Type": "application/json"}, json.dumps({"access_token": tokens[-1], "expires_in": 3600}).encode()
    return answer(asked)


async def test_a_keyfile_signs_in_and_a_rejected_token_is_renewed_once(script, keyfile):
    tokens, bodies = [], []
    stored = {"name": "f", "generation": "1", "size": "100000", "updated": "2026-01-02T03:04:05Z"}

    def answer(asked):
        bodies.append(asked.body)
        good = asked.headers["authorization"] == f"Bearer {TOKEN}-1"
        return (200, {}, json.dumps(stored).encode()) if good else (401, {}, json.dumps(json_error("Expired", "authError")).encode())

    script.do(lambda asked: signing_in(asked, answer, tokens))
    async with opened(script.url, keyfile=keyfile) as backend:
        await backend.put("f", b"x" * 100_000)
    upload = "/upload/storage/v1/b/bucket/o"
    assert [asked.path for asked in script.asked] == ["/token", upload, "/token", upload]
    assert bodies[0] == bodies[1], "the body is sent again whole"
    assert b"x" * 100_000 in bodies[1]


async def test_credentials_that_cannot_be_renewed(script, keyfile):
    script.say(400, {"error": "invalid_grant", "error_description": "account deleted"}, Content_Type="application/json")
    async with opened(script.url, keyfile=keyfile) as backend:
        with pytest.raises(StorageAuthError, match="renewed"):
            await backend.head("f")


async def test_nothing_is_sent_over_plain_http_that_was_not_named(script, tmp_path, monkeypatch):
    # What `gcloud auth application-default login` leaves behind.
    found = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"}
    (tmp_path / "application_default_credentials.json").write_text(json.dumps(found))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    script.say(200, {})
    async with opened(script.url) as backend:
        await backend.list("")
    assert "authorization" not in script.asked[-1].headers


async def test_a_keyfile_in_the_environment_is_used(script, keyfile, monkeypatch):
    tokens = []
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(keyfile))
    script.do(lambda asked: signing_in(asked, lambda asked: (200, {}, b"{}"), tokens))
    async with opened(script.url) as backend:
        await backend.list("")
    assert script.asked[-1].headers["authorization"] == f"Bearer {tokens[0]}"
    async with opened(script.url, anonymous="true") as backend:
        await backend.list("")
    assert "authorization" not in script.asked[-1].headers


@pytest.mark.parametrize("content", [None, "no json", "{}", '{"type": "service_account"}'])
async def test_a_keyfile_that_is_none(tmp_path, content):
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    async with opened("http://127.0.0.1:9", keyfile=path) as backend:
        with pytest.raises(ConfigurationError, match="keyfile") as caught:
            await backend.head("f")
    assert str(tmp_path) not in str(caught.value)


async def test_no_credential_is_ever_shown(script, keyfile, private_key, caplog):
    # caplog's handler is behind the root logger: what it gets went past the filters, as with a server's own handlers.
    redact.install()
    caplog.set_level(logging.DEBUG)
    upload = "canary-of-an-upload-session"
    answers = [
        (401, json_error("Invalid Credentials", "authError")),
        (403, json_error(f"denied to {TOKEN}", "forbidden")),
        (404, NO_BUCKET),
        (429, json_error("slow", "rateLimitExceeded")),
        (500, b"oops"),
    ]
    shown = []

    async def chunks():
        yield b"x" * (9 << 20)

    for status, body in answers:
        script.answers.clear()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        script.do(lambda asked, status=status, content=content: signing_in(asked, lambda asked: (status, {}, content), []))
        async with opened(script.url, keyfile=keyfile) as backend:
            for call in CALLS.values():
                with pytest.raises(Exception) as caught:
                    await call(backend)
                shown += [str(caught.value), repr(caught.value), repr(backend), backend.url]
                logging.getLogger("cloudcontents").error("failed", exc_info=caught.value)

    def session(asked):
        return (200, {"Location": f"{script.url}/u?upload_id={upload}"}, b"") if asked.method == "POST" else (503, {}, b"")

    script.answers.clear()
    script.do(lambda asked: signing_in(asked, session, []))
    async with opened(script.url, keyfile=keyfile) as backend:
        with pytest.raises(UnavailableError) as caught:
            await backend.put("f", SizedStream(chunks(), 9 << 20))
        shown += [str(caught.value), repr(caught.value)]
        logging.getLogger("cloudcontents").error("failed", exc_info=caught.value)
    shown += [logging.Formatter().format(record) for record in caplog.records]
    everything = "\n".join(shown)
    assert "/u?" in everything, "the log of requests was looked at"
    body = "".join(private_key.splitlines()[1:-1])
    for secret in (TOKEN, upload, body[100:140], base64.b64encode(TOKEN.encode()).decode()):
        assert secret not in everything
