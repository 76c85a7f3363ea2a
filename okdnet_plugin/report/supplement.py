"""What a paper takes from a report: its tables as LaTeX and CSV, and the chosen images as PNG."""

import base64
import csv
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from os import path as osp

import cv2
import numpy as np

from okdnet_plugin import files
from okdnet_plugin.engine.validation import strip
from okdnet_plugin.report.page import clean
from okdnet_plugin.report.tables import (
    Cell,
    Table,
    cost_table,
    detection_tables,
    entries,
    label,
    listed,
    measured_on,
    paper_table,
    set_table,
)

_COLUMNS = 5  # of an image that shows all methods
_MARKS = {'best': r'\textbf{%s}', 'second': r'\underline{%s}', '': '%s'}
_SIGNS = {
    **{sign: f'\\{sign}' for sign in '&%$#_{}'},
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    '↑': r'$\uparrow$',
    '↓': r'$\downarrow$',
    '∞': r'$\infty$',
    '—': '--',
}


def write(report: Mapping, folder: str) -> None:
    """Write `tables/NAME.tex` and `.csv`, `images/SET/NAME.png` and `images/SET/NAME/METHOD.png`.

    Args:
        report: what report.json holds.
        folder: of the report.
    """
    report = clean(report)
    for name, table in _tables(report):
        for ending, text in (('tex', latex(table)), ('csv', csv_of(table))):
            _write(osp.join(folder, 'tables', f'{_file(name)}.{ending}'), text.encode())
    for entry in entries(report, 'images'):
        place = osp.join(folder, 'images', _file(entry['set']), _file(entry['picture']))
        columns = {one['label']: base64.b64decode(one['strip'].partition(',')[2]) for one in entry['columns']}
        for name, content in columns.items():
            _write(osp.join(place, f'{_file(name)}.png'), content)
        decoded = {key: cv2.imdecode(np.frombuffer(png, np.uint8), 1) for key, png in columns.items()}
        images = {name: image for name, image in decoded.items() if image is not None}
        _write(f'{place}.png', cv2.imencode('.png', _in_rows(images))[1].tobytes())


def latex(table: Table) -> str:
    """A table as a tabular of LaTeX with the rules of booktabs: the best of a column is bold, the second underlined.

    What explains the table stands above it as comments.
    """
    alignment = ''.join('r' if column.numeric else 'l' for column in table.columns)
    groups = [(table.columns[group[0]].group, len(group)) for group in table.groups]
    lines = [f'% {" ".join(text.split())}' for text in (table.title, *table.notes)]
    lines += ['% Needs \\usepackage{booktabs}.', f'\\begin{{tabular}}{{{alignment}}}', '\\toprule']
    if any(name for name, _ in groups):
        lines.append(_line([f'\\multicolumn{{{n}}}{{c}}{{{_tex(name)}}}' if name else '' for name, n in groups]))
        ends = np.cumsum([count for _, count in groups])
        rules = [f'\\cmidrule(lr){{{e - n + 1}-{e}}}' for (name, n), e in zip(groups, ends, strict=True) if name]
        lines.append(' '.join(rules))
    lines += [_line([_tex(column.label) for column in table.columns]), '\\midrule']
    lines += [_line([_tex_cell(cell) for cell in row]) for row in table.rows]
    return '\n'.join([*lines, '\\bottomrule', '\\end{tabular}', ''])


def csv_of(table: Table) -> str:
    """A table as CSV, with its numbers as they were measured; remarks of a column stand in one of their own."""
    lines: list[list] = [[] for _ in range(1 + len(table.rows))]
    for i, column in enumerate(table.columns):
        head, cells = ' '.join(filter(None, (column.group, column.label))), [row[i] for row in table.rows]
        contents = [[head, *(cell.value for cell in cells)]]
        if any(cell.note for cell in cells):
            contents.append([f'{head}, remark', *(cell.note for cell in cells)])
        for line, *added in zip(lines, *contents, strict=True):
            line += added
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(lines)
    return text.getvalue()


def _tables(report: Mapping) -> Iterator[tuple[str, Table]]:
    """All tables of measured values, each under the name of its files."""
    for dataset in listed(report, 'sets'):
        if measured_on(report, dataset):
            yield label(dataset), set_table(report, dataset)
    for table in map(paper_table, entries(report, 'tables')):
        yield table.title.partition(':')[0], table
    for table in detection_tables(report):
        yield table.title, table
    if listed(report, 'methods'):
        yield 'Cost', cost_table(report)


def _in_rows(images: Mapping[str, np.ndarray]) -> np.ndarray:
    """Images with their names, in as few rows as there may be of equal length."""
    names = list(images)
    length = math.ceil(len(names) / math.ceil(len(names) / _COLUMNS))
    rows = [strip({name: images[name] for name in names[i : i + length]}) for i in range(0, len(names), length)]
    width = max(row.shape[1] for row in rows)
    white = {'borderType': cv2.BORDER_CONSTANT, 'value': (255, 255, 255)}
    return np.concatenate([cv2.copyMakeBorder(row, 0, 8, 0, width - row.shape[1], **white) for row in rows])[:-8]


def _file(name: object) -> str:
    """A name as one of a file that LaTeX takes too."""
    return re.sub(r'[^\w-]+', '_', str(name)).strip('_') or '_'


def _write(path: str, content: bytes) -> None:
    os.makedirs(osp.dirname(path), exist_ok=True)
    files.write(path, content)


def _line(cells: Iterable[str]) -> str:
    return f'{" & ".join(cells)} \\\\'


def _tex_cell(cell: Cell) -> str:
    text = _MARKS[cell.mark] % _tex(cell.text)
    return f'{text} {{\\footnotesize ({_tex(cell.note)})}}' if cell.note else text


def _tex(text: str) -> str:
    return ''.join(_SIGNS.get(sign, sign) for sign in ' '.join(text.split()))
