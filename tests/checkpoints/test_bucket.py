"""Checkpoints in the bucket of the file itself: every verb, on each kind of bucket."""

from __future__ import annotations

import asyncio
import random
import re

import pytest
from tornado.web import HTTPError

from cloudcontents.backends.interface import IfVersion
from cloudcontents.checkpoints import BucketCheckpoints
from cloudcontents.errors import ConflictError, PermissionDeniedError, UnavailableError
from cloudcontents.keys import companion_prefix, companion_tree

#: For what only an object store has: checksums in its answers, long names, ``d`` beside ``d/f``.
an_object_store = pytest.mark.parametrize("url", ["memory"], indirect=True)


def ids(models):
    return [model["id"] for model in models]


async def keys_below(bucket, prefix):
    return [info.key async for info in bucket.objects(prefix) if not info.key.endswith("/")]


async def contents_of(bucket):
    """Every file and checkpoint; what a store keeps for itself is its own affair."""
    found = [info.key async for info in bucket.objects("") if not info.key.endswith("/")]
    return [key for key in found if not key.startswith(".cloudcontents/") or key.startswith(".cloudcontents/checkpoints/")]


async def test_create_and_list_agree(checkpoints, manager, bucket):
    await bucket.put("d/a.txt", b"one")
    made = await checkpoints.create_checkpoint(manager, "d/a.txt")
    assert set(made) == {"id", "last_modified"}
    assert re.fullmatch(r"[\w-]+", made["id"])
    assert await checkpoints.list_checkpoints("d/a.txt") == [made]
    assert await checkpoints.list_checkpoints("/d/a.txt") == [made]


async def test_many_per_file_the_newest_last(checkpoints, manager, bucket):
    await bucket.put("a.txt", b"one")
    made = [await checkpoints.create_checkpoint(manager, "a.txt") for _ in range(5)]
    assert await checkpoints.list_checkpoints("a.txt") == made


async def test_restore_brings_each_state_back(checkpoints, manager, bucket, text):
    made = []
    for content in (b"one", b"two", b"three"):
        await bucket.put("a.txt", content, content_type="text/x-test", metadata={"mine": "yes"})
        made.append(await checkpoints.create_checkpoint(manager, "a.txt"))
    for checkpoint, content in zip(made, (b"one", b"two", b"three"), strict=True):
        await checkpoints.restore_checkpoint(manager, checkpoint["id"], "a.txt")
        assert await text("a.txt") == content
    info = await bucket.head("a.txt")
    assert info.metadata["mine"] == "yes"
    assert info.content_type == "text/x-test"


async def test_restore_keeps_what_it_replaces(checkpoints, manager, bucket, text):
    await bucket.put("a.txt", b"one")
    first = await checkpoints.create_checkpoint(manager, "a.txt")
    await bucket.put("a.txt", b"not in any checkpoint")
    await checkpoints.restore_checkpoint(manager, first["id"], "a.txt")
    listed = await checkpoints.list_checkpoints("a.txt")
    assert listed[0] == first
    assert len(listed) == 2
    assert listed[1]["id"].endswith("-undo")
    await checkpoints.restore_checkpoint(manager, listed[1]["id"], "a.txt")
    assert await text("a.txt") == b"not in any checkpoint"


async def test_what_a_restore_replaced_does_not_count_as_a_checkpoint(checkpoints, manager, bucket, text):
    await bucket.put("a.txt", b"one")
    first = await checkpoints.create_checkpoint(manager, "a.txt")
    await bucket.put("a.txt", b"two")
    await checkpoints.restore_checkpoint(manager, first["id"], "a.txt")
    kept = (await checkpoints.list_checkpoints("a.txt"))[1]
    await checkpoints.delete_checkpoint(first["id"], "a.txt")
    assert await checkpoints.list_checkpoints("a.txt") == []
    again = await checkpoints.create_checkpoint(manager, "a.txt")
    assert await checkpoints.list_checkpoints("a.txt") == [kept, again]
    await checkpoints.restore_checkpoint(manager, kept["id"], "a.txt")
    assert await text("a.txt") == b"two"


