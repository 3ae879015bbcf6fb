"""Report page, parsed."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Parsed page: elements with attributes, and texts with their parent elements."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.stack == [], "elements are left open"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.stack[-1] if self.stack else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        """Visible text, with spaces collapsed."""
        return " ".join(" ".join(data for tag, data in self.texts if tag not in ("script", "style")).split())

    @property
    def counts(self) -> dict:
        return json.loads(next(data for tag, data in self.texts if tag == "script"))

    @property
    def cards(self) -> list[float]:
        return [float(card["data-score"]) for card in self.all("li") if "data-score" in card]


def encoded(color="red", size=(300, 200), kind="PNG", **more) -> bytes:
    """Image of one color, as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, kind, **more)
    return file.getvalue()


def assert_inert(page: Page) -> None:
    """Nothing runs or is loaded but the page's own script and style."""
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    assert not {"iframe", "object", "embed", "form", "base", "frame", "math", "template"} & {
        t for t, _ in page.elements
    }
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc", "srcset")]
        assert "src" not in attributes or attributes["src"].startswith("data:image/jpeg;base64,")
        href = attributes.get("href", "#")
        if tag == "link":
            assert href == "data:,"
        elif not href.startswith("#"):
            assert tag == "a"
            assert href.startswith(("http://", "https://"))
            assert attributes["rel"] == "noreferrer noopener"
    assert not [data for _, data in page.texts if any(char in data for char in "\0\u202e\ufffe\ufffd")]
