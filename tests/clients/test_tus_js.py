"""tus-js-client as its project publishes it, on Node: each of its ways to send, stopped and gone on with, and its modes for the draft."""

from __future__ import annotations

import json

import pytest

MIB = 2**20
SMALL, LARGE = 8 * MIB + 12_345, 20 * MIB


@pytest.fixture
def wanted(target):
    """What to tell the script, of a file."""

    def describe(path, *, stop_at=None, stream=False, addresses=None, **options):
        common = {"endpoint": target.url, "headers": target.authorization, "metadata": {"filename": path.name}}
        return {"file": str(path), "stopAt": stop_at, "stream": stream, "addresses": addresses, "options": {**common, **options}}

    return describe


@pytest.fixture
def upload(node, wanted):
    """Run the script to its end: the answers that the client had, and its last word."""

    def run(path, **options):
        *answers, last = node.run("upload.js", wanted(path, **options))
        return answers, last

    return run


def said(answers):
    return [(answer["method"], answer["status"]) for answer in answers]


@pytest.mark.parametrize("size", [0, 1, SMALL, pytest.param(LARGE, marks=pytest.mark.long)])
def test_plain(target, upload, make_file, size):
    path = make_file(size)
    answers, last = upload(path)
    assert last["end"] == "success"
    assert said(answers) == [("POST", 201), ("PATCH", 204)][: 2 if size else 1]
    assert target.holds(path.name, path)


@pytest.mark.parametrize("options", [{}, {"chunkSize": 3 * MIB}], ids=["whole", "in chunks"])
def test_data_during_creation(target, upload, make_file, options):
    path = make_file(SMALL)
    answers, _ = upload(path, uploadDataDuringCreation=True, **options)
    assert said(answers) == [("POST", 201)] + [("PATCH", 204)] * (2 if options else 0)
    assert target.holds(path.name, path)


def test_deferred_length(target, upload, make_file):
    # Of an odd length: the client does not notice the end of a stream that ends with a chunk, whatever the server is.
    path = make_file(SMALL)
    answers, last = upload(path, stream=True, uploadLengthDeferred=True, chunkSize=3 * MIB)
    assert (last["end"], answers[-1]["offset"]) == ("success", SMALL)
    assert target.holds(path.name, path)


def test_method_override(target, upload, make_file):
    path = make_file(SMALL)
    answers, _ = upload(path, overridePatchMethod=True, chunkSize=3 * MIB)
    assert said(answers) == [("POST", 201)] + [("POST", 204)] * 3
    assert [answer["meant"] for answer in answers] == [None] + ["PATCH"] * 3
    assert target.holds(path.name, path)


@pytest.mark.parametrize("size", [4, SMALL, pytest.param(4 * LARGE, marks=pytest.mark.long)])
def test_in_parallel(target, upload, make_file, size):
    path = make_file(size)
    answers, last = upload(path, parallelUploads=4)
    assert last["end"] == "success"
    assert said(answers)[-1] == ("POST", 201)
    assert target.holds(path.name, path)


def test_stopped_between_chunks_and_gone_on_with(target, upload, make_file, tmp_path):
    path = make_file(LARGE)
    options = {"addresses": str(tmp_path / "addresses"), "chunkSize": 3 * MIB}
    _, first = upload(path, stop_at=9 * MIB, **options)
    assert first["end"] == "stopped"
    answers, last = upload(path, **options)
    assert (last["end"], last["url"]) == ("success", first["url"])
    assert (said(answers)[0], answers[1]["from"]) == (("HEAD", 200), 9 * MIB)
    assert target.holds(path.name, path)


def test_stopped_within_a_request_and_gone_on_with(target, upload, make_file, tmp_path, toxiproxy):
    path = make_file(LARGE)
    with toxiproxy.proxy(target) as line:
        line.toxic("bandwidth", stream="upstream", rate=8 * 1024)
        options = {"addresses": str(tmp_path / "addresses"), "endpoint": line.url}
        _, first = upload(path, stop_at=9 * MIB, **options)
        assert first["end"] == "stopped"
        line.reset()
        answers, last = upload(path, **options)
    assert (last["end"], last["url"]) == ("success", first["url"])
    assert said(answers) == [("HEAD", 200), ("PATCH", 204)]
    assert MIB < answers[1]["from"] < LARGE, "what had come of the request was kept"
    assert target.holds(path.name, path)


def test_the_client_waits_for_a_server_that_was_killed(target, node, wanted, make_file):
    path = make_file(LARGE)
    asked = wanted(path, chunkSize=4 * MIB, retryDelays=[500] * 100)
    with node.start("upload.js", asked) as process:
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        target.jupyter.kill()
        target.jupyter.start()
        target.session = target.jupyter.session()
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, (output, errors)
    after = [json.loads(line) for line in output.splitlines()]
    assert [(line["method"], line["offset"]) for line in lines] == [("POST", 0), ("PATCH", 4 * MIB), ("PATCH", 8 * MIB)]
    assert after[-1]["end"] == "success"
    assert ("POST", 201) not in said(after[:-1]), "it went on with the same upload"
    assert target.holds(path.name, path)


def test_stopped_in_parallel_and_gone_on_with(target, upload, make_file, tmp_path):
    path = make_file(LARGE)
    options = {"addresses": str(tmp_path / "addresses"), "parallelUploads": 4, "chunkSize": 2 * MIB}
    _, first = upload(path, stop_at=4 * MIB, **options)
    assert first["end"] == "stopped"
    answers, last = upload(path, **options)
    assert last["end"] == "success"
    assert said(answers).count(("HEAD", 200)) == 4
    assert said(answers).count(("POST", 201)) == 1, "the four were gone on with; one was made of them"
    assert target.holds(path.name, path)


@pytest.mark.parametrize("protocol", ["ietf-draft-03", "ietf-draft-05"])
@pytest.mark.parametrize("options", [{}, {"chunkSize": 3 * MIB}, {"uploadDataDuringCreation": True}], ids=["whole", "chunks", "at once"])
def test_modes_of_the_draft(target, upload, make_file, protocol, options):
    path = make_file(SMALL)
    answers, last = upload(path, protocol=protocol, **options)
    assert last["end"] == "success"
    assert answers[-1]["offset"] == SMALL
    assert target.holds(path.name, path)


@pytest.mark.parametrize("protocol", ["ietf-draft-03", "ietf-draft-05"])
def test_modes_of_the_draft_gone_on_with(target, upload, make_file, tmp_path, protocol):
    path = make_file(LARGE)
    options = {"addresses": str(tmp_path / "addresses"), "chunkSize": 3 * MIB, "protocol": protocol}
    upload(path, stop_at=9 * MIB, **options)
    answers, last = upload(path, **options)
    assert last["end"] == "success"
    assert (said(answers)[0], answers[1]["from"]) == (("HEAD", 204), 9 * MIB)
    assert target.holds(path.name, path)
