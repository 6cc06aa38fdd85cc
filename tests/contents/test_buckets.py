"""URLs without a bucket: the buckets are directories, each a mount of its own; one that is missing, forbidden or away hinders none."""

from __future__ import annotations

import secrets

import pytest
from tornado.web import HTTPError

from cloudcontents import CloudContentsManager, accounts
from cloudcontents.backends.buckets import AccountBackend
from cloudcontents.backends.memory import MemoryBackend, MemoryStore, drop_memory_store, memory_store
from cloudcontents.backends.prefix import PrefixBackend
from cloudcontents.backends.read_only import ReadOnlyBackend
from cloudcontents.config import parse_url
from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    ConfigurationError,
    DirectoryNotEmptyError,
    NotFoundError,
    PermissionDeniedError,
)
from cloudcontents.namespace import Namespace
from cloudcontents.registry import open_backend


class Account:
    """What a store has: names of buckets, who may do what."""

    def __init__(self):
        self.tag = secrets.token_hex(4)
        self.names = []
        self.forbidden = set()
        self.may_list = True
        self.opened = []
        self.stuck = set()

    def add(self, *names):
        self.names += names

    def store(self, name) -> MemoryStore:
        return memory_store(f"{self.tag}-{name}")


class InAccount(MemoryBackend):
    """A bucket of an account; whether it exists is the account's to say."""

    def __init__(self, account, name):
        super().__init__(f"{account.tag}-{name}")
        self._account, self._name = account, name

    async def list(self, *arguments, **more):
        if self._name in self._account.forbidden:
            raise PermissionDeniedError("denied")
        if self._name not in self._account.names:
            raise BucketNotFoundError("no such bucket")
        return await super().list(*arguments, **more)

    async def put(self, *arguments, **more):
        if self._name not in self._account.names:
            raise BucketNotFoundError("no such bucket")
        return await super().put(*arguments, **more)


class Buckets(AccountBackend):
    rules = "Lower-case letters only."

    def __init__(self, account, query=""):
        super().__init__(parse_url(f"fake://{query}"))
        self._account = account

    def is_name(self, name):
        return name.isascii() and name.replace("-", "").isalnum() and name == name.lower()

    is_new_name = is_name

    def open_named(self, url):
        assert "manage_buckets" not in url.options
        self._account.opened.append(url.bucket)
        return InAccount(self._account, url.bucket)

    async def list_buckets(self):
        if not self._account.may_list:
            raise PermissionDeniedError("not told")
        return self._account.names

    async def create(self, name):
        if name in self._account.names:
            raise AlreadyExistsError(f"{name} is taken.")
        self._account.add(name)

    async def delete_empty(self, name):
        if name not in self._account.names:
            raise NotFoundError("no bucket")
        if self._account.store(name).snapshot() or name in self._account.stuck:
            raise DirectoryNotEmptyError("not empty")
        self._account.names.remove(name)

    async def close(self):
        pass


@pytest.fixture
def account():
    found = Account()
    yield found
    for name in {*found.names, *found.opened}:
        drop_memory_store(f"{found.tag}-{name}")


@pytest.fixture
def manager_of(account):
    """A manager on the account: `manager_of(query, mounts)`."""

    def make(query="", **mounts):
        class Manager(CloudContentsManager):
            def open_backend(self):
                return Buckets(account, query)

        return Manager(mounts=mounts)

    return make


def text(content="x"):
    return {"type": "file", "format": "text", "content": content}


async def names(manager, path=""):
    return [model["name"] for model in (await manager.get(path))["content"]]


async def refused(work):
    with pytest.raises(HTTPError) as caught:
        await work
    return caught.value


async def test_buckets_are_the_top_directories_and_hold_their_own_things(manager_of, account):
    manager = manager_of()
    account.add("b", "a")
    assert await names(manager) == ["a", "b"]
    for model in (await manager.get(""))["content"]:
        assert model == await manager.get(model["path"], content=False)
    await manager.save(text(), "a/f.txt")
    checkpoint = await manager.create_checkpoint("a/f.txt")
    assert await manager.list_checkpoints("a/f.txt") == [checkpoint]
    await manager.delete("a/f.txt")
    assert all(key.startswith(".cloudcontents/") for key in account.store("a").snapshot())
    assert not account.store("b").snapshot()
    assert {mount.name for mount in manager.namespace.mounts} == {"", "a", "b"}
    assert await manager.sweep() == {**await manager.sweep()}
    assert await manager.recover() == []


async def test_things_move_between_buckets(manager_of, account):
    manager = manager_of()
    account.add("a", "b")
    await manager.save({"type": "directory"}, "a/d")
    await manager.save(text("in d"), "a/d/f.txt")
    await manager.rename("a/d", "b/e")
    await manager.copy("b/e/f.txt", "a")
    assert (await manager.get("a/f.txt"))["content"] == (await manager.get("b/e/f.txt"))["content"] == "in d"
    assert await names(manager, "a") == ["f.txt"]


