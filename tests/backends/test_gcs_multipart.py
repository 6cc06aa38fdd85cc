"""Uploads in parts to Google Cloud Storage: what is composed, with which conditions, and what is left.

fake-gcs-server ignores the conditions of a compose, so the behaviours run here on a store that keeps them as Google documents them.
"""

import base64
import contextlib
import json
import threading
from urllib.parse import unquote

import google_crc32c
import pytest

from cloudcontents.backends.interface import ALWAYS, IF_ABSENT, IfVersion
from cloudcontents.backends.multipart import Multipart, ReadParts
from cloudcontents.bucket import Bucket, Patience
from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    ChecksumError,
    InvalidContentError,
    InvalidPathError,
    PartsChangedError,
    PermissionDeniedError,
    RateLimitedError,
)
from cloudcontents.parts import Parts
from cloudcontents.registry import open_backend
from cloudcontents.testing.behaviours_parts import begin, checksum, leftovers, some
from cloudcontents.testing.calls import read

DESCRIBED = {"content_type": "text/x-big", "metadata": {"cc-write": "me"}}


class Refused(Exception):
    """An answer that is an error."""


class Store:
    """What Google documents of the interfaces that an upload in parts needs: an answer for the script's server."""

    def __init__(self, default_class="STANDARD"):
        self.default_class = default_class
        self.objects = {}  # name -> resource and data
        self.old = []  # what was replaced, of a versioned bucket
        self.composed = []  # the targets
        self.answers = {}  # (verb, n-th of it) -> an error of the store, once
        self.seen = {}
        self.generation = 100
        self.kept = False
        self.lock = threading.Lock()

    def __call__(self, asked):
        with self.lock:
            try:
                return 200, {}, self.answer(asked)
            except Refused as refused:
                status, reason = refused.args
                return status, {}, json.dumps({"error": {"code": status, "message": reason, "errors": [{"reason": reason}]}}).encode()

    def answer(self, asked):
        path, query = asked.path, asked.query
        verb = "compose" if path.endswith("/compose") else "upload" if path.startswith("/upload/") else asked.method
        self.seen[verb] = self.seen.get(verb, 0) + 1
        if (error := self.answers.pop((verb, self.seen[verb]), None)) is not None:
            raise Refused(*error)
        name = unquote(path.partition("/o/")[2].removesuffix("/compose").partition("/rewriteTo/")[0])
        if verb == "upload":
            boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
            _, described, body, _ = asked.body.split(b"--" + boundary)
            described = json.loads(described.partition(b"\r\n\r\n")[2])
            return self.make(described.pop("name"), body.partition(b"\r\n\r\n")[2][:-2], described, query)
        if verb == "compose":
            return self.compose(name, json.loads(asked.body), query)
        if "/rewriteTo/" in path:
            target = unquote(path.rpartition("/o/")[2])
            source = self.find(name, query.get("ifSourceGenerationMatch"))
            return b'{"done":true,"resource":' + self.make(target, source["data"], json.loads(asked.body), query) + b"}"
        if verb == "DELETE":
            if self.kept:
                raise Refused(403, "retentionPolicyNotMet")
            held = next((found for found in self.old if (found["name"], found["generation"]) == (name, query.get("generation"))), None)
            if held is not None:
                self.old.remove(held)
            else:
                self.find(name, query.get("generation"), query.get("ifGenerationMatch"))
                del self.objects[name]
            return b""
        if not path.startswith("/storage/v1/"):
            self.find(unquote(path.split("/", 2)[2]), match=asked.headers["x-goog-if-generation-match"])
            raise NotImplementedError("the bytes of an object")
        if name:
            return json.dumps(self.told(self.find(name))).encode()
        held = [*self.objects.values(), *(self.old if "versions" in query else ())]
        items = sorted((self.told(found) for found in held if found["name"].startswith(query.get("prefix", ""))), key=lambda it: it["name"])
        start = int(query.get("pageToken", 0))
        more = {"nextPageToken": str(start + 50)} if start + 50 < len(items) else {}
        return json.dumps({"items": items[start : start + 50], **more}).encode()

    def find(self, name, generation=None, match=None):
        found = self.objects.get(name)
        if found is None or generation not in (None, found["generation"]):
            raise Refused(404, "notFound")
        if match not in (None, found["generation"]):
            raise Refused(412, "conditionNotMet")
        return found

    def compose(self, name, told, query):
        assert 1 <= len(told["sourceObjects"]) <= 32
        assert told["destination"]["contentType"]
        sources = []
        for source in told["sourceObjects"]:
            assert source["generation"] == source["objectPreconditions"]["ifGenerationMatch"]
            sources.append(self.find(source["name"], match=source["generation"]))
        classes = {source["storageClass"] for source in sources}
        assert len(classes) == 1
        self.composed.append(name)
        described = {**told["destination"], "storageClass": classes.pop()}
        return self.make(name, b"".join(source["data"] for source in sources), described, query)

    def make(self, name, data, described, query):
        match, old = query.get("ifGenerationMatch"), self.objects.get(name)
        if match is not None and match != (old["generation"] if old else "0"):
            raise Refused(412, "conditionNotMet")
        if old:
            self.old.append(old)
        self.generation += 1
        crc = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
        assert described.get("crc32c", crc) == crc
        self.objects[name] = {
            "storageClass": self.default_class,
            **described,
            "name": name,
            "data": data,
            "size": str(len(data)),
            "generation": str(self.generation),
            "updated": "2026-01-02T03:04:05.678Z",
            "crc32c": crc,
        }
        return json.dumps(self.told(self.objects[name])).encode()

    @staticmethod
    def told(found):
        return {name: value for name, value in found.items() if name != "data"}

    def names(self, prefix):
        return [name for name in self.objects if name.startswith(prefix)]


