"""A bucket on any store, and what uploads have left in it, told by the store's own SDK."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudcontents.backends.interface import Backend
from cloudcontents.backends.memory import memory_store
from cloudcontents.registry import open_backend
from rig.servers import Server


@dataclass
class Bucket:
    """A bucket of a test.

    Attributes:
        kind: "memory", "file", or the name of a server's fixture.
        url: As `cloudcontents` names it.
        names: Everything in it: objects of all versions, and multipart uploads and blocks that became none.
    """

    kind: str
    url: str
    names: Callable[[], list[str]]

    def backend(self) -> Backend:
        """A new backend of it."""
        return open_backend(self.url)

    def left(self) -> list[str]:
        """What uploads have left. Small notes of what became of them are no leavings: they stay for eight days."""
        found = [name for name in self.names() if name.startswith(("multipart upload", ".cloudcontents/uploads/"))]
        return [name for name in found if "/finished/" not in name and not name.endswith("/")]


def new_bucket(kind: str, request: pytest.FixtureRequest, directory: Path) -> Bucket:
    """Make an empty one. The way there and the credentials of a server are in the environment until the test's end."""
    if kind == "memory":
        name = secrets.token_hex(8)
        return Bucket(kind, f"memory://{name}", lambda: list(memory_store(name).snapshot()))
    if kind == "file":
        place = directory / f"bucket-{secrets.token_hex(4)}"
        place.mkdir()
        return Bucket(kind, place.as_uri(), lambda: _on_disk(place))
    server: Server = request.getfixturevalue(kind)
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for variable, value in server.environment().items():
        patch.setenv(variable, value)
    bucket = server.new_bucket()
    read = {"s3": _in_s3, "gcs": _in_gcs, "azure": _in_azure}[server.dialect]

    def names() -> list[str]:
        with contextlib.closing(server.client()) as client:
            return read(client, bucket)

    return Bucket(kind, server.bucket_url(bucket), names)


def seeded(request: pytest.FixtureRequest) -> random.Random:
    """Chance whose seed is printed; `CLOUDCONTENTS_TEST_SEED` plays a run again."""
    seed = os.environ.get("CLOUDCONTENTS_TEST_SEED") or secrets.token_hex(4)
    print(f"played again with CLOUDCONTENTS_TEST_SEED={seed}")
    return random.Random(seed + request.node.name)


def _on_disk(directory: Path) -> list[str]:
    return [str(Path(at, file).relative_to(directory)) for at, _, files in os.walk(directory) for file in files]


def _in_s3(client: Any, bucket: str) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())] + [f"multipart upload of {at['Key']}" for at in uploads]


def _in_gcs(client: Any, bucket: str) -> list[str]:
    return [blob.name for blob in client.list_blobs(bucket, versions=True)]


def _in_azure(client: Any, bucket: str) -> list[str]:
    with client.get_container_client(bucket) as container:
        return [blob.name for blob in container.list_blobs(include=["uncommittedblobs", "snapshots"])]
