"""Every route of ours, found by walking the server's handler table: who may use it. A route without a row here fails."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from jupyter_server.auth import Authorizer
from tornado.web import RequestHandler

WRITE = {"body": {"type": "file", "format": "text", "content": "x"}}


@dataclass(frozen=True)
class Row:
    """One verb of one route, and how it is asked. `{…}` in the path is filled from what the fixture made."""

    path: str
    page: bool = False
    query: dict = field(default_factory=dict)
    body: object = None
    headers: dict = field(default_factory=dict)


TUS = {"Tus-Resumable": "1.0.0"}
PATH = {"path": "kept.txt"}

ROWS = {
    (r"/files/(.*)", "GET"): Row("/files/kept.txt", page=True),
    (r"/files/(.*)", "HEAD"): Row("/files/kept.txt", page=True),
    (r"/cloudcontents/status", "GET"): Row("/cloudcontents/status"),
    (r"/cloudcontents/archive(?P<path>(?:(?:/[^/]+)+|/?))", "GET"): Row("/cloudcontents/archive/d", page=True),
    (r"/cloudcontents/archive(?P<path>(?:(?:/[^/]+)+|/?))", "HEAD"): Row("/cloudcontents/archive/d", page=True),
    (r"/cloudcontents/conflicts", "GET"): Row("/cloudcontents/conflicts", query=PATH),
    (r"/cloudcontents/conflicts/([^/]+)", "GET"): Row("/cloudcontents/conflicts/{conflict}", page=True),
    (r"/cloudcontents/conflicts/([^/]+)", "DELETE"): Row("/cloudcontents/conflicts/{conflict}"),
    (r"/cloudcontents/trash", "GET"): Row("/cloudcontents/trash"),
    (r"/cloudcontents/trash", "DELETE"): Row("/cloudcontents/trash"),
    (r"/cloudcontents/trash/([^/]+)", "DELETE"): Row("/cloudcontents/trash/{trash}"),
    (r"/cloudcontents/trash/([^/]+)/restore", "POST"): Row("/cloudcontents/trash/{trash}/restore", body={"to": "again.txt"}),
    (r"/cloudcontents/checkpoints/([^/]+)", "PATCH"): Row("/cloudcontents/checkpoints/{checkpoint}", query=PATH, body={"name": "n"}),
    (r"/cloudcontents/checkpoints/([^/]+)/content", "GET"): Row("/cloudcontents/checkpoints/{checkpoint}/content", page=True, query=PATH),
    (r"/cloudcontents/uploads/?", "GET"): Row("/cloudcontents/uploads"),
    (r"/cloudcontents/uploads/?", "POST"): Row("/cloudcontents/uploads", body={"path": "kept-new.txt", "size": 3}),
    (r"/cloudcontents/uploads/stats", "GET"): Row("/cloudcontents/uploads/stats"),
    (r"/cloudcontents/uploads/recovered", "GET"): Row("/cloudcontents/uploads/recovered"),
    (r"/cloudcontents/uploads/recovered/([^/]+)/restore", "POST"): Row(
        "/cloudcontents/uploads/recovered/{recovered}/restore", body={"to": "again.txt"}
    ),
    (r"/cloudcontents/uploads/([^/]+)", "GET"): Row("/cloudcontents/uploads/{upload}"),
    (r"/cloudcontents/uploads/([^/]+)", "HEAD"): Row("/cloudcontents/uploads/{upload}", headers=TUS),
    (r"/cloudcontents/uploads/([^/]+)", "DELETE"): Row("/cloudcontents/uploads/{upload}", headers=TUS),
    (r"/cloudcontents/uploads/([^/]+)", "POST"): Row(
        "/cloudcontents/uploads/{upload}", headers={**TUS, "X-HTTP-Method-Override": "DELETE"}
    ),
    (r"/cloudcontents/uploads/([^/]+)", "PATCH"): Row(
        "/cloudcontents/uploads/{upload}",
        body=b"kep",
        headers={**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
    ),
    (r"/cloudcontents/uploads/([^/]+)/parts", "GET"): Row("/cloudcontents/uploads/{upload}/parts"),
    (r"/cloudcontents/uploads/([^/]+)/parts/(\d{1,9})", "GET"): Row("/cloudcontents/uploads/{upload}/parts/1", query={"sha256": "0" * 64}),
    (r"/cloudcontents/uploads/([^/]+)/parts/(\d{1,9})", "PUT"): Row("/cloudcontents/uploads/{upload}/parts/1", body=b"kep"),
    (r"/cloudcontents/uploads/([^/]+)/complete", "POST"): Row("/cloudcontents/uploads/{whole}/complete"),
    (r"/cloudcontents/uploads/([^/]+)/events", "GET"): Row("/cloudcontents/uploads/{ended}/events"),
}

#: The server's own routes that do the same things: they must be refused along with ours.
ALIASES = {
    "read": [("GET", "/api/contents/kept.txt", None), ("GET", "/api/contents/kept.txt/checkpoints", None)],
    "write": [
        ("PUT", "/api/contents/kept.txt", WRITE["body"]),
        ("DELETE", "/api/contents/kept.txt", None),
        ("PATCH", "/api/contents/kept.txt", {"path": "moved.txt"}),
        ("POST", "/api/contents", {"copy_from": "kept.txt"}),
        ("POST", "/api/contents/kept.txt/checkpoints", None),
        ("POST", "/api/contents/kept.txt/checkpoints/{checkpoint}", None),
        ("DELETE", "/api/contents/kept.txt/checkpoints/{checkpoint}", None),
    ],
}

by_row = pytest.mark.parametrize(("route", "method"), list(ROWS), ids=lambda value: value)


class Guard(Authorizer):
    """Denies the actions of a set that the test fills, and notes what it was asked."""

    denied: set[str] = set()
    asked: list[tuple[str, str]] = []

    def is_authorized(self, handler, user, action, resource):
        self.asked.append((action, resource))
        return action not in self.denied


@pytest.fixture(scope="module")
def server(start_server):
    return start_server(config={"ServerApp": {"authorizer_class": Guard}})


@pytest.fixture(autouse=True)
def guard():
    Guard.denied.clear()
    Guard.asked.clear()
    yield Guard
    Guard.denied.clear()


@pytest.fixture
def made(server):
    """What the rows ask for, made anew: the ids, and the bucket as it then is."""
    server.store.clear()
    server.request("PUT", "/api/contents/kept.txt", **WRITE)
    server.run(lambda: server.bucket.put("d/f.txt", b"x"))
    server.run(lambda: server.bucket.put("gone.txt", b"x"))
    mount = server.manager.namespace.mounts[0]
    return {
        "checkpoint": server.request("POST", "/api/contents/kept.txt/checkpoints").json["id"],
        "trash": server.run(lambda: mount.trash.put("gone.txt")).id,
        "conflict": server.run(lambda: mount.conflicts.keep("kept.txt", b"lost", client="c", base=None, type="file", format="text")).id,
        "upload": server.run(lambda: server.manager.uploads.start("kept-up.txt", 3)).id,
        "whole": server.run(lambda: uploaded(server.manager.uploads, "kept-whole.txt")).id,
        "ended": server.run(lambda: ended(server.manager.uploads)).id,
        "recovered": server.run(lambda: recovered(server.bucket)),
    }


async def uploaded(uploads, path):
    begun = await uploads.start(path, 3)
    await uploads.append(begun.id, 0, b"abc")
    return begun


async def ended(uploads):
    return await uploads.complete((await uploaded(uploads, "kept-ended.txt")).id)


async def recovered(bucket):
    await bucket.put(".cloudcontents/uploads/recovered/abc/kept.txt", b"x")
    return "abc"


def ask(server, route, method, made, *, headers=None, token=False):
    row = ROWS[route, method]
    send = server.request if token else server.bare
    return send(method, row.path.format(**made), query=row.query, body=row.body, headers={**row.headers, **(headers or {})})


def walk(router):
    """Every pattern and handler below a router."""
    for rule in router.rules:
        if hasattr(rule.target, "rules"):
            yield from walk(rule.target)
        elif isinstance(rule.target, type) and issubclass(rule.target, RequestHandler):
            yield rule.matcher.regex.pattern.removesuffix("$"), rule.target


def implemented(handler):
    return {
        method
        for method in handler.SUPPORTED_METHODS
        if getattr(handler, method.lower()) is not RequestHandler._unimplemented_method
        and getattr(handler, method.lower()) != RequestHandler._unimplemented_method
    }


def test_every_route_of_ours_has_a_row(server):
    found = {
        (pattern.removeprefix(server.base), method)
        for pattern, handler in walk(server.app.web_app.default_router)
        if handler.__module__.startswith("cloudcontents.")
        for method in implemented(handler) - {"OPTIONS"}
    }
    assert found == set(ROWS)


@by_row
def test_a_row_works_for_who_may(server, made, route, method):
    reply = ask(server, route, method, made, token=True)
    assert reply.status in (200, 201, 204), reply.body


@by_row
def test_without_credentials(server, made, route, method):
    before = server.store.snapshot()
    for headers in (None, {"Authorization": "token wrong"}, {"Cookie": "username-127-0-0-1=x"}):
        reply = ask(server, route, method, made, headers=headers)
        if ROWS[route, method].page and method in ("GET", "HEAD"):
            assert reply.status == 302
            assert reply.headers["location"].startswith(f"{server.base}/login?next=")
        else:
            assert reply.status == 403
        assert b"kept.txt" not in reply.body
    assert server.store.snapshot() == before


@by_row
def test_preflight_tells_nothing(server, made, route, method):
    before = server.store.snapshot()
    reply = server.bare("OPTIONS", ROWS[route, method].path.format(**made))
    assert (reply.status in (200, 204), reply.body) == (True, b"")
    assert server.store.snapshot() == before


@pytest.fixture(scope="module")
def cookies(server):
    """The cookies of a browser that has logged in: the session, and the XSRF token."""
    login = server.bare("GET", "/login")
    session = server.bare("GET", "/api/contents", query={"token": server.token})
    (name,) = [name for name in session.cookies if name.startswith("username-")]
    return f"{name}={session.cookies[name]}", login.cookies["_xsrf"]


@by_row
def test_cookie_without_xsrf_token(server, made, cookies, route, method):
    session, xsrf = cookies
    before = server.store.snapshot()
    refused = (
        {"Cookie": session},
        {"Cookie": f"{session}; _xsrf={xsrf}"},
        {"Cookie": f"{session}; _xsrf={xsrf}", "X-XSRFToken": "wrong"},
        {"Cookie": f"{session}; _xsrf={xsrf}", "Referer": "http://evil.example/"},
    )
    for headers in refused:
        assert ask(server, route, method, made, headers=headers).status == 403, headers
    assert server.store.snapshot() == before
    reply = ask(server, route, method, made, headers={"Cookie": f"{session}; _xsrf={xsrf}", "X-XSRFToken": xsrf})
    assert reply.status in (200, 201, 204)


@by_row
def test_from_another_site(server, made, cookies, route, method):
    session, xsrf = cookies
    headers = {"Cookie": f"{session}; _xsrf={xsrf}", "X-XSRFToken": xsrf, "Origin": "http://evil.example"}
    before = server.store.snapshot()
    reply = ask(server, route, method, made, headers=headers)
    assert reply.status in (403, 404)
    assert "access-control-allow-origin" not in reply.headers
    assert server.store.snapshot() == before


@by_row
def test_authorizer_is_asked_and_obeyed(server, made, guard, route, method):
    action = "read" if method in ("GET", "HEAD") else "write"
    guard.asked.clear()
    guard.denied.add(action)
    before = server.store.snapshot()
    reply = ask(server, route, method, made, token=True)
    assert reply.status == 403
    assert guard.asked == [(action, "contents")]
    assert server.store.snapshot() == before


@pytest.mark.parametrize("action", list(ALIASES))
def test_authorizer_holds_for_every_alias(server, made, guard, action):
    guard.denied.add(action)
    before = server.store.snapshot()
    for method, path, body in ALIASES[action]:
        assert server.request(method, path.format(**made), body=body).status == 403, (method, path)
    assert server.store.snapshot() == before


def test_a_foreign_host_is_refused(server, made):
    for (route, method), _ in ROWS.items():
        assert ask(server, route, method, made, token=True, headers={"Host": "evil.example"}).status == 403


@pytest.mark.parametrize("name", ["page.html", "image.svg", "data.xml", "page.xhtml"])
def test_what_a_browser_might_run_is_confined(server, made, name):
    server.run(lambda: server.bucket.put(name, b"<script>alert(1)</script>"))
    for path, query in [(f"/files/{name}", {}), (f"/files/{name}", {"download": "1"}), ("/files/none.html", {})]:
        reply = server.request("GET", path, query=query)
        policy = [part.strip() for part in reply.headers["content-security-policy"].split(";")]
        assert "sandbox allow-scripts" in policy
        assert "frame-ancestors 'self'" in policy
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_policy_of_the_operator_is_kept_and_the_sandbox_too(start_server):
    policy = "default-src 'self'"
    server = start_server(config={"ServerApp": {"tornado_settings": {"headers": {"Content-Security-Policy": policy}}}})
    server.run(lambda: server.bucket.put("x.html", b"x"))
    assert server.request("GET", "/files/x.html").headers["content-security-policy"] == f"{policy}; sandbox allow-scripts"


def test_strict_servers_take_our_routes(start_server):
    # With allow_unauthenticated_access off the server itself refuses a route that does not say that it authenticates.
    server = start_server(config={"ServerApp": {"allow_unauthenticated_access": False}})
    assert server.bare("GET", "/cloudcontents/status").status == 403
    assert server.bare("GET", "/files/x").status == 302
    assert server.request("GET", "/cloudcontents/status").status == 200