@pytest.fixture
def store(script):
    honest = Store()
    script.do(honest)
    return honest


@contextlib.asynccontextmanager
async def opened(script, **options):
    query = "&".join(f"{name}={value}" for name, value in {"endpoint_url": script.url, **options}.items())
    backend = open_backend(f"gs://bucket?{query}")
    try:
        yield backend
    finally:
        await backend.close()


async def sent(backend, count, key="d/big"):
    """An upload of small parts that have all arrived."""
    store, upload = await begin(backend, key)
    pieces = [some(50, number) for number in range(count)]
    return upload, [await store.put_part(upload, n, data, checksum=checksum(data)) for n, data in enumerate(pieces, 1)], b"".join(pieces)


async def test_the_bucket_and_one_below_a_prefix_take_parts():
    for url in ("gs://bucket", "gs://bucket/home"):
        backend = open_backend(url)
        assert isinstance(backend, Multipart)
        assert isinstance(backend, ReadParts)
        assert backend.part_rules.min_bytes == 1
        await backend.close()


# --- conditions -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 33], ids=["one compose", "a tree"])
async def test_a_failed_condition_keeps_the_upload(script, store, count):
    async with opened(script) as backend:
        upload, parts, data = await sent(backend, count)
        theirs = store.make("d/big", b"theirs", {}, {})
        with pytest.raises(AlreadyExistsError):
            await backend.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
        with pytest.raises(Exception, match="changed") as caught:
            await backend.complete(upload, parts, when=IfVersion("5"), **DESCRIBED)
        assert not isinstance(caught.value, PartsChangedError)
        assert store.objects["d/big"]["data"] == b"theirs"
        assert await backend.list_parts(upload) == parts
        composed = len(store.composed)
        info = await backend.complete(upload, parts, when=IfVersion(json.loads(theirs)["generation"]), **DESCRIBED)
        assert len(store.composed) == composed + 1, "what was composed before the condition failed is not composed again"
        made = store.objects["d/big"]
        assert (made["data"], made["contentType"], made["metadata"]) == (data, "text/x-big", {"cc-write": "me"})
        assert (info.version, info.size) == (made["generation"], len(data))
        assert list(store.objects) == ["d/big"]


