"""Every notebook of nbformat's and nbconvert's source distributions gets from us what jupyter_server's own file manager gives it.

The steps are a user's: open, save, checkpoint, edit and save, rename, restore, download. Refusals count too: what the one does not
take, the other must not take either, with the same status.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from pathlib import Path
from typing import Any

#: Parts of a model that a store decides, or a clock.
VARIABLE = {"created", "last_modified", "hash", "hash_algorithm", "version", "writable", "id"}
_number = itertools.count()


def told(reply: Any, place: str) -> Any:
    """What a reply says, without what differs from run to run."""
    if not reply.body:
        return reply.status, None
    if reply.status >= 400:
        # The words are each manager's own; that there are some is not.
        return reply.status, "refused, with words"
    body = reply.json
    if isinstance(body, list):
        return reply.status, len(body)
    said = {key: value for key, value in body.items() if key not in VARIABLE and value is not None}
    return reply.status, {key: value.replace(place, "…") if isinstance(value, str) else value for key, value in said.items()}


def without_made_up_ids(steps: list[tuple[str, Any]], original: str) -> list[tuple[str, Any]]:
    """The same steps, with the random ids that nbformat gives to cells that have none put as one word."""
    cells = [cell for _, (status, said) in steps if status == 200 and isinstance(said, dict) for cell in cells_of(said)]
    made_up = {cell["id"] for cell in cells if isinstance(cell, dict) and cell.get("id") and cell["id"] not in original + "id"}
    if not made_up:
        return steps
    word = re.compile("|".join(map(re.escape, sorted(made_up))))
    return [(name, (status, word.sub("made-up", json.dumps(said, sort_keys=True)))) for name, (status, said) in steps]


def cells_of(said: dict[str, Any]) -> list[Any]:
    content = said.get("content")
    return list(content.get("cells", ())) if isinstance(content, dict) else []


def journey(server: Any, notebook: Path) -> list[tuple[str, Any]]:
    """Take a notebook through every step, and tell what the server answered to each."""
    place = f"journey{next(_number)}"
    first, second = f"{place}/{notebook.name}", f"{place}/renamed {notebook.name}"
    steps: list[tuple[str, Any]] = []

    def step(name: str, method: str, path: str, body: Any = None) -> Any:
        reply = server.request(method, path, body)
        steps.append((name, told(reply, place)))
        return reply

    assert server.request("PUT", f"api/contents/{place}", {"type": "directory"}).status == 201
    raw = {"type": "file", "format": "base64", "content": base64.b64encode(notebook.read_bytes()).decode()}
    step("put the file there", "PUT", f"api/contents/{first}", raw)
    opened = step("open", "GET", f"api/contents/{first}?content=1")
    step("look", "GET", f"api/contents/{first}?content=0")
    step("save a copy of the raw text as a notebook", "PUT", f"api/contents/{place}/raw.ipynb", {**raw, "type": "notebook"})
    content: Any = opened.json["content"] if opened.status == 200 else {"cells": "no notebook"}
    saved = step("save", "PUT", f"api/contents/{first}", {"type": "notebook", "format": "json", "content": content})
    checkpoint = step("checkpoint", "POST", f"api/contents/{first}/checkpoints")
    if saved.status == 200:
        edited = {**content, "cells": [*content["cells"], {"cell_type": "markdown", "id": "id", "metadata": {}, "source": "more"}]}
        step("edit and save", "PUT", f"api/contents/{first}", {"type": "notebook", "format": "json", "content": edited})
        step("open again", "GET", f"api/contents/{first}?content=1")
    step("rename", "PATCH", f"api/contents/{first}", {"path": second})
    step("the old name", "GET", f"api/contents/{first}?content=0")
    step("checkpoints", "GET", f"api/contents/{second}/checkpoints")
    if checkpoint.status == 201:
        step("restore", "POST", f"api/contents/{second}/checkpoints/{checkpoint.json['id']}")
    step("open after restoring", "GET", f"api/contents/{second}?content=1")
    download = server.request("GET", f"files/{second}?download=1")
    steps.append(("download", (download.status, download.body.decode("utf-8", "surrogateescape"))))
    return without_made_up_ids(steps, notebook.read_text(encoding="utf-8"))


def test_a_notebook_fares_as_with_upstreams_manager(servers: tuple[Any, Any], notebook: Path) -> None:
    upstream, server = servers
    expected = journey(upstream, notebook)
    got = journey(server, notebook)
    assert [name for name, _ in got] == [name for name, _ in expected]
    for (name, ours), (_, theirs) in zip(got, expected, strict=True):
        if theirs[0] >= 500:  # it broke; we are to refuse
            assert 400 <= ours[0] < 500, name
        else:
            assert ours == theirs, name
