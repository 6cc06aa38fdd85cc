"""Buckets that other contents managers filled open whole: each file with its bytes, each directory, and none of their markers.

The layouts are those that the packages themselves wrote (s3contents 0.11.2 and jupyter-fs 1.2.1, into MinIO and fake-gcs-server); jgscm,
which runs with no living Jupyter, by its source.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cloudcontents.backends.memory import drop_memory_store, memory_store
from cloudcontents.cli import main
from cloudcontents.registry import open_backend

NOTEBOOK = json.dumps(
    {
        "cells": [{"cell_type": "code", "execution_count": None, "id": "a1", "metadata": {}, "outputs": [], "source": "1 + 1"}],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
).encode()
CSV, RAW = b"a,b\n1,2\n", bytes(range(256))
OLD = NOTEBOOK.replace(b"1 + 1", b"an older text")

FILES = {"top.ipynb": NOTEBOOK, "analysis/fit.ipynb": NOTEBOOK, "analysis/renamed data.csv": CSV, "analysis/raw.bin": RAW}
DIRECTORIES = {"analysis", "analysis/empty", "new folder"}
CHECKPOINT = "analysis/.ipynb_checkpoints/fit-0b0ba4ed-5bcb-4d07-a3cd-0d4a8bdb5b4f.ipynb"


@dataclass(frozen=True)
class Layout:
    """What a package wrote for the same few steps: the keys, and what of them a user knows as files and directories."""

    markers: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    directories: set[str] = field(default_factory=lambda: set(DIRECTORIES))
    marker_type: str = "binary/octet-stream"

    @property
    def objects(self) -> dict[str, bytes]:
        return self.files | dict.fromkeys(self.markers, b"")


LAYOUTS = {
    # One file in each directory, the bucket's root included.
    "s3contents": Layout((".s3keep", "analysis/.s3keep", "analysis/empty/.s3keep", "new folder/.s3keep")),
    "s3contents-gcs": Layout((".gcskeep", "analysis/.gcskeep", "analysis/empty/.gcskeep", "new folder/.gcskeep")),
    "jgscm": Layout(
        ("analysis/", "analysis/empty/", "new folder/"),
        FILES | {CHECKPOINT: OLD, ".ipynb_checkpoints/top-7d5a1f0e-8a1c-4f0b-9b39-0c9d3f1f6a55.ipynb": OLD},
        DIRECTORIES | {".ipynb_checkpoints", "analysis/.ipynb_checkpoints"},
        "application/x-directory",
    ),
    # With fsspec on S3, which turns each blank in a name into an underscore.
    "jupyter-fs": Layout(
        ("analysis/.s3fskeep", "analysis/empty/.s3fskeep", "new_folder/.s3fskeep"),
        {name.replace(" ", "_"): data for name, data in FILES.items()},
        {"analysis", "analysis/empty", "new_folder"},
    ),
    # With fsspec on Google: no empty directory is stored at all.
    "jupyter-fs-gcs": Layout((), directories={"analysis"}),
    # With PyFilesystem.
    "jupyter-fs-pyfs": Layout(("analysis/", "analysis/empty/", "new folder/")),
    # With either, on a directory of the machine.
    "jupyter-fs-osfs": Layout(("analysis/", "analysis/empty/", "new folder/")),
}
HOMES = [
    *[(layout, "memory") for layout in LAYOUTS if layout != "jupyter-fs-osfs"],
    ("s3contents", "minio"),
    ("jupyter-fs", "minio"),
    ("jupyter-fs-pyfs", "minio"),
    ("s3contents-gcs", "fake_gcs"),
    ("jgscm", "fake_gcs"),
    ("jupyter-fs-gcs", "fake_gcs"),
    ("jupyter-fs-osfs", "file"),
]


class InMemory:
    """A bucket behind the server's back, as the three below."""

    def __init__(self, name: str) -> None:
        self.url, self._name = f"memory://{name}", name

    def put(self, key: str, data: bytes, kind: str) -> None:
        asyncio.run(open_backend(self.url).put(key, data, content_type=kind))

    def read(self) -> dict[str, bytes]:
        return memory_store(self._name).snapshot()


