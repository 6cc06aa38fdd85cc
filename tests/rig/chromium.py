"""The Chromium of this machine, by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from rig.install import RigError

#: No request of the browser's own leaves the machine.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: Names under which systems install it.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. While it runs, this thread has an event loop, beside which others cannot run in it.

    Raises:
        RigError: None is installed.
    """
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise RigError(f"The browser tests need Chromium, and none of {', '.join(NAMES)} is installed.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()
