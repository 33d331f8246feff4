"""Write `images.json` and the small pictures in `images/`: bar charts and shapes, drawn by this script.

``python specs/data/make_images.py``; no library is needed, and the pixels are the same every time.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
SIZE = 96

Colour = tuple[int, int, int]
Picture = Callable[[int, int], Colour]
"""What colour is at x and y, counted from the upper left corner."""

WHITE: Colour = (255, 255, 255)
COLOURS: dict[str, Colour] = {
    "red": (200, 40, 40),
    "blue": (40, 80, 200),
    "green": (40, 150, 70),
    "orange": (230, 140, 30),
}
BARS = {
    "Visitors by quarter": (20, 35, 50, 80),
    "Repairs by quarter": (80, 60, 35, 15),
    "Rainy days by season": (40, 20, 55, 70),
    "Books lent by term": (60, 30, 75, 45),
}
SHAPES = ("circle", "square", "triangle", "ring")


@dataclass(frozen=True)
class Image:
    """``context`` is what the page around the picture says, ``caption`` what a good answer says."""

    name: str
    context: str
    caption: str
    picture: Picture


def bars(heights: tuple[int, ...], colour: Colour) -> Picture:
    width = SIZE // len(heights)

    def at(x: int, y: int) -> Colour:
        inside = 4 <= x % width < width - 4 and SIZE - y <= heights[min(x // width, len(heights) - 1)]
        return colour if inside else WHITE

    return at


def shape(kind: str, colour: Colour) -> Picture:
    middle, reach = SIZE / 2 - 0.5, SIZE * 0.35

    def at(x: int, y: int) -> Colour:
        across, down = abs(x - middle), y - middle
        away = (across**2 + down**2) ** 0.5
        inside = {
            "circle": away <= reach,
            "ring": reach * 0.6 <= away <= reach,
            "square": max(across, abs(down)) <= reach,
            "triangle": -reach <= down <= reach and across <= (down + reach) / 2,
        }
        return colour if inside[kind] else WHITE

    return at


def images() -> Iterator[Image]:
    for (title, heights), (word, colour) in zip(BARS.items(), COLOURS.items(), strict=True):
        highest, lowest = heights.index(max(heights)) + 1, heights.index(min(heights)) + 1
        name = title.lower().replace(" ", "-")
        caption = f"A bar chart with four {word} bars; bar {highest} is the highest and bar {lowest} the lowest."
        yield Image(name, f"{title}, of the last year", caption, bars(heights, colour))
    for kind in SHAPES:
        for word, colour in COLOURS.items():
            name = f"{word}-{kind}"
            context = f"Card {name} of a memory game"
            yield Image(name, context, f"A {word} {kind} in the middle of a white card.", shape(kind, colour))


def png(picture: Picture) -> bytes:
    """Eight bits for each of red, green and blue."""
    lines = b"".join(b"\0" + b"".join(bytes(picture(x, y)) for x in range(SIZE)) for y in range(SIZE))
    head = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(lines, 9)) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def main() -> None:
    folder = FOLDER / "images"
    folder.mkdir(exist_ok=True)
    rows = []
    for image in images():
        (folder / f"{image.name}.png").write_bytes(png(image.picture))
        path = f"specs/data/images/{image.name}.png"
        rows.append({"name": image.name, "path": path, "context": image.context, "caption": image.caption})
    (FOLDER / "images.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
