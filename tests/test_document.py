"""YAML text whose every value knows its place, and the bounds on text that is hostile."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runner import document as documents
from runner.document import MAX_BYTES, MAX_DEPTH, MAX_NODES, Document, Mark, layer, parse


def one(text: str) -> Document:
    """The only document of a text with nothing wrong in it."""
    found, problems = parse(text.encode(), "a.yaml")
    assert problems == []
    (document,) = found
    return document


def said(text: str | bytes) -> list[str]:
    """All that is wrong with a text, without its hints."""
    _, problems = parse(text if isinstance(text, bytes) else text.encode(), "a.yaml")
    return [f"{problem.line}:{problem.column} {problem.message}" for problem in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("n", "n"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("010", "010"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("<<", "<<"),
        ("true", True),
        ("False", False),
        ('"true"', "true"),
        ("~", None),
        ("null", None),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("18446744073709551615", 2**64 - 1),
        ("0.70", 0.7),
        (".5", 0.5),
        ("3.", 3.0),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        ("01.5", "01.5"),
        ("!!str 12", "12"),
        ("! 12", "12"),
    ],
)
def test_scalars_are_what_was_written(text: str, value: Any) -> None:
    """Only true, false, null and decimal numbers are anything but text."""
    (found,) = one(f"[{text}]").value
    assert found == value
    assert type(found) is type(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff"), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc<~1", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_is_read_as_json(value: Any) -> None:
    """A JSON text, which is YAML too, gives the value that it has as JSON; `"<<"` in quotes is a plain key."""
    found, problems = parse(json.dumps(value, ensure_ascii=False).encode(), "a.yaml")
    assert problems == []
    assert [document.value for document in found] == ([] if value is None else [value])


@given(JSON)
def test_every_value_is_found_where_it_stands(value: Any) -> None:
    """Each path into a value leads to a place at which the text goes on with that value."""
    text = json.dumps(value)
    found, _ = parse(text.encode(), "a.yaml")
    for document in found:
        pending: list[tuple[tuple[str | int, ...], Any]] = [((), document.value)]
        while pending:
            path, part = pending.pop()
            mark = document.locate(path)
            assert text[mark.column - 1 :].startswith(json.dumps(part))
            steps = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
            pending += [((*path, step), inner) for step, inner in steps]


@given(st.binary(max_size=200) | st.text("-:[]{}&*!|>'\"?,#% \n\tab<", max_size=60).map(str.encode))
def test_no_text_raises(data: bytes) -> None:
    """Whatever the bytes, there are documents and problems, and each problem has a place in the text."""
    documents, problems = parse(data, "a.yaml")
    lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\x85") + data.count(b"\xa8") + data.count(b"\xa9") + 1
    assert all(1 <= problem.line <= lines + 1 and problem.column >= 1 for problem in problems)
    for document in documents:
        json.dumps(document.value, allow_nan=False)


TEXT = """\
# a comment
name: a
prompt:
  user: |

    First
      second
  system: >-
    Folded
    text
list:
  - one
  - {two: 2}
"""


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ((), (2, 1), (2, 1)),
        (("name",), (2, 7), (2, 1)),
        (("prompt",), (4, 3), (3, 1)),
        (("prompt", "user"), (4, 9), (4, 3)),
        (("list", 1), (13, 5), (13, 5)),
        (("list", 1, "two"), (13, 11), (13, 6)),
        (("list", 9), (12, 3), (12, 3)),
        (("prompt", "absent", "deeper"), (4, 3), (4, 3)),
        (("name", "absent"), (2, 7), (2, 7)),
    ],
)
def test_values_and_keys_are_located(path: tuple[str | int, ...], value: tuple[int, int], key: tuple[int, int]) -> None:
    """A path leads to its value or its key, and as far as it goes where it leads nowhere."""
    document = one(TEXT)
    assert document.locate(path) == Mark("a.yaml", *value)
    assert document.locate(path, key=True) == Mark("a.yaml", *key)


def test_a_block_scalars_text_begins_below_its_mark() -> None:
    """Line N of a block scalar's text is N - 1 lines below where its text is located."""
    document = one(TEXT)
    assert document.value["prompt"]["user"] == "\nFirst\n  second\n"
    assert document.locate_text(("prompt", "user")) == Mark("a.yaml", 5, 5)
    assert document.locate_text(("prompt", "system")) == Mark("a.yaml", 9, 5)
    assert document.locate_text(("name",)) == document.locate(("name",))
    assert document.locate_text(("absent",)) == document.mark


