"""Two people, two windows, one notebook: nobody's text is lost, and JupyterLab says what happened."""

from __future__ import annotations

import json
import random
import re

import pytest
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def lab(start_jupyter):
    return start_jupyter("lab")


@pytest.fixture
def two_windows(lab, open_window):
    """Two sessions that have one notebook open, from one base."""

    def open_both(path: str):
        windows = []
        for name in ("ann", "ben"):
            windows.append(open_window(lab, f"lab/workspaces/w{random.randrange(10**9)}/tree/{path}", name))
            windows[-1].kernel_is_idle(path)
        return windows

    return open_both


def test_jupyterlab_asks_before_it_overwrites_and_its_answer_holds(lab, two_windows):
    lab.make_notebook("shared.ipynb", "as it was")
    ann, ben = two_windows("shared.ipynb")
    ann.write("Ann's text")
    ann.save()
    ben.write("Ben's text")
    ben.page.keyboard.press("Control+S")
    expect(ben.dialog).to_contain_text("has changed on disk since")
    ben.picture("file-changed")
    assert lab.sources("shared.ipynb") == ["Ann's text"]
    with ben.checkpointing():
        ben.answer("Overwrite")
    assert lab.sources("shared.ipynb") == ["Ben's text"]
    assert lab.json("GET", "/cloudcontents/conflicts?path=shared.ipynb")["conflicts"] == []


def test_the_slower_of_two_saves_is_told_and_its_text_is_kept(lab, two_windows, store):
    """JupyterLab's own look at the file comes before Ann's save, and Ben's save after it: only the server can see this one."""
    lab.make_notebook("raced.ipynb", "as it was")
    ann, ben = two_windows("raced.ipynb")
    looks = re.compile(r"/api/contents/raced\.ipynb\?.*content=0.*hash=1")
    before = lab.request("GET", "/api/contents/raced.ipynb?content=0&hash=1").decode()
    ben.page.route(looks, lambda route: route.fulfill(status=200, content_type="application/json", body=before))
    ann.write("Ann's text")
    ann.save()
    ben.write("Ben's text")
    ben.expected += ["status of 409", "Your text was not lost"]
    with ben.saving(409):
        ben.page.keyboard.press("Control+S")
    expect(ben.dialog).to_contain_text("File Save Error for raced.ipynb")
    (conflict,) = lab.json("GET", "/cloudcontents/conflicts?path=raced.ipynb")["conflicts"]
    expect(ben.dialog).to_contain_text(f"Your text was not lost: it is kept as conflict {conflict['id']}")
    ben.picture("refused")

    assert lab.sources("raced.ipynb") == ["Ann's text"]
    kept = json.loads(lab.request("GET", f"/cloudcontents/conflicts/{conflict['id']}"))
    assert ["".join(cell["source"]) for cell in kept["cells"]] == ["Ben's text"]
    if store == "file":
        assert conflict["id"] in lab.command("conflicts", "ls", lab.url)

    # What the message says to do: look at what is there now, then save over it.
    ben.answer("Close")
    ben.page.unroute(looks)
    ben.page.keyboard.press("Control+S")
    expect(ben.dialog).to_contain_text("has changed on disk since")
    with ben.checkpointing():
        ben.answer("Overwrite")
    assert lab.sources("raced.ipynb") == ["Ben's text"]
