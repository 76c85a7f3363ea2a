"""How a figure of a report is read, written and ranked; what is absent stays absent."""

import math
from collections.abc import Iterable, Sequence

NOTHING = '—'
ARROWS = {'higher': '↑', 'lower': '↓'}


def number(value: object) -> float | None:
    """The figure as a float, infinite and NaN included; None where there is none.

    Args:
        value: what a JSON file holds: a number, 'inf', '-inf', 'nan', None or anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def plain(value: float) -> float | str:
    """The figure as strict JSON takes it: 'inf', '-inf' and 'nan' are words."""
    return value if math.isfinite(value) else str(value)


def finite(value: object) -> float | None:
    """The figure if it is finite, else None."""
    figure = number(value)
    return figure if figure is not None and math.isfinite(figure) else None


def decimals(values: Iterable[object]) -> int:
    """Places that show the largest of the values with four digits, so that a column lines up."""
    largest = max((abs(figure) for figure in map(finite, values) if figure is not None), default=0.0)
    return 4 if largest <= 1 else max(0, 3 - math.floor(math.log10(largest)))


def written_decimals(values: Iterable[object]) -> int:
    """Places that the values themselves were written with: 2 for 19.95 and 20.4."""
    texts = [repr(figure) for figure in map(finite, values) if figure is not None]
    plain = [text for text in texts if 'e' not in text and not text.endswith('.0')]
    return max((len(text.partition('.')[2]) for text in plain), default=0)


def shown(value: object, places: int) -> str:
    """The figure as text: '30.10', '∞', 'NaN', or a dash where there is none."""
    figure = number(value)
    if figure is None:
        return NOTHING
    if math.isnan(figure):
        return 'NaN'
    if math.isinf(figure):
        return '∞' if figure > 0 else '-∞'
    return f'{figure:.{places}f}'


def short(value: float) -> str:
    """The value for an axis or a caption: '0.02', '250', '10k', '1.5M'."""
    for size, suffix in ((1e6, 'M'), (1e3, 'k')):
        if abs(value) >= size * (1 if suffix == 'M' else 10):
            return f'{value / size:.4g}{suffix}'
    return f'{value:.4g}'


def marks(values: Sequence[object], better: str | None, places: int) -> list[str]:
    """'best', 'second' or '' for each value, as a reader of the rounded values would mark them.

    Args:
        values: figures of one metric; None and NaN are never marked.
        better: 'higher' or 'lower'; anything else marks nothing.
        places: decimals that are shown; what looks alike is marked alike.
    """
    if better not in ARROWS:
        return [''] * len(values)
    figures = [number(value) for value in values]
    rounded = [None if figure is None or math.isnan(figure) else _round(figure, places) for figure in figures]
    order = sorted({figure for figure in rounded if figure is not None}, reverse=better == 'higher')
    names: dict[float | None, str] = {}
    if len(order) > 1:
        names[order[0]] = 'best'
    # The second of two is the last.
    if len(order) > 2:
        names[order[1]] = 'second'
    return [names.get(figure, '') for figure in rounded]


def _round(figure: float, places: int) -> float:
    # The format's own rounding, so that the marks agree with the text.
    return float(f'{figure:.{places}f}')
