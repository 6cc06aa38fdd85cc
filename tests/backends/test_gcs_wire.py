"""Google Cloud Storage on the wire: how many requests, with which conditions, and replies that fake-gcs-server never gives."""

import asyncio
import base64
import contextlib
import gzip
import json

import google_crc32c
import pytest
import requests

from cloudcontents.backends import gcs_client
from cloudcontents.backends.interface import ALWAYS, IF_ABSENT, IfVersion, SizedStream
from cloudcontents.backends.sdk import SdkThreads
from cloudcontents.bucket import Bucket
from cloudcontents.errors import (
    AlreadyExistsError,
    ChecksumError,
    ConflictError,
    InvalidContentError,
    InvalidPathError,
    NotFoundError,
    TruncatedError,
    UnavailableError,
)
from cloudcontents.manager import CloudContentsManager
from cloudcontents.registry import open_backend

MIB = 1 << 20


def crc(data):
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


def resource(name="f", data=b"x", generation="7", **more):
    """An object as the JSON interface tells it."""
    found = {"name": name, "generation": generation, "size": str(len(data)), "updated": "2026-01-02T03:04:05.678Z", "crc32c": crc(data)}
    return {**found, "contentType": "text/plain", **more}


def stream(size, piece=MIB):
    async def chunks():
        for at in range(0, size, piece):
            yield b"x" * min(piece, size - at)

    return SizedStream(chunks(), size)


@contextlib.asynccontextmanager
async def opened(server, bucket="bucket", **options):
    backend = open_backend(
        f"gs://{bucket}?" + "&".join(f"{name}={value}" for name, value in {"endpoint_url": server.url, **options}.items())
    )
    try:
        yield backend
    finally:
        await backend.close()


async def read(backend, key, **arguments):
    async with await backend.get(key, **arguments) as reader:
        return b"".join([piece async for piece in reader])


# --- how many requests ----------------------------------------------------------------------------------------------------------


async def test_one_request_a_call(fake_gcs, faultproxy):
    bucket = fake_gcs.new_bucket()
    proxy = faultproxy(fake_gcs)
    async with opened(proxy, bucket) as backend:

        async def asked(call):
            proxy.forget()
            result = await call
            return [request.method for request in proxy.requests], result

        assert (await asked(backend.put("f", b"hello", metadata={"a": "b"})))[0] == ["POST"]
        assert (await asked(backend.put("f", stream(8 * MIB))))[0] == ["POST"]
        assert (await asked(backend.put("f", b"hello", metadata={"a": "b"})))[0] == ["POST"]
        assert (await asked(backend.head("f")))[0] == ["GET"]
        asked_for, content = await asked(read(backend, "f"))
        assert (asked_for, content) == (["GET"], b"hello")
        assert (await asked(read(backend, "f", start=-2)))[0] == ["GET"]
        assert (await asked(backend.copy("f", "g")))[0] == ["POST"]
        asked_for, page = await asked(backend.list("", delimiter="/"))
        assert (asked_for, [info.key for info in page.objects]) == (["GET"], ["f", "g"])
        assert (await asked(backend.delete("g")))[0] == ["DELETE"]
        assert (await asked(backend.delete("g")))[0] == ["DELETE"]
        # A session, and its chunks; of a body in memory a single one.
        assert (await asked(backend.put("f", stream(17 * MIB))))[0] == ["POST", "PUT", "PUT", "PUT"]
        assert (await asked(backend.put("f", b"x" * (9 * MIB))))[0] == ["POST", "PUT"]


