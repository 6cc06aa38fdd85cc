"""A real JupyterHub, configured as its page says: two users, a prefix each, a shared one, and credentials that reach no further."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

from rig.install import cache_directory
from rig.process import Process, free_port

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "jupyterhub.md").read_text(encoding="utf-8")
PACKAGES = ["jupyterhub==5.*", "jupyterhub-idle-culler", "boto3"]
PROXY = "configurable-http-proxy@5"

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def installed() -> tuple[Path, Path]:
    """An environment with JupyterHub and this project, and the proxy; kept in the rig's cache."""
    environment, proxy = cache_directory() / "jupyterhub-5", cache_directory() / "configurable-http-proxy-5"
    if not (environment / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *PACKAGES, "-e", f"{PROJECT}[s3]"], check=True)
    program = proxy / "node_modules" / ".bin" / "configurable-http-proxy"
    if not program.exists():
        subprocess.run(["npm", "install", "--prefix", proxy, "--no-audit", "--no-fund", "--loglevel=error", PROXY], check=True)
    return environment, program


class Hub:
    """A hub that is running, and its interface, asked with a token that may everything."""

    def __init__(self, directory: Path, installed: tuple[Path, Path], minio: Any) -> None:
        self.bucket, self.minio = minio.new_bucket(), minio
        self._token, self._port = os.urandom(16).hex(), free_port()
        environment, proxy = installed
        server, hook, services = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[:3]
        (directory / "etc").mkdir()
        (directory / "etc" / "jupyter_server_config.py").write_text(server.replace("hub-home", self.bucket))
        more = f"""
c.JupyterHub.spawner_class = "simple"  # without users of the system
c.SimpleLocalProcessSpawner.home_dir_template = {str(directory / "homes" / "{username}")!r}
c.JupyterHub.bind_url = "http://127.0.0.1:{self._port}"
c.JupyterHub.hub_port = {free_port()}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{free_port()}"
c.ConfigurableHTTPProxy.command = [{str(proxy)!r}]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.services.append({{"name": "test", "api_token": {self._token!r}}})
scopes = ["admin:users", "admin:servers", "access:servers"]
c.JupyterHub.load_roles.append({{"name": "test", "scopes": scopes, "services": ["test"]}})
c.Spawner.environment = {{
    "JUPYTER_CONFIG_PATH": {str(directory / "etc")!r},
    "JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp",
}}
# The package's own file of configuration is not there in an editable installation.
c.Spawner.args = ["--ServerApp.jpserver_extensions=cloudcontents=True", "--allow-root"]
"""
        (directory / "jupyterhub_config.py").write_text("\n".join([hook.replace("hub-home", self.bucket), services, more]))
        variables = minio.environment() | {
            "AWS_ENDPOINT_URL_STS": minio.url,
            "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        command = [str(environment / "bin" / "jupyterhub"), "-f", str(directory / "jupyterhub_config.py")]
        # The hub writes its database where it is started.
        self.process = Process(
            ["/bin/sh", "-c", f'cd "{directory}" && exec "$0" "$@"', *command], log=directory / "log", environment=variables
        )
        self.process.wait_until(lambda: self.ask("GET", "/hub/api/")[0] == 200)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}", data, {"Authorization": f"token {self._token}"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                text = reply.read()
                return reply.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, None

    def start(self, user: str) -> None:
        """Make a user and start their server."""
        assert self.ask("POST", f"/hub/api/users/{user}")[0] == 201
        assert self.ask("POST", f"/hub/api/users/{user}/server")[0] in (201, 202)
        until = time.monotonic() + 120
        while not self.ask("GET", f"/hub/api/users/{user}")[1]["servers"].get("", {}).get("ready"):
            assert time.monotonic() < until, self.process.last_words()
            time.sleep(0.5)

    def environment(self, user: str) -> dict[str, str]:
        """The variables of a user's server, as they see them in a terminal."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                variables = process.environ()
            except psutil.Error:
                continue
            if variables.get("JUPYTERHUB_USER") == user:
                return variables
        raise AssertionError(f"{user} has no server")


@pytest.fixture(scope="module")
def hub(installed, minio, tmp_path_factory) -> Iterator[Hub]:
    started = Hub(tmp_path_factory.mktemp("hub"), installed, minio)
    client = minio.client()
    client.put_object(Bucket=started.bucket, Key="course/lesson.md", Body=b"# One")
    client.close()
    for user in ("ann", "bob"):
        started.start(user)
    yield started
    started.process.stop()


def contents(hub: Hub, user: str, method: str, path: str, text: str | None = None) -> tuple[int, Any]:
    model = None if text is None else {"type": "file", "format": "text", "content": text}
    return hub.ask(method, f"/user/{user}/api/contents/{path}", model)


def test_each_user_has_a_home_of_their_own(hub):
    for user in ("ann", "bob"):
        assert contents(hub, user, "PUT", "mine.txt", f"of {user}")[0] == 201
    for user in ("ann", "bob"):
        assert contents(hub, user, "GET", "mine.txt")[1]["content"] == f"of {user}"
        names = [model["name"] for model in contents(hub, user, "GET", "")[1]["content"]]
        assert names == ["course", "mine.txt", "shared"]
    client = hub.minio.client()
    assert client.get_object(Bucket=hub.bucket, Key="people/ann/mine.txt")["Body"].read() == b"of ann"
    client.close()


def test_what_is_shared_is_shared(hub):
    assert contents(hub, "ann", "PUT", "shared/note.txt", "hello")[0] == 201
    assert contents(hub, "bob", "GET", "shared/note.txt")[1]["content"] == "hello"
    assert contents(hub, "bob", "GET", "course/lesson.md")[1]["content"] == "# One"
    assert contents(hub, "bob", "PUT", "course/lesson.md", "changed")[0] == 403


def test_a_user_s_credentials_reach_no_further(hub):
    """What is in the environment of ann's server, in ann's own hands."""
    variables = hub.environment("ann")
    assert variables["AWS_ACCESS_KEY_ID"] != hub.minio.access_key
    s3 = boto3.session.Session().client(
        "s3",
        endpoint_url=hub.minio.url,
        region_name="us-east-1",
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=variables["AWS_SESSION_TOKEN"],
    )
    s3.put_object(Bucket=hub.bucket, Key="people/ann/x", Body=b"1")
    for call in (
        lambda: s3.get_object(Bucket=hub.bucket, Key="people/bob/mine.txt"),
        lambda: s3.put_object(Bucket=hub.bucket, Key="people/bob/x", Body=b"1"),
        lambda: s3.put_object(Bucket=hub.bucket, Key="people/ann2/x", Body=b"1"),
        lambda: s3.put_object(Bucket=hub.bucket, Key="course/x", Body=b"1"),
        lambda: s3.list_objects_v2(Bucket=hub.bucket, Prefix="people/bob/"),
        lambda: s3.list_objects_v2(Bucket=hub.bucket, Prefix="people/"),
        lambda: s3.list_objects_v2(Bucket=hub.bucket),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
    s3.close()


def test_a_server_that_was_culled_comes_back_with_everything(hub):
    assert contents(hub, "bob", "PUT", "kept.txt", "kept")[0] == 201
    assert hub.ask("DELETE", "/hub/api/users/bob/server")[0] in (202, 204)
    until = time.monotonic() + 60
    while hub.ask("GET", "/hub/api/users/bob")[1]["servers"]:
        assert time.monotonic() < until
        time.sleep(0.5)
    assert hub.ask("POST", "/hub/api/users/bob/server")[0] in (201, 202)
    until = time.monotonic() + 120
    while contents(hub, "bob", "GET", "kept.txt")[0] != 200:
        assert time.monotonic() < until, hub.process.last_words()
        time.sleep(0.5)
    assert contents(hub, "bob", "GET", "kept.txt")[1]["content"] == "kept"