@pytest.mark.parametrize("when", [ALWAYS, IF_ABSENT], ids=["always", "if absent"])
@pytest.mark.parametrize("change", ["replaced", "gone"])
@pytest.mark.parametrize("count", [2, 34])
async def test_a_part_that_changes_while_it_is_composed_is_told_from_a_failed_condition(script, store, when, change, count):
    async with opened(script) as backend:
        upload, parts, _ = await sent(backend, count)
        name = store.names(upload.place)[1]
        compose = store.compose

        def change_first(target, told, query):
            store.compose = compose
            old = store.objects.pop(name)
            if change == "replaced":
                store.make(name, old["data"], {"storageClass": "STANDARD"}, {})
            return compose(target, told, query)

        store.compose = change_first
        with pytest.raises(PartsChangedError):
            await backend.complete(upload, parts, when=when, **DESCRIBED)
        assert "d/big" not in store.objects
        held = await backend.list_parts(upload)
        assert len(held) == (count if change == "replaced" else count - 1)


async def test_a_part_that_somebody_overwrote_is_not_taken_for_the_one_confirmed(script, store):
    """Whoever holds a signed URL can put other bytes under the same name."""
    async with opened(script) as backend:
        upload, parts, _ = await sent(backend, 2)
        store.make(store.names(upload.place)[1], b"y" * 50, {"storageClass": "STANDARD"}, {})
        with pytest.raises(PartsChangedError):
            await backend.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
        assert store.composed == []
        held = await backend.list_parts(upload)
        assert [part.version == now.version for part, now in zip(parts, held, strict=True)] == [True, False]
        with pytest.raises(PartsChangedError):
            async for _ in backend.read_part(upload, parts[1]):
                pass


async def test_a_bucket_that_is_gone_is_no_changed_part(script, store):
    async with opened(script) as backend:
        upload, parts, _ = await sent(backend, 2)
        script.answers.clear()
        script.say(404, {"error": {"message": "The specified bucket does not exist.", "errors": [{"reason": "notFound"}]}})
        with pytest.raises(BucketNotFoundError):
            await backend.complete(upload, parts, **DESCRIBED)


async def test_somebody_else_who_completes_the_same_upload(script, store):
    """Both compose the same below the place; one of them publishes."""
    async with opened(script) as backend:
        upload, parts, data = await sent(backend, 34)
        compose = store.compose

        def both(target, told, query):
            if "/joined/" in target and target not in store.objects:
                compose(target, told, query)  # the other one's, a moment before
            return compose(target, told, query)

        store.compose = both
        await backend.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
        assert store.objects["d/big"]["data"] == data
        assert list(store.objects) == ["d/big"]


# --- what goes wrong on the way ---------------------------------------------------------------------------------------------------


async def test_a_large_upload_that_the_store_slows_down_is_gone_on_with(script, store):
    async with opened(script) as backend:
        upload, parts, data = await sent(backend, 66)
        store.answers[("compose", 3)] = (429, "rateLimitExceeded")
        with pytest.raises(RateLimitedError):
            await backend.complete(upload, parts, **DESCRIBED)
        done = len(store.composed)
        await backend.complete(upload, parts, **DESCRIBED)
        assert store.objects["d/big"]["data"] == data
        assert len(store.composed) == 4, f"three, and the object itself; {done} were done before"
        assert list(store.objects) == ["d/big"]


async def test_a_compose_whose_result_is_wrong_is_taken_away(script, store):
    async with opened(script) as backend:
        upload, parts, _ = await sent(backend, 3)
        compose = store.compose
        store.compose = lambda target, told, query: compose(target, {**told, "sourceObjects": told["sourceObjects"][::-1]}, query)
        with pytest.raises(ChecksumError):
            await backend.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
        assert "d/big" not in store.objects
        assert await backend.list_parts(upload) == parts
        store.compose = compose
        await backend.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)


async def test_a_joined_row_whose_result_is_wrong_comes_no_further(script, store):
    async with opened(script) as backend:
        upload, parts, _ = await sent(backend, 33)
        store.make("d/big", b"theirs", {}, {})
        compose = store.compose
        store.compose = lambda target, told, query: compose(target, {**told, "sourceObjects": told["sourceObjects"][::-1]}, query)
        with pytest.raises(ChecksumError):
            await backend.complete(upload, parts, **DESCRIBED)
        assert store.objects["d/big"]["data"] == b"theirs"


async def test_a_deletion_that_fails_is_told_and_a_repeat_ends_it(script, store):
    async with opened(script) as backend:
        parts_of = Parts(Bucket(backend, patience=Patience(first_pause=0.001)))
        upload, parts, data = await sent(backend, 3)
        store.answers[("DELETE", 2)] = (503, "backendError")
        await parts_of.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
        assert store.objects["d/big"]["data"] == data
        assert list(store.objects) == ["d/big"]


