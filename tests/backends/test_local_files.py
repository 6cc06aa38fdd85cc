"""The local backend's own promises: plain files, links never followed, modes kept, side files bound to a version."""

import asyncio
import os
import stat
import time

import pytest

from cloudcontents.backends import IF_ABSENT, IfVersion
from cloudcontents.backends import local_staging as staging
from cloudcontents.backends.local import LocalBackend
from cloudcontents.errors import (
    BucketNotFoundError,
    ConfigurationError,
    ConflictError,
    DirectoryNotEmptyError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    TruncatedError,
    UnsupportedError,
    WrongTypeError,
)
from cloudcontents.registry import open_backend


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "bucket"
    root.mkdir()
    return root


@pytest.fixture
def backend(root):
    backend = LocalBackend(str(root))
    yield backend
    asyncio.run(backend.close())


async def read(backend, key):
    async with await backend.get(key) as reader:
        return b"".join([piece async for piece in reader])


async def keys(backend):
    return [info.key for info in (await backend.list("")).objects if not info.key.startswith(".cloudcontents")]


def staged(root):
    return [path for path in root.rglob("*") if ".cloudcontents/tmp/" in str(path)]


async def test_objects_are_plain_files(backend, root):
    await backend.put("d/f.txt", b"hello")
    assert (root / "d/f.txt").read_bytes() == b"hello"
    (root / "d/other.txt").write_bytes(b"from outside")
    assert await read(backend, "d/other.txt") == b"from outside"
    assert staged(root) == []


async def test_a_new_file_has_the_mode_of_the_umask(backend, root):
    old = os.umask(0o027)
    try:
        await backend.put("f", b"x")
        await backend.put("g", b"x", when=IF_ABSENT)
    finally:
        os.umask(old)
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in "fg"] == [0o640, 0o640]