def test_a_windows_file_is_read_and_located_alike() -> None:
    """A byte order mark and CRLF change neither values nor places."""
    found, problems = parse(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode(), "a.yaml")
    assert problems == []
    assert found[0].value == one(TEXT).value
    assert found[0].locate_text(("prompt", "user")) == Mark("a.yaml", 5, 5)


def test_columns_count_characters() -> None:
    """A character outside ASCII is one column."""
    assert one("{名: é, x: 1}").locate(("x",)) == Mark("a.yaml", 1, 11)


def test_documents_of_one_file() -> None:
    """Empty documents are skipped, and each of the others knows its own lines."""
    found, problems = parse(b"---\n---\n# nothing\n---\na: 1\n---\nb: 2\n...\n", "a.yaml")
    assert problems == []
    assert [(document.value, document.mark.line) for document in found] == [({"a": 1}, 5), ({"b": 2}, 7)]


def test_aliases_and_merges() -> None:
    """`<<` fills in what a mapping does not say itself, the first source first, and places lead to the anchor."""
    document = one("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  y: 9\n  <<: [*b, *a]\nd: *a\ne: {<<: *a}\n")
    assert document.value["c"] == {"y": 9, "z": 4, "x": 1}
    assert document.value["d"] == document.value["e"] == {"x": 1, "y": 2}
    assert document.locate(("c", "z")) == Mark("a.yaml", 2, 17)
    assert document.locate(("c", "x"), key=True) == Mark("a.yaml", 1, 8)
    assert document.locate(("d", "y")) == Mark("a.yaml", 1, 17)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a: 1\nb: 2\na: 3\n", ["3:1 the key `a` is there twice"]),
        ("{a: {b: 1, b: 2}}", ["1:12 the key `b` is there twice"]),
        ("a: &x [*x]", ["1:8 an alias inside of what it stands for"]),
        ("a: &x {<<: *x}", ["1:12 an alias inside of what it stands for"]),
        ("a: *x", ["1:4 an alias of an anchor that is not defined above it"]),
        ("&x a: 1\n---\nb: *x", ["3:4 an alias of an anchor that is not defined above it"]),
        ("<<: 1", ["1:5 `<<` takes a mapping, or a list of mappings"]),
        ("1: a", ["1:1 a key has to be text"]),
        ("yes: a\ntrue: b", ["2:1 a key has to be text"]),
        ("? [a]\n: b", ["1:3 a key has to be text"]),
        ("~: a", ["1:1 a key has to be text"]),
        ("[.inf, -.INF, .nan]", [f"1:{at} infinity and not-a-number are not JSON" for at in (2, 8, 15)]),
        ("[1e999, 99999999999999999999999]", [f"1:{at} a number this large is not kept exactly" for at in (2, 9)]),
        ("!!python/object/apply:os.system [id]", ["1:1 tags are not allowed"]),
        ("a: !x b\nc: !!set {d}", ["1:4 tags are not allowed", "2:4 tags are not allowed"]),
        ("a: [", ["2:1 not valid YAML: while parsing a flow node, did not find expected node content"]),
        (b"a: \xff", ["1:4 the file is not UTF-8"]),
        (b"a: 1\nb: \xed\xa0\x80", ["2:4 the file is not UTF-8"]),
        ("a: 1".encode("utf-16"), ["1:1 the file is UTF-16 or UTF-32"]),
        (b"a: 1\r\nb: \0", ["2:4 the character U+0000 is not allowed in YAML"]),
        (b"a: \x1b[31m", ["1:4 the character U+001B is not allowed in YAML"]),
    ],
)
def test_what_is_refused(text: str | bytes, problems: list[str]) -> None:
    """What JSON cannot hold, and what is no YAML, is a problem at its place."""
    assert [message.split(", while")[0] for message in said(text)] == problems


def test_a_second_key_names_the_first() -> None:
    """Both places of a duplicate key are told, and the document is still there to be checked, with the first value."""
    found, problems = parse(b"a: 1\nb: 2\na: 3\n", "a.yaml")
    assert [document.value for document in found] == [{"a": 1, "b": 2}]
    assert problems[0].hint == "it is first at 1:1"


def test_problems_of_one_file_come_together() -> None:
    """Everything up to the syntax error is told, and the documents before it are kept."""
    found, problems = parse(b"a: 1\n---\nb: .inf\n---\nc: [\n", "a.yaml")
    assert [document.value for document in found] == [{"a": 1}]
    assert [problem.line for problem in problems] == [3, 6]


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    ["!{0} x", "!<{0}> x", "*{0}", "!!{0} x", "!{0}! x", "99999999999999999999999", "[{0}", "'{0}", "{0}: {0}: x"],
)
def test_no_message_repeats_a_value(text: str) -> None:
    """A value may be a secret, whatever is wrong with it."""
    _, problems = parse(f"api_key: {text.format(SECRET)}".encode(), "a.yaml")
    assert problems
    assert not any(SECRET in problem.message + problem.hint or "99999" in problem.message for problem in problems)


