"""The official client of BOS, which others wrote, talks to ``runner simulate`` and understands what it says."""

from __future__ import annotations

import gc
import hashlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from baidubce.auth.bce_credentials import BceCredentials
from baidubce.bce_client_configuration import BceClientConfiguration
from baidubce.exception import BceHttpClientError
from baidubce.retry.retry_policy import NoRetryPolicy
from baidubce.services.bos.bos_client import BosClient
from helpers import Served, serving

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""This client leaves its sockets to be closed by the collector of garbage."""

BUCKET = "bkt-1"
KEY = "in/a b+ü&=%2F.jsonl"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("simulator")) as ready:
        yield ready
        gc.collect()  # or sockets of this client are found in the tests of another


@pytest.fixture(scope="module")
def client(served: Served) -> BosClient:
    ready = connect(served)
    ready.create_bucket(BUCKET)
    return ready


def connect(served: Served, secret: str = "SKDEMO") -> BosClient:
    keys = BceCredentials("AKDEMO", secret)
    return BosClient(BceClientConfiguration(credentials=keys, endpoint=served.url, retry_policy=NoRetryPolicy()))


def test_buckets_are_made_and_found(client: BosClient) -> None:
    """One that is there, and one that is not."""
    assert client.does_bucket_exist(BUCKET)
    assert not client.does_bucket_exist("bkt-2")
    with pytest.raises(BceHttpClientError) as caught:
        client.create_bucket(BUCKET)
    assert (caught.value.status_code, caught.value.code) == (409, "BucketAlreadyExists")


def test_an_object_is_put_looked_at_read_and_removed(client: BosClient) -> None:
    """With any key; the client computes a checksum of what it puts, and the simulator compares it."""
    content = "first line\nsecond line\n"
    put = client.put_object_from_string(BUCKET, KEY, content)
    etag = hashlib.md5(content.encode()).hexdigest()
    assert put.metadata.etag == etag
    about = client.get_object_meta_data(BUCKET, KEY).metadata
    assert (about.content_length, about.etag) == (str(len(content)), etag)
    assert client.get_object_as_string(BUCKET, KEY) == content.encode()
    assert client.get_object_as_string(BUCKET, KEY, range=[6, 9]) == b"line"
    client.delete_object(BUCKET, KEY)
    with pytest.raises(BceHttpClientError) as caught:
        client.get_object_as_string(BUCKET, KEY)
    assert (caught.value.status_code, caught.value.code) == (404, "NoSuchKey")


def test_files_are_put_and_fetched(client: BosClient, tmp_path: Path) -> None:
    """As large as a few reads of the server."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 4000)
    client.put_object_from_file(BUCKET, "files/source", str(source))
    client.get_object_to_file(BUCKET, "files/source", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_listings_go_on_to_their_end(client: BosClient) -> None:
    """By pages, by prefix, and grouped by a delimiter."""
    keys = [f"listed/{folder}/{n}" for folder in "ab" for n in range(3)]
    for key in keys:
        client.put_object_from_string(BUCKET, key, "x")
    page = client.list_objects(BUCKET, max_keys=4, prefix="listed/")
    assert [each.key for each in page.contents] == keys[:4]
    assert page.is_truncated
    rest = client.list_objects(BUCKET, marker=page.next_marker, prefix="listed/")
    assert [each.key for each in rest.contents] == keys[4:]
    assert not rest.is_truncated
    assert [each.key for each in client.list_all_objects(BUCKET, prefix="listed/b/")] == keys[3:]
    grouped = client.list_objects(BUCKET, prefix="listed/", delimiter="/")
    assert [each.prefix for each in grouped.common_prefixes] == ["listed/a/", "listed/b/"]


def test_a_link_that_was_signed_ahead_can_be_followed_by_anybody(client: BosClient) -> None:
    """It holds the signature; a letter more and it is for nothing."""
    client.put_object_from_string(BUCKET, KEY, "linked")
    link = client.generate_pre_signed_url(BUCKET, KEY).decode()
    with urllib.request.urlopen(link, timeout=20) as reply:
        assert reply.read() == b"linked"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(link.replace("/in/", "/inn/"), timeout=20)
    with caught.value as refused:
        assert refused.code == 403


def test_a_wrong_secret_is_refused(served: Served) -> None:
    """Also where nothing but the signature is wrong."""
    stranger = connect(served, "WRONG")
    with pytest.raises(BceHttpClientError) as caught:
        stranger.list_objects(BUCKET)
    assert (caught.value.status_code, caught.value.code) == (403, "SignatureDoesNotMatch")


def test_what_the_simulator_has_not_is_refused(client: BosClient) -> None:
    """A call in parts does not leave a part behind as if it were the whole."""
    with pytest.raises(BceHttpClientError):
        client.initiate_multipart_upload(BUCKET, "parts")
    with pytest.raises(BceHttpClientError) as caught:
        client.list_multipart_uploads(BUCKET)
    assert caught.value.status_code == 501
