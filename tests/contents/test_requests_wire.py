"""How many requests each thing costs on each cloud, counted on the wire before a real server. One set of expectations for all."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import requests

from rig.faultproxy import FaultProxy

NOTEBOOK = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


@dataclass
class Cloud:
    """One cloud, as a test fills it and counts what it is asked.

    Attributes:
        proxy: Before the store.
        url: The bucket's.
        place: Puts one object behind the server's back.
    """

    proxy: FaultProxy
    url: str
    place: Callable[[str, bytes], object]
    browser: Callable[..., object] = print

    def put(self, *names: str, data: bytes = NOTEBOOK) -> str:
        """Put objects, and count from zero."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda name: self.place(f"home/{name}", data), names))
        self.proxy.forget()
        return names[0]

    def asked(self) -> list[str]:
        """The requests so far, each as the verb of S3 that does the same, and count from zero again."""
        found = [_verb(request) for request in self.proxy.requests]
        self.proxy.forget()
        return found


def _verb(request) -> str:
    if "list-type" in request.query or request.query.get("comp") == "list":
        return "LIST"
    if request.path.startswith(("/storage/v1/", "/upload/storage/")):
        # Google's JSON interface: an object's resource is what a HEAD is elsewhere; bodies are read by its other one.
        if request.method == "GET":
            return "HEAD" if "/o/" in request.path else "LIST"
        return "PUT" if request.method == "POST" else request.method
    return request.method


def _s3(server) -> tuple[str, Callable[[str, bytes], object], Callable[[], object]]:
    bucket, client = server.new_bucket(), server.client()
    return f"s3://{bucket}/home", lambda key, data: client.put_object(Bucket=bucket, Key=key, Body=data), client.close


def _gcs(server) -> tuple[str, Callable[[str, bytes], object], Callable[[], object]]:
    # Not by the SDK, which takes ten times as long for ten thousand objects.
    bucket, session = server.new_bucket(), requests.Session()
    at = f"{server.endpoint}/upload/storage/v1/b/{bucket}/o"

    def place(key: str, data: bytes) -> None:
        session.post(at, params={"uploadType": "media", "name": key}, data=data, timeout=60).raise_for_status()

    return f"gs://{bucket}/home", place, session.close


def _azure(server) -> tuple[str, Callable[[str, bytes], object], Callable[[], object]]:
    container, client = server.new_bucket(), server.client()
    return (
        f"az://{server.account}/{container}/home",
        lambda key, data: client.get_blob_client(container, key).upload_blob(data),
        client.close,
    )


@pytest.fixture(scope="module", params=["minio", "fake_gcs", "azurite"])
def cloud(request, start_server) -> Iterator[Cloud]:
    server = request.getfixturevalue(request.param)
    with FaultProxy(server) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment(proxy.url).items():
            patch.setenv(name, value)
        url, place, close = {"minio": _s3, "fake_gcs": _gcs, "azurite": _azure}[request.param](server)
        found = Cloud(proxy, url, place)
        jupyter = start_server(url)
        cookies = jupyter.bare("GET", "/login").cookies | jupyter.request("GET", "/api/status").cookies
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), "X-XSRFToken": cookies["_xsrf"]}

        def browser(method, path, status=200, **arguments):
            reply = jupyter.bare(method, path, headers=headers, **arguments)
            assert reply.status == status, reply.body
            return reply

        found.browser = browser
        # What a server learns once in its life: that the bucket answers (S3), which kind of copy the store has (Azurite).
        browser("GET", "/api/contents/")
        browser("POST", f"/api/contents/{found.put('first.ipynb')}/checkpoints", 201)
        yield found
        jupyter.stop()
        close()


@pytest.mark.parametrize("query", [{"type": "notebook", "content": "1", "hash": "1"}, {"type": "notebook"}])
def test_opening_a_notebook(cloud, query):
    path = cloud.put(f"open-{secrets.token_hex(4)}.ipynb")
    cloud.browser("GET", f"/api/contents/{path}", query=query)
    assert cloud.asked() == ["GET"]


def test_opening_what_nothing_is_known_of(cloud):
    path = cloud.put("unknown.ipynb")
    cloud.browser("GET", f"/api/contents/{path}")
    assert sorted(cloud.asked()) == ["GET", "LIST"]


def test_without_content(cloud):
    path = cloud.put("stat.ipynb")
    cloud.browser("GET", f"/api/contents/{path}", query={"content": "0", "hash": "1"})
    assert sorted(cloud.asked()) == ["HEAD", "LIST"]
    cloud.browser("GET", f"/api/contents/{path}", query={"content": "0", "hash": "1", "type": "notebook"})
    assert cloud.asked() == ["HEAD"]
    cloud.browser("GET", f"/api/contents/{path}", query={"content": "0"})
    assert cloud.asked() == ["HEAD"], "a path just served as a file is asked for as one"


def test_saving_an_open_notebook(cloud):
    path = cloud.put("save.ipynb")
    content = cloud.browser("GET", f"/api/contents/{path}").json["content"]
    cloud.asked()
    for _ in range(3):
        cloud.browser("PUT", f"/api/contents/{path}", body={"type": "notebook", "format": "json", "content": content})
        # The reply to a PUT of S3 does not tell the object's time.
        assert cloud.asked() == (["PUT", "HEAD"] if cloud.url.startswith("s3:") else ["PUT"])


def test_a_checkpoint_and_its_list(cloud):
    path = cloud.put("checkpoint.ipynb")
    # As JupyterLab, which opens the file, and asks for the list before it makes the first.
    cloud.browser("GET", f"/api/contents/{path}", query={"type": "notebook"})
    cloud.asked()
    assert cloud.browser("GET", f"/api/contents/{path}/checkpoints").json == []
    assert cloud.asked() == ["LIST"]
    for _ in range(3):
        cloud.browser("POST", f"/api/contents/{path}/checkpoints", 201)
        assert len(cloud.asked()) <= 2
    assert len(cloud.browser("GET", f"/api/contents/{path}/checkpoints").json) == 3
    assert cloud.asked() == ["LIST"]


def test_a_thousand_folders(cloud):
    cloud.put(*(f"many/{i:04}/x.txt" for i in range(1000)), data=b"x")
    assert len(cloud.browser("GET", "/api/contents/many", query={"type": "directory"}).json["content"]) == 1000
    found = cloud.asked()
    assert set(found) == {"LIST"}
    assert len(found) <= 2


@pytest.mark.parametrize("entries", [1_500, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_directory_costs_its_pages(cloud, entries):
    cloud.put(*(f"big{entries}/{i:05}.txt" for i in range(entries)), data=b"x")
    assert len(cloud.browser("GET", f"/api/contents/big{entries}", query={"type": "directory"}).json["content"]) == entries
    found = cloud.asked()
    assert set(found) == {"LIST"}
    assert len(found) in (math.ceil(entries / 1000), entries // 1000 + 1)
