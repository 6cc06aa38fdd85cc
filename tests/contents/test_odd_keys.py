"""Names beside each other, other tools' directory markers, and keys that no path can name."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest
from tornado.web import HTTPError

from cloudcontents import CloudContentsManager
from cloudcontents.backends.memory import MemoryBackend, drop_memory_store, memory_store
from cloudcontents.backends.prefix import PrefixBackend
from cloudcontents.keys import RESERVED_BYTES
from cloudcontents.registry import open_backend


@pytest.fixture
def url():
    name = f"odd-{secrets.token_hex(4)}"
    yield f"memory://{name}/home"
    drop_memory_store(name)


class Telling(PrefixBackend):
    """A store whose listings tell metadata, as Azure's do."""

    async def list(self, prefix, **options):
        page = await super().list(prefix, **options)
        return replace(page, objects=[await self.head(info.key) for info in page.objects])


class Manager(CloudContentsManager):
    def open_backend(self):
        _, _, name, prefix = self.url.split("/")
        return Telling(MemoryBackend(name), prefix)


@pytest.fixture
def manager(url):
    return Manager(url=url)


@pytest.fixture
def keys(url):
    """What is in the store, without what is ours."""

    def keys() -> dict[str, bytes]:
        found = memory_store(url.split("/")[2]).snapshot()
        assert all(key.startswith("home/") for key in found)
        return {key.removeprefix("home/"): data for key, data in found.items() if ".cloudcontents" not in key}

    return keys


async def put(url, **objects: bytes) -> None:
    backend = open_backend(url)
    for key, data in objects.items():
        await backend.put(key, data)


async def names(manager, path="") -> dict[str, str]:
    return {model["name"]: model["type"] for model in (await manager.get(path))["content"]}


SIBLINGS = {"exp/a.txt": b"a", "exp/deep/b.txt": b"b", "exp2/c.txt": b"c", "exp.csv": b"d", "exp-1/e.txt": b"e", "ex": b"f"}


@pytest.mark.parametrize("trash", [True, False])
async def test_deleting_a_directory_leaves_its_neighbours(manager, url, keys, trash):
    await put(url, **SIBLINGS)
    manager.delete_to_trash, manager.always_delete_dir = trash, True
    await manager.delete("exp")
    assert keys() == {key: data for key, data in SIBLINGS.items() if not key.startswith("exp/")}


async def test_renaming_a_directory_leaves_its_neighbours(manager, url, keys):
    await put(url, **SIBLINGS)
    await manager.rename("exp", "new")
    wanted = {key.replace("exp/", "new/") if key.startswith("exp/") else key: data for key, data in SIBLINGS.items()}
    assert {key: data for key, data in keys().items() if not key.endswith("/")} == wanted


async def test_copying_a_directory_leaves_its_neighbours(manager, url, keys):
    await put(url, **SIBLINGS)
    assert (await manager.copy("exp", ""))["path"] == "exp-Copy1"
    found = keys()
    assert {key: found[key] for key in SIBLINGS} == SIBLINGS
    assert {key: data for key, data in found.items() if key.startswith("exp-Copy1/") and not key.endswith("/")} == {
        "exp-Copy1/a.txt": b"a",
        "exp-Copy1/deep/b.txt": b"b",
    }


async def test_an_object_beside_a_directory_of_its_name(manager, url):
    await put(url, **{"d": b"the object", "d/f.txt": b"in it"})
    assert await names(manager) == {"d": "directory"}
    assert (await manager.get("d"))["type"] == "directory"
    assert (await manager.get("d", content=False))["type"] == "directory"
    assert (await manager.get("d", type="file"))["content"] == "the object"
    await manager.save({"type": "file", "format": "text", "content": "g"}, "d/g.txt")
    assert await names(manager, "d") == {"f.txt": "file", "g.txt": "file"}
    with pytest.raises(HTTPError) as refused:
        await CloudContentsManager(url=url).save({"type": "file", "format": "text", "content": "x"}, "d")
    assert refused.value.status_code == 400


MARKERS = {
    "console/": b"",
    "s3contents/.s3keep": b"",
    "gcs/.gcskeep": b"",
    "hadoop_$folder$": b"",
    "full/": b"somebody's bytes",
}


