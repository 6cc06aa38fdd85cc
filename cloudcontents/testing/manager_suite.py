"""`ManagerConformance`: what the manager does on every store, as a pytest class to subclass.

    class TestMine(ManagerConformance):
        @pytest.fixture
        def manager(self, tmp_path):
            return CloudContentsManager(url=f"mine://{tmp_path}/store")

The `manager` fixture gives a manager on an empty store, and the suite closes it.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tornado.web import HTTPError

from cloudcontents.keys import RESERVED
from cloudcontents.manager import CloudContentsManager

FIELDS = {
    "name",
    "path",
    "type",
    "created",
    "last_modified",
    "content",
    "format",
    "mimetype",
    "size",
    "writable",
    "hash",
    "hash_algorithm",
    "version",
}


def text(content: str) -> dict[str, Any]:
    """A text file to save."""
    return {"type": "file", "format": "text", "content": content}


def notebook(*sources: str) -> dict[str, Any]:
    """A notebook to save, with outputs."""
    node = new_notebook()
    for number, source in enumerate(sources, 1):
        output = new_output("execute_result", {"text/plain": source}, execution_count=number)
        node.cells.append(new_code_cell(source, execution_count=number, outputs=[output]))
    node.cells.append(new_markdown_cell("# end"))
    return {"type": "notebook", "format": "json", "content": node}


async def refused(work: Any) -> HTTPError:
    """The error that something is refused with."""
    with pytest.raises(HTTPError) as caught:
        await work
    error: HTTPError = caught.value
    assert error.log_message, "a refusal says why"
    return error


class ManagerConformance:
    """Subclass it with a `manager` fixture; `second_manager` is another server on the same store."""

    #: Tells the pytest plugin whose tests these are.
    cloudcontents_suite = True

    @pytest.fixture
    def manager(self) -> CloudContentsManager:
        """A manager on an empty store. Override it."""
        raise NotImplementedError("give a `manager` fixture that returns a manager on an empty store")

    @pytest.fixture
    def second_manager(self, manager: CloudContentsManager) -> CloudContentsManager:
        """Another manager on the same store, as another server has one."""
        return type(manager)(url=manager.url)

    @pytest.fixture(autouse=True)
    def _closed(self, request: pytest.FixtureRequest) -> Iterator[None]:
        opened = [request.getfixturevalue(name) for name in ("manager", "second_manager") if name in request.fixturenames]
        yield
        for manager in opened:
            asyncio.run(manager.close())

    # --- models -------------------------------------------------------------------------------------------------------------

    async def test_every_model_has_every_field(self, manager: CloudContentsManager) -> None:
        saved = [
            await manager.save(notebook("1"), "n.ipynb"),
            await manager.save(text("x"), "f.txt"),
            await manager.save({"type": "directory"}, "d"),
        ]
        for model in saved:
            assert set(model) == FIELDS
            assert model["content"] is None
            assert model["format"] is None
            assert set(await manager.get(model["path"], content=False)) == FIELDS
            assert set(await manager.get(model["path"])) == FIELDS

    async def test_times_are_aware_whole_seconds_and_the_same_everywhere(self, manager: CloudContentsManager) -> None:
        saved = await manager.save(text("x"), "f.txt")
        (listed,) = (await manager.get(""))["content"]
        for model in (saved, listed, await manager.get("f.txt"), await manager.get("f.txt", content=False)):
            assert model["last_modified"] == saved["last_modified"]
            assert model["created"] == saved["created"]
        assert saved["last_modified"].utcoffset() == timedelta(0)
        assert saved["last_modified"].microsecond == 0

    async def test_a_listing_says_of_each_entry_what_get_says(self, manager: CloudContentsManager) -> None:
        await manager.save(notebook("1"), "n.ipynb")
        await manager.save(text("x"), "f.txt")
        await manager.save({"type": "directory"}, "d")
        await manager.save(text("y"), "d/g.bin")
        entries = (await manager.get(""))["content"]
        assert [entry["name"] for entry in entries] == ["d", "f.txt", "n.ipynb"]
        for entry in entries:
            assert entry == await manager.get(entry["path"], content=False)

    async def test_directories_have_a_time(self, manager: CloudContentsManager) -> None:
        await manager.save({"type": "directory"}, "d")
        for model in (
            await manager.get("d"),
            (await manager.get(""))["content"][0],
            await manager.get(""),
            await manager.get("", content=False),
        ):
            assert model["last_modified"].utcoffset() == timedelta(0)

    async def test_the_hash_is_the_same_with_and_without_content(self, manager: CloudContentsManager) -> None:
        await manager.save(text("one"), "f.txt")
        first = await manager.get("f.txt", require_hash=True)
        second = await manager.get("f.txt", content=False, require_hash=True)
        assert first["hash"]
        assert (first["hash"], first["hash_algorithm"]) == (second["hash"], second["hash_algorithm"])
        assert first["hash_algorithm"] == manager.hash_algorithm
        await manager.save(text("two"), "f.txt")
        assert (await manager.get("f.txt", content=False, require_hash=True))["hash"] != first["hash"]

    # --- reading and writing ------------------------------------------------------------------------------------------------

    async def test_a_notebook_comes_back_as_it_was_saved(self, manager: CloudContentsManager) -> None:
        node = notebook("1 + 1", "ü")["content"]
        await manager.save({"type": "notebook", "format": "json", "content": node}, "n.ipynb")
        found = (await manager.get("n.ipynb"))["content"]
        for cell in found.cells:
            cell.metadata.pop("trusted", None)
        assert found == nbformat.from_dict(node)

    @pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)) * 999, "größe\n".encode()], ids=["empty", "nul", "binary", "text"])
    async def test_bytes_come_back_as_they_were_saved(self, manager: CloudContentsManager, data: bytes) -> None:
        saved = await manager.save({"type": "file", "format": "base64", "content": base64.b64encode(data).decode()}, "f.bin")
        assert saved["size"] == len(data)
        model = await manager.get("f.bin", format="base64")
        assert base64.b64decode(model["content"]) == data

    async def test_format_and_type_are_kept_to(self, manager: CloudContentsManager) -> None:
        await manager.save({"type": "file", "format": "base64", "content": "/w=="}, "f.bin")
        await manager.save(notebook("1"), "n.ipynb")
        assert (await manager.get("f.bin"))["format"] == "base64"
        assert (await refused(manager.get("f.bin", format="text"))).status_code == 400
        assert (await refused(manager.get("f.bin", type="directory"))).status_code == 400
        assert (await refused(manager.get("f.bin", type="notebook"))).status_code == 400
        assert (await refused(manager.get("", type="file"))).status_code == 400
        assert isinstance((await manager.get("n.ipynb", type="file"))["content"], str)

    async def test_what_is_not_there_is_404(self, manager: CloudContentsManager) -> None:
        for path in ("no", "no.ipynb", "no/way", "..", "a/../b", "a//b", "nul\0", RESERVED, f"a/{RESERVED}/b", ".hidden"):
            for content in (True, False):
                for type in (None, "file", "notebook", "directory"):
                    assert (await refused(manager.get(path, content=content, type=type))).status_code == 404

    async def test_bad_content_is_refused_and_nothing_changes(self, manager: CloudContentsManager) -> None:
        await manager.save(text("good"), "f.txt")
        for model in (
            {},
            {"type": "file"},
            {"type": "file", "content": "x"},
            {"type": "file", "format": "base64", "content": "%%%"},
            {"type": "file", "format": "text", "content": 5},
            {"type": "file", "format": "text", "content": "\ud800"},
            {"type": "notebook", "format": "json", "content": "x"},
            {"type": "notebook", "format": "json", "content": {"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}},
            {"type": "strange", "content": "x"},
            {"type": "directory"},
        ):
            assert (await refused(manager.save(dict(model), "f.txt"))).status_code == 400
        assert (await manager.get("f.txt"))["content"] == "good"

    async def test_names_that_cannot_be_are_refused(self, manager: CloudContentsManager) -> None:
        for path in ("", "a//b", "new\nline", "x/./y", RESERVED, f"d/{RESERVED.upper()}/x", ".hidden", "y" * 5000):
            assert (await refused(manager.save(text("x"), path))).status_code in (400, 404)
        assert (await manager.get(""))["content"] == []

    async def test_a_file_too_large_for_the_editor_says_how_to_get_it(self, manager: CloudContentsManager) -> None:
        await manager.save(text("x" * 2000), "f.txt")
        manager.max_editor_size = 1000
        error = await refused(manager.get("f.txt"))
        assert error.status_code == 413
        assert "/files/f.txt" in str(error.log_message)
        assert (await manager.get("f.txt", content=False))["size"] == 2000

    # --- safe saves ---------------------------------------------------------------------------------------------------------

    async def test_of_two_savers_from_one_base_one_succeeds(
        self, manager: CloudContentsManager, second_manager: CloudContentsManager
    ) -> None:
        await manager.save(text("base"), "f.txt")
        await manager.get("f.txt")
        await second_manager.get("f.txt")
        await manager.save(text("mine"), "f.txt")
        error = await refused(second_manager.save(text("theirs"), "f.txt"))
        assert error.status_code == 409
        assert (await manager.get("f.txt"))["content"] == "mine"
        conflicts = manager.namespace.mounts[0].conflicts
        (kept,) = await conflicts.list("f.txt")
        assert kept.id in str(error.log_message)
        assert (await conflicts.get(kept.id))[1] == b"theirs"

    async def test_who_has_looked_again_may_save(self, manager: CloudContentsManager, second_manager: CloudContentsManager) -> None:
        await manager.save(text("base"), "f.txt")
        await second_manager.get("f.txt")
        await manager.save(text("mine"), "f.txt")
        await second_manager.get("f.txt", content=False)
        await second_manager.save(text("theirs"), "f.txt")
        assert (await manager.get("f.txt"))["content"] == "theirs"

    async def test_who_saves_again_and_again_never_meets_himself(self, manager: CloudContentsManager) -> None:
        for number in range(10):
            await manager.save(text(str(number)), "f.txt")
        assert (await manager.get("f.txt"))["content"] == "9"

    async def test_the_models_version_is_a_base(self, manager: CloudContentsManager) -> None:
        first = await manager.save(text("one"), "f.txt")
        second = await manager.save(text("two"), "f.txt")
        assert (await refused(manager.save(text("three") | {"version": first["version"]}, "f.txt"))).status_code == 409
        await manager.save(text("three") | {"version": second["version"]}, "f.txt")

    async def test_a_file_deleted_meanwhile_is_a_conflict_until_seen(
        self, manager: CloudContentsManager, second_manager: CloudContentsManager
    ) -> None:
        await manager.save(text("base"), "f.txt")
        await second_manager.get("f.txt")
        await manager.delete("f.txt")
        assert (await refused(second_manager.save(text("x"), "f.txt"))).status_code == 409
        assert (await refused(second_manager.get("f.txt"))).status_code == 404
        await second_manager.save(text("x"), "f.txt")

    # --- new files and directories ----------------------------------------------------------------------------------------------

    async def test_untitled_names_count_up(self, manager: CloudContentsManager) -> None:
        names = [(await manager.new_untitled(type="notebook"))["name"] for _ in range(3)]
        names += [(await manager.new_untitled(type="file", ext=".py"))["name"] for _ in range(2)]
        names += [(await manager.new_untitled(type="directory"))["name"] for _ in range(2)]
        assert names == [
            "Untitled.ipynb",
            "Untitled1.ipynb",
            "Untitled2.ipynb",
            "untitled.py",
            "untitled1.py",
            "Untitled Folder",
            "Untitled Folder 1",
        ]

    async def test_untitled_names_taken_at_once_are_all_different(
        self, manager: CloudContentsManager, second_manager: CloudContentsManager
    ) -> None:
        models = await asyncio.gather(*(server.new_untitled(type="notebook") for server in (manager, second_manager) * 5))
        assert len({model["path"] for model in models}) == 10

    async def test_new_files_need_their_directory(self, manager: CloudContentsManager) -> None:
        assert (await refused(manager.new_untitled("no/such", type="file"))).status_code == 404

    async def test_a_new_notebook_has_a_checkpoint(self, manager: CloudContentsManager) -> None:
        path = (await manager.new_untitled(type="notebook"))["path"]
        assert len(await manager.list_checkpoints(path)) == 1

    # --- copy, rename, delete -------------------------------------------------------------------------------------------------

    async def test_copies_are_equal_and_named_as_jupyter_does(self, manager: CloudContentsManager) -> None:
        await manager.save(notebook("1"), "n.ipynb")
        await manager.save(text("x"), "f.tar.gz")
        await manager.save({"type": "directory"}, "d")
        assert (await manager.copy("n.ipynb"))["path"] == "n-Copy1.ipynb"
        assert (await manager.copy("n-Copy1.ipynb"))["path"] == "n-Copy2.ipynb"
        assert (await manager.copy("f.tar.gz", ""))["path"] == "f-Copy1.tar.gz"
        assert (await manager.copy("f.tar.gz", "d"))["path"] == "d/f.tar.gz"
        assert (await manager.copy("d"))["path"] == "d-Copy1"
        assert (await manager.get("d-Copy1/f.tar.gz"))["content"] == "x"
        assert (await refused(manager.copy("n.ipynb", "no/such"))).status_code == 404
        assert (await refused(manager.copy("no.ipynb"))).status_code == 404

    async def test_a_rename_takes_content_and_checkpoints_along(self, manager: CloudContentsManager) -> None:
        await manager.save({"type": "directory"}, "d")
        await manager.save(text("one"), "d/f.txt")
        checkpoint = await manager.create_checkpoint("d/f.txt")
        await manager.save(text("two"), "d/f.txt")
        await manager.rename("d/f.txt", "d/g.txt")
        await manager.rename("d", "e")
        assert (await manager.get("e/g.txt"))["content"] == "two"
        assert await manager.list_checkpoints("e/g.txt") == [checkpoint]
        await manager.restore_checkpoint(checkpoint["id"], "e/g.txt")
        assert (await manager.get("e/g.txt"))["content"] == "one"
        for path in ("d", "d/f.txt", "d/g.txt"):
            assert (await refused(manager.get(path))).status_code == 404

    async def test_a_rename_replaces_nothing(self, manager: CloudContentsManager) -> None:
        await manager.save(text("a"), "a.txt")
        await manager.save(text("b"), "b.txt")
        await manager.save({"type": "directory"}, "d")
        await manager.save({"type": "directory"}, "e")
        for old, new in (("a.txt", "b.txt"), ("a.txt", "d"), ("d", "a.txt"), ("d", "e")):
            assert (await refused(manager.rename(old, new))).status_code == 409
        assert (await refused(manager.rename("d", "d/in"))).status_code == 400
        assert (await refused(manager.rename("no", "x"))).status_code == 404
        assert (await manager.get("b.txt"))["content"] == "b"

    async def test_the_trash_gives_back_what_was_deleted(self, manager: CloudContentsManager) -> None:
        await manager.save({"type": "directory"}, "d")
        await manager.save(text("x"), "d/f.txt")
        await manager.create_checkpoint("d/f.txt")
        await manager.save(text("y"), "g.txt")
        await manager.delete("d")
        await manager.delete("g.txt")
        assert (await manager.get(""))["content"] == []
        trash = manager.namespace.mounts[0].trash
        for item in await trash.list():
            await trash.restore(item.id)
        assert (await manager.get("d/f.txt"))["content"] == "x"
        assert len(await manager.list_checkpoints("d/f.txt")) == 1
        assert (await manager.get("g.txt"))["content"] == "y"
        assert await trash.list() == []

    async def test_without_trash_a_full_directory_stays(self, manager: CloudContentsManager) -> None:
        manager.delete_to_trash = False
        await manager.save({"type": "directory"}, "d")
        await manager.save(text("x"), "d/f.txt")
        assert (await refused(manager.delete("d"))).status_code == 400
        await manager.delete("d/f.txt")
        await manager.delete("d")
        assert (await refused(manager.get("d"))).status_code == 404
        assert (await refused(manager.delete(""))).status_code == 400
        assert (await refused(manager.delete("no"))).status_code == 404

    # --- chunks -------------------------------------------------------------------------------------------------------------

    async def test_chunks_are_published_whole_at_the_last_one(self, manager: CloudContentsManager) -> None:
        await manager.save(text("old"), "f.bin")
        parts = [b"a" * 100_000, b"b" * 100_000, b"c" * 7]
        for number, part in zip((1, 2, -1), parts, strict=True):
            assert (await manager.get("f.bin"))["content"] == "old"
            await manager.save(_chunk(number, part), "f.bin")
        model = await manager.get("f.bin")
        assert model["content"].encode() == b"".join(parts)
        assert [entry["name"] for entry in (await manager.get(""))["content"]] == ["f.bin"]

    async def test_a_chunk_sent_twice_counts_once(self, manager: CloudContentsManager) -> None:
        for number, part in ((1, b"a"), (2, b"b"), (2, b"b"), (-1, b"c")):
            await manager.save(_chunk(number, part), "f.bin")
        assert (await manager.get("f.bin"))["content"] == "abc"

    async def test_chunks_out_of_order_are_refused(self, manager: CloudContentsManager) -> None:
        assert (await refused(manager.save(_chunk(-1, b"x"), "f.bin"))).status_code == 409
        assert (await refused(manager.save(_chunk(2, b"x"), "f.bin"))).status_code == 409
        await manager.save(_chunk(1, b"a"), "f.bin")
        assert (await refused(manager.save(_chunk(3, b"c"), "f.bin"))).status_code == 409
        await manager.save(_chunk(2, b"b"), "f.bin")
        assert (await refused(manager.save(_chunk(2, b"B"), "f.bin"))).status_code == 409
        for number in (0, -2, "1", 1.5, True):
            assert (await refused(manager.save(_chunk(number, b"x"), "f.bin"))).status_code == 400
        assert (await refused(manager.get("f.bin"))).status_code == 404

    async def test_chunk_1_begins_anew(self, manager: CloudContentsManager) -> None:
        for number, part in ((1, b"a"), (2, b"b"), (1, b"a"), (-1, b"C")):
            await manager.save(_chunk(number, part), "f.bin")
        assert (await manager.get("f.bin"))["content"] == "aC"
        assert (await refused(manager.save(_chunk(-1, b"C"), "f.bin"))).status_code == 409


def _chunk(number: Any, data: bytes) -> dict[str, Any]:
    return {"type": "file", "format": "base64", "content": base64.b64encode(data).decode(), "chunk": number}
