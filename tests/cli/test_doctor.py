"""`doctor` finds what is wrong with a store, says what to do, and leaves nothing behind."""

import asyncio
import json
import os
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from cloudcontents.backends.interface import ALWAYS
from cloudcontents.backends.memory import MemoryBackend, memory_store
from cloudcontents.doctor import examine
from cloudcontents.errors import BucketNotFoundError, PermissionDeniedError, UnavailableError


class Ignores(MemoryBackend):
    """A store that takes conditions and ignores some of them."""

    ignored: tuple[str, ...] = ()

    async def put(self, key, body, *, when=ALWAYS, **kwargs):
        return await super().put(key, body, when=ALWAYS if f"put {type(when).__name__}" in self.ignored else when, **kwargs)

    async def delete(self, key, *, if_version=None):
        await super().delete(key, if_version=None if "delete" in self.ignored else if_version)

    async def copy(self, src, dst, *, src_version=None, when=ALWAYS):
        if f"copy {type(when).__name__}" in self.ignored:
            when = ALWAYS
        return await super().copy(src, dst, src_version=None if "copy source" in self.ignored else src_version, when=when)


def ask(memory, kind=MemoryBackend, **attributes):
    backend = type("Backend", (kind,), attributes)
    report = asyncio.run(examine(memory.url(), opener=lambda: backend(memory.name)))
    return report, {finding.check: finding for finding in report.findings}


def test_a_good_bucket(command, bucket):
    bucket.put("a/b.txt")
    before = sorted(os.walk(bucket.path / "a"))
    done = command("doctor", bucket.url(), check=True)
    text = done.stdout.decode()
    assert "All is well." in text
    assert "problem " not in text
    assert done.stderr == b""
    report = json.loads(command("doctor", "--json", bucket.url(), check=True).stdout)
    assert report["healthy"] is True
    assert report["url"] == bucket.url()
    checks = {finding["check"]: finding["status"] for finding in report["findings"]}
    expected = (
        "reach",
        "list",
        "put",
        "get",
        "copy",
        "delete",
        "clock",
        "create_race",
        "save_race",
        "stale_save",
        "stale_delete",
        "copy_condition",
    )
    assert all(checks[check] == "ok" for check in expected)
    assert sorted(os.walk(bucket.path / "a")) == before
    # The places for locks and temporary files, which any write makes, are the backend's.
    assert sorted(os.listdir(bucket.path / ".cloudcontents")) == ["locks", "tmp"]
    assert os.listdir(bucket.path / ".cloudcontents" / "tmp") == []


def test_nothing_stays(memory):
    memory.put("a")
    report, _ = ask(memory)
    assert report.healthy
    assert memory.listed() == ["a"]


@pytest.mark.parametrize(
    ("ignored", "check", "status"),
    [
        ("put IfAbsent", "create_race", "problem"),
        ("put IfVersion", "save_race", "problem"),
        ("put IfVersion", "stale_save", "problem"),
        ("delete", "stale_delete", "problem"),
        ("copy IfAbsent", "copy_condition", "problem"),
        ("copy IfVersion", "copy_condition", "problem"),
        ("copy source", "copy_condition", "problem"),
    ],
)
def test_an_ignored_condition_is_found(memory, ignored, check, status):
    report, findings = ask(memory, Ignores, ignored=(ignored,))
    assert findings[check].status == status
    assert findings[check].advice
    assert not report.healthy
    assert memory.listed() == []


def test_a_condition_that_is_not_promised(memory):
    weak = replace(MemoryBackend.capabilities, copy_if=False, delete_if_version=False)
    report, findings = ask(memory, Ignores, ignored=("delete", "copy IfAbsent"), capabilities=weak)
    assert findings["stale_delete"].status == findings["copy_condition"].status == "note"
    assert report.healthy
    # Without these two there is no safe editing, whether or not the backend owns up to it.
    weak = replace(MemoryBackend.capabilities, put_if_absent=False, put_if_version=False)
    report, findings = ask(memory, Ignores, ignored=("put IfAbsent", "put IfVersion"), capabilities=weak)
    assert findings["create_race"].status == findings["save_race"].status == "problem"
    assert "one person at a time" in findings["save_race"].advice
    assert not report.healthy


def denied(*_, **__):
    raise PermissionDeniedError("The store denies it.")


