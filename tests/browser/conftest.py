"""JupyterLab and Notebook 7 as a user starts them, `cloudcontents lab URL`, and a real Chromium that looks at them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, WebSocket, expect

import rig.chromium

#: Where the screenshots go: one directory for each test.
PICTURES = Path(__file__).parents[2] / "test-results" / "browser"

#: What JupyterLab and Notebook write to the console of themselves, whatever the contents manager is.
THEIRS = (
    re.compile(r"Cannot read properties of undefined \(reading 'schema'\)"),  # Notebook 7.6 while it loads its settings
    re.compile(r"^Disposed$"),  # a request was under way in a widget that was closed
)

#: Milliseconds that a condition is waited for. Generous: it is only ever used up where something is broken.
PATIENCE = 30_000

#: Seconds that the server has for its start.
START = 90.0

#: Our command, as it was installed beside this Python.
COMMAND = str(Path(sys.executable).with_name("cloudcontents"))


@dataclass
class Jupyter:
    """A running JupyterLab or Notebook on a bucket."""

    app: str
    url: str
    home: Path
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    # --- its life -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it with the project's own command, and return when it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [COMMAND, self.app, self.url, "--", "--no-browser", "--allow-root"]
        settings = {
            "ServerApp.port": self.port,
            "ServerApp.port_retries": 0,
            "IdentityProvider.token": self.token,
            "LabApp.extension_manager": "readonly",
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        }
        command += [f"--{name}={value}" for name, value in settings.items()]
        news = self.home / ".jupyter-config/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        news.parent.mkdir(parents=True)
        news.write_text('{"fetchNews": "false"}')
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(command, env=self.environment, cwd=self.home, stdout=log, stderr=subprocess.STDOUT)
        until = time.monotonic() + START
        while True:
            assert self.process.poll() is None, f"The server ended:\n{self.log}"
            assert time.monotonic() < until, f"The server does not answer:\n{self.log}"
            try:
                self.request("GET", "/api/status")
                return
            except ConnectionError:
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop it in good order; kernels end with it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            finally:
                self.process.kill()
                self.process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """No configuration or data of this machine's user; what is installed beside this Python is found."""
        names = ("CONFIG", "DATA", "RUNTIME")
        directories = {f"JUPYTER_{name}_DIR": str(self.home / f".jupyter-{name.lower()}") for name in names}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "CLOUDCONTENTS"))}
        return kept | directories | {"HOME": str(self.home), "IPYTHONDIR": str(self.home / ".ipython"), "JUPYTER_PLATFORM_DIRS": "1"}

    @property
    def log_file(self) -> Path:
        return self.home / "server.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    # --- beside the browser -------------------------------------------------------------------------------------------------

    def request(self, method: str, path: str, body: Any = None, expected: tuple[int, ...] = (200, 201, 204)) -> bytes:
        """One request with the token, as a program would make it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, quote(path, safe="/?=&"), data, {"Authorization": f"token {self.token}"})
            reply = connection.getresponse()
            content = reply.read()
            assert reply.status in expected, f"{method} {path}: {reply.status} {content[:500]!r}"
            return content
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(self.request(method, path, body))

    def command(self, *arguments: str) -> str:
        """Run a command of ours on the bucket, in a process of its own."""
        done = subprocess.run([COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def stored(self, path: str) -> bytes:
        """A file as it is in the bucket: read by another process where one can, else from the server, since memory is its own."""
        if self.url.startswith("file:"):
            return Path(self.url.removeprefix("file://"), path).read_bytes()
        return self.request("GET", f"/files/{path}")

    def sources(self, path: str) -> list[str]:
        """The sources of a stored notebook's cells."""
        return ["".join(cell["source"]) for cell in json.loads(self.stored(path))["cells"]]

    def make_notebook(self, path: str, *sources: str) -> None:
        """A notebook in the bucket, saved by a client that is no browser."""
        cells = [
            {"cell_type": "code", "id": f"cell-{number}", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
            for number, source in enumerate(sources)
        ]
        kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
        content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        self.request("PUT", f"/api/contents/{path}", {"type": "notebook", "format": "json", "content": content})

    def make_file(self, path: str, text: str) -> None:
        self.request("PUT", f"/api/contents/{path}", {"type": "file", "format": "text", "content": text})

    def make_directory(self, path: str) -> None:
        self.request("PUT", f"/api/contents/{path}", {"type": "directory"})


@dataclass
class Window:
    """A page of JupyterLab or Notebook, and the gestures of its user. Each window has a session (cookies) of its own."""

    jupyter: Jupyter
    page: Page
    context: BrowserContext
    pictures: Path
    name: str
    #: What this test provokes on purpose: console lines that match are no failure.
    expected: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    sockets: list[WebSocket] = field(default_factory=list)

    def goto(self, path: str) -> None:
        separator = "&" if "?" in path else "?"
        self.page.goto(f"http://127.0.0.1:{self.jupyter.port}/{path}{separator}token={self.jupyter.token}")

    def picture(self, what: str) -> None:
        """A screenshot, for people to look at."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        number = len(list(self.pictures.glob("*.png"))) + 1
        self.page.screenshot(path=self.pictures / f"{number}-{what}{self.name}.png", animations="disabled")

    # --- the file browser ---------------------------------------------------------------------------------------------------

    def item(self, name: str) -> Locator:
        """An entry of the file browser."""
        exact = re.compile(rf"^{re.escape(name)}$")
        text = self.page.locator(".jp-DirListing-itemText", has_text=exact)
        return self.page.locator(".jp-DirListing-item:visible", has=text)

    def on_item(self, name: str, entry: str) -> None:
        """Choose an entry of an item's context menu."""
        self.item(name).click(button="right")
        self.page.locator(".lm-Menu-item:visible", has=self.page.get_by_text(entry, exact=True)).first.click()

    # --- menus and dialogs --------------------------------------------------------------------------------------------------

    def menu(self, name: str, entry: str | re.Pattern[str]) -> None:
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{name}$")).click()
        self.page.locator(".lm-Menu-itemLabel:visible", has_text=entry).first.click()

    @property
    def dialog(self) -> Locator:
        return self.page.locator(".jp-Dialog")

    def answer(self, button: str) -> None:
        """Press a button of the dialog and see it go."""
        self.dialog.get_by_role("button", name=button).click()
        expect(self.dialog).to_have_count(0)

    # --- a notebook ---------------------------------------------------------------------------------------------------------

    @property
    def cells(self) -> Locator:
        return self.page.locator(".jp-Notebook:visible .jp-CodeCell")

    def write(self, text: str, cell: int = 0) -> None:
        """Replace what is in a cell."""
        editor = self.cells.nth(cell).locator(".cm-content")
        editor.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)
        expect(editor).to_have_text(text)

    def kernel_is_idle(self, path: str) -> None:
        """Wait until the notebook's kernel is there, connected, and has nothing to do."""

        def idle(session: Any) -> bool:
            # The server's own count of connections may be wrong after a reconnect: the browser knows better.
            connected = any(session["kernel"]["id"] in socket.url and not socket.is_closed() for socket in self.sockets)
            return bool(session["path"] == path and session["kernel"]["execution_state"] == "idle" and connected)

        until = time.monotonic() + PATIENCE / 1000
        while not any(map(idle, self.jupyter.json("GET", "/api/sessions"))):
            assert time.monotonic() < until, f"No idle kernel of {path}: {self.jupyter.json('GET', '/api/sessions')}"
            self.page.wait_for_timeout(100)
        expect(self.page.locator(".jp-Notebook-ExecutionIndicator:visible").first).to_have_attribute("data-status", "idle")
        if self.jupyter.app == "lab":
            expect(self.page.get_by_role("button", name=re.compile(r"\| Idle$"))).to_be_visible()

    def saving(self, status: int = 200) -> Any:
        """Use it around a gesture that saves: waits for the server's answer to the save."""
        return self._answered("PUT", re.compile(r"/api/contents/[^?]*\.ipynb(\?|$)"), status)

    def checkpointing(self) -> Any:
        """Use it around a gesture that saves and makes a checkpoint: waits for the answer to the latter."""
        return self._answered("POST", re.compile(r"/checkpoints(\?|$)"), 201)

    @contextlib.contextmanager
    def _answered(self, method: str, url: re.Pattern[str], status: int) -> Iterator[None]:
        with self.page.expect_response(lambda reply: reply.request.method == method and bool(url.search(reply.url))) as answer:
            yield
        assert answer.value.status == status, answer.value.text()

    def save(self) -> None:
        """Press the keys; returns once the save and its checkpoint are done."""
        with self.checkpointing():
            self.page.keyboard.press("Control+S")


