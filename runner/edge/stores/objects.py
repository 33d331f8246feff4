"""State in an object store: S3, Google Cloud Storage or Azure Blob Storage, through obstore."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path


class Bucket:
    """A prefix of a bucket, as the place of a document, of blobs, or of both."""

    def __init__(self, place: str, *, offline: bool = False) -> None:
        raise NotImplementedError

    def read(self) -> bytes | None:
        raise NotImplementedError

    def swap(self, old: bytes | None, new: bytes) -> None:
        raise NotImplementedError

    def send_files(self, files: Mapping[str, Path]) -> None:
        raise NotImplementedError

    def fetch(self, name: str, write: Callable[[bytes], object]) -> bool:
        raise NotImplementedError

    def send(self, name: str, path: Path) -> None:
        raise NotImplementedError
