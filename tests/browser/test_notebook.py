"""Notebook 7 on a bucket, as its user sees it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def notebook(start_jupyter):
    """Notebook 7, with a few things in its bucket."""
    jupyter = start_jupyter("notebook")
    for directory in ("data", "figures", "notebooks"):
        jupyter.make_directory(directory)
    jupyter.make_file("README.md", "# Our measurements\n")
    jupyter.make_notebook("analysis.ipynb", "1 + 1")
    return jupyter


def test_a_notebook_is_made_from_the_tree_run_and_saved(notebook, open_window):
    window = open_window(notebook, "tree")
    expect(window.item("README.md")).to_be_visible()
    window.picture("tree")
    window.item("notebooks").dblclick()
    expect(window.page.locator(".jp-BreadCrumbs:visible")).to_have_text("/notebooks/")
    window.page.get_by_text("New", exact=True).click()
    with window.context.expect_page() as opened:
        window.page.locator(".lm-Menu-itemLabel:visible", has_text="Python 3 (ipykernel)").click()
    page = replace(window, page=opened.value)
    page.kernel_is_idle("notebooks/Untitled.ipynb")
    page.write("print(sum(n * n for n in range(1_000)))")
    page.page.keyboard.press("Shift+Enter")
    expect(page.cells.first.locator(".jp-OutputArea-output")).to_have_text("332833500")
    page.kernel_is_idle("notebooks/Untitled.ipynb")
    with page.checkpointing():
        page.page.keyboard.press("Control+S")
        page.picture("named")
    page.picture("saved")
    stored = json.loads(notebook.stored("notebooks/Untitled.ipynb"))
    assert stored["cells"][0]["outputs"][0]["text"] == ["332833500\n"]
    page.page.close()
    expect(window.item("Untitled.ipynb")).to_be_visible()


def test_a_checkpoint_is_restored(notebook, open_window):
    notebook.make_notebook("kept.ipynb", "the text at first")
    window = open_window(notebook, "notebooks/kept.ipynb")
    window.kernel_is_idle("kept.ipynb")
    for text in ("the text of Monday", "the text of Tuesday"):
        window.write(text)
        window.save()
    window.menu("File", re.compile("^Revert Notebook to Checkpoint"))
    window.dialog.locator("select").select_option(index=1)
    window.picture("chosen")
    window.dialog.get_by_role("button", name="Ok").click()
    expect(window.dialog).to_contain_text("revert the Notebook to checkpoint")
    window.answer("Revert")
    expect(window.cells.first.locator(".cm-content")).to_have_text("the text of Monday")
    window.picture("restored")
    assert notebook.sources("kept.ipynb") == ["the text of Monday"]


def test_a_file_is_deleted_to_the_trash_and_restored(notebook, open_window):
    notebook.make_file("draft.txt", "words\n")
    window = open_window(notebook, "tree")
    window.on_item("draft.txt", "Move to Trash")
    window.picture("asked")
    window.answer("Move to Trash")
    expect(window.item("draft.txt")).to_have_count(0)
    (gone,) = notebook.json("GET", "/cloudcontents/trash")["trash"]
    notebook.json("POST", f"/cloudcontents/trash/{gone['id']}/restore", {})
    window.page.reload()
    expect(window.item("draft.txt")).to_be_visible()
    assert notebook.stored("draft.txt") == b"words\n"