@pytest.mark.parametrize("mode", [0o600, 0o755, 0o664])
async def test_a_replaced_files_mode_is_kept(backend, root, mode):
    (root / "f").write_bytes(b"old")
    (root / "f").chmod(mode)
    info = await backend.put("f", b"new")
    info = await backend.put("f", b"newer", when=IfVersion(info.version))
    assert stat.S_IMODE((root / "f").stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_replaced_files_owner_is_kept(backend, root):
    (root / "f").write_bytes(b"old")
    os.chown(root / "f", 1234, 1235)
    await backend.put("f", b"new")
    status = (root / "f").stat()
    assert (status.st_uid, status.st_gid) == (1234, 1235)


async def test_a_read_only_file_is_not_replaced(backend, root, monkeypatch):
    (root / "f").write_bytes(b"old")
    (root / "f").chmod(0o444)
    os.chown(root / "f", 4321, 4321) if os.geteuid() == 0 else None
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    assert not (await backend.head("f")).writable
    with pytest.raises(PermissionDeniedError):
        await backend.put("f", b"new")
    assert (root / "f").read_bytes() == b"old"
    assert staged(root) == []


# --- links -------------------------------------------------------------------------------------------------------------------


async def test_links_are_not_there(backend, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "file").symlink_to(outside / "secret")
    (root / "dir").symlink_to(outside)
    (root / "dangling").symlink_to(outside / "missing")
    (root / "inner").symlink_to("real")
    await backend.put("real", b"x")
    assert await keys(backend) == ["real"]
    assert (await backend.list("", delimiter="/")).prefixes[1:] == []
    for key in ("file", "dir/", "dir/secret", "dangling", "inner"):
        with pytest.raises(NotFoundError):
            await backend.head(key)
        with pytest.raises(NotFoundError):
            await backend.copy(key, f"stolen{'/' if key.endswith('/') else ''}")
        await backend.delete(key)
    for key in ("file", "dir", "dir/secret", "dir/new", "dangling", "inner"):
        with pytest.raises(WrongTypeError):
            await backend.put(key, b"x")
    assert (outside / "secret").read_bytes() == b"secret"
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (await backend.list("dir/")).objects == []


async def test_an_ancestor_swapped_for_a_link_leads_nowhere(backend, root, tmp_path):
    """A directory turns into a link to the outside and back, while keys below it are written and read."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"secret")
    await backend.put("d/f", b"inside")
    stop = False

    def swap():
        while not stop:
            (root / "d").rename(root / "kept")
            (root / "d").symlink_to(outside)
            (root / "d").unlink()
            (root / "kept").rename(root / "d")

    swapping = asyncio.create_task(asyncio.to_thread(swap))
    try:
        for turn in range(300):
            results = await asyncio.gather(
                read(backend, "d/f"),
                backend.delete("d/g"),
                backend.list("d/"),
                return_exceptions=True,
            )
            assert results[0] == b"inside" or isinstance(results[0], NotFoundError)
            listed = [] if isinstance(results[2], BaseException) else [info.key for info in results[2].objects]
            assert set(listed) <= {"d/", "d/f", "d/g"}, turn
    finally:
        stop = True
        await swapping
    assert sorted(path.name for path in outside.iterdir()) == ["f"]
    assert (outside / "f").read_bytes() == b"secret"


async def test_the_root_itself_may_be_a_link(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    backend = LocalBackend(str(tmp_path / "link"))
    await backend.put("f", b"x")
    assert (root / "f").read_bytes() == b"x"
    await backend.close()


async def test_special_files_are_not_there(backend, root):
    os.mkfifo(root / "pipe")
    assert await keys(backend) == []
    with pytest.raises(NotFoundError):
        await backend.get("pipe")
    with pytest.raises(WrongTypeError):
        await backend.put("pipe", b"x")


async def test_a_directory_of_nothing_but_links_says_why_it_stays(backend, root):
    await backend.put("d/", b"")
    (root / "d/link").symlink_to("/")
    with pytest.raises(DirectoryNotEmptyError):
        await backend.delete("d/")
    assert (root / "d/link").is_symlink()


async def test_names_that_are_not_utf8_are_left_out(backend, root):
    for name in (b"bad\xff", b"new\nline", b"esc\x1b"):
        with open(os.path.join(os.fsencode(root), name), "wb"):
            pass
    await backend.put("good", b"x")
    assert await keys(backend) == ["good"]


# --- metadata and edits by others ----------------------------------------------------------------------------------------------


async def test_metadata_are_void_after_an_edit_by_another_program(backend, root):
    await backend.put("f", b"x", metadata={"a": "1"}, content_type="text/x-odd")
    (root / "f").write_bytes(b"edited outside")
    info = await backend.head("f")
    assert (dict(info.metadata or {}), info.content_type) == ({}, None)


async def test_no_side_file_without_need(backend, root):
    await backend.put("a.txt", b"x", content_type="text/plain")
    await backend.put("b.ipynb", b"{}", content_type="application/x-ipynb+json")
    await backend.put("c", b"x")
    assert not (root / ".cloudcontents/meta").exists()


async def test_metadata_follow_a_renamed_directory(backend):
    await backend.put("a/b/f", b"x", metadata={"m": "1"})
    await backend.rename("a/", "c/")
    assert dict((await backend.head("c/b/f")).metadata or {}) == {"m": "1"}


async def test_a_side_file_makes_way_for_a_directory(backend, root):
    await backend.put("d", b"x", metadata={"m": "1"})
    (root / "d").unlink()
    await backend.put("d/f", b"x", metadata={"m": "2"})
    assert dict((await backend.head("d/f")).metadata or {}) == {"m": "2"}


async def test_an_edit_by_another_program_is_a_conflict(backend, root):
    info = await backend.put("f", b"one")
    (root / "f").write_bytes(b"two")
    with pytest.raises(ConflictError):
        await backend.put("f", b"three", when=IfVersion(info.version))
    with pytest.raises(ConflictError):
        await backend.delete("f", if_version=info.version)
    assert (root / "f").read_bytes() == b"two"


@pytest.mark.parametrize(("size", "error"), [(5 << 20, ConflictError), (1 << 20, TruncatedError)])
async def test_a_file_that_changes_under_its_reader(backend, root, size, error):
    await backend.put("f", b"a" * (5 << 20))
    reader = await backend.get("f")
    (root / "f").write_bytes(b"b" * size)
    got = []

    async def go_on():
        async for piece in reader:
            got.append(piece)

    with pytest.raises(error):
        await go_on()
    await reader.aclose()
    assert set(b"".join(got)) <= {ord("a")}


# --- staging -----------------------------------------------------------------------------------------------------------------


async def test_another_device_is_staged_beside_its_target(backend, root, monkeypatch):
    """The kernel refuses to rename between devices: the file is staged again in the target's own directory, and all else holds."""
    real_replace, real_link = os.replace, os.link
    top = os.stat(root).st_ino

    def crosses(src_dir_fd):
        at = os.stat("../..", dir_fd=src_dir_fd)
        return at.st_ino == top

    def replace(src, dst, *, src_dir_fd=None, dst_dir_fd=None):
        if src_dir_fd != dst_dir_fd and crosses(src_dir_fd):
            raise OSError(18, "EXDEV")
        real_replace(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def link(src, dst, *, src_dir_fd=None, dst_dir_fd=None, follow_symlinks=True):
        if crosses(src_dir_fd):
            raise OSError(18, "EXDEV")
        real_link(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "link", link)
    await backend.put("mnt/f", b"one", when=IF_ABSENT, metadata={"a": "1"})
    info = await backend.put("mnt/f", b"two", metadata={"a": "2"})
    assert (await backend.head("mnt/f")).version == info.version
    assert dict((await backend.head("mnt/f")).metadata or {}) == {"a": "2"}
    assert (root / "mnt/f").read_bytes() == b"two"
    assert [path.name for path in (root / "mnt").iterdir()] == ["f"], "the staging directory is removed when empty"
    assert staged(root) == []


async def test_without_hard_links_a_name_is_still_taken_once(backend, monkeypatch):
    def link(*_args, **_options):
        raise OSError(95, "ENOTSUP")

    monkeypatch.setattr(os, "link", link)
    results = await asyncio.gather(*(backend.put("f", str(n).encode(), when=IF_ABSENT) for n in range(16)), return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    await backend.rename("f", "g")
    assert await keys(backend) == ["g"]


async def test_a_full_disk_keeps_the_old_file(backend, root, monkeypatch):
    await backend.put("f", b"old")

    def write(*_args):
        raise OSError(28, "No space left on device", str(root))

    with monkeypatch.context() as patch:
        patch.setattr(staging.os, "write", write)
        with pytest.raises(QuotaError) as caught:
            await backend.put("f", b"new")
    assert str(root) not in str(caught.value)
    assert await read(backend, "f") == b"old"
    assert staged(root) == []


async def test_sweep_removes_only_what_is_old(backend, root, monkeypatch):
    await backend.put("f", b"x", metadata={"a": "1"})
    await backend.put("gone", b"x", metadata={"a": "1"})
    (root / "gone").unlink()
    (root / ".cloudcontents/tmp/1-left").write_bytes(b"left")
    assert await backend.sweep() == 0
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    assert await backend.sweep() == 2
    assert staged(root) == []
    assert dict((await backend.head("f")).metadata or {}) == {"a": "1"}
    assert not (root / ".cloudcontents/meta/gone").exists()


# --- opening -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["file://host/x", "file://", "file:relative", "file:///x?craete=true", "file:///x?create=maybe"])
def test_wrong_urls(url):
    with pytest.raises(ConfigurationError):
        open_backend(url)


async def test_a_missing_directory_is_a_missing_bucket(tmp_path):
    backend = open_backend(f"file://{tmp_path}/missing")
    with pytest.raises(BucketNotFoundError) as caught:
        await backend.put("f", b"x")
    assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "missing").exists()
    await backend.close()


async def test_create(tmp_path):
    backend = open_backend(f"file://localhost{tmp_path}/a/b?create=true")
    assert not (tmp_path / "a").exists(), "opening touches nothing"
    await backend.put("f", b"x")
    assert (tmp_path / "a/b/f").read_bytes() == b"x"
    await backend.close()


async def test_a_directory_cannot_go_into_itself_or_become_a_file(backend):
    await backend.put("a/f", b"x")
    with pytest.raises(ValueError, match="into itself"):
        await backend.rename("a/", "a/b/")
    with pytest.raises(UnsupportedError):
        await backend.rename("a/", "b")
    assert await keys(backend) == ["a/", "a/f"]


async def test_five_hundred_levels(backend):
    key = "/".join(["d"] * 500 + ["f"])
    await backend.put(key, b"x")
    assert await read(backend, key) == b"x"
    assert [info.key for info in (await backend.list("d/d/")).objects][-1] == key
    await backend.rename("d/", "e/")
    assert await read(backend, f"e{key[1:]}") == b"x"
