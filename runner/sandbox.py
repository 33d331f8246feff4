"""Jinja for templates that nobody has vouched for: what they may name and call, for how long, in how much memory.

Everything is an allow-list: a template reaches the data it is given, the methods named here, the filters of
:mod:`runner.bounds`, and nothing else.  Nothing random, timed or dependent on memory addresses can be reached, and
nothing is carried from one rendering to the next, so the same data always gives the same text.

Three deviations from Jinja, all towards text for a model rather than for a browser: None becomes an empty string where
text is made of it; `tojson` writes plain JSON, with nothing escaped for HTML; filters that give a lazy sequence in
Jinja (`map`, `select`, `batch` …) give a list.
"""

from __future__ import annotations

import math
import operator
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import BuiltinMethodType, FrameType, MethodType
from typing import Any, TypeVar

from jinja2 import BaseLoader, Template, Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.environment import TemplateModule
from jinja2.exceptions import SecurityError, TemplateNotFound
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, TemplateReference
from jinja2.sandbox import MAX_RANGE, ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Namespace

from runner import bounds
from runner.bounds import refuse, settle, words

T = TypeVar("T")

SECONDS = 2.0
"""Processor time that one rendering may take."""
RATION = 6.0
"""Processor time that all renderings of one command may take together, beside what each of them brings along."""
EACH, CHARACTER = 0.01, 5e-8
"""What one brings along: so much by itself, and for each character of its text.  No honest template takes longer."""
MEMORY = 768 * 2**20
"""Bytes that the process may grow by while templates are rendered."""

_TEXT_METHODS = words(
    "capitalize casefold center count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric",
    "isspace istitle isupper ljust lower lstrip partition removeprefix removesuffix rfind rjust rpartition rsplit",
    "rstrip split splitlines startswith strip swapcase title upper zfill",
)
_OWN_METHODS: Mapping[str, Callable[..., Any]] = {
    "format": bounds.braces,
    "join": lambda separator, items: bounds.join(items, separator),
    "replace": bounds.replace,
}
_NARROW = words("center ljust rjust zfill")
_SHORT = words("lstrip rfind rpartition rsplit rstrip strip")
_ATTRIBUTES: Mapping[type, frozenset[str]] = {
    LoopContext: words(
        "index index0 revindex revindex0 first last length depth depth0 previtem nextitem cycle changed"
    ),
    BlockReference: words("super"),
    list: words("count index"),
    tuple: words("count index grouper list"),  # the last two: what `groupby` gives
}


