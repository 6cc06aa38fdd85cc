"""``cp`` again: what is there is left there, what changed is copied, what somebody else wrote is kept; and a kill leaves no half file."""

import asyncio
import errno
import fcntl
import os
import pty
import random
import signal
import struct
import subprocess
import termios
import time

import pytest

from cloudcontents.backends.memory import MemoryBackend
from cloudcontents.bucket import Bucket
from cloudcontents.registry import open_backend

FILES = 200
#: Copies begun until one is killed in the middle: a busy machine may let it end first.
TRIES = 5


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "tree"
    for number in range(FILES):
        at = top / f"d{number % 7}" / f"f{number}.bin"
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(number.to_bytes(4, "big") * (1 + number * 37 % 5000))
    return top


def contents(top):
    return {str(at.relative_to(top)): at.read_bytes() for at in top.rglob("*") if at.is_file() and ".cloudcontents" not in at.parts}


@pytest.fixture(params=["file", "minio"])
def place(request, tmp_path, monkeypatch):
    """A bucket that a command of its own process can be killed on: its URL, and what is in it."""
    if request.param == "file":
        (tmp_path / "bucket" / ".cloudcontents").mkdir(parents=True)
        url = (tmp_path / "bucket").as_uri()
    else:
        server = request.getfixturevalue("minio")
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        name = server.new_bucket()
        url = f"s3://{name}"
        client = server.client()

    def count(path):
        if request.param == "file":
            return files_below(tmp_path / "bucket" / path)
        return client.list_objects_v2(Bucket=name, Prefix=f"{path}/")["KeyCount"]

    def read(path):
        async def collect():
            bucket = Bucket(open_backend(url))
            try:
                found = [info.key async for info in bucket.objects(f"{path}/") if not info.key.endswith("/")]
                texts = await asyncio.gather(*(bucket.read(key) for key in found))
                return {key.removeprefix(f"{path}/"): text for key, (_, text) in zip(found, texts, strict=True)}
            finally:
                await bucket.close()

        return asyncio.run(collect())

    yield url, read, count
    if request.param == "minio":
        client.close()


def files_below(top):
    return sum(len(files) for _, _, files in os.walk(top))


