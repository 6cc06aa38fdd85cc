"""``ls``, ``cat`` and ``rm``."""

import subprocess

from cloudcontents.lookup import LISTING_LIMIT


def test_ls(command, bucket):
    bucket.put("b.txt", b"12345")
    bucket.put("dir/ä x.ipynb")
    bucket.put("dir/sub/deep")
    assert command("ls", bucket.url(), check=True).stdout == b"b.txt\ndir/\n"
    assert command("ls", bucket.url("dir"), check=True).stdout.decode() == "sub/\nä x.ipynb\n"
    assert command("ls", bucket.url("dir/sub/deep"), check=True).stdout == b"deep\n"
    everything = "b.txt\ndir/\ndir/sub/\ndir/ä x.ipynb\ndir/sub/deep\n"
    assert command("ls", "-R", bucket.url(), check=True).stdout.decode() == everything
    long = command("ls", "-l", bucket.url(), check=True).stdout.decode().splitlines()
    assert long[0].split()[0] == "5"
    assert long[0].split()[1].endswith("Z")
    assert long[1].split()[0] == "-"
    assert [line.split()[-1] for line in long] == ["b.txt", "dir/"]


def test_ls_of_markers_and_odd_keys(memory):
    for key in ("m1/", "m2/.s3keep", "m3_$folder$", "x/a", "x//odd", ".cloudcontents/trash/x", "d", "d/f"):
        memory.put(key, b"")
    code, out, err = memory.run("ls", memory.url())
    assert (code, out) == (0, b"d/\nm1/\nm2/\nm3/\nx/\n")
    assert memory.run("ls", memory.url("m2")) == (0, b"", b"")
    code, out, err = memory.run("ls", memory.url("x"))
    assert (code, out) == (0, b"a\n")
    assert b"1 more have names that no path can hold" in err
    code, out, _ = memory.run("ls", "-R", memory.url())
    assert [line for line in out.decode().splitlines() if not line.endswith("/")] == ["d", "d/f", "x/a"]


def test_ls_says_where_it_was_cut(memory, monkeypatch):
    monkeypatch.setattr("cloudcontents.lookup.LISTING_LIMIT", 5)
    assert LISTING_LIMIT > 5
    for number in range(8):
        memory.put(f"f{number}")
    code, out, err = memory.run("ls", memory.url())
    assert code == 0
    assert out.split() == [b"f0", b"f1", b"f2", b"f3", b"f4"]
    assert b"cut after 'f4'" in err
    assert len(memory.run("ls", "-R", memory.url())[1].split()) == 8


def test_what_is_not_there(memory):
    memory.put("d/a")
    for arguments in (
        ["ls", "no"],
        ["cat", "no"],
        ["rm", "no"],
        ["rm", "-r", "no"],
        ["cat", "d"],
        ["cat", "d/"],
        ["cat", ""],
        ["rm", "d"],
        ["ls", "d/a/"],
    ):
        code, out, err = memory.run(*arguments[:-1], memory.url(arguments[-1]))
        assert (code, out) == (1, b""), arguments
        assert err.startswith(b"cloudcontents: ")
        assert err.count(b"\n") == 1
    assert memory.listed() == ["d/a"]


def test_cat_is_byte_exact(command, bucket):
    data = bytes(range(256)) * 20_000
    bucket.put("a", data)
    bucket.put("b", b"")
    assert command("cat", bucket.url("a"), bucket.url("b"), bucket.url("a"), check=True).stdout == data + data


def test_a_broken_pipe_is_quiet(start, bucket):
    with open(bucket.path / "big", "wb") as file:
        file.truncate(1 << 33)
    for number in range(5000):
        (bucket.path / f"{number:0200d}").touch()
    for arguments in (["cat", bucket.url("big")], ["ls", bucket.url()], ["ls", "-lR", bucket.url()]):
        process = start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr.read() == b""


def test_rm(memory):
    for key in ("exp/a", "exp/b/c", "exp/b//odd", "exp2/a", "exp.csv", "f", ".cloudcontents/checkpoints/f/.cloudcontents/1"):
        memory.put(key)
    assert memory.run("rm", "-r", memory.url("exp"))[0] == 0
    assert memory.run("rm", memory.url("f"))[0] == 0
    assert memory.listed() == ["exp.csv", "exp2/a"]
    code, _, err = memory.run("rm", "-r", memory.url("no"), memory.url("exp2"))
    assert (code, err.count(b"\n")) == (1, 1)
    assert memory.listed() == ["exp.csv"]
    code, _, err = memory.run("rm", "-r", memory.url())
    assert code == 1
    assert b"root of a bucket" in err
    assert memory.listed() == ["exp.csv"]


def test_rm_spares_the_root_of_another_bucket(memory, command, bucket):
    memory.put("home/a")
    memory.put("home/.cloudcontents/trash/x/content")
    code, _, err = memory.run("rm", "-r", memory.url("home"))
    assert code == 1
    assert b"a bucket of its own" in err
    assert len(memory.listed()) == 2
    assert memory.run("rm", "-r", "--force", memory.url("home"))[0] == 0
    assert memory.listed() == []
    bucket.put("a")
    assert b"root of a bucket" in command("rm", "-r", "--force", bucket.url()).stderr
    assert bucket.names() == ["a"]


def test_the_last_file_leaves_its_directory_standing(memory):
    memory.put("d/a")
    memory.run("rm", memory.url("d/a"))
    assert memory.run("ls", memory.url())[1] == b"d/\n"
