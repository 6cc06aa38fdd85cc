"""``trash`` and ``conflicts``."""

import asyncio

from cloudcontents.namespace import Mount


def test_trash(memory):
    mount = Mount("", memory.bucket)
    memory.put("d/a", b"1")
    memory.put("b", b"2")
    memory.put("c", b"3")
    ids = [asyncio.run(mount.trash.put(path, by="Ada")).id for path in ("d", "b", "c")]
    code, out, _ = memory.run("trash", "ls", memory.url())
    lines = [line.split() for line in out.decode().splitlines()]
    assert code == 0
    assert [line[0] for line in lines] == ids
    assert [line[2:] for line in lines] == [["Ada", "d/"], ["Ada", "b"], ["Ada", "c"]]
    assert memory.run("trash", "restore", memory.url(), ids[0])[:2] == (0, b"d\n")
    assert memory.run("trash", "restore", memory.url(), ids[1], "--to", "e/b2")[:2] == (0, b"e/b2\n")
    assert memory.read("d/a") == b"1"
    assert memory.read("e/b2") == b"2"
    memory.put("c", b"taken")
    code, _, err = memory.run("trash", "restore", memory.url(), ids[2])
    assert code == 1
    assert b"restore to another path" in err
    assert b"0 deleted" in memory.run("trash", "empty", memory.url(), "--older-than", "1")[2]
    code, _, err = memory.run("trash", "empty", memory.url())
    assert (code, err) == (0, b"cloudcontents: 1 deleted for good.\n")
    assert memory.run("trash", "ls", memory.url()) == (0, b"", b"")
    assert memory.read("c") == b"taken"
    for arguments in (["restore", memory.url(), "no"], ["restore", memory.url(), "../x"], ["empty", memory.url(), "../x"]):
        code, _, err = memory.run("trash", *arguments)
        assert code == 1
        assert err.count(b"\n") == 1


def test_conflicts(memory):
    conflicts = Mount("", memory.bucket).conflicts
    keep = conflicts.keep
    one = asyncio.run(keep("a.txt", b"lost \xff text\n", client="x", base="v", type="file", format="base64", by="Ada"))
    two = asyncio.run(keep("b c.txt", b"other", client="x", base=None, type="file", format="text"))
    code, out, _ = memory.run("conflicts", "ls", memory.url())
    assert code == 0
    assert {line.split()[0] for line in out.decode().splitlines()} == {one.id, two.id}
    assert memory.run("conflicts", "ls", memory.url(), "b c.txt")[1].decode().rstrip().endswith("b c.txt")
    assert memory.run("conflicts", "ls", memory.url(), "nothing")[1] == b""
    assert memory.run("conflicts", "show", memory.url(), one.id) == (0, b"lost \xff text\n", b"")
    assert memory.run("conflicts", "rm", memory.url(), one.id, two.id) == (0, b"", b"")
    for action in ("show", "rm"):
        for id in (one.id, "../x"):
            code, out, err = memory.run("conflicts", action, memory.url(), id)
            assert (code, out) == (1, b"")
            assert err.count(b"\n") == 1
    assert memory.listed() == []
