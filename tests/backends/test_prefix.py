"""The prefix wrapper: the suite on a backend below a prefix, and what lies beside the prefix untouched."""

import itertools

import pytest

from cloudcontents.backends import BulkDelete, LocalPath, Rename
from cloudcontents.backends.local import LocalBackend
from cloudcontents.backends.memory import MemoryBackend, drop_memory_store, memory_store
from cloudcontents.backends.prefix import PrefixBackend
from cloudcontents.registry import open_backend
from cloudcontents.testing import BackendConformance

_numbers = itertools.count()


@pytest.fixture
def name():
    name = f"test-prefix-{next(_numbers)}"
    yield name
    drop_memory_store(name)


class TestPrefix(BackendConformance):
    """Beside the prefix lie names that a comparison by characters would take for its own."""

    beside = {"team": b"1", "team2/a": b"2", "team.csv": b"3", "tea": b"4", "team/aa/x": b"5", "team/": b"", "team/a": b"6"}

    @pytest.fixture
    def backend(self, name):
        return open_backend(f"memory://{name}/team/a")

    @pytest.fixture
    def second_backend(self, name):
        return PrefixBackend(MemoryBackend(name), "team/a")

    @pytest.fixture(autouse=True)
    def _canaries(self, name):
        import asyncio

        for key, data in self.beside.items():
            asyncio.run(MemoryBackend(name).put(key, data))
        yield
        left = {key: data for key, data in memory_store(name).snapshot().items() if not key.startswith("team/a/")}
        assert left == self.beside


class TestPrefixOnFiles(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path):
        return PrefixBackend(LocalBackend(str(tmp_path)), "team/a")


async def test_the_prefixs_own_marker_is_not_an_object(name):
    inner = MemoryBackend(name)
    await inner.put("team/", b"")
    await inner.put("team/f", b"x")
    backend = PrefixBackend(inner, "team")
    assert [info.key for info in (await backend.list("")).objects] == ["f"]
    assert [info.key for info in (await backend.list("", delimiter="/")).objects] == ["f"]


def test_it_has_the_protocols_of_what_it_wraps(name, tmp_path):
    for inner in (MemoryBackend(name), LocalBackend(str(tmp_path))):
        backend = PrefixBackend(inner, "a")
        for protocol in (BulkDelete, Rename, LocalPath):
            assert isinstance(backend, protocol) == isinstance(inner, protocol)


def test_url_and_limits(name):
    backend = open_backend(f"memory://{name}/team%20one/a")
    assert backend.url == f"memory://{name}/team%20one/a"
    assert backend.capabilities.max_key_bytes == 1024 - len("team one/a/")


async def test_an_answer_from_outside_the_prefix_is_refused(name):
    class Broken(MemoryBackend):
        async def head(self, key):
            return await super().head("elsewhere")

    inner = Broken(name)
    await inner.put("elsewhere", b"x")
    with pytest.raises(RuntimeError, match="outside its prefix"):
        await PrefixBackend(inner, "a").head("f")