async def test_a_bucket_that_is_not_there_is_a_missing_directory(manager_of, account):
    manager = manager_of()
    account.add("a")
    for work in (manager.get("no"), manager.get("no", content=False), manager.get("no/f", content=False), manager.save(text(), "no/f.txt")):
        assert (await refused(work)).status_code == 404
    assert not await manager.dir_exists("no")
    assert not await manager.exists("no")
    assert [mount.name for mount in manager.namespace.mounts] == [""]
    assert await manager.dir_exists("a")
    await manager.save(text(), "a/f.txt")
    assert (await refused(manager.rename("a/f.txt", "no/f.txt"))).status_code == 404


@pytest.mark.parametrize("name", ["Capitals", "un der", "ünder", "a.b"])
async def test_what_cannot_be_a_bucket_is_refused_with_the_rules(manager_of, name):
    manager = manager_of("?manage_buckets=true")
    assert (await refused(manager.get(name))).status_code == 404
    refusal = await refused(manager.save({"type": "directory"}, name))
    assert refusal.status_code == 400
    assert "Lower-case letters only" in refusal.log_message
    assert not await manager.dir_exists(name)


async def test_only_buckets_are_beside_buckets(manager_of, account):
    manager = manager_of("?manage_buckets=true")
    account.add("a")
    await manager.save(text(), "a/f")
    refusals = [
        manager.save(text(), "f"),
        manager.save({**text(), "chunk": 1}, "f"),
        manager.save({**text(), "chunk": -1}, "a"),
        manager.new_untitled("", type="file"),
        manager.new_untitled("", type="notebook"),
        manager.copy("a/f", ""),
        manager.rename("a", "a/b"),
        manager.copy("a"),
    ]
    assert [(await refused(work)).status_code for work in refusals] == [400] * len(refusals)
    assert (await refused(manager.rename("a/f", "f"))).status_code in (400, 404)
    assert account.names == ["a"]


async def test_buckets_are_made_and_removed_only_where_configured(manager_of, account):
    manager = manager_of()
    account.add("a")
    for work in (manager.save({"type": "directory"}, "new"), manager.new_untitled("", type="directory"), manager.delete("a")):
        refusal = await refused(work)
        assert refusal.status_code == 403
        assert "manage_buckets=true" in refusal.log_message
    assert account.names == ["a"]

    manager = manager_of("?manage_buckets=true")
    assert (await manager.save({"type": "directory"}, "new"))["path"] == "new"
    assert (await manager.save({"type": "directory"}, "new"))["path"] == "new"
    made = await manager.new_untitled("", type="directory")
    await manager.rename(made["path"], "named")
    assert account.names == ["a", "new", "named"]
    await manager.delete("named")
    assert "named" not in [mount.name for mount in manager.namespace.mounts]
    await manager.save(text(), "new/f.txt")
    for work in (manager.delete("new"), manager.rename("new", "other")):
        assert (await refused(work)).status_code == 400
    assert (await refused(manager.delete("no"))).status_code == 404
    assert (await refused(manager.rename(made["path"], "other"))).status_code == 404
    assert account.names == ["a", "new"]


async def test_a_bucket_whose_old_name_cannot_go_keeps_it(manager_of, account):
    manager = manager_of("?manage_buckets=true")
    account.add("old")
    account.stuck.add("old")
    assert (await refused(manager.rename("old", "new"))).status_code == 400
    assert account.names == ["old"]


async def test_a_refusal_to_list_leaves_those_that_are_known(manager_of, account):
    manager = manager_of(here=f"memory://{account.tag}-here")
    account.add("a", "here")
    account.may_list = False
    assert (await refused(manager.get(""))).status_code == 403
    await manager.save(text("there"), "a/f.txt")
    assert (await manager.get("a/f.txt"))["content"] == "there"
    assert await names(manager, "a") == ["f.txt"]


async def test_a_forbidden_bucket_shows_and_hinders_none(manager_of, account):
    manager = manager_of()
    account.add("a", "shut")
    account.forbidden.add("shut")
    await manager.save(text(), "a/f.txt")
    assert await names(manager) == ["a", "shut"]
    assert await manager.dir_exists("shut")
    assert (await refused(manager.get("shut"))).status_code == 403
    assert [mount.name for mount in manager.namespace.mounts] == ["", "a"]
    assert await names(manager, "a") == ["f.txt"]


