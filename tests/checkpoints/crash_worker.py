"""Does checkpoint operations in processes that are killed at one call to the store; run by `test_crash` as a program.

Reads what to do as JSON, does it once unharmed to learn its calls, then once for each call and each side of it, killed there; prints these
cases and how each ended. Every case has a directory of its own and runs in a fork of this process, which has imported everything and
started no thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from traitlets.config import LoggingConfigurable

from cloudcontents.backends.faults import Fault, FaultBackend
from cloudcontents.bucket import Bucket
from cloudcontents.checkpoints import BucketCheckpoints
from cloudcontents.namespace import Namespace
from cloudcontents.registry import open_backend
from cloudcontents.tree import Tree


class Manager(LoggingConfigurable):
    """What checkpoints need of a manager of ours."""

    allow_hidden = False

    def __init__(self, backend) -> None:
        super().__init__()
        self.namespace = Namespace(backend)
        self.bucket = self.namespace.mounts[0].bucket


class Place:
    """A directory with two buckets: ``files``, and ``checkpoints`` for what is kept elsewhere."""

    def __init__(self, directory: str, elsewhere: bool, plans: dict[str, list[Fault]], keep_last: int) -> None:
        url = {name: f"file://{directory}/{name}?create=true" for name in ("files", "checkpoints")}
        self.backends = {name: FaultBackend(open_backend(url[name]), plans.get(name, [])) for name in url}
        self.manager = Manager(self.backends["files"])
        self.bucket = self.manager.bucket
        self.checkpoints = BucketCheckpoints(parent=self.manager, keep_last=keep_last, keep_daily=0)
        if elsewhere:
            self.checkpoints.url = url["checkpoints"]
            self.checkpoints._own = Tree(Bucket(self.backends["checkpoints"]))

    async def create(self) -> str:
        return (await self.checkpoints.create_checkpoint(self.manager, "d/a.txt"))["id"]


async def prepare(case) -> str:
    """One checkpoint of "old" (seven, the first one named, for a pruning), and a file that holds "present"."""
    place = Place(case["directory"], case["elsewhere"], {}, keep_last=100)
    await place.bucket.put("d/a.txt", b"old")
    first = await place.create()
    if case["operation"] == "prune":
        first = (await place.checkpoints.name_checkpoint(first, "named", "d/a.txt"))["id"]
        for number in range(6):
            await place.bucket.put("d/a.txt", f"state {number}".encode())
            await place.create()
    await place.bucket.put("d/a.txt", b"present")
    return first


async def work(case, first: str) -> list[str]:
    """The operation, with the kill in it; returns the names of all calls if it survives."""
    plan = []
    if case["nth"]:
        plan = [Fault(kill=True, nth=case["nth"], after=case["after"])]
    place = Place(case["directory"], case["elsewhere"], {case["store"]: plan}, keep_last=2 if case["operation"] == "prune" else 100)
    if case["operation"] in ("create", "prune"):
        await place.create()
    elif case["operation"] == "restore":
        await place.checkpoints.restore_checkpoint(place.manager, first, "d/a.txt")
    else:
        await place.checkpoints.rename_all_checkpoints("d", "moved")
    return [name for name, _ in place.backends[case["store"]].calls]


def run(case) -> None:
    os.makedirs(case["directory"])
    first = asyncio.run(prepare(case))
    calls = asyncio.run(work(case, first))
    Path(case["directory"], "calls.json").write_text(json.dumps(calls))


def fork(case) -> int:
    child = os.fork()
    if child == 0:
        try:
            run(case)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    common = json.load(sys.stdin)
    directory = Path(common["directory"])
    dry = {**common, "directory": str(directory / "dry"), "nth": 0, "after": False}
    assert ended(fork(dry)) == 0, "the operation fails without any crash"
    calls = json.loads((directory / "dry" / "calls.json").read_text())
    cases = [
        {**common, "directory": str(directory / f"{nth}-{after}"), "nth": nth, "after": after, "call": call}
        for nth, call in enumerate(calls, 1)
        for after in (False, True)
    ]
    for at in range(0, len(cases), 4):
        group = cases[at : at + 4]
        for case, child in zip(group, [fork(case) for case in group], strict=True):
            case["ended"] = ended(child)
    json.dump(cases, sys.stdout)


if __name__ == "__main__":
    main()
