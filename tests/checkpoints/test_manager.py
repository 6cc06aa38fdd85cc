"""Checkpoints as the contents manager uses them: they follow their files through everything it does."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook
from tornado.web import HTTPError
from traitlets.config import Config

from cloudcontents import CloudContentsManager
from cloudcontents.keys import companion_prefix


@pytest.fixture
def manager(url, tmp_path, jp_asyncio_loop, jupyter_environment):
    made = CloudContentsManager(url=url, root_dir=str(tmp_path))
    yield made
    jp_asyncio_loop.run_until_complete(made.close())


@pytest.fixture
def bucket(manager):
    return manager.namespace.mounts[0].bucket


@pytest.fixture
def trash(manager):
    return manager.namespace.mounts[0].trash


@pytest.fixture(params=["beside the file", "in another bucket"])
def checkpoints(request, manager, tmp_path):
    """Both places where checkpoints live; what the manager promises of them holds for both."""
    if request.param == "in another bucket":
        (tmp_path / "checkpoints").mkdir()
        manager.checkpoints.url = f"file://{tmp_path}/checkpoints"
    return manager.checkpoints


async def save(manager, path, content):
    return await manager.save({"type": "file", "format": "text", "content": content}, path)


async def read(manager, path):
    return (await manager.get(path, type="file"))["content"]


async def test_create_list_restore_delete(manager, checkpoints):
    await save(manager, "a.txt", "one")
    made = await manager.create_checkpoint("/a.txt")
    await save(manager, "a.txt", "two")
    assert await manager.list_checkpoints("/a.txt") == [made]
    await manager.restore_checkpoint(made["id"], "/a.txt")
    assert await read(manager, "a.txt") == "one"
    await save(manager, "a.txt", "three")  # the client's base has moved on with the restore
    await manager.delete_checkpoint(made["id"], "/a.txt")
    assert await manager.list_checkpoints("a.txt") == []


async def test_a_new_notebook_has_one(manager, checkpoints):
    def model(*cells):
        return {"type": "notebook", "format": "json", "content": new_notebook(cells=[new_markdown_cell(c) for c in cells])}

    await manager.save(model("one"), "a.ipynb")
    made = await manager.list_checkpoints("a.ipynb")
    assert len(made) == 1
    await manager.save(model("one", "two"), "a.ipynb")
    await manager.restore_checkpoint(made[0]["id"], "a.ipynb")
    restored = await manager.get("a.ipynb")
    assert [cell.source for cell in restored["content"].cells] == ["one"]


async def test_a_restore_ends_as_every_write_does(manager, checkpoints):
    await save(manager, "a.txt", "one")
    made = await manager.create_checkpoint("a.txt")
    await save(manager, "a.txt", "two")
    heard = []
    manager.register_post_save_hook(lambda model, os_path, contents_manager: heard.append(model["path"]))
    await manager.restore_checkpoint(made["id"], "a.txt")
    assert heard == ["a.txt"]
    with_content = await manager.get("a.txt", require_hash=True)
    without = await manager.get("a.txt", content=False, require_hash=True)
    assert (with_content["hash"], with_content["last_modified"]) == (without["hash"], without["last_modified"])


async def test_they_follow_a_renamed_file_and_directory(manager, checkpoints, bucket):
    for directory in ("exp", "exp/sub", "exp2", "other"):
        await manager.save({"type": "directory"}, directory)
    made = {}
    for path in ("exp/a.txt", "exp/sub/b.txt", "exp2/a.txt", "exp.csv"):
        await save(manager, path, path)
        made[path] = await manager.create_checkpoint(path)
    await manager.rename("exp/a.txt", "other/c.txt")
    await manager.rename("exp", "other/new")
    assert await manager.list_checkpoints("other/c.txt") == [made["exp/a.txt"]]
    assert await manager.list_checkpoints("other/new/sub/b.txt") == [made["exp/sub/b.txt"]]
    assert await manager.list_checkpoints("exp2/a.txt") == [made["exp2/a.txt"]]
    assert await manager.list_checkpoints("exp.csv") == [made["exp.csv"]]
    await save(manager, "other/new/sub/b.txt", "changed")
    await manager.restore_checkpoint(made["exp/sub/b.txt"]["id"], "other/new/sub/b.txt")
    assert await read(manager, "other/new/sub/b.txt") == "exp/sub/b.txt"


async def test_a_copy_starts_without_checkpoints(manager, checkpoints):
    await manager.save({"type": "directory"}, "d")
    await save(manager, "d/a.txt", "one")
    await manager.create_checkpoint("d/a.txt")
    copy = await manager.copy("d/a.txt")
    directory = await manager.copy("d", "")
    assert await manager.list_checkpoints(copy["path"]) == []
    assert await manager.list_checkpoints(f"{directory['path']}/a.txt") == []


async def test_a_file_that_is_copied_over_does_not_inherit_foreign_checkpoints(manager, checkpoints):
    await save(manager, "a.txt", "one")
    await save(manager, "b.txt", "two")
    made = await manager.create_checkpoint("a.txt")
    await manager.create_checkpoint("b.txt")
    await manager.copy("a.txt", "b.txt")
    assert await read(manager, "b.txt") == "one"
    assert await manager.list_checkpoints("b.txt") == []
    assert await manager.list_checkpoints("a.txt") == [made]


async def test_overwriting_as_jupyterlab_does_takes_the_right_ones(manager, checkpoints):
    """JupyterLab's "Overwrite": the source is set aside, the target deleted, the source renamed onto it."""
    await save(manager, "a.txt", "one")
    await save(manager, "b.txt", "two")
    made = await manager.create_checkpoint("a.txt")
    await manager.create_checkpoint("b.txt")
    await manager.rename("a.txt", "b.txt.tmp")
    await manager.delete("b.txt")
    await manager.rename("b.txt.tmp", "b.txt")
    assert await manager.list_checkpoints("b.txt") == [made]


