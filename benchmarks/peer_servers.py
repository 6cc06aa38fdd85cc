"""The S3 managers that are compared, each a server of its own with a bucket of its own on one MinIO, behind a proxy that counts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from botocore.config import Config

from .environments import python_of
from .pings import Pings
from .servers import ON_DISK, OURS, Server
from .wire import Wire

MINE = "cloudcontents"
MINE_FOR_GOOD = "cloudcontents, no trash"
S3CONTENTS = "s3contents"
FSSPEC = "jupyter-fs (fsspec)"
PYFS = "jupyter-fs (pyfs)"
DISK = "jupyter_server on disk"

#: What each bucket holds before its server starts.
DIRECTORIES = ("many", "folders", "notebooks-10", "notebooks-1000", "trees", "big")


@dataclass
class Side:
    """One server with what belongs to it.

    Attributes:
        server: The process.
        client: boto3's, straight to the store; None on disk.
        bucket: Its bucket.
        wire: The proxy that its requests go through; None on disk.
        drive: What its API paths begin with.
        marker: The name of the object by which this manager itself makes a directory.
        pings: Of its `/api/status`.
    """

    server: Server
    client: Any = None
    bucket: str = ""
    wire: Wire | None = None
    drive: str = ""
    marker: str = ""
    pings: Pings | None = None
    held: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """In the report."""
        return self.server.name

    def api(self, path: str = "") -> str:
        """A path of the Contents API."""
        return f"/api/contents/{quote(self.path(path), safe='/:')}"

    def path(self, path: str) -> str:
        """A path as this manager's users write it."""
        return self.drive + path

    def click(self, path: str) -> None:
        """Look at a directory and those above it, as a user does who clicks his way to it in the file browser."""
        for depth in range(len(path.split("/")) + 1):
            self.server.json("GET", self.api("/".join(path.split("/")[:depth])))

    # --- the store, behind the server's back --------------------------------------------------------------------------------

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Put objects."""
        if self.client is None:
            for key, data in objects.items():
                at = self.server.directory / key
                at.parent.mkdir(parents=True, exist_ok=True)
                at.write_bytes(data)
            return
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda item: self.client.put_object(Bucket=self.bucket, Key=item[0], Body=item[1]), objects.items()))

    def make_directories(self, paths: Iterable[str]) -> None:
        """Make directories as this manager makes them."""
        if self.client is not None:
            self.put({f"{path}/{self.marker}": b"" for path in paths})

    def read(self, key: str) -> bytes:
        """What an object holds."""
        if self.client is None:
            return (self.server.directory / key).read_bytes()
        return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def files(self, prefix: str) -> dict[str, tuple[str, int]]:
        """ETag and size of each object below a prefix by its name below it, markers of directories left out."""
        found: dict[str, tuple[str, int]] = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                if not item["Key"].endswith(("/", "/.s3keep")):
                    found[item["Key"].removeprefix(prefix)] = item["ETag"], item["Size"]
        return found


@contextlib.contextmanager
def sides(minio: Any, home: Path, wanted: Iterable[str], *, wired: bool = True) -> Iterator[list[Side]]:
    """Start those that are wanted, and end them. Without the proxy nothing is counted, and bytes flow as fast as they can."""
    with contextlib.ExitStack() as stack:
        yield [_side(minio, home, name, stack, wired) for name in wanted]


def _side(minio: Any, home: Path, name: str, stack: contextlib.ExitStack, wired: bool) -> Side:
    place = home / "".join(letter for letter in name if letter.isalnum())
    place.mkdir()
    if name == DISK:
        side = Side(Server(name, place, ON_DISK))
    else:
        bucket, wire, client = minio.new_bucket(), Wire(minio) if wired else None, _client(minio)
        if wire is not None:
            stack.callback(wire.close)
        stack.callback(client.close)
        side = Side(_server(name, place, minio, bucket, wire.url if wire is not None else minio.url), client, bucket, wire)
        side.marker = ".s3keep" if name == S3CONTENTS else ""
        side.put({side.marker or "first.txt": b""})
        # Some remember from their start what the root holds.
        side.make_directories(DIRECTORIES)
    stack.callback(side.server.stop)
    side.server.start()
    if name in (FSSPEC, PYFS):
        found = side.server.json("GET", "/jupyterfs/resources")
        if not found or not found[0]["init"]:
            raise RuntimeError(f"{name} has no file system: {(place / 'log.txt').read_text()[-2000:]}")
        side.drive = f"{found[0]['drive']}:"
    side.pings = Pings(side.server.port, side.server.token)
    stack.callback(side.pings.close)
    return side


def _client(minio: Any) -> Any:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=minio.url,
        region_name=minio.region,
        aws_access_key_id=minio.access_key,
        aws_secret_access_key=minio.secret_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 5, "mode": "standard"}, max_pool_connections=16),
    )


def _server(name: str, home: Path, minio: Any, bucket: str, url: str) -> Server:
    if name in (MINE, MINE_FOR_GOOD):
        trash = [] if name == MINE else ["--CloudContentsManager.delete_to_trash=False", "--CloudContentsManager.always_delete_dir=True"]
        return Server(name, home, [*OURS, *trash], {"CLOUDCONTENTS_URL": f"s3://{bucket}", **minio.environment(url)})
    if name == S3CONTENTS:
        told = {
            "bucket": bucket,
            "endpoint_url": url,
            "access_key_id": minio.access_key,
            "secret_access_key": minio.secret_key,
            "region_name": minio.region,
        }
        arguments = [f"--S3ContentsManager.{option}={value}" for option, value in told.items()]
        return Server(name, home, ["--ServerApp.contents_manager_class=s3contents.S3ContentsManager", *arguments], {}, python_of(name))
    if name == FSSPEC:
        client = {"endpoint_url": url, "region_name": minio.region}
        resource = {
            "url": f"s3://{bucket}",
            "type": "fsspec",
            "kwargs": {"key": minio.access_key, "secret": minio.secret_key, "client_kwargs": client},
        }
    else:
        where = f"s3://{minio.access_key}:{minio.secret_key}@{bucket}?endpoint_url={quote(url, safe='')}"
        resource = {"url": where, "type": "pyfs"}
    resource |= {"name": "bucket", "auth": "none"}
    (home / "config.json").write_text(json.dumps({"JupyterFs": {"resources": [resource]}}))
    arguments = [
        f"--config={home / 'config.json'}",
        "--ServerApp.contents_manager_class=jupyterfs.metamanager.MetaManager",
        "--ServerApp.jpserver_extensions=jupyterfs.extension=True",
    ]
    return Server(name, home, arguments, {"AWS_DEFAULT_REGION": minio.region}, python_of(name))
