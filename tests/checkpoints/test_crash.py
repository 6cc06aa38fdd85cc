"""kill -9 at every call to the store that creating, restoring, pruning and moving checkpoints makes, on a ``file://`` bucket.

Promise G3, and: the file is intact, no checkpoint is lost, at most one is there that nobody was told of, and work goes on.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from traitlets.config import LoggingConfigurable

from cloudcontents.checkpoints import BucketCheckpoints
from cloudcontents.namespace import Namespace
from cloudcontents.registry import open_backend

WORKER = Path(__file__).with_name("crash_worker.py")


class Manager(LoggingConfigurable):
    allow_hidden = False

    def __init__(self, url: str) -> None:
        super().__init__()
        self.namespace = Namespace(open_backend(url))
        self.bucket = self.namespace.mounts[0].bucket


def every_crash(tmp_path, operation, elsewhere, store):
    """One case for each call of an operation, killed before and after it; they have been played when this returns."""
    what = {"operation": operation, "elsewhere": elsewhere, "store": store, "directory": str(tmp_path)}
    done = subprocess.run([sys.executable, str(WORKER)], input=json.dumps(what), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)
    assert cases
    assert {case["ended"] for case in cases} == {-signal.SIGKILL}, done.stderr
    return cases


class Afterwards:
    """What a new process finds."""

    def __init__(self, case, *, keep_last=100):
        directory = case["directory"]
        self.manager = Manager(f"file://{directory}/files")
        url = f"file://{directory}/checkpoints?create=true" if case["elsewhere"] else ""
        self.checkpoints = BucketCheckpoints(parent=self.manager, url=url, keep_last=keep_last, keep_daily=0)

    async def file(self, path="d/a.txt"):
        return (await self.manager.bucket.read(path))[1]

    async def kept(self, path="d/a.txt"):
        """What each checkpoint holds, oldest first, those that a restore made included."""
        home = self.checkpoints._home(path)
        every = await self.checkpoints._all(home)
        return [(checkpoint, (await home.bucket.read(home.key(checkpoint)))[1]) for checkpoint in every]

    async def recover(self):
        for mount in self.manager.namespace.mounts:
            await mount.tree.recover()
        await self.checkpoints.recover()

    async def goes_on(self):
        """Nothing that a crash left is in the way of the next checkpoint and the next restore."""
        before = await self.file()
        made = await self.checkpoints.create_checkpoint(self.manager, "d/a.txt")
        assert (await self.checkpoints.list_checkpoints("d/a.txt"))[-1] == made
        await self.manager.bucket.put("d/a.txt", b"later")
        await self.checkpoints.restore_checkpoint(self.manager, made["id"], "d/a.txt")
        assert await self.file() == before

    async def close(self):
        await self.manager.namespace.close()
        await self.checkpoints.close()


WHERE = pytest.mark.parametrize(
    ("elsewhere", "store"),
    [(False, "files"), (True, "files"), (True, "checkpoints")],
    ids=["beside the file", "elsewhere, killed at the files", "elsewhere, killed at the checkpoints"],
)


@WHERE
async def test_create(tmp_path, elsewhere, store):
    for case in every_crash(tmp_path, "create", elsewhere, store):
        found = Afterwards(case)
        assert await found.file() == b"present", case
        contents = [content for _, content in await found.kept()]
        assert contents in ([b"old"], [b"old", b"present"]), case
        await found.goes_on()
        await found.close()


@WHERE
async def test_restore(tmp_path, elsewhere, store):
    restored = 0
    for case in every_crash(tmp_path, "restore", elsewhere, store):
        found = Afterwards(case)
        file = await found.file()
        contents = [content for _, content in await found.kept()]
        # Never torn; what was there is still the file, or is kept.
        assert contents in ([b"old"], [b"old", b"present"]), case
        assert file == b"present" or (file == b"old" and contents == [b"old", b"present"]), case
        restored += file == b"old"
        await found.goes_on()
        await found.close()
    if store == "files":
        assert restored  # the cases reach past the moment at which the file changes


@WHERE
async def test_prune(tmp_path, elsewhere, store):
    pruned = 0
    for case in every_crash(tmp_path, "prune", elsewhere, store):
        found = Afterwards(case, keep_last=2)
        assert await found.file() == b"present", case
        kept = await found.kept()
        contents = [content for _, content in kept]
        assert kept[0][0].id == "named", case
        assert contents[0] == b"old", case
        states = [f"state {number}".encode() for number in range(6)]
        # The newest two of what there was stay, with or without the new one; older ones may be gone or not.
        rest = contents[1:-1] if contents[-1] == b"present" else contents[1:]
        assert rest == states[-len(rest) :], case
        assert len(contents) - 1 >= 2, case
        if contents[-1] != b"present":
            assert rest == states, case
        pruned += len(rest) < 6
        await found.checkpoints.create_checkpoint(found.manager, "d/a.txt")
        assert len(await found.kept()) == 3, case  # the named one and the newest two
        await found.goes_on()
        await found.close()
    if store != "files" or not elsewhere:
        assert pruned


@pytest.mark.parametrize("elsewhere", [False, True], ids=["beside the file", "elsewhere"])
async def test_move(tmp_path, elsewhere):
    for case in every_crash(tmp_path, "move", elsewhere, "checkpoints" if elsewhere else "files"):
        found = Afterwards(case)
        await found.recover()
        old = [content for _, content in await found.kept("d/a.txt")]
        new = [content for _, content in await found.kept("moved/a.txt")]
        assert (old, new) in (([b"old"], []), ([], [b"old"])), case
        assert await found.file() == b"present", case
        await found.close()
