"""``cp`` and ``mv``: what arrives, what is refused, and that nothing half is left."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cloudcontents.backends.memory import MemoryBackend, memory_store
from cloudcontents.errors import UnavailableError


@pytest.fixture
def tree(tmp_path):
    """A local directory with a file, an empty file, a subdirectory, an empty directory and names of many kinds."""
    top = tmp_path / "tree"
    (top / "below").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "a.txt").write_bytes(b"a" * 10)
    (top / "none").write_bytes(b"")
    (top / "below" / "ä b%20+#?.ipynb").write_bytes(os.urandom(5_000_000))
    return top


TREE = ["a.txt", "below/", "below/ä b%20+#?.ipynb", "empty/", "none"]


def same(one, other):
    return all((other / name).read_bytes() == (one / name).read_bytes() for name in TREE if not name.endswith("/"))


def test_up_and_down_again(command, bucket, tree, tmp_path, names):
    command("cp", "-r", tree, bucket.url(), check=True)
    assert bucket.names() == sorted(["tree/", *(f"tree/{name}" for name in TREE)])
    command("cp", "-r", bucket.url("tree"), tmp_path / "back", check=True)
    assert names(tmp_path / "back") == TREE
    assert same(tree, tmp_path / "back")
    # Into a directory that is there: under its own name, as cp does.
    command("cp", "-r", bucket.url("tree"), tmp_path / "back", check=True)
    assert same(tree, tmp_path / "back" / "tree")
    assert names(tree) == TREE


def test_between_two_buckets(memory, bucket, tree, tmp_path):
    assert memory.run("cp", "-r", tree, memory.url("x/"))[0] == 0
    assert memory.run("cp", "-r", memory.url("x/tree"), bucket.url("y"))[0] == 0
    assert same(tree, bucket.path / "y")
    assert (bucket.path / "y" / "empty").is_dir()


def test_single_files(memory, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"text")
    assert memory.run("cp", "a.txt", memory.url("b.txt"))[0] == 0
    assert memory.run("cp", "a.txt", memory.url("dir/"))[0] == 0
    assert memory.run("cp", "a.txt", memory.url("dir"))[0] == 0  # a directory now; dir/a.txt is there and equal
    assert memory.run("cp", "a.txt", memory.url())[0] == 0
    assert memory.listed() == ["a.txt", "b.txt", "dir/a.txt"]
    assert memory.run("cp", memory.url("b.txt"), "c.txt")[0] == 0
    assert memory.run("cp", memory.url("b.txt"), "new/deep/")[0] == 0
    assert (tmp_path / "c.txt").read_bytes() == (tmp_path / "new" / "deep" / "b.txt").read_bytes() == b"text"
    assert memory.run("cp", memory.url("a.txt"), memory.url("b.txt"), tmp_path / "new/")[0] == 0
    assert (tmp_path / "new" / "a.txt").exists()


def test_content_type_is_told(memory, tmp_path):
    (tmp_path / "n.ipynb").write_bytes(b"{}")
    memory.run("cp", "n.ipynb", memory.url())
    assert asyncio.run(memory.bucket.head("n.ipynb")).content_type == "application/x-ipynb+json"


def test_within_one_bucket_no_byte_passes_here(memory, monkeypatch):
    memory.put("d/a", b"1")
    memory.put("d/b/c", b"2")
    put = MemoryBackend.put

    async def marker_only(self, key, body, **kwargs):
        assert key.endswith("/") or key.startswith(".cloudcontents/")
        return await put(self, key, body, **kwargs)

    monkeypatch.setattr(MemoryBackend, "get", None)
    monkeypatch.setattr(MemoryBackend, "put", marker_only)
    assert memory.run("cp", "-r", memory.url("d"), memory.url("e"))[0] == 0
    monkeypatch.undo()
    assert memory.read("e/a") == b"1"
    assert memory.read("e/b/c") == b"2"


@pytest.mark.parametrize("force", [False, True])
def test_nothing_is_overwritten_silently(memory, tmp_path, force):
    (tmp_path / "a.txt").write_bytes(b"new")
    for key in ("up.txt", "within.txt"):
        memory.put(key, b"old")
    memory.put("new.txt", b"new")
    (tmp_path / "down.txt").write_bytes(b"old")
    for pair in (("a.txt", memory.url("up.txt")), (memory.url("new.txt"), "down.txt"), (memory.url("new.txt"), memory.url("within.txt"))):
        code, _, err = memory.run("cp", *(["--force"] if force else []), *pair)
        assert code == (0 if force else 1)
        assert force or b"is another file; choose another name, or add --force" in err
    expected = b"new" if force else b"old"
    assert memory.read("up.txt") == memory.read("within.txt") == (tmp_path / "down.txt").read_bytes() == expected


def test_one_taken_name_does_not_stop_the_others(memory, tree):
    memory.put("t/tree/a.txt", b"old")
    code, _, err = memory.run("cp", "-r", tree, memory.url("t"))
    assert code == 1
    assert err.count(b"\n") == 2
    assert err.endswith(b"2 files copied (4.8 MiB through this machine), 1 failed.\n")
    assert memory.read("t/tree/a.txt") == b"old"
    assert "t/tree/below/ä b%20+#?.ipynb" in memory.listed()


def test_reserved_names_are_not_touched(memory, tmp_path):
    memory.put("d/a", b"1")
    memory.put("d/.cloudcontents/trash/x/content", b"2")
    memory.put(".cloudcontents/journal/x.json", b"3")
    for argument in (".cloudcontents/journal/x.json", "d/.cloudcontents", "d/.CloudContents/x"):
        for arguments in (("cat",), ("ls",), ("rm", "-r"), ("cp", "-r", "a.txt")):
            (tmp_path / "a.txt").write_bytes(b"x")
            assert memory.run(*arguments, memory.url(argument))[0] == 1
    assert memory.run("cp", "-r", memory.url("d"), "down")[0] == 0
    assert os.listdir(tmp_path / "down") == ["a"]
    (tmp_path / "up" / ".cloudcontents").mkdir(parents=True)
    (tmp_path / "up" / ".cloudcontents" / "x").write_bytes(b"x")
    code, _, err = memory.run("cp", "-r", "up", memory.url())
    assert code == 0
    assert b"left out: the name is reserved" in err
    assert memory.listed() == [".cloudcontents/journal/x.json", "d/.cloudcontents/trash/x/content", "d/a", "up/"]


@pytest.mark.parametrize("key", ["x/../../evil", "x//evil", "../evil", "x/./evil", "/evil", "x/..", "x/\x00evil", "x/evil\n"])
def test_no_key_writes_outside_the_target(memory, tmp_path, key, names):
    memory.put("d/fine", b"1")
    memory.put(f"d/{key}", b"evil")
    outside = tmp_path / "outside"
    outside.mkdir()
    memory.run("cp", "-r", memory.url("d"), outside / "target")
    assert [name for name in names(tmp_path) if not name.endswith("/")] == ["outside/target/fine"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/../b", "/etc/x", "a\0b", "a//b", "x/"])
def test_local_side_refuses_what_is_no_plain_name(tmp_path, name, names):
    """The second lock: even a listing that let such a name through could not write outside."""
    from cloudcontents.cli.local import LocalSide
    from cloudcontents.cli.sides import Source

    async def chunks():
        yield b"evil"

    (tmp_path / "target").mkdir()
    side = LocalSide(tmp_path / "target")
    with pytest.raises(ValueError, match="directory" if not name else "name"):
        asyncio.run(side.write(name, Source(4, "", None, chunks()), over="any"))
    assert names(tmp_path) == ["target/"]


def test_backslash_is_an_ordinary_character_here_and_nothing_more(memory, tmp_path, names):
    memory.put("d/..\\evil")
    memory.run("cp", "-r", memory.url("d"), "target")
    assert names(tmp_path) == ["target/", "target/..\\evil"]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_no_link_is_written_through(memory, tmp_path, force, names):
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    (outside / "file").write_bytes(b"kept")
    (target / "d").mkdir(parents=True)
    (target / "d" / "link").symlink_to(outside, target_is_directory=True)
    (target / "d" / "file").symlink_to(outside / "file")
    memory.put("d/link/evil", b"evil")
    memory.put("d/file", b"evil")
    code, _, err = memory.run("cp", "-r", *force, memory.url("d"), target)
    assert code == 1
    assert b"nothing is written through it" in err
    assert names(outside) == ["file"]
    assert (outside / "file").read_bytes() == b"kept"


def test_a_target_that_the_user_names_may_be_a_link(memory, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    memory.put("a.txt", b"1")
    assert memory.run("cp", memory.url("a.txt"), "link")[0] == 0
    assert (tmp_path / "real" / "a.txt").read_bytes() == b"1"


def test_uploading_leaves_out_what_is_no_file(memory, tree):
    (tree / "loop").symlink_to(tree, target_is_directory=True)
    (tree / "file-link").symlink_to("a.txt")
    os.mkfifo(tree / "pipe")
    code, _, err = memory.run("cp", "-r", tree, memory.url())
    assert code == 0
    assert err.count(b"left out") == 2
    assert memory.read("tree/file-link") == b"a" * 10
    assert not any("loop" in key or "pipe" in key for key in memory.listed())


def test_a_name_that_is_not_text_is_refused_and_said_safely(memory, tree):
    with open(os.fsencode(tree) + b"/bad\xff\x1b[31m", "wb"):
        pass
    code, _, err = memory.run("cp", "-r", tree, memory.url())
    assert code == 1
    assert b"\x1b" not in err
    assert b"\xff" not in err
    assert "tree/a.txt" in memory.listed()


@pytest.mark.parametrize("arguments", [["d", "d/x"], ["d", "d"], ["d/a", "d/a"]])
def test_nothing_goes_into_itself(memory, bucket, arguments, tmp_path):
    memory.put("d/a")
    bucket.put("d/a")
    src, dst = arguments
    for one, other in ((memory.url(src), memory.url(dst)), (bucket.path / src, bucket.url(dst)), (bucket.url(src), bucket.path / dst)):
        code, _, err = memory.run("cp", "-r", one, other)
        if src == dst == "d":  # into the directory that exists
            assert b"cannot go into itself" in err
        assert code == 1
    assert memory.listed() == ["d/a"]
    assert bucket.names() == ["d/", "d/a"]


def test_wrong_kinds(memory, tmp_path):
    memory.put("d/a")
    memory.put("f")
    (tmp_path / "local").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    for arguments, said in (
        (("cp", memory.url("d"), "x"), b"add -r"),
        (("cp", memory.url("nothing"), "x"), b"does not exist"),
        (("cp", memory.url("f/"), "x"), b"is a file"),
        (("cp", "file", memory.url("f/")), b"is a file, not a directory"),
        (("cp", "-r", "local", memory.url("f")), b"is a file; a directory cannot"),
        (("cp", "file", "file", memory.url("nothing")), b"does not exist; end it in /"),
        (("cp", memory.url("f"), "nothing/../file"), b"exists"),
        (("cp", "missing", memory.url()), b"does not exist"),
    ):
        code, out, err = memory.run(*arguments)
        assert (code, out) == (1, b""), arguments
        assert said in err, (arguments, err)
        assert err.count(b"\n") == 1
    assert memory.listed() == ["d/a", "f"]
    code, _, err = memory.run("cp", "file", "other")
    assert code == 2
    assert b"name a bucket URL" in err


def test_mv_within_a_bucket_takes_checkpoints_along(memory):
    memory.put("d/a", b"1")
    memory.put(".cloudcontents/checkpoints/d/a/.cloudcontents/x", b"cp")
    memory.put("d/b//odd", b"2")
    assert memory.run("mv", memory.url("d"), memory.url("e/f"))[0] == 0
    assert [key for key in memory.listed() if not key.endswith("/")] == [
        ".cloudcontents/checkpoints/e/f/a/.cloudcontents/x",
        "e/f/a",
        "e/f/b//odd",
    ]
    assert memory.run("mv", memory.url("e/f/a"), memory.url("g"))[0] == 0
    assert memory.read("g") == b"1"
    memory.put("h", b"3")
    assert memory.run("mv", memory.url("g"), memory.url("h"))[0] == 1
    assert memory.read("h") == b"3"
    assert memory.run("mv", "--force", memory.url("g"), memory.url("h"))[0] == 0
    assert memory.read("h") == b"1"
    assert "g" not in memory.listed()


def test_mv_to_and_from_this_machine(memory, tree, tmp_path, names):
    assert memory.run("mv", tree, memory.url())[0] == 0
    assert not tree.exists()
    assert memory.run("mv", memory.url("tree"), tmp_path / "back")[0] == 0
    assert names(tmp_path / "back") == TREE
    assert [key for key in memory.listed() if not key.endswith("/")] == []


def test_mv_keeps_what_could_not_be_copied(memory, tree):
    memory.put("tree/a.txt", b"old")
    assert memory.run("mv", tree, memory.url())[0] == 1
    assert (tree / "a.txt").exists()
    assert not (tree / "none").exists()
    memory.put("x/a")
    memory.put("x//unnameable")
    code, _, err = memory.run("mv", memory.url("x"), "x")
    assert code == 1
    assert b"1 names directly in" in err
    assert "x//unnameable" in memory.listed()
    assert "x/a" not in memory.listed()


def test_a_source_that_changes_while_it_moves_is_kept(memory, tmp_path, monkeypatch):
    memory.put("a", b"first")
    real = MemoryBackend.get

    async def get(self, key, **kwargs):
        reader = await real(self, key, **kwargs)
        await self.put(key, b"second")
        return reader

    monkeypatch.setattr(MemoryBackend, "get", get)
    assert memory.run("mv", memory.url("a"), "a")[0] == 1
    monkeypatch.undo()
    assert memory.read("a") == b"second"
    assert (tmp_path / "a").read_bytes() == b"first"


def test_a_failed_download_leaves_nothing(memory, tmp_path, monkeypatch, names):
    memory.put("a", b"x" * 3_000_000)
    real = MemoryBackend.get

    async def get(self, key, **kwargs):
        reader = await real(self, key, **kwargs)

        async def broken():
            yield b"x" * 1_000_000
            raise UnavailableError("The store went away.")

        class Broken(type(reader)):
            def __aiter__(self):
                return broken()

        reader.__class__ = Broken
        return reader

    monkeypatch.setattr(MemoryBackend, "get", get)
    code, _, err = memory.run("cp", memory.url("a"), "a")
    assert (code, err) == (1, b"cloudcontents: The store went away.\n")
    assert names(tmp_path) == []


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(memory, tmp_path, monkeypatch, names):
    memory.put("a", b"new")
    real = MemoryBackend.get

    async def get(self, key, **kwargs):
        (tmp_path / "a").write_bytes(b"somebody else's")
        return await real(self, key, **kwargs)

    monkeypatch.setattr(MemoryBackend, "get", get)
    # The first look comes before the read; what is under way then must not win.
    monkeypatch.setattr("cloudcontents.cli.local.LocalSide._target", lambda self, path, replace: self._root / path if path else self._root)
    assert memory.run("cp", memory.url("a"), "a")[0] == 1
    assert (tmp_path / "a").read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["a"]


def test_wrong_bytes_are_not_kept(memory, tmp_path, names):
    memory.put("a", b"right")
    store = memory_store(memory.name)
    store._objects["a"] = replace(store._objects["a"], data=b"wrong")  # as a disk that lies
    code, _, err = memory.run("cp", memory.url("a"), "a")
    assert code == 1
    assert b"do not match the store's checksum" in err
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", ["down", "up"])
def test_an_interrupted_copy_leaves_no_half_file(start, bucket, tmp_path, number, way, names):
    target = tmp_path / "target"
    target.mkdir()
    big = (bucket.path if way == "down" else tmp_path) / "big"
    with open(big, "wb") as file:
        file.truncate(1 << 40)  # sparse: it never ends
    pair = (bucket.url("big"), target) if way == "down" else (big, bucket.url("copy"))
    process = start("cp", *pair, stderr=subprocess.PIPE)

    def written():
        # Downloads are written to a file that has no name yet.
        lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in lines)["wchar"])

    while written() < 8 << 20:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert b"Traceback" not in err
    assert names(target) == []
    assert not (bucket.path / "copy").exists()
    staged = bucket.path / ".cloudcontents" / "tmp"
    assert not staged.is_dir() or list(staged.iterdir()) == []


def test_memory_is_bounded(bucket, tmp_path):
    """Peak memory for 300 MiB is that for nothing, and a few pieces."""

    def peak(size):
        with open(bucket.path / f"f{size}", "wb") as file:
            file.truncate(size)
        for pair in ((bucket.url(f"f{size}"), tmp_path / f"d{size}"), (tmp_path / f"d{size}", bucket.url(f"u{size}"))):
            code = (
                "import sys, resource; from cloudcontents.cli import main; assert main(sys.argv[1:]) == 0;"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
            )
            done = subprocess.run([sys.executable, "-c", code, "cp", *pair], capture_output=True, check=True, timeout=120)
            yield int(done.stdout)
        (tmp_path / f"d{size}").unlink()
        (bucket.path / f"u{size}").unlink()

    for small, big in zip(peak(0), peak(300 << 20), strict=True):
        assert big - small < 64 << 10  # KiB


def test_a_bucket_s_root_is_found(command, bucket, tmp_path, names):
    """A command writes through the root that a server has, so that both hold the same locks."""
    bucket.put("deep/down/x")
    (tmp_path / "a").write_bytes(b"1")
    command("cp", "a", bucket.url("deep/down/new/"), check=True)
    assert names(bucket.path) == ["deep/", "deep/down/", "deep/down/new/", "deep/down/new/a", "deep/down/x"]
    assert [at.parent for at in tmp_path.rglob(".cloudcontents")] == [bucket.path]
    # The environment wins, and names a root where there is no sign of one yet.
    (tmp_path / "other" / "sub").mkdir(parents=True)
    environment = {**os.environ, "CLOUDCONTENTS_URL": (tmp_path / "other").as_uri()}
    command("cp", "a", (tmp_path / "other" / "sub").as_uri(), check=True, env=environment)
    assert (tmp_path / "other" / ".cloudcontents").is_dir()
    assert not (tmp_path / "other" / "sub" / ".cloudcontents").exists()