LOADERS = [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("unit", ["[", "{", "{a: ", "- ", "? ", "[a, "])
def test_deep_nesting_is_refused(unit: str, loader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million brackets end neither the process nor the patience."""
    monkeypatch.setattr(documents, "_Loader", loader)
    (message,) = said((unit * 1_000_000)[: MAX_BYTES - 1])
    assert "nest" in message


def test_depth_counts_through_aliases() -> None:
    """64 levels are read, 65 are not, whether they are written or come by aliases."""
    assert said("[" * MAX_DEPTH + "]" * MAX_DEPTH) == []
    assert said("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) == [f"1:65 nested more than {MAX_DEPTH} levels deep"]
    half = "[" * 40 + "]" * 40
    assert said(f"a: &a {half}\nb: {'[' * 23}*a{']' * 23}") == []
    assert said(f"a: &a {half}\nb: {'[' * 24}*a{']' * 24}") == [f"2:28 nested more than {MAX_DEPTH} levels deep"]
    chain = "".join(f"- &a{n} [*a{n - 1}]\n" for n in range(1, 70))
    assert said(f"- &a0 x\n{chain}")[0].endswith(f"nested more than {MAX_DEPTH} levels deep")


def test_values_are_counted_through_aliases() -> None:
    """10,000 values are read, one more is not, whether they are written or come by aliases."""
    assert said("[" + "x," * (MAX_NODES - 1) + "]") == []
    assert "more than 10,000 values" in said("[" + "x," * MAX_NODES + "]")[0]
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)
    )
    assert "more than 10,000 values" in said(laughs)[0]


def test_the_documents_of_a_file_are_counted_together() -> None:
    """Many small documents are bounded as well."""
    assert "the file has more than 100,000 values" in said("--- x\n" * 100_001)[0]


def test_text_is_measured_through_aliases() -> None:
    """A long text repeated by aliases is refused before it is multiplied."""
    (message,) = said(f"- &a {'x' * 1_000_000}\n- [*a, *a]\n")
    assert "larger than 2 MiB" in message
    assert said(b"#" * MAX_BYTES) == []
    assert said(b"#" * (MAX_BYTES + 1)) == ["1:1 the file is larger than 2 MiB"]


def test_problems_are_bounded() -> None:
    """A file that repeats one mistake does not fill the terminal."""
    messages = said("1: a\n" * 4_000)
    assert len(messages) == documents.MAX_PROBLEMS + 1
    assert "too many problems" in messages[-1]


def test_the_loaders_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and places are the same where PyYAML came without libyaml."""
    text = TEXT + 'quoted: "a\\u00e9\\n"\nmerge: {<<: {b: 1}}\nempty:\n'
    fast = one(text)
    monkeypatch.setattr(documents, "_Loader", yaml.SafeLoader)
    slow = one(text)
    assert fast == slow


def test_half_a_character_is_refused_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone surrogate, which libyaml refuses itself, is a problem with the other loader too."""
    monkeypatch.setattr(documents, "_Loader", yaml.SafeLoader)
    assert said(r'a: "\ud800"') == ["1:4 half of a surrogate pair is not a character"]


def test_layers() -> None:
    """Mappings are laid on one another key by key, everything else whole, and each value keeps its place."""
    under, _ = parse(b"a: {x: 1, y: [1, 2]}\nb: {c: 1}\nd: 1\n", "under.yaml")
    over, _ = parse(b"a: {y: [3]}\nb: text\ne: 2\n", "over.yaml")
    laid = Document(layer(over[0].root, under[0].root))
    assert laid.value == {"a": {"x": 1, "y": [3]}, "b": "text", "d": 1, "e": 2}
    assert laid.mark == Mark("over.yaml", 1, 1)
    assert laid.locate(("a", "x")) == Mark("under.yaml", 1, 8)
    assert laid.locate(("a", "y", 0)) == Mark("over.yaml", 1, 9)
    assert laid.locate(("d",), key=True) == Mark("under.yaml", 3, 1)
    assert under[0].value == {"a": {"x": 1, "y": [1, 2]}, "b": {"c": 1}, "d": 1}


def test_find() -> None:
    """A value is found only where it is there and of the type asked for."""
    document = one("a: {b: [text, 1]}")
    assert document.find(("a", "b", 0), str) == "text"
    assert document.find(("a", "b", 1), str) is None
    assert document.find(("a", "c", "d"), str) is None
    assert document.find(("a", "b", 1), int) == 1
