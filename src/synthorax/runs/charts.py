"""The report's few drawings as inline SVG: small, sharp in print, no script."""

from collections.abc import Collection, Mapping, Sequence

from markupsafe import Markup, escape

CELL_PX = 58
LEFT_PX = 184
TOP_PX = 8
BOTTOM_PX = 112


def pair_heatmap(
    labels: Sequence[str],
    counts: Mapping[frozenset[str], int],
    withheld: Collection[frozenset[str]],
    top: int,
) -> Markup:
    """How often two labels occur together, as the lower triangle of a matrix.

    Args:
        labels: rows and columns, in order.
        counts: pair -> films with both; a pair that is not a key stays empty (it was not asked about).
        withheld: pairs to mark with a dashed frame.
        top: the count with the darkest colour; the same for two maps that are to be compared.
    """
    cells = []
    for row, one in enumerate(labels[1:]):
        y = TOP_PX + row * CELL_PX
        cells.append(_text(LEFT_PX - 10, y + CELL_PX / 2 + 5, one, anchor="end"))
        for column, other in enumerate(labels[: row + 1]):
            pair = frozenset((one, other))
            if pair in counts:
                x = LEFT_PX + column * CELL_PX
                cells.append(_cell(x, y, counts[pair], top, pair in withheld, f"{one} + {other}"))
    size = len(labels) - 1
    foot = TOP_PX + size * CELL_PX + 12
    for column, label in enumerate(labels[:-1]):
        x = LEFT_PX + column * CELL_PX + CELL_PX // 2
        turned = f'transform="rotate(-40 {x} {foot})"'
        cells.append(f'<text x="{x}" y="{foot}" text-anchor="end" {turned}>{escape(label)}</text>')
    width, height = LEFT_PX + size * CELL_PX + 12, TOP_PX + size * CELL_PX + BOTTOM_PX
    return Markup(f'<svg class="heatmap" viewBox="0 0 {width} {height}" role="img">{"".join(cells)}</svg>')


def _cell(x: float, y: float, count: int, top: int, is_withheld: bool, title: str) -> str:
    share = (count / top) ** 0.5 if top else 0
    fill = f"hsl(190 45% {93 - 58 * share:.0f}%)" if count else "#fff"
    ink = "#fff" if share > 0.6 else "#222"
    classes = "cell never" if not count else "cell"
    inner = CELL_PX - 4
    frame = (
        f'<rect class="withheld" x="{x + 5}" y="{y + 5}" width="{inner - 6}" height="{inner - 6}"/>'
        if is_withheld
        else ""
    )
    return (
        f"<g><title>{escape(title)}: {count}</title>"
        f'<rect class="{classes}" x="{x + 2}" y="{y + 2}" width="{inner}" height="{inner}" fill="{fill}"/>'
        f"{frame}{_text(x + CELL_PX / 2, y + CELL_PX / 2 + 5, str(count), fill=ink)}</g>"
    )


def _text(x: float, y: float, words: str, anchor: str = "middle", fill: str = "#222") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{fill}">{escape(words)}</text>'


def interval(value: float, low: float, high: float, reach: float, tone: str) -> Markup:
    """A point with its interval on a line through zero.

    Args:
        value: the point.
        low: the interval's lower end.
        high: the interval's upper end.
        reach: the largest absolute value that the drawing holds.
        tone: CSS class of the mark.
    """
    x, left, right = (110 + 100 * number / (reach or 1) for number in (value, low, high))
    return Markup(
        f'<svg class="interval {escape(tone)}" viewBox="0 0 220 20" role="img">'
        '<line class="zero" x1="110" x2="110" y1="0" y2="20"/>'
        f'<line class="reach" x1="{left:.1f}" x2="{right:.1f}" y1="10" y2="10"/>'
        f'<circle cx="{x:.1f}" cy="10" r="4.5"/></svg>'
    )
