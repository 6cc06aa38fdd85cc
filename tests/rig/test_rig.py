"""The rig itself: every server starts, serves its SDK, is killed, paused and started again, and nothing is left running."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rig.together import SERVERS

STORES = ["minio", "moto", "fake_gcs", "azurite"]


def put(server, bucket, name, data, url=None):
    """Store an object with the store's own SDK."""
    client = server.client(url)
    try:
        if server.dialect == "s3":
            client.put_object(Bucket=bucket, Key=name, Body=data)
        elif server.dialect == "gcs":
            client.bucket(bucket).blob(name).upload_from_string(data, retry=None)
        else:
            client.get_blob_client(bucket, name).upload_blob(data, overwrite=True)
    finally:
        client.close()


def get(server, bucket, name, url=None):
    """Read an object with the store's own SDK."""
    client = server.client(url)
    try:
        if server.dialect == "s3":
            return client.get_object(Bucket=bucket, Key=name)["Body"].read()
        if server.dialect == "gcs":
            return client.bucket(bucket).blob(name).download_as_bytes(retry=None)
        return client.get_blob_client(bucket, name).download_blob().readall()
    finally:
        client.close()


@pytest.fixture(params=STORES)
def store(request):
    return request.getfixturevalue(request.param)


def test_an_object_goes_in_and_out(store):
    bucket = store.new_bucket()
    put(store, bucket, "a/ü b.txt", b"seven")
    assert get(store, bucket, "a/ü b.txt") == b"seven"


def test_killed_and_started_again_on_the_same_port(store):
    bucket, url, pid = store.new_bucket(), store.url, store.pid
    put(store, bucket, "a", b"before")
    store.kill()
    assert not psutil.pid_exists(pid)
    with pytest.raises(Exception, match=r"(?i)connect|refused"):
        put(store, bucket, "a", b"to nobody")
    store.restart()
    assert (store.url, store.pid != pid) == (url, True)
    if store.name == "minio":
        assert get(store, bucket, "a") == b"before"
    other = store.new_bucket()
    put(store, other, "a", b"after")
    assert get(store, other, "a") == b"after"


def test_stopped_in_good_order_what_is_kept_is_kept(store):
    bucket = store.new_bucket()
    put(store, bucket, "a", b"before")
    store.restart()
    if store.keeps:
        assert get(store, bucket, "a") == b"before"
    else:
        put(store, bucket, "a", b"the bucket is there")


def test_paused_it_answers_nobody_until_resumed(store):
    bucket = store.new_bucket()
    process = psutil.Process(store.pid)
    store.pause()
    try:
        assert process.status() == psutil.STATUS_STOPPED
    finally:
        store.resume()
    put(store, bucket, "a", b"x")
    assert get(store, bucket, "a") == b"x"


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT", "exit"])
def test_nothing_is_left_running_however_the_run_ends(tmp_path, end):
    program = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from rig.together import Rig\n"
        f"with Rig(Path({str(tmp_path)!r})) as rig:\n"
        "    print(rig.server('moto').pid, rig.server('toxiproxy').pid, flush=True)\n"
        f"    if {end!r} == 'exit': sys.exit()\n"
        f"    os.kill(os.getpid(), signal.{end if end != 'exit' else 'SIGTERM'})\n"
        "    time.sleep(600)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parent.parent), "HOME": str(Path.home()), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    output, _ = run.communicate(timeout=120)
    pids = [int(pid) for pid in output.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_what_cannot_start_fails_with_what_it_said(tmp_path):
    class Broken(SERVERS["moto"]):
        name = "broken"

        def arguments(self):
            return ["--no-such-option"]

    broken = Broken(tmp_path, tmp_path)
    with pytest.raises(Exception, match="no-such-option"):
        broken.start()
    assert not [child for child in psutil.Process().children(recursive=True) if "--no-such-option" in child.cmdline()]


def test_a_run_starts_only_what_it_asks_for_and_leaves_nothing(pytestconfig):
    root = pytestconfig.rootpath
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "in_and_out and moto"]
    run = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 0, output
    mark = f"-{run.pid}.log"
    assert [log.name for log in (root / "test-results" / "rig").glob(f"*{mark}")] == [f"moto{mark}"]
    assert not [found.pid for found in psutil.process_iter(["cmdline"]) if any(mark in part for part in found.info["cmdline"] or ())]
