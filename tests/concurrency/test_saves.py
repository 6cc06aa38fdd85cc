"""Promise G2 over HTTP: of two who save from one base one gets 200 and one 409, and both texts are found afterwards.

Between two real server processes on one bucket, and between two browser sessions of one server; on a disk and on each cloud.
"""

from __future__ import annotations

import re
import threading
from functools import partial

import nbformat
import pytest

KEPT = re.compile(r"conflict ([0-9a-f]+-[0-9a-f]+)")


@pytest.fixture(scope="module", params=["file", "minio", "fake_gcs", "azurite"])
def bucket_url(request, bucket_on):
    return bucket_on(request.param)


@pytest.fixture(params=["two servers", "two sessions of one server"])
def two(request, two_servers):
    first, second = two_servers
    return first.session(), (second if request.param == "two servers" else first).session()


@pytest.fixture
def browser(two_servers):
    return two_servers[0].session()


def notebook(text):
    cells = [nbformat.v4.new_markdown_cell(text, id="one")]
    return {"type": "notebook", "format": "json", "content": nbformat.v4.new_notebook(cells=cells)}


def text_of(model):
    return "".join(model["content"]["cells"][0]["source"])


def at_once(*calls):
    """Call all at one moment, each in a thread; their results in order."""
    together = threading.Barrier(len(calls))
    results = [None] * len(calls)

    def run(number, call):
        together.wait()
        results[number] = call()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.mark.parametrize("rounds", [10, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_two_from_one_base(two, request, rounds):
    path = f"{request.node.callspec.id.replace(' ', '-')}.ipynb"
    url = f"/api/contents/{path}"
    assert two[0].request("PUT", url, notebook("beginning")).status == 201
    first_won = 0
    for number in range(rounds):
        bases = [session.request("GET", url).json["version"] for session in two]
        assert bases[0] == bases[1]
        texts = [f"round {number}, side {side}" for side in (0, 1)]
        answers = at_once(*(partial(session.request, "PUT", url, notebook(text)) for session, text in zip(two, texts, strict=True)))
        assert sorted(answer.status for answer in answers) == [200, 409], [answer.body for answer in answers]
        winner = [answer.status for answer in answers].index(200)
        loser = 1 - winner
        assert text_of(two[loser].request("GET", url).json) == texts[winner]
        message = answers[loser].json["message"]
        id = KEPT.search(message)[1]
        found = two[winner].request("GET", f"/cloudcontents/conflicts/{id}")
        assert found.status == 200
        assert nbformat.reads(found.body.decode(), 4)["cells"][0]["source"] == texts[loser]
        first_won += winner == 0
    listed = two[0].request("GET", "/cloudcontents/conflicts").json
    entries = [entry for entry in (listed["conflicts"] if isinstance(listed, dict) else listed) if entry["path"] == path]
    assert len(entries) == rounds
    print(f"{first_won} of {rounds} rounds were won by the first one")


def test_one_client_never_conflicts_with_itself(browser):
    assert browser.save("alone.txt", "0").status == 201
    for number in range(30):
        assert browser.save("alone.txt", str(number)).status == 200
    assert browser.text("alone.txt") == "29"


def test_stale_if_match(two):
    path = "matched.txt"
    two[0].request("DELETE", f"/api/contents/{path}")
    old = two[0].save(path, "old").json["version"]
    two[1].text(path)
    assert two[1].save(path, "new").status == 200
    refused = two[0].save(path, "mine", {"If-Match": f'"{old}"'})
    assert refused.status == 412
    assert two[0].text(path) == "new"
    kept = two[0].request("GET", f"/cloudcontents/conflicts/{KEPT.search(refused.json['message'])[1]}")
    assert kept.body == b"mine"


def test_version_in_the_model(two):
    path = "versioned.txt"
    two[0].request("DELETE", f"/api/contents/{path}")
    first = two[0].save(path, "first").json["version"]
    second = two[0].save(path, "second", version=first)
    assert second.status == 200
    # What the client says counts for more than what it was served: its tab may be older than its session.
    assert two[0].save(path, "third", version=first).status == 409
    assert two[1].save(path, "third", version=second.json["version"]).status == 200
    assert two[0].text(path) == "third"


def test_a_404_clears_the_base(two):
    path = "gone.txt"
    two[0].request("DELETE", f"/api/contents/{path}")
    assert two[0].save(path, "here").status == 201
    two[1].text(path)
    assert two[1].request("DELETE", f"/api/contents/{path}").status == 204
    assert two[0].save(path, "edited").status == 409
    assert two[0].request("GET", f"/api/contents/{path}").status == 404
    assert two[0].save(path, "edited").status == 201
    assert two[0].text(path) == "edited"


def test_a_refused_save_retried_replaces_its_own_text_and_no_other(two_servers):
    winner, first, second = (two_servers[0].session() for _ in range(3))
    path = "retried.txt"
    winner.save(path, "base")
    for session in (first, second):
        session.text(path)
    winner.save(path, "winner")
    ids = {}
    for name, session in (("first", first), ("second", second)):
        for number in range(3):
            refused = session.save(path, f"{name} {number}")
            assert refused.status == 409
            ids.setdefault(name, set()).add(KEPT.search(refused.json["message"])[1])
    assert [len(found) for found in ids.values()] == [1, 1]
    assert ids["first"] != ids["second"]
    for name, found in ids.items():
        (id,) = found
        assert winner.request("GET", f"/cloudcontents/conflicts/{id}").body == f"{name} 2".encode()
    assert winner.text(path) == "winner"


def test_the_answer_to_overwrite_holds(two):
    # JupyterLab, told of a conflict, reads the metadata and asks; a "yes" is a save from what it has seen then.
    path = "overwritten.txt"
    two[0].request("DELETE", f"/api/contents/{path}")
    two[0].save(path, "base")
    two[1].text(path)
    two[0].save(path, "theirs")
    assert two[1].save(path, "mine").status == 409
    assert two[1].request("GET", f"/api/contents/{path}").status == 200
    assert two[1].save(path, "mine").status == 200
    assert two[0].text(path) == "mine"
