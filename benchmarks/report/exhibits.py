"""Exhibits that several kinds of results share: distributions, the time line; and failures as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.metrics import Spread, spread
from benchmarks.report.charts import Line, Scale, is_wide, lines
from benchmarks.report.page import Exhibit, Key, Notice, Table, number, short
from benchmarks.report.samples import Floats, Samples, Traffic, cdf, time_line

FINE, COARSE = 90, 10
SPREAD_HEAD = ("n", "mean", "p50", "p90", "p99", "p99.9")


def arm_keys(names: Sequence[str]) -> tuple[Key, ...]:
    """A legend of series in their order."""
    return tuple(Key(name, style, marked=True) for style, name in enumerate(names))


def spread_cells(found: Spread | None) -> tuple[str, ...]:
    """In the order of `SPREAD_HEAD`."""
    if found is None:
        return ("0", *("—",) * (len(SPREAD_HEAD) - 1))
    shown = (found.mean, found.p50, found.p90, found.p99, found.p99_9)
    return (f"{found.count:,}", *(number(value) for value in shown))


def distributions(of: Mapping[str, Samples], *, caption: str, name: str, table: Table | None = None) -> Exhibit | None:
    """Time to first token and gaps between pieces, a line per series; None where nothing was answered."""
    pictures, rows = [], []
    for word, field in (("TTFT", "ttft_ms"), ("ITL", "itl_ms")):
        found = {series: getattr(samples, field) for series, samples in of.items()}
        rows += [((word, series), spread(values)) for series, values in found.items() if len(values)]
        if any(len(values) > 1 for values in found.values()):
            pictures.append(_cdf(found, word=word, name=f"{name}-{field}"))
    if not pictures:
        return None
    single = len(of) == 1
    cells = [((word,) if single else (f"{word}, {series}",)) + spread_cells(found) for (word, series), found in rows]
    return Exhibit(
        caption,
        tuple(pictures),
        table or Table(("ms", *SPREAD_HEAD), tuple(cells)),
        () if single else tuple(key for key in arm_keys(list(of)) if len(of[key.text].ttft_ms)),
        "Share of requests (TTFT) and of gaps between pieces (ITL) that took at most so long.",
    )


def _cdf(found: Mapping[str, Sequence[float]], *, word: str, name: str) -> str:
    drawn: list[tuple[str, Floats, Floats, int]] = []
    for style, (series, values) in enumerate(found.items()):
        if len(values) > 1:
            drawn.append((series, *cdf(values), style))
    log = is_wide([float(end) for _, xs, _, _ in drawn for end in (xs[0], xs[-1])])
    title = {"TTFT": "Time to first token", "ITL": "Gap between pieces"}[word]
    medians = "; ".join(
        f"{series}: median {xs[len(xs) // 2]:.1f} ms, highest {xs[-1]:.1f} ms" for series, xs, _, _ in drawn
    )
    return lines(
        [
            Line(xs.tolist(), ys.tolist(), style, shape="sparse" if len(found) > 1 else "line")
            for _, xs, ys, style in drawn
        ],
        scale=Scale(f"{title}: share of at most", "ms, logarithmic" if log else "ms", log_x=log, share=True),
        name=name,
        label=f"Cumulative distribution of {word}. {medians}.",
    )


def over_time(
    traffic: Traffic, *, inside: tuple[float, float], per_piece: float, caption: str, name: str
) -> Exhibit | None:
    """A run from its start to its end: requests in flight, tokens per second, failures; None of nothing."""
    end = max(traffic.last_s, inside[1])
    if not traffic.sent_s or end <= 0:
        return None
    fine, coarse = (time_line(traffic, parts=parts, end_s=end) for parts in (FINE, COARSE))
    drawn: list[tuple[str, Floats, int | None, str]] = [
        ("Requests in flight", fine.in_flight, 0, "in-flight"),
        ("Tokens per second", fine.pieces_per_s * per_piece, 1, "tokens"),
    ]
    if len(traffic.failed_s):
        drawn.append(("Failed requests", fine.failed, None, "failed"))
    pictures = [
        lines(
            [Line(fine.edges_s.tolist(), ys.tolist(), style, shape="area")],
            scale=Scale(title, "s since the start", whole=style is None, inside=inside),
            name=f"{name}-{word}",
            label=f"{title} over {end:.0f} s: mean {ys.mean():.1f}, highest {ys.max():.1f}.",
        )
        for title, ys, style, word in drawn
    ]
    spans = [f"{low:.1f}–{high:.1f}" for low, high in zip(coarse.edges_s[:-1], coarse.edges_s[1:], strict=True)]
    rows = zip(
        spans,
        map(number, coarse.in_flight),
        map(number, coarse.pieces_per_s * per_piece),
        (f"{count:.0f}" for count in coarse.failed),
        strict=True,
    )
    none = "" if len(traffic.failed_s) else " No request failed."
    head = ("s", "in flight", "tokens/s", "failed")
    return Exhibit(
        caption, tuple(pictures), Table(head, tuple(rows)), (), f"What lies in the shade counts in no figure.{none}"
    )


def failures(samples: Samples, *, where: str) -> Iterator[Notice]:
    """One sentence per kind of error, with what the first one said."""
    for error, count in samples.errors.most_common():
        detail = samples.details.get(error)
        said = f" The first said: {short(detail)}" if detail else ""
        yield Notice("Failed", f"{where}{count:,} × {short(error)}.{said}")
