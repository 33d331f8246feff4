"""Templates that want out, or want everything: each is refused, and told so in few words."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from jinja2.exceptions import TemplateError
from test_sandbox import prompt_of, rendered

from runner import sandbox
from runner.errors import InvalidDocuments, RunnerError
from runner.model import Selector
from runner.prompt import compile_where, template_problems
from runner.sandbox import limited_memory, rationed, watched
from runner.spec import Input, Place, Spec, Template

MOST_WORDS = 2_500
"""Characters of any refusal: a template must not choose how much a terminal or a log has to take."""

ADVISORIES = {
    "CVE-2016-10745 str.format": "{{ '{0.__class__.__mro__}'.format(row) }}",
    "CVE-2016-10745 str.format, by a variable": "{% set f = '{0.__class__}' %}{{ f.format(row) }}",
    "CVE-2019-8341 from_string": "{{ self._environment.from_string('{{ 1 }}') }}",
    "CVE-2019-10906 str.format_map": "{{ '{x.__class__}'.format_map(row) }}",
    "CVE-2020-28493 urlize": "{{ ('a@' ~ 'a.' * 50000)|urlize }}",
    "CVE-2024-22195 xmlattr, keys with spaces": "{{ {'a onclick': 1}|xmlattr }}",
    "CVE-2024-34064 xmlattr, keys with slashes": "{{ {'a/onclick=': 1}|xmlattr }}",
    "CVE-2024-56201 a file's name as code": "{% include \"a'''\\n__import__('os').abort()#.j2\" %}",
    "CVE-2024-56326 str.format that a filter calls": "{{ ['{0.__class__}']|map('format', row)|map('upper')|map('x') }}",
    "CVE-2024-56326 str.format kept for later": "{% set f = namespace(a='{0.__class__}'.format) %}{{ f.a(row) }}",
    "CVE-2025-27516 attr": "{{ ''|attr('format')('{0.__class__}') }}",
    "CVE-2025-27516 attr by map": "{{ ['']|map('attr', 'format')|first }}",
}

REFUSED_BY_CONTRACT = {
    "random": ["{{ [1]|random }}", "{{ lipsum(1) }}", "{{ range(9)|shuffle }}"],
    "time": ["{{ now() }}", "{{ datetime }}", "{% now 'utc' %}", "{{ time }}"],
    "environment": [
        "{{ environ }}",
        "{{ os }}",
        "{{ config }}",
        "{{ request }}",
        "{{ g }}",
        "{{ get_flashed_messages }}",
    ],
    "runtime": ["{{ context }}", "{{ environment }}", "{{ resolve }}", "{{ undefined }}", "{{ cond_expr_undefined }}"],
    "code": ["{{ eval('1') }}", "{{ exec }}", "{{ open('a') }}", "{{ __import__('os') }}", "{{ getattr(row, 'a') }}"],
    "statements": ["{% do row %}", "{% debug %}", "{% trans %}{% endtrans %}", "{% continue %}", "{% autoescape 1 %}"],
}

NAMES = (
    *("__class__", "__base__", "__mro__", "__subclasses__", "__init__", "__globals__", "__dict__", "__getattribute__"),
    *("__reduce_ex__", "__builtins__", "__code__", "__self__", "__func__", "__wrapped__", "__module__", "__doc__"),
    *("mro", "gi_frame", "gi_code", "cr_frame", "ag_frame", "f_globals", "f_back", "tb_frame", "func_globals"),
    *("_fail_with_undefined_error", "_undefined_hint", "_Namespace__attrs", "_TemplateReference__context", "_iterator"),
    *(
        "format_map",
        "encode",
        "translate",
        "maketrans",
        "expandtabs",
        "from_bytes",
        "fromkeys",
        "setdefault",
        "environ",
    ),
)

SPELLINGS: dict[str, Callable[[str], str]] = {
    "dot": lambda name: f".{name}",
    "brackets": lambda name: f"['{name}']",
    "joined while compiling": lambda name: f"['{name[:3]}' '{name[3:]}']",
    "joined with ~": lambda name: f"['{name[:3]}' ~ '{name[3:]}']",
    "joined with +": lambda name: f"['{name[:3]}' + '{name[3:]}']",
    "joined by a filter": lambda name: f"[['{name[:3]}', '{name[3:]}']|join]",
    "joined by a method": lambda name: f"[''.join(['{name[:3]}', '{name[3:]}'])]",
    "percent": lambda name: f"['%s%s' % ('{name[:3]}', '{name[3:]}')]",
    "braces": lambda name: f"['{{}}{{}}'.format('{name[:3]}', '{name[3:]}')]",
    "reversed": lambda name: f"['{name[::-1]}'|reverse]",
    "sliced": lambda name: f"['{name[::-1]}'[::-1]]",
    "lowered": lambda name: f"['{name.upper()}'|lower]" if name == name.lower() else f"['{name}']",
    "replaced": lambda name: f"['{name.replace('_', '-')}'|replace('-', '_')]",
    "hex": lambda name: "['" + "".join(f"\\x{ord(char):02x}" for char in name) + "']",
    "octal": lambda name: "['" + "".join(f"\\{ord(char):03o}" for char in name) + "']",
    "unicode": lambda name: "['" + "".join(f"\\u{ord(char):04x}" for char in name) + "']",
    "characters by number": lambda name: "['" + "%c" * len(name) + f"' % {tuple(map(ord, name))}]",
    "compatibility letters": lambda name: "." + "".join(chr(ord(c) + 0xFEE0) if c.islower() else c for c in name),
    "attr": lambda name: f"|attr('{name}')",
    "map": lambda name: f"|list|map('attr', '{name}')|list",
}
"""Ways to spell an attribute behind an object."""

OBJECTS = {
    "text": "''",
    "number": "(1)",
    "fraction": "1.5",
    "truth": "true",
    "nothing": "none",
    "list": "[1]",
    "tuple": "(1, 2)",
    "mapping": "{'a': 1}",
    "range": "range(2)",
    "row": "row",
    "cell": "row.x",
    "vars": "vars",
    "name": "name",
    "function": "range",
    "method": "row.x.upper",
    "namespace": "namespace(a=1)",
    "markup": "('x'|e)",
    "missing": "row.zz",
    "unknown": "zz",
    "self": "self",
    "macro": "mac",
    "module": "mod",
    "loop": "loop",
    "cycle": "loop.cycle",
    "caller": "caller",
    "pair": "([{'k': 1}]|groupby('k')|first)",
}
_AROUND = (
    '{% import "module.j2" as mod %}{% macro mac() %}{% for i in [1] %}OUT{% endfor %}{% endmacro %}'
    "{% macro calls() %}{{ caller() }}{% endmacro %}"
    "{% call calls() %}{% for i in [1] %}OUT{% endfor %}{% endcall %}"
)


def refusal(source: str) -> str:
    """Why ``source`` is refused; what it rendered fails the test."""
    try:
        text = rendered(source)
    except InvalidDocuments as error:
        assert all(len(one.message) + len(one.hint) < MOST_WORDS for one in error.problems), source[:200]
        return error.problems[0].message
    except RunnerError as error:
        assert len(error.message) + len(error.hint) < MOST_WORDS, source[:200]
        return error.message
    pytest.fail(f"{source[:200]} became {text[:200]!r}")


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_what_jinja_had_to_mend(advisory: str) -> None:
    """The ways out of Jinja's own advisories are closed here twice: by its version, and by what there is to name."""
    refusal(ADVISORIES[advisory])