async def test_requests_of_the_manager(fake_gcs, faultproxy):
    bucket = fake_gcs.new_bucket()
    proxy = faultproxy(fake_gcs)
    manager = CloudContentsManager(url=f"gs://{bucket}/home?endpoint_url={proxy.url}")
    try:

        async def asked(call):
            proxy.forget()
            await call
            return len(proxy.requests)

        model = {"type": "file", "format": "text", "content": "x"}
        await manager.save(model, "f.txt")
        assert await asked(manager.get("f.txt", type="file")) <= 2
        assert await asked(manager.save(model, "f.txt")) <= 2
        assert await asked(manager.get("f.txt", type="file", content=False)) == 1
        assert await asked(manager.get("f.txt", content=False)) <= 2
        assert await asked(manager.create_checkpoint("f.txt")) <= 2
        backend = manager.namespace.mounts[0].bucket.backend
        for start in range(0, 1001, 77):
            await asyncio.gather(*(backend.put(f"many/{n:04d}", b"") for n in range(start, min(start + 77, 1001))))
        assert await asked(manager.get("many")) <= 3
    finally:
        await manager.close()


# --- what is asked --------------------------------------------------------------------------------------------------------------


async def test_conditions_go_with_every_write(script):
    script.say(200, resource(data=b""))
    async with opened(script) as backend:
        for when, told in ((ALWAYS, None), (IF_ABSENT, "0"), (IfVersion("7"), "7")):
            await backend.put("f", b"", when=when)
            assert script.asked[-1].query.get("ifGenerationMatch") == told
        await backend.delete("f")
        assert "ifGenerationMatch" not in script.asked[-1].query
        await backend.delete("f", if_version="7")
        assert script.asked[-1].query["ifGenerationMatch"] == "7"


async def test_a_copy_goes_on_until_it_is_done(script):
    script.say(200, {"done": False, "rewriteToken": "t1"}).say(200, {"done": False, "rewriteToken": "t2"})
    script.say(200, {"done": True, "resource": resource("b c", metadata={"M": "1"})})
    async with opened(script, kms_key_name="projects/p/keys/k") as backend:
        info = await backend.copy("a/b", "b c", src_version="5", when=IF_ABSENT)
    assert (info.key, info.version, info.size, dict(info.metadata)) == ("b c", "7", 1, {"m": "1"})
    assert [asked.query.get("rewriteToken") for asked in script.asked] == [None, "t1", "t2"]
    for asked in script.asked:
        assert asked.path == "/storage/v1/b/bucket/o/a%2Fb/rewriteTo/b/bucket/o/b%20c"
        assert (asked.query["ifGenerationMatch"], asked.query["ifSourceGenerationMatch"]) == ("0", "5")
        assert asked.query["destinationKmsKeyName"] == "projects/p/keys/k"
        assert asked.body == b"", "told nothing, the store takes the source's description"


async def test_a_failed_condition_of_a_copy_names_the_right_side(script):
    failed = {
        "error": {"message": "At least one of the pre-conditions you specified did not hold.", "errors": [{"reason": "conditionNotMet"}]}
    }
    async with opened(script) as backend:
        script.say(412, failed)
        with pytest.raises(AlreadyExistsError, match="target"):
            await backend.copy("source", "target", when=IF_ABSENT)
        with pytest.raises(ConflictError, match="source"):
            await backend.copy("source", "target", src_version="7")
        script.answers.clear()
        script.say(412, failed).say(200, resource(generation="8"))
        with pytest.raises(ConflictError, match="source"):
            await backend.copy("source", "target", src_version="7", when=IF_ABSENT)
        script.answers.clear()
        script.say(412, failed).say(200, resource(generation="7"))
        with pytest.raises(AlreadyExistsError, match="target"):
            await backend.copy("source", "target", src_version="7", when=IF_ABSENT)


