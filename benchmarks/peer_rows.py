"""What the S3 managers are asked to do, and how it is verified at the store that they have done it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from boto3.s3.transfer import TransferConfig

from .notebooks import as_sent, notebook, notebook_bytes, text_of
from .peer_servers import DISK, FSSPEC, MINE, MINE_FOR_GOOD, PYFS, S3CONTENTS, Side

ENTRIES = 10_000
FOLDERS = 1_000
FILES = 500

BUCKETS = (MINE, S3CONTENTS, FSSPEC, PYFS)


class UnverifiedError(Exception):
    """The server answered with success, and it is not so."""


@dataclass(frozen=True)
class Row:
    """One row of the report.

    Attributes:
        name: In the report.
        prepare: Before each turn, unmeasured; its argument is the number of the turn.
        work: What is measured.
        verify: After each turn, unmeasured.
        repeats: Of the work in each turn.
        who: The servers that take part.
        measured_against: Whom ours is to be ahead of; None: the best whose result was verified.
    """

    name: str
    prepare: Callable[[Side, int], None]
    work: Callable[[Side], None]
    verify: Callable[[Side], None]
    repeats: int = 1
    who: Sequence[str] = BUCKETS
    measured_against: str | None = None


def check(holds: bool, what: str) -> None:
    """Fail unless it is so."""
    if not holds:
        raise UnverifiedError(what)


# --- listings -------------------------------------------------------------------------------------------------------------------


def _many(side: Side, turn: int) -> None:
    """Another program adds a file before each turn: what was remembered of the turn before is no answer."""
    if turn == 0:
        side.put({f"many/measurement-{number:05}.csv": b"1,2,3\n" * 10 for number in range(ENTRIES - 1)})
        side.held["many"] = {f"measurement-{number:05}.csv" for number in range(ENTRIES - 1)}
    side.held["many"].discard(f"new-{turn - 1}.csv")
    side.held["many"].add(f"new-{turn}.csv")
    if turn:
        side.client.delete_object(Bucket=side.bucket, Key=f"many/new-{turn - 1}.csv")
    side.put({f"many/new-{turn}.csv": b"1,2,3\n" * 10})


def _folders(side: Side, turn: int) -> None:
    names = [f"folder-{number:04}" for number in range(FOLDERS - 1)] if turn == 0 else []
    names.append(f"new-{turn}")
    side.make_directories(f"folders/{name}" for name in names)
    side.put({f"folders/{name}/notes.txt": b"x" for name in names})
    side.held.setdefault("folders", set()).update(names)


def _list(path: str) -> Callable[[Side], None]:
    def work(side: Side) -> None:
        side.held["answer"] = side.server.json("GET", side.api(path))["content"]

    return work


def _listed(path: str, kind: str) -> Callable[[Side], None]:
    def verify(side: Side) -> None:
        found = [entry["name"] for entry in side.held["answer"] if entry["type"] == kind and entry["name"] not in ("", ".s3keep", path)]
        check(len(found) == len(set(found)), "entries come twice")
        check(set(found) == side.held[path], f"{len(set(found) & side.held[path])} of {len(side.held[path])} entries")

    return verify


# --- notebooks ------------------------------------------------------------------------------------------------------------------


def _replace(cells: int) -> Callable[[Side, int], None]:
    """Another program writes the notebook before each turn, and the directory is looked at, as in the file browser."""

    def prepare(side: Side, turn: int) -> None:
        side.held["mark"] = mark = f"{'x' * turn}-{turn}"
        side.put({_notebook(cells): notebook_bytes(cells, mark)})
        side.click(f"notebooks-{cells}")

    return prepare


def _replace_again(cells: int) -> Callable[[Side, int], None]:
    """Another program writes the notebook after the directory was looked at, which is what JupyterLab asks about before it saves."""

    def prepare(side: Side, turn: int) -> None:
        _replace(cells)(side, turn)
        time.sleep(1)  # times are told in seconds
        side.put({_notebook(cells): notebook_bytes(cells, f"{side.held['mark']} again")})

    return prepare


def _notebook(cells: int) -> str:
    return f"notebooks-{cells}/notebook.ipynb"


def _open(cells: int) -> Callable[[Side], None]:
    def work(side: Side) -> None:
        side.held["raw"] = side.server.request("GET", side.api(_notebook(cells)) + "?content=1&type=notebook")

    return work


def _opened(cells: int) -> Callable[[Side], None]:
    def verify(side: Side) -> None:
        content = json.loads(side.held["raw"])["content"]
        check(content["metadata"]["mark"] == side.held["mark"], "an old text")
        check(text_of(content["cells"]) == text_of(notebook(cells)["cells"]), "another text")

    return verify


def _stat(cells: int) -> Callable[[Side], None]:
    def work(side: Side) -> None:
        side.held["raw"] = side.server.request("GET", side.api(_notebook(cells)) + "?content=0")

    return work


def _stated(cells: int) -> Callable[[Side], None]:
    def verify(side: Side) -> None:
        model = json.loads(side.held["raw"])
        there = side.client.head_object(Bucket=side.bucket, Key=_notebook(cells))
        check(model.get("size") in (None, there["ContentLength"]), f"an old size ({model.get('size')})")
        told = datetime.fromisoformat(model["last_modified"].replace("Z", "+00:00"))
        check(abs((told - there["LastModified"]).total_seconds()) < 1, f"another time ({told})")

    return verify


def _open_first(cells: int) -> Callable[[Side, int], None]:
    def prepare(side: Side, turn: int) -> None:
        _replace(cells)(side, turn)
        _open(cells)(side)
        bodies = [{"type": "notebook", "format": "json", "content": as_sent(cells, f"saved {turn}.{n}")} for n in range(20)]
        side.held["bodies"] = [json.dumps(body).encode() for body in bodies[: 20 if cells < 100 else 4]]

    return prepare


def _save(cells: int) -> Callable[[Side], None]:
    def work(side: Side) -> None:
        side.held["sent"] = side.held["bodies"].pop()
        side.server.request("PUT", side.api(_notebook(cells)), side.held["sent"])

    return work


def _saved(cells: int) -> Callable[[Side], None]:
    def verify(side: Side) -> None:
        found, sent = json.loads(side.read(_notebook(cells))), json.loads(side.held["sent"])["content"]
        check(found["metadata"]["mark"] == sent["metadata"]["mark"], "the save before it is there")
        check(text_of(found["cells"]) == text_of(sent["cells"]), "another text is there")

    return verify


# --- directories ----------------------------------------------------------------------------------------------------------------


def _tree(side: Side, turn: int) -> None:
    side.held["tree"] = f"trees/{time.time_ns()}"
    top = side.held["tree"]
    side.make_directories([top, *(f"{top}/part-{number}" for number in range(10))])
    side.put({f"{top}/part-{number % 10}/{number}.txt": f"{number}\n".encode() * 200 for number in range(FILES)})
    side.held["files"] = side.files(f"{top}/")
    check(len(side.held["files"]) == FILES, "the tree is not there")
    side.click("trees")


def _rename(side: Side) -> None:
    side.held["target"] = f"{side.held['tree']}-moved"
    side.server.json("PATCH", side.api(side.held["tree"]), {"path": side.path(side.held["target"])})


def _renamed(side: Side) -> None:
    old, new = side.files(f"{side.held['tree']}/"), side.files(f"{side.held['target']}/")
    check(not old and _same(new, side.held["files"]), f"{len(new)} of {FILES} files are under the new name, {len(old)} under the old one")


def _copy(side: Side) -> None:
    reply = side.server.json("POST", side.api("trees"), {"copy_from": side.path(side.held["tree"])})
    side.held["target"] = reply["path"].removeprefix(side.drive).lstrip("/")


def _copied(side: Side) -> None:
    old, new = side.files(f"{side.held['tree']}/"), side.files(f"{side.held['target']}/")
    check(_same(new, side.held["files"]) and _same(old, side.held["files"]), f"{len(new)} of {FILES} files are in the copy")


def _same(one: dict[str, tuple[str, int]], other: dict[str, tuple[str, int]]) -> bool:
    """Names and sizes; the ETag of a copy may be another one."""
    return {name: size for name, (_, size) in one.items()} == {name: size for name, (_, size) in other.items()}


def _delete(side: Side) -> None:
    side.server.request("DELETE", side.api(side.held["tree"]))


def _deleted(side: Side) -> None:
    left = side.files(f"{side.held['tree']}/")
    check(not left, f"{len(left)} of {FILES} files are left")


# --- a big file -----------------------------------------------------------------------------------------------------------------


def _big(gib: float) -> Callable[[Side, int], None]:
    def prepare(side: Side, turn: int) -> None:
        if turn:
            return
        piece = hashlib.sha256(b"big").digest() * 32768  # 1 MiB
        path = side.server.home / "big.bin"
        with path.open("wb") as file:
            for number in range(int(gib * 1024)):
                file.write(number.to_bytes(8, "big") + piece[8:])
        parts = TransferConfig(multipart_chunksize=64 * 2**20, max_concurrency=4)
        side.client.upload_file(str(path), side.bucket, "big/big.bin", Config=parts)
        path.unlink()
        side.click("big")

    return prepare


def _copy_big(side: Side) -> None:
    reply = side.server.json("POST", side.api("big"), {"copy_from": side.path("big/big.bin")})
    side.held["target"] = reply["path"].removeprefix(side.drive).lstrip("/")


def _copied_big(side: Side) -> None:
    digests = []
    for key in ("big/big.bin", side.held["target"]):
        digest = hashlib.sha256()
        for piece in side.client.get_object(Bucket=side.bucket, Key=key)["Body"].iter_chunks(1 << 20):
            digest.update(piece)
        digests.append(digest.digest())
    check(digests[0] == digests[1], "the copy holds something else")
    side.client.delete_object(Bucket=side.bucket, Key=side.held["target"])


def rows(gib: float) -> list[Row]:
    """All of them."""
    found = [
        Row(f"list {ENTRIES:,} entries", _many, _list("many"), _listed("many", "file")),
        Row(f"list {FOLDERS:,} folders", _folders, _list("folders"), _listed("folders", "directory")),
    ]
    for size, cells, few in (("50 KB", 10, 20), ("5 MB", 1000, 3)):
        found += [
            Row(f"open a notebook of {size}", _replace(cells), _open(cells), _opened(cells), few),
            Row(f"stat a notebook of {size} (content=0)", _replace_again(cells), _stat(cells), _stated(cells), 20),
        ]
        if size == "5 MB":
            who, against = (*BUCKETS, DISK), DISK
        else:
            who, against = BUCKETS, None
        found.append(Row(f"save a notebook of {size}", _open_first(cells), _save(cells), _saved(cells), few, who, against))
    return [
        *found,
        Row(f"rename a directory of {FILES}", _tree, _rename, _renamed),
        Row(f"delete a directory of {FILES} for good", _tree, _delete, _deleted, who=(MINE_FOR_GOOD, S3CONTENTS, FSSPEC, PYFS)),
        Row(f"delete a directory of {FILES} to the trash", _tree, _delete, _deleted, who=(MINE,)),
        Row(f"copy a directory of {FILES}", _tree, _copy, _copied),
        Row(f"copy a file of {gib:g} GiB", _big(gib), _copy_big, _copied_big),
    ]
