"""The gallery of `specs/gallery`: every spec runs on the simulator as it stands, and what comes out is of use."""

from __future__ import annotations

import csv
import gzip
import json
import re
import runpy
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import Project

ROOT = Path(__file__).parent.parent
GALLERY = ROOT / "specs" / "gallery"
DATA = ROOT / "specs" / "data"
SPECS = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(GALLERY.glob("*.yaml"))}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """This repository's project, with its gallery alone, after one apply."""
    project = Project(tmp_path_factory.mktemp("gallery"))
    shutil.copy(ROOT / "runner.yaml", project.root)
    shutil.copytree(ROOT / "specs", project.root / "specs", ignore=shutil.ignore_patterns("gsm8k*.yaml"))
    assert project.call("validate").out == "Everything is valid.\n"
    project.finish()
    yield project


def lines(project: Project, name: str) -> list[dict[str, Any]]:
    path = project.root / "outputs" / "gallery" / name
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else list(map(json.loads, file))


def table(name: str, delimiter: str = ",") -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_all_of_it_succeeds_and_is_then_at_rest(ran: Project) -> None:
    """Every output has its rows, each answered; nothing is left to do."""
    found = {path.name: lines(ran, path.name) for path in (ran.root / "outputs" / "gallery").iterdir()}
    assert {name: len(rows) for name, rows in found.items()} == {
        "captions.jsonl": 20,
        "incidents.jsonl": 20,
        "phrases-chinese.csv": 40,
        "phrases-german.csv": 40,
        "products.jsonl": 45,
        "tickets.jsonl": 132,
        "verdicts-chinese.jsonl": 40,
        "verdicts-german.jsonl": 40,
    }
    assert Counter(row["status"] for rows in found.values() for row in rows) == {"succeeded": 377}
    assert ran.plan()["changes"] == []


def test_tickets(ran: Project) -> None:
    """Three opinions of each message that was written, each with the words of the schema, and the right ones."""
    rows = lines(ran, "tickets.jsonl")
    written = {row["id"] for row in table("tickets.csv") if row["channel"] != "phone"}
    assert Counter(row["key"] for row in rows) == dict.fromkeys(written, 3)
    assert all(row["parsed"] == {key: row["input"][key] for key in ("category", "urgency")} for row in rows)


def test_the_schema_of_tickets_has_the_words_of_the_prompt() -> None:
    """A category that is asked for and may not be answered would fail its rows, and the other way round."""
    schema = json.loads((ROOT / SPECS["tickets"]["response"]["schema"]).read_text("utf-8"))
    assert set(schema["properties"]["category"]["enum"]) == set(SPECS["tickets"]["vars"]["categories"])


def test_incidents(ran: Project) -> None:
    """The facts of each report, as JSON; the reports are long, and the prompt names every field."""
    with gzip.open(DATA / "incidents.jsonl.gz", "rt", encoding="utf-8") as file:
        reports = {row["report"]: row for row in map(json.loads, file)}
    assert {row["key"]: row["parsed"] for row in lines(ran, "incidents.jsonl")} == {
        key: row["expected"] for key, row in reports.items()
    }
    assert all(len(row["text"].split()) > 1_500 for row in reports.values())
    prompt = (ROOT / SPECS["incidents"]["prompt"]["file"]).read_text("utf-8")
    schema = json.loads((ROOT / SPECS["incidents"]["response"]["schema"]).read_text("utf-8"))
    assert set(re.findall(r"^- (\w+):", prompt, re.MULTILINE)) == schema["properties"].keys()


@pytest.mark.parametrize("language", ["chinese", "german"])
def test_phrases(ran: Project, language: str) -> None:
    """Each batch of the matrix in its own language, in the order of the input."""
    wanted = [(row["id"], row[language]) for row in table("phrases.tsv", "\t")]
    assert [(row["key"], row["text"]) for row in lines(ran, f"phrases-{language}.csv")] == wanted


@pytest.mark.parametrize("language", ["chinese", "german"])
def test_verdicts(ran: Project, language: str) -> None:
    """Each translation was graded, as it was answered, by a model of another family; labels are the phrases'."""
    translated = {row["key"]: row["text"] for row in lines(ran, f"phrases-{language}.csv")}
    verdicts = lines(ran, f"verdicts-{language}.jsonl")
    assert {row["key"]: row["input"]["answer"] for row in verdicts} == translated
    assert {row["parsed"]["score"] for row in verdicts} == {5}
    assert {row["model"] for row in verdicts} == {"mi-4"}


def test_captions(ran: Project) -> None:
    """Each request carries its own picture, to a model that takes pictures, and is answered for it."""
    images = json.loads((DATA / "images.json").read_text("utf-8"))
    assert {row["key"]: row["text"] for row in lines(ran, "captions.jsonl")} == {
        image["name"]: image["caption"] for image in images
    }
    bodies = list(map(json.loads, ran.call("render", "captions").out.splitlines()))
    sent = [body["messages"][0]["content"][0]["image_url"]["url"] for body in bodies]
    assert len(set(sent)) == len(images)
    assert all(url.startswith("data:image/png;base64,") for url in sent)
    assert {row["model"] for row in lines(ran, "captions.jsonl")} == {"mi-3"}


def test_products(ran: Project) -> None:
    """A vector of 64 numbers and of length one for each product in stock; notebooks lie side by side."""
    rows = lines(ran, "products.jsonl")
    assert {row["key"] for row in rows} == {row["sku"] for row in table("products.csv") if row["in_stock"] == "yes"}
    vectors = {row["key"]: row["parsed"] for row in rows}
    assert {len(vector) for vector in vectors.values()} == {64}
    assert all(sum(number**2 for number in vector) == pytest.approx(1, abs=1e-4) for vector in vectors.values())
    query = vectors.pop("notebook-lined")
    near = max(vectors, key=lambda key: sum(a * b for a, b in zip(query, vectors[key], strict=True)))
    assert near == "notebook-dots"


def test_every_use_is_in_the_gallery_page() -> None:
    """By its name and file; each spec says what it shows and whom it suits."""
    page = (ROOT / "specs" / "README.md").read_text("utf-8")
    for name, spec in SPECS.items():
        assert spec["name"] == name
        assert f"[`{name}`](gallery/{name}.yaml)" in page
        head = (GALLERY / f"{name}.yaml").read_text("utf-8").partition("version:")[0]
        assert "# Shows: " in head
        assert "# Suits: " in head


@pytest.mark.parametrize("script", ["make_incidents", "make_images", "make_answers"])
def test_the_data_is_what_the_scripts_write(script: str, tmp_path: Path) -> None:
    """To the byte, but for how it is packed, which depends on the version of zlib."""
    folder = tmp_path / "data"
    shutil.copytree(DATA, folder, ignore=shutil.ignore_patterns("gsm8k*"))
    runpy.run_path(str(folder / f"{script}.py"), run_name="__main__")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        assert unpacked(path) == unpacked(DATA / path.relative_to(folder)), path.name


def unpacked(path: Path) -> bytes:
    """The bytes of a file; of a gzipped one what is in it; of a picture its pixels."""
    data = path.read_bytes()
    match path.suffix:
        case ".gz":
            return gzip.decompress(data)
        case ".png":
            return pixels(data)
        case _:
            return data


def pixels(data: bytes) -> bytes:
    import zlib

    start = data.index(b"IDAT")
    size = int.from_bytes(data[start - 4 : start])
    return data[:33] + zlib.decompress(data[start + 4 : start + 4 + size])
