"""Fixtures: the flat store of these tests, crashes played out by the worker program, and real servers to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloudcontents import journal
from cloudcontents.backends.faults import FaultBackend
from cloudcontents.backends.memory import MemoryBackend, drop_memory_store, memory_store
from cloudcontents.namespace import Namespace
from rig.jupyter import JupyterServer

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def flat_store():
    """The module of the flat store, as the worker imports it."""
    spec = importlib.util.spec_from_file_location("flat_store", HERE / "flat_store.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def play(tmp_path):
    """Plays operations, each once unharmed and then once for each crash; by operation: what stood before and after, and the cases."""

    def run(store, operations, *, again=False, only=None):
        seed = secrets.randbits(32)
        print(f"crashes chosen with seed {seed}")
        task = {"store": store, "operations": operations, "again": again, "only": only, "seed": seed}
        task |= {"directory": str(tmp_path), "result": str(tmp_path / "result.json")}
        program = [sys.executable, "-W", "ignore", str(HERE / "worker.py")]
        done = subprocess.run(program, input=json.dumps(task), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "result.json").read_text())

    return run


class StoppedBackend(FaultBackend):
    """A backend whose process stands still, or is dead, from one of its calls on.

    Attributes:
        reached: Set when it stands still.
    """

    def __init__(self, inner, nth=None, *, after=False):
        super().__init__(inner)
        self.nth, self.after = nth, after
        self.reached, self._going = asyncio.Event(), asyncio.Event()
        self._dead = False
        self._failure = None

    def go_on(self, failure=None):
        """Wake it up; the calls that stood still fail with this, if given, without having been made."""
        self._failure = failure
        self.nth = None
        self._going.set()

    def die(self):
        """Nothing of it ever reaches the store again. The task that made its calls is to be cancelled."""
        self._dead = True

    async def _call(self, operation, key, call, undo=None):
        if self._dead:
            raise asyncio.CancelledError
        self.calls.append((operation, key))
        number = len(self.calls)
        stopped = self.nth is not None and number >= self.nth
        first = stopped and number == self.nth
        result = await call() if first and self.after else None
        if stopped:
            self.reached.set()
            await self._going.wait()
            if self._failure is not None:
                raise self._failure
        return result if first and self.after else await call()


class Clock:
    """The time by which leases are judged, moved by the test."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time_ns(self):
        return time.time_ns()


@pytest.fixture
def clock(monkeypatch):
    """The journal's clock; nothing in a test waits for real time."""
    made = Clock()
    monkeypatch.setattr(journal, "time", made)
    return made


@pytest.fixture
def store():
    """A memory store by the name in its URL, forgotten afterwards."""
    name = f"crash-{secrets.token_hex(4)}"
    yield memory_store(name)
    drop_memory_store(name)


@pytest.fixture
def server(store):
    """Makes servers on the store: `server(nth, after=…, host=…)`; each stops at its nth call. A server of another host cannot be judged."""

    def make(nth=None, *, after=False, host=None, dead=False):
        faults = StoppedBackend(MemoryBackend(store.name), nth, after=after)
        whole = Namespace(faults).mounts[0]
        mount = SimpleNamespace(bucket=whole.bucket, journal=whole.journal, tree=whole.tree, trash=whole.trash, faults=faults)
        mount.journal.lease = 3000.0  # no heartbeat of its own while a test runs
        if host is not None:
            mount.journal._owner["host"] = host
        if dead:
            mount.journal._owner |= {"pid": 2**22 + 1, "start": "1"}
        return mount

    return make


@pytest.fixture
def crash():
    """Runs something until its server stands still, and kills it there; True if it was finished before."""

    async def run(mount, work):
        task = asyncio.ensure_future(work)
        standing = asyncio.ensure_future(mount.faults.reached.wait())
        await asyncio.wait([task, standing], return_when=asyncio.FIRST_COMPLETED)
        standing.cancel()
        if task.done():
            await task
            return True
        mount.faults.die()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return False

    return run


class Outside:
    """A bucket as another program sees it: by the store's own SDK, past our code.

    Args:
        server: The server of the rig.
        bucket: The bucket's name on it.
    """

    def __init__(self, server, bucket):
        self.server, self.bucket = server, bucket
        self._sdk = server.client()
        if server.dialect == "gcs":
            self._gcs = self._sdk.bucket(bucket)
        if server.dialect == "azure":
            self._azure = self._sdk.get_container_client(bucket)

    def list(self, prefix=""):
        """Sizes by key; no directory markers."""
        return {key: size for key, size in self._listed(prefix) if not key.endswith("/")}

    def clear(self):
        """Delete everything, markers too."""
        for key, _ in self._listed(""):
            self.delete(key)

    def _listed(self, prefix):
        if self.server.dialect == "s3":
            pages = self._sdk.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return [(item["Key"], item["Size"]) for page in pages for item in page.get("Contents", ())]
        if self.server.dialect == "gcs":
            return [(blob.name, blob.size) for blob in self._sdk.list_blobs(self.bucket, prefix=prefix)]
        return [(blob.name, blob.size) for blob in self._azure.list_blobs(name_starts_with=prefix)]

    def put(self, key, data):
        if self.server.dialect == "s3":
            self._sdk.put_object(Bucket=self.bucket, Key=key, Body=data)
        elif self.server.dialect == "gcs":
            self._gcs.blob(key).upload_from_string(data, content_type="application/octet-stream", checksum=None)
        else:
            self._azure.upload_blob(key, data, overwrite=True)

    def read(self, key):
        if self.server.dialect == "s3":
            return self._sdk.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        if self.server.dialect == "gcs":
            return self._gcs.blob(key).download_as_bytes(checksum=None)
        return self._azure.download_blob(key).readall()

    def delete(self, key):
        if self.server.dialect == "s3":
            self._sdk.delete_object(Bucket=self.bucket, Key=key)
        elif self.server.dialect == "gcs":
            self._gcs.blob(key).delete()
        else:
            self._azure.delete_blob(key)

    def put_all(self, contents):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: self.put(*item), contents.items()))

    def read_all(self, keys):
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(keys, pool.map(self.read, keys), strict=True))

    def close(self):
        self._sdk.close()


@pytest.fixture
def outside(request, bucket_on):
    """Opens a new bucket of a server by its name, and looks at it from outside: `outside("minio")`; its `url` is for a server of ours."""
    opened = []

    def make(name):
        url = bucket_on(name)
        opened.append(Outside(request.getfixturevalue(name), url.rpartition("/")[2]))
        opened[-1].url = url
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def jupyter(tmp_path):
    """Makes a Jupyter server in a process of its own: `jupyter(url=…)`, not started yet. Killed at the end."""
    made = []

    def make(**settings):
        home = tmp_path / f"server-{len(made)}"
        home.mkdir()
        made.append(JupyterServer(home, settings))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def killed():
    """Lets a server rename something and kills it at a moment: `killed(server, old, new, seconds)`; the status of its answer, or None."""

    def run(server, old, new, seconds):
        session = server.session(600)
        answers = []

        def ask():
            with contextlib.suppress(OSError, http.client.HTTPException):
                answers.append(session.rename(old, new).status)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(seconds)  # the moment itself, not a wait for something
        os.kill(server.pid, signal.SIGKILL)
        asking.join()
        server.kill()
        return answers[0] if answers else None

    return run


@pytest.fixture
def chance():
    """Random numbers of a seed that is printed."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return random.Random(seed)
