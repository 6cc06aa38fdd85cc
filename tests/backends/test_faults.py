"""The fault wrapper: transparent without a plan, and each fault strikes where it was told to."""

import asyncio
import itertools
import signal
import subprocess
import sys

import pytest

from cloudcontents.backends import IF_ABSENT
from cloudcontents.backends.faults import Fault, FaultBackend
from cloudcontents.backends.memory import MemoryBackend, drop_memory_store
from cloudcontents.errors import NotFoundError, RateLimitedError, UnavailableError
from cloudcontents.testing import BackendConformance

_numbers = itertools.count()


@pytest.fixture
def inner():
    name = f"test-faults-{next(_numbers)}"
    yield MemoryBackend(name)
    drop_memory_store(name)


class TestWithoutAPlan(BackendConformance):
    @pytest.fixture
    def backend(self, inner):
        return FaultBackend(inner)


async def test_calls_are_counted(inner):
    backend = FaultBackend(inner)
    await backend.put("a", b"x")
    await backend.copy("a", "b")
    await backend.list("")
    await backend.delete_many([("a", None)])
    assert backend.calls == [("put", "a"), ("copy", "b"), ("list", ""), ("delete_many", "a")]
    assert (backend.count(), backend.count("put")) == (4, 1)
    backend.forget()
    assert backend.count() == 0


async def test_an_error_before_leaves_nothing_done(inner):
    backend = FaultBackend(inner, [Fault(lambda: RateLimitedError("slow down"), operation="put", nth=2)])
    await backend.put("a", b"x")
    with pytest.raises(RateLimitedError):
        await backend.put("b", b"x")
    await backend.put("c", b"x")
    assert [info.key for info in (await inner.list("")).objects] == ["a", "c"]


async def test_a_lost_reply_leaves_the_write_done(inner):
    backend = FaultBackend(inner, [Fault(lambda: UnavailableError("gone"), after=True, operation="put", key="b", nth=1)])
    await backend.put("a", b"x")
    with pytest.raises(UnavailableError):
        await backend.put("b", b"x", when=IF_ABSENT)
    assert (await inner.head("b")).size == 1


async def test_a_call_that_fails_by_itself_says_so(inner):
    backend = FaultBackend(inner, [Fault(lambda: UnavailableError("gone"), after=True)])
    with pytest.raises(NotFoundError):
        await backend.head("missing")


async def test_probabilities_follow_the_seed(inner):
    async def run(seed):
        backend = FaultBackend(inner, [Fault(lambda: UnavailableError("now and then"), probability=0.3)], seed=seed)
        results = await asyncio.gather(*(backend.list("") for _ in range(200)), return_exceptions=True)
        return [isinstance(result, UnavailableError) for result in results]

    one, again, other = await run(1), await run(1), await run(2)
    assert one == again != other
    assert 30 < sum(one) < 90


async def test_a_delay_lets_others_pass(inner):
    backend = FaultBackend(inner, [Fault(delay=0.01, key="slow")])
    order = []

    async def put(key):
        await backend.put(key, b"x")
        order.append(key)

    await asyncio.gather(put("slow"), put("fast"))
    assert order == ["fast", "slow"]


@pytest.mark.parametrize(("after", "kept"), [(False, False), (True, True)])
def test_a_kill_ends_the_process(tmp_path, after, kept):
    code = f"""
import asyncio
from cloudcontents.backends.faults import Fault, FaultBackend
from cloudcontents.backends.local import LocalBackend

async def main():
    backend = FaultBackend(LocalBackend({str(tmp_path)!r}), [Fault(kill=True, after={after}, operation="put", nth=2)])
    await backend.put("a", b"x")
    await backend.put("b", b"x")
    await backend.put("c", b"x")

asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert ((tmp_path / "a").exists(), (tmp_path / "b").exists(), (tmp_path / "c").exists()) == (True, kept, False)
