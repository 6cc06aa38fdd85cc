"""The command itself: usage, errors, exit statuses, and no secret in what it says."""

import os
from importlib.metadata import entry_points, version

import pytest

from cloudcontents import cli
from cloudcontents.backends.memory import MemoryBackend


def test_version_and_help(command):
    assert command("--version", check=True).stdout.decode().split() == ["cloudcontents", version("cloudcontents")]
    text = command("--help", check=True).stdout.decode()
    for name in ("lab", "notebook", "config", "doctor", "ls", "cat", "cp", "mv", "rm", "backends", "trash", "conflicts"):
        assert name in text
        assert command(name, "--help", check=True).stdout


def test_both_commands_are_this_one():
    scripts = {entry.name: entry.value for entry in entry_points(group="console_scripts") if "cloudcontents" in entry.name}
    assert scripts == {"cloudcontents": "cloudcontents.cli:main", "jupyter-cloudcontents": "cloudcontents.cli:main"}


@pytest.mark.parametrize(
    "arguments", [[], ["bogus"], ["ls"], ["cp", "x"], ["ls", "--bogus", "memory://x"], ["trash"], ["conflicts", "bogus"]]
)
def test_wrong_usage_is_2(memory, arguments):
    code, out, err = memory.run(*arguments)
    assert (code, out) == (2, b"")
    assert b"usage:" in err


@pytest.mark.parametrize(
    "url",
    [
        "nothing",
        "bogus://x",
        "memory://",
        "file://relative/x",
        "memory://x?secret_key=canary-1",
        "memory://u:canary-1@x",
        "file:///x?bogus=1",
    ],
)
@pytest.mark.parametrize("arguments", [["ls"], ["doctor"], ["config"], ["trash", "ls"], ["rm"], ["lab"]])
def test_a_wrong_url_is_said_in_one_line(memory, url, arguments):
    code, out, err = memory.run(*arguments, url)
    assert (code, out) == (2, b"")
    assert err.startswith(b"cloudcontents: ")
    assert err.count(b"\n") == 1
    assert b"canary" not in err


def test_a_traceback_only_with_debug(memory, monkeypatch):
    async def fail(self, key):
        raise ZeroDivisionError("password=canary-2\x1b[31m\nforged")

    monkeypatch.setattr(MemoryBackend, "head", fail)
    code, out, err = memory.run("ls", memory.url("x"))
    assert (code, out) == (1, b"")
    assert err.startswith(b"cloudcontents: unexpected failure")
    assert err.count(b"\n") == 1
    code, _, debug = memory.run("--debug", "ls", memory.url("x"))
    assert code == 1
    assert b"Traceback" in debug
    for text in (err, debug):
        assert b"canary" not in text
        assert b"\x1b" not in text


def test_secrets_of_the_environment_are_not_said(command, tmp_path):
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": "canary3canary3"}
    done = command("--debug", "ls", (tmp_path / "canary3canary3").as_uri(), env=environment)
    assert done.returncode == 1
    assert b"canary3" not in done.stderr


def test_a_local_error_names_the_file(memory, tmp_path):
    memory.put("a")
    (tmp_path / "file").touch()
    code, _, err = memory.run("cp", memory.url("a"), "file/below")
    assert code == 1
    assert b"file" in err
    assert err.count(b"\n") == 1


def test_backends(command):
    lines = command("backends", check=True).stdout.decode().splitlines()
    found = {line.split()[0]: line for line in lines}
    for scheme in ("file://", "memory://"):
        assert "cloudcontents" in found[scheme]
        assert found[scheme].endswith("ready")


def test_a_backend_that_cannot_be_imported_is_listed(memory, monkeypatch):
    class Entry:
        dist = None

        def load(self):
            raise ImportError("No module named 'snow'")

    monkeypatch.setattr("cloudcontents.cli.health.schemes", lambda: {"snow": Entry()})
    code, out, _ = memory.run("backends")
    assert code == 0
    assert b"cannot be imported: No module named 'snow'" in out


def test_interruption_is_130(memory, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.asyncio, "run", interrupt)
    monkeypatch.setattr(cli.inspect, "iscoroutine", lambda result: result.close() is None)
    assert memory.run("ls", memory.url()) == (130, b"", b"cloudcontents: interrupted.\n")
