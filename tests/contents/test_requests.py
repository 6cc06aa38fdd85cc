"""How many requests to the store each thing costs, counted at the backend of a real server."""

from __future__ import annotations

import asyncio
import json

import pytest

from cloudcontents.backends.faults import FaultBackend
from cloudcontents.bucket import Bucket
from cloudcontents.tree import Tree

NOTEBOOK = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


class Browser:
    """A client with the cookies that a login gave it."""

    def __init__(self, server) -> None:
        self.server = server
        self.cookies = server.bare("GET", "/login").cookies | server.request("GET", "/api/status").cookies

    def __call__(self, method, path, **kwargs):
        headers = {"Cookie": _cookies(self.cookies), "X-XSRFToken": self.cookies["_xsrf"]}
        return self.server.bare(method, path, headers=headers | kwargs.pop("headers", {}), **kwargs)


def _cookies(cookies) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


@pytest.fixture(scope="module")
def counted(start_server):
    server = start_server()
    server.bucket.backend = FaultBackend(server.bucket.backend)
    return server


@pytest.fixture
def browser(counted):
    return Browser(counted)


@pytest.fixture
def put(counted):
    def put(key: str, data: bytes = NOTEBOOK) -> str:
        counted.run(lambda: counted.bucket.put(key, data))
        counted.bucket.backend.forget()
        return key

    return put


def calls(server) -> list[tuple[str, str]]:
    found = list(server.bucket.backend.calls)
    server.bucket.backend.forget()
    return found


def test_opening_a_notebook_as_jupyterlab_does(counted, browser, put):
    path = put("open.ipynb")
    assert browser("GET", f"/api/contents/{path}", query={"type": "notebook", "content": "1", "hash": "1"}).status == 200
    assert [name for name, _ in calls(counted)] == ["get"]


def test_opening_a_notebook_of_which_nothing_is_known(counted, browser, put):
    path = put("unknown.ipynb")
    assert browser("GET", f"/api/contents/{path}").status == 200
    assert len(calls(counted)) <= 2


@pytest.mark.parametrize("name", ["stat.ipynb", "stat.bin"])
def test_content_0_costs_one_typed_and_two_untyped(counted, browser, put, name):
    path = put(name)
    assert browser("GET", f"/api/contents/{path}", query={"content": "0", "hash": "1"}).status == 200
    assert len(calls(counted)) <= 2
    kind = "notebook" if name.endswith("ipynb") else "file"
    assert browser("GET", f"/api/contents/{path}", query={"content": "0", "hash": "1", "type": kind}).status == 200
    assert [name for name, _ in calls(counted)] == ["head"]
    assert browser("GET", f"/api/contents/{path}", query={"content": "0"}).status == 200
    assert len(calls(counted)) == 1, "a path just served as a file is asked for as one"


def test_saving_an_open_notebook(counted, browser, put):
    path = put("save.ipynb")
    model = browser("GET", f"/api/contents/{path}").json
    calls(counted)
    body = {"type": "notebook", "format": "json", "content": model["content"]}
    reply = browser("PUT", f"/api/contents/{path}", body=body)
    assert reply.status == 200, reply.body
    assert [name for name, _ in calls(counted)] == ["put"]
    # As JupyterLab brackets it.
    for step in ("GET", "PUT", "GET"):
        query = {"content": "0", "hash": "1"} if step == "GET" else None
        assert browser(step, f"/api/contents/{path}", body=body if step == "PUT" else None, query=query).status == 200
    assert len(calls(counted)) == 3


def test_saving_with_a_token_and_nothing_else(counted, put):
    path = put("token.ipynb")
    body = {"type": "notebook", "format": "json", "content": json.loads(NOTEBOOK)}
    assert counted.request("PUT", f"/api/contents/{path}", body=body).status == 200
    assert [name for name, _ in calls(counted)] == ["head", "put"]


def test_a_checkpoint_and_its_list(counted, browser, put):
    path = put("checkpoint.ipynb")
    for _ in range(5):
        assert browser("POST", f"/api/contents/{path}/checkpoints").status == 201
        assert len(calls(counted)) <= 2
    assert len(browser("GET", f"/api/contents/{path}/checkpoints").json) == 5
    assert len(calls(counted)) == 1


def test_a_missing_path_is_404_and_no_made_up_model(counted, browser):
    for query in ({}, {"content": "0"}, {"type": "file"}, {"type": "directory"}, {"type": "notebook", "content": "0"}):
        assert browser("GET", "/api/contents/not/there.ipynb", query=query).status == 404
        assert all(name in ("get", "head", "list") for name, _ in calls(counted))


def test_a_directory_costs_its_pages(counted, browser):
    async def fill():
        for i in range(10_000):
            await counted.bucket.backend._inner.put(f"big/{i:05}.txt", b"x")

    counted.run(fill)
    calls(counted)
    model = browser("GET", "/api/contents/big", query={"type": "directory"}).json
    assert len(model["content"]) == 10_000
    found = [name for name, _ in calls(counted)]
    assert found.count("list") in (10, 11)
    assert set(found) == {"list"}


def test_a_thousand_folders_cost_two_requests_at_most(counted, browser):
    async def fill():
        for i in range(1000):
            await counted.bucket.backend._inner.put(f"many/{i:04}/x.txt", b"x")

    counted.run(fill)
    calls(counted)
    model = browser("GET", "/api/contents/many", query={"type": "directory"}).json
    assert len(model["content"]) == 1000
    assert len(calls(counted)) <= 2


async def test_ten_identical_listings_at_once_are_one(counted):
    backend = FaultBackend(counted.bucket.backend._inner)
    tree = Tree(Bucket(backend))
    await tree.bucket.put("at-once/a.txt", b"x")
    backend.forget()
    listings = await asyncio.gather(*(tree.list("at-once") for _ in range(10)))
    assert backend.count("list") == 1
    assert {len(listing.entries) for listing in listings} == {1}


async def test_a_listing_begun_before_a_write_is_not_shared_after_it(counted):
    backend = FaultBackend(counted.bucket.backend._inner)
    tree = Tree(Bucket(backend))
    await tree.bucket.put("fresh/a.txt", b"x")
    early = asyncio.ensure_future(tree.list("fresh"))
    await asyncio.sleep(0)
    await tree.mkdir("fresh/new")
    assert [entry.path for entry in (await tree.list("fresh")).entries] == ["fresh/a.txt", "fresh/new"]
    await early
