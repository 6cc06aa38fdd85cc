"""Behaviours of listings: order, delimiter, paging under change, directories and their markers."""

from __future__ import annotations

import pytest

from cloudcontents.backends.interface import IF_ABSENT, Backend
from cloudcontents.errors import AlreadyExistsError, NotFoundError, UnsupportedError

from .calls import everything, files, pages, put_all, read

EDGES = ["d!", "d-", "d.txt", "d/a", "d/b/c", "d0", "dd/x", "e"]


class Listing:
    """Many objects at once."""

    async def test_an_empty_store_lists_nothing(self, backend: Backend) -> None:
        assert await everything(backend) == ([], [])
        assert await everything(backend, delimiter="/") == ([], [])

    async def test_a_missing_prefix_lists_nothing(self, backend: Backend) -> None:
        await backend.put("a/b", b"x")
        for prefix in ("b/", "a/b/", "a/c", "a/b/c/"):
            for delimiter in (None, "/"):
                assert await everything(backend, prefix, delimiter=delimiter) == ([], [])

    async def test_keys_come_in_the_order_of_their_bytes(self, backend: Backend) -> None:
        keys = ["Z", "a", "a b", "a!", "a-b", "a.b", "aa", "b", "\u00e9", "\u4f60", "\uffee", "\U0001f4d3", "_", "0", "~"]
        await put_all(backend, keys)
        assert await files(backend) == sorted(keys, key=str.encode)

    async def test_what_sorts_around_the_slash(self, backend: Backend) -> None:
        await put_all(backend, list(reversed(EDGES)))
        assert await files(backend) == EDGES
        objects, prefixes = await everything(backend, delimiter="/")
        assert [info.key for info in objects] == ["d!", "d-", "d.txt", "d0", "e"]
        assert [info.key for info in prefixes] == ["d/", "dd/"]

    @pytest.mark.parametrize("page_size", [1, 2, 3, 5])
    async def test_what_sorts_around_the_slash_in_pages(self, backend: Backend, page_size: int) -> None:
        await put_all(backend, EDGES)
        objects, prefixes = await everything(backend, delimiter="/", page_size=page_size)
        assert [info.key for info in objects] == ["d!", "d-", "d.txt", "d0", "e"]
        assert [info.key for info in prefixes] == ["d/", "dd/"]
        flat = [info.key for info in (await everything(backend, page_size=page_size))[0]]
        assert [key for key in flat if not key.endswith("/")] == EDGES

    async def test_objects_and_prefixes_are_in_order_over_all_pages(self, backend: Backend) -> None:
        await put_all(backend, EDGES)
        for delimiter in (None, "/"):
            merged = []
            for page in await pages(backend, "", delimiter=delimiter, page_size=2):
                merged.append(sorted([*(info.key for info in page.objects), *(info.key for info in page.prefixes)]))
            flat = [key for page in merged for key in page]
            assert flat == sorted(flat)
            assert len(flat) == len(set(flat))

    async def test_a_prefix_is_text_not_a_directory(self, backend: Backend) -> None:
        await put_all(backend, ["exp", "exp.csv", "exp2/a", "exq"])
        assert await files(backend, "exp") == ["exp", "exp.csv", "exp2/a"]
        assert await files(backend, "exp2") == ["exp2/a"]
        assert await files(backend, "exp2/") == ["exp2/a"]

    async def test_a_delimited_listing_of_a_partial_name(self, backend: Backend) -> None:
        await put_all(backend, ["exp/a", "exp.csv", "exp2/a", "other"])
        objects, prefixes = await everything(backend, "exp", delimiter="/")
        assert [info.key for info in objects] == ["exp.csv"]
        assert [info.key for info in prefixes] == ["exp/", "exp2/"]

    async def test_a_delimited_listing_below_a_prefix(self, backend: Backend) -> None:
        await put_all(backend, ["a/b/c", "a/b/d/e", "a/f", "ab"])
        objects, prefixes = await everything(backend, "a/", delimiter="/")
        assert [info.key for info in objects if info.key != "a/"] == ["a/f"]
        assert [info.key for info in prefixes] == ["a/b/"]

    async def test_another_delimiter_is_refused(self, backend: Backend) -> None:
        with pytest.raises(UnsupportedError):
            await backend.list("", delimiter="-")

    async def test_listings_tell_sizes_and_versions(self, backend: Backend) -> None:
        put = {key: await backend.put(key, b"x" * n) for n, key in enumerate(["a", "b", "c/d"])}
        for info in (await everything(backend))[0]:
            if info.key in put:
                assert (info.size, info.version) == (put[info.key].size, put[info.key].version)

    @pytest.mark.parametrize("page_size", [1, 7, 50, None])
    async def test_paging_tells_each_key_once(self, backend: Backend, page_size: int | None) -> None:
        keys = [f"k/{n:03d}" for n in range(50)]
        await put_all(backend, keys)
        assert [info.key for info in (await everything(backend, "k/0", page_size=page_size))[0]] == keys
        assert [info.key for info in (await everything(backend, "k/0", page_size=page_size, delimiter="/"))[0]] == keys

    async def test_a_page_holds_no_more_than_asked(self, backend: Backend) -> None:
        await put_all(backend, [f"f{n}" for n in range(9)])
        found = await pages(backend, "f", page_size=4)
        if len(found) > 1:  # a store that cannot page may send all
            assert max(len(page.objects) + len(page.prefixes) for page in found) <= 4

    async def test_a_prefix_with_many_keys_is_told_once(self, backend: Backend) -> None:
        await put_all(backend, [f"d/{n:02d}" for n in range(30)] + ["a", "e"])
        for page_size in (1, 2, None):
            objects, prefixes = await everything(backend, delimiter="/", page_size=page_size)
            assert [info.key for info in objects] == ["a", "e"]
            assert [info.key for info in prefixes] == ["d/"]

    async def test_what_is_there_throughout_is_told_once_while_others_come_and_go(self, backend: Backend) -> None:
        stay = [f"k{n:02d}" for n in range(20)]
        await put_all(backend, [*stay, "k05-gone", "k15-gone"])
        found: list[str] = []
        token: str | None = None
        turn = 0
        while True:
            page = await backend.list("k", page_token=token, page_size=3)
            found += [info.key for info in page.objects]
            await backend.delete("k05-gone")
            await backend.delete("k15-gone")
            await put_all(backend, [f"k00-new{turn}", f"k10-new{turn}", f"k19-new{turn}"])
            turn += 1
            token = page.next_token
            if token is None or turn > 100:
                break
        assert [key for key in found if key in stay] == stay
        assert len(found) == len(set(found))

    async def test_the_key_that_a_page_ended_with_may_go(self, backend: Backend) -> None:
        await put_all(backend, ["ka", "kb", "kc"])
        page = await backend.list("k", page_size=1)
        for info in page.objects:
            await backend.delete(info.key)
        if page.next_token is not None:
            left = await backend.list("k", page_token=page.next_token)
            assert [info.key for info in left.objects] == ["ka", "kb", "kc"][len(page.objects) :]

    async def test_a_prefix_that_goes_between_two_pages(self, backend: Backend) -> None:
        await put_all(backend, ["a/1", "b/1", "c"])
        page = await backend.list("", delimiter="/", page_size=1)
        objects, prefixes = [info.key for info in page.objects], [info.key for info in page.prefixes]
        for prefix in prefixes:
            await backend.delete(f"{prefix}1")
            await backend.delete(prefix)
        if page.next_token is not None:
            token: str | None = page.next_token
            while token is not None:
                page = await backend.list("", delimiter="/", page_token=token)
                objects += [info.key for info in page.objects]
                prefixes += [info.key for info in page.prefixes]
                token = page.next_token
            assert "b/" in prefixes
            assert "c" in objects

    async def test_a_deleted_object_is_not_listed(self, backend: Backend) -> None:
        await put_all(backend, ["a", "b"])
        await backend.delete("a")
        assert await files(backend) == ["b"]

    # --- directories and markers -----------------------------------------------------------------------------------------------

    async def test_a_marker_makes_a_directory(self, backend: Backend) -> None:
        marker = f"d{backend.capabilities.directory_marker}"
        info = await backend.put(marker, b"")
        assert (info.key, info.size) == (marker, 0)
        assert (await backend.head(marker)).key == marker
        if marker == "d/":
            objects, prefixes = await everything(backend, delimiter="/")
            assert ([info.key for info in objects], [info.key for info in prefixes]) == ([], ["d/"])

    async def test_the_listing_of_a_directory_begins_with_its_marker(self, backend: Backend) -> None:
        if backend.capabilities.directory_marker != "/":
            pytest.skip("this store marks directories in its own way")
        await put_all(backend, ["d/", "d/a", "d/e/"])
        for page_size in (1, 2, None):
            objects, prefixes = await everything(backend, "d/", delimiter="/", page_size=page_size)
            assert [info.key for info in objects] == ["d/", "d/a"]
            assert [info.key for info in prefixes] == ["d/e/"]
        assert [info.key for info in (await everything(backend))[0]] == ["d/", "d/a", "d/e/"]

    async def test_a_marker_can_be_taken_once(self, backend: Backend) -> None:
        marker = f"d{backend.capabilities.directory_marker}"
        if not backend.capabilities.put_if_absent:
            pytest.skip("this store has no conditional create")
        await backend.put(marker, b"", when=IF_ABSENT)
        with pytest.raises(AlreadyExistsError):
            await backend.put(marker, b"", when=IF_ABSENT)
        await backend.put(marker, b"")

    async def test_a_marker_goes_when_it_is_deleted(self, backend: Backend) -> None:
        marker = f"d{backend.capabilities.directory_marker}"
        await backend.put(marker, b"")
        await backend.delete(marker)
        with pytest.raises(NotFoundError):
            await backend.head(marker)
        await backend.delete(marker)

    async def test_deleting_a_marker_deletes_nothing_below_it(self, backend: Backend) -> None:
        marker = f"d{backend.capabilities.directory_marker}"
        await put_all(backend, [marker, "d/f"])
        await backend.delete(marker)
        assert await read(backend, "d/f") == b"x"

    async def test_a_directory_without_its_last_object(self, backend: Backend) -> None:
        await backend.put("d/f", b"x")
        await backend.delete("d/f")
        _, prefixes = await everything(backend, delimiter="/")
        assert [info.key for info in prefixes] == (["d/"] if backend.capabilities.keeps_directories else [])

    async def test_a_store_that_keeps_directories_shows_each(self, backend: Backend) -> None:
        await backend.put("a/b/c", b"x")
        found = [info.key for info in (await everything(backend))[0]]
        assert found == (["a/", "a/b/", "a/b/c"] if backend.capabilities.keeps_directories else ["a/b/c"])