class OnS3:
    def __init__(self, server: Any) -> None:
        self._client, self._bucket = server.client(), server.new_bucket()
        self.url = f"s3://{self._bucket}?endpoint_url={server.url}"

    def put(self, key: str, data: bytes, kind: str) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=kind)

    def read(self) -> dict[str, bytes]:
        found = self._client.list_objects_v2(Bucket=self._bucket).get("Contents", [])
        return {one["Key"]: self._client.get_object(Bucket=self._bucket, Key=one["Key"])["Body"].read() for one in found}


class OnGoogle:
    def __init__(self, server: Any) -> None:
        self._client = server.client()
        self._bucket = self._client.bucket(server.new_bucket())
        self.url = f"gs://{self._bucket.name}?endpoint_url={server.url}"

    def put(self, key: str, data: bytes, kind: str) -> None:
        self._bucket.blob(key).upload_from_string(data, content_type=kind)

    def read(self) -> dict[str, bytes]:
        return {blob.name: blob.download_as_bytes() for blob in self._client.list_blobs(self._bucket)}


class OnDisk:
    def __init__(self, top: Path) -> None:
        self.url, self._top = top.as_uri(), top

    def put(self, key: str, data: bytes, kind: str) -> None:
        at = self._top / key
        if key.endswith("/"):
            at.mkdir(parents=True, exist_ok=True)
        else:
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_bytes(data)

    def read(self) -> dict[str, bytes]:
        found = [(str(at.relative_to(self._top)), at) for at in self._top.rglob("*")]
        return {f"{name}/" if at.is_dir() else name: b"" if at.is_dir() else at.read_bytes() for name, at in found}


@pytest.fixture(scope="module")
def stores(minio, fake_gcs, tmp_path_factory) -> Iterator[dict[tuple[str, str], Any]]:
    """Each layout in a bucket of its own, as its package left it."""
    made: dict[tuple[str, str], Any] = {}
    names: list[str] = []
    for layout, place in HOMES:
        store: Any
        if place == "memory":
            names.append(f"moving-{secrets.token_hex(4)}")
            store = InMemory(names[-1])
        elif place == "file":
            store = OnDisk(tmp_path_factory.mktemp("osfs"))
        else:
            store = OnS3(minio) if place == "minio" else OnGoogle(fake_gcs)
        for key, data in LAYOUTS[layout].objects.items():
            store.put(key, data, LAYOUTS[layout].marker_type if key in LAYOUTS[layout].markers else "application/octet-stream")
        made[layout, place] = store
    yield made
    for name in names:
        drop_memory_store(name)


