"""State behind Terraform's HTTP protocol, which GitLab, Gitea and others speak."""

from __future__ import annotations


class TerraformState:
    def __init__(self, place: str, *, offline: bool = False) -> None:
        raise NotImplementedError

    def read(self) -> bytes | None:
        raise NotImplementedError

    def swap(self, old: bytes | None, new: bytes) -> None:
        raise NotImplementedError
