"""Renames in one step of the store, which no emulator has: requests as Google and Microsoft document them, and replies so, too."""

from __future__ import annotations

import asyncio
import contextlib
import json
from urllib.parse import parse_qs

import pytest

from cloudcontents.backends import azure_rename
from cloudcontents.backends.azure_client import AzureConnection, LakeAccess
from cloudcontents.backends.azure_rename import lake_endpoint
from cloudcontents.bucket import Bucket
from cloudcontents.errors import (
    AlreadyExistsError,
    LockedError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
    UnsupportedError,
)
from cloudcontents.registry import open_backend

HIERARCHICAL = {"hierarchicalNamespace": {"enabled": True}}
OPERATION = "projects/_/buckets/bucket/operations/op-1"
LAYOUT = ("GET", "/storage/v1/b/bucket/storageLayout")
TARGET = ("GET", "/storage/v1/b/bucket/o")
RENAME = ("POST", "/storage/v1/b/bucket/folders/a%2Fb%2F/renameTo/folders/c%2Fd%2F")
LOOK = ("GET", "/storage/v1/b/bucket/operations/op-1")


def refusal(status, reason, message=""):
    return {"error": {"code": status, "message": message, "errors": [{"reason": reason}]}}


@contextlib.asynccontextmanager
async def opened(url):
    backend = open_backend(url)
    try:
        yield backend
    finally:
        await backend.close()


@pytest.fixture
def gcs(script):
    return lambda: opened(f"gs://bucket?endpoint_url={script.url}")


def asked(script):
    return [(found.method, found.path) for found in script.asked]


# --- Google -------------------------------------------------------------------------------------------------------------------


