"""Prompts: templates compiled once, filled per row, and told apart from what cannot be filled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.errors import InvalidDocuments, Problem, RunnerError
from runner.model import Selector
from runner.prompt import Prompt, compile_prompt, compile_where, template_problems
from runner.provider import Message, Part, Question
from runner.spec import Input, MessageTemplate, PartTemplate, Place, Spec, Template

AT = Place("specs/a.yaml", 12, 9)


def a_spec(
    *sources: str, kind: str = "text", vars: Mapping[str, Any] | None = None, where: str | None = None, key: str = "id"
) -> Spec:
    """A spec with one user message per source, all written at ``AT``."""
    parts = [PartTemplate(kind, Template(source, AT)) for source in sources]
    expression = None if where is None else Template(where, AT)
    return Spec(
        name="a-spec",
        place=Place("specs/a.yaml"),
        provider="demo",
        model=Selector(id="m"),
        input=Input("rows.jsonl", key=key, where=expression),
        messages=tuple(MessageTemplate("user", (part,)) for part in parts),
        vars=vars or {},
    )


def files(texts: Mapping[str, str]) -> Callable[[str], str]:
    """A project that holds these templates and no others."""

    def load(name: str) -> str:
        if name not in texts:
            raise RunnerError(f"there is no file {name}")
        return texts[name]

    return load


def a_prompt(*sources: str, project: Mapping[str, str] | None = None, **spec: Any) -> Prompt:
    return compile_prompt(a_spec(*sources, **spec), load=files(project or {}), image=lambda path: f"data:{path}")


def filled(source: str, row: Mapping[str, Any], **spec: Any) -> str:
    """The text of a prompt of one part, for one row."""
    prompt = a_prompt(source, **spec)
    (message,) = prompt.question(prompt.fill(row, 1)).messages
    return message.parts[0].value


def refused(source: str, row: Mapping[str, Any], **spec: Any) -> RunnerError:
    with pytest.raises(RunnerError) as caught:
        filled(source, row, **spec)
    return caught.value


def test_constant_texts_are_in_the_shape_and_the_others_are_slots() -> None:
    """Only what looks at `row` is a slot; texts put back come out in the messages' order."""
    prompt = a_prompt("Be {{ vars.style }}.", "Q: {{ row.question }}", vars={"style": "brief"})
    assert prompt.slots == 1
    assert prompt.shape.messages == (
        Message("user", (Part("text", "Be brief."),)),
        Message("user", (Part("text", ""),)),
    )
    assert prompt.fill({"question": "why?"}, 1) == ("Q: why?",)
    assert prompt.question(("x",)).messages == (
        Message("user", (Part("text", "Be brief."),)),
        Message("user", (Part("text", "x"),)),
    )


def test_a_plain_text_is_a_question_of_its_own() -> None:
    """`text:` has no messages: the shape and the question are texts."""
    spec = Spec("a", AT, "demo", Selector(id="m"), Input("rows.csv"), text=Template("Once {{ row.x }}", AT))
    prompt = compile_prompt(spec, load=files({}), image=str)
    assert (prompt.shape.text, prompt.shape.messages) == ("", ())
    assert prompt.question(prompt.fill({"x": "upon"}, 1)) == Question(text="Once upon")


def test_a_text_to_embed_is_a_question_of_its_own() -> None:
    """`embed:` is neither messages nor a text to go on from."""
    spec = Spec("a", AT, "demo", Selector(id="m"), Input("rows.csv"), embed=Template("{{ row.x }}!", AT))
    prompt = compile_prompt(spec, load=files({}), image=str)
    assert prompt.shape == Question(embed="")
    assert prompt.question(prompt.fill({"x": "upon"}, 1)) == Question(embed="upon!")


