"""Any sequence of what users do, against a plain dict: the bucket holds what the dict holds, and nothing else (promises G3, G4)."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from tornado.web import HTTPError

from cloudcontents import CloudContentsManager
from cloudcontents.backends.memory import drop_memory_store

SEGMENTS = ["a", "b", "a2", "a.txt", "é x"]
paths = st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=3).map("/".join)
texts = st.text("xyz", max_size=3)


class Machine(RuleBasedStateMachine):
    """`files` maps path to text, `directories` are those that must stand; `trashed` maps what is in the trash."""

    store = "memory"

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.files: dict[str, str] = {}
        self.directories: set[str] = set()
        self.trashed: dict[str, tuple[str, dict[str, str], set[str]]] = {}
        self.place = tempfile.mkdtemp() if self.store == "file" else f"stateful-{secrets.token_hex(4)}"
        self.manager = CloudContentsManager(url=f"{self.store}://{self.place}")
        self.manager.notary.db_file = ":memory:"
        self.manager.log.setLevel("CRITICAL")

    def teardown(self):
        self.loop.run_until_complete(self.manager.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        if self.store == "file":
            shutil.rmtree(self.place)
        else:
            drop_memory_store(self.place)

    def ask(self, awaitable):
        """The result, or the status of the failure."""
        try:
            return self.loop.run_until_complete(awaitable)
        except HTTPError as error:
            if error.status_code >= 500:
                raise
            return error.status_code

    def is_dir(self, path):
        return path == "" or path in self.directories

    def parent(self, path):
        return path.rpartition("/")[0]

    def is_free(self, path):
        return path not in self.files and path not in self.directories and self.is_dir(self.parent(path))

    def below(self, path):
        inside = {name for name in self.files if name == path or name.startswith(f"{path}/")}
        return inside, {name for name in self.directories if name == path or name.startswith(f"{path}/")}

    def take(self, path):
        files, directories = self.below(path)
        self.directories -= directories
        return {name[len(path) :]: self.files.pop(name) for name in files}, {name[len(path) :] for name in directories}

    def give(self, path, taken):
        files, directories = taken
        self.files |= {path + name: text for name, text in files.items()}
        self.directories |= {path + name for name in directories}

    @initialize()
    def some(self):
        for name in ("a", "b", "a/b"):
            self.mkdir(name)
        self.save("a/b/a.txt", "x")
        self.save("a2", "y")

    @rule(path=paths, text=texts)
    def save(self, path, text):
        if path in self.directories:
            assert self.ask(self.manager.save({"type": "file", "format": "text", "content": text}, path)) in (400, 409)
        elif self.is_dir(self.parent(path)):
            model = self.ask(self.manager.save({"type": "file", "format": "text", "content": text}, path))
            assert model["path"] == path
            self.files[path] = text

    @rule(path=paths)
    def get(self, path):
        found = self.ask(self.manager.get(path))
        if path in self.directories:
            assert found["type"] == "directory"
        elif path in self.files:
            assert found["content"] == self.files[path]
        else:
            assert found == 404

    @rule(path=paths)
    def mkdir(self, path):
        if self.is_free(path):
            assert self.ask(self.manager.save({"type": "directory"}, path))["type"] == "directory"
            self.directories.add(path)

    @rule(path=paths, kind=st.sampled_from(["file", "directory"]))
    def new_untitled(self, path, kind):
        model = self.ask(self.manager.new_untitled(path, type=kind))
        if not self.is_dir(path):
            assert model == 404
            return
        assert self.is_free(model["path"])
        if kind == "file":
            self.files[model["path"]] = ""
        else:
            self.directories.add(model["path"])

    @rule(source=paths, to=paths)
    def rename(self, source, to):
        answer = self.ask(self.manager.rename(source, to))
        there = source in self.files or source in self.directories
        if source == to:
            return
        if not there or not self.is_free(to) or to.startswith(f"{source}/"):
            assert answer in (400, 404, 409), answer
            return
        assert answer is None
        self.give(to, self.take(source))

    @rule(source=paths, to=paths)
    def copy_into(self, source, to):
        there = source in self.files or source in self.directories
        if not there or not self.is_dir(to) or (to + "/").startswith(source + "/"):
            return
        answer = self.ask(self.manager.copy(source, to))
        assert self.is_free(answer["path"]), answer
        files, directories = self.below(source)
        made = {name[len(source) :]: self.files[name] for name in files}, {name[len(source) :] for name in directories}
        self.give(answer["path"], made)

    @rule(path=paths)
    def delete(self, path):
        before = {item.id for item in self.loop.run_until_complete(self.manager.namespace.mounts[0].trash.list())}
        answer = self.ask(self.manager.delete(path))
        if path not in self.files and path not in self.directories:
            assert answer == 404
            return
        assert answer is None
        (item,) = [i for i in self.loop.run_until_complete(self.manager.namespace.mounts[0].trash.list()) if i.id not in before]
        self.trashed[item.id] = path, *self.take(path)

    @precondition(lambda self: self.trashed)
    @rule(data=st.data())
    def restore(self, data):
        id = data.draw(st.sampled_from(sorted(self.trashed)))
        path, files, directories = self.trashed[id]
        above = ["/".join(path.split("/")[:n]) for n in range(1, path.count("/") + 1)]
        if path in self.files or path in self.directories or any(name in self.files for name in above):
            return
        assert self.loop.run_until_complete(self.manager.namespace.mounts[0].trash.restore(id)) == path
        self.directories |= set(above)
        self.give(path, (files, directories))
        del self.trashed[id]

    @invariant()
    def the_bucket_holds_what_the_dict_holds(self):
        found, directories, todo = {}, set(), [""]
        while todo:
            for entry in self.ask(self.manager.get(todo.pop(), type="directory"))["content"]:
                if entry["type"] == "directory":
                    directories.add(entry["path"])
                    todo.append(entry["path"])
                else:
                    found[entry["path"]] = entry["size"]
        assert found == {path: len(text.encode()) for path, text in self.files.items()}
        assert directories == self.directories


def play(store, examples, steps):
    chosen = secrets.randbits(32)
    print(f"seed {chosen}")
    machine = seed(chosen)(type(f"On{store}", (Machine,), {"store": store}))
    quick = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(machine, settings=quick)


@pytest.mark.parametrize("store", ["memory", "file"])
def test_any_sequence(store, jupyter_environment):
    play(store, 40, 20)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("store", ["memory", "file"])
def test_any_long_sequence(store, jupyter_environment):
    play(store, 500, 60)
