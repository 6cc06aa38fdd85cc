"""A wrong bucket, region, key, endpoint or clock: the user is told what to do about it, and `doctor` finds it."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from contextlib import contextmanager
from datetime import timedelta

import botocore.auth
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tornado.web import HTTPError

from cloudcontents import CloudContentsManager
from cloudcontents.bucket import Patience
from cloudcontents.doctor import examine

CLOUDS = ["minio", "fake_gcs", "azurite"]


@pytest.fixture(params=CLOUDS)
def store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """No credentials or settings of this machine, and a doctor in a hurry."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr("cloudcontents.doctor._PATIENCE", Patience(deadline=20, stall=20, attempts=2, first_pause=0.01))
    return monkeypatch


@pytest.fixture
def reach(store, faultproxy, clean):
    """The store behind a fault proxy, by the SDK's own variables; and the URL of a bucket of it."""
    proxy = faultproxy(store)
    for name, value in store.environment(proxy.url).items():
        clean.setenv(name, value)
    return proxy


def url_of(store, bucket, **options):
    url = {"s3": f"s3://{bucket}", "gcs": f"gs://{bucket}", "azure": f"az://rig/{bucket}"}[store.dialect]
    return url + "".join(f"{'&' if i else '?'}{name}={value}" for i, (name, value) in enumerate(options.items()))


def said_by_manager(url):
    """Status and message of the first thing that a browser asks."""

    async def first():
        manager = CloudContentsManager(url=url)
        manager.namespace.mounts[0].bucket.patience = Patience(attempts=2, first_pause=0.01)
        try:
            await manager.get("notes", type="file")
        except HTTPError as error:
            return error.status_code, error.log_message
        finally:
            await manager.close()
        return 200, ""

    return asyncio.run(first())


def said_by_doctor(url):
    report = asyncio.run(examine(url))
    assert not report.healthy
    problem = next(finding for finding in report.findings if finding.status == "problem")
    assert problem.check == "reach", report.findings
    json.dumps(report.as_json())
    return f"{problem.said} {problem.advice or ''}"


def both_say(url, status, *words):
    got, told = said_by_manager(url)
    assert got == status, told
    found = said_by_doctor(url)
    for word in words:
        assert word in told
        assert word in found
    return found


def test_a_wrong_bucket(store, reach):
    found = both_say(url_of(store, "no-such-bucket-here"), 502, "does not exist", "check the bucket URL")
    assert "network" not in found


@pytest.mark.parametrize("code", [(301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed")])
def test_a_wrong_region(minio, faultproxy, clean, code):
    proxy = faultproxy(minio)
    for name, value in minio.environment(proxy.url).items():
        clean.setenv(name, value)
    proxy.answer(*code, headers={"x-amz-bucket-region": "eu-central-1"})
    found = both_say(url_of(minio, minio.new_bucket()), 502, "?region=eu-central-1")
    assert "credentials" not in found


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [("AWS_ACCESS_KEY_ID", "nobody", "AWS_ACCESS_KEY_ID"), ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "AWS_SECRET_ACCESS_KEY")],
)
def test_a_wrong_key_of_s3(minio, clean, variable, value, word):
    for name, known in minio.environment().items():
        clean.setenv(name, known)
    clean.setenv(variable, value)
    both_say(url_of(minio, minio.new_bucket()), 502, word)


def test_no_key_of_s3(minio, clean):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        clean.delenv(name, raising=False)
    both_say("s3://bucket", 502, "AWS_ACCESS_KEY_ID", "anonymous=true")


def test_a_wrong_key_of_google(fake_gcs, faultproxy, clean, tmp_path):
    """The emulator checks none: the answer is the service's."""
    proxy = faultproxy(fake_gcs)
    proxy.answer(401, "authError", message="Invalid Credentials")
    with page(200, b'{"access_token": "rejected", "expires_in": 3600}', "application/json") as address:
        url = url_of(fake_gcs, fake_gcs.new_bucket(), endpoint_url=proxy.url, keyfile=keyfile(tmp_path, address))
        both_say(url, 502, "rejects the server's credentials")


def test_a_wrong_key_of_azure(azurite, faultproxy, clean):
    """The emulator calls it otherwise: the answer is the service's."""
    proxy = faultproxy(azurite)
    clean.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string(proxy.url))
    proxy.answer(403, "AuthenticationFailed", message="Server failed to authenticate the request. Make sure the value is formed correctly.")
    both_say(url_of(azurite, azurite.new_bucket()), 502, "AZURE_STORAGE_")


