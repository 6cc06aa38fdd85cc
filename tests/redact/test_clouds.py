"""A server at DEBUG on each cloud, all its libraries talking, its store failing in every way: no secret in its log or an answer (G8)."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

TOKEN = "for-this-test"
CANARY = "c4n4ry"

#: In each variable that nobody here needs: a secret that must not be shown all the same.
UNUSED = {
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-01-aws-secret",
    "AWS_SESSION_TOKEN": f"{CANARY}-02-aws-session",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": f"{CANARY}-03-container",
    "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=other;AccountKey={CANARY}-04-azure;EndpointSuffix=core.windows.net",
    "AZURE_STORAGE_SAS_TOKEN": f"sv=2024-01-01&sig={CANARY}-05-sas",
    "AZURE_CLIENT_SECRET": f"{CANARY}-06-client",
    "AZURE_PASSWORD": f"{CANARY}-07-password",
    "IDENTITY_HEADER": f"{CANARY}-08-identity",
    "GOOGLE_API_KEY": f"{CANARY}-09-google",
    "HTTPS_PROXY": f"http://user:{CANARY}-10-proxy@127.0.0.1:1",
    "NO_PROXY": "127.0.0.1,localhost",
}

#: Every logger writes everything to the server's stderr, as a user does who looks for a mistake.
CONFIGURATION = """
import logging
logging.basicConfig(level=logging.DEBUG)
c = get_config()
"""


@pytest.fixture(params=["minio", "fake_gcs", "azurite"])
def server(request, faultproxy, tmp_path):
    """Asks the server; its log; its store's proxy; and the secrets that are really in use."""
    store = request.getfixturevalue(request.param)
    proxy, bucket = faultproxy(store), store.new_bucket()
    used, url = {}, f"s3://{bucket}/home"
    if request.param == "minio":
        used = {**store.environment(proxy.url), "AWS_SESSION_TOKEN": ""}
        kept = [store.secret_key]
    elif request.param == "azurite":
        used = store.environment(proxy.url)
        kept, url = [store.key], f"az://rig/{bucket}/home"
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        refresh = {
            "type": "authorized_user",
            "client_id": "i",
            "client_secret": f"{CANARY}-11-client",
            "refresh_token": f"{CANARY}-12-refresh",
        }
        (tmp_path / "adc.json").write_text(json.dumps({**refresh, "token_uri": f"{proxy.url}/token"}))
        used = {**store.environment(proxy.url), "CLOUDSDK_CONFIG": str(tmp_path)}
        kept, url = [pem.splitlines()[2]], f"gs://{bucket}/home"
    home = tmp_path / "home"
    (home / "config").mkdir(parents=True)
    (home / "config" / "jupyter_server_config.py").write_text(CONFIGURATION)
    variables = {**os.environ, **UNUSED, **used, "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}
    variables |= {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    variables.pop("JUPYTER_NO_CONFIG", None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ServerApp.contents_manager_class": "cloudcontents.CloudContentsManager",
        "CloudContentsManager.url": url,
        "CloudContentsManager.variables": json.dumps({"team": "x"}),
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.root_dir": str(home),
        "ServerApp.open_browser": False,
        "IdentityProvider.token": TOKEN,
        "ServerApp.log_level": "DEBUG",
    }
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", "--allow-root", *(f"--{name}={value}" for name, value in settings.items())],
            stdout=stream,
            stderr=stream,
            env=variables,
            cwd=home,
        )

    def ask(method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", method=method, data=data, headers={"Authorization": f"token {TOKEN}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read() + str(answer.headers).encode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read() + str(error.headers).encode()

    try:
        while True:
            try:
                ask("GET", "/api/status")
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)  # between two questions, not for luck
        yield ask, log, proxy, kept, store
    finally:
        process.terminate()
        process.wait(60)


def test_no_secret_of_a_cloud_is_shown(server):
    ask, log, proxy, kept, store = server
    text = {"type": "file", "format": "text", "content": "x"}
    asked = (
        ("PUT", "/api/contents/a.txt", text),
        ("GET", "/api/contents/a.txt", None),
        ("GET", "/api/contents?type=directory", None),
        ("POST", "/api/contents/a.txt/checkpoints", None),
        ("PATCH", "/api/contents/a.txt", {"path": "b.txt"}),
        ("GET", f"/files/b.txt?sig={CANARY}-20&X-Amz-Signature={CANARY}-21", None),
        ("DELETE", "/api/contents/b.txt", None),
        ("GET", "/cloudcontents/status", None),
        ("GET", "/cloudcontents/trash", None),
    )
    faults = {
        "none": lambda: None,
        "403": lambda: proxy.answer(403),
        "404 bucket": lambda: proxy.answer(404, {"s3": "NoSuchBucket", "azure": "ContainerNotFound"}.get(store.dialect)),
        "expired": lambda: proxy.answer(
            *{"s3": (400, "ExpiredToken"), "azure": (403, "AuthenticationFailed"), "gcs": (401, "authError")}[store.dialect],
            message=f"It was {kept[0]} that you sent, with sig={CANARY}-30 and {UNUSED['AZURE_CLIENT_SECRET']}.",
        ),
        "strange": lambda: proxy.answer(418, "Teapot", message=f"AccountKey={CANARY}-31"),
        "broken": lambda: proxy.lose_reply(times=4),
        "cut": lambda: proxy.truncate(1, times=4),
        "redirected": lambda: proxy.answer(307, headers={"Location": f"http://127.0.0.1:1/?X-Amz-Signature={CANARY}-32&sig={CANARY}-33"}),
    }
    answers = {}
    for name, fault in faults.items():
        fault()
        for method, path, body in asked:
            status, answer = ask(method, path, body)
            answers.setdefault(name, []).append(status)
            assert not found(answer.decode(errors="replace"), kept), (name, method, path)
        proxy.heal()
    assert all(status < 400 for status in answers["none"]), answers
    assert sum(status >= 400 for name in answers for status in answers[name]) > 20, answers
    status, metrics = ask("GET", "/metrics")
    assert status == 200
    assert b"cloudcontents_store_requests" in metrics
    assert not found(metrics.decode(), kept)
    written = log.read_text()
    library = {"s3": "DEBUG:botocore", "azure": "azure.core", "gcs": "DEBUG:urllib3"}[store.dialect]
    assert library in written, "the libraries said nothing"
    assert not found(written, kept)


def found(text, kept):
    """Lines that hold a secret."""
    wanted = re.compile("|".join(map(re.escape, [CANARY, *kept])))
    return [line[:500] for line in text.splitlines() if wanted.search(line)]


def test_a_server_that_cannot_start_shows_no_secret(tmp_path):
    """Somebody took the connection string for the URL."""
    url = f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={CANARY}{secrets.token_hex(8)};EndpointSuffix=core.windows.net"
    environment = {**os.environ, "HOME": str(tmp_path), "JUPYTER_NO_CONFIG": "1", "CLOUDCONTENTS_URL": url}
    command = [sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", "--debug", "--port=0", "--ip=127.0.0.1"]
    manager = "--ServerApp.contents_manager_class=cloudcontents.CloudContentsManager"
    done = subprocess.run([*command, manager], env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode != 0
    assert "is not a bucket URL" in done.stderr
    assert not found(done.stdout + done.stderr, [])
