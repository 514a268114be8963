"""`penstock bench report`: stored results as one HTML page that asks for nothing else, and a Markdown text beside it.

Owns the story: read the folders, find their kind, write. A kind of result is one module (`fits(summary)`,
`page(folders)`) and one row in `KINDS`. Nothing is measured here: a figure stands in
a result, or is counted from its calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from benchmarks.report.folder import ORIGIN, Folder
from models.errors import ConfigurationError

if TYPE_CHECKING:
    from benchmarks.report.page import Page

__all__ = ["KINDS", "Written", "write_report"]

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "run": "benchmarks.report.runs",
        "slo": "benchmarks.report.searches",
        "compare": "benchmarks.report.comparisons",
    }
)
"""The subcommand that wrote a result → the module that makes its page; loaded when a report is made: it draws."""


@dataclass(frozen=True, slots=True)
class Written:
    """Where the report lies, and what it was made of."""

    html: Path
    markdown: Path
    page: Page

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        notices = [f"{one.word}: {one.text}" for one in self.page.notices]
        sources = zip(self.page.folders, self.page.figures, strict=True)
        results = [{"folder": folder.name, "figures": figures} for folder, figures in sources]
        paths = {"html": str(self.html), "markdown": str(self.markdown)}
        return {**paths, "kind": self.page.kind, "notices": notices, "results": results}


def write_report(paths: Sequence[Path], *, out: Path | None = None) -> Written:
    """Make the report of these folders; without `out` it is `report.html` in the first one."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigurationError("A folder is named twice.")
    folders = [Folder.read(path) for path in paths]
    file = _target(out or paths[0] / "report.html")
    made = _page(folders)
    from benchmarks.report.page import html, markdown

    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".md")
    file.write_text(html(made), encoding="utf-8", errors="replace")
    beside.write_text(markdown(made), encoding="utf-8", errors="replace")
    return Written(file, beside, made)


def _target(file: Path) -> Path:
    """A file that may be written: the Markdown beside it must not replace a result's own table."""
    if file.suffix != ".html":
        raise ConfigurationError(f"{str(file)!r} does not end in .html. Name the page: --out report.html.")
    if file.stem == "table" and (file.parent / ORIGIN).exists():
        raise ConfigurationError(f"{str(file)!r} would replace the result's own table.md. Choose another name.")
    return file


def _page(folders: Sequence[Folder]) -> Page:
    try:
        fitting = [_kind(folder) for folder in folders]
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise ConfigurationError("A report is drawn with matplotlib: install the extra 'bench' of penstock.") from error
    kinds = list(dict.fromkeys(kind for kind, _ in fitting))
    if len(kinds) > 1:
        raise ConfigurationError(f"These are results of several kinds: {', '.join(kinds)}. A report has one.")
    make: Callable[..., Page] = fitting[0][1].page
    return make(folders, names=_names(folders))


def _kind(folder: Folder) -> tuple[str, Any]:
    for kind, module in KINDS.items():
        found = import_module(module)
        if found.fits(folder.summary):
            return kind, found
    raise ConfigurationError(f"{str(folder.path)!r} holds no result of `penstock bench run`, `slo` or `compare`.")


def _names(folders: Sequence[Folder]) -> list[str]:
    """The folders' own names; with the folder above where two are called the same."""
    counts = Counter(folder.name for folder in folders)
    longer = [str(Path(*folder.path.resolve().parts[-2:])) for folder in folders]
    return [folder.name if counts[folder.name] == 1 else more for folder, more in zip(folders, longer, strict=True)]