@pytest.fixture(scope="module")
def server(stores, minio, start_server):
    """One server that shows each of them, hidden names too, as a directory `<layout> <place>`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in minio.environment().items():
            patch.setenv(name, value)
        mounts = {f"{layout} {place}": store.url for (layout, place), store in stores.items()}
        yield start_server(config={"CloudContentsManager": {"mounts": mounts, "allow_hidden": True}})


@pytest.fixture(params=HOMES, ids=" ".join)
def home(request, server, stores) -> Iterator[Home]:
    """One of them; what the package left is there at the end of each test as it was."""
    layout, place = request.param
    opened = Home(server, f"{layout} {place}", LAYOUTS[layout], stores[request.param])
    before = opened.keys()
    assert before.keys() >= LAYOUTS[layout].objects.keys()
    yield opened
    after = opened.keys()
    assert {key: after.get(key) for key in before} == before


class Home:
    """A layout as a user of the server sees it."""

    def __init__(self, server: Any, path: str, layout: Layout, store: Any) -> None:
        self.server, self.path, self.layout, self.store = server, path, layout, store

    def keys(self) -> dict[str, bytes]:
        """What is in the store and not ours."""
        return {key: data for key, data in self.store.read().items() if ".cloudcontents" not in key}

    def ask(self, method: str, path: str, status: int = 200, **arguments: Any) -> Any:
        reply = self.server.request(method, f"/api/contents/{self.path}{'/' if path else ''}{path}", **arguments)
        assert reply.status == status, reply.body
        return reply.json if reply.body else None

    def walk(self, path: str = "") -> tuple[set[str], set[str]]:
        """Files and directories, as the file browser finds them."""
        files, directories = set(), set()
        for model in self.ask("GET", path)["content"]:
            name = model["path"].removeprefix(f"{self.path}/")
            if model["type"] == "directory":
                directories.add(name)
                files |= (below := self.walk(name))[0]
                directories |= below[1]
            else:
                files.add(name)
        return files, directories


def test_every_file_and_directory_shows_and_no_marker(home):
    assert home.walk() == (set(home.layout.files), home.layout.directories)
    for name, data in home.layout.files.items():
        reply = home.server.request("GET", f"/files/{home.path}/{name}")
        assert (reply.status, reply.body) == (200, data)
    assert [cell["source"] for cell in home.ask("GET", "top.ipynb")["content"]["cells"]] == ["1 + 1"]
    assert base64.b64decode(home.ask("GET", "analysis/raw.bin")["content"]) == RAW
    for name in home.layout.directories:
        assert home.ask("GET", name, query={"content": "0"})["type"] == "directory"


def test_working_on_goes_well(home):
    """A directory is renamed and back, with all that is in it; a file is saved, checkpointed and deleted."""
    empty = next((name for name in home.layout.directories if name.endswith("/empty")), None)
    home.ask("PATCH", "analysis", body={"path": f"{home.path}/study"})
    renamed = {name.replace("analysis", "study", 1) if name.startswith("analysis") else name for name in home.layout.files}
    files, directories = home.walk()
    assert files == renamed
    assert empty is None or "study/empty" in directories
    home.ask("PATCH", "study", body={"path": f"{home.path}/analysis"})
    model = {"type": "file", "format": "text", "content": "new"}
    for name in ("new.txt", "analysis/new.txt", *([f"{empty}/new.txt"] if empty else [])):
        home.ask("PUT", name, 201, body=model)
        home.ask("POST", f"{name}/checkpoints", 201)
        home.ask("DELETE", name, 204)
    assert home.walk() == (set(home.layout.files), home.layout.directories)


def test_old_checkpoints_of_jgscm_are_ordinary_files(server, stores, capfdbinary, tmp_path, monkeypatch):
    """Hidden by default, within reach of the command line, and a copy of one brings it back."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")
    store = stores["jgscm", "fake_gcs"]
    bucket, query = store.url.split("?")
    assert main(["ls", f"{bucket}/analysis/.ipynb_checkpoints?{query}"]) == 0
    assert capfdbinary.readouterr().out.decode() == f"{CHECKPOINT.rpartition('/')[2]}\n"
    assert main(["cp", f"{bucket}/{CHECKPOINT}?{query}", f"{bucket}/analysis/fit-old.ipynb?{query}"]) == 0
    assert store.read()["analysis/fit-old.ipynb"] == OLD
    assert main(["rm", f"{bucket}/analysis/fit-old.ipynb?{query}"]) == 0
    assert CHECKPOINT in store.read()


def test_old_checkpoints_of_s3contents_are_copied_in(stores, capfdbinary, tmp_path, minio, monkeypatch):
    """They are files on the old server's disk."""
    for name, value in minio.environment().items():
        monkeypatch.setenv(name, value)
    kept = tmp_path / "jupyter_checkpoints" / "analysis"
    kept.mkdir(parents=True)
    (kept / "fit-checkpoint.ipynb").write_bytes(OLD)
    store = stores["s3contents", "minio"]
    bucket, query = store.url.split("?")
    assert main(["cp", "-r", str(kept.parent), f"{bucket}/old checkpoints?{query}"]) == 0
    assert store.read()["old checkpoints/analysis/fit-checkpoint.ipynb"] == OLD
    assert main(["rm", "-r", f"{bucket}/old checkpoints?{query}"]) == 0
