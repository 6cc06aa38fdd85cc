"""The local backend under kill -9 at each step, and between processes."""

import subprocess
import sys
import textwrap

import pytest

# Runs in a process of its own, which forks one child for each step: the child is killed before the n-th call that changes
# anything, and what it leaves is looked at. Ends when a child got through.
KILLER = """
import asyncio, itertools, os, shutil, signal, sys
from cloudcontents.backends import IF_ABSENT, IfVersion, SizedStream
from cloudcontents.backends.local import LocalBackend

scenario, base = sys.argv[1:]
CALLS = ["open", "write", "fsync", "utime", "fchmod", "replace", "link", "unlink", "mkdir", "rename", "rmdir", "copy_file_range"]
OLD, NEW = b"o" * 3000, b"n" * 5000

def arm(n):
    seen = itertools.count(1)
    def wrap(real):
        def call(*args, **options):
            # Opening what exists changes nothing: the state before it is the state before the next call.
            if (real is not opening or args[1] & os.O_CREAT) and next(seen) == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)
        return call
    opening = os.open
    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))

async def chunks():
    for at in range(0, len(NEW), 1000):
        yield NEW[at : at + 1000]

async def act(backend):
    if scenario == "replace":
        await backend.put("d/f", NEW, metadata={"is": "new"})
    elif scenario == "swap":
        info = await backend.head("d/f")
        await backend.put("d/f", SizedStream(chunks(), len(NEW)), when=IfVersion(info.version), metadata={"is": "new"})
    elif scenario == "create":
        await backend.put("new/e/f", NEW, when=IF_ABSENT, metadata={"is": "new"})
    elif scenario == "copy":
        await backend.copy("n", "d/f")
    elif scenario == "rename":
        await backend.rename("d/f", "d/g")
    elif scenario == "rename-directory":
        await backend.rename("d/", "new/")

async def see(backend, key):
    try:
        async with await backend.get(key) as reader:
            return b"".join([piece async for piece in reader]), dict(reader.info.metadata)
    except FileNotFoundError:
        return None

async def look(backend, finished):
    old, new = (OLD, {"is": "old"}), (NEW, {"is": "new"})
    f, g, e, moved = [await see(backend, key) for key in ("d/f", "d/g", "new/e/f", "new/f")]
    if scenario in ("replace", "swap", "copy"):
        assert f in ([new] if finished else [old, new]), f
    elif scenario == "create":
        assert f == old and e in ([new] if finished else [None, new]), e
    elif scenario == "rename":
        assert [x[0] for x in (f, g) if x], "the object is lost"
        assert all(x[0] == OLD for x in (f, g) if x)
        assert not finished or (f is None and g == old), (f, g)
    elif scenario == "rename-directory":
        assert [x[0] for x in (f, moved) if x] == [OLD], (f, moved)
        assert not finished or moved == old, moved
    shown = [i.key for i in (await backend.list("")).objects if not i.key.startswith(".cloudcontents") and i.key[-1] != "/"]
    assert set(shown) <= {"d/f", "d/g", "n", "new/e/f", "new/f"}, shown
    await backend.put("d/f", b"again")
    assert (await see(backend, "d/f"))[0] == b"again"

async def prepare(backend):
    await backend.put("d/f", OLD, metadata={"is": "old"})
    await backend.put("n", NEW, metadata={"is": "new"})

async def run(work, *args):
    backend = LocalBackend(base, create=True)
    try:
        await work(backend, *args)
    finally:
        await backend.close()

for n in itertools.count(1):
    shutil.rmtree(base, ignore_errors=True)
    if os.fork() == 0:
        asyncio.run(run(prepare))
        os._exit(0)
    assert os.wait()[1] == 0
    if os.fork() == 0:
        arm(n)
        asyncio.run(run(act))
        os._exit(0)
    status = os.wait()[1]
    assert status in (0, signal.SIGKILL), status
    check = os.fork()
    if check == 0:
        asyncio.run(run(look, status == 0))
        os._exit(0)
    assert os.wait()[1] == 0, f"after step {n}"
    if status == 0:
        print(n - 1)
        break
"""


@pytest.mark.parametrize("scenario", ["replace", "swap", "create", "copy", "rename", "rename-directory"])
def test_killed_at_each_step(tmp_path, scenario):
    done = subprocess.run(
        [sys.executable, "-c", KILLER, scenario, str(tmp_path / "bucket")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 6, "hardly any step was found to kill at"


def run_processes(code, count, *arguments):
    """Start processes that wait for each other, and give what each one printed."""
    processes = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(n), *arguments], stdout=subprocess.PIPE, text=True)
        for n in range(count)
    ]
    printed = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    return printed


def test_counter_of_two_processes_with_four_workers_each(tmp_path):
    code = """
        import asyncio, sys
        from cloudcontents.backends import IfVersion, IF_ABSENT
        from cloudcontents.backends.local import LocalBackend
        from cloudcontents.errors import AlreadyExistsError, ConflictError

        async def work(backend):
            done = 0
            while done < 100:
                async with await backend.get("counter") as reader:
                    value = int(b"".join([piece async for piece in reader]))
                try:
                    await backend.put("counter", b"%d" % (value + 1), when=IfVersion(reader.info.version))
                    done += 1
                except ConflictError:
                    pass

        async def main():
            backend = LocalBackend(sys.argv[2], create=True)
            try:
                await backend.put("counter", b"0", when=IF_ABSENT)
            except AlreadyExistsError:
                pass
            await asyncio.gather(*(work(backend) for _ in range(4)))
            await backend.close()

        asyncio.run(main())
    """
    run_processes(code, 2, str(tmp_path / "bucket"))
    assert (tmp_path / "bucket/counter").read_bytes() == b"800"


def test_creation_race_of_four_processes_with_four_workers_each(tmp_path):
    code = """
        import asyncio, sys
        from cloudcontents.backends import IF_ABSENT
        from cloudcontents.backends.local import LocalBackend
        from cloudcontents.errors import AlreadyExistsError

        async def main():
            backend = LocalBackend(sys.argv[2], create=True)
            # Everybody is at the start before anybody goes.
            await backend.put(f"ready/{sys.argv[1]}", b"")
            while len((await backend.list("ready/", delimiter="/")).objects) < 5:
                await asyncio.sleep(0.01)
            for turn in range(40):
                results = await asyncio.gather(
                    *(backend.put(f"race/{turn}", b"x", when=IF_ABSENT) for _ in range(4)), return_exceptions=True
                )
                won = [result for result in results if not isinstance(result, AlreadyExistsError)]
                assert not [result for result in won if isinstance(result, BaseException)], won
                for _ in won:
                    print(turn)
            await backend.close()

        asyncio.run(main())
    """
    winners = run_processes(code, 4, str(tmp_path / "bucket"))
    assert sorted(int(turn) for turns in winners for turn in turns) == list(range(40))