@pytest.mark.parametrize(
    ("source", "columns"),
    [
        ("nothing", set()),
        ("{{ row.a }} {{ row['b'] }} {% if row.c is defined %}{{ row.d|upper }}{% endif %}", {"a", "b", "c", "d"}),
        ("{{ row }}", None),
        ("{{ row[vars.x] }}", None),
        ("{% for name in row %}{{ name }}{% endfor %}", None),
        ("{% set row = vars %}{{ row.a }}", None),
    ],
)
def test_columns_are_known_where_they_can_be(source: str, columns: set[str] | None) -> None:
    """The columns looked up by name; None where `row` is used in any other way."""
    assert a_prompt(source, vars={"x": "a"}).columns == columns


def test_a_column_may_have_any_name() -> None:
    """Columns come before the methods of a mapping, and both spellings reach them."""
    row = {"items": "i", "keys": "k", "get": "g", "a b": "s", "__class__": "c"}
    assert filled('{{ row.items }}{{ row["keys"] }}{{ row.get }}{{ row["a b"] }}{{ row.__class__ }}', row) == "ikgsc"
    assert filled("{{ row.items|upper }}{{ row['keys']|upper }}", row) == "IK"


@pytest.mark.parametrize("tail", ["", "{% if true %}{% endif %}"])
@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "True"), (7, "7"), (0.5, "0.5"), ([1, None], "[1, None]"), ({"a": "b"}, "{'a': 'b'}")],
)
def test_values_become_text(value: Any, text: str, tail: str) -> None:
    """None is nothing; all else is as Jinja has it, with and without Jinja."""
    assert filled("<{{ row.x }}>" + tail, {"x": value}) == f"<{text}>"


def test_a_missing_column_is_an_error_that_says_all() -> None:
    """Row, key, column, columns there are, the nearest, and the template's file and line."""
    for source in ("one\n{{ row.questoin }}", "one\n{{ row.questoin|upper }}"):
        error = refused(source, {"id": "q7", "question": "why?"})
        assert error.message == "row 1 (id 'q7'): there is no column 'questoin' among id, question"
        assert error.where == "specs/a.yaml:13:1"
        assert error.hint == "did you mean 'question'?"


def test_an_error_in_an_included_file_is_placed_there() -> None:
    """The line is the included file's, not the spec's."""
    error = refused('{% include "p/part.j2" %}', {}, project={"p/part.j2": "a\nb {{ row.x }}"}, key=None)
    assert (error.where, error.message) == ("p/part.j2:2:1", "row 1: there is no column 'x' among none")


def test_mapping_methods_are_explained() -> None:
    """`items` of a nested mapping is a key that is not there, and the hint names the filter."""
    assert "value|items" in refused("{{ row.m.items() }}", {"m": {"a": 1}}).hint
    assert filled("{% for k, v in row.m|items %}{{ k }}={{ v }} {% endfor %}", {"m": {"a": 1, "b": 2}}) == "a=1 b=2 "


@pytest.mark.parametrize("source", ["{{ row.x }}", "{{ row.x|trim }}"])
def test_text_that_is_no_unicode_is_refused(source: str) -> None:
    """A lone surrogate has no UTF-8, and no provider takes it."""
    assert "U+D800" in refused(source, {"x": "a\ud800"}).message


@pytest.mark.parametrize("source", ["{{ row.x }}", "{{ row.x|trim }}"])
def test_a_row_may_come_to_sixteen_megabytes(source: str) -> None:
    """Bytes count, not characters."""
    assert len(filled(source, {"x": "a" * 16_000_000})) == 16_000_000
    assert "16" in refused(source, {"x": "é" * 8_000_001}).message


def test_a_constant_prompt_that_fails_fails_at_once() -> None:
    """Without a row to blame, the spec is named."""
    assert refused("{{ 1 // 0 }}", {}).message == "a-spec: integer division or modulo by zero"