@pytest.mark.parametrize("delete_to_trash", [True, False])
async def test_they_go_with_a_deleted_file_or_directory(manager, checkpoints, bucket, delete_to_trash):
    manager.delete_to_trash = delete_to_trash
    manager.always_delete_dir = True
    await manager.save({"type": "directory"}, "d")
    for path in ("d/a.txt", "b.txt", "d2.txt"):
        await save(manager, path, "one")
        await manager.create_checkpoint(path)
    await manager.delete("d")
    await manager.delete("b.txt")
    for path in ("d/a.txt", "b.txt"):
        await bucket.put(path, b"another file of that name")
        assert await manager.list_checkpoints(path) == []
    assert len(await manager.list_checkpoints("d2.txt")) == 1


async def test_they_come_back_from_the_trash(manager, trash):
    await manager.save({"type": "directory"}, "d")
    made = {}
    for path in ("d/a.txt", "b.txt"):
        await save(manager, path, "one")
        made[path] = [await manager.create_checkpoint(path) for _ in range(2)]
    for path in ("d", "b.txt"):
        await manager.delete(path)
    for item in await trash.list():
        await trash.restore(item.id)
    for path, expected in made.items():
        assert await manager.list_checkpoints(path) == expected
        assert await read(manager, path) == "one"
        await save(manager, path, "two")
        await manager.restore_checkpoint(expected[0]["id"], path)
        assert await read(manager, path) == "one"


async def test_a_folder_named_checkpoints_can_be_entered(manager, checkpoints):
    await manager.save({"type": "directory"}, "run")
    await manager.save({"type": "directory"}, "run/checkpoints")
    await save(manager, "run/checkpoints/model.pt", "weights")
    model = await manager.list_checkpoints("/run")
    assert model["type"] == "directory"
    assert [child["path"] for child in model["content"]] == ["run/checkpoints/model.pt"]
    made = await manager.create_checkpoint("run/checkpoints/model.pt")
    assert await manager.list_checkpoints("run/checkpoints/model.pt") == [made]


async def test_what_is_hidden_or_ours_stays_so(manager, checkpoints, bucket):
    await save(manager, "a.txt", "one")
    made = await manager.create_checkpoint("a.txt")
    await bucket.put(".hidden", b"x")
    inside = companion_prefix("checkpoints", "a.txt") + made["id"]
    for path in (".hidden", inside, ".cloudcontents", "d/.cloudcontents/x"):
        for call in (
            manager.create_checkpoint(path),
            manager.list_checkpoints(path),
            manager.restore_checkpoint(made["id"], path),
            manager.delete_checkpoint(made["id"], path),
        ):
            with pytest.raises(HTTPError) as caught:
                await call
            assert caught.value.status_code in (400, 404)
    assert await manager.list_checkpoints("a.txt") == [made]


async def test_its_traits_are_read_from_the_configuration(url):
    config = Config()
    config.BucketCheckpoints.keep_last = 3
    config.CloudContentsManager.url = url
    config.CloudContentsManager.checkpoints_kwargs = {"keep_daily": 0}
    manager = CloudContentsManager(config=config)
    assert (manager.checkpoints.keep_last, manager.checkpoints.keep_daily) == (3, 0)
    await save(manager, "a.txt", "one")
    for _ in range(8):
        await manager.create_checkpoint("a.txt")
    assert len(await manager.list_checkpoints("a.txt")) in (3, 4)
    await manager.close()


async def test_requests_through_the_manager(manager, requests):
    await save(manager, "a.txt", "one")
    requests.clear()
    await manager.create_checkpoint("a.txt")
    assert requests.total() == 2
    requests.clear()
    await manager.create_checkpoint("a.txt")
    assert requests == {"copy": 1}
    requests.clear()
    await manager.list_checkpoints("a.txt")
    assert requests == {"list": 1}
