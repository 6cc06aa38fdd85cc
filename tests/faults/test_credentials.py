"""Credentials that expire in the middle of a transfer: renewed, and it finishes; or, where there are no newer ones, 502 in clear words.

From some moment on the fault proxy refuses whatever is signed with the old ones, as the service would.
"""

from __future__ import annotations

import http.server
import itertools
import json
import secrets
import threading
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2.service_account import Credentials

from cloudcontents.backends.interface import SizedStream
from cloudcontents.bucket import Patience
from cloudcontents.doctor import examine

MIB = 2**20
FILES = 12


@pytest.fixture
def serve(start_server, monkeypatch):
    """A server on a bucket, with these variables."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def serve(url, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return start_server(url)

    return serve


def stream(data, at, do):
    """A body that does something after some bytes."""

    async def chunks():
        done = False
        for start in range(0, len(data), MIB):
            if start >= at and not done:
                done = True
                do()
            yield data[start : start + MIB]

    return SizedStream(chunks(), len(data))


def transfers(server, expire, *, copies=True):
    """A large upload, and a directory of files that is renamed (or read): the credentials go old in the middle of each."""
    data = secrets.token_bytes(17 * MIB)
    server.run(lambda: server.bucket.put("big", stream(data, 9 * MIB, expire)))
    assert server.run(lambda: server.bucket.read("big"))[1] == data
    for number in range(FILES):
        server.run(lambda number=number: server.bucket.put(f"d/{number:02}.txt", b"%d" % number))
    expire(after=FILES // 2)
    if copies:
        assert server.request("PATCH", "/api/contents/d", body={"path": "e"}).status == 200
    folder = "e" if copies else "d"
    assert len(server.request("GET", f"/api/contents/{folder}").json["content"]) == FILES
    for number in range(FILES):
        assert server.request("GET", f"/api/contents/{folder}/{number:02}.txt").json["content"] == str(number)


def stay_old(server, proxy, word):
    """All that a user asks is answered with 502, and says what to do."""
    for method, path, body in (
        ("GET", "/api/contents/big", None),
        ("GET", "/files/big", None),
        ("PUT", "/api/contents/new.txt", {"type": "file", "format": "text", "content": "x"}),
        ("PATCH", "/api/contents/e/00.txt", {"path": "e/x.txt"}),
        ("DELETE", "/api/contents/e/01.txt", None),
    ):
        reply = server.request(method, path, body=body)
        assert reply.status == 502, (method, path, reply.body)
        assert word in reply.json["message"]
    status = server.request("GET", "/cloudcontents/status").json["mounts"][0]
    assert (status["reachable"], status["error"]["code"]) == (False, "storage_auth")


def test_s3(minio, faultproxy, serve, tmp_path):
    """Temporary credentials of MinIO's own security token service, in a file that somebody keeps fresh."""
    proxy = faultproxy(minio)
    sts = boto3.client(
        "sts", endpoint_url=minio.url, region_name="us-east-1", aws_access_key_id=minio.access_key, aws_secret_access_key=minio.secret_key
    )
    known, place = [], tmp_path / "credentials"

    def renew():
        found = sts.assume_role(RoleArn="arn:aws:iam::1:role/any", RoleSessionName="test", DurationSeconds=900)["Credentials"]
        known.append(found["AccessKeyId"])
        lines = {
            "access_key_id": found["AccessKeyId"],
            "secret_access_key": found["SecretAccessKey"],
            "session_token": found["SessionToken"],
        }
        place.write_text("[default]\n" + "".join(f"aws_{name} = {value}\n" for name, value in lines.items()))

    def expire(after=0):
        old = known[-1]
        renew()
        proxy.forget()
        proxy.answer(400, "ExpiredToken", credential=f"Credential={old}/", **({"after": after} if after else {}))

    renew()
    variables = {"AWS_ENDPOINT_URL_S3": proxy.url, "AWS_REGION": "us-east-1", "AWS_SHARED_CREDENTIALS_FILE": str(place)}
    server = serve(f"s3://{minio.new_bucket()}/home", {**variables, "AWS_CONFIG_FILE": str(tmp_path / "config")})
    transfers(server, expire)
    refused = [found for found in proxy.requests if found.status == 400]
    assert 1 <= len(refused) <= 8, "each thread is refused once at most"
    proxy.answer(400, "ExpiredToken")
    stay_old(server, proxy, "expired")
    sts.close()


def test_gcs(fake_gcs, faultproxy, serve, tmp_path, monkeypatch):
    """A service account whose tokens are revoked before their time."""
    # The SDK asks Google in the background where an account may be used; no test talks to the world.
    monkeypatch.setattr(Credentials, "_is_regional_access_boundary_lookup_required", lambda _: False, raising=False)
    proxy = faultproxy(fake_gcs)
    with token_service() as (address, given):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        account = {"type": "service_account", "client_email": "robot@example.iam.gserviceaccount.com", "token_uri": f"{address}/token"}
        (tmp_path / "key.json").write_text(json.dumps({**account, "private_key": pem, "private_key_id": "i", "project_id": "p"}))

        def expire(after=0):
            for token in given:
                proxy.answer(401, "authError", credential=f"Bearer {token}\r\n", **({"after": after} if after else {}))

        variables = {"STORAGE_EMULATOR_HOST": proxy.url, "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json")}
        server = serve(f"gs://{fake_gcs.new_bucket()}/home", variables)
        transfers(server, expire)
        assert 3 <= len(given) <= 2 + 8, "each thread renews once at most"
        proxy.answer(401, "authError")
        stay_old(server, proxy, "credentials")


@contextmanager
def token_service():
    """Gives tokens; yields its address and the tokens that it gave."""
    given, numbers = [], itertools.count()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            given.append(f"token-{next(numbers)}")
            body = json.dumps({"access_token": given[-1], "expires_in": 3600}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", given
        finally:
            server.shutdown()
            thread.join()


def test_azure(azurite, faultproxy, serve, monkeypatch):
    """Shared access signatures, which a supervisor of the server replaces in its environment."""
    proxy, bucket = faultproxy(azurite), azurite.new_bucket()
    given, hours = [], itertools.count(1)

    def renew():
        until = datetime.now(timezone.utc) + timedelta(hours=next(hours))
        permission = ContainerSasPermissions(read=True, write=True, delete=True, list=True, add=True, create=True)
        given.append(generate_container_sas(azurite.account, bucket, account_key=azurite.key, permission=permission, expiry=until))
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", given[-1])

    def expire(after=0):
        old = next(part for part in given[-1].split("&") if part.startswith("sig="))
        renew()
        proxy.answer(403, "AuthenticationFailed", credential=old, **({"after": after} if after else {}))

    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    renew()
    server = serve(f"az://{azurite.account}/{bucket}/home?endpoint_url={proxy.url}", {})
    # Azurite cannot copy where a SAS asks.
    transfers(server, expire, copies=False)
    proxy.answer(403, "AuthenticationFailed")
    stay_old(server, proxy, "AZURE_STORAGE_SAS_TOKEN")


async def test_the_doctor_says_so(minio, faultproxy, monkeypatch):
    proxy = faultproxy(minio)
    for name, value in minio.environment(proxy.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("cloudcontents.doctor._PATIENCE", Patience(deadline=20, attempts=2, first_pause=0.01))
    proxy.answer(400, "ExpiredToken")
    report = await examine(f"s3://{minio.new_bucket()}")
    assert [finding.check for finding in report.findings if finding.status == "problem"] == ["reach"]
    assert "expired" in report.findings[0].said
