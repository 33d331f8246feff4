"""Which client asks: pyreqwest where it is installed, else httpx."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from runner.edge.asking import Asker
from runner.edge.surroundings import is_plain


def open_asker(url: str, most: int, scrub: Callable[..., str], *, silence: float, streams: bool) -> Asker:
    """For questions to ``url``, up to ``most`` at once, whose answers are streams of events, or not.

    ``silence``: the most seconds without a byte.

    httpx takes ten times as long for each, and knows every proxy and certificate that the environment may name.
    """
    if not streams and is_plain(url) and find_spec("pyreqwest") is not None:
        from runner.edge.pyreqwest_asking import PyreqwestAsker

        return PyreqwestAsker(most, scrub, silence)
    from runner.edge.httpx_asking import HttpxAsker

    return HttpxAsker(most, scrub, silence)