@pytest.mark.parametrize(("method", "check"), [("list", "list"), ("put", "put"), ("get", "get"), ("copy", "copy"), ("delete", "delete")])
def test_each_permission_by_itself(memory, method, check):
    memory.put("a")

    async def deny(self, *args, **kwargs):
        denied()

    report, findings = ask(memory, **{method: deny})
    assert findings[check].status == "problem"
    assert "denies" in findings[check].said
    assert findings[check].advice
    assert not report.healthy
    others = {finding.check for finding in report.findings if finding.status == "problem"} - {check, "cleanup"}
    assert not others


def test_a_bucket_that_is_away(memory, monkeypatch):
    monkeypatch.setattr("cloudcontents.doctor._PATIENCE", replace(memory.bucket.patience, attempts=1))
    for error in (BucketNotFoundError("No such bucket."), UnavailableError("Nobody answers.")):

        async def fail(self, key, error=error):
            raise error

        report, _ = ask(memory, head=fail)
        assert [(finding.check, finding.status) for finding in report.findings] == [("reach", "problem")]
        assert report.findings[0].said == error.message


@pytest.mark.parametrize(("seconds", "status"), [(0, "ok"), (60, "note"), (-60, "note"), (3600, "problem"), (-3600, "problem")])
def test_clock(memory, seconds, status):
    async def put(self, *args, **kwargs):
        info = await MemoryBackend.put(self, *args, **kwargs)
        return replace(info, modified=info.modified + timedelta(seconds=seconds))

    _, findings = ask(memory, put=put)
    assert findings["clock"].status == status
    assert abs(findings["clock"].figures["seconds"] - abs(seconds)) < 2


def test_what_lies_in_the_bucket(memory):
    for key in ("a//b", "x/../y", "m/", "k/.s3keep", "f_$folder$", "d", "d.txt", "d/e", "team/.cloudcontents/trash/x", "fine"):
        memory.put(key, b"12")
    report, findings = ask(memory)
    assert report.healthy
    assert findings["unnameable"].figures == {"count": 2}
    assert "'a//b'" in findings["unnameable"].said
    assert findings["markers"].figures == {"/": 1, ".s3keep": 1, "_$folder$": 1}
    assert findings["file_and_directory"].figures == {"examples": ["'d'"]}
    assert "'team'" in findings["roots_below"].said
    assert findings["contents"].figures["objects"] == 6


def test_leftovers(memory):
    store = memory_store(memory.name)
    old = datetime.now(timezone.utc) - timedelta(days=100)
    stamp = f"{int(old.timestamp() * 1e9):020d}-abcd"
    young = f"{int(datetime.now().timestamp() * 1e9):020d}-abcd"
    for key in ("journal/1.json", "chunks/x/1", "conflicts/y", "doctor/1/x"):
        memory.put(f".cloudcontents/{key}")
        found = store._objects[f".cloudcontents/{key}"]
        store._objects[f".cloudcontents/{key}"] = replace(found, info=replace(found.info, modified=old))
        memory.put(f".cloudcontents/{key}-young")
    memory.put(f".cloudcontents/trash/{stamp}/content")
    memory.put(f".cloudcontents/trash/{young}/content")
    before = memory.listed()
    report, findings = ask(memory)
    assert report.healthy
    left = {check: finding.figures["count"] for check, finding in findings.items() if check.startswith("left_")}
    assert left == {"left_journal": 1, "left_chunks": 1, "left_conflicts": 1, "left_doctor": 1, "left_trash": 1}
    assert memory.listed() == before


def test_what_a_local_bucket_does_not_show_is_counted(command, bucket):
    bucket.put("a")
    (bucket.path / "link").symlink_to("a")
    with open(os.fsencode(bucket.path) + b"/bad\xff", "wb"):
        pass
    report = json.loads(command("doctor", "--json", bucket.url(), check=True).stdout)
    findings = {finding["check"]: finding for finding in report["findings"]}
    assert findings["unnameable"]["figures"] == {"count": 2}


def test_exit_status_and_words_of_a_problem(memory, monkeypatch):
    monkeypatch.setattr(MemoryBackend, "copy", denied)
    code, out, _ = memory.run("doctor", memory.url())
    assert code == 1
    assert b"problem  copy" in out
    assert "→".encode() in out
    assert b"1 problem found." in out
    assert memory.run("doctor", "--json", memory.url())[0] == 1


def test_a_missing_directory(command, tmp_path):
    done = command("doctor", (tmp_path / "nothing").as_uri())
    assert done.returncode == 1
    assert b"does not exist" in done.stdout