async def test_a_retention_policy_keeps_the_parts_and_not_the_upload(script, store):
    async with opened(script) as backend:
        upload, parts, data = await sent(backend, 2)
        store.kept = True
        await backend.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
        assert store.objects["d/big"]["data"] == data
        assert await backend.list_parts(upload) == parts
        with pytest.raises(PermissionDeniedError):
            await backend.abort(upload)


async def test_a_versioned_bucket_keeps_none_of_what_was_replaced(script, store):
    async with opened(script) as backend:
        upload, _, data = await sent(backend, 2)
        await backend.put_part(upload, 1, data[:50], checksum=checksum(data[:50]))
        assert len(store.old) == 1
        await backend.abort(upload)
        assert (store.old, store.objects) == ([], {})


async def test_names_and_content_types_that_cannot_be(script, store):
    async with opened(script) as backend:
        upload, parts, _ = await sent(backend, 1, key="..")
        with pytest.raises(InvalidPathError):
            await backend.complete(upload, parts)
        upload, parts, _ = await sent(backend, 1)
        with pytest.raises(InvalidContentError):
            await backend.complete(upload, parts, content_type="a/b\r\nx: y")
        assert not store.composed


# --- storage classes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("default", "option"), [("NEARLINE", None), ("STANDARD", "COLDLINE")])
async def test_parts_are_standard_and_the_object_is_what_it_should_be(script, store, default, option):
    store.default_class = default
    async with opened(script, **({"storage_class": option} if option else {})) as backend:
        upload, parts, data = await sent(backend, 34)
        assert {store.objects[name]["storageClass"] for name in store.names(upload.place)} == {"STANDARD"}
        theirs = json.loads(store.make("d/big", b"theirs", {}, {}))
        with pytest.raises(AlreadyExistsError):
            await backend.complete(upload, parts, when=IF_ABSENT, **DESCRIBED)
        assert await backend.list_parts(upload) == parts
        await backend.complete(upload, parts, when=IfVersion(theirs["generation"]), **DESCRIBED)
        made = store.objects["d/big"]
        assert (made["data"], made["storageClass"], made["contentType"]) == (data, option or default, "text/x-big")
        assert made["metadata"] == {"cc-write": "me"}
        assert list(store.objects) == ["d/big"]


# --- on a server ------------------------------------------------------------------------------------------------------------------


async def test_how_many_requests(fake_gcs, faultproxy):
    proxy = faultproxy(fake_gcs)
    backend = open_backend(f"gs://{fake_gcs.new_bucket()}?endpoint_url={proxy.url}")
    upload, parts, data = await sent(backend, 70)
    assert proxy.count() == 70
    proxy.forget()
    assert [part.number for part in await backend.list_parts(upload)] == list(range(1, 71))
    assert proxy.count() == 1, "a listing tells everything of the parts"
    proxy.forget()
    await backend.complete(upload, parts)
    assert proxy.count("POST", "/compose") == 4
    assert proxy.count("DELETE") == 70 + 3 + 1, "parts, what was composed of them, and the object that told the bucket's class"
    assert proxy.count() == 4 + 74 + 1 + 2
    assert await read(backend, "d/big") == data
    assert await leftovers(backend) == []
    await backend.close()


async def test_a_part_damaged_on_its_way_is_refused(script):
    def damaged(asked):
        described = json.loads(asked.body.split(b"\r\n\r\n", 2)[1].partition(b"\r\n")[0])
        assert described["crc32c"] == base64.b64encode(google_crc32c.Checksum(b"x" * 50).digest()).decode()
        error = {"message": "Provided CRC32C does not match calculated CRC32C.", "errors": [{"reason": "invalid"}]}
        return 400, {}, json.dumps({"error": error}).encode()

    script.do(damaged)
    async with opened(script) as backend:
        upload = await backend.begin("f", place="p", part_size=50)
        with pytest.raises(ChecksumError):
            await backend.put_part(upload, 1, b"x" * 50, checksum=checksum(b"x" * 50))
