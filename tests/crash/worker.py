"""Does operations on a bucket in processes that are killed at one call to the store; run by the tests as a program.

Reads what to do as JSON, does it once unharmed to learn its calls, then once for each call and each side of it, killed there; afterwards a
new process recovers. With ``again`` that one is killed too, at each of its own calls, and a third one recovers. Prints what the bucket held
before, after the kill and after the recovery, read past our own code. Every process is a fork of this one, which has imported everything
and started no thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import nbformat
from flat_store import FlatBackend

from cloudcontents import CloudContentsManager
from cloudcontents.backends import local
from cloudcontents.backends.faults import Fault, FaultBackend
from cloudcontents.backends.local import LocalBackend

#: Files of the directory `exp`, 25 objects with the two made below; some are nested, one is large enough to be torn.
FILES = [f"exp/f{n:02}.txt" for n in range(12)] + [f"exp/deep/er/g{n}.txt" for n in range(9)] + ["exp/nb.ipynb", "exp/large.bin"]
UNNAMEABLE = ["exp//odd", "exp/x\x01y"]
KEPT = ["exp/nb.ipynb", "exp/f00.txt", "exp/deep/er/g0.txt"]


class Killed(FaultBackend):
    """A fault wrapper whose plan starts when it is told."""

    def arm(self, nth: int, after: bool) -> None:
        self._plan, self._seen = [Fault(kill=True, nth=nth, after=after)], [0]
        self.forget()


class Manager(CloudContentsManager):
    """A manager of a bucket in a directory, without anything of this machine's Jupyter."""

    def __init__(self, store: str, at: Path, **settings) -> None:
        super().__init__(**settings)
        self.notary.db_file = ":memory:"
        self.store = FlatBackend(str(at / "store.db")) if store == "flat" else LocalBackend(str(at / "bucket"), create=True)
        self.faults = Killed(self.store)

    def open_backend(self):
        return self.faults


def notebook(text):
    return {
        "type": "notebook",
        "format": "json",
        "content": nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text, id="one")]),
    }


def manager(case, at):
    for_good = case["operation"].endswith("for_good")
    return Manager(case["store"], at, delete_to_trash=not for_good, always_delete_dir=for_good)


async def prepare(case, at):
    """The directory `exp` with what belongs to it, and neighbours that nothing may touch."""
    mine = manager(case, at)
    bucket = mine.namespace.mounts[0].bucket
    for name in FILES:
        await bucket.put(name, f"content of {name}".encode() * (40_000 if name.endswith(".bin") else 1))
    await mine.save(notebook("old"), "exp/nb.ipynb")
    for name in UNNAMEABLE if case["store"] == "flat" else ():
        await bucket.put(name, f"content of {name!r}".encode())
    await bucket.put("exp/empty/", b"")
    for name in ("exp2/near.txt", "exp.csv", "top.txt"):
        await bucket.put(name, f"content of {name}".encode())
    for name in KEPT:
        await mine.create_checkpoint(name)
    if case["operation"] == "restore_dir":
        await mine.delete("exp")
    if case["operation"] == "restore_file":
        await mine.delete("exp/nb.ipynb")
    await mine.close()


async def operate(case, mine):
    operation = case["operation"]
    if operation == "save_old":
        await mine.save(notebook("new"), "exp/nb.ipynb")
    elif operation == "save_new":
        await mine.save(notebook("new"), "exp/fresh.ipynb")
    elif operation == "rename_dir":
        await mine.rename("exp", "moved")
    elif operation == "rename_file":
        await mine.rename("exp/nb.ipynb", "exp/deep/named.ipynb")
    elif operation in ("trash_dir", "delete_dir_for_good"):
        await mine.delete("exp")
    elif operation in ("trash_file", "delete_file_for_good"):
        await mine.delete("exp/nb.ipynb")
    elif operation.startswith("restore"):
        trash = mine.namespace.mounts[0].trash
        await trash.restore((await trash.list())[0].id)
    elif operation == "copy_dir":
        await mine.copy("exp")
    else:
        raise ValueError(operation)


async def recover(mine):
    """What the next server does at its start, and its sweep some day."""
    await mine.recover()
    await mine.sweep()


def work(case, at, what, nth=0, after=False):
    """A process's whole life: do `what`, be killed at the nth call or, having done it, note how many calls there were."""

    async def run():
        mine = manager(case, at)
        mine.faults.arm(nth, after)
        await what(mine)
        (at / "calls.json").write_text(json.dumps([name for name, _ in mine.faults.calls]))
        if nth:
            os.kill(os.getpid(), signal.SIGKILL)  # right after the answer was given
        await mine.close()

    asyncio.run(run())


