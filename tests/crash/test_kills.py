"""kill -9 at every call to the store that a save, rename, deletion, restore or copy makes, on ``file://`` and on a flat durable store.

Promises G1, G3, G4 and G10. After each kill: nothing is torn and nothing is lost, at no moment; the next start finishes the operation,
or it was never begun; what was answered is there; nothing is left behind; and a crash of the recovery itself changes none of this.
"""

from __future__ import annotations

import re
import signal
from collections import Counter

import pytest

SAVES = ["save_old", "save_new"]
MOVES = ["rename_file", "rename_dir", "trash_file", "trash_dir", "restore_file", "restore_dir"]
REST = ["delete_dir_for_good", "delete_file_for_good", "copy_dir"]
TRASHED = re.compile(r"\.cloudcontents/trash/[^/]+/")
MADE = re.compile(r"(\.cloudcontents/checkpoints/exp/fresh\.ipynb/\.cloudcontents/).*")


def plain(snapshot):
    """What users have: files with their content; no directory markers."""
    return {key: text for key, text in snapshot.items() if not key.startswith(".cloudcontents/") and not key.endswith("/")}


def kept(snapshot):
    """Checkpoints by where they are kept; the name of one that the operation made is its own."""
    found = {key: text for key, text in snapshot.items() if key.startswith(".cloudcontents/checkpoints/") and not key.endswith("/")}
    return {MADE.sub(r"\1new", key): text for key, text in found.items()}


def trash(snapshot):
    """What lies in the trash, whatever the name of its entry."""
    found = {key: text for key, text in snapshot.items() if TRASHED.match(key) and not key.endswith(("/", "/entry.json"))}
    return {TRASHED.sub("trash:", key): text for key, text in found.items()}


def everything(snapshot):
    """Every text that can be found, wherever it is: saved, in the trash or as a checkpoint."""
    return set(plain(snapshot).values()) | set(kept(snapshot).values()) | set(trash(snapshot).values())


def leftovers(snapshot):
    return [key for key in snapshot if re.match(r"\.cloudcontents/(journal|tmp|chunks)/.", key)]


def check(played, operation):
    """Every case of an operation; returns how many ended at either side."""
    before, after = played["before"], played["after"]
    whole = everything(before) | everything(after)
    # What must be somewhere whenever one looks: all that neither the operation's success nor its failure takes away.
    always = everything(before) & everything(after)
    sides = Counter()
    for case in played["cases"]:
        where = f"{operation}, killed {'after' if case['after'] else 'before'} call {case['nth']} ({case['call']}), {case.get('second')}"
        assert case["ended"] in (-signal.SIGKILL, 0), where
        for moment in ("killed", "killed_again", "recovered", "swept"):
            if moment in case:
                assert everything(case[moment]) <= whole, f"{where}: something is torn {moment}"
                assert always <= everything(case[moment]), f"{where}: something is lost {moment}"
        found = case["swept"]
        finished = plain(found) == plain(after) and (case["acknowledged"] or plain(found) != plain(before))
        side = after if finished else before
        assert plain(found) == plain(side), f"{where}: neither finished nor as before: {differences(found, before, after)}"
        # A new notebook's first checkpoint is made after it is saved: a crash between the two leaves it without.
        optional = kept(side).keys() - kept(before).keys() if operation == "save_new" and not case["acknowledged"] else set()
        wanted = {key: text for key, text in kept(side).items() if key not in optional or key in kept(found)}
        if operation.endswith("for_good") and not case["acknowledged"]:
            # They go after the files, and not in the same journal entry: a crash may leave some of what belonged to deleted files.
            assert kept(found).items() <= kept(before).items(), where
            wanted = kept(found)
        assert kept(found) == wanted, f"{where}: checkpoints: {differences(found, before, after)}"
        assert trash(side).items() <= trash(found).items(), f"{where}: the trash lost something"
        if case["acknowledged"]:
            assert finished, f"{where}: what was answered is not there"
        assert leftovers(found) == [], f"{where}: left behind"
        assert (plain(case["recovered"]), kept(case["recovered"])) == (plain(found), kept(found)), f"{where}: a repeat changed something"
        sides["finished" if finished else "as before"] += 1
    return sides


def differences(found, before, after):
    """For the reader of a failure: what is missing and what is too much, against both sides."""
    told = {}
    for name, side in (("before", before), ("after", after)):
        mine, wanted = {**plain(found), **kept(found)}, {**plain(side), **kept(side)}
        told[name] = {"missing": sorted(wanted.keys() - mine.keys())[:4], "extra": sorted(mine.keys() - wanted.keys())[:4]}
        told[name]["changed"] = sorted(key for key in wanted.keys() & mine.keys() if wanted[key] != mine[key])[:4]
    return told


STORES = pytest.mark.parametrize("store", ["file", "flat"])


@STORES
def test_saves(play, store):
    for operation, played in play(store, SAVES).items():
        sides = check(played, operation)
        assert sides["finished"], operation
        assert sides["as before"], operation


@STORES
def test_a_sample_of_the_rest(play, store):
    for operation, played in play(store, MOVES + REST, only=3).items():
        assert check(played, operation)["finished"], operation


@STORES
def test_a_sample_of_crashes_during_recovery(play, store):
    for operation, played in play(store, ["rename_dir", "trash_dir"], again=True, only=3).items():
        check(played, operation)


@pytest.mark.long
@pytest.mark.timeout(3600)
@STORES
@pytest.mark.parametrize("operation", MOVES + REST)
def test_every_call(play, store, operation):
    sides = check(play(store, [operation])[operation], operation)
    assert sides["finished"]
    assert sides["as before"]


@pytest.mark.long
@pytest.mark.timeout(3600)
@STORES
@pytest.mark.parametrize("operation", MOVES + REST)
def test_every_call_of_the_recovery(play, store, operation):
    check(play(store, [operation], again=True, only=150)[operation], operation)