async def test_options_that_go_with_every_request(script):
    script.say(200, resource(data=b""))
    async with opened(script, user_project="payer", kms_key_name="k", storage_class="NEARLINE") as backend:
        await backend.put("f", b"", content_type="text/x-a")
        put = script.asked[-1]
        assert (put.query["userProject"], put.query["kmsKeyName"]) == ("payer", "k")
        assert b'"storageClass": "NEARLINE"' in put.body
        script.answers.clear()
        script.say(200, resource(metadata={"a": "b"})).say(200, {"done": True, "resource": resource()})
        await backend.copy("f", "g")
        assert json.loads(script.asked[-1].body) == {"contentType": "text/plain", "metadata": {"a": "b"}, "storageClass": "NEARLINE"}
        assert script.asked[-1].query["ifSourceGenerationMatch"] == "7", "the description and the bytes are of one version"
        script.answers.clear()
        script.say(404)
        with pytest.raises(NotFoundError):
            await backend.get("f")
        assert script.asked[-1].headers["x-goog-user-project"] == "payer"


async def test_names_that_would_mean_the_bucket_are_not_asked_for(script):
    async with opened(script) as backend:
        for key in (".", ".."):
            with pytest.raises(NotFoundError):
                await backend.head(key)
            with pytest.raises(NotFoundError):
                await backend.get(key)
            with pytest.raises(InvalidPathError):
                await backend.put(key, b"x")
            with pytest.raises(InvalidPathError):
                await backend.copy("a", key)
            await backend.delete(key)
    assert script.asked == []


async def test_versions_that_cannot_be_are_conflicts_and_not_asked_for(script):
    async with opened(script) as backend:
        for version in ("0", "-1", "x", "1" * 30, "¹", ""):
            for call in (backend.put("f", b"", when=IfVersion(version)), backend.delete("f", if_version=version)):
                with pytest.raises(ConflictError):
                    await call
    assert script.asked == []


async def test_a_content_type_cannot_forge_a_header(script):
    async with opened(script) as backend:
        with pytest.raises(InvalidContentError):
            await backend.put("f", b"", content_type="a/b\r\n\r\nx")


async def test_empty_folders_of_a_hierarchical_bucket_are_asked_for(script):
    script.say(200, {"prefixes": ["d/empty/"], "items": [resource("d/f")], "nextPageToken": "n"})
    async with opened(script) as backend:
        page = await backend.list("d/", delimiter="/")
        assert ([info.key for info in page.prefixes], [info.key for info in page.objects], page.next_token) == (["d/empty/"], ["d/f"], "n")
        assert script.asked[-1].query["includeFoldersAsPrefixes"] == "true"
        await backend.list("d/", page_token="n")
        assert "includeFoldersAsPrefixes" not in script.asked[-1].query
        assert script.asked[-1].query["pageToken"] == "n"


# --- uploads --------------------------------------------------------------------------------------------------------------------


