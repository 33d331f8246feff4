"""In a process that is about to run a command: count its effects on files and over HTTP, and disturb the planned ones.

Everything that changes a file below the project's folder counts: files made, written (a file that is buffered is
written when its buffer is), flushed, renamed, cut and removed, folders made, removed and flushed.  So does each HTTP
request.  They are told apart by what they do and to what, and counted from 1; names made by chance are left out.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, ClassVar, NoReturn, TypeVar

import httpx

from benchmarks.faults.durable import Durable
from benchmarks.faults.schedule import DISK, SIGNALS, Point, Upset

T = TypeVar("T")

_BY_CHANCE = re.compile(r"\.tmp-\w+|(?<=blobs/)[0-9a-f]{2}(?=/|$)|(?!v\d+/)(?<=/)[\w-]*\d[\w-]*")
"""Parts of a path that are different each time: temporary names, digests, ids of tasks and files."""
_CHANGES = os.O_CREAT | os.O_TRUNC
_ERRORS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "io-error": errno.EIO}


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody outlives SIGKILL")


class Upsetter:
    """Knows which effects are to go wrong, and what each of them is called."""

    def __init__(self, upsets: Iterable[Upset], trace: Callable[[Point], None]) -> None:
        self._planned = {upset.point: upset.manner for upset in upsets}
        self._trace = trace
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._disk = ""
        """What is wrong with the disk from now on."""

    def reach(self, effect: str) -> str:
        """How the effect that is about to happen goes wrong; "" if it does not."""
        with self._lock:
            self._seen[effect] += 1
            point = Point(effect, self._seen[effect])
            self._trace(point)
        manner = self._planned.get(point, "")
        if manner in SIGNALS:
            os.kill(os.getpid(), getattr(signal, manner))
            return ""
        return manner

    def touch(self, effect: str, act: Callable[[], T], *, half: Callable[[], object] = lambda: None) -> T:
        """Carry out an effect on a file, or what is planned in its place.  ``half``: a part of it."""
        manner = self.reach(effect)
        if manner in ("full", "read-only"):
            self._disk = manner
        trouble = manner if manner in DISK else self._disk
        if trouble and not effect.startswith("remove"):
            if trouble == "full":
                half()
            raise OSError(_ERRORS[trouble], os.strerror(_ERRORS[trouble]), effect.partition(" ")[2])
        stage = manner.removeprefix("cut-")
        if stage == "middle":
            half()
        if stage in ("before", "middle"):
            die()
        result = act()
        if stage == "after":
            die()
        return result


# ---- files ---------------------------------------------------------------------------------------------------------


class Files:
    """The functions through which Python changes files, replaced for everything below ``root``."""

    def __init__(self, root: Path, upsetter: Upsetter, durable: Durable | None) -> None:
        self._root = f"{root}/"
        self._upsetter = upsetter
        self._durable = durable
        self._paths: dict[int, str] = {}
        """Open descriptors."""
        self._open, self._os_open, self._close = io.open, os.open, os.close

    def install(self) -> None:
        Raw.watcher = self
        builtins.open = io.open = self.open  # type: ignore[assignment]
        os.open, os.close = self.os_open, self.close  # type: ignore[assignment]
        os.fsync = self._flushing(os.fsync)  # type: ignore[assignment]
        os.replace = os.rename = self._renaming(os.replace)
        os.mkdir = self._making(os.mkdir)
        for name, effect in {"unlink": "remove", "remove": "remove", "rmdir": "remove"}.items():
            setattr(os, name, self._changing(effect, getattr(os, name)))
        for name in ("truncate", "ftruncate"):
            setattr(os, name, self._changing("cut", getattr(os, name)))

    def below(self, path: Any, folder: int | None = None) -> str:
        """The path of something below the root, "" for anything else."""
        if isinstance(path, int):
            return self._paths.get(path, "")
        if folder is not None:
            text = f"{self._paths.get(folder, '')}/{os.fsdecode(path)}"
        else:
            text = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - of links, and quick
        return text if f"{text}/".startswith(self._root) else ""

    def named(self, verb: str, path: str) -> str:
        return f"{verb} {_BY_CHANCE.sub('*', path[len(self._root) - 1 :])[1:] or '.'}"

    def os_open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        found = self.below(path, dir_fd)

        def act() -> int:
            return self._os_open(path, flags, mode, dir_fd=dir_fd)

        changes = found and flags & _CHANGES and (flags & os.O_TRUNC or not os.path.lexists(found))
        descriptor = self._upsetter.touch(self.named("make", found), act) if changes else act()
        if found:
            self._paths[descriptor] = found
        return descriptor

    def close(self, descriptor: int) -> None:
        self.closed(descriptor)
        self._close(descriptor)

    def opened(self, descriptor: int, path: str) -> None:
        self._paths[descriptor] = path

    def closed(self, descriptor: int) -> None:
        self._paths.pop(descriptor, None)

    def open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> IO[Any]:
        found = self.below(file)
        if not found or not set(mode) & set("wax+"):
            return self._open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffered = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

    def write(self, path: str, data: Any, act: Callable[[Any], int]) -> int:
        view = memoryview(data).cast("B")
        return self._upsetter.touch(
            self.named("write", path), lambda: act(view), half=lambda: act(view[: len(view) // 2])
        )

    def _flushing(self, fsync: Callable[[int], None]) -> Callable[[int], None]:
        def flush(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            path = self.below(number)

            def act() -> None:
                fsync(number)
                if self._durable is not None:
                    known = Path(path)
                    (self._durable.flushed_folder if known.is_dir() else self._durable.flushed_file)(known)

            if path:
                self._upsetter.touch(self.named("flush", path), act)
            else:
                fsync(number)

        return flush

    def _making(self, mkdir: Callable[..., None]) -> Callable[..., None]:
        def make(path: Any, *args: Any, **options: Any) -> None:
            found = self.below(path, options.get("dir_fd"))

            def act() -> None:
                mkdir(path, *args, **options)
                if self._durable is not None:
                    self._durable.made_folder(Path(found))

            if found and not os.path.lexists(found):
                self._upsetter.touch(self.named("make", found), act)
            else:
                mkdir(path, *args, **options)

        return make

    def _renaming(self, replace: Callable[..., None]) -> Callable[..., None]:
        def rename(source: Any, target: Any, **options: Any) -> None:
            found = self.below(target)
            if found:
                self._upsetter.touch(self.named("rename", found), lambda: replace(source, target, **options))
            else:
                replace(source, target, **options)

        return rename

    def _changing(self, verb: str, function: Callable[..., T]) -> Callable[..., T]:
        def change(path: Any, *args: Any, **options: Any) -> T:
            found = self.below(path, options.get("dir_fd"))

            def act() -> T:
                return function(path, *args, **options)

            return self._upsetter.touch(self.named(verb, found), act) if found else act()

        return change


class Raw(io.FileIO):
    """A file each of whose writes counts, once somebody watches.

    Stands for `io.FileIO`, from before the modules are loaded that make classes of their own of that.
    """

    watcher: ClassVar[Files | None] = None

    def __init__(self, file: Any, mode: str = "r", closefd: bool = True, opener: Any = None) -> None:
        self._path = self.watcher.below(file) if self.watcher and set(mode) & set("wax+") else ""
        by_name = self._path and not isinstance(file, int)
        super().__init__(file, mode, closefd, opener or (_as_usual if by_name else None))
        if self.watcher and self._path:
            self.watcher.opened(self.fileno(), self._path)

    def write(self, data: Any, /) -> int:
        if self.watcher and self._path:
            return self.watcher.write(self._path, data, super().write)
        return super().write(data)

    def close(self) -> None:
        if self.watcher and not self.closed:
            self.watcher.closed(self.fileno())
        super().close()


def _as_usual(path: str, flags: int) -> int:
    return os.open(path, flags, 0o666)


# ---- HTTP ----------------------------------------------------------------------------------------------------------


def watch_http(upsetter: Upsetter) -> None:
    """Replace the two functions through which every request of httpx goes."""
    send, send_async = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request

    def handle(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        manner = upsetter.reach(_named(request))
        _before(request, manner)
        if manner == "429":
            return httpx.Response(429)
        response = send(transport, request)
        if _is_whole(manner):
            response.read()
            response.close()
        elif manner:
            response.stream = _Torn(response.stream, manner)
        return _after(response, manner)

    async def handle_async(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        manner = upsetter.reach(_named(request))
        _before(request, manner)
        if manner == "429":
            return httpx.Response(429)
        response = await send_async(transport, request)
        if _is_whole(manner):
            await response.aread()
            await response.aclose()
        elif manner:
            response.stream = _Torn(response.stream, manner)
        return _after(response, manner)

    httpx.HTTPTransport.handle_request = handle  # type: ignore[assignment,method-assign]
    httpx.AsyncHTTPTransport.handle_async_request = handle_async  # type: ignore[assignment,method-assign]


def _named(request: httpx.Request) -> str:
    return f"{request.method} {_BY_CHANCE.sub('*', request.url.path)}"


def _before(request: httpx.Request, manner: str) -> None:
    if manner in ("before", "cut-before"):
        die()
    if manner == "refused":
        raise httpx.ConnectError("refused on purpose", request=request)


def _is_whole(manner: str) -> bool:
    """Whether the server has answered before anything goes wrong."""
    return manner in ("after", "cut-after", "lost", "500")


def _after(response: httpx.Response, manner: str) -> httpx.Response:
    if manner in ("after", "cut-after"):
        die()
    if manner == "lost":
        raise httpx.ReadError("lost on purpose")
    return httpx.Response(500) if manner == "500" else response


class _Torn(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Half of the first bytes, and then the process dies or the line breaks."""

    def __init__(self, stream: Any, manner: str) -> None:
        self._stream = stream
        self._manner = manner

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            yield chunk[: len(chunk) // 2]
            break
        self._break()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk[: len(chunk) // 2]
            break
        self._break()

    def _break(self) -> NoReturn:
        if self._manner != "torn":
            die()
        raise httpx.ReadError("torn on purpose")

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()
