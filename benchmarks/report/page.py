"""What a report consists of, and how it becomes one HTML page and one Markdown text. Reads no result, draws nothing.

Every text of a result comes from a server or a file: the template escapes all of it, pictures excepted, which
`svg.py` has written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from benchmarks.report.charts import marker_of
from benchmarks.report.folder import Folder
from benchmarks.report.svg import SERIES
from benchmarks.result import markdown_table

TEMPLATE = "page.html.j2"
SPECIAL = re.compile(r"[\\`*\[\]<>|&]")
LONGEST_TEXT = 400


@dataclass(frozen=True, slots=True)
class Notice:
    """What a reader must know before the figures. `failed`: something did not work; else it is in doubt."""

    word: str
    text: str
    failed: bool = True


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure for the head of the page."""

    name: str
    value: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells as people read them; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Key:
    """A line of a legend: as it is drawn, and what it stands for. `style` None is the colour of the text."""

    text: str
    style: int | None = None
    dashed: bool = False
    marked: bool = False
    hollow: bool = False
    joined: bool = True
    """With a line through its marker."""

    @property
    def colour(self) -> str:
        """As CSS."""
        return "currentColor" if self.style is None else f"var(--series-{self.style % SERIES + 1})"

    @property
    def marker(self) -> str:
        """The name of its marker in matplotlib; none where it has none."""
        return marker_of(self.style or 0) if self.marked else ""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """Pictures that belong together (SVG), their legend, and the table that says the same."""

    caption: str
    pictures: tuple[str, ...]
    table: Table
    keys: tuple[Key, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is under it."""

    title: str
    exhibits: tuple[Exhibit, ...]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report. `figures`: what was read, for programs."""

    kind: str
    title: str
    about: str
    notices: tuple[Notice, ...]
    facts: tuple[Fact, ...]
    sentences: tuple[str, ...]
    sections: tuple[Section, ...]
    folders: tuple[Folder, ...]
    figures: tuple[Mapping[str, Any], ...] = field(default=())


def html(page: Page) -> str:
    """One page that asks for nothing else."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = Markup
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return environment.get_template(TEMPLATE).render(page=page, sources=[source(one) for one in page.folders])


def markdown(page: Page) -> str:
    """The same words and tables, without the pictures."""
    return "\n\n".join(_blocks(page)) + "\n"


def source(folder: Folder) -> tuple[str, Mapping[str, str], Mapping[str, Any]]:
    """A result's name, the facts of its origin that come first, and the whole of it."""
    found = folder.origin
    hardware = found.get("hardware")
    machine = hardware if isinstance(hardware, Mapping) else {}
    cores, memory = machine.get("cores"), machine.get("memory_bytes")
    commit = str(found.get("commit") or "unknown")
    facts = {
        "commit": f"{commit}{', with changes that were not committed' if found.get('dirty') else ''}",
        "started": found.get("started"),
        "ended": found.get("ended"),
        "processor": machine.get("processor"),
        "cores": cores,
        "memory": f"{memory / 2**30:.1f} GiB" if isinstance(memory, int | float) else None,
        "python": found.get("python"),
        "seeds": _listed(found.get("seeds")),
        "counts": _listed(found.get("counts")),
        "configuration": found.get("config_digest"),
    }
    return folder.name, {name: short(value) for name, value in facts.items() if value not in (None, "")}, found


def short(value: Any) -> str:
    """A text of a result on one line and of a bearable length."""
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def number(value: float | None, *, digits: int = 1) -> str:
    """A figure as people read it; a dash where there is none."""
    finite = value is not None and abs(value) < float("inf")  # neither does NaN compare
    return f"{value:,.{digits}f}" if finite else "—"


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{count:,} {name}" if isinstance(count, int) else f"{name} {count}" for name, count in value.items()
        )
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _blocks(page: Page) -> Iterator[str]:
    yield f"# {_said(page.title)}"
    yield _said(page.about)
    if page.notices:
        yield "\n".join(f"- **{_said(one.word)}:** {_said(one.text)}" for one in page.notices)
    if page.sentences:
        yield "\n".join(f"- {_said(one)}" for one in page.sentences)
    for section in page.sections:
        yield f"## {_said(section.title)}"
        if section.about:
            yield _said(section.about)
        for exhibit in section.exhibits:
            yield f"**{_said(exhibit.caption)}**"
            yield _table(exhibit.table)
            if exhibit.note:
                yield _said(exhibit.note)
    yield "## Origin"
    for name, facts, _ in map(source, page.folders):
        yield f"**{_said(name)}**"
        yield _table(Table(("", ""), tuple(facts.items())))


def _table(table: Table) -> str:
    rows: Sequence[Sequence[str]] = [[_said(cell) for cell in row] for row in table.rows]
    return markdown_table([_said(cell) for cell in table.head], rows)


def _said(text: str) -> str:
    """Text that is no Markdown and no HTML, whatever it holds."""
    return SPECIAL.sub(lambda found: f"\\{found[0]}", " ".join(text.split()))