@an_object_store
async def test_restore_does_not_keep_the_same_twice(checkpoints, manager, bucket):
    await bucket.put("a.txt", b"one")
    first = await checkpoints.create_checkpoint(manager, "a.txt")
    await bucket.put("a.txt", b"two")
    second = await checkpoints.create_checkpoint(manager, "a.txt")
    for checkpoint in (first, second, first, first):
        await checkpoints.restore_checkpoint(manager, checkpoint["id"], "a.txt")
    assert await checkpoints.list_checkpoints("a.txt") == [first, second]


async def test_restore_brings_back_a_file_that_somebody_removed(checkpoints, manager, bucket, text):
    await bucket.put("d/a.txt", b"one")
    first = await checkpoints.create_checkpoint(manager, "d/a.txt")
    await bucket.delete("d/a.txt")
    await checkpoints.restore_checkpoint(manager, first["id"], "d/a.txt")
    assert await text("d/a.txt") == b"one"


async def test_a_save_during_a_restore_wins(checkpoints, manager, bucket, text, monkeypatch):
    await bucket.put("a.txt", b"one")
    first = await checkpoints.create_checkpoint(manager, "a.txt")
    await bucket.put("a.txt", b"two")
    copy = bucket.backend.copy

    async def save_first(src, dst, **kwargs):
        if dst == "a.txt":
            await bucket.put("a.txt", b"saved meanwhile")
        return await copy(src, dst, **kwargs)

    monkeypatch.setattr(bucket.backend, "copy", save_first)
    with pytest.raises(HTTPError) as caught:
        await checkpoints.restore_checkpoint(manager, first["id"], "a.txt")
    assert caught.value.status_code == 409
    assert "a.txt" in caught.value.log_message
    assert await text("a.txt") == b"saved meanwhile"


async def test_a_save_before_the_present_is_kept_wins_too(checkpoints, manager, bucket, text, monkeypatch):
    await bucket.put("a.txt", b"one")
    first = await checkpoints.create_checkpoint(manager, "a.txt")
    await bucket.put("a.txt", b"two")
    copy = bucket.backend.copy

    async def save_first(src, dst, **kwargs):
        if src == "a.txt":
            await bucket.put("a.txt", b"saved meanwhile")
        return await copy(src, dst, **kwargs)

    monkeypatch.setattr(bucket.backend, "copy", save_first)
    with pytest.raises(HTTPError) as caught:
        await checkpoints.restore_checkpoint(manager, first["id"], "a.txt")
    assert caught.value.status_code == 409
    assert await text("a.txt") == b"saved meanwhile"


