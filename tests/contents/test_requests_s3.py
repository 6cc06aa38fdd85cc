"""How many requests each thing costs on S3, counted on the wire before a MinIO."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from rig.faultproxy import FaultProxy

NOTEBOOK = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


@pytest.fixture(scope="module")
def wire(minio):
    with FaultProxy(minio) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in minio.environment(proxy.url).items():
            patch.setenv(name, value)
        yield proxy


@pytest.fixture(scope="module")
def bucket(minio):
    return minio.new_bucket()


@pytest.fixture(scope="module")
def browser(wire, bucket, start_server):
    """A client with the cookies that a login gave it."""
    server = start_server(f"s3://{bucket}/home")
    cookies = server.bare("GET", "/login").cookies | server.request("GET", "/api/status").cookies
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), "X-XSRFToken": cookies["_xsrf"]}

    def ask(method, path, status=200, **arguments):
        reply = server.bare(method, path, headers=headers, **arguments)
        assert reply.status == status, reply.body
        return reply

    # The bucket has answered once: a server's first 404 costs one request more.
    ask("GET", "/api/contents/")
    return ask


@pytest.fixture
def put(minio, bucket, wire):
    """Put objects behind the server's back, and count from zero."""
    client = minio.client()

    def put(*names, data=NOTEBOOK):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda name: client.put_object(Bucket=bucket, Key=f"home/{name}", Body=data), names))
        wire.forget()
        return names[0]

    yield put
    client.close()


def asked(wire):
    """The requests so far, in short, and count from zero again."""
    found = ["LIST" if "list-type" in request.query else request.method for request in wire.requests]
    wire.forget()
    return found


def test_opening_a_notebook(wire, browser, put):
    path = put("open.ipynb")
    browser("GET", f"/api/contents/{path}", query={"type": "notebook", "content": "1", "hash": "1"})
    assert asked(wire) == ["GET"]
    path = put("unknown.ipynb")
    browser("GET", f"/api/contents/{path}")
    assert len(asked(wire)) <= 2


def test_without_content(wire, browser, put):
    path = put("stat.ipynb")
    browser("GET", f"/api/contents/{path}", query={"content": "0", "hash": "1"})
    assert len(asked(wire)) <= 2
    browser("GET", f"/api/contents/{path}", query={"content": "0", "hash": "1", "type": "notebook"})
    assert asked(wire) == ["HEAD"]


def test_saving_an_open_notebook(wire, browser, put):
    path = put("save.ipynb")
    content = browser("GET", f"/api/contents/{path}").json["content"]
    wire.forget()
    for _ in range(3):
        browser("PUT", f"/api/contents/{path}", body={"type": "notebook", "format": "json", "content": content})
        # The reply to a PUT does not tell the object's time.
        assert asked(wire) == ["PUT", "HEAD"]


def test_a_checkpoint_and_its_list(wire, browser, put):
    path = put("checkpoint.ipynb")
    for _ in range(3):
        browser("POST", f"/api/contents/{path}/checkpoints", 201)
        assert len(asked(wire)) <= 2
    assert len(browser("GET", f"/api/contents/{path}/checkpoints").json) == 3
    assert asked(wire) == ["LIST"]


def test_a_thousand_folders(wire, browser, put):
    put(*(f"many/{i:04}/x.txt" for i in range(1000)), data=b"")
    assert len(browser("GET", "/api/contents/many", query={"type": "directory"}).json["content"]) == 1000
    assert len(asked(wire)) <= 2


@pytest.mark.parametrize("entries", [2_500, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_directory_costs_its_pages(wire, browser, put, entries):
    put(*(f"big{entries}/{i:05}.txt" for i in range(entries)), data=b"")
    assert len(browser("GET", f"/api/contents/big{entries}", query={"type": "directory"}).json["content"]) == entries
    found = asked(wire)
    assert set(found) == {"LIST"}
    assert len(found) in (-(-entries // 1000), entries // 1000 + 1)
