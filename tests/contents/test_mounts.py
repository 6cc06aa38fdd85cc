"""Many buckets as one tree: mounts show as directories, things move between them, read-only is kept to, one that is away hinders none."""

from __future__ import annotations

import secrets

import pytest
from tornado.web import HTTPError

from cloudcontents import CloudContentsManager
from cloudcontents.backends.memory import drop_memory_store, memory_store
from cloudcontents.errors import ConfigurationError
from cloudcontents.testing import ManagerConformance


def text(content):
    return {"type": "file", "format": "text", "content": content}


@pytest.fixture
def names():
    names = {name: f"{name}-{secrets.token_hex(4)}" for name in ("home", "team", "data", "archive")}
    yield names
    for name in names.values():
        drop_memory_store(name)


@pytest.fixture
def manager(names, tmp_path):
    return CloudContentsManager(
        mounts={
            "": f"memory://{names['home']}",
            "team": {"url": f"memory://{names['team']}/shared"},
            "deep/data": tmp_path.as_uri(),
            "archive": {"url": f"memory://{names['archive']}", "read_only": True},
            "away": "file:///no/such/directory/anywhere",
        }
    )


async def entries(manager, path=""):
    return [(model["name"], model["type"], model["writable"]) for model in (await manager.get(path))["content"]]


async def refused(work):
    with pytest.raises(HTTPError) as caught:
        await work
    return caught.value


async def test_mounts_show_as_directories(manager):
    await manager.save(text("x"), "own.txt")
    assert await entries(manager) == [
        ("archive", "directory", False),
        ("away", "directory", True),
        ("deep", "directory", True),
        ("own.txt", "file", True),
        ("team", "directory", True),
    ]
    assert await entries(manager, "deep") == [("data", "directory", True)]
    for model in (await manager.get(""))["content"]:
        assert model == await manager.get(model["path"], content=False)
        assert await manager.dir_exists(model["path"]) == (model["type"] == "directory")


async def test_paths_of_models_are_api_paths(manager, names):
    saved = await manager.save(text("x"), "team/f.txt")
    assert saved["path"] == "team/f.txt"
    assert [model["path"] for model in (await manager.get("team"))["content"]] == ["team/f.txt"]
    assert (await manager.new_untitled("team", type="notebook"))["path"] == "team/Untitled.ipynb"
    assert (await manager.copy("team/f.txt"))["path"] == "team/f-Copy1.txt"
    assert (await manager.copy("team/f.txt", "team"))["path"] == "team/f-Copy2.txt"
    assert "shared/f.txt" in memory_store(names["team"]).snapshot()
    await manager.rename("team/f.txt", "team/g.txt")
    checkpoint = await manager.create_checkpoint("team/g.txt")
    assert await manager.list_checkpoints("team/g.txt") == [checkpoint]
    await manager.save(text("y"), "team/g.txt")
    seen = []
    manager.register_post_save_hook(lambda model, **_: seen.append(model["path"]))
    await manager.restore_checkpoint(checkpoint["id"], "team/g.txt")
    assert (await manager.get("team/g.txt"))["content"] == "x"
    assert seen == ["team/g.txt"]


async def test_two_files_of_one_name_in_two_mounts_do_not_mix(manager):
    await manager.save(text("home"), "f.txt")
    await manager.save(text("team"), "team/f.txt")
    await manager.save(text("home 2"), "f.txt")
    await manager.save(text("team 2"), "team/f.txt")
    assert [(await manager.get(path))["content"] for path in ("f.txt", "team/f.txt")] == ["home 2", "team 2"]