def fork(function, *arguments) -> int:
    child = os.fork()
    if child:
        return child
    try:
        function(*arguments)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def calls_of(at: Path) -> list[str]:
    return json.loads((at / "calls.json").read_text())


def snapshot(case, at: Path) -> dict[str, str]:
    if case["store"] == "flat":
        return {key: data.decode() for key, data in FlatBackend(str(at / "store.db")).snapshot().items()}
    found = {}
    top = at / "bucket"
    for directory, below, files in os.walk(top):
        name = os.path.relpath(directory, top) + "/"
        if not below and not files:
            found[name] = ""
        for file in files:
            key = os.path.relpath(os.path.join(directory, file), top)
            if not key.startswith(".cloudcontents/locks/"):
                found[key] = Path(directory, file).read_text()
    return found


async def clean(mine):
    """A second recovery, and what the sweep leaves for a day because a living writer could still be at it: here all writers are dead."""
    await recover(mine)
    if isinstance(mine.store, LocalBackend):
        local._DAY = -1
        await mine.store.sweep()


def play(case, prepared: Path, at: Path):
    """One crash, or two, and the recovery; in a child of the main process."""
    shutil.copytree(prepared, at)
    doing = lambda mine: operate(case, mine)  # noqa: E731
    case["ended"] = ended(fork(work, case, at, doing, case["nth"], case["after"]))
    case["killed"] = snapshot(case, at)
    case["acknowledged"] = (at / "calls.json").exists()
    if "second" in case:
        (at / "calls.json").unlink(missing_ok=True)
        case["ended"] = min(case["ended"], ended(fork(work, case, at, recover, *case["second"])))
        case["killed_again"] = snapshot(case, at)
    recovered = ended(fork(work, case, at, recover))
    assert recovered == 0, "the recovery fails"
    case["recovery_calls"] = calls_of(at)
    case["recovered"] = snapshot(case, at)
    assert ended(fork(work, case, at, clean)) == 0, "a second recovery fails"
    case["swept"] = snapshot(case, at)
    shutil.rmtree(at)
    (at.parent / f"{at.name}.json").write_text(json.dumps(case))


def play_all(cases, prepared, directory, label):
    """Play cases, four at a time."""
    played = []
    for start in range(0, len(cases), 4):
        group = [(case, directory / f"{label}-{start + n}") for n, case in enumerate(cases[start : start + 4])]
        children = [fork(play, case, prepared, at) for case, at in group]
        for (case, at), child in zip(group, children, strict=True):
            assert ended(child) == 0, f"{case} cannot be played"
            result = at.parent / f"{at.name}.json"
            played.append(json.loads(result.read_text()))
            result.unlink()
    return played


def play_operation(store, operation, directory, *, again, only, choose):
    """Everything about one operation: before, after, and its cases."""
    common = {"store": store, "operation": operation}
    prepared, dry = directory / "prepared", directory / "dry"
    prepared.mkdir(parents=True)
    assert ended(fork(lambda: asyncio.run(prepare(common, prepared)))) == 0, "the directory cannot be prepared"
    shutil.copytree(prepared, dry)
    assert ended(fork(work, common, dry, lambda mine: operate(common, mine))) == 0, "the operation fails without any crash"
    calls = calls_of(dry)
    sides = [(nth, after) for nth in range(1, len(calls) + 1) for after in (False, True)]
    if only is not None:
        sides = sorted(choose.sample(sides, min(only, len(sides))))
    sides.append((len(calls) + 100, False))  # after the answer
    names = [*calls, "answer"]
    cases = [{**common, "nth": nth, "after": after, "call": names[min(nth, len(names)) - 1]} for nth, after in sides]
    if again:
        # A first crash tells how many calls its recovery makes; each of them is then the place of a second one.
        first = play_all(cases[:-1], prepared, directory, "first")
        cases = [
            {**common, "nth": case["nth"], "after": case["after"], "call": case["call"], "second": [nth, after]}
            for case in first
            for nth in range(1, len(case["recovery_calls"]) + 1)
            for after in (False, True)
        ]
        if only is not None:
            cases = choose.sample(cases, min(only, len(cases)))
    cases = play_all(cases, prepared, directory, "case")
    return {"before": snapshot(common, prepared), "after": snapshot(common, dry), "calls": calls, "cases": cases}


def main() -> None:
    task = json.load(sys.stdin)
    choose = random.Random(task["seed"])
    found = {
        operation: play_operation(
            task["store"], operation, Path(task["directory"], operation), again=task["again"], only=task["only"], choose=choose
        )
        for operation in task["operations"]
    }
    Path(task["result"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
