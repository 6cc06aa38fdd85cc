"""The curl recipes of docs/uploads.md, run as they are printed there but for the server's address and token."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/uploads.md").read_text()
SECTION = PAGE.partition("## With curl\n")[2].partition("\n## ")[0]
RECIPES = re.findall(r"^```bash\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
WHERE = re.compile(r"server=\S+ base=\S+ token=\S+")
BIG = random.Random(7).randbytes(9 * 2**20 + 5)


@pytest.fixture(scope="module")
def server(start_server):
    return start_server()


@pytest.fixture
def run(server, tmp_path):
    (tmp_path / "big.bin").write_bytes(BIG)
    (tmp_path / "small.bin").write_bytes(b"small")
    server.request("PUT", "/api/contents/data", body={"type": "directory"})

    def recipe(text):
        text, count = WHERE.subn(f"server=http://127.0.0.1:{server.port} base={server.base}/ token={server.token}", text)
        assert count == 1
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return recipe


def stored(server, name):
    reply = server.request("GET", f"/files/data/{name}")
    return reply.body if reply.status == 200 else None


def test_there_is_one_for_each_dialect_and_one_for_a_small_file():
    assert ["Tus-Resumable" in RECIPES[0], "partial-upload" in RECIPES[1], "Repr-Digest" in RECIPES[2], len(RECIPES)] == [
        True,
        True,
        True,
        3,
    ]


@pytest.mark.parametrize("number", [0, 1], ids=["tus", "draft"])
def test_a_big_file_after_an_interruption(server, run, number):
    server.request("DELETE", "/api/contents/data/big.bin")
    # Stop after the first MiB, and go on with the printed commands: the second half of the recipe, at what the first half began.
    first, comment, rest = RECIPES[number].partition("# Send the rest")
    cut = rest.replace("tail -c +$((offset + 1)) big.bin", "head -c 1048576 big.bin").replace("Upload-Complete: ?1", "Upload-Complete: ?0")
    assert cut != rest
    run(f"{first}\n{comment}{cut}\n{comment}{rest}")
    assert stored(server, "big.bin") == BIG


@pytest.mark.parametrize("number", [0, 1], ids=["tus", "draft"])
def test_a_big_file(server, run, number):
    server.request("DELETE", "/api/contents/data/big.bin")
    run(RECIPES[number])
    assert stored(server, "big.bin") == BIG


def test_a_small_file_in_one_request(server, run):
    assert '"path": "data/small.bin"' in run(RECIPES[2])
    assert stored(server, "small.bin") == b"small"
