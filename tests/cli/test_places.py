"""Which bucket a URL is in, and what the progress bar shows where."""

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from cloudcontents.backends.memory import MemoryBackend
from cloudcontents.cli import places
from cloudcontents.errors import CloudContentsError


@pytest.fixture
def opened(monkeypatch):
    """Open places; the roots are recorded instead of being opened."""
    roots = []

    def open_backend(url, **_):
        roots.append(f"{url.scheme}://{url.bucket}{url.path}")
        return MemoryBackend("places")

    monkeypatch.setattr(places, "open_backend", open_backend)

    def run(*urls, leaving=()):
        roots.clear()

        async def once():
            async with places.open_places(urls, leaving=leaving) as found:
                return [place.path for place in found]

        return asyncio.run(once()), list(roots)

    return run


def test_a_bucket_with_a_name_is_its_own_root(opened):
    assert opened("s3://b/x/y", "s3://b/z/", "s3://c") == (["x/y", "z", ""], ["s3://b", "s3://c"])


def test_a_container_in_an_account_is_its_own_root(opened):
    assert opened("az://a/c/x/y", "az://a/c", "az://a/d/z") == (["x/y", "", "z"], ["az://a/c", "az://a/d"])


def test_options_make_another_bucket(opened):
    assert opened("s3://b/x?region=a", "s3://b/y?region=b")[1] == ["s3://b", "s3://b"]


def test_the_configured_bucket_wins(opened, monkeypatch):
    monkeypatch.setenv("CLOUDCONTENTS_URL", "s3://b/team?region=a")
    assert opened("s3://b/team/x", "s3://b/team", "s3://b/team2/x") == (["x", "", "team2/x"], ["s3://b/team", "s3://b"])


def test_a_path_on_this_machine_is_followed_to_the_marked_directory(opened, tmp_path):
    (tmp_path / "b" / ".cloudcontents").mkdir(parents=True)
    (tmp_path / "b" / "deep" / "er").mkdir(parents=True)
    top = tmp_path.as_uri()
    assert opened(f"{top}/b/deep/er/x", f"{top}/b/new/dir") == (["deep/er/x", "new/dir"], [f"{top}/b"])
    assert opened(f"{top}/b", leaving=[f"{top}/b"]) == ([""], [f"{top}/b"])


def test_unmarked_directories_share_a_root(opened, tmp_path):
    (tmp_path / "b" / "one").mkdir(parents=True)
    (tmp_path / "b" / "two").mkdir()
    top = tmp_path.as_uri()
    assert opened(f"{top}/b/one") == ([""], [f"{top}/b/one"])
    assert opened(f"{top}/b/one", f"{top}/b/two/new") == (["one", "two/new"], [f"{top}/b"])
    assert opened(f"{top}/b/one", leaving=[f"{top}/b/one"]) == (["one"], [f"{top}/b"])


def test_a_store_in_a_file_is_found_in_the_path(opened, tmp_path):
    (tmp_path / "store.db").touch()
    url = f"sqlite://{tmp_path}/store.db"
    assert opened(f"{url}/d/a.txt", url) == (["d/a.txt", ""], [url])


@pytest.mark.parametrize("url", ["file:///x/../y", "s3://b/../x", "s3://b/x//y", "s3://b/.cloudcontents/x", "s3://b/%2e%2e/x"])
def test_what_cannot_be(opened, url):
    with pytest.raises(CloudContentsError):
        opened(url, "s3://fine")


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_for_terminals(bucket, tmp_path, quiet):
    bucket.put("a", b"x" * 3_000_000)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    code = "import sys; from cloudcontents.cli import main; sys.exit(main())"
    arguments = ["cp", *(["--quiet"] if quiet else []), bucket.url("a"), str(tmp_path / "b")]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(30) == 0
    assert (b"B/s" in shown) is not quiet
    assert not (quiet and shown)