def test_templates_come_from_files_in_all_of_jinjas_ways() -> None:
    """Include, import and extend; every source in use is told, for the fingerprint."""
    project = {
        "base.j2": "<{% block body %}{% endblock %}>",
        "macros.j2": "{% macro shout(text) %}{{ text|upper }}{{ vars.mark }}{% endmacro %}",
        "part.j2": "{{ greeting }}",
    }
    source = (
        '{% extends "base.j2" %}{% from "macros.j2" import shout %}'
        '{% block body %}{% set greeting = "hi" %}{% include "part.j2" %} {{ shout(row.x) }}{% endblock %}'
    )
    prompt = a_prompt(source, project=project, vars={"mark": "!"})
    assert prompt.fill({"x": "a"}, 1) == ("<hi A!>",)
    assert set(prompt.sources.values()) == {source, *project.values()}


def test_no_row_leaves_anything_for_the_next() -> None:
    """A counter in an imported file starts anew in each row, so the order of rows decides nothing."""
    counter = "{% set n = namespace(i=0) %}{% macro next() %}{% set n.i = n.i + 1 %}{{ n.i }}{% endmacro %}"
    prompt = a_prompt('{% import "c.j2" as c %}{{ row.x }}{{ c.next() }}{{ c.next() }}', project={"c.j2": counter})
    assert [prompt.fill({"x": "a"}, number) for number in (1, 2)] == [("a12",), ("a12",)]


def test_every_problem_of_every_template_at_once() -> None:
    """Syntax, filters, tests, names, vars and files: all with their lines, none of them raised."""
    spec = a_spec(
        "{{ nme }}\n{{ vars.styl }}\n{{ 1|uper }}\n{{ 1 is od }}",
        '{% include "x.j2" %}\n{% include row.x %}',
        "{{ vars.y|default(1) }}{% if vars.z is defined %}{% endif %}",
        "fine\n{% if %}",
        where="{{ row.split }}",
        vars={"style": "brief"},
    )
    problems = {(problem.line, problem.message): problem.hint for problem in template_problems(spec, files({}))}
    assert problems == {
        (
            12,
            "a template does not know 'nme', only row, vars and name",
        ): "a column is written row.nme, a variable vars.nme",
        (13, "`vars` has no 'styl'"): "did you mean 'style'?",
        (14, "there is no filter 'uper' in a prompt's template"): "did you mean 'upper'?",
        (15, "there is no test 'od' in a prompt's template"): "did you mean 'odd'?",
        (12, "there is no file x.j2"): "",
        (13, "the name of a template has to be written out"): 'write {% include "prompts/part.j2" %}',
        (13, "the template cannot be read: Expected an expression, got 'end of statement block'"): "",
        (12, "the template cannot be read: expected token ':', got '}'"): "`where` is a bare expression, without {{ }}",
    }
    with pytest.raises(InvalidDocuments) as caught:
        compile_prompt(spec, load=files({}), image=str)
    assert len(caught.value.problems) == 7


def test_names_that_a_template_makes_are_known() -> None:
    """Loops, sets, macros, blocks and imports make names; none of them is a problem."""
    source = (
        "{% set a = 1 %}{% macro m(b, c=2) %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}{% call m(1) %}x{% endcall %}"
        "{% for d in [1] %}{{ loop.index }}{{ d }}{% block e scoped %}{{ d }}{{ self }}{% endblock %}{% endfor %}"
        "{% with f = 1 %}{{ f }}{% endwith %}{{ namespace(g=1).g }}{{ dict(h=1) }}{{ range(2) }}{{ name }}{{ vars }}"
    )
    assert template_problems(a_spec(source), files({})) == []


def test_a_template_in_a_file_is_placed_in_that_file() -> None:
    """What `prompt.file` names is read by the loader of specs; its errors stand in it."""
    template = Template("a\n{{ 1|nope }}", Place("prompts/p.j2"), "prompts/p.j2")
    spec = Spec("a", AT, "demo", Selector(id="m"), Input("rows.csv"), text=template)
    message = "there is no filter 'nope' in a prompt's template"
    assert template_problems(spec, files({})) == [Problem("prompts/p.j2", 2, 1, message)]


