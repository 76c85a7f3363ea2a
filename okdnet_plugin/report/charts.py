"""Charts of a report as inline SVG; their colours are classes that the page's style sheet knows."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from okdnet_plugin.report.figures import short

FONT = 13
LABEL_LENGTH = 24
MOST_POINTS = 400


class Point(NamedTuple):
    """A method in a scatter chart; `detail` is what a pointer on it shows."""

    label: str
    x: float
    y: float
    detail: str


class Box(NamedTuple):
    """A rectangle in the chart's own units, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: 'Box') -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)


class Axis(NamedTuple):
    """Maps values of [low, high] to [start, end] of the chart, evenly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, about: int) -> list[float]:
        return _log_ticks(self.low, self.high, about) if self.log else _even_ticks(self.low, self.high, about)


def scatter(points: Sequence[Point], x_title: str, y_title: str, better: str | None, name: str, width: int) -> str:
    """Points over a logarithmic cost, each with its name, and the front that no other point beats.

    Args:
        points: at least one; x > 0, all values finite.
        x_title: what x is.
        y_title: what y is.
        better: 'higher' or 'lower' y; anything else draws no front.
        name: identifier, unique in the page.
        width: of the chart; its height follows.
    """
    height = max(320, width // 2)
    x_values, y_values = [p.x for p in points], [p.y for p in points]
    low, high = _range(y_values, 0.12)
    factor = max(1.6, (max(x_values) / min(x_values)) ** 0.08)
    x_axis = Axis(min(x_values) / factor, max(x_values) * factor, 52, width - 14, log=True)
    y_axis = Axis(low, high, height - 46, 26)
    frame = Box(x_axis.start, y_axis.end, x_axis.end, y_axis.start)
    description = '; '.join(point.detail for point in points)
    parts = [_open(name, width, height, f'{y_title} against {x_title}', description)]
    parts += _grid(frame, x_axis, y_axis, x_axis.ticks(width // 90), y_axis.ticks(6))
    parts.append(_text(frame.right, height - 8, x_title, 'axis', 'end'))
    parts.append(_text(2, 12, y_title, 'axis', 'start'))
    parts += _front(points, better, x_axis, y_axis, frame)
    spots = [(x_axis.place(p.x), y_axis.place(p.y)) for p in points]
    labels = [_shortened(p.label) for p in points]
    places = _label_places(spots, [_text_width(text) for text in labels], frame)
    for point, (x, y), text, (box, far) in zip(points, spots, labels, places, strict=True):
        parts.append(f'<g><title>{escape(point.detail)}</title>')
        if far:
            near_x = min(max(x, box.left), box.right)
            near_y = min(max(y, box.top), box.bottom)
            parts.append(f'<path class="leader" d="M{x:.1f} {y:.1f}L{near_x:.1f} {near_y:.1f}"/>')
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(_text(box.left, box.bottom - 4, text, 'name', 'start') + '</g>')
    return ''.join([*parts, '</svg>'])


def line_chart(
    points: Sequence[tuple[float, float]], title: str, name: str, others: Sequence[tuple[float, float]] = ()
) -> str:
    """One curve; points that are not finite leave a gap.

    Args:
        points: x and y in order of x; at least one y is finite.
        title: what the curve is.
        name: identifier, unique in the page.
        others: points of curves that this one is compared with, which share its axes.
    """
    width, height = 340, 200
    known = [(x, y) for x, y in (*points, *others) if math.isfinite(y)]
    x_values, y_values = [x for x, _ in known], [y for _, y in known]
    log = min(y_values) > 0 and max(y_values) > 20 * min(y_values)
    if log:
        low, high = min(y_values) / 1.2, max(y_values) * 1.2
    else:
        low, high = _range(y_values, 0.06)
    left, right = min(x_values), max(x_values)
    if left == right:
        left, right = left - 1, right + 1
    x_axis, y_axis = Axis(left, right, 58, width - 20), Axis(low, high, height - 24, 20 if log else 10, log)
    frame = Box(x_axis.start, y_axis.end, x_axis.end, y_axis.start)
    last_x, last_y = [(x, y) for x, y in points if math.isfinite(y)][-1]
    description = f'{len(points)} points; the last finite one is {last_y:.5g} at {last_x:.0f}'
    parts = [_open(name, width, height, title, description + (', logarithmic axis' if log else ''))]
    parts += _grid(frame, x_axis, y_axis, x_axis.ticks(4), y_axis.ticks(5))
    if log:
        parts.append(_text(frame.right, 12, 'logarithmic', 'axis', 'end'))
    for run in _runs(thinned(points)):
        path = 'L'.join(f'{x_axis.place(x):.1f} {y_axis.place(y):.1f}' for x, y in run)
        parts.append(f'<path class="curve" d="M{path}"/>')
    parts.append(f'<circle class="dot" cx="{x_axis.place(last_x):.1f}" cy="{y_axis.place(last_y):.1f}" r="3"/>')
    return ''.join([*parts, '</svg>'])


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most so many of the points: the least and the greatest of each stretch, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    kept = {0, len(points) - 1}
    stretches = most // 2 - 1
    for i in range(stretches):
        stretch = range(i * len(points) // stretches, (i + 1) * len(points) // stretches)
        known = [k for k in stretch if math.isfinite(points[k][1])]
        if known:
            kept |= {min(known, key=lambda k: points[k][1]), max(known, key=lambda k: points[k][1])}
    return [points[k] for k in sorted(kept)]


def _runs(points: Iterable[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if math.isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _open(name: str, width: float, height: float, title: str, description: str) -> str:
    return (
        f'<svg role="img" aria-labelledby="{name}-title {name}-text" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-size="{FONT}"><title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(description)}</desc>'
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _grid(frame: Box, x_axis: Axis, y_axis: Axis, x_ticks: list[float], y_ticks: list[float]) -> list[str]:
    parts = []
    for tick in x_ticks:
        x = x_axis.place(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {frame.top}V{frame.bottom}"/>')
        parts.append(_text(x, frame.bottom + 16, short(tick), 'tick', 'middle'))
    for tick in y_ticks:
        y = y_axis.place(tick)
        parts.append(f'<path class="grid" d="M{frame.left} {y:.1f}H{frame.right}"/>')
        parts.append(_text(frame.left - 6, y + 4, short(tick), 'tick', 'end'))
    return parts


def _front(points: Sequence[Point], better: str | None, x_axis: Axis, y_axis: Axis, frame: Box) -> list[str]:
    if better not in ('higher', 'lower') or len(points) < 2:
        return []
    sign = 1 if better == 'higher' else -1
    path, best = '', -math.inf
    for point in sorted(points, key=lambda p: (p.x, -sign * p.y)):
        if sign * point.y > best:
            best = sign * point.y
            x, y = x_axis.place(point.x), y_axis.place(point.y)
            path += f'H{x:.1f}V{y:.1f}' if path else f'M{x:.1f} {y:.1f}'
    return [f'<path class="front" d="{path}H{frame.right}"/>']


def _label_places(spots: Sequence[tuple[float, float]], widths: Sequence[float], frame: Box) -> list[tuple[Box, bool]]:
    """A box for each label, near its point, clear of the other labels and points where that can be had.

    Returns:
        For each label its box and whether it is so far away that it needs a line to its point.
    """
    dots = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in spots]
    placed: list[Box] = []
    result = []
    for i, ((x, y), width) in enumerate(zip(spots, widths, strict=True)):
        taken = [*placed, *(dot for k, dot in enumerate(dots) if k != i)]
        best, lowest = (Box(x, y, x + width, y + FONT), False), math.inf
        for rank, (box, far) in enumerate(_candidates(x, y, width)):
            inside = frame.overlap(box)
            cost = sum(box.overlap(other) for other in taken) + 4 * (box.area - inside) + rank
            if cost < lowest:
                best, lowest = (box, far), cost
        placed.append(best[0])
        result.append(best)
    return result


def _candidates(x: float, y: float, width: float) -> Iterable[tuple[Box, bool]]:
    height = FONT + 3
    for gap in (9, 22, 38, 56):
        for across, down in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)):
            left = x + gap * across - width * (1 - across) / 2
            top = y + gap * down - height * (1 - down) / 2
            yield Box(left, top, left + width, top + height), gap > 9


def _text_width(text: str) -> float:
    return sum(FONT * (1.0 if unicodedata.east_asian_width(c) in 'WF' else 0.6) for c in text)


def _shortened(text: str) -> str:
    return text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 1] + '…'


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * margin or abs(low) * 0.05 or 1.0
    return low - room, high + room


def _even_ticks(low: float, high: float, about: int) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / about))
    step = next((step * factor for factor in (1, 2, 5) if (high - low) / (step * factor) <= about), 10 * step)
    # The sum of a step and a value that dwarfs it would not move: no tick is better than an endless loop.
    first = math.ceil(low / step)
    return [k * step for k in range(first, min(math.floor(high / step), first + 2 * about) + 1)]


def _log_ticks(low: float, high: float, about: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= max(about, 2):
            return ticks
    return ticks[:: math.ceil(len(ticks) / about)]