async def test_saves_and_restores_that_race_lose_nothing(checkpoints, manager, bucket, text):
    """Whoever comes last has the file; the other one's text is in a checkpoint, or was told of the conflict."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    await bucket.put("a.txt", b"old")
    first = await checkpoints.create_checkpoint(manager, "a.txt")
    for number in range(40):
        before, saved = f"before {number}".encode(), f"saved {number}".encode()
        present = await bucket.put("a.txt", before)

        async def save(present=present, saved=saved):
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            try:
                await bucket.put("a.txt", saved, when=IfVersion(present.version))
            except ConflictError:
                return False
            return True

        async def restore():
            try:
                await checkpoints.restore_checkpoint(manager, first["id"], "a.txt")
            except HTTPError as error:
                if error.status_code != 409:
                    raise
                return False
            return True

        was_saved, was_restored = await asyncio.gather(save(), restore())
        assert was_saved or was_restored
        file = await text("a.txt")
        assert file == (b"old" if was_restored else saved)
        if was_restored:
            newest = (await checkpoints.list_checkpoints("a.txt"))[-1]
            async with await checkpoints.open_checkpoint(newest["id"], "a.txt") as reader:
                assert b"".join([piece async for piece in reader]) == (saved if was_saved else before)


async def test_restoring_again_and_again_keeps_what_the_user_kept(checkpoints, manager, bucket, text):
    """What restores replaced is pruned by itself, and pushes out nothing else."""
    checkpoints.keep_last, checkpoints.keep_daily = 3, 0
    await bucket.put("a.txt", b"kept")
    first = await checkpoints.create_checkpoint(manager, "a.txt")
    for number in range(12):
        await bucket.put("a.txt", str(number).encode())
        await checkpoints.restore_checkpoint(manager, first["id"], "a.txt")
    found = [model["id"] for model in await checkpoints.list_checkpoints("a.txt")]
    assert first["id"] in found
    assert len(found) <= 6
    assert await text("a.txt") == b"kept"


async def test_delete_one(checkpoints, manager, bucket):
    await bucket.put("a.txt", b"one")
    made = [await checkpoints.create_checkpoint(manager, "a.txt") for _ in range(3)]
    await checkpoints.delete_checkpoint(made[1]["id"], "a.txt")
    assert await checkpoints.list_checkpoints("a.txt") == [made[0], made[2]]


@pytest.mark.parametrize(
    "unknown", ["20261121T075750123456Z-a1b2c3", "x", "checkpoint", "x.y", "..", "é", "20261121T075750123456Z-a1b2c3-undo"]
)
async def test_an_unknown_checkpoint_is_a_404(checkpoints, manager, bucket, unknown):
    await bucket.put("a.txt", b"one")
    await checkpoints.create_checkpoint(manager, "a.txt")
    for call in (
        checkpoints.delete_checkpoint(unknown, "a.txt"),
        checkpoints.restore_checkpoint(manager, unknown, "a.txt"),
        checkpoints.rename_checkpoint(unknown, "a.txt", "b.txt"),
        checkpoints.name_checkpoint(unknown, "name", "a.txt"),
    ):
        with pytest.raises(HTTPError) as caught:
            await call
        assert caught.value.status_code == 404


async def test_no_file_no_checkpoint(checkpoints, manager, bucket):
    await bucket.put("d/a.txt", b"one")
    for path in ("missing.txt", "d"):
        with pytest.raises(HTTPError) as caught:
            await checkpoints.create_checkpoint(manager, path)
        assert caught.value.status_code == 404
        assert await checkpoints.list_checkpoints(path) == []


async def test_one_checkpoint_moves_to_another_file(checkpoints, manager, bucket, text):
    await bucket.put("a.txt", b"one")
    await bucket.put("b.txt", b"two")
    made = [await checkpoints.create_checkpoint(manager, "a.txt") for _ in range(2)]
    await checkpoints.rename_checkpoint(made[0]["id"], "a.txt", "b.txt")
    assert await checkpoints.list_checkpoints("a.txt") == [made[1]]
    assert await checkpoints.list_checkpoints("b.txt") == [made[0]]
    await checkpoints.restore_checkpoint(manager, made[0]["id"], "b.txt")
    assert await text("b.txt") == b"one"


async def test_a_name(checkpoints, manager, bucket, text):
    await bucket.put("a.txt", b"one")
    made = [await checkpoints.create_checkpoint(manager, "a.txt") for _ in range(2)]
    named = await checkpoints.name_checkpoint(made[0]["id"], "good", "a.txt")
    assert named == {"id": "good", "last_modified": made[0]["last_modified"]}
    assert await checkpoints.list_checkpoints("a.txt") == [named, made[1]]
    with pytest.raises(HTTPError) as caught:
        await checkpoints.name_checkpoint(made[1]["id"], "good", "a.txt")
    assert caught.value.status_code == 409
    await bucket.put("a.txt", b"two")
    await checkpoints.restore_checkpoint(manager, "good", "a.txt")
    assert await text("a.txt") == b"one"
    better = await checkpoints.name_checkpoint("good", "better", "a.txt")
    await checkpoints.delete_checkpoint("better", "a.txt")
    assert better["id"] not in ids(await checkpoints.list_checkpoints("a.txt"))


async def test_looking_into_one(checkpoints, manager, bucket):
    await bucket.put("a.txt", b"one")
    made = await checkpoints.create_checkpoint(manager, "a.txt")
    await bucket.put("a.txt", b"two")
    async with await checkpoints.open_checkpoint(made["id"], "a.txt") as reader:
        assert b"".join([piece async for piece in reader]) == b"one"
    with pytest.raises(HTTPError) as caught:
        await checkpoints.open_checkpoint("unknown", "a.txt")
    assert caught.value.status_code == 404


# --- files and directories that move ------------------------------------------------------------------------------------------------


async def test_checkpoints_follow_a_renamed_file(checkpoints, manager, bucket):
    await bucket.put("a.txt", b"one")
    await bucket.put("a.txt2", b"other")
    made = [await checkpoints.create_checkpoint(manager, "a.txt") for _ in range(3)]
    other = await checkpoints.create_checkpoint(manager, "a.txt2")
    await checkpoints.rename_all_checkpoints("/a.txt", "d/b.txt")
    assert await checkpoints.list_checkpoints("a.txt") == []
    assert await checkpoints.list_checkpoints("d/b.txt") == made
    assert await checkpoints.list_checkpoints("a.txt2") == [other]
    await checkpoints.rename_all_checkpoints("a.txt", "d/c.txt")  # a repeat has nothing to do
    assert await checkpoints.list_checkpoints("d/b.txt") == made


async def test_checkpoints_follow_a_renamed_directory(checkpoints, manager, bucket):
    paths = ["exp/a.txt", "exp/sub/deep/b.txt", "exp2/a.txt", "exp.csv"]
    made = {}
    for path in paths:
        await bucket.put(path, path.encode())
        made[path] = [await checkpoints.create_checkpoint(manager, path) for _ in range(2)]
    await checkpoints.rename_all_checkpoints("exp", "new/place")
    assert await checkpoints.list_checkpoints("exp/a.txt") == []
    assert await checkpoints.list_checkpoints("new/place/a.txt") == made["exp/a.txt"]
    assert await checkpoints.list_checkpoints("new/place/sub/deep/b.txt") == made["exp/sub/deep/b.txt"]
    for path in ("exp2/a.txt", "exp.csv"):
        assert await checkpoints.list_checkpoints(path) == made[path]
    assert await keys_below(bucket, companion_tree("checkpoints", "exp")) == []


async def test_a_renamed_file_does_not_inherit_foreign_checkpoints(checkpoints, manager, bucket):
    await bucket.put("old.txt", b"of another file")
    await checkpoints.create_checkpoint(manager, "old.txt")
    await bucket.delete("old.txt")
    await bucket.put("a.txt", b"one")
    made = await checkpoints.create_checkpoint(manager, "a.txt")
    await checkpoints.rename_all_checkpoints("a.txt", "old.txt")
    assert await checkpoints.list_checkpoints("old.txt") == [made]
    await checkpoints.rename_all_checkpoints("without.txt", "old.txt")
    assert await checkpoints.list_checkpoints("old.txt") == []


async def test_checkpoints_go_with_their_file_or_directory(checkpoints, manager, bucket):
    paths = ["exp/a.txt", "exp/b/c.txt", "exp2/a.txt", "exp.csv"]
    for path in paths:
        await bucket.put(path, b"x")
        await checkpoints.create_checkpoint(manager, path)
    await checkpoints.delete_all_checkpoints("exp/a.txt")
    assert await checkpoints.list_checkpoints("exp/a.txt") == []
    assert len(await checkpoints.list_checkpoints("exp/b/c.txt")) == 1
    await checkpoints.delete_all_checkpoints("exp")
    await checkpoints.delete_all_checkpoints("exp")
    assert await checkpoints.list_checkpoints("exp/b/c.txt") == []
    assert len(await checkpoints.list_checkpoints("exp2/a.txt")) == 1
    assert len(await checkpoints.list_checkpoints("exp.csv")) == 1


async def test_the_root_is_refused(checkpoints, manager, bucket):
    await bucket.put("a.txt", b"x")
    made = await checkpoints.create_checkpoint(manager, "a.txt")
    for root in ("", "/"):
        with pytest.raises(HTTPError) as caught:
            await checkpoints.delete_all_checkpoints(root)
        assert caught.value.status_code == 400
    assert await checkpoints.list_checkpoints("a.txt") == [made]


# --- retention ----------------------------------------------------------------------------------------------------------------------


async def test_the_old_ones_go(manager, bucket, text):
    checkpoints = BucketCheckpoints(parent=manager, keep_last=4, keep_daily=0)
    await bucket.put("a.txt", b"first")
    first = await checkpoints.create_checkpoint(manager, "a.txt")
    await checkpoints.name_checkpoint(first["id"], "first", "a.txt")
    for number in range(20):
        await bucket.put("a.txt", str(number).encode())
        made = await checkpoints.create_checkpoint(manager, "a.txt")
        listed = await checkpoints.list_checkpoints("a.txt")
        assert listed[-1] == made
        assert listed[0]["id"] == "first"
        # A quarter more than the policy keeps may wait for the next look.
        assert len(listed) - 1 <= 5
        assert len(listed) - 1 >= min(number + 1, 4)
    await checkpoints.restore_checkpoint(manager, "first", "a.txt")
    assert await text("a.txt") == b"first"


async def test_restores_are_pruned_too(manager, bucket):
    checkpoints = BucketCheckpoints(parent=manager, keep_last=4, keep_daily=0)
    await bucket.put("a.txt", b"first")
    first = await checkpoints.create_checkpoint(manager, "a.txt")
    await checkpoints.name_checkpoint(first["id"], "first", "a.txt")
    for number in range(12):
        await bucket.put("a.txt", str(number).encode())
        await checkpoints.restore_checkpoint(manager, "first", "a.txt")
    assert len(await checkpoints.list_checkpoints("a.txt")) - 1 in (4, 5)


async def test_a_failed_pruning_fails_no_checkpoint(manager, bucket, monkeypatch, caplog):
    checkpoints = BucketCheckpoints(parent=manager, keep_last=1, keep_daily=0)
    await bucket.put("a.txt", b"x")

    async def broken(items):
        raise PermissionDeniedError("Objects here cannot be deleted.")

    monkeypatch.setattr(bucket, "delete_many", broken)
    made = [await checkpoints.create_checkpoint(manager, "a.txt") for _ in range(3)]
    assert await checkpoints.list_checkpoints("a.txt") == made
    assert "were not pruned" in caplog.text


async def test_requests(checkpoints, manager, bucket, requests):
    await bucket.put("a.txt", b"x")
    requests.clear()
    await checkpoints.create_checkpoint(manager, "a.txt")
    assert requests == {"copy": 1, "list": 1}  # the first one since the start looks what is there
    for _ in range(19):
        requests.clear()
        await checkpoints.create_checkpoint(manager, "a.txt")
        assert requests == {"copy": 1}
    requests.clear()
    made = await checkpoints.list_checkpoints("a.txt")
    assert requests == {"list": 1}
    await bucket.put("a.txt", b"y")
    requests.clear()
    await checkpoints.restore_checkpoint(manager, made[0]["id"], "a.txt")
    assert requests["copy"] == 2
    assert requests["put"] == requests["get"] == 0
    assert requests.total() <= 10


async def test_no_byte_of_a_file_passes_through(checkpoints, manager, bucket, monkeypatch):
    await bucket.put("a.txt", b"one")

    async def never(*args, **kwargs):
        raise AssertionError("content was read or sent")

    monkeypatch.setattr(bucket.backend, "get", never)
    monkeypatch.setattr(bucket.backend, "put", never)
    made = await checkpoints.create_checkpoint(manager, "a.txt")
    await checkpoints.restore_checkpoint(manager, made["id"], "a.txt")
    await checkpoints.rename_checkpoint(made["id"], "a.txt", "b.txt")
    await checkpoints.name_checkpoint(made["id"], "name", "b.txt")


# --- what is refused ----------------------------------------------------------------------------------------------------------------

BAD = [
    "a/../b",
    "..",
    "a\x00b",
    "a//b",
    "./a",
    ".cloudcontents/x",
    "d/.cloudcontents/checkpoints/x",
    "d/.CloudContents",
    ".hidden",
    "d/.h/x",
]


@pytest.mark.parametrize("path", BAD)
async def test_names_are_checked_at_every_door(checkpoints, manager, bucket, path):
    await bucket.put("a.txt", b"x")
    made = await checkpoints.create_checkpoint(manager, "a.txt")
    before = await contents_of(bucket)
    for call in (
        checkpoints.create_checkpoint(manager, path),
        checkpoints.list_checkpoints(path),
        checkpoints.restore_checkpoint(manager, made["id"], path),
        checkpoints.delete_checkpoint(made["id"], path),
        checkpoints.rename_checkpoint(made["id"], "a.txt", path),
        checkpoints.rename_checkpoint(made["id"], path, "a.txt"),
        checkpoints.name_checkpoint(made["id"], "name", path),
        checkpoints.open_checkpoint(made["id"], path),
        checkpoints.create_file_checkpoint("x", "text", path),
        checkpoints.get_file_checkpoint(made["id"], path),
        checkpoints.get_notebook_checkpoint(made["id"], path),
    ):
        with pytest.raises(HTTPError) as caught:
            await call
        assert caught.value.status_code in (400, 404)
    assert await contents_of(bucket) == before


@pytest.mark.parametrize("path", BAD[:8])
async def test_whole_trees_of_bad_names_are_refused(checkpoints, manager, bucket, path):
    await bucket.put("a.txt", b"x")
    await checkpoints.create_checkpoint(manager, "a.txt")
    before = await contents_of(bucket)
    for call in (
        checkpoints.delete_all_checkpoints(path),
        checkpoints.rename_all_checkpoints("a.txt", path),
        checkpoints.rename_all_checkpoints(path, "a.txt"),
    ):
        with pytest.raises(HTTPError) as caught:
            await call
        assert caught.value.status_code in (400, 404)
    assert await contents_of(bucket) == before


async def test_hidden_files_have_checkpoints_where_they_are_allowed(checkpoints, manager, bucket):
    manager.allow_hidden = True
    await bucket.put(".hidden", b"x")
    made = await checkpoints.create_checkpoint(manager, ".hidden")
    assert await checkpoints.list_checkpoints(".hidden") == [made]


async def test_a_store_that_denies_writing_is_a_403(checkpoints, manager, bucket, monkeypatch):
    await bucket.put("a.txt", b"x")

    async def deny(*args, **kwargs):
        raise PermissionDeniedError("This bucket can only be read.")

    monkeypatch.setattr(bucket.backend, "copy", deny)
    with pytest.raises(HTTPError) as caught:
        await checkpoints.create_checkpoint(manager, "a.txt")
    assert (caught.value.status_code, caught.value.log_message) == (403, "This bucket can only be read.")
    assert await checkpoints.list_checkpoints("a.txt") == []


@an_object_store
async def test_a_name_too_long_for_checkpoints_is_a_403(checkpoints, manager, bucket):
    path = "x" * 1000
    await bucket.put(path, b"x")
    assert await checkpoints.list_checkpoints(path) == []
    with pytest.raises(HTTPError) as caught:
        await checkpoints.create_checkpoint(manager, path)
    assert caught.value.status_code == 403


async def test_an_outage_says_so(checkpoints, manager, bucket, monkeypatch):
    async def away(*args, **kwargs):
        raise UnavailableError("The store cannot be reached; try again later.")

    monkeypatch.setattr(bucket, "copy", away)
    with pytest.raises(HTTPError) as caught:
        await checkpoints.create_checkpoint(manager, "a.txt")
    assert (caught.value.status_code, caught.value.log_message) == (503, "The store cannot be reached; try again later.")


async def test_foreign_objects_beside_checkpoints_are_no_checkpoints(checkpoints, manager, bucket):
    await bucket.put("a.txt", b"x")
    made = await checkpoints.create_checkpoint(manager, "a.txt")
    await bucket.put(companion_prefix("checkpoints", "a.txt") + "notes.txt", b"x")
    await bucket.put(companion_prefix("checkpoints", "a.txt") + "deeper/x", b"x")
    assert await checkpoints.list_checkpoints("a.txt") == [made]


@an_object_store
async def test_a_file_and_a_directory_of_its_name_have_their_own(checkpoints, manager, bucket):
    await bucket.put("d", b"file")
    await bucket.put("d/f", b"below")
    one = await checkpoints.create_checkpoint(manager, "d")
    two = await checkpoints.create_checkpoint(manager, "d/f")
    assert await checkpoints.list_checkpoints("d") == [one]
    assert await checkpoints.list_checkpoints("d/f") == [two]


async def test_it_shares_the_managers_bucket(checkpoints):
    assert checkpoints.shares_bucket
    await checkpoints.close()
    assert await checkpoints.recover() == []