def kill_in_the_middle(start, arguments, seen, seed):
    """Start a copy and kill it (SIGKILL) once some of it is there; whether it was still at it."""
    process = start("cp", "-rq", *arguments)
    wanted = random.Random(seed).randrange(8, FILES // 4)
    while seen() < wanted and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def copied_and_equal(said):
    """The two numbers of a summary."""
    words = said.decode().split("cloudcontents: ")[-1].replace(",", "").split()
    return int(words[0]), int(words[words.index("there") - 1]) if "there" in words else 0


def test_killed_on_the_way_up(place, tree, start, command):
    url, read, count = place
    seed = random.randrange(1 << 30)
    print("seed", seed)
    whole = contents(tree)
    for attempt in range(TRIES):
        new = f"new{attempt}"
        arguments = (tree, f"{url}/{new}")  # a name of its own: the copy that was cut off is known again
        if kill_in_the_middle(start, arguments, lambda new=new: count(new), seed + attempt):
            break
    else:
        pytest.fail("the copy was always faster than the kill")
    there = read(new)
    assert there.items() <= whole.items()
    done = command("cp", "-r", *arguments, check=True)
    assert read(new) == whole
    copied, equal = copied_and_equal(done.stderr)
    assert copied + equal == FILES
    assert equal >= len(there) > 0  # what was on its way may have arrived after the kill
    # It is whole now: a directory like any other, which receives a copy under the source's name.
    command("cp", "-rq", *arguments, check=True)
    assert read(f"{new}/tree") == whole


def test_killed_on_the_way_down(place, tree, tmp_path, start, command):
    url, _, _ = place
    seed = random.randrange(1 << 30)
    print("seed", seed)
    whole = contents(tree)
    command("cp", "-rq", tree, f"{url}/up", check=True)
    for attempt in range(TRIES):
        target = tmp_path / f"down{attempt}"
        arguments = (f"{url}/up", target)
        if kill_in_the_middle(start, arguments, lambda target=target: files_below(target), seed + attempt):
            break
    else:
        pytest.fail("the copy was always faster than the kill")
    there = {name: data for name, data in contents(target).items() if not name.endswith(".copying")}
    assert there.items() <= whole.items()  # neither a half file nor one under another name
    done = command("cp", "-r", *arguments, check=True)
    assert contents(target) == whole
    copied, equal = copied_and_equal(done.stderr)
    assert copied + equal == FILES
    assert equal == len(there) > 0


def test_what_changed_is_copied_again(place, tree, command):
    url, read, _ = place
    command("cp", "-rq", tree, f"{url}/t/", check=True)
    (tree / "d1" / "f1.bin").write_bytes(b"changed, and longer than it was")
    (tree / "d2" / "f2.bin").write_bytes((tree / "d2" / "f2.bin").read_bytes()[::-1])  # the same size
    (tree / "d3" / "new.bin").write_bytes(b"new")
    done = command("cp", "-r", tree, f"{url}/t/", check=True)
    assert copied_and_equal(done.stderr) == (3, FILES - 2)
    assert read("t/tree") == contents(tree)


def test_what_somebody_else_wrote_is_kept_and_told(memory, tmp_path):
    (tmp_path / "t").mkdir()
    for name in ("mine", "theirs", "equal"):
        (tmp_path / "t" / name).write_bytes(name.encode())
    memory.put("d/t/equal", b"equal")
    memory.put("d/t/theirs", b"other!")  # of the same size, and never copied from here
    code, _, err = memory.run("cp", "-r", "t", memory.url("d/"))
    assert code == 1
    assert b"d/t/theirs exists and is another file" in err
    assert copied_and_equal(err) == (1, 1)
    assert memory.read("d/t/theirs") == b"other!"
    # A copy of ours that was edited since is no longer ours.
    memory.put("d/t/mine", b"edited in Jupyter")
    (tmp_path / "t" / "mine").write_bytes(b"changed here as well")
    code, _, err = memory.run("cp", "-r", "t", memory.url("d/"))
    assert code == 1
    assert memory.read("d/t/mine") == b"edited in Jupyter"
    assert memory.run("cp", "-rf", "t", memory.url("d/"))[0] == 0
    assert (memory.read("d/t/mine"), memory.read("d/t/theirs")) == (b"changed here as well", b"theirs")


def test_an_edit_in_the_middle_wins(memory, tmp_path, monkeypatch):
    """What was compared is what is replaced, with --force too."""
    (tmp_path / "a").write_bytes(b"new")
    memory.put("a", b"old")
    real = MemoryBackend.put

    async def put(self, key, body, **kwargs):
        await real(self, key, b"somebody else's")
        return await real(self, key, body, **kwargs)

    monkeypatch.setattr(MemoryBackend, "put", put)
    assert memory.run("cp", "-f", "a", memory.url("a"))[0] == 1
    monkeypatch.undo()
    assert memory.read("a") == b"somebody else's"


def test_between_two_buckets_and_within_one(memory, bucket, tmp_path):
    for name in ("a", "b", "c"):
        memory.put(f"d/{name}", name.encode())
    assert memory.run("cp", "-r", memory.url("d"), bucket.url("x/"))[0] == 0
    memory.put("d/a", b"changed")
    code, _, err = memory.run("cp", "-r", memory.url("d"), bucket.url("x/"))
    assert (code, copied_and_equal(err)) == (0, (1, 2))
    assert (bucket.path / "x" / "d" / "a").read_bytes() == b"changed"
    assert memory.run("cp", "-r", memory.url("d"), memory.url("y/"))[0] == 0
    code, _, err = memory.run("cp", "-r", memory.url("d"), memory.url("y/"))
    assert (code, copied_and_equal(err)) == (0, (0, 3))


def test_a_move_that_was_cut_off_ends(memory, tree, monkeypatch):
    """Sources that had been copied and not yet deleted go when their copy is seen to be equal."""
    assert memory.run("cp", "-r", tree, memory.url("m/"))[0] == 0
    memory.put("m/tree/d1/f1.bin", b"another")
    assert memory.run("mv", tree, memory.url("m/"))[0] == 1
    assert contents(tree).keys() == {"d1/f1.bin"}
    assert memory.read("m/tree/d1/f1.bin") == b"another"


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(memory, tree, monkeypatch):
    def refused(real, path):
        def call(at, *arguments, **named):
            if os.fspath(at).endswith(path):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(at))
            return real(at, *arguments, **named)

        return call

    (tree / "loop").symlink_to("loop")
    (tree / "directory").symlink_to("d1", target_is_directory=True)
    (tree / "gone").symlink_to("nowhere")
    (tree / "d1" / "tab\tname").write_bytes(b"x")
    monkeypatch.setattr("os.open", refused(os.open, "d2/f2.bin"))
    monkeypatch.setattr("os.scandir", refused(os.scandir, "tree/d3"))
    code, _, err = memory.run("cp", "-r", tree, memory.url("u/"))
    monkeypatch.undo()
    assert code == 1
    said = err.decode()
    for name in (
        "d2/f2.bin: Permission denied",
        "tree/d3: Permission denied",
        "tree/loop left out",
        "tree/directory left out",
        "gone left out",
    ):
        assert name in said, said
    assert "holds a control character" in said
    missing = len(list((tree / "d3").iterdir()))
    assert copied_and_equal(err)[0] == FILES - missing - 1
    assert said.endswith("3 failed.\n")


def test_keys_that_no_path_can_name_are_told(memory, tmp_path):
    memory.put("d/fine/a", b"1")
    memory.put("d/x//b", b"2")
    memory.put("d/bad\nname", b"3")
    code, _, err = memory.run("cp", "-r", memory.url("d"), "down")
    assert code == 1
    assert err.count(b"can be no path, and are left out") == 2
    assert contents(tmp_path / "down") == {"fine/a": b"1"}


def test_at_most_eight_at_once(memory, tree, monkeypatch):
    real = MemoryBackend.put
    at_once, most = 0, 0

    async def put(self, key, body, **kwargs):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        try:
            return await real(self, key, body, **kwargs)
        finally:
            at_once -= 1

    monkeypatch.setattr(MemoryBackend, "put", put)
    assert memory.run("cp", "-r", tree, memory.url("p/"))[0] == 0
    assert 1 < most <= 8


def test_a_terminal_sees_progress(bucket, tmp_path, start):
    with open(tmp_path / "big", "wb") as file:
        file.truncate(64 << 20)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    process = start("cp", "big", bucket.url(), stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    seen = b""
    while True:
        try:
            seen += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait() == 0
    assert b"64.0M" in seen
    assert b"B/s" in seen
