"""A figure of matplotlib as inline SVG that takes its colours and its font from the page around it.

matplotlib knows fixed colours only, so charts are drawn in stand-ins, and these become the page's CSS variables here.
Names inside a picture get a prefix, or two pictures on one page would share clip paths and markers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from types import MappingProxyType
from xml.etree import ElementTree

from matplotlib.figure import Figure

SERIES = 6
INK, MUTED, RULE, BAD = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
COLOURS: Mapping[str, str] = MappingProxyType(
    {
        INK: "currentColor",
        MUTED: "var(--muted)",
        RULE: "var(--rule)",
        BAD: "var(--bad)",
        **{f"#0a0c{number:02d}": f"var(--series-{number})" for number in range(1, SERIES + 1)},
    }
)
STAND_IN = re.compile("|".join(COLOURS))
FONT = re.compile(r"font-family: [^;]*;? ?")
LINK = re.compile(r"url\(#|^#")
NO_METADATA: Mapping[str, None] = MappingProxyType(dict.fromkeys(("Creator", "Date", "Format", "Type")))


def series_colour(number: int) -> str:
    """The stand-in of the n-th series, counted from 0; they come again after the last."""
    return f"#0a0c{number % SERIES + 1:02d}"


def inline(figure: Figure, *, name: str, label: str) -> str:
    """The picture as an `svg` element: `name` makes its inner names its own, `label` says what it shows."""
    raw = io.StringIO()
    figure.savefig(raw, format="svg", metadata=dict(NO_METADATA), transparent=True)
    root = ElementTree.fromstring(raw.getvalue())
    for element in root.iter():
        _settle(element, name)
    for defs in root.iter("defs"):
        for style in defs.findall("style"):
            defs.remove(style)  # it would hold for the whole page
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"class": "chart", "viewBox": box, "role": "img", "aria-label": label})
    return ElementTree.tostring(root, encoding="unicode")


def _settle(element: ElementTree.Element, name: str) -> None:
    element.tag = element.tag.rpartition("}")[2]
    element.tail = None
    if element.tag != "text":
        element.text = element.text if element.tag == "tspan" else None
    for key, value in list(element.attrib.items()):
        del element.attrib[key]
        plain = key.rpartition("}")[2]
        if plain == "id":
            value = f"{name}-{value}"
        elif plain in {"href", "clip-path"}:
            value = LINK.sub(lambda found: f"{found[0]}{name}-", value)
        elif plain == "style":
            value = FONT.sub("", value)
        element.set(plain, STAND_IN.sub(lambda found: COLOURS[found[0]], value))