def test_a_key_that_is_none(azurite, clean):
    clean.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string().replace(azurite.key, "not-base64!"))
    both_say(url_of(azurite, azurite.new_bucket()), 502, "AZURE_STORAGE_")


# --- the endpoint -----------------------------------------------------------------------------------------------------------


def endpoint(store, clean, url, path=""):
    for name, value in store.environment(url + path).items():
        clean.setenv(name, value)
    return url_of(store, store.new_bucket(), endpoint_url=url)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
def test_an_endpoint_where_nobody_is(store, clean, address):
    found = both_say(endpoint(store, clean, address), 503, "endpoint_url")
    assert "network" in found


def test_a_plain_endpoint_called_secure(store, clean):
    url = endpoint(store, clean, store.endpoint.replace("http:", "https:"))
    found = said_by_doctor(url + ("&anonymous=true" if store.dialect == "gcs" else ""))
    assert "endpoint_url" in found
    assert "http://" in found


@pytest.mark.parametrize("status", [200, 404])
def test_an_endpoint_that_is_no_store(store, clean, status):
    """A web server, a login page, a proxy's own page."""
    with page(status, b"<!doctype html><html><body>Please log in.</body></html>") as address:
        got, told = said_by_manager(endpoint(store, clean, address))
        assert got in (502, 503), told
        assert "endpoint_url" in told
        assert "endpoint_url" in said_by_doctor(endpoint(store, clean, address))


def keyfile(place, address):
    """The key of a service account whose tokens come from this address."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    content = {"type": "service_account", "client_email": "robot@example.iam.gserviceaccount.com", "token_uri": f"{address}/token"}
    (place / "key.json").write_text(json.dumps({**content, "private_key": pem, "private_key_id": "i", "project_id": "p"}))
    return place / "key.json"


@contextmanager
def page(status, body, kind="text/html"):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            length = int(self.headers.get("Content-Length", 0))
            self.rfile.read(length)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


# --- the clock --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_wrong_clock_of_s3(minio, clean, hours):
    """MinIO looks at it itself."""
    for name, value in minio.environment().items():
        clean.setenv(name, value)
    url = url_of(minio, minio.new_bucket())
    now = botocore.auth.get_current_datetime
    clean.setattr(botocore.auth, "get_current_datetime", lambda *args, **kwargs: now(*args, **kwargs) + timedelta(hours=hours))
    both_say(url, 502, "clock", "NTP")


def test_a_wrong_clock_of_azure(azurite, faultproxy, clean):
    """The reply to a HEAD has no words, but it has a date."""
    proxy = faultproxy(azurite)
    clean.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string(proxy.url))
    long_ago = "Fri, 20 Nov 2020 01:02:03 GMT"
    proxy.answer(403, "AuthenticationFailed", message="Request date header too old.", headers={"Date": long_ago})
    both_say(url_of(azurite, azurite.new_bucket()), 502, "clock", "NTP")


def test_a_wrong_clock_of_google(fake_gcs, clean, tmp_path):
    """The service that gives tokens refuses what was signed in the future or the past."""
    refusal = {
        "error": "invalid_grant",
        "error_description": "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
        "Check your iat and exp values in the JWT claim.",
    }
    with page(400, json.dumps(refusal).encode(), "application/json") as address:
        url = url_of(fake_gcs, fake_gcs.new_bucket(), endpoint_url=fake_gcs.url, keyfile=keyfile(tmp_path, address))
        both_say(url, 502, "clock", "NTP")
