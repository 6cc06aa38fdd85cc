"""The memory backend: the suite, and what tests may ask of its stores."""

import itertools

import pytest

from cloudcontents.backends import LocalPath, Rename
from cloudcontents.backends.memory import MemoryBackend, drop_memory_store, memory_store
from cloudcontents.errors import ConfigurationError
from cloudcontents.registry import open_backend
from cloudcontents.testing import BackendConformance

_numbers = itertools.count()


@pytest.fixture
def name():
    name = f"test-memory-{next(_numbers)}"
    yield name
    drop_memory_store(name)


class TestMemory(BackendConformance):
    @pytest.fixture
    def backend(self, name):
        return open_backend(f"memory://{name}")

    @pytest.fixture
    def second_backend(self, name):
        return MemoryBackend(name)


async def test_two_backends_of_one_name_share_a_store(name):
    await MemoryBackend(name).put("a", b"x")
    assert memory_store(name).snapshot() == {"a": b"x"}
    memory_store(name).clear()
    assert (await MemoryBackend(name).list("")).objects == []


async def test_a_dropped_store_is_forgotten(name):
    await MemoryBackend(name).put("a", b"x")
    drop_memory_store(name)
    assert memory_store(name).snapshot() == {}


async def test_versions_increase_over_all_stores(name):
    one = await MemoryBackend(name).put("a", b"x")
    two = await MemoryBackend(f"{name}-other").put("a", b"x")
    drop_memory_store(f"{name}-other")
    assert one.version < two.version


async def test_a_page_holds_a_thousand_entries(name):
    backend = MemoryBackend(name)
    for n in range(2500):
        await backend.put(f"k/{n:04d}", b"")
    page = await backend.list("k/", page_size=5000)
    assert (len(page.objects), page.next_token is None) == (1000, False)
    many_below = await backend.list("", delimiter="/")
    assert ([info.key for info in many_below.prefixes], many_below.next_token) == (["k/"], None)


def test_it_cannot_rename(name):
    # So that the tree's copy and delete, with its journal, is what tests on memory run.
    assert not isinstance(MemoryBackend(name), Rename)
    assert not isinstance(MemoryBackend(name), LocalPath)


@pytest.mark.parametrize("url", ["memory://", "memory:///x", "memory://x?create=true", "memory://x/../y"])
def test_wrong_urls(url):
    with pytest.raises(ConfigurationError):
        open_backend(url)
