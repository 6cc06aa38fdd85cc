"""A real server at DEBUG on a store whose every failure holds secrets: none is in its log, none in an answer (promise G8)."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

TOKEN = "for-this-test"
CANARY = "c4n4ry"

SERVER = '''
import sys
from jupyter_server.serverapp import ServerApp
import cloudcontents.manager
from cloudcontents.backends.memory import MemoryBackend
from cloudcontents.errors import PermissionDeniedError

SECRETS = (
    "GET https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE&X-Amz-Signature=c4n4ry1 failed; "
    "Authorization: Bearer c4n4ry2c4n4ry2\\\\n AccountKey=c4n4ry3c4n4ry3; sig=c4n4ry4; aws_secret_access_key=c4n4ry5; "
    "from the environment c4n4ry6-c4n4ry6\\nforged line\\x1b[31m"
)

class Backend(MemoryBackend):
    """What it fails with depends on the key, and half of the failures are none of ours."""

    async def head(self, key):
        self.fail(key)
        return await super().head(key)

    async def get(self, key, **options):
        self.fail(key)
        return await super().get(key, **options)

    async def put(self, key, body, **options):
        self.fail(key)
        return await super().put(key, body, **options)

    async def list(self, prefix, **options):
        self.fail(prefix)
        return await super().list(prefix, **options)

    async def delete(self, key, **options):
        self.fail(key)
        return await super().delete(key, **options)

    async def copy(self, src, dst, **options):
        self.fail(src)
        self.fail(dst)
        return await super().copy(src, dst, **options)

    def fail(self, key):
        if "raw" in key:
            raise RuntimeError(SECRETS)
        if "ours" in key:
            try:
                raise OSError(SECRETS)
            except OSError as error:
                raise PermissionDeniedError("The store denies it.") from error
        if "key" in key:
            raise KeyError(SECRETS)

class Manager(cloudcontents.manager.CloudContentsManager):
    def open_backend(self):
        return Backend("canary")

ServerApp.launch_instance([
    "--ServerApp.contents_manager_class=__main__.Manager", "--ServerApp.jpserver_extensions=cloudcontents=True",
    "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port-retries=0", "--log-level=DEBUG", *sys.argv[1:],
])
'''


@pytest.fixture
def server(tmp_path):
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "JUPYTER_NO_CONFIG": "1", "AWS_SECRET_ACCESS_KEY": "c4n4ry6-c4n4ry6"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        command = [sys.executable, str(script), f"--port={port}", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home}"]
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, cwd=tmp_path)

    def ask(method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", method=method, data=data, headers={"Authorization": f"token {TOKEN}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
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
        yield ask, log
    finally:
        process.terminate()
        process.wait(30)


def test_no_secret_in_the_log_or_an_answer(server):
    ask, log = server
    assert ask("PUT", "/api/contents/fine.txt", {"type": "file", "format": "text", "content": "x"})[0] == 201
    failed = 0
    for name in ("raw", "ours", "key"):
        text = {"type": "file", "format": "text", "content": "x"}
        for method, path, body in (
            ("GET", f"/api/contents/{name}", None),
            ("GET", f"/api/contents/{name}?type=directory", None),
            ("GET", f"/api/contents/{name}?content=0&type=file", None),
            ("PUT", f"/api/contents/{name}.txt", text),
            (
                "PUT",
                f"/api/contents/{name}.ipynb",
                {"type": "notebook", "format": "json", "content": {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}},
            ),
            ("POST", f"/api/contents/{name}", {"type": "file"}),
            ("POST", "/api/contents", {"copy_from": f"{name}.txt"}),
            ("PATCH", "/api/contents/fine.txt", {"path": f"{name}.txt"}),
            ("DELETE", f"/api/contents/{name}", None),
            ("GET", f"/api/contents/{name}.txt/checkpoints", None),
            ("POST", f"/api/contents/{name}.txt/checkpoints", None),
            ("GET", f"/files/{name}", None),
            ("HEAD", f"/files/{name}", None),
            ("GET", f"/files/fine.txt?X-Amz-Signature={CANARY}7&sig={CANARY}8", None),
            ("GET", f"/cloudcontents/archive/{name}", None),
            ("GET", f"/cloudcontents/conflicts?path={name}", None),
            ("GET", "/cloudcontents/trash", None),
            ("GET", "/cloudcontents/status", None),
            ("GET", f"/view/{name}.html", None),
            ("GET", f"/nbconvert/html/{name}.ipynb", None),
        ):
            status, answer = ask(method, path, body)
            failed += status >= 400
            assert CANARY.encode() not in answer, (method, path)
    assert failed > 40
    written = log.read_text()
    assert "Traceback" in written
    assert "[redacted]" in written
    lines = [line for line in written.splitlines() if CANARY in line]
    assert not lines, "\n".join(lines[:5])
    assert "\x1b[31m" not in written.replace("\x1b[31m[E", "")
    assert not any(line.startswith("forged line") for line in written.splitlines())
