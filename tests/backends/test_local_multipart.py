"""Uploads in parts on disk: nothing is copied, markers tell the truth wherever a process is killed, and two processes never mix."""

import asyncio
import errno
import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from cloudcontents.backends import IF_ABSENT, IfVersion, Multipart, ReadParts, Upload
from cloudcontents.backends import local_staging as staging
from cloudcontents.backends.local import LocalBackend
from cloudcontents.bucket import Bucket
from cloudcontents.errors import (
    AlreadyExistsError,
    ChecksumError,
    ConflictError,
    InvalidContentError,
    NotFoundError,
    PartsChangedError,
    QuotaError,
)
from cloudcontents.parts import Parts
from cloudcontents.registry import open_backend

SIZE = 4096
PLACE = ".cloudcontents/uploads/u1/parts"
ONE, TWO, LAST = b"1" * SIZE, b"2" * SIZE, b"the rest"


def sha256(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "bucket"
    root.mkdir()
    return root


@pytest.fixture
def backend(root):
    backend = LocalBackend(str(root))
    yield backend
    asyncio.run(backend.close())


@pytest.fixture
def upload(backend):
    return asyncio.run(backend.begin("d/f", place=PLACE, part_size=SIZE))


async def put(backend, upload, **pieces):
    return [await backend.put_part(upload, int(name[1:]), data, checksum=sha256(data)) for name, data in pieces.items()]


def below(root, name):
    return sorted(str(path.relative_to(root)) for path in (root / name).rglob("*") if not path.is_dir())


async def test_protocols(root):
    for backend in (LocalBackend(str(root)), open_backend(f"file://{root}")):
        assert isinstance(backend, Multipart)
        assert isinstance(backend, ReadParts)


async def test_the_file_is_renamed_not_copied(backend, root, upload):
    await put(backend, upload, p3=LAST, p1=ONE)
    staged = root / PLACE / "data"
    inode = staged.stat().st_ino
    assert staged.stat().st_size == 2 * SIZE + len(LAST)
    assert staged.stat().st_blocks * 512 < 2 * SIZE + len(LAST) + SIZE, "what is not there yet takes no space"
    assert stat.S_IMODE(staged.stat().st_mode) == 0o600, "nobody else reads it before its time"
    await put(backend, upload, p2=TWO)
    info = await backend.complete(upload, await backend.list_parts(upload))
    assert ((root / "d/f").stat().st_ino, (root / "d/f").read_bytes()) == (inode, ONE + TWO + LAST)
    assert (info.version, info.size) == ((await backend.head("d/f")).version, 2 * SIZE + len(LAST))
    assert not (root / PLACE).parent.exists()


async def test_mode_and_owner_are_those_of_a_file_that_is_saved(backend, root, upload):
    old = os.umask(0o027)
    try:
        other = await backend.begin("new", place=PLACE.replace("u1", "u2"), part_size=SIZE)
    finally:
        os.umask(old)
    (root / "d").mkdir()
    (root / "d/f").write_bytes(b"old")
    (root / "d/f").chmod(0o640)
    if os.geteuid() == 0:
        os.chown(root / "d/f", 1234, 1235)
    for begun in (upload, other):
        await backend.complete(begun, await put(backend, begun, p1=LAST), metadata={"is": "new"}, content_type="text/x")
    assert stat.S_IMODE((root / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((root / "d/f").stat().st_mode) == 0o640
    if os.geteuid() == 0:
        assert ((root / "d/f").stat().st_uid, (root / "d/f").stat().st_gid) == (1234, 1235)
    info = await backend.head("d/f")
    assert (info.content_type, info.metadata) == ("text/x", {"is": "new"})


async def test_a_failed_condition_leaves_the_upload_as_it_was(backend, root, upload):
    await backend.put("d/f", b"another's")
    parts = await put(backend, upload, p1=ONE, p2=LAST)
    for when, refused in ((IF_ABSENT, AlreadyExistsError), (IfVersion("0-0-0"), ConflictError)):
        with pytest.raises(refused):
            # Of fewer parts than are held: none of the others is dropped.
            await backend.complete(upload, parts[:1], when=when)
    assert list(await backend.list_parts(upload)) == parts
    assert stat.S_IMODE((root / PLACE / "data").stat().st_mode) == 0o600
    assert [b async for b in backend.read_part(upload, parts[1])] == [LAST]
    assert (await backend.complete(upload, parts[:1])).size == SIZE
    assert (root / "d/f").read_bytes() == ONE


async def test_a_shorter_part_in_the_middle_makes_no_hole(backend, root, upload):
    parts = await put(backend, upload, p1=LAST, p2=ONE)
    with pytest.raises(InvalidContentError, match="4096"):
        await backend.complete(upload, parts)
    with pytest.raises(InvalidContentError):
        await backend.complete(upload, parts[1:])
    assert not (root / "d/f").exists()


async def test_more_bytes_than_a_part_has_would_be_the_next_ones(backend, upload):
    await put(backend, upload, p2=TWO)
    for data in (ONE + b"x", b""):
        with pytest.raises(InvalidContentError, match="4096"):
            await put(backend, upload, p1=data)
    assert [part.number for part in await backend.list_parts(upload)] == [2]


async def test_a_part_is_shorter_than_the_one_it_replaces(backend, root, upload):
    await put(backend, upload, p1=ONE, p2=TWO)
    parts = await put(backend, upload, p1=ONE, p2=LAST)
    await backend.complete(upload, parts)
    assert (root / "d/f").read_bytes() == ONE + LAST


async def test_bytes_that_rotted_are_written_again_and_others_are_not(backend, root, upload):
    await put(backend, upload, p1=ONE)
    data, marker = root / PLACE / "data", root / PLACE / "0000001"
    written = marker.stat().st_mtime_ns
    await put(backend, upload, p1=ONE)
    assert marker.stat().st_mtime_ns == written
    data.write_bytes(ONE[:-1] + b"?")
    parts = await put(backend, upload, p1=ONE)
    assert data.read_bytes() == ONE
    await backend.complete(upload, parts)


async def test_a_marker_that_tells_more_than_there_is(backend, root, upload):
    await put(backend, upload, p1=ONE, p2=TWO)
    os.truncate(root / PLACE / "data", SIZE + 1)
    (root / PLACE / "0000003").write_bytes(f"8 {sha256(LAST)}".encode())
    assert [part.number for part in await backend.list_parts(upload)] == [1]


async def test_what_has_become_its_object_is_no_upload(backend, root, upload):
    parts = await put(backend, upload, p1=ONE)
    # As a kill between taking the name and giving up the other one leaves it.
    (root / "d").mkdir()
    os.link(root / PLACE / "data", root / "d/f")
    for call in (
        backend.put_part(upload, 1, TWO, checksum=sha256(TWO)),
        backend.list_parts(upload),
        backend.complete(upload, parts),
    ):
        with pytest.raises(NotFoundError, match="upload"):
            await call
    await backend.abort(upload)
    assert (root / "d/f").read_bytes() == ONE
    assert below(root, ".cloudcontents/uploads") == []


async def test_a_completion_that_is_repeated_is_known_by_its_write_id(backend, upload):
    parts, mine = await put(backend, upload, p1=ONE), {"cc-write": "mine"}
    portable = Parts(Bucket(backend))
    info = await portable.complete(upload, parts, when=IF_ABSENT, metadata=mine)
    assert (await portable.complete(upload, parts, when=IF_ABSENT, metadata=mine)).version == info.version
    with pytest.raises(NotFoundError):
        await portable.complete(upload, parts, when=IF_ABSENT, metadata={"cc-write": "another's"})


async def test_nothing_comes_back_after_an_abort(backend, root, upload):
    await put(backend, upload, p1=ONE)
    await backend.abort(Upload("d/f", PLACE, "", 0))
    with pytest.raises(NotFoundError):
        await put(backend, upload, p1=ONE)
    assert not (root / PLACE).parent.exists()
    assert (root / ".cloudcontents/uploads").exists()
    assert not (root / "d").exists()


async def test_a_wrong_checksum_and_a_full_disk_leave_the_part_that_was(backend, root, upload, monkeypatch):
    old = await put(backend, upload, p1=ONE)
    with pytest.raises(ChecksumError):
        await backend.put_part(upload, 1, TWO, checksum=sha256(ONE))
    assert list(await backend.list_parts(upload)) == old

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    for call in ("pwrite", "fsync"):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, full)
            with pytest.raises(QuotaError):
                await put(backend, upload, p2=TWO)
        assert list(await backend.list_parts(upload)) == old
    parts = await put(backend, upload, p1=ONE, p2=TWO)
    await backend.complete(upload, parts)
    assert (root / "d/f").read_bytes() == ONE + TWO


async def test_a_part_that_is_replaced_while_it_is_read(root, backend):
    upload = await backend.begin("f", place=PLACE, part_size=4 << 20)
    old, new = b"o" * (4 << 20), b"n" * (4 << 20)
    (part,) = await put(backend, upload, p1=old)
    pieces = backend.read_part(upload, part)
    assert set(await anext(pieces)) == {ord("o")}
    await put(backend, upload, p1=new)
    with pytest.raises(PartsChangedError):
        await anext(pieces)


async def test_the_sweep_leaves_uploads_alone(backend, root, upload):
    parts = await put(backend, upload, p1=ONE)
    long_ago = time.time() - 30 * 24 * 3600
    for path in root.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    await backend.sweep()
    assert list(await backend.list_parts(upload)) == parts
    await backend.complete(upload, parts)


async def test_the_target_on_another_device_is_staged_beside_it(backend, root, monkeypatch):
    """Told by the kernel only, or seen before: the upload survives a failure, and nothing of it is left in either place."""
    (root / "mnt").mkdir()
    upload = await backend.begin("mnt/f", place=PLACE, part_size=SIZE)
    parts = await put(backend, upload, p1=ONE)
    real, refused = os.replace, []

    def replace(src, dst, **options):
        if src == "data" and not refused:
            refused.append(src)
            raise OSError(errno.EXDEV, "another device")
        return real(src, dst, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        patched.setattr(staging, "_copy", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(QuotaError):
            await backend.complete(upload, parts)
        assert list(await backend.list_parts(upload)) == parts
    refused.clear()
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        await backend.complete(upload, parts)
    assert refused
    assert (root / "mnt/f").read_bytes() == ONE
    assert below(root, "mnt") == ["mnt/f"]
    assert not (root / PLACE).parent.exists()

    beside = Upload("mnt/g", PLACE, "1", SIZE)
    (root / "mnt" / PLACE).mkdir(parents=True)
    for name in ("data", "lock"):
        (root / "mnt" / PLACE / name).touch()
    await backend.complete(beside, await put(backend, beside, p1=TWO))
    assert [str(path.relative_to(root)) for path in sorted((root / "mnt").rglob("*"))] == ["mnt/f", "mnt/g"]


async def test_bytes_are_durable_before_their_marker_and_the_marker_before_the_answer(backend, root, upload, monkeypatch):
    """In the order that a power cut would see, also where a part takes another one's place."""
    await put(backend, upload, p1=ONE)
    seen = []

    def wrap(name, real):
        def call(file, *args, **options):
            seen.append((name, os.path.basename(os.readlink(f"/proc/self/fd/{file}"))))
            return real(file, *args, **options)

        return call

    for name in ("pwrite", "fsync", "ftruncate"):
        monkeypatch.setattr(os, name, wrap(name, getattr(os, name)))
    await put(backend, upload, p1=TWO)
    assert seen == [
        ("ftruncate", "0000001"),
        ("fsync", "0000001"),
        ("pwrite", "data"),
        ("fsync", "data"),
        ("pwrite", "0000001"),
        ("fsync", "0000001"),
        ("fsync", "parts"),
    ]


# Runs in a process of its own, which forks one child for each step: the child is killed before the n-th call that changes
# anything, and what it leaves is looked at. Ends when a child got through.
KILLER = """
import asyncio, hashlib, itertools, os, shutil, signal, sys
from cloudcontents.backends import IF_ABSENT, IfVersion, Upload
from cloudcontents.backends.local import LocalBackend
from cloudcontents.errors import NotFoundError

scenario, base = sys.argv[1:]
CALLS = ["open", "write", "pwrite", "fsync", "utime", "fchmod", "ftruncate", "replace", "link", "unlink", "mkdir", "rmdir"]
SIZE, PLACE = 3000, ".cloudcontents/uploads/u1/parts"
OLD, NEW, TAIL = b"o" * SIZE, b"n" * SIZE, b"tail"
UPLOAD = Upload("d/f", PLACE, "0", SIZE)
MINE = {"is": "mine"}
sha256 = lambda data: "sha256:" + hashlib.sha256(data).hexdigest()

def arm(n):
    seen = itertools.count(1)
    def wrap(real):
        def call(*args, **options):
            # Opening what exists changes nothing: the state before it is the state before the next call.
            if (real is not opening or args[1] & os.O_CREAT) and next(seen) == n:
                if real is writing:
                    real(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)
        return call
    opening, writing = os.open, os.pwrite
    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))

async def put(backend, number, data):
    return await backend.put_part(UPLOAD, number, data, checksum=sha256(data))

async def act(backend):
    if scenario == "begin":
        await backend.begin("d/f", place=PLACE, part_size=SIZE)
    elif scenario == "put":
        await put(backend, 3, NEW)
    elif scenario == "replace":
        await put(backend, 1, NEW)
    elif scenario == "same":
        await put(backend, 1, OLD)
    elif scenario == "abort":
        await backend.abort(UPLOAD)
    else:
        # Of one part less than is held: the other one is cut off.
        parts = (await backend.list_parts(UPLOAD))[:1]
        when = IF_ABSENT if scenario == "create" else IfVersion((await backend.head("d/f")).version)
        await backend.complete(UPLOAD, parts, when=when, metadata=MINE)

async def see(backend):
    try:
        async with await backend.get("d/f") as reader:
            return b"".join([piece async for piece in reader]), dict(reader.info.metadata)
    except FileNotFoundError:
        return None

async def check_whole(backend, parts):
    for part in parts:
        data = b"".join([piece async for piece in backend.read_part(UPLOAD, part)])
        assert (len(data), sha256(data)) == (part.size, part.checksum), "a part that is not whole"

async def look(backend, finished):
    before, after = (None if scenario == "create" else (b"before", {})), (OLD, MINE)
    found = await see(backend)
    completing = scenario in ("create", "swap")
    assert found in ([after] if finished and completing else [before, after] if completing else [before]), found
    try:
        held = {part.number: part for part in await backend.list_parts(UPLOAD)}
    except NotFoundError:
        held = None
        assert found == after or scenario in ("abort", "begin")
        assert not (finished and scenario == "begin")
    else:
        assert not (found == after or (finished and scenario == "abort")), "it is still there"
        await check_whole(backend, held.values())
        # The file grows again over what was cut off.
        await put(backend, 4, NEW)
        await check_whole(backend, await backend.list_parts(UPLOAD))
        # Parts that were not being written are there.
        safe = {"begin": set(), "put": {1, 2}, "replace": {2}, "same": {1, 2}, "abort": {1, 2}}.get(scenario, {1})
        assert safe <= set(held), held
        if finished and scenario in ("put", "replace"):
            number = {"put": 3, "replace": 1}[scenario]
            assert held[number].checksum == sha256(NEW)
    # It goes on from here, in another process.
    if held is None:
        await backend.abort(UPLOAD)
        await backend.begin("d/f", place=PLACE, part_size=SIZE)
    parts = [await put(backend, 1, NEW), await put(backend, 2, TAIL)]
    info = await backend.complete(UPLOAD, parts, metadata=MINE)
    assert await see(backend) == (NEW + TAIL, MINE)
    await backend.abort(UPLOAD)
    assert os.listdir(os.path.join(base, ".cloudcontents/uploads")) == []

async def prepare(backend):
    if scenario != "create":
        await backend.put("d/f", b"before")
    if scenario != "begin":
        await backend.begin("d/f", place=PLACE, part_size=SIZE)
        await put(backend, 1, OLD)
        await put(backend, 2, TAIL)

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


@pytest.mark.parametrize(
    ("scenario", "steps"), [("begin", 6), ("put", 6), ("replace", 8), ("same", 1), ("swap", 14), ("create", 14), ("abort", 8)]
)
def test_killed_at_each_step(tmp_path, scenario, steps):
    done = subprocess.run(
        [sys.executable, "-c", KILLER, scenario, str(tmp_path / "bucket")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= steps, "hardly any step was found to kill at"


async def test_a_part_has_one_writer_and_an_upload_ends_when_none_is_at_it(backend, root, upload, monkeypatch):
    """Between all processes of the machine: the locks are the kernel's."""
    stuck, go, real = threading.Event(), threading.Event(), os.fsync

    def fsync(file):
        if not stuck.is_set() and os.readlink(f"/proc/self/fd/{file}").endswith("/data"):
            stuck.set()
            assert go.wait(30)
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    first = asyncio.create_task(put(backend, upload, p1=ONE))
    assert await asyncio.to_thread(stuck.wait, 30)
    second = asyncio.create_task(put(backend, upload, p1=TWO))
    await put(backend, upload, p2=LAST)
    for name in ("0000001", "lock"):
        with open(root / PLACE / name) as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert [part.number for part in await backend.list_parts(upload)] == [2], "not whole before it is durable"
    go.set()
    await asyncio.gather(first, second)
    parts = await backend.list_parts(upload)
    assert parts[0].checksum in (sha256(ONE), sha256(TWO))
    await backend.complete(upload, parts)
    assert sha256((root / "d/f").read_bytes()[:SIZE]) == parts[0].checksum


def test_two_processes_write_one_part_again_and_again(tmp_path):
    """Whatever a marker tells of is whole, at every moment, and so is what comes of it."""
    code = """
        import asyncio, hashlib, sys
        from cloudcontents.backends import Upload
        from cloudcontents.backends.local import LocalBackend
        from cloudcontents.errors import PartsChangedError

        async def main():
            me, base = sys.argv[1:]
            backend = LocalBackend(base)
            upload = Upload("f", ".cloudcontents/uploads/u/parts", "0", 1 << 18)
            data = bytes([int(me)]) * ((1 << 18) - int(me))
            sha256 = lambda data: "sha256:" + hashlib.sha256(data).hexdigest()
            for turn in range(40):
                part = await backend.put_part(upload, 1, data, checksum=sha256(data))
                assert part.checksum == sha256(data)
                for part in await backend.list_parts(upload):
                    try:
                        seen = b"".join([piece async for piece in backend.read_part(upload, part)])
                    except PartsChangedError:
                        continue
                    assert sha256(seen) == part.checksum, "mixed"
            await backend.close()

        asyncio.run(main())
    """

    async def run(work):
        backend = LocalBackend(str(tmp_path))
        try:
            return await work(backend)
        finally:
            await backend.close()

    upload = asyncio.run(run(lambda backend: backend.begin("f", place=".cloudcontents/uploads/u/parts", part_size=1 << 18)))
    arguments = [sys.executable, "-c", textwrap.dedent(code)]
    processes = [subprocess.Popen([*arguments, str(n), str(tmp_path)]) for n in (1, 2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]

    async def finish(backend):
        return await backend.complete(upload, await backend.list_parts(upload))

    size = asyncio.run(run(finish)).size
    assert (tmp_path / "f").read_bytes() in [bytes([n]) * ((1 << 18) - n) for n in (1, 2)]
    assert size == (tmp_path / "f").stat().st_size
