"""kill -9 of a real server at random moments of a directory's rename, on each cloud's server.

Promise G4: at every moment each object is found, under its old name or the new one, whole; and the next start of a server finishes. What is
in the bucket is looked at past our own code.
"""

from __future__ import annotations

import time

import pytest

LONG = [pytest.mark.long, pytest.mark.timeout(3600)]
JOURNAL = ".cloudcontents/journal/"
CHECKPOINTS = ".cloudcontents/checkpoints/"


def contents(objects):
    """The objects of a directory by their names in it: most side by side, some deeper, and one of some size."""
    names = [f"f{n:03}.txt" for n in range(objects * 9 // 10)] + [f"deep/er/g{n:03}.txt" for n in range(objects - objects * 9 // 10)]
    return {name: f"content of {name}\n".encode() * (50_000 if name == "f000.txt" else n % 7 + 1) for n, name in enumerate(names)}


@pytest.mark.parametrize(
    ("place", "objects", "kills"),
    [
        ("minio", 60, 3),
        ("fake_gcs", 60, 2),
        ("azurite", 60, 2),
        pytest.param("minio", 500, 50, marks=LONG),
        pytest.param("fake_gcs", 500, 15, marks=LONG),
        pytest.param("azurite", 500, 15, marks=LONG),
    ],
)
def test_every_object_is_found_and_the_next_start_finishes(outside, jupyter, killed, chance, place, objects, kills):
    bucket = outside(place)
    files = contents(objects)
    kept = {f"f{n:03}.txt/.cloudcontents/20260101T000000000000Z-aaaaaa": f"checkpoint {n}".encode() for n in range(20)}
    bucket.put_all({f"left/{name}": data for name, data in files.items()})
    bucket.put_all({f"{CHECKPOINTS}left/{name}": data for name, data in kept.items()})

    def places(found, name, top=""):
        return [side for side in ("left", "right") if f"{top}{side}/{name}" in found]

    def check_found(where):
        """Every object is there, whole, and nothing else."""
        found = bucket.list()
        for top, wanted in (("", files), (CHECKPOINTS, kept)):
            for name, data in wanted.items():
                at = places(found, name, top)
                assert at, f"{where}: {top}…/{name} is lost"
                assert {found[f"{top}{side}/{name}"] for side in at} == {len(data)}, f"{where}: {top}…/{name} is torn"
        return found

    def check_finished(where):
        found = check_found(where)
        assert all(len(places(found, name)) == 1 for name in files), f"{where}: not finished"
        (side,) = {places(found, name)[0] for name in files}
        mine = {f"{side}/{name}": data for name, data in files.items()}
        mine |= {f"{CHECKPOINTS}{side}/{name}": data for name, data in kept.items()}
        assert found.keys() == mine.keys(), where
        assert bucket.read_all(list(mine)) == mine, where
        return side

    def wait_for_recovery():
        while bucket.list(JOURNAL):  # the test's own time limit is the only one
            time.sleep(0.02)

    server = jupyter(url=bucket.url)
    server.start()
    started = time.monotonic()
    assert server.session().rename("left", "right").status == 200
    seconds = time.monotonic() - started
    here = check_finished("unharmed")
    assert here == "right"
    for number in range(kills):
        there = "left" if here == "right" else "right"
        moment = chance.random() * seconds * 1.1
        where = f"kill {number} at {moment:.3f} of {seconds:.3f} s"
        status = killed(server, here, there, moment)
        found = check_found(where)
        copied, left = (sum(f"{side}/{name}" in found for name in files) for side in (there, here))
        server.start()
        if chance.random() < 0.2:  # and once more, while it recovers
            time.sleep(chance.random() * seconds)
            server.kill()
            check_found(f"{where}, and again")
            server.start()
        wait_for_recovery()
        now = check_finished(where)
        end = "finished" if now == there else "not begun"
        print(f"{place}, {where}: {copied} of {objects} at the new place, {left} at the old one; {end}", flush=True)
        assert now == there or (status is None and copied == 0), where
        assert sorted(server.session().names(now)) == sorted({name.partition("/")[0] for name in files}), where
        here = now