async def test_google_renames_a_folder_and_waits_for_its_operation(script, gcs, monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr("cloudcontents.backends.gcs_rename.asyncio.sleep", sleep)
    script.say(200, HIERARCHICAL).say(200, {}).say(200, {"name": OPERATION, "done": False})
    script.say(200, {"name": OPERATION, "done": False}).say(200, {"name": OPERATION, "done": True, "response": {}})
    async with gcs() as backend:
        await backend.rename("a/b/", "c/d/")
    assert asked(script) == [LAYOUT, TARGET, RENAME, LOOK, LOOK]
    layout, target, rename, *_ = script.asked
    # The right to list is needed below the folder's own directory only.
    assert layout.query == {"prefix": "a/", "fields": "hierarchicalNamespace"}
    assert target.query["prefix"] == "c/d/"
    assert rename.query == {}
    assert rename.body == b""
    assert pauses == [0.2, 0.4]


async def test_google_moves_an_object_only_to_a_free_name(script, gcs):
    script.say(200, HIERARCHICAL).say(200, {"generation": "8"}).say(412, refusal(412, "conditionNotMet"))
    script.say(404, refusal(404, "notFound", "No such object: bucket/x y"))
    async with gcs() as backend:
        await backend.rename("x y", "z/w")
        with pytest.raises(AlreadyExistsError):
            await backend.rename("x y", "z/w")
        with pytest.raises(NotFoundError):
            await backend.rename("x y", "z/w")
    move = ("POST", "/storage/v1/b/bucket/o/x%20y/moveTo/o/z%2Fw")
    assert asked(script) == [LAYOUT, move, move, move]
    assert script.asked[1].query == {"ifGenerationMatch": "0", "fields": "generation"}


@pytest.mark.parametrize(
    "answer", [(200, {}), (200, {"hierarchicalNamespace": {"enabled": False}}), (404, b"not found"), (403, refusal(403, "forbidden"))]
)
async def test_a_flat_google_bucket_is_asked_once_and_renames_nothing(script, gcs, answer):
    script.say(*answer)
    async with gcs() as backend:
        for names in (("a/b/", "c/d/"), ("a", "b")):
            with pytest.raises(UnsupportedError):
                await backend.rename(*names)
        assert not await Bucket(backend).rename("a/b/", "c/d/")
    assert asked(script) == [LAYOUT]


async def test_a_google_bucket_that_is_away_is_asked_again(script, gcs):
    script.say(503, refusal(503, "backendError")).say(200, {})
    async with gcs() as backend:
        with pytest.raises(UnavailableError):
            await backend.rename("a/", "b/")
        with pytest.raises(UnsupportedError):
            await backend.rename("a/", "b/")
    assert asked(script) == [LAYOUT, LAYOUT]


@pytest.mark.parametrize("status", [409, 412])
async def test_what_is_in_the_way_of_a_google_folder(script, gcs, status):
    script.say(200, HIERARCHICAL).say(200, {"items": [{"name": "c/d/x"}]})
    async with gcs() as backend:
        with pytest.raises(AlreadyExistsError):
            await backend.rename("a/b/", "c/d/")
        script.answers.clear()
        script.say(200, {}).say(status, refusal(status, "conflict")).say(200, {"name": "c/d/"})
        with pytest.raises(AlreadyExistsError):
            await backend.rename("a/b/", "c/d/")
        script.answers.clear()
        script.say(200, {}).say(status, refusal(status, "conflict")).say(404, refusal(404, "notFound"))
        with pytest.raises(LockedError):
            await backend.rename("a/b/", "c/d/")
    target_folder = ("GET", "/storage/v1/b/bucket/folders/c%2Fd%2F")
    assert asked(script) == [LAYOUT, TARGET, TARGET, RENAME, target_folder, TARGET, RENAME, target_folder]


async def test_a_google_folder_whose_target_has_no_parent_yet(script, gcs):
    missing = refusal(404, "notFound", "The folder does not exist.")
    script.say(200, HIERARCHICAL).say(200, {}).say(404, missing).say(200, {"name": "a/b/"}).say(200, {"name": "c/"})
    script.say(200, {}).say(200, {"name": OPERATION, "done": True})
    async with gcs() as backend:
        await backend.rename("a/b/", "c/d/")
    source = ("GET", "/storage/v1/b/bucket/folders/a%2Fb%2F")
    parent = ("POST", "/storage/v1/b/bucket/folders")
    assert asked(script) == [LAYOUT, TARGET, RENAME, source, parent, TARGET, RENAME]
    assert script.asked[4].query == {"recursive": "true", "fields": "name"}
    assert json.loads(script.asked[4].body) == {"name": "c/"}


@pytest.mark.parametrize(("below", "error"), [({}, NotFoundError), ({"items": [{"name": "a/b/x"}]}, UnsupportedError)])
async def test_a_google_folder_that_is_missing(script, gcs, below, error):
    missing = refusal(404, "notFound", "The folder does not exist.")
    script.say(200, HIERARCHICAL).say(200, {}).say(404, missing).say(404, missing).say(200, below)
    async with gcs() as backend:
        with pytest.raises(error):
            await backend.rename("a/b/", "c/d/")


@pytest.mark.parametrize(("code", "error"), [(6, AlreadyExistsError), (9, AlreadyExistsError), (13, UnavailableError)])
async def test_a_google_operation_that_fails(script, gcs, code, error):
    script.say(200, HIERARCHICAL).say(200, {}).say(200, {"name": OPERATION, "done": True, "error": {"code": code, "message": "m"}})
    script.say(200, {"name": "c/d/"})
    async with gcs() as backend:
        with pytest.raises(error):
            await backend.rename("a/b/", "c/d/")


# --- Azure --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lake(script, monkeypatch):
    """A container behind the script, whose Data Lake end point is `/lake` of it: `lake(**variables)`."""
    for name in ("CONNECTION_STRING", "KEY", "SAS_TOKEN", "ACCOUNT"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.setattr(azure_rename, "lake_endpoint", lambda endpoint: f"{script.url}/lake")

    def make(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
        return opened(f"az://account/box?endpoint_url={script.url}")

    return make


def informed(script, *, hns="true"):
    return script.say(200, x_ms_is_hns_enabled=hns, x_ms_sku_name="Standard_LRS", x_ms_account_kind="StorageV2")


INFORMED = ("GET", "/account/box")


@pytest.mark.parametrize("credential", ["key", "sas"])
async def test_azure_renames_by_its_other_end_point(script, lake, credential):
    given = {"KEY": "c2VjcmV0LWtleQ=="} if credential == "key" else {"SAS_TOKEN": "sv=2022-11-02&sr=c&sp=racwdlm&sig=from-outside"}
    informed(script).say(201)
    async with lake(**given) as backend:
        await backend.rename("a/b/", "c d/e/")
        await backend.rename("f", "g")
    assert asked(script) == [INFORMED, ("PUT", "/lake/box/c%20d/e"), ("PUT", "/lake/box/g")]
    account, directory, file = script.asked
    assert account.query["restype"] == "account"
    assert account.query["comp"] == "properties"
    assert directory.headers["if-none-match"] == "*"
    assert directory.headers["x-ms-version"] >= "2020-02-10"
    assert directory.body == b""
    for request, source in ((directory, "/box/a/b"), (file, "/box/f")):
        path, _, signature = request.headers["x-ms-rename-source"].partition("?")
        assert path == source
        signed = {name: values[-1] for name, values in parse_qs(signature).items()}
        # The source and the target are opened by the same signature, which may move ("m").
        assert signed["sig"] == request.query["sig"]
        assert {"r", "w", "d", "m"} <= set(signed["sp"])
        if credential == "sas":
            assert signed["sig"] == "from-outside"


async def test_azure_renames_with_a_token(script, lake, monkeypatch):
    access = LakeAccess(script.url, "box", headers={"Authorization": "Bearer a-token"})
    monkeypatch.setattr(AzureConnection, "lake", lambda self: access)
    script.say(200, x_ms_namespace_enabled="true").say(201)
    async with lake() as backend:
        await backend.rename("a/", "b/")
    assert asked(script) == [("HEAD", "/lake/box"), ("PUT", "/lake/box/b")]
    assert script.asked[0].query == {"resource": "filesystem"}
    assert [found.headers["authorization"] for found in script.asked] == ["Bearer a-token"] * 2
    assert script.asked[1].headers["x-ms-rename-source"] == "/box/a"


async def test_an_azure_rename_goes_on_where_the_service_stops_halfway(script, lake):
    informed(script).say(201, x_ms_continuation="more+/=").say(201)
    async with lake(KEY="c2VjcmV0LWtleQ==") as backend:
        await backend.rename("a/", "b/")
    assert [found.query.get("continuation") for found in script.asked[1:]] == [None, "more+/="]
    assert asked(script)[1:] == [("PUT", "/lake/box/b")] * 2


async def test_an_azure_rename_into_a_directory_that_is_missing_makes_it(script, lake):
    informed(script).say(404, x_ms_error_code="RenameDestinationParentPathNotFound").say(201).say(201)
    async with lake(KEY="c2VjcmV0LWtleQ==") as backend:
        await backend.rename("a/", "b/c/d/")
    assert asked(script)[1:] == [("PUT", "/lake/box/b/c/d"), ("PUT", "/lake/box/b/c"), ("PUT", "/lake/box/b/c/d")]
    assert script.asked[2].query["resource"] == "directory"
    assert script.asked[2].headers["if-none-match"] == "*"


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (409, "PathAlreadyExists", AlreadyExistsError),
        (412, "ConditionNotMet", AlreadyExistsError),
        (404, "SourcePathNotFound", NotFoundError),
        (403, "AuthorizationPermissionMismatch", PermissionDeniedError),
        (503, "ServerBusy", UnavailableError),
    ],
)
async def test_what_azure_refuses_a_rename_with(script, lake, status, code, error):
    informed(script).say(status, {"error": {"code": code}}, x_ms_error_code=code)
    async with lake(KEY="c2VjcmV0LWtleQ==") as backend:
        with pytest.raises(error):
            await backend.rename("a", "b")


@pytest.mark.parametrize("answer", [{"x_ms_is_hns_enabled": "false"}, {}])
async def test_a_flat_azure_account_is_asked_once_and_renames_nothing(script, lake, answer):
    script.say(200, x_ms_sku_name="Standard_LRS", **answer)
    async with lake(KEY="c2VjcmV0LWtleQ==") as backend:
        for _ in range(2):
            with pytest.raises(UnsupportedError):
                await backend.rename("a/", "b/")
        assert not await Bucket(backend).rename("a/", "b/")
    assert asked(script) == [INFORMED]


@pytest.mark.parametrize("status", [403, 404])
async def test_an_azure_account_that_tells_nothing_is_flat(script, lake, status):
    script.say(status, x_ms_error_code="AuthorizationFailure")
    async with lake(KEY="c2VjcmV0LWtleQ==") as backend:
        with pytest.raises(UnsupportedError):
            await backend.rename("a/", "b/")


async def test_an_azure_connection_that_breaks_is_the_stores_fault(script, lake, monkeypatch):
    informed(script)
    async with lake(KEY="c2VjcmV0LWtleQ==") as backend:
        monkeypatch.setattr(azure_rename, "lake_endpoint", lambda endpoint: "http://127.0.0.1:1")
        with pytest.raises(UnavailableError):
            await backend.rename("a/", "b/")


@pytest.mark.parametrize(
    ("blob", "lake"),
    [
        ("https://account.blob.core.windows.net", "https://account.dfs.core.windows.net"),
        ("https://account.z01.blob.storage.azure.net/", "https://account.z01.dfs.storage.azure.net"),
        ("https://account.privatelink.blob.core.chinacloudapi.cn", "https://account.privatelink.dfs.core.chinacloudapi.cn"),
        ("http://127.0.0.1:10000/account", None),
    ],
)
def test_where_the_data_lake_end_point_is(blob, lake):
    assert lake_endpoint(blob) == lake


async def test_azurite_is_not_asked(azurite, monkeypatch):
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    async with opened(f"az://{azurite.account}/{azurite.new_bucket()}") as backend:
        await backend.put("a", b"x")
        with pytest.raises(UnsupportedError):
            await backend.rename("a", "b")
        assert not await asyncio.wait_for(Bucket(backend).rename("a", "b"), 30)