async def test_an_upload_of_which_the_store_keeps_a_part_sends_the_rest(script):
    kept = bytearray()
    size = 9 * MIB

    def session(asked):
        if asked.method == "POST":
            return 200, {"Location": f"{script.url}/session?upload_id=u"}, b""
        first = int(asked.headers["content-range"].removeprefix("bytes ").partition("-")[0])
        assert first == len(kept), "what the store has is not sent again"
        kept.extend(asked.body[: 5 * MIB])
        if len(kept) == size:
            assert asked.headers["x-goog-hash"] == f"crc32c={crc(bytes(kept))}"
            return 200, {}, json.dumps(resource(data=bytes(kept))).encode()
        return 308, {"Range": f"bytes=0-{len(kept) - 1}"}, b""

    script.do(session)
    async with opened(script) as backend:
        info = await backend.put("f", stream(size), when=IF_ABSENT)
    assert (info.size, bytes(kept)) == (size, b"x" * size)
    assert script.asked[0].query["ifGenerationMatch"] == "0"
    assert [len(asked.body) // MIB for asked in script.asked[1:]] == [8, 3, 1]


@pytest.mark.parametrize(
    ("status", "headers"),
    [(308, {}), (308, {"Range": "bytes=0-99999999"}), (503, {}), (404, {}), (410, {}), (200, {})],
    ids=["nothing kept", "more than sent", "failed", "session lost", "session gone", "ended early"],
)
async def test_an_upload_that_goes_wrong_is_given_up(script, status, headers):
    script.say(200, Location=f"{script.url}/session").say(status, **headers)
    async with opened(script) as backend:
        with pytest.raises(UnavailableError):
            await backend.put("f", stream(17 * MIB))
    assert [asked.method for asked in script.asked] == ["POST", "PUT", "DELETE"], "nothing is sent twice, and nothing is left"


async def test_a_slow_line_is_no_broken_one(fake_gcs, toxiproxy, monkeypatch):
    monkeypatch.setattr(gcs_client, "TIMEOUT", (0.5, 30))
    with toxiproxy.proxy(fake_gcs) as line:
        # Four megabytes a second: the whole takes more than the half second that a piece may take.
        line.toxic("bandwidth", stream="upstream", rate=4000)
        async with opened(line, fake_gcs.new_bucket()) as backend:
            assert (await backend.put("f", stream(20 * MIB))).size == 20 * MIB


async def test_a_stream_that_ends_early_makes_no_object(script):
    script.say(200, Location=f"{script.url}/session").say(308, Range=f"bytes=0-{8 * MIB - 1}").say(204)
    short = stream(12 * MIB)
    async with opened(script) as backend:
        with pytest.raises(TruncatedError):
            await backend.put("f", SizedStream(short.chunks, 13 * MIB))
    assert [asked.method for asked in script.asked] == ["POST", "PUT", "DELETE"]


async def test_bytes_damaged_on_their_way_up_are_taken_away_again(script):
    script.say(200, Location=f"{script.url}/session").say(200, resource(data=b"other", generation="9")).say(204)
    async with opened(script) as backend:
        with pytest.raises(ChecksumError):
            await backend.put("f", b"x" * (9 * MIB))
    assert (script.asked[-1].method, script.asked[-1].query["ifGenerationMatch"]) == ("DELETE", "9")


async def test_a_cancelled_upload_ends_its_session(script):
    script.say(200, Location=f"{script.url}/session").say(308, Range=f"bytes=0-{8 * MIB - 1}").say(204)
    sent = asyncio.Event()

    async def chunks():
        yield b"x" * (9 * MIB)
        sent.set()
        await asyncio.Event().wait()

    async with opened(script) as backend:
        task = asyncio.create_task(backend.put("f", SizedStream(chunks(), 20 * MIB)))
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [asked.method for asked in script.asked] == ["POST", "PUT", "DELETE"]


# --- downloads ------------------------------------------------------------------------------------------------------------------


def told(data, **more):
    """The headers of a download by the XML interface."""
    headers = {"x_goog_generation": "7", "x_goog_stored_content_length": str(len(data)), "Last_Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
    return {**headers, "x_goog_stored_content_encoding": "identity", "x_goog_hash": f"crc32c={crc(data)}", **more}


async def test_the_reply_to_a_download_tells_everything(script):
    script.say(200, resource(data=b"hello", metadata={"Note": "n"}, md5Hash=base64.b64encode(b"m" * 16).decode()))
    script.say(
        200,
        b"hello",
        **told(b"hello", Content_Type="text/plain", x_goog_meta_note="n", x_goog_hash="crc32c=mnG7TA==, md5=bW1tbW1tbW1tbW1tbW1tbQ=="),
    )
    async with opened(script) as backend:
        head = await backend.head("a/b")
        async with await backend.get("a/b", if_version="7") as reader:
            assert reader.info == head
            assert b"".join([piece async for piece in reader]) == b"hello"
    assert head.checksum == f"md5:{b'm'.hex() * 16}"
    asked = script.asked[-1]
    assert (asked.path, asked.query) == ("/bucket/a%2Fb", {})
    assert (asked.headers["x-goog-if-generation-match"], asked.headers["accept-encoding"]) == ("7", "gzip")


async def test_compressed_objects_are_read_as_they_are_stored(fake_gcs):
    bucket = fake_gcs.new_bucket()
    packed = gzip.compress(b"hello" * 1000)
    client = fake_gcs.client()
    blob = client.bucket(bucket).blob("f.txt")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed, "text/plain", retry=None)
    client.close()
    async with opened(fake_gcs, bucket) as backend:
        assert await read(backend, "f.txt") == packed
        assert await read(backend, "f.txt", start=3, length=4) == packed[3:7]
        (listed,) = (await backend.list("")).objects
        assert (await backend.head("f.txt")).size == listed.size == len(packed)


async def test_what_was_compressed_for_the_way_only_is_unpacked(script):
    data = b"hello" * 1000
    script.say(200, gzip.compress(data), **told(data, Content_Encoding="gzip"))
    async with opened(script) as backend:
        assert await read(backend, "f") == data


async def test_damaged_and_cut_downloads_are_noticed(fake_gcs, faultproxy):
    bucket = fake_gcs.new_bucket()
    proxy = faultproxy(fake_gcs)
    async with opened(proxy, bucket) as backend:
        await backend.put("f", b"x" * 300_000)
        proxy.flip(200_000, method="GET")
        with pytest.raises(ChecksumError):
            await read(backend, "f")
        proxy.heal()
        proxy.truncate(100_000, method="GET")
        with pytest.raises(TruncatedError):
            await read(backend, "f")
        proxy.heal()
        assert len(await read(backend, "f")) == 300_000


async def test_another_version_than_asked_for_is_never_read(script):
    # By a store, or a cache before it, that does not know the condition.
    script.say(200, b"hello", **told(b"hello"))
    async with opened(script) as backend:
        with pytest.raises(ConflictError):
            await backend.get("f", if_version="6")


async def test_what_is_no_store_is_told_so(script):
    script.say(200, b"<html>Welcome to the airport</html>")
    async with opened(script) as backend:
        for call in (backend.head("f"), backend.get("f"), backend.list(""), backend.put("f", b"x")):
            with pytest.raises(UnavailableError, match="not Google Cloud Storage"):
                await call


# --- lost replies and time ------------------------------------------------------------------------------------------------------


async def test_a_save_whose_reply_is_lost_is_no_conflict(fake_gcs, faultproxy):
    proxy = faultproxy(fake_gcs)
    bucket = Bucket(open_backend(f"gs://{fake_gcs.new_bucket()}?endpoint_url={proxy.url}"))
    try:
        proxy.lose_reply(method="POST", nth=1)
        info = await bucket.put("f", b"hello", when=IF_ABSENT)
        assert (await bucket.head("f")).version == info.version
        assert proxy.count("POST") == 1, "nothing below the bucket sends again"
    finally:
        await bucket.close()


async def test_a_store_that_stands_still_is_left(script, monkeypatch):
    monkeypatch.setattr(gcs_client, "TIMEOUT", (0.5, 0.2))
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_asked):
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(60)
        return 200, {}, b"{}"

    script.do(wait)
    async with opened(script) as backend:
        with pytest.raises(UnavailableError, match="in time"):
            await backend.head("f")
        release.set()


async def test_a_download_that_nobody_waits_for_is_closed(script, monkeypatch):
    started, release, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    close = requests.Response.close

    def noted(response):
        close(response)
        loop.call_soon_threadsafe(closed.set)

    def answer(_asked):
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(60)
        return 200, {name.replace("_", "-"): value for name, value in told(b"x" * MIB).items()}, b"x" * MIB

    script.do(answer)
    monkeypatch.setattr(requests.Response, "close", noted)
    async with opened(script) as backend:
        task = asyncio.create_task(backend.get("f"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        await asyncio.wait_for(closed.wait(), 60)


async def test_a_result_that_nobody_waits_for_is_disposed_of():
    threads = SdkThreads("test")
    started, release, disposed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work():
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(60)
        return "opened"

    task = asyncio.create_task(threads.run(work, dispose=lambda result: loop.call_soon_threadsafe(disposed.set)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    await asyncio.wait_for(disposed.wait(), 60)
    await threads.close()
