"""Real servers, one a contents manager, and the notebooks that go through each of them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

SDIST = Path(__file__).parent.parent / "upstream" / "sdist.py"
UPSTREAM = "jupyter_server.services.contents.largefilemanager.AsyncLargeFileManager"
OURS = "cloudcontents.CloudContentsManager"


@cache
def notebooks_of(package: str) -> list[Path]:
    """Every notebook in the published source distribution of an installed package."""
    found = subprocess.run([sys.executable, SDIST, package], stdout=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 0, f"the source distribution of {package} is needed, and could not be fetched"
    return sorted(Path(found.stdout.strip()).rglob("*.ipynb"))


@dataclass
class Reply:
    """What a server answered."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running Jupyter server, and how to talk to it."""

    url: str
    token: str

    def request(self, method: str, path: str, body: Any = None) -> Reply:
        """One request; a refusal is a reply like any other."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}{quote(path, safe='/?=&')}", data, {"Authorization": f"token {self.token}"}, method=method)
        try:
            with urlopen(request, timeout=60) as reply:
                return Reply(reply.status, reply.read())
        except HTTPError as refusal:
            with refusal:
                return Reply(refusal.code, refusal.read())


@contextmanager
def start(directory: Path, *arguments: str) -> Iterator[Server]:
    """Run a Jupyter server in a directory of its own."""
    root = directory / "root"
    root.mkdir()
    runtime = directory / "runtime"
    token = secrets.token_hex(16)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "CLOUDCONTENTS"))}
    environment |= {
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_DATA_DIR": str(directory / "data"),
        "JUPYTER_CONFIG_DIR": str(directory / "config"),
        "HOME": str(directory),
    }
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    command += [f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={token}", *arguments]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=directory)
    try:
        yield Server(_url_of(process, directory, runtime), token)
    finally:
        process.terminate()
        process.wait(30)


def _url_of(process: subprocess.Popen[bytes], directory: Path, runtime: Path) -> str:
    """The URL that the server writes down once it listens."""
    info = runtime / f"jpserver-{process.pid}.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, (directory / "log").read_text()
        if info.exists():
            try:
                return str(json.loads(info.read_text())["url"])
            except json.JSONDecodeError:
                pass  # half written
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {(directory / 'log').read_text()}")


@pytest.fixture(scope="session", params=["memory", "file"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """jupyter_server's own file manager, and ours on each store. Both are new, so that neither trusts a notebook from an earlier life."""
    theirs, ours = tmp_path_factory.mktemp("upstream"), tmp_path_factory.mktemp("ours")
    url = "memory://corpus" if request.param == "memory" else (ours / "root").as_uri()
    with (
        start(theirs, f"--ServerApp.contents_manager_class={UPSTREAM}") as upstream,
        start(ours, f"--ServerApp.contents_manager_class={OURS}", f"--CloudContentsManager.url={url}") as server,
    ):
        yield upstream, server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "notebook" in metafunc.fixturenames:
        found = [path for package in ("nbformat", "nbconvert") for path in notebooks_of(package)]
        # Both distributions have carried more for years; fewer means that the fetch went wrong.
        assert len(found) >= 40, f"only {len(found)} notebooks found"
        metafunc.parametrize("notebook", found, ids=[f"{path.parent.name}-{path.stem}" for path in found])