class _Code(CodeGenerator):
    """Jinja's code generator, with a check around each step that builds a value without a call.

    Nothing is computed while compiling: constants too are left to the rendering, where the bounds are.
    """

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        if isinstance(node, nodes.TemplateData):
            return super()._output_child_to_const(node, frame, finalize)
        raise nodes.Impossible

    def _settled(self, visit: Callable[[Any, Frame], None], node: nodes.Expr, frame: Frame) -> None:
        self.write("environment.settle(")
        visit(node, frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._settled(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self._settled(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "load":
            self._settled(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.join((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Fresh(Template):
    """A template whose imports start anew in every rendering, so that no row leaves something for the next."""

    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:  # noqa: ARG002
        return self.make_module()


class _Sources(BaseLoader):
    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources

    def get_source(self, environment: Any, template: str) -> tuple[str, str, None]:  # noqa: ARG002
        try:
            return self._sources[template], template, None
        except KeyError:
            raise TemplateNotFound(template) from None


def _namespace(**values: Any) -> Namespace:
    return Namespace(**values)


def _dict(**values: Any) -> dict[str, Any]:
    bounds.weigh(values)
    return values


def _range(*bounds: int) -> range:
    try:
        return safe_range(*bounds)
    except OverflowError:
        refuse(f"a range has more than {MAX_RANGE:,} numbers")


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {"namespace": _namespace, "dict": _dict, "range": _range}
FUNCTIONS = frozenset(_FUNCTIONS)
"""The functions that every template knows."""


class Sandbox(ImmutableSandboxedEnvironment):
    """``sources``: every template there is, by name.  ``variables``: what they all know, beside ``row``."""

    code_generator_class = _Code
    template_class = _Fresh
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    concat = staticmethod(bounds.concat)
    settle = staticmethod(settle)
    join = staticmethod(bounds.join)

    def __init__(self, sources: Mapping[str, str], variables: Mapping[str, Any]) -> None:
        super().__init__(
            undefined=bounds.Absent,
            finalize=bounds.text_of,
            loader=_Sources(sources),
            optimized=False,
            auto_reload=False,
            cache_size=-1,
        )
        self.globals.clear()
        self.globals.update(_FUNCTIONS, **variables)
        self.filters = dict(bounds.filters)
        self.tests = dict(bounds.tests)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if isinstance(obj, Undefined):
            str(obj)  # raises what is missing
        return self._attribute(obj, attribute)

    def _attribute(self, obj: Any, name: str) -> Any:
        kind = tuple if isinstance(obj, tuple) else type(obj)
        try:
            if kind is str and name in _OWN_METHODS:
                return partial(_OWN_METHODS[name], obj)
            if (kind is str and name in _TEXT_METHODS) or name in _ATTRIBUTES.get(kind, ()):
                return getattr(obj, name)
            if not name.startswith("_"):
                if kind is Namespace:
                    return getattr(obj, name)
                if kind is TemplateModule:
                    return vars(obj)[name]
                if kind is TemplateReference:
                    return obj[name]
        except (AttributeError, LookupError):
            pass
        return self.undefined(f"a {kind.__name__} has no {name!r} that a template may use", obj=obj, name=name)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Undefined):
            str(obj)  # raises what is missing
        if isinstance(obj, dict | list | tuple | str | range):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        if isinstance(argument, str) and not isinstance(obj, dict):
            return self.getattr(obj, argument)
        return self.undefined(obj=obj, name=argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(__obj, BuiltinMethodType | partial) and _is_of_a_value(__obj):
            return settle(__context.call(_method(__obj, args, kwargs), *args, **kwargs))
        loops = isinstance(__obj, MethodType) and isinstance(__obj.__self__, LoopContext)
        if loops or isinstance(__obj, _CALLABLE) or any(__obj is function for function in _FUNCTIONS.values()):
            return __context.call(__obj, *args, **kwargs)
        return refuse(f"a {type(__obj).__name__} cannot be called")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002
        if operator == "%" and isinstance(left, str):
            return settle(bounds.percent(left, right))
        return settle(_OPERATORS[operator](left, right))


_CALLABLE = (Macro, BlockReference, LoopContext, Undefined)
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "*": bounds.product,
    "**": bounds.power,
    "%": operator.mod,
}


def _is_of_a_value(method: Any) -> bool:
    """Whether it is a method of a text or a list.  Python's own functions, `open` say, are of the same type."""
    if isinstance(method, partial):
        return method.func in _OWN_METHODS.values()
    return isinstance(method.__self__, str | list | tuple)


def _method(method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """``method`` of a text or a list, once its arguments are known to be harmless to it."""
    bounds.given((*args, *kwargs.values()))
    if isinstance(method, BuiltinMethodType):
        if method.__name__ in _NARROW:
            bounds.narrow(args)
        elif method.__name__ in _SHORT:
            bounds.short(args)
    return method


# Time and memory


class _TooSlow(BaseException):
    """Raised by the timer.  Not an Exception, so that nothing on the way takes it for its own."""


class Allowance:
    """Processor time for many attempts together: ``seconds``, and what each of them brings along.

    Without it, a thousand attempts that each stay just below the limit on one would take half an hour.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self.left = seconds


class _Ration:
    current = Allowance()
    """That of attempts which are given no other."""


@contextmanager
def rationed() -> Iterator[None]:
    """Let all templates that are compiled and rendered in this block, a whole command, share RATION."""
    before, _Ration.current = _Ration.current, Allowance(RATION)
    try:
        yield
    finally:
        _Ration.current = before


_USED_UP = "what was tried before it took all the time that there is"


def attempt(step: Callable[..., T], *args: Any, allowance: Allowance | None = None, worth: float = EACH) -> T:
    """``step(*args)``: what may run away, and is stopped while :func:`watched` and :func:`limited_memory` are on.

    Its time is taken from ``allowance``, to which it adds the seconds that it is ``worth``.  Raises SecurityError for
    more time, memory or recursion than is given.
    """
    allowance = allowance or _Ration.current
    if allowance.left <= 0:
        raise SecurityError(_USED_UP)
    allowance.left += worth
    try:
        return step(*args)
    except _TooSlow as slow:
        raise SecurityError(f"{slow}") from None
    except (MemoryError, SystemError):  # the latter where CPython had no room left to raise the former
        raise SecurityError("it takes too much memory") from None
    except RecursionError:
        raise SecurityError("it is nested too deeply, or calls itself without an end") from None


def render(template: Template, variables: Mapping[str, Any], allowance: Allowance | None = None) -> str:
    """The text of ``template``.  Raises what Jinja raises, and what :func:`attempt` does."""
    text = attempt(_render, template, variables, allowance=allowance)
    (allowance or _Ration.current).left += len(text) * CHARACTER
    return text


def _render(template: Template, variables: Mapping[str, Any]) -> str:
    return bounds.concat(template.root_render_func(template.new_context(dict(variables))))


class _Guard:
    """A setting of the process that the first to enter makes, and the last to leave takes back.

    Generators that are read by turns do not leave in the order in which they entered.
    """

    def __init__(self, begin: Callable[[], Callable[[], object]]) -> None:
        self._begin = begin
        self._inside = 0
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._end = self._begin()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._end()


_LOOKS = 8
_PAUSE, _SOON = SECONDS / _LOOKS, 0.001


class _Clock:
    next_look = _PAUSE
    """What was left of the last pause: many short blocks are looked at as often as one that is as long as they all."""


def _start_timer() -> Callable[[], object]:
    seen: FrameType | None = None
    count = 0

    def look(_signal: int, frame: FrameType | None) -> None:
        nonlocal seen, count
        while frame is not None and frame.f_code is not attempt.__code__:
            frame = frame.f_back
        seen, count = frame, count + 1 if frame is not None and frame is seen else 0
        if frame is None:
            return
        allowance = frame.f_locals["allowance"] or _Ration.current
        allowance.left -= _PAUSE
        if count >= _LOOKS or allowance.left <= 0:
            seen = None
            raise _TooSlow(f"it takes more than {SECONDS:g} s" if count >= _LOOKS else _USED_UP)

    def stop() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        used = time.process_time() - began  # the timer itself tells what is left too coarsely
        _Clock.next_look = max((_Clock.next_look - used) % _PAUSE, _SOON)
        if threading.current_thread() is threading.main_thread():  # a forgotten generator may be closed elsewhere
            signal.signal(signal.SIGPROF, before)

    before, began = signal.signal(signal.SIGPROF, look), time.process_time()
    signal.setitimer(signal.ITIMER_PROF, _Clock.next_look, _PAUSE)
    return stop


def _limit_memory() -> Callable[[], object]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not Linux
        return lambda: None
    limit = pages * resource.getpagesize() + MEMORY
    if soft == resource.RLIM_INFINITY or limit < soft:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


_TIMER, _MEMORY = _Guard(_start_timer), _Guard(_limit_memory)


def watched() -> AbstractContextManager[None]:
    """Stop any :func:`attempt` in this block that takes more than SECONDS of processor time, or than is allowed it.

    One timer looks now and then whether it finds the same attempt again, so that a row costs nothing; what happens
    between attempts may take as long as it likes.  Only the main thread can be interrupted: elsewhere it does nothing.
    """
    return _TIMER if threading.current_thread() is threading.main_thread() else nullcontext()


def limited_memory() -> AbstractContextManager[None]:
    """Let the process grow by no more than MEMORY in this block.  Where there is no /proc, it does nothing."""
    return _MEMORY
