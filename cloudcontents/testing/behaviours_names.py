"""Behaviours of names: good ones come back as they were given, bad ones are refused and reach nothing."""

from __future__ import annotations

import pytest

from cloudcontents.backends.interface import Backend
from cloudcontents.errors import InvalidPathError, NotFoundError, UnsupportedError
from cloudcontents.keys import clean

from . import names
from .calls import files, read


class Names:
    """What may be a key."""

    @pytest.mark.parametrize("group", names.groups("ok"))
    async def test_good_names_come_back_as_they_were_given(self, backend: Backend, group: str) -> None:
        for key in dict.fromkeys(clean(raw) for raw in names.names("ok", group)):
            if not _fits(backend, key):
                continue
            put = await backend.put(key, key.encode())
            assert put.key == key
            assert (await backend.head(key)).key == key
            assert await read(backend, key) == key.encode()
            assert await files(backend) == [key]
            await backend.delete(key)
            assert await files(backend) == []
            parent = key
            while "/" in parent:
                parent = parent.rpartition("/")[0]
                await backend.delete(f"{parent}/")

    @pytest.mark.parametrize("group", ["unicode", "case"])
    async def test_names_that_look_alike_stay_apart(self, backend: Backend, group: str) -> None:
        keys = [key for key in (clean(raw) for raw in names.names("ok", group)) if "/" not in key and _fits(backend, key)]
        for key in keys:
            await backend.put(key, key.encode())
        assert await files(backend) == sorted(keys)
        for key in keys:
            assert await read(backend, key) == key.encode()

    async def test_a_good_name_is_good_as_a_directory_too(self, backend: Backend) -> None:
        keys = [f"{clean(raw)}/f" for raw in ("a b", "caf\u00e9", "a%2Fb", "a+b", "..a", "-rf", "a#b?c", "\U0001f4d3", "x.")]
        for key in keys:
            await backend.put(key, key.encode())
        assert await files(backend) == sorted(keys)

    async def test_the_longest_key(self, backend: Backend) -> None:
        limits = backend.capabilities
        segment = min(limits.max_segment_bytes or 200, 200)
        key = "/".join(["k" * (segment - 1)] * 100)[: limits.max_key_bytes]
        key = key.removesuffix("/") if not key.endswith("/") else f"{key[:-1]}k"
        await backend.put(key, b"x")
        assert await read(backend, key) == b"x"
        assert await files(backend) == [key]

    async def test_a_segment_that_is_too_long_is_refused(self, backend: Backend) -> None:
        limit = backend.capabilities.max_segment_bytes
        if limit is None:
            pytest.skip("this store has no limit on segments")
        await backend.put("s" * limit, b"x")
        for key in ("s" * (limit + 1), "\u00e9" * limit, f"{'s' * (limit + 1)}/f"):
            with pytest.raises(InvalidPathError):
                await backend.put(key, b"x")
            with pytest.raises(NotFoundError):
                await backend.head(key)
        assert await files(backend) == ["s" * limit]

    async def test_a_character_that_a_key_cannot_hold_is_refused(self, backend: Backend) -> None:
        if not backend.capabilities.refused_characters:
            pytest.skip("this store takes any character")
        await backend.put("x", b"inside")
        for key in (f"a{character}b" for character in backend.capabilities.refused_characters):
            for write in (backend.put(key, b"x"), backend.copy("x", key)):
                with pytest.raises(InvalidPathError):
                    await write
            for call in (backend.head(key), backend.get(key), backend.copy(key, "stolen")):
                with pytest.raises(NotFoundError):
                    await call
            await backend.delete(key)
            assert await files(backend, key) == []
        assert await files(backend) == ["x"]

    async def test_keys_that_no_path_can_name(self, backend: Backend) -> None:
        keys = ["a//b", "/lead", "x/../y", "x/./y", "d//"]
        if backend.capabilities.any_key:
            for key in keys:
                await backend.put(key, key.encode())
            assert sorted(info.key for info in (await backend.list("")).objects) == sorted(keys)
            for key in keys:
                assert await read(backend, key) == key.encode()
            return
        for key in keys:
            with pytest.raises((InvalidPathError, UnsupportedError)):
                await backend.put(key, b"")
            with pytest.raises(NotFoundError):
                await backend.head(key)
        assert await files(backend) == []

    async def test_names_out_of_the_root_reach_nothing(self, backend: Backend) -> None:
        if backend.capabilities.any_key:
            pytest.skip("a flat store has no way out of its root")
        await backend.put("x", b"inside")
        for key in [raw.removesuffix("/") for raw in (*names.names("not-found"), "/x", "//x", "./x")]:
            for call in (backend.head(key), backend.get(key), backend.copy(key, "stolen")):
                with pytest.raises(NotFoundError):
                    await call
            for write in (backend.put(key, b"out"), backend.copy("x", key)):
                with pytest.raises((InvalidPathError, UnsupportedError)):
                    await write
            await backend.delete(key)
        assert await files(backend) == ["x"]

    async def test_names_that_would_not_be_listed_are_refused(self, backend: Backend) -> None:
        if backend.capabilities.any_key:
            pytest.skip("this store takes any key")
        for key in (*names.names("refuse", "control"), *names.names("refuse", "encoding")):
            with pytest.raises((InvalidPathError, UnsupportedError)):
                await backend.put(key, b"x")
            with pytest.raises(NotFoundError):
                await backend.head(key)
            await backend.delete(key)
        assert await files(backend) == []


def _fits(backend: Backend, key: str) -> bool:
    limits = backend.capabilities
    segment = limits.max_segment_bytes
    if len(key.encode()) > limits.max_key_bytes or any(character in key for character in limits.refused_characters):
        return False
    return segment is None or all(len(part.encode()) <= segment for part in key.split("/"))