@pytest.fixture(autouse=True)
def jp_asyncio_loop() -> None:
    """Instead of pytest-jupyter's own loop for each test: Playwright's runs in this thread, and there can be one only."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser. Ended with its module: while Playwright runs, this thread has an event loop that other tests could not have."""
    expect.set_options(timeout=PATIENCE)
    with rig.chromium.chromium() as browser:
        yield browser


@pytest.fixture(scope="module", params=["file", "memory"])
def store(request: pytest.FixtureRequest) -> str:
    """The kind of bucket."""
    return str(request.param)


@pytest.fixture(scope="module")
def start_jupyter(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Jupyter]]:
    """Start ``lab`` or ``notebook`` on a fresh bucket; a module's tests share it."""
    running: list[Jupyter] = []

    def start(app: str) -> Jupyter:
        home = tmp_path_factory.mktemp(app)
        url = (home / "bucket").as_uri() if store == "file" else f"memory://{app}"
        jupyter = Jupyter(app, url, home)
        running.append(jupyter)
        jupyter.start()
        return jupyter

    yield start
    for jupyter in running:
        jupyter.stop()


@pytest.fixture
def open_window(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Window]]:
    """Open a window: `open_window(jupyter, path)`. An error in a console that is neither theirs nor expected fails the test."""
    windows: list[Window] = []
    pictures = PICTURES / re.sub(r"[^\w-]+", "-", request.node.name).strip("-")
    shutil.rmtree(pictures, ignore_errors=True)

    def watch(window: Window, page: Page) -> None:
        def heard(message: ConsoleMessage) -> None:
            if message.type == "error":
                window.complaints.append(f"{message.text} ({message.location.get('url', '')})")

        page.on("console", heard)
        page.on("websocket", lambda socket: window.sockets.append(socket))
        page.on("pageerror", lambda error: window.complaints.append(f"{error}"))

    def open_one(jupyter: Jupyter, path: str, name: str = "") -> Window:
        context = chromium.new_context(viewport={"width": 1280, "height": 760}, locale="en-US", timezone_id="UTC")
        context.set_default_timeout(PATIENCE)
        window = Window(jupyter, context.new_page(), context, pictures, f"-{name}" if name else "")
        windows.append(window)
        context.on("page", lambda page: watch(window, page))
        watch(window, window.page)
        window.goto(path)
        return window

    yield open_one
    unexpected: list[str] = []
    for window in windows:
        for page in window.context.pages:
            replace(window, page=page).picture("last")
        allowed = [*THEIRS, *map(re.compile, window.expected)]
        unexpected += [line for line in window.complaints if not any(pattern.search(line) for pattern in allowed)]
        window.context.close()
    assert not unexpected, "Errors in the browser's console:\n" + "\n".join(unexpected)
