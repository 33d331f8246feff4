"""The sandbox: hostile templates are refused or harmless, within the bounds on time and memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import SecurityError

from runner.bounds import filters, percent, tests, text_of
from runner.errors import RunnerError
from runner.model import Selector
from runner.prompt import Prompt, compile_prompt
from runner.sandbox import attempt, limited_memory, watched
from runner.spec import Input, Place, Spec, Template

ROW = {"x": "abc", "items": [1, 2], "m": {"k": None}}
FILES = {
    "again.j2": '{% include "again.j2" %}',
    "parent.j2": '{% extends "parent.j2" %}',
    "module.j2": "{% set _hidden = 1 %}{% set shown = 1 %}",
}


def load_template(name: str) -> str:
    try:
        return FILES[name]
    except KeyError:
        raise RunnerError(f"there is no template {name[:80]!r}") from None


def prompt_of(source: str) -> Prompt:
    spec = Spec("a", Place("a.yaml"), "demo", Selector(id="m"), Input("r.csv"), text=Template(source, Place("a.yaml")))
    return compile_prompt(spec, load=load_template, image=str)


def rendered(source: str, row: Mapping[str, Any] = ROW) -> str:
    prompt = prompt_of(source)
    with watched(), limited_memory():
        question = prompt.question(prompt.fill(row, 1))
    assert question.text is not None
    return question.text


def growing(step: str, start: str = "[1]", times: int = 60) -> str:
    """A template that takes ``step`` from ``ns.a`` to ``ns.a`` so many times."""
    loop = f"{{% for i in range({times}) %}}{{% set ns.a = {step} %}}{{% endfor %}}"
    return f"{{% set ns = namespace(a={start}) %}}{loop}"


BIG = "{% set big = 'x' * 15000000 %}"

ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ [''|string]|map('attr', '__class__')|list }}",
    "{{ ['']|map(attribute='__class__')|list }}",
    "{{ ['']|selectattr('__class__')|list }}",
    "{{ ['', '']|sort(attribute='__class__') }}",
    "{{ ['', '']|groupby('__class__') }}",
    "{{ ['']|sum(attribute='__class__') }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0[__class__]}'.format(row) }}",
    "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "{% set f = '{0.__class__}'.format %}{{ f('') }}",
    "{{ ['{0.__class__}'.format]|first }}",
    "{{ ('%s'|e).__html__ }}",
    "{{ ('{0.__class__}'|e).format(1) }}",
    "{{ row.x.upper.__self__ }}",
    "{{ vars.update({'a': 1}) }}",
    "{{ row.clear() }}",
    "{{ row['items'].append(3) }}",
    "{% set vars.a = 1 %}",
    "{{ namespace.__init__.__globals__ }}",
    "{% set n = namespace() %}{{ n.__class__ }}",
    "{% set n = namespace() %}{{ n._Namespace__attrs }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__ }}",
    "{% block b %}{{ self.b._context }}{% endblock %}",
    "{% block b %}{{ super.__self__ }}{% endblock %}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
    "{% macro m() %}{{ caller._func }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% for i in [1] %}{{ loop._iterator.gi_frame }}{% endfor %}",
    "{% for i in [1] %}{{ loop.cycle.__func__ }}{% endfor %}",
    '{% import "module.j2" as m %}{{ m.__name__ }}{{ m._body_stream }}',
    '{% import "module.j2" as m %}{{ m._hidden }}',
    '{% from "module.j2" import _hidden %}',
    "{{ range.__self__ }}",
    "{{ dict.mro() }}",
    "{{ dict.fromkeys('a') }}",
    "{{ lipsum() }}",
    "{{ cycler('a') }}",
    "{{ joiner() }}",
    "{{ environment }}",
    "{{ context }}",
    "{{ __builtins__ }}",
    "{{ settle(1) }}",
    "{{ [1, 2]|random }}",
    "{{ 'a' is sameas 'a' }}",
    "{{ row is callable }}",
    "{% macro m() %}{{ varargs }}{% endmacro %}{{ m(1) }}",
    "{% autoescape true %}{% endautoescape %}",
    "{% include row.x %}",
    "{% debug %}",
    "{{ row.x() }}",
    "{{ (1).__add__(1) }}",
    "{{ 'a'.encode() }}",
]

ADDRESSES = [
    "{{ 'a'.upper }}",
    "{{ 'a'.upper ~ '' }}",
    "{{ ['a'.upper] }}",
    "{{ ('a'.upper, 1) }}",
    "{{ {'a': 'a'.upper} }}",
    "{{ dict(a='a'.upper) }}",
    "{{ 'a'.upper|string }}",
    "{{ 'a'.upper|upper }}",
    "{{ '%s' % 'a'.upper }}",
    "{{ '%s'|format('a'.upper) }}",
    "{{ '{}'.format('a'.upper) }}",
    "{{ 'a'.replace('a', 'b'.upper) }}",
    "{{ 'a'|replace('a', 'b'.upper) }}",
    "{{ ''|default('a'.upper, true) }}",
    "{{ ''.join(['a'.upper]) }}",
    "{{ 'a'.format }}",
    "{{ range }}",
    "{{ namespace() }}",
    "{{ self }}",
    "{% macro m() %}{% endmacro %}{{ m }}",
    "{% for i in [1] %}{{ loop }}{% endfor %}",
    '{% import "module.j2" as m %}{{ m }}',
    "{% set x %}{{ 'a'.upper }}{% endset %}{{ x }}",
]

LARGE = [
    "{{ 'a' * 10**9 }}",
    "{{ [1] * 10**9 }}",
    "{{ 10**(10**10) }}",
    "{{ (-10)**(10**9) }}",
    "{{ 2**-100000000000 }}",
    "{{ 9**9**9**9**9 }}",
    "{{ 'x'.ljust(10**9) }}",
    "{{ 'x'.center(10**9) }}",
    "{{ '1'.zfill(10**9) }}",
    "{{ 'x'|center(10**9) }}",
    "{{ 'a\tb'.expandtabs(10**9) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%.1000000000f' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '%(a)1000000000d' % {'a': 1} }}",
    "{{ '%(a(b)c)1000000000d' % {'a(b)c': 1} }}",
    "{{ '%%%(100%)1000000000d' % {'100%': 1} }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 10**9) }}",
    "{{ '{:{}{}{}{}{}}'.format(1, 9, 9, 9, 9, 9) }}",
    "{{ 5|round(-1000000000) }}",
    "{{ 5.5|round(10000000, 'ceil') }}",
    "{{ [1]|slice(10**9)|list }}",
    "{{ [1]|batch(10**9, 0)|list }}",
    "{{ range(10**9)|list }}",
    "{{ ('a\n' * 5000000)|indent(9999) }}",
    "{{ ('a' * 15000000)|replace('', 'b' * 15000000) }}",
    "{{ ('a' * 15000000).replace('', 'b' * 15000000) }}",
    "{{ ('b' * 15000000).join('a' * 1000000) }}",
    "{{ ('a' * 1000000)|join('b' * 15000000) }}",
    "{{ ([[1]] * 1000)|sum(start=[]) }}",
    "{{ 0x" + "f" * 200_000 + " // 3 }}",
    "{{ " + "9" * 200_000 + " }}",
    "{{ ('f' * 15000000)|int(base=16) // 3 }}",
    BIG + "{{ big ~ big }}",
    BIG + "{{ big + big }}",
    BIG + "{% for i in range(100000) %}{{ big }}{% endfor %}",
    BIG + "{{ big.rfind('y' ~ 'x' * 7000000) }}",
    BIG + "{{ big.strip('y' ~ 'x' * 7000000) }}",
    BIG + "{{ big|trim('y' ~ 'x' * 7000000) }}",
    BIG + "{{ (big ~ 'a') in [big ~ 'b'] * 1000000 }}",
    growing("ns.a ~ ns.a", "'a'"),
    growing("ns.a * 10", "10", 100_000),
    growing("(ns.a,)", times=100_000),
]

ENDLESS = [
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    '{% include "again.j2" %}',
    '{% extends "parent.j2" %}',
    "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "{{ " + "[" * 300 + "]" * 300 + " }}",
    "{{ " + "not " * 50_000 + "1 }}",
    "{{ " + "1 + " * 50_000 + "1 }}",
    "{{ " + "1 ~ " * 50_000 + "1 }}",
    "{{ " + "1 < " * 30_000 + "1 }}",
    "{{ 1" + "|string" * 20_000 + " }}",
    "{{ row" + ".x" * 50_000 + " }}",
    "{% for i in [1] %}" * 60 + "{% endfor %}" * 60,
    "{% if 1 %}" * 150 + "{% endif %}" * 150,
    "{% if 0 %}" + "{% elif 0 %}" * 15_000 + "{% endif %}",
    "{{ row.x|upper }}" * 15_000,
    "x" * 300_000,
]

NASTIEST = {
    "nested loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "nested loops with output": "{% for i in range(100000) %}{% for j in range(100000) %}xx{% endfor %}{% endfor %}",
    "equal graphs": growing("[ns.a, ns.a]") + "{% set a = ns.a %}" + growing("[ns.a, ns.a]") + "{{ a == ns.a }}",
    "a hash of a graph": growing("(ns.a, ns.a)") + "{{ {ns.a: 1} }}",
    "a graph as JSON": growing("dict(x=ns.a, y=ns.a)") + "{{ ns.a|tojson }}",
    "a graph by a filter": growing("[1]|batch(999, ns.a)|list") + "{{ ns.a }}",
    "doubling lists": growing("ns.a + ns.a"),
    "large texts": "{% macro m(n) %}{% set a = '\U0001f600' * 15000000 %}{{ m(a) }}{% endmacro %}{{ m(1) }}",
    "many large texts": "".join(f"{{% set a{n} = '\U0001f600' * 15000000 %}}" for n in range(200)),
    "a text of words": "{{ ('\u00e9 ' * 7000000)|wordwrap(1)|length }}",
}


@pytest.mark.parametrize("source", [*ESCAPES, *ADDRESSES, *LARGE, *ENDLESS])
def test_what_a_template_may_not_do_is_refused(source: str) -> None:
    """A way out, an address in the text, a value too large, a recursion: each is an expected error."""
    with pytest.raises(RunnerError):
        rendered(source)


@pytest.mark.parametrize("name", NASTIEST)
def test_the_nastiest_end_in_time_and_memory(name: str) -> None:
    """Whatever runs away in a process of its own is stopped within 20 s and 1 GB, by an expected error."""
    script = (
        "import resource, sys, test_sandbox\n"
        "from runner.errors import RunnerError\n"
        "try:\n    test_sandbox.rendered(test_sandbox.NASTIEST[sys.argv[1]])\n"
        "except RunnerError as error:\n    print(error.message)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", script, name]
    paths = {"PYTHONPATH": f"{here}:{here.parent}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=os.environ | paths)
    message, peak = done.stdout.splitlines()
    assert message.startswith("a: ")
    assert int(peak) < 1_000_000  # KiB


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ 'a'.upper() ~ none ~ 1 }}", "A1"),
        ("{{ [1, 2]|map('string')|join('-') }} {{ [1, 2]|map('string') }}", "1-2 ['1', '2']"),
        ("{{ row|tojson }}", '{"items": [1, 2], "m": {"k": null}, "x": "abc"}'),
        ("{{ {'a': '<é>'}|tojson }} {{ '<'|e }} {{ '<'|safe }}", '{"a": "<é>"} &lt; <'),
        (
            "{{ '%s: %05.1f%%' % ('x', 2) }} {{ '%s'|format(1) }} {{ '{:,}{a}'.format(1000, a=1) }}",
            "x: 002.0% 1 1,0001",
        ),
        ("{{ 'a-b'.split('-')|join('+') }} {{ 'x'.join(['a', 'b']) }} {{ 'aa'.replace('a', 'b', 1) }}", "a+b axb ba"),
        (
            "{% for g in [{'k': 1}, {'k': 2}]|groupby('k') %}{{ g.grouper }}: {{ g.list|length }} {% endfor %}",
            "1: 1 2: 1 ",
        ),
        (
            "{% for i in [3, 4] %}{{ loop.index }}/{{ loop.length }}{{ loop.cycle('a', 'b') }} {% endfor %}",
            "1/2a 2/2b ",
        ),
        ("{% set n = namespace(i=0) %}{% for i in [1, 2] %}{% set n.i = n.i + i %}{% endfor %}{{ n.i }}", "3"),
        ("{% macro m(a) %}<{{ a }}{{ caller() }}>{% endmacro %}{% call m(1) %}x{% endcall %}", "<1x>"),
        ("{% filter upper %}{{ row.x }}{% endfilter %}{% set t %}y{% endset %}{{ t }}", "ABCy"),
        ("{{ row.x[1:] }}{{ row.x[0] }}{{ row['items'][-1] }}{{ row.m.k is none }}", "bca2True"),
        ("{% if row.z is defined %}z{% else %}{{ row.z|default('none') }}{% endif %}", "none"),
        (
            "{{ ['b', 'a']|sort|first }}{{ [1, 2]|sum }}{{ [3, 4]|max }}{{ 'a b'|wordcount }}{{ 'ab'|reverse }}",
            "a342ba",
        ),
        (
            "{{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 10 }} {{ 2 * 'ab' }} {{ [1] + [2] }} {{ [0] * 2 }}",
            "3 3 1024 abab [1, 2] [0, 0]",
        ),
        ('{% import "module.j2" as m %}{{ m.shown }}', "1"),
    ],
)
def test_what_a_template_may_do(source: str, text: str) -> None:
    """The everyday parts of Jinja work."""
    assert rendered(source) == text


def test_filters_and_tests_are_an_allow_list() -> None:
    """Nothing random, nothing that reaches attributes by name, nothing for browsers only; a new Jinja adds nothing."""
    assert not filters.keys() & {"attr", "random", "pprint", "urlize", "xmlattr"}
    assert not tests.keys() & {"callable", "sameas", "escaped"}
    assert (len(filters), len(tests)) == (49, 36)


def test_a_format_is_refused_before_it_is_built() -> None:
    """A width hidden behind a key with parentheses does not have to meet the memory's limit."""
    for pattern in ("%(a(b)c)99999d", "%(a)%%%99999d", "%-#099999d"):
        with pytest.raises(SecurityError):
            percent(pattern, {"a(b)c": 1, "a": 1})


def test_time_between_renderings_is_not_counted() -> None:
    """The timer stops a rendering, and nothing that happens outside of one."""
    with watched():
        sum(1 for _ in range(40_000_000))
    with watched(), pytest.raises(SecurityError, match="2 s"):
        attempt(lambda: sum(1 for _ in range(10**12)))


def test_the_process_is_left_as_it_was() -> None:
    """Whoever enters first and leaves last, by turns too, the timer, its signal and the limit are gone at the end."""
    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)
    one, two = (watched(), limited_memory()), (watched(), limited_memory())
    for guard in (*one, *two):
        guard.__enter__()
    assert resource.getrlimit(resource.RLIMIT_AS) != before[0]
    for guard in one:
        guard.__exit__(None, None, None)
    assert signal.getitimer(signal.ITIMER_PROF)[1] > 0
    for guard in two:
        guard.__exit__(None, None, None)
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)) == before


def test_a_value_counts_as_often_as_it_is_held() -> None:
    """Sixty lists that each hold the one before twice have no text, though they take no room."""
    value: Any = [1]
    for _ in range(60):
        value = [value, value]
    with watched(), pytest.raises(SecurityError):
        attempt(text_of, value)
