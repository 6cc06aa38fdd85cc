"""Uppy with @uppy/tus as its project publishes it, in Chromium: on a page of the server's own, and on one of another origin."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import rig.chromium
from rig.process import free_port

MIB = 2**20
LARGE = 20 * MIB

ELSEWHERE = free_port()
OPTIONS = {"ServerApp.allow_origin": f"http://127.0.0.1:{ELSEWHERE}"}


@pytest.fixture(autouse=True)
def jp_asyncio_loop():
    """Instead of pytest-jupyter's own loop for each test: Playwright's runs in this thread, and there can be one only."""


@pytest.fixture(scope="module")
def chromium():
    with rig.chromium.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page_text(node):
    return f'<!doctype html><meta charset="utf-8"><input type="file" multiple><script type="module">{node.bundle("page.js")}</script>'


@pytest.fixture
def page(chromium):
    """An empty window; `requests` of it are those to the upload resource."""
    context = chromium.new_context()
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    opened.requests = []
    opened.on("request", lambda request: "/uploads" in request.url and opened.requests.append(request))
    yield opened
    context.close()


def sent(page):
    return [request.method for request in page.requests]


def offsets(page):
    return [int(request.headers["upload-offset"]) for request in page.requests if request.method == "PATCH"]


@pytest.fixture
def own_page(page, page_text, target):
    """A page of the server's own, where the user has logged in: its cookie lets the uploads in."""
    page.goto(f"{target.endpoint}/login?token={target.jupyter.token}")
    page.route(f"{target.endpoint}/page", lambda route: route.fulfill(content_type="text/html", body=page_text))
    page.goto(f"{target.endpoint}/page")
    return page


@contextmanager
def serving(port, text):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def begin(page, files, options, pause_at=None):
    """Pick the files and upload them: "paused", the number of files that arrived, or the errors of those that did not.

    Without headers of its own, the user's cookie lets them in, with the XSRF token beside it.
    """
    page.set_input_files("input", [str(path) for path in files])
    script = "([options, pauseAt]) => begin({...options, headers: options.headers ?? xsrf()}, pauseAt ?? Infinity)"
    return page.evaluate(script, [options, pause_at])


def test_on_a_page_of_the_server(target, own_page, make_file):
    path = make_file(LARGE)
    assert begin(own_page, [path], {"endpoint": target.url}) == 1
    assert sent(own_page) == ["POST", "PATCH"]
    assert target.holds(path.name, path)


def test_files_together_in_chunks(target, own_page, make_file):
    paths = [make_file(8 * MIB + 12_345), make_file(5 * MIB), make_file(0)]
    assert begin(own_page, paths, {"endpoint": target.url, "chunkSize": 3 * MIB}) == 3
    assert all(target.holds(path.name, path) for path in paths)


def test_paused_and_gone_on_with(target, own_page, make_file):
    path = make_file(LARGE)
    assert begin(own_page, [path], {"endpoint": target.url, "chunkSize": 3 * MIB}, pause_at=8 * MIB) == "paused"
    assert own_page.evaluate("goOn()") == 1
    assert sent(own_page).count("POST") == 1
    assert target.holds(path.name, path)


def test_the_page_is_loaded_again_in_the_middle(target, own_page, make_file):
    path = make_file(LARGE)
    options = {"endpoint": target.url, "chunkSize": 3 * MIB}
    assert begin(own_page, [path], options, pause_at=8 * MIB) == "paused"
    own_page.reload()
    own_page.requests.clear()
    assert begin(own_page, [path], options) == 1
    assert sent(own_page)[:2] == ["HEAD", "PATCH"]
    assert offsets(own_page)[0] >= 6 * MIB, "what was answered for is not sent again"
    assert target.holds(path.name, path)


def test_on_a_page_of_another_origin(target, page, page_text, make_file):
    path = make_file(LARGE)
    with serving(ELSEWHERE, page_text) as address:
        page.goto(address)
        options = {"endpoint": target.url, "headers": target.authorization, "chunkSize": 8 * MIB}
        assert begin(page, [path], options, pause_at=10 * MIB) == "paused"
        page.reload()
        page.requests.clear()
        assert begin(page, [path], options) == 1
    assert "HEAD" in sent(page)
    assert "POST" not in sent(page)
    assert target.holds(path.name, path)


def test_errors_can_be_read_on_a_page_of_another_origin(target, page, page_text, make_file):
    path = make_file(10)
    target.session.save(path.name, "here already")
    with serving(ELSEWHERE, page_text) as address:
        page.goto(address)
        (error,) = begin(page, [path], {"endpoint": target.url, "headers": target.authorization, "retryDelays": None})
    assert "response code: 409" in error
    assert "already" in error


def test_a_page_of_an_origin_that_is_not_allowed_gets_nothing(target, page, page_text, make_file):
    path = make_file(10)
    with serving(0, page_text) as address:
        page.goto(address)
        (error,) = begin(page, [path], {"endpoint": target.url, "headers": target.authorization, "retryDelays": None})
    assert "looks like a network error" in error
    assert target.session.request("GET", f"/api/contents/{path.name}").status == 404