@pytest.mark.parametrize("kind", REFUSED_BY_CONTRACT)
def test_what_is_not_there(kind: str) -> None:
    """Nothing random, timed, or of the process; no statement but those that make text."""
    for source in REFUSED_BY_CONTRACT[kind]:
        refusal(source)


def test_a_list_of_what_jinja_gives_and_this_does_not() -> None:
    """Every global of Jinja's own is refused but the three that are allowed: a new version adds none."""
    from jinja2.defaults import DEFAULT_NAMESPACE

    for name in DEFAULT_NAMESPACE.keys() - sandbox.FUNCTIONS:
        refusal(f"{{{{ {name} }}}}")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_reaches_an_attribute(spelling: str) -> None:
    """However a name is put together, what it names is looked for in the same few places."""
    for name, (_, thing) in zip(NAMES, itertools.cycle((("text", "row.x"), ("list", "[row]"))), strict=False):
        refusal(f"{{{{ {thing}{SPELLINGS[spelling](name)} }}}}")


@pytest.mark.parametrize("kind", OBJECTS)
def test_no_object_has_a_way_out(kind: str) -> None:
    """Whatever a template can hold, macros, loops and modules too, none of its attributes leads anywhere."""
    for name, spelling in zip(NAMES, itertools.cycle(("dot", "brackets", "reversed")), strict=False):
        reach = f"{{{{ {OBJECTS[kind]}{SPELLINGS[spelling](name)} }}}}"
        refusal(_AROUND.replace("OUT", reach) + "{{ mac() }}")


