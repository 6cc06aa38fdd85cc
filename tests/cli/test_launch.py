"""``lab`` and ``notebook`` start the real server on a bucket; ``config`` prints what does the same."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from cloudcontents.cli import launch

TOKEN = "for-this-test"


@pytest.fixture
def environment(tmp_path):
    """A home of its own, so that no configuration of this machine takes part."""
    home = tmp_path / "home"
    home.mkdir()
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    kept = {key: value for key, value in os.environ.items() if not key.startswith("JUPYTER") and key != "CLOUDCONTENTS_URL"}
    return {**kept, "HOME": str(home), "JUPYTER_NO_CONFIG": "1", "PATH": path}


@pytest.fixture
def server(start, environment, tmp_path):
    """Start an app, wait until it answers, and return a function that asks it."""

    def run(*arguments, extra=(), **kwargs):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = [
            "--no-browser",
            "--allow-root",
            "--ip=127.0.0.1",
            f"--port={port}",
            "--port-retries=0",
            f"--IdentityProvider.token={TOKEN}",
        ]
        log = (tmp_path / "log").open("wb")
        process = start(*arguments, *options, *extra, stdout=log, stderr=log, **{"env": environment, **kwargs})
        log.close()

        def ask(path, **request):
            full = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"token {TOKEN}"}, **request)
            with urllib.request.urlopen(full, timeout=30) as answer:
                return answer.read()

        while True:
            try:
                ask("/api/status")
                return ask, process
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)  # between two questions, not for luck

    return run


def end(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def entries(ask):
    return [model["name"] for model in json.loads(ask("/api/contents"))["content"]]


@pytest.mark.parametrize(("app", "page"), [("lab", "/lab"), ("notebook", "/tree")])
def test_app_on_a_directory(server, bucket, app, page, tmp_path):
    bucket.put("exp/a.txt")
    ask, process = server(app, bucket.url(), cwd=tmp_path)
    assert entries(ask) == ["exp"]
    assert "started" in json.loads(ask("/api/status"))
    assert b"<html" in ask(page).lower()
    assert json.loads(ask("/cloudcontents/status"))["mounts"][0]["url"] == bucket.url()
    body = json.dumps({"type": "file", "format": "text", "content": "new"}).encode()
    ask("/api/contents/exp/b.txt", method="PUT", data=body)
    assert (bucket.path / "exp" / "b.txt").read_text() == "new"
    end(process)
    # Though no configuration of this environment enables it.
    assert "cloudcontents | extension was successfully loaded" in (tmp_path / "log").read_text()


def test_a_missing_directory_is_made(server, tmp_path):
    target = tmp_path / "new dir" / "bücket #1"
    ask, process = server("lab", target.as_uri())
    assert entries(ask) == []
    assert target.is_dir()
    assert f"cloudcontents: made the directory {target}" in (tmp_path / "log").read_text()
    end(process)


@pytest.mark.parametrize("way", ["environment", "current directory"])
def test_without_a_url(server, environment, bucket, way, tmp_path):
    bucket.put("found.txt")
    if way == "environment":
        ask, process = server("lab", env={**environment, "CLOUDCONTENTS_URL": bucket.url()}, cwd=tmp_path)
    else:
        ask, process = server("lab", cwd=bucket.path)
    assert entries(ask) == ["found.txt"]
    end(process)


def test_kernels_start_beside_their_notebooks(server, bucket):
    bucket.put("exp/a.ipynb", b"{}")
    ask, process = server(
        "lab", bucket.url(), extra=["--ServerApp.kernel_manager_class=jupyter_server.services.kernels.kernelmanager.MappingKernelManager"]
    )
    body = json.dumps({"path": "exp/a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": "python3"}}).encode()
    session = json.loads(ask("/api/sessions", method="POST", data=body))
    kernel = session["kernel"]["id"]
    for pid in (entry for entry in os.listdir("/proc") if entry.isdigit()):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                if kernel in file.read():
                    assert os.readlink(f"/proc/{pid}/cwd") == str(bucket.path / "exp")
                    break
        except (FileNotFoundError, ProcessLookupError):
            continue
    else:
        pytest.fail("the kernel's process was not found")
    end(process)


@pytest.mark.parametrize(
    ("arguments", "own", "extra"),
    [
        (["lab"], ["lab"], []),
        (["lab", "file:///x"], ["lab", "file:///x"], []),
        (["lab", "--no-browser", "--port", "1"], ["lab"], ["--no-browser", "--port", "1"]),
        (["--debug", "lab", "file:///x", "--port", "1"], ["--debug", "lab", "file:///x"], ["--port", "1"]),
        (["notebook", "file:///x", "--", "--debug"], ["notebook", "file:///x"], ["--debug"]),
        (["lab", "--", "--debug"], ["lab"], ["--debug"]),
        (["lab", "--help"], ["lab", "--help"], []),
        (["cp", "lab", "memory://x"], ["cp", "lab", "memory://x"], []),
    ],
)
def test_what_is_jupyters(arguments, own, extra):
    assert launch.split(arguments) == (own, extra)


@pytest.mark.parametrize(("app", "title"), [("lab", "JupyterLab"), ("notebook", "Notebook")])
def test_an_app_that_is_not_installed(memory, monkeypatch, app, title):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(launch.importlib, "import_module", missing)
    code, _, err = memory.run(app, memory.url())
    assert code == 2
    assert f"{title} is not installed here: pip install 'cloudcontents[{app}]'".encode() in err


def test_a_plain_directory_gets_told_its_url(memory, tmp_path):
    code, _, err = memory.run("lab", "some/where")
    assert code == 2
    assert (tmp_path / "some" / "where").as_uri().encode() in err


def test_config_is_what_a_server_takes(memory, bucket, environment, tmp_path, start):
    for url, directory in ((bucket.url('a"b\\c'), bucket.path / 'a"b\\c'), (memory.url("prefix"), None)):
        code, out, err = memory.run("config", url)
        assert (code, err) == (0, b"")
        settings = {}

        class Section:
            def __init__(self, name):
                object.__setattr__(self, "name", name)

            def __setattr__(self, name, value, settings=settings):
                settings[f"{self.name}.{name}"] = value

        class Config:
            ServerApp = Section("ServerApp")
            CloudContentsManager = Section("CloudContentsManager")

        lines = [line for line in out.decode().splitlines() if line.startswith("c.")]
        exec("\n".join(lines), {"c": Config})
        expected = {"ServerApp.contents_manager_class": "cloudcontents.CloudContentsManager", "CloudContentsManager.url": url}
        if directory is not None:
            expected["ServerApp.root_dir"] = str(directory)
        assert settings == expected
        assert out.decode().splitlines()[-1].startswith("CLOUDCONTENTS_URL=")


def test_the_printed_command_starts_a_server(environment, bucket, tmp_path, command):
    """The last line of `config` is a command for the shell; here it only shows its settings."""
    line = command("config", bucket.url(), check=True).stdout.decode().splitlines()[-1]
    done = subprocess.run(f"{line} --show-config-json", shell=True, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ServerApp"]["contents_manager_class"] == "cloudcontents.CloudContentsManager"
