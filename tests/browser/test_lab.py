"""JupyterLab on a bucket, as its user sees it."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def lab(start_jupyter):
    """JupyterLab, with a few things in its bucket."""
    jupyter = start_jupyter("lab")
    for directory in ("data", "figures", "notebooks"):
        jupyter.make_directory(directory)
    jupyter.make_file("README.md", "# Our measurements\n")
    return jupyter


@pytest.fixture
def open_lab(lab, open_window) -> Callable[..., object]:
    """Open JupyterLab on a path, in a workspace of its own, and wait until the path is shown."""

    def open_at(path: str, name: str = ""):
        where = f"lab/workspaces/w{random.randrange(10**9)}" + (f"/tree/{path}" if path else "")
        window = open_window(lab, where, name)
        directory = path.rpartition("/")[0] if path.endswith(".ipynb") else path
        expect(window.page.locator(".jp-BreadCrumbs")).to_have_text(f"/{directory}/" if directory else "/")
        if path.endswith(".ipynb"):
            window.kernel_is_idle(path)
        return window

    return open_at


def test_a_notebook_is_made_run_and_saved(lab, open_lab, store):
    window = open_lab("")
    page = window.page
    page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click()
    window.kernel_is_idle("Untitled.ipynb")
    expect(window.item("Untitled.ipynb")).to_be_visible()
    window.picture("launched")

    window.write("print(sum(n * n for n in range(1_000)))")
    page.keyboard.press("Shift+Enter")
    expect(window.cells.first.locator(".jp-OutputArea-output")).to_have_text("332833500")
    # On file:// the bucket is the kernel's directory.
    window.write("from pathlib import Path; Path('README.md').exists()", 1)
    page.keyboard.press("Shift+Enter")
    expect(window.cells.nth(1).locator(".jp-OutputArea-output").last).to_have_text(str(store == "file"))
    window.kernel_is_idle("Untitled.ipynb")

    page.keyboard.press("Control+S")
    window.dialog.locator("input").first.fill("squares.ipynb")
    window.picture("named")
    with window.checkpointing():
        window.answer("Rename and Save")
    expect(window.item("squares.ipynb")).to_be_visible()
    expect(window.item("Untitled.ipynb")).to_have_count(0)
    window.picture("saved")

    notebook = json.loads(lab.stored("squares.ipynb"))
    assert notebook["cells"][0]["outputs"][0]["text"] == ["332833500\n"]
    assert notebook["cells"][0]["execution_count"] == 1
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def test_what_was_run_here_is_trusted_when_it_opens_again(lab, open_lab, store):
    # On file:// a kernel starts beside its notebook.
    beside = 'from pathlib import Path; from IPython.display import HTML; HTML(f\'<b id="beside">{Path("again.ipynb").exists()}</b>\')'
    lab.make_notebook("notebooks/again.ipynb", beside)
    window = open_lab("notebooks/again.ipynb")
    window.cells.first.locator(".cm-content").click()
    window.page.keyboard.press("Control+Enter")
    expect(window.page.locator("#beside")).to_have_text(str(store == "file"))
    window.save()
    other = open_lab("notebooks/again.ipynb", "other")
    # Markup of a notebook that is not trusted loses its id.
    expect(other.page.locator("#beside")).to_be_visible()


def test_an_older_checkpoint_is_restored(lab, open_lab):
    lab.make_directory("kept")
    lab.make_notebook("kept/measurements.ipynb", "the text at first")
    window = open_lab("kept/measurements.ipynb")
    for text in ("the text of Monday", "the text of Tuesday"):
        window.write(text)
        window.save()
    assert lab.sources("kept/measurements.ipynb") == ["the text of Tuesday"]
    window.picture("saved-twice")

    window.menu("File", re.compile("^Revert Notebook to Checkpoint"))
    expect(window.dialog).to_contain_text("Choose a checkpoint")
    # The newest first: Tuesday's, then Monday's.
    choices = window.dialog.locator("option")
    assert choices.count() >= 2
    window.dialog.locator("select").select_option(index=1)
    window.picture("chosen")
    window.dialog.get_by_role("button", name="Ok").click()
    expect(window.dialog).to_contain_text("revert the Notebook to checkpoint")
    window.picture("asked")
    window.answer("Revert")
    expect(window.cells.first.locator(".cm-content")).to_have_text("the text of Monday")
    window.picture("restored")
    assert lab.sources("kept/measurements.ipynb") == ["the text of Monday"]
    # It was no conflict with oneself: work goes on.
    window.write("the text of Wednesday")
    window.save()
    assert lab.sources("kept/measurements.ipynb") == ["the text of Wednesday"]


def test_rename_delete_and_restore(lab, open_lab, store):
    lab.make_directory("desk")
    lab.make_file("desk/draft.txt", "words\n")
    window = open_lab("desk")
    window.on_item("draft.txt", "Rename")
    editor = window.page.locator(".jp-DirListing-editor")
    editor.fill("final.txt")
    editor.press("Enter")
    expect(window.item("final.txt")).to_be_visible()
    expect(window.item("draft.txt")).to_have_count(0)
    assert lab.stored("desk/final.txt") == b"words\n"
    window.picture("renamed")

    window.on_item("final.txt", "Move to Trash")
    expect(window.dialog).to_contain_text("final.txt")
    window.picture("asked")
    window.answer("Move to Trash")
    expect(window.item("final.txt")).to_have_count(0)
    window.picture("deleted")
    (gone,) = [entry for entry in lab.json("GET", "/cloudcontents/trash")["trash"] if entry["path"] == "desk/final.txt"]

    if store == "file":
        lab.command("trash", "restore", lab.url, gone["id"])
    else:
        lab.json("POST", f"/cloudcontents/trash/{gone['id']}/restore", {})
    window.page.locator('[data-command="filebrowser:refresh"]').click()
    expect(window.item("final.txt")).to_be_visible()
    assert lab.stored("desk/final.txt") == b"words\n"
    window.picture("restored")


def test_a_file_is_uploaded_in_chunks_and_downloaded_equal(lab, open_lab, tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    content = random.Random(seed).randbytes(3 * 2**20 + 12_345)
    name = "samples.bin"
    local = tmp_path / name
    local.write_bytes(content)
    lab.make_directory("uploads")
    window = open_lab("uploads")
    chunks: list[int] = []
    window.page.on("response", lambda reply: chunks.append(reply.status) if reply.request.method == "PUT" and name in reply.url else None)
    with window.page.expect_file_chooser() as chooser:
        window.page.get_by_role("button", name="Upload Files").click()
    chooser.value.set_files(local)
    expect(window.item(name)).to_be_visible()
    window.picture("uploaded")
    assert len(chunks) == 4, chunks
    assert hashlib.sha256(lab.stored(f"uploads/{name}")).digest() == hashlib.sha256(content).digest()

    with window.page.expect_download() as download:
        window.on_item(name, "Download")
    assert download.value.suggested_filename == name
    assert Path(download.value.path()).read_bytes() == content


def test_a_folder_named_checkpoints_opens(lab, open_lab):
    lab.make_directory("run")
    # The server's route takes PUT …/checkpoints for its own: the folder comes with what is put in it, as from a training run.
    lab.make_directory("run/folder")
    lab.make_file("run/folder/step-100.json", "{}")
    lab.request("PATCH", "/api/contents/run/folder", {"path": "run/checkpoints"})
    window = open_lab("run")
    window.item("checkpoints").dblclick()
    expect(window.item("step-100.json")).to_be_visible()
    window.picture("inside")