async def test_five_kinds_of_markers_are_directories_and_never_files(manager, url, keys):
    await put(url, **MARKERS)
    await open_backend(url).put("azure", b"", metadata={"hdi_isfolder": "true"})
    wanted = dict.fromkeys(("console", "s3contents", "gcs", "hadoop", "full", "azure"), "directory")
    assert await names(manager) == wanted
    for name in wanted:
        assert await manager.dir_exists(name)
        assert not await manager.file_exists(name)
        assert await names(manager, name) == {}
        assert (await manager.get(name, type="directory"))["content"] == []
        assert (await manager.get(name, content=False))["type"] == "directory"
    assert keys()["full/"] == b"somebody's bytes"
    await manager.rename("full", "moved")
    assert keys()["moved/"] == b"somebody's bytes"


@pytest.mark.parametrize("name", ["console", "s3contents", "gcs", "hadoop", "azure"])
async def test_a_marked_directory_can_be_deleted_and_renamed(manager, url, keys, name):
    await put(url, **MARKERS)
    await open_backend(url).put("azure", b"", metadata={"hdi_isfolder": "true"})
    await manager.rename(name, f"{name}-new")
    assert f"{name}-new" in await names(manager)
    assert name not in await names(manager)
    await manager.delete(f"{name}-new")
    assert f"{name}-new" not in await names(manager)


UNNAMEABLE = ["dir//double.txt", "dir/../up.txt", "dir/./here.txt", "dir/new\nline.txt", "dir/nul\x00.txt", "dir/\x7f"]


async def test_keys_that_no_path_can_name_are_not_shown(manager, url):
    await put(url, **dict.fromkeys(UNNAMEABLE, b"?"), **{"dir/good.txt": b"!"})
    assert await names(manager, "dir") == {"good.txt": "file"}
    assert (await manager.namespace.mounts[0].tree.list("dir")).unnameable == len(UNNAMEABLE)


async def test_keys_that_no_path_can_name_move_and_go_with_their_directory_only(manager, url, keys):
    await put(url, **dict.fromkeys(UNNAMEABLE, b"?"), **{"dir/good.txt": b"!", "/lead.txt": b"?"})
    await manager.rename("dir/good.txt", "good.txt")
    assert [key for key in UNNAMEABLE if keys().get(key) != b"?"] == []
    await manager.rename("dir", "new")
    assert [key for key in UNNAMEABLE if keys().get("new" + key.removeprefix("dir")) != b"?"] == []
    assert not any(key.startswith("dir/") for key in keys())
    await manager.delete("new")
    assert not any(key.startswith("new/") for key in keys())
    assert keys()["/lead.txt"] == b"?"


async def test_the_last_file_leaves_its_directory_standing(manager, url):
    await put(url, **{"one/a.txt": b"a", "two/b.txt": b"b", "three/c/d.txt": b"d"})
    await manager.delete("one/a.txt")
    await manager.rename("two/b.txt", "b.txt")
    await manager.delete("three/c")
    assert await names(manager) == {"one": "directory", "two": "directory", "three": "directory", "b.txt": "file"}


async def test_names_are_never_altered(manager, keys):
    wanted = ["é.txt", "e\u0301.txt", "A.txt", "a.txt", " lead.txt", "trail ", "a b.txt", "100%.txt", "test%46.txt", "a+b", "#?", "ü/ß.txt"]
    for name in wanted:
        if "/" in name:
            await manager.save({"type": "directory"}, name.split("/")[0])
        await manager.save({"type": "file", "format": "text", "content": name}, name)
    assert {key: data.decode() for key, data in keys().items() if not key.endswith("/")} == {name: name for name in wanted}
    for name in wanted:
        assert (await manager.get(name))["content"] == name


async def test_a_key_as_long_as_can_be_has_checkpoints_too(manager):
    limit = manager.namespace.mounts[0].bucket.capabilities.max_key_bytes - RESERVED_BYTES
    path = "n" * limit
    await manager.save({"type": "file", "format": "text", "content": "x"}, path)
    checkpoint = await manager.create_checkpoint(path)
    await manager.restore_checkpoint(checkpoint["id"], path)
    with pytest.raises(HTTPError) as refused:
        await manager.save({"type": "file", "format": "text", "content": "x"}, path + "n")
    assert refused.value.status_code == 400
    assert str(limit) in refused.value.log_message
