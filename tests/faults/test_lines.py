"""A bad line between the server and its store: every call ends in time, nothing is half taken, nothing unrelated waits.

The server is a real one, the line is Toxiproxy's. What a user asks is asked all at once. With `-m long` the waits are longer, the files
larger and the rounds more, and the figures are printed.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

#: Seconds that a call may need beyond its deadline: one second is promised, the rest is for a busy machine.
PROMISED, BUSY = 1.0, 2.0

#: What an answer may be while the store fails: the store's fault, told as such, never a conflict and never a missing file.
DONE, FAILED = {200, 201, 204}, {502, 503, 504}

LINES = {
    "latency": ("latency", {"latency": 200, "jitter": 100}),
    "5 KB/s": ("bandwidth", {"rate": 5}),
    "reset": ("reset_peer", {"timeout": 0}),
    "black hole": ("timeout", {"timeout": 0}),
    "slow close": ("slow_close", {"delay": 1000}),
    "cut": ("limit_data", {"bytes": 10_000}),
}
#: What goes on all the same, if slower.
HARMLESS = ("latency", "slow close")
#: What lets nothing through.
DEAD = ("reset", "black hole")

#: How long the server waits, how large the files are, and what is not asked: a copy has ten times the deadline.
SHORT = ({"deadline": 2.0, "stall": 2.0, "first_pause": 0.05}, 20_000, ("checkpoint",))
LONG = ({"deadline": 5.0, "stall": 15.0}, 50_000, ())


def everything(cloud, folder, texts):
    """What a user does, each with a file of its own."""
    contents, files = f"/api/contents/{folder}", f"/files/{folder}"
    text = {"type": "file", "format": "text", "content": texts["save.txt"] + "!"}
    return {
        "open": lambda: cloud.ask("open", "GET", f"{contents}/open.txt"),
        "stat": lambda: cloud.ask("stat", "GET", f"{contents}/stat.txt", query={"content": "0", "hash": "1"}),
        "list": lambda: cloud.ask("list", "GET", contents, query={"type": "directory"}),
        "save": lambda: cloud.ask("save", "PUT", f"{contents}/save.txt", body=text),
        "new": lambda: cloud.ask("new", "PUT", f"{contents}/new.txt", body=text),
        "checkpoint": lambda: cloud.ask("checkpoint", "POST", f"{contents}/checkpoint.txt/checkpoints"),
        "rename": lambda: cloud.ask("rename", "PATCH", f"{contents}/rename.txt", body={"path": f"{folder}/renamed.txt"}),
        "delete": lambda: cloud.ask("delete", "DELETE", f"{contents}/delete.txt"),
        "download": lambda: cloud.ask("download", "GET", f"{files}/download.txt"),
    }


NAMES = [f"{name}.txt" for name in ("open", "stat", "save", "checkpoint", "rename", "delete", "download")]


def all_at_once(work):
    with ThreadPoolExecutor(len(work)) as threads:
        return [done.result() for done in [threads.submit(one) for one in work.values()]]


def judged(cloud, asked, texts):
    """Each answer is the truth, and each call ended in time. Returns the largest overrun of a call."""
    for one in asked:
        assert one.status in DONE | FAILED, (one.name, one.status, one.body)
        if one.status in FAILED:
            told = json.loads(one.body)
            assert told["message"], one
        elif one.name == "open":
            assert json.loads(one.body)["content"] == texts["open.txt"]
        elif one.name == "download" and one.whole:
            assert one.body.decode() == texts["download.txt"]
        elif one.name == "stat":
            assert json.loads(one.body)["size"] == len(texts["stat.txt"])
    assert cloud.calls
    late = max(call.seconds - call.allowed for call in cloud.calls)
    assert late < PROMISED + BUSY, sorted(cloud.calls, key=lambda call: call.allowed - call.seconds)[:3]
    return late


def nothing_lost(cloud, folder, texts, asked):
    """With the line well again, everything is as it was answered to be; what failed has happened or has not."""
    status = {one.name: one.status for one in asked}
    for name in ("open", "stat", "checkpoint", "download"):
        assert cloud.text(f"{folder}/{name}.txt") == texts[f"{name}.txt"]
    saved = texts["save.txt"] + "!"
    assert cloud.text(f"{folder}/save.txt") in ({saved} if status["save"] in DONE else {saved, texts["save.txt"]})
    here = {entry["name"] for entry in cloud.server.request("GET", f"/api/contents/{folder}").json["content"]}
    assert "renamed.txt" in here or status["rename"] not in DONE
    assert {"rename.txt", "renamed.txt"} & here, "a rename lost a file"
    assert "delete.txt" not in here or status["delete"] not in DONE
    assert "new.txt" in here or status["new"] not in DONE
    assert cloud.conflicts() == []
    # And it goes on.
    assert cloud.save(f"{folder}/after.txt", "x").status == 201
    assert cloud.text(f"{folder}/after.txt") == "x"


@pytest.mark.parametrize("extent", [SHORT, pytest.param(LONG, marks=pytest.mark.long)], ids=["short", "long"])
@pytest.mark.parametrize("line", LINES)
def test_a_bad_line(cloud, noise, line, extent):
    patience, size, left_out = extent
    texts = {name: noise(size) for name in NAMES}
    folder = cloud.folder(texts)
    cloud.calls.clear()
    cloud.patience(**patience)
    kind, attributes = LINES[line]
    cloud.line.toxic(kind, **attributes)
    work = everything(cloud, folder, texts)
    for name in left_out:
        work.pop(name)
    with cloud.asked_for_its_status() as waits:
        asked = all_at_once(work)
    late = judged(cloud, asked, texts)
    outcomes = {one.name: one.status for one in asked}
    print(f"{cloud.name}, {line}: {outcomes}; latest call {late:+.2f} s after its deadline; /api/status p99 {p99(waits) * 1000:.0f} ms")
    if line in HARMLESS:
        assert set(outcomes.values()) <= DONE, outcomes
    if line in DEAD:
        assert set(outcomes.values()) <= FAILED, outcomes
    if line == "cut":
        # Each connection ends after 10,000 bytes; what is longer cannot come.
        assert outcomes["open"] in FAILED
        assert not next(one for one in asked if one.name == "download").whole or outcomes["download"] in FAILED
    cloud.heal()
    cloud.patience()
    nothing_lost(cloud, folder, texts, asked)


def test_nothing_unrelated_waits_while_the_store_is_silent(cloud, noise):
    """More requests hang than the store's client has threads, and the server answers everybody else."""
    texts = {name: noise(100) for name in NAMES}
    folder = cloud.folder(texts)
    cloud.patience(deadline=30.0, stall=30.0)
    cloud.begun = 0
    cloud.line.toxic("timeout", timeout=0, stream="upstream")
    work = list(everything(cloud, folder, texts).values()) * 3
    with ThreadPoolExecutor(len(work)) as threads:
        hanging = [threads.submit(one) for one in work]
        while cloud.begun < len(work):
            time.sleep(0.01)  # between two looks, not for luck
        for _ in range(20):
            assert cloud.ask("status", "GET", "/api/status").status == 200
            assert cloud.ask("kernels", "GET", "/api/kernels").status == 200
        assert not any(one.done() for one in hanging), "they were answered while these hung"
        cloud.heal()
        # What three users do at once with one file may be refused to two of them; each is answered.
        assert {one.result().status for one in hanging} <= DONE | FAILED | {404, 409}


def p99(waits):
    return sorted(waits)[int(len(waits) * 0.99)]
