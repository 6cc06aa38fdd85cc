"""Checkpoints under another contents manager: jupyter_server's own AsyncLargeFileManager."""

from __future__ import annotations

import base64

import nbformat
import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from nbformat.v4 import new_markdown_cell, new_notebook
from tornado.web import HTTPError

from cloudcontents.checkpoints import BucketCheckpoints


@pytest.fixture
def contents(tmp_path):
    (tmp_path / "files" / "d").mkdir(parents=True)
    return tmp_path / "files"


@pytest.fixture
def manager(contents, other_url, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    made = AsyncLargeFileManager(root_dir=str(contents), checkpoints_class=BucketCheckpoints, delete_to_trash=False, always_delete_dir=True)
    made.checkpoints = BucketCheckpoints(parent=made, url=other_url)
    made.notary.db_file = ":memory:"
    return made


def notebook(*cells: str):
    return new_notebook(cells=[new_markdown_cell(cell) for cell in cells])


async def test_a_notebook(manager):
    await manager.save({"type": "notebook", "content": notebook("one"), "format": "json"}, "d/a.ipynb")
    made = await manager.list_checkpoints("d/a.ipynb")
    assert len(made) == 1  # the first save of a notebook makes one
    assert set(made[0]) == {"id", "last_modified"}
    second = await manager.create_checkpoint("d/a.ipynb")
    await manager.save({"type": "notebook", "content": notebook("two"), "format": "json"}, "d/a.ipynb")
    assert await manager.list_checkpoints("d/a.ipynb") == [*made, second]
    await manager.restore_checkpoint(second["id"], "d/a.ipynb")
    model = await manager.get("d/a.ipynb")
    assert [cell.source for cell in model["content"].cells] == ["one"]
    kept = (await manager.list_checkpoints("d/a.ipynb"))[-1]
    await manager.restore_checkpoint(kept["id"], "d/a.ipynb")
    model = await manager.get("d/a.ipynb")
    assert [cell.source for cell in model["content"].cells] == ["two"]


async def test_restoring_gives_the_bytes_back(manager, contents):
    await manager.save({"type": "notebook", "content": notebook("é\n", "two"), "format": "json"}, "a.ipynb")
    before = nbformat.reads((contents / "a.ipynb").read_text("utf-8"), as_version=4)
    made = await manager.create_checkpoint("a.ipynb")
    await manager.save({"type": "notebook", "content": notebook(), "format": "json"}, "a.ipynb")
    await manager.restore_checkpoint(made["id"], "a.ipynb")
    assert nbformat.reads((contents / "a.ipynb").read_text("utf-8"), as_version=4) == before


@pytest.mark.parametrize("data", [b"", b"text \xc3\xa9\n", b"\r\nlines\r\n", bytes(range(256)), b"\xff\xfe"])
async def test_a_file_of_any_bytes(manager, contents, data):
    (contents / "a.bin").write_bytes(data)
    made = await manager.create_checkpoint("a.bin")
    (contents / "a.bin").write_bytes(b"other")
    await manager.restore_checkpoint(made["id"], "a.bin")
    assert (contents / "a.bin").read_bytes() == data
    listed = await manager.list_checkpoints("a.bin")
    assert [model["id"].endswith("-undo") for model in listed] == [False, True]
    await manager.delete_checkpoint(made["id"], "a.bin")
    assert await manager.list_checkpoints("a.bin") == []


async def test_content_models(manager):
    made = await manager.checkpoints.create_file_checkpoint("text", "text", "a.txt")
    assert await manager.checkpoints.get_file_checkpoint(made["id"], "a.txt") == {"type": "file", "content": "text", "format": "text"}
    binary = base64.encodebytes(b"\xff" * 100).decode()
    made = await manager.checkpoints.create_file_checkpoint(binary, "base64", "a.bin")
    model = await manager.checkpoints.get_file_checkpoint(made["id"], "a.bin")
    assert (model["format"], base64.b64decode(model["content"])) == ("base64", b"\xff" * 100)
    with pytest.raises(HTTPError) as caught:
        await manager.checkpoints.get_notebook_checkpoint(made["id"], "a.bin")
    assert caught.value.status_code == 400
    with pytest.raises(HTTPError) as caught:
        await manager.checkpoints.create_file_checkpoint("?!", "base64", "a.bin")
    assert caught.value.status_code == 400


async def test_the_same_is_not_kept_twice(manager, contents, other_url):
    (contents / "a.txt").write_bytes(b"one")
    made = await manager.create_checkpoint("a.txt")
    await manager.restore_checkpoint(made["id"], "a.txt")
    listed = await manager.list_checkpoints("a.txt")
    if other_url.startswith("memory:"):  # a disk has no checksum for its files, so there the state is kept to be safe
        assert listed == [made]
    assert listed[0] == made


async def test_they_follow_files_and_directories(manager, contents):
    (contents / "d" / "a.txt").write_bytes(b"one")
    (contents / "d2").mkdir()
    (contents / "d2" / "a.txt").write_bytes(b"two")
    made = await manager.create_checkpoint("d/a.txt")
    other = await manager.create_checkpoint("d2/a.txt")
    await manager.rename("d/a.txt", "d/b.txt")
    assert await manager.list_checkpoints("d/b.txt") == [made]
    await manager.rename("d", "e")
    assert await manager.list_checkpoints("e/b.txt") == [made]
    await manager.delete("e")
    assert await manager.list_checkpoints("e/b.txt") == []
    assert await manager.list_checkpoints("d2/a.txt") == [other]


async def test_what_is_not_there_is_a_404(manager, contents):
    (contents / "a.txt").write_bytes(b"one")
    made = await manager.create_checkpoint("a.txt")
    for call in (
        manager.create_checkpoint("missing.txt"),
        manager.restore_checkpoint(made["id"], "missing.txt"),
        manager.restore_checkpoint("unknown", "a.txt"),
        manager.delete_checkpoint("unknown", "a.txt"),
    ):
        with pytest.raises(HTTPError) as caught:
            await call
        assert caught.value.status_code == 404
    assert (contents / "a.txt").read_bytes() == b"one"


async def test_without_a_bucket_it_says_what_to_set(manager, contents):
    (contents / "a.txt").write_bytes(b"one")
    manager.checkpoints = BucketCheckpoints(parent=manager)
    for call in (manager.create_checkpoint("a.txt"), manager.list_checkpoints("a.txt")):
        with pytest.raises(HTTPError) as caught:
            await call
        assert caught.value.status_code == 500
        assert "c.BucketCheckpoints.url" in caught.value.log_message


async def test_the_old_ones_go(manager, contents):
    manager.checkpoints.keep_last, manager.checkpoints.keep_daily = 4, 0
    for number in range(12):
        (contents / "a.txt").write_text(str(number))
        await manager.create_checkpoint("a.txt")
    assert len(await manager.list_checkpoints("a.txt")) in (4, 5)