@pytest.mark.parametrize(("source", "target"), [("", "team/"), ("team/", "deep/data/"), ("deep/data/", "")])
async def test_files_and_directories_move_between_mounts_with_their_checkpoints(manager, source, target):
    await manager.save({"type": "directory"}, f"{source}d")
    await manager.save({"type": "directory"}, f"{source}d/empty")
    await manager.save(text("in it"), f"{source}d/f.txt")
    await manager.save(text("one"), f"{source}g.txt")
    for path in (f"{source}d/f.txt", f"{source}g.txt"):
        await manager.create_checkpoint(path)
    await manager.rename(f"{source}d", f"{target}e")
    await manager.rename(f"{source}g.txt", f"{target}h.txt")
    assert (await manager.get(f"{target}e/f.txt"))["content"] == "in it"
    assert (await manager.get(f"{target}h.txt"))["content"] == "one"
    assert await manager.dir_exists(f"{target}e/empty")
    for path in (f"{target}e/f.txt", f"{target}h.txt"):
        assert len(await manager.list_checkpoints(path)) == 1
    for path in (f"{source}d", f"{source}d/f.txt", f"{source}g.txt"):
        assert (await refused(manager.get(path))).status_code == 404


async def test_copies_between_mounts(manager):
    await manager.save({"type": "directory"}, "d")
    await manager.save(text("x" * 100_000), "d/f.txt")
    assert (await manager.copy("d", "team"))["path"] == "team/d"
    assert (await manager.copy("d/f.txt", "deep/data"))["path"] == "deep/data/f.txt"
    assert (await manager.copy("team/d/f.txt", "deep/data"))["path"] == "deep/data/f-Copy1.txt"
    for path in ("team/d/f.txt", "deep/data/f.txt", "deep/data/f-Copy1.txt", "d/f.txt"):
        assert (await manager.get(path))["content"] == "x" * 100_000


async def test_a_move_that_fails_takes_back_what_it_copied(manager, names, tmp_path):
    await manager.save({"type": "directory"}, "d")
    await manager.save(text("x"), "d/a.txt")
    await manager.save(text("y"), "d/" + "n" * 250)
    memory_store(names["home"])
    bucket = manager.namespace.mounts[0].bucket
    await bucket.put("d/" + "ü" * 200, b"too long a name for a disk")
    assert (await refused(manager.rename("d", "deep/data/e"))).status_code == 400
    assert [path.name for path in tmp_path.iterdir() if path.name != ".cloudcontents"] == []
    assert len((await manager.get("d"))["content"]) == 3


async def test_moves_between_mounts_replace_nothing(manager):
    await manager.save(text("a"), "a.txt")
    await manager.save(text("b"), "team/b.txt")
    assert (await refused(manager.rename("a.txt", "team/b.txt"))).status_code == 409
    assert (await refused(manager.rename("a.txt", "team/no/b.txt"))).status_code == 404
    assert (await manager.get("a.txt"))["content"] == "a"


async def test_mounts_are_neither_renamed_nor_deleted_nor_replaced(manager):
    for path in ("team", "deep", "deep/data"):
        assert (await refused(manager.rename(path, "x"))).status_code == 400
        assert (await refused(manager.delete(path))).status_code == 400
        assert (await refused(manager.save(text("x"), path))).status_code == 400
        assert (await manager.save({"type": "directory"}, path))["type"] == "directory"
    await manager.save(text("x"), "f.txt")
    assert (await refused(manager.rename("f.txt", "deep"))).status_code == 400


