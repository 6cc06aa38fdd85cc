"""The manager on the stores that come with the package, and on one that a subclass brings."""

from __future__ import annotations

import logging
import secrets

import pytest
from tornado.web import HTTPError
from traitlets import TraitError
from traitlets.config import Config

from cloudcontents import CloudContentsManager
from cloudcontents.backends.local import open_local
from cloudcontents.backends.memory import MemoryBackend, drop_memory_store
from cloudcontents.config import parse_url
from cloudcontents.testing import ManagerConformance


class TestMemory(ManagerConformance):
    @pytest.fixture
    def manager(self):
        name = f"manager-{secrets.token_hex(4)}"
        yield CloudContentsManager(url=f"memory://{name}")
        drop_memory_store(name)


class TestMemoryPrefix(ManagerConformance):
    @pytest.fixture
    def manager(self):
        name = f"manager-{secrets.token_hex(4)}"
        yield CloudContentsManager(url=f"memory://{name}/team/home")
        drop_memory_store(name)


class TestFile(ManagerConformance):
    @pytest.fixture
    def manager(self, tmp_path):
        return CloudContentsManager(url=tmp_path.as_uri())


class OwnStore(CloudContentsManager):
    """What docs/extending.md shows: a store of one's own without an entry point."""

    def open_backend(self):
        return MemoryBackend("own-store")


class TestSubclass(ManagerConformance):
    @pytest.fixture
    def manager(self):
        yield OwnStore()
        drop_memory_store("own-store")


def test_the_url_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CLOUDCONTENTS_URL", "memory://from-environment")
    assert CloudContentsManager().namespace.mounts[0].bucket.url == "memory://from-environment"


@pytest.mark.parametrize("url", ["/home/me", "s3://key:secret@bucket", "memory://x?secret_key=1", "memory://x#y"])
def test_a_bad_url_is_refused_at_once(url):
    with pytest.raises(TraitError):
        CloudContentsManager(url=url)


def test_preferred_dir_is_checked_without_the_store(tmp_path):
    assert CloudContentsManager(url=(tmp_path / "away").as_uri(), preferred_dir="/some/where").preferred_dir == "some/where"
    with pytest.raises(TraitError):
        CloudContentsManager(url=tmp_path.as_uri(), preferred_dir="a/../b")


def test_settings_of_the_base_classes_apply_and_those_of_another_manager_are_told(caplog):
    config = Config()
    config.ContentsManager.untitled_notebook = "Neu"
    config.FileContentsManager.delete_to_trash = False
    # A logger of its own: one that a server of another test has set up does not hand its records on.
    with caplog.at_level("WARNING", logger="told"):
        manager = CloudContentsManager(url="memory://x", config=config, log=logging.getLogger("told"))
    assert manager.untitled_notebook == "Neu"
    assert "FileContentsManager" in caplog.text


async def test_kernels_start_beside_their_notebook_on_a_local_bucket(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "n.ipynb").write_text("{}")
    manager = CloudContentsManager(url=tmp_path.as_uri(), root_dir=str(tmp_path))
    assert manager.get_kernel_path("sub/n.ipynb") == "sub/n.ipynb"
    assert manager.get_kernel_path("/sub/0f1e2d") == "sub/0f1e2d"
    assert manager.get_kernel_path("../x") == ""
    elsewhere = CloudContentsManager(url=tmp_path.as_uri(), root_dir="/")
    assert elsewhere.get_kernel_path("sub/n.ipynb") == str(tmp_path / "sub" / "n.ipynb").lstrip("/")
    assert CloudContentsManager(url="memory://x").get_kernel_path("sub/n.ipynb") == ""


async def test_hooks_see_a_save_and_may_change_it():
    manager = CloudContentsManager(url="memory://hooks")
    seen = []

    def before(model, path, **_):
        model["content"] = model["content"].upper()
        seen.append(path)

    def after(model, os_path, **_):
        seen.append((model["path"], os_path))

    manager.register_pre_save_hook(before)
    manager.register_post_save_hook(after)
    await manager.save({"type": "file", "format": "text", "content": "x"}, "/f.txt")
    assert (await manager.get("f.txt"))["content"] == "X"
    assert seen == ["f.txt", ("f.txt", "f.txt")]
    drop_memory_store("hooks")