async def test_an_account_beside_other_mounts(account):
    spaces = Namespace(
        {
            "": MemoryBackend(f"{account.tag}-home"),
            "cloud": Buckets(account),
            "cloud/lead/in": MemoryBackend(f"{account.tag}-in"),
            "look": ReadOnlyBackend(Buckets(account, "?manage_buckets=true")),
        }
    )
    account.add("a", "lead")
    found = {path: (spaces.resolve(path).mount.name, spaces.resolve(path).path) for path in ("x/y", "cloud", "cloud/a", "cloud/a/x/y")}
    assert found == {"x/y": ("", "x/y"), "cloud": ("cloud", ""), "cloud/a": ("cloud/a", ""), "cloud/a/x/y": ("cloud/a", "x/y")}
    assert spaces.resolve("cloud/lead/in/f").mount.name == "cloud/lead/in"
    assert spaces.is_fixed(spaces.resolve("cloud/lead"))
    assert spaces.resolve("cloud/lead").mount.read_only
    assert spaces.resolve("look/a").mount.read_only
    assert spaces.below("cloud") == ["lead"]
    for work in (
        spaces.resolve("look/a").tree.mkdir("d"),
        spaces.resolve("look/new").tree.mkdir(""),
        spaces.resolve("look/a").tree.remove_dir(""),
    ):
        with pytest.raises(PermissionDeniedError):
            await work
    await spaces.close()
    for name in ("home", "in"):
        drop_memory_store(f"{account.tag}-{name}")


def test_as_many_buckets_are_open_as_are_used(account):
    spaces = Namespace(Buckets(account))
    first = spaces.resolve("b0").mount
    assert spaces.resolve("b0/x").mount is first
    for number in range(accounts.OPEN):
        spaces.resolve(f"b{number + 1}")
    assert spaces.resolve(f"b{accounts.OPEN}").mount is spaces.resolve(f"b{accounts.OPEN}/x").mount
    assert [mount.name for mount in spaces.mounts] == [""]
    assert spaces.resolve("b0").mount is not first


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://", "s3://bucket"),
        ("gs://", "gs://bucket"),
        ("az://account", "az://account/bucket"),
    ],
)
def test_what_wants_one_bucket_says_so(url, told):
    with pytest.raises(ConfigurationError, match=told):
        open_backend(url)
    assert isinstance(open_backend(url, accounts=True), AccountBackend)


@pytest.mark.parametrize(
    "url", ["s3:///prefix", "gs:///prefix", "s3://?manage_buckets=perhaps", "gs://?locaton=EU", "az://account?manage=true"]
)
def test_urls_without_a_bucket_that_cannot_be(url):
    with pytest.raises(ConfigurationError):
        open_backend(url, accounts=True)


NAMES = {
    "s3://": (["abc", "a.b-c", "a" * 63, "Old_Name", "a" * 255], ["abc", "a.b-c", "a" * 63]),
    "gs://": (
        ["abc", "a_b", "a.b-c", "a" * 63, f"{'a' * 63}.{'b' * 63}", "goog-abc"],
        ["abc", "a_b", "a.b-c", "a" * 63, f"{'a' * 63}.{'b' * 63}"],
    ),
    "az://account": (["abc", "a-b", "a" * 63, "$root", "$web"], ["abc", "a-b", "a" * 63, "$root", "$web"]),
}
BAD = {
    "s3://": ["ab", "a" * 256, "-ab", "a/b", "ä-b", "a b", ""],
    "gs://": ["ab", "A-B", "a" * 64, "-ab", "a..b", "1.2.3.4", "a b", ""],
    "az://account": ["ab", "a" * 64, "a-" * 32 + "a", "A-B", "a--b", "-ab", "a.b", "a_b", ""],
}
BAD_NEW = {
    "s3://": ["Old_Name", "a" * 64, "a..b", "1.2.3.4", "xn--abc", "abc-s3alias", "abc--x-s3", "sthree-abc"],
    "gs://": ["goog-abc", "my-google-bucket"],
    "az://account": ["a--b"],
}


@pytest.mark.parametrize("url", NAMES)
def test_each_store_has_its_rules_of_names(url):
    backend = open_backend(url, accounts=True)
    may_be, may_be_new = NAMES[url]
    assert [name for name in may_be if backend.is_name(name)] == may_be
    assert [name for name in may_be if backend.is_new_name(name)] == may_be_new
    assert not [name for name in BAD[url] if backend.is_name(name)]
    assert not [name for name in BAD_NEW[url] if backend.is_new_name(name)]


def test_options_of_the_account_are_those_of_its_buckets():
    opened = open_backend("gs://?project=p&endpoint_url=http://127.0.0.1:1&manage_buckets=true&location=EU", accounts=True).open_bucket(
        "abc"
    )
    assert opened.url == "gs://abc"
    assert not isinstance(opened, PrefixBackend)
    assert open_backend("az://account?tier=Cool", accounts=True).open_bucket("box").url == "az://account/box"