async def test_read_only_is_shown_and_kept_to(manager, names):
    store = CloudContentsManager(url=f"memory://{names['archive']}")
    await store.save(text("old"), "f.txt")
    await store.save({"type": "directory"}, "d")
    before = memory_store(names["archive"]).snapshot()
    await manager.save(text("x"), "x.txt")
    assert (await manager.get("archive/f.txt"))["writable"] is False
    assert [writable for _, _, writable in await entries(manager, "archive")] == [False, False]
    for work in (
        lambda: manager.save(text("new"), "archive/f.txt"),
        lambda: manager.save(text("new"), "archive/g.txt"),
        lambda: manager.save({"type": "directory"}, "archive/e"),
        lambda: manager.new_untitled("archive", type="notebook"),
        lambda: manager.delete("archive/f.txt"),
        lambda: manager.rename("archive/f.txt", "archive/g.txt"),
        lambda: manager.rename("archive/d", "archive/e"),
        lambda: manager.rename("archive/f.txt", "f.txt"),
        lambda: manager.rename("x.txt", "archive/x.txt"),
        lambda: manager.copy("archive/f.txt"),
        lambda: manager.create_checkpoint("archive/f.txt"),
    ):
        assert (await refused(work())).status_code == 403
    assert memory_store(names["archive"]).snapshot() == before
    assert (await manager.copy("archive/f.txt", "team"))["path"] == "team/f.txt"


async def test_one_that_is_away_hinders_no_other(manager):
    assert (await refused(manager.get("away"))).status_code in (502, 503)
    assert ("away", "directory", True) in await entries(manager)
    await manager.save(text("x"), "team/f.txt")
    with pytest.raises(Exception, match="bucket"):
        await manager.sweep()


async def test_without_a_root_the_root_holds_the_mounts_and_takes_nothing(names):
    manager = CloudContentsManager(mounts={"team": f"memory://{names['team']}"})
    assert await entries(manager) == [("team", "directory", True)]
    assert (await manager.get(""))["writable"] is False
    assert (await refused(manager.new_untitled(type="notebook"))).status_code == 403
    assert (await manager.new_untitled("team", type="notebook"))["path"] == "team/Untitled.ipynb"


async def test_users_have_prefixes_of_their_own(names, monkeypatch):
    url = f"memory://{names['home']}/users/{{username}}"
    for user in ("alice", "bob"):
        monkeypatch.setenv("JUPYTERHUB_USER", user)
        await CloudContentsManager(url=url).save(text(user), "f.txt")
    assert {key: data for key, data in memory_store(names["home"]).snapshot().items() if "/." not in key} == {
        "users/alice/f.txt": b"alice",
        "users/bob/f.txt": b"bob",
    }
    own = CloudContentsManager(url="memory://x/{group}", variables={"group": "blue"})
    assert own.namespace.mounts[0].bucket.url == "memory://x/blue"


@pytest.mark.parametrize("user", ["..", "a/b", "", ".", "a\nb", ".cloudcontents"])
def test_a_user_name_that_leads_elsewhere_is_refused(monkeypatch, user):
    manager = CloudContentsManager(url="memory://x/{who}", variables={"who": user})
    with pytest.raises(ConfigurationError):
        _ = manager.namespace


@pytest.mark.parametrize(
    ("mounts", "told"),
    [
        ({"x": 5}, "bucket URL"),
        ({"x": {"url": "memory://x", "readonly": True}}, "read_only"),
        ({"x": {"url": "memory://x", "read_only": "yes"}}, "True or False"),
        ({"a//b": "memory://x"}, "mount"),
        ({".hidden": "memory://x"}, "hidden"),
        ({"x": "nosuch://x"}, "No backend"),
        ({"x": "memory://x/{usernam}"}, "{username}"),
    ],
)
def test_a_bad_setting_says_what_is_wrong(mounts, told):
    with pytest.raises(ConfigurationError, match=told.replace("{", r"\{")):
        _ = CloudContentsManager(mounts=mounts).namespace


class TestInAMount(ManagerConformance):
    """The whole suite again, a level down: paths of the suite lie in a mount that is the root of another manager."""

    @pytest.fixture
    def manager(self):
        name = f"mounted-{secrets.token_hex(4)}"
        yield CloudContentsManager(mounts={"": f"memory://{name}/root", "zzz": f"memory://{name}/other"}, hide_globs=["zzz"])
        drop_memory_store(name)

    @pytest.fixture
    def second_manager(self, manager):
        return CloudContentsManager(mounts=manager.mounts, hide_globs=["zzz"])
