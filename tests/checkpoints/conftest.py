"""Fixtures: a bucket of each kind, a manager that has nothing but a namespace, and a count of the requests made to the store."""

from __future__ import annotations

import secrets
from collections import Counter

import pytest
from traitlets import Bool
from traitlets.config import LoggingConfigurable

from cloudcontents.backends.memory import drop_memory_store
from cloudcontents.bucket import Bucket
from cloudcontents.checkpoints import BucketCheckpoints
from cloudcontents.namespace import Namespace
from cloudcontents.registry import open_backend


class StubManager(LoggingConfigurable):
    """What checkpoints need of a manager of ours."""

    allow_hidden = Bool(False)

    def __init__(self, url: str) -> None:
        super().__init__()
        self.namespace = Namespace(open_backend(url))

    @property
    def bucket(self) -> Bucket:
        return self.namespace.mounts[0].bucket


class Requests(Counter[str]):
    """Requests by operation; `of(bucket)` begins to count those of a bucket."""

    def of(self, bucket: Bucket) -> Requests:
        backend = bucket.backend
        for name in ("list", "head", "get", "put", "copy", "delete", "delete_many", "rename"):
            inner = getattr(backend, name, None)
            if inner is not None:
                setattr(backend, name, self._counted(name, inner))
        return self

    def _counted(self, name, inner):
        async def call(*args, **kwargs):
            self[name] += 1
            return await inner(*args, **kwargs)

        return call


@pytest.fixture
def memory_url():
    name = f"checkpoints-{secrets.token_hex(4)}"
    yield f"memory://{name}"
    drop_memory_store(name)


@pytest.fixture(params=["memory", "file"])
def url(request, memory_url, tmp_path):
    if request.param == "memory":
        return memory_url
    (tmp_path / "bucket").mkdir()
    return f"file://{tmp_path}/bucket"


@pytest.fixture(params=["memory", "file"])
def other_url(request, tmp_path):
    """Another bucket than `url`."""
    if request.param == "file":
        (tmp_path / "other").mkdir()
        yield f"file://{tmp_path}/other"
        return
    name = f"other-{secrets.token_hex(4)}"
    yield f"memory://{name}"
    drop_memory_store(name)


@pytest.fixture
def manager(url, jp_asyncio_loop):
    stub = StubManager(url)
    yield stub
    jp_asyncio_loop.run_until_complete(stub.namespace.close())


@pytest.fixture
def bucket(manager):
    return manager.bucket


@pytest.fixture
def checkpoints(manager):
    return BucketCheckpoints(parent=manager)


@pytest.fixture
def requests(bucket):
    return Requests().of(bucket)


@pytest.fixture
def text(bucket):
    """Reads an object's content."""

    async def read(key: str) -> bytes:
        return (await bucket.read(key))[1]

    return read
