"""S3's multipart uploads on the wire: pages, damage, lost replies, refusals, and that nothing is aborted which may still be wanted."""

import asyncio
import hashlib

import pytest

from cloudcontents.backends import IF_ABSENT, IfVersion, Multipart, Upload
from cloudcontents.bucket import Bucket, Patience
from cloudcontents.errors import AlreadyExistsError, ChecksumError, ConflictError, InvalidContentError, NotFoundError, PermissionDeniedError
from cloudcontents.parts import Parts
from cloudcontents.registry import open_backend

MIN = 5 << 20
FIRST, LAST = b"a" * MIN, b"the rest"
UPLOAD = Upload("f", "", "some-id", 7)
HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def sha256(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """Credentials of nobody, and nothing of this machine's."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of his")


@pytest.fixture
def opened(aws):
    """Open backends by URL; all are closed at the end."""
    backends = []

    def open_(url):
        backends.append(open_backend(url))
        return backends[-1]

    yield open_
    for backend in backends:
        asyncio.run(backend.close())


@pytest.fixture
def proxy(minio, faultproxy, aws, monkeypatch):
    before = faultproxy(minio)
    for name, value in minio.environment(before.url).items():
        monkeypatch.setenv(name, value)
    return before


@pytest.fixture
def bucket(minio):
    return minio.new_bucket()


@pytest.fixture
def backend(bucket, proxy, opened):
    return opened(f"s3://{bucket}")


async def two_parts(backend, key="f", metadata=None):
    upload = await backend.begin(key, place="unused", part_size=MIN, metadata=metadata)
    parts = [await backend.put_part(upload, number, data, checksum=sha256(data)) for number, data in ((1, FIRST), (2, LAST))]
    return upload, parts


def scripted(script, opened, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", script.url)
    return opened("s3://bucket")


def held(numbers, more=None):
    """The reply to ListParts."""
    part = "<Part><PartNumber>{}</PartNumber><Size>7</Size><ETag>&quot;e{}&quot;</ETag></Part>"
    parts = "".join(part.format(n, n) for n in numbers)
    cut = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated><NextPartNumberMarker>{more or 0}</NextPartNumberMarker>"
    return HEAD + f"<ListPartsResult>{cut}{parts}</ListPartsResult>".encode()


def refusal(code):
    return HEAD + f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()


def test_it_is_the_stores_own(backend):
    assert isinstance(backend, Multipart)
    assert (backend.part_rules.min_bytes, backend.part_rules.max_bytes, backend.part_rules.most) == (5 << 20, 5 << 30, 10_000)


async def test_the_store_tells_what_it_checked(backend, proxy):
    upload, parts = await two_parts(backend)
    assert [(part.number, part.size, part.checksum) for part in parts] == [(1, MIN, sha256(FIRST)), (2, len(LAST), sha256(LAST))]
    assert list(await backend.list_parts(upload)) == parts
    proxy.forget()
    await backend.complete(upload, parts)
    assert [(found.method, "uploadId" in found.query) for found in proxy.requests] == [("POST", True), ("HEAD", False)]


async def test_all_pages_of_parts(script, opened, monkeypatch):
    script.say(200, held(range(1, 1001), more=1000)).say(200, held(range(1001, 1004)))
    backend = scripted(script, opened, monkeypatch)
    parts = await backend.list_parts(UPLOAD)
    assert [part.number for part in parts] == list(range(1, 1004))
    assert (parts[1002].version, parts[1002].checksum) == ('"e1003"', None)
    assert [asked.query.get("part-number-marker") for asked in script.asked] == [None, "1000"]


@pytest.mark.parametrize("options", ["", "?checksums=when_required"])
async def test_a_part_that_was_damaged_on_its_way_is_refused(opened, bucket, proxy, options):
    backend = opened(f"s3://{bucket}{options}")
    upload = await backend.begin("f", place="", part_size=MIN)
    proxy.flip(1_000_000, request=True, method="PUT", path="partNumber=1", nth=1)
    with pytest.raises(ChecksumError):
        await backend.put_part(upload, 1, FIRST, checksum=sha256(FIRST))
    assert list(await backend.list_parts(upload)) == []
    with pytest.raises(ChecksumError):
        await backend.put_part(upload, 1, FIRST, checksum=sha256(LAST))
    part = await backend.put_part(upload, 1, FIRST, checksum=sha256(FIRST))
    assert part.checksum == (None if options else sha256(FIRST))
    assert (await backend.complete(upload, [part])).size == MIN


async def test_a_condition_that_fails_aborts_nothing(backend, proxy):
    upload, parts = await two_parts(backend)
    old = await backend.put("f", b"another's")
    for when, refused in ((IF_ABSENT, AlreadyExistsError), (IfVersion('"0123"'), ConflictError)):
        with pytest.raises(refused):
            await backend.complete(upload, parts, when=when)
    assert proxy.count("DELETE") == 0
    assert (await backend.complete(upload, parts, when=IfVersion(old.version))).size == MIN + len(LAST)


@pytest.mark.parametrize("when", [IF_ABSENT, None])
async def test_what_was_completed_is_no_upload_any_more(backend, when):
    """MinIO looks at the condition first, and our own object is what fails it."""
    old = await backend.put("f", b"old") if when is None else None
    when = when or IfVersion(old.version)
    upload, parts = await two_parts(backend)
    await backend.complete(upload, parts, when=when)
    for _ in range(2):
        with pytest.raises(NotFoundError, match="upload"):
            await backend.complete(upload, parts, when=when)
    for call in (backend.list_parts(upload), backend.put_part(upload, 1, LAST, checksum=sha256(LAST)), backend.complete(upload, [])):
        with pytest.raises(NotFoundError, match="upload"):
            await call
    await backend.abort(upload)
    assert (await backend.head("f")).size == MIN + len(LAST)


@pytest.mark.parametrize("when", [IF_ABSENT, None])
async def test_a_completion_whose_reply_is_lost_is_known_by_its_write_id(backend, proxy, when):
    old = await backend.put("f", b"old") if when is None else None
    when = when or IfVersion(old.version)
    parts_of = Parts(Bucket(backend, patience=Patience(first_pause=0.01)))
    mine = {"cc-write": "mine"}
    upload, parts = await two_parts(backend, metadata=mine)
    proxy.lose_reply(method="POST", path="uploadId", nth=1)
    info = await parts_of.complete(upload, parts, when=when, metadata=mine)
    assert (info.size, info.metadata) == (MIN + len(LAST), mine)
    # Another process that only knows the record.
    assert (await parts_of.complete(upload, parts, when=when, metadata=mine)).version == info.version
    with pytest.raises(NotFoundError):
        await parts_of.complete(upload, parts, when=when, metadata={"cc-write": "another's"})


async def test_a_small_part_in_the_middle(backend):
    upload = await backend.begin("f", place="", part_size=MIN)
    parts = [await backend.put_part(upload, number, data, checksum=sha256(data)) for number, data in ((1, LAST), (2, FIRST))]
    with pytest.raises(InvalidContentError, match="5 MiB"):
        await backend.complete(upload, parts)
    assert len(await backend.list_parts(upload)) == 2


async def test_an_empty_object_leaves_no_upload_and_keeps_it_where_the_condition_fails(backend):
    await backend.put("f", b"another's")
    upload = await backend.begin("f", place="", part_size=MIN)
    with pytest.raises(AlreadyExistsError):
        await backend.complete(upload, [], when=IF_ABSENT)
    assert [found.id for found in await backend.list_uploads("f")] == [upload.id]
    assert (await backend.complete(upload, [], content_type="text/x-none")).content_type == "text/x-none"
    assert list(await backend.list_uploads("f")) == []


async def test_uploads_are_listed_by_the_exact_key(backend):
    begun = [await backend.begin("d/f", place="", part_size=MIN) for _ in range(2)]
    await backend.begin("d/f2", place="", part_size=MIN)
    assert sorted(found.id for found in await backend.list_uploads("d/f")) == sorted(upload.id for upload in begun)
    assert list(await backend.list_uploads("d/")) == []


async def test_uploads_of_longer_names_end_the_listing(script, opened, monkeypatch):
    upload = "<Upload><Key>{}</Key><UploadId>{}</UploadId></Upload>"
    cut = "<IsTruncated>true</IsTruncated><NextKeyMarker>{}</NextKeyMarker><NextUploadIdMarker>{}</NextUploadIdMarker>"
    for keys in (["f", "f"], ["f", "f2"]):
        body = cut.format(keys[-1], "m") + "".join(upload.format(key, n) for n, key in enumerate(keys))
        script.say(200, HEAD + f"<ListMultipartUploadsResult>{body}</ListMultipartUploadsResult>".encode())
    assert len(await scripted(script, opened, monkeypatch).list_uploads("f")) == 3
    assert [asked.query.get("upload-id-marker") for asked in script.asked] == [None, "m"]


async def test_uploads_that_may_not_be_listed(script, opened, monkeypatch):
    script.say(403, refusal("AccessDenied"))
    with pytest.raises(PermissionDeniedError):
        await scripted(script, opened, monkeypatch).list_uploads("f")


async def test_an_abort_sees_to_parts_that_were_on_their_way(script, opened, monkeypatch):
    """Amazon keeps, and bills, a part that arrives while its upload is aborted."""
    script.say(204).say(200, held([3])).say(204).say(404, refusal("NoSuchUpload"))
    await scripted(script, opened, monkeypatch).abort(UPLOAD)
    assert [asked.method for asked in script.asked] == ["DELETE", "GET", "DELETE", "GET"]