@pytest.mark.parametrize(
    "thing", [print, eval, dict.fromkeys, type, lambda: 1, str.format, partial(print), Path("a").exists]
)
def test_a_second_wall(thing: object) -> None:
    """Should a way to some object of the process ever be found, it is still not called, and none of it is reached."""
    for use in ("thing()", "thing('{0.__class__}', 1)", "[1]|map(thing)|list", "thing.__call__", "thing['__self__']"):
        template = sandbox.Sandbox({}, {"thing": thing}).from_string(f"{{{{ {use} }}}}")
        with pytest.raises(TemplateError):
            sandbox.render(template, {})


@pytest.mark.parametrize("key", ["[1]", "{}", "namespace()", "none", "(1,)", "range(2)", "'a'.upper", "10**5000"])
def test_whatever_is_looked_for_in_a_row(key: str) -> None:
    """What is no name, or cannot even be looked up, is an error of the row like any other, without an address in it."""
    assert " at 0x" not in refusal(f"{{{{ row[{key}] }}}}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ row['x' * 15000000] }}",
        "{{ row.x['x' * 15000000] }}",
        "{{ vars['x' * 15000000] }}",
        "{{ 1|" + "x" * 200_000 + " }}",
        "{{ 1 is " + "x" * 200_000 + " }}",
        "{{ " + "x" * 200_000 + " }}",
        "{{ vars." + "x" * 200_000 + " }}",
        "{% " + "x" * 200_000 + " %}",
        "{% include '" + "x" * 900 + "' %}",
    ],
)
def test_refusals_are_short(source: str) -> None:
    """What is not there is named in part only, and no long name is compared with others to make a hint."""
    refusal(source)


def spec_of(source: str, *, where: str | None = None, **vars_: int) -> Spec:
    place = Place("a.yaml")
    template = None if where is None else Template(where, place)
    given = Input("r.csv", where=template)
    return Spec("a", place, "demo", Selector(id="m"), given, text=Template(source, place), vars=vars_)


def test_mistakes_by_the_thousand() -> None:
    """Thousands of misspelt names, each near thousands of others: a hundred are told, and soon."""
    spec = spec_of("".join(f"{{{{ vars.vaar{n} }}}}" for n in range(2_400)), **{f"var{n}": n for n in range(4_000)})
    found = template_problems(spec, str)
    assert 1 <= len(found) <= 101


@pytest.mark.parametrize(
    "where",
    [
        "row.__class__",
        "''['__class__']",
        "range(10**9)|list",
        "'a' * 10**9",
        "9**9**9**9**9",
        "row|attr('x')",
        "self.a()",
        "loop",
        "lipsum",
        "{{ row.x }}",
        "row.x %}{% include 'a' %}{%",
        "row.x) or (1",
        "(" * 400 + "1" + ")" * 400,
        "not " * 5_000 + "1",
    ],
)
def test_an_expression_is_a_template_too(where: str) -> None:
    """`where` has the sandbox's bounds, and cannot become anything but one expression."""
    with watched(), limited_memory(), pytest.raises(RunnerError):
        keeps = compile_where(spec_of("x", where=where))
        assert keeps is not None
        keeps({"x": "abc"}, 1)


def test_letters_that_python_takes_for_others() -> None:
    """Python folds compatibility letters in names of variables: a template can only confuse itself with that."""
    assert rendered("{% set \uff52ow = {'x': 'mine'} %}{{ row.x }}") in ("abc", "mine")
    refusal("{{ \uff52ow.x }}")


# All together


def slow(seconds: float) -> str:
    """A template that takes some seconds of processor time, give or take a few times."""
    return f"{{% for i in range({int(seconds * 4000)}) %}}{{% for j in range(1000) %}}{{% endfor %}}{{% endfor %}}"


def test_rows_that_each_stay_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand rows of 1.9 s are half an hour: together they are given as much as five, and those of the next spec,
    which come in the same command, are not even begun."""
    monkeypatch.setattr(sandbox, "RATION", 1.0)
    with rationed(), watched(), limited_memory():
        prompt = prompt_of(slow(0.4) + "{{ row.x }}")
        with pytest.raises(RunnerError, match="took all the time"):
            for number in range(1, 1_000):
                prompt.fill({"x": "abc"}, number)
        with pytest.raises(InvalidDocuments) as caught:
            prompt_of("{{ row.x|upper }} ")
        assert "took all the time" in caught.value.problems[0].message
    assert rendered("{{ row.x|upper }}") == "ABC"


def test_honest_rows_earn_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows take longer than any fixed limit: each brings the time that it may take."""
    monkeypatch.setattr(sandbox, "RATION", 0.1)
    began = time.process_time()
    with rationed(), watched(), limited_memory():
        prompt = prompt_of("{% for word in row.words %}{{ word|upper }} {% endfor %}")
        while time.process_time() - began < 0.7:
            prompt.fill({"words": ["several", "words"] * 20}, 1)
