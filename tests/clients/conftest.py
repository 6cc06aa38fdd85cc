"""A Jupyter server process on a bucket, files to send it, what the store then holds by its own means, and the clients that run on Node."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from rig.install import npm_packages
from rig.jupyter import JupyterServer, Session

HERE = Path(__file__).parent
MIB = 2**20

#: A part of the store's and a little more; and the size of the long form.
SMALL, LARGE = 8 * MIB + 12_345, 20 * MIB


@dataclass
class Target:
    """A running server and its bucket. The rig's proxies can be put before it."""

    jupyter: JupyterServer
    read: Callable[[str], bytes]
    session: Session
    dialect: str = ""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.jupyter.port}"

    @property
    def url(self) -> str:
        """Where clients begin uploads."""
        return f"{self.endpoint}/cloudcontents/uploads"

    def advertise(self, endpoint: str) -> None:
        """The server names no address of its own, whatever is before it."""

    @property
    def authorization(self) -> dict[str, str]:
        """The header by which a client without cookies is let in."""
        return {"Authorization": f"token {self.jupyter.token}"}

    def holds(self, name: str, path: Path) -> bool:
        """Whether the store has the file, byte for byte, and the server knows of no upload of it, or of a piece, any more."""
        under_way = self.session.request("GET", "/cloudcontents/uploads").json["uploads"]
        assert [upload for upload in under_way if upload["path"] in (name, "partial")] == []
        return hashlib.sha256(self.read(name)).digest() == hashlib.sha256(path.read_bytes()).digest()


@pytest.fixture(scope="module", params=["file", "minio"])
def target(request: pytest.FixtureRequest, bucket_on: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server for a module's tests on each store."""
    url = bucket_on(request.param)
    home = tmp_path_factory.mktemp("server")
    jupyter = JupyterServer(home, {"url": url}, getattr(request.module, "OPTIONS", None))
    jupyter.start()
    try:
        yield Target(jupyter, _reader(request, url), jupyter.session())
    finally:
        jupyter.stop()


def _reader(request: pytest.FixtureRequest, url: str) -> Callable[[str], bytes]:
    """Reads an object past our own code: by the store's SDK, or from the disk."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return lambda name: Path(unquote(parts.path), name).read_bytes()
    client = request.getfixturevalue("minio").client()
    request.addfinalizer(client.close)

    def read(name: str) -> bytes:
        with contextlib.closing(client.get_object(Bucket=parts.netloc, Key=name)["Body"]) as body:
            return body.read()

    return read


@pytest.fixture
def make_file(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file of so many bytes of chance, with a name of its own; it goes with the test."""
    made: list[Path] = []

    def make(size: int) -> Path:
        path = tmp_path / f"f-{secrets.token_hex(4)}.bin"
        path.write_bytes(random.Random(size).randbytes(size))
        made.append(path)
        return path

    yield make
    for path in made:
        path.unlink()


@dataclass
class Node:
    """Node with the clients of `js/package.json`."""

    program: str
    directory: Path

    def run(self, script: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        """Run a script of `js/` with a JSON object to its end, and return the objects that it printed."""
        with self.start(script, wanted) as process:
            output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return [json.loads(line) for line in output.splitlines()]

    def start(self, script: str, wanted: dict[str, Any]) -> subprocess.Popen[str]:
        """The same, while it runs."""
        command = [self.program, str(self.directory / script), json.dumps(wanted)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def bundle(self, script: str) -> str:
        """A script of `js/` with all that it imports, for a browser."""
        command = [self.program, str(self.directory / "bundle.js"), str(self.directory / script)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Node, and the clients installed by npm's lock."""
    program, packages = npm_packages("clients", HERE / "js")
    directory = tmp_path_factory.mktemp("node")
    for script in (HERE / "js").glob("*.js"):
        shutil.copy(script, directory)
    shutil.copy(HERE / "js" / "package.json", directory)
    (directory / "node_modules").symlink_to(packages / "node_modules")
    return Node(program, directory)