async def test_a_hook_on_a_local_bucket_is_given_the_real_path(tmp_path):
    manager = CloudContentsManager(url=tmp_path.as_uri())
    seen = []
    manager.register_post_save_hook(lambda os_path, **_: seen.append(os_path))
    await manager.save({"type": "file", "format": "text", "content": "x"}, "f.txt")
    assert seen == [str(tmp_path / "f.txt")]
    await manager.close()


async def test_a_store_without_conditional_writes_still_sees_a_conflict(tmp_path):
    from dataclasses import replace

    class Unsafe(CloudContentsManager):
        def open_backend(self):
            backend = open_local(parse_url(tmp_path.as_uri()))
            backend.capabilities = replace(backend.capabilities, put_if_absent=False, put_if_version=False)
            return backend

    one, two = Unsafe(), Unsafe()
    for manager in (one, two):
        if manager is one:
            await manager.save({"type": "file", "format": "text", "content": "base"}, "f.txt")
        await manager.get("f.txt")
    await one.save({"type": "file", "format": "text", "content": "one"}, "f.txt")
    with pytest.raises(Exception, match="kept as conflict"):
        await two.save({"type": "file", "format": "text", "content": "two"}, "f.txt")
    for manager in (one, two):
        await manager.close()


async def test_what_was_deleted_or_renamed_by_oneself_is_no_conflict():
    manager = CloudContentsManager(url="memory://own-deeds")
    model = {"type": "file", "format": "text", "content": "x"}
    for undo in (lambda: manager.delete("d"), lambda: manager.rename("d", "e")):
        await manager.save({"type": "directory"}, "d")
        await manager.save(dict(model), "d/f.txt")
        await undo()
        await manager.save({"type": "directory"}, "d")
        await manager.save(dict(model), "d/f.txt")
    drop_memory_store("own-deeds")


async def test_a_save_that_could_not_be_signed_is_told_and_saved_again_without_a_conflict(tmp_path, monkeypatch):
    manager = CloudContentsManager(url=tmp_path.as_uri())
    path = (await manager.new(path="a.ipynb"))["path"]
    # As JupyterLab sends it: without a version.
    model = {"type": "notebook", "format": "json", "content": (await manager.get(path))["content"]}
    model["content"]["metadata"]["try"] = 1
    with monkeypatch.context() as broken:
        broken.setattr(manager.notary, "sign", fail)
        broken.setattr(manager.notary, "check_cells", lambda node: True)
        with pytest.raises(HTTPError, match="was saved, but could not be signed") as error:
            await manager.save(model, path)
    assert error.value.status_code == 500
    assert b'"try": 1' in (tmp_path / path).read_bytes()
    model["content"]["metadata"]["try"] = 2
    await manager.save(model, path)
    assert (await manager.get(path))["content"]["metadata"]["try"] == 2


def fail(*_):
    raise RuntimeError("no signatures today")


async def test_a_copy_onto_a_file_puts_that_one_in_the_trash():
    manager = CloudContentsManager(url="memory://onto")
    for name in ("a.txt", "b.txt"):
        await manager.save({"type": "file", "format": "text", "content": name}, name)
        await manager.create_checkpoint(name)
    await manager.copy("a.txt", "b.txt")
    assert (await manager.get("b.txt"))["content"] == "a.txt"
    assert await manager.list_checkpoints("b.txt") == []
    (item,) = await manager.namespace.mounts[0].trash.list()
    await manager.namespace.mounts[0].trash.restore(item.id, "c.txt")
    assert (await manager.get("c.txt"))["content"] == "b.txt"
    assert len(await manager.list_checkpoints("c.txt")) == 1
    drop_memory_store("onto")


async def test_checkpoints_left_at_the_new_name_are_not_inherited():
    manager = CloudContentsManager(url="memory://left")
    for name in ("a.txt", "b.txt"):
        await manager.save({"type": "file", "format": "text", "content": name}, name)
        await manager.create_checkpoint(name)
    await manager.namespace.mounts[0].bucket.delete("b.txt")  # by another program
    await manager.rename("a.txt", "b.txt")
    assert len(await manager.list_checkpoints("b.txt")) == 1
    drop_memory_store("left")