def test_where_keeps_rows() -> None:
    """A bare expression over row, vars and name; a missing column is an error here too."""
    keeps = compile_where(a_spec("x", where="row.split == vars.split and row.n > 1", vars={"split": "test"}))
    assert keeps is not None
    rows = [{"split": "test", "n": 2}, {"split": "test", "n": 1}, {"split": "train", "n": 2}]
    assert [keeps(row, 1) for row in rows] == [True, False, False]
    with pytest.raises(RunnerError, match=r"row 5 \(id '3'\): there is no column 'split' among n, id"):
        keeps({"n": 1, "id": 3}, 5)
    assert compile_where(a_spec("x")) is None


def test_where_is_one_expression() -> None:
    """What comes after an expression, statements and braces are refused."""
    for source in ("row.a row.b", "row.a }}{{ row.b", "{% if 1 %}", "", "row.a;"):
        with pytest.raises(InvalidDocuments):
            compile_where(a_spec("x", where=source))


def test_images_are_addresses_or_files() -> None:
    """Addresses pass; anything else is a path, which the lent function makes a data URL of."""
    prompt = a_prompt("{{ row.image }}", kind="image")
    assert prompt.local_images
    texts = [prompt.fill({"image": image}, 1)[0] for image in ("https://x/y.png", "DATA:image/png;base64,", " a.png\n")]
    assert texts == ["https://x/y.png", "DATA:image/png;base64,", "data:a.png"]
    assert "no address" in refused("{{ row.image }}", {"image": ""}, kind="image").message


def test_only_rows_make_local_images_uncertain() -> None:
    """A fixed image is among the sources, so a changed file changes them; an address in the template needs no file."""
    assert not a_prompt("https://x/{{ row.id }}.png", kind="image").local_images
    fixed = a_prompt("logo.png", kind="image")
    assert not fixed.local_images and "data:logo.png" in fixed.sources.values()
    assert fixed.shape.messages[0].parts[0] == Part("image", "data:logo.png")


NAMES = st.sampled_from(["a", "b", "items", "c d", "", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PIECES = st.lists(
    st.text().filter(lambda text: "{" not in text and "}" not in text)
    | NAMES.map(lambda name: f"{{{{ row[{json.dumps(name)}] }}}}")
    | st.sampled_from(["{{ row.a }}", "{{ vars.v }}", "{{ name }}", "{{- row.b -}}", "100%", "%s", "\r\n", "\n"])
).map("".join)


def outcome(source: str, row: Mapping[str, Any], value: Any) -> str | tuple[str, str]:
    try:
        return filled(source, row, vars={"v": value})
    except RunnerError as error:
        return error.message, error.where


@given(source=PIECES, row=st.dictionaries(NAMES, VALUES), value=VALUES)
@example(source="{{ row.a }}\n{{ row.b }}\n", row={"a": "%s"}, value=None)
def test_templates_without_jinja_give_what_jinja_gives(source: str, row: dict[str, Any], value: Any) -> None:
    """The short cut for plain templates is never seen: same texts, same errors, same places."""
    assert outcome(source, row, value) == outcome("{% if true %}{% endif %}" + source, row, value)


TEMPLATES = (
    "{{ row }}{% for k, v in row|dictsort %}{{ k }}{{ v|tojson }}{% endfor %}",
    "{{ row|items|map('first')|join(',') }}{{ row|length }}{{ row|tojson(2) }}",
    "{{ row.values()|default('') if row.values is defined }}{{ row|string|wordwrap(5)|indent }}",
)


@given(row=st.dictionaries(st.text(), VALUES), source=st.sampled_from(TEMPLATES))
def test_the_same_row_always_gives_the_same_text(row: dict[str, Any], source: str) -> None:
    """Twice in one prompt, and in a prompt compiled anew."""
    assert len({repr(outcome(source, row, 1)) for _ in range(2)}) == 1
    prompt = a_prompt(source)

    def fill() -> Any:
        try:
            return prompt.fill(row, 1)
        except RunnerError as error:
            return error.message

    assert fill() == fill()
