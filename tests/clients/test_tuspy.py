"""tuspy as its project publishes it: in one piece and in chunks, with checksums, stopped and gone on with, sync and async."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from tusclient.storage.filestorage import FileStorage

# tuspy closes neither the files nor, where it streams an answer, the connections that it opens.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

MIB = 2**20
SMALL, LARGE = 8 * MIB + 12_345, 20 * MIB


@pytest.fixture(autouse=True)
def _files_that_tuspy_leaves_open():
    """It never closes the file of an uploader that was stopped; nobody else's test is to be blamed for it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def client(target):
    return TusClient(target.url, headers=target.authorization)


def described(path):
    """What a client tells of a file: tuspy sends nothing by itself."""
    return {"file_path": str(path), "metadata": {"filename": path.name}}


@pytest.mark.parametrize("size", [0, 1, SMALL, pytest.param(LARGE, marks=pytest.mark.long)])
def test_in_one_piece(target, client, make_file, size):
    path = make_file(size)
    client.uploader(**described(path)).upload()
    assert target.holds(path.name, path)


def test_in_chunks_with_checksums(target, client, make_file):
    path = make_file(SMALL)
    client.uploader(**described(path), chunk_size=3 * MIB, upload_checksum=True).upload()
    assert target.holds(path.name, path)


def test_a_chunk_that_is_not_what_its_checksum_says_is_refused_and_sent_again(target, client, make_file):
    path = make_file(SMALL)
    uploader = client.uploader(**described(path), chunk_size=3 * MIB, upload_checksum=True)
    uploader.upload_chunk()
    right = uploader.checksum_algorithm
    uploader._BaseUploader__checksum_algorithm = lambda chunk: right(chunk + b"!")
    with pytest.raises(TusUploadFailed) as refused:
        uploader.upload_chunk()
    assert refused.value.status_code == 460
    assert uploader.get_offset() == 3 * MIB, "nothing of it was kept"
    uploader._BaseUploader__checksum_algorithm = right
    uploader.upload()
    assert target.holds(path.name, path)


def test_stopped_and_gone_on_with_by_its_address(target, client, make_file):
    path = make_file(LARGE)
    first = client.uploader(**described(path), chunk_size=3 * MIB)
    first.upload(stop_at=9 * MIB + 1)
    second = client.uploader(**described(path), chunk_size=4 * MIB, url=first.url)
    assert second.offset == 9 * MIB + 1
    second.upload()
    assert target.holds(path.name, path)


def test_gone_on_with_from_what_it_had_stored(target, client, make_file, tmp_path):
    path = make_file(SMALL)

    def uploader():
        storage = FileStorage(str(tmp_path / "addresses"))
        return storage, client.uploader(**described(path), chunk_size=3 * MIB, store_url=True, url_storage=storage)

    storage, first = uploader()
    first.upload(stop_at=3 * MIB)
    storage.close()
    storage, second = uploader()
    assert (second.url, second.offset) == (first.url, 3 * MIB)
    second.upload()
    storage.close()
    assert target.holds(path.name, path)


def test_another_server_process_goes_on(target, client, make_file):
    path = make_file(SMALL)
    uploader = client.uploader(**described(path), chunk_size=3 * MIB)
    uploader.upload_chunk()
    target.jupyter.kill()
    with pytest.raises(TusUploadFailed):
        uploader.upload_chunk()
    target.jupyter.start()
    target.session = target.jupyter.session()
    uploader.offset = uploader.get_offset()
    assert uploader.offset == 3 * MIB, "what was answered for is in safety"
    uploader.upload()
    assert target.holds(path.name, path)


@pytest.mark.parametrize("size", [SMALL, pytest.param(LARGE, marks=pytest.mark.long)])
def test_async(target, client, make_file, size):
    path = make_file(size)

    async def upload():
        first = client.async_uploader(**described(path), chunk_size=3 * MIB, upload_checksum=True)
        await first.upload(stop_at=5 * MIB)
        second = client.async_uploader(**described(path), chunk_size=4 * MIB, url=first.url)
        assert second.offset == 5 * MIB
        await second.upload()

    asyncio.run(upload())
    assert target.holds(path.name, path)
