"""The tables of a report, as the Markdown and the HTML page both show them, and what the report lacks."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from okdnet_plugin.report.figures import ARROWS, NOTHING, decimals, finite, marks, number, shown, written_decimals

_AP_PLACES = 3  # decimals of average precision


class Column(NamedTuple):
    """A column: what stands above it, and how it is sorted.

    Attributes:
        label: its heading.
        group: heading over this column and its neighbours of the same group; '' for none.
        numeric: whether its cells are sorted as numbers.
        first: order at the first click, 'ascending' or 'descending'.
        published: whether its figures come from a paper and were not measured.
    """

    label: str
    group: str = ''
    numeric: bool = True
    first: str = 'ascending'
    published: bool = False


class Cell(NamedTuple):
    """A cell: its text, the value by which it is sorted (None goes last), its mark, and a remark in small type."""

    text: str
    value: float | str | None = None
    mark: str = ''
    note: str = ''


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; the first cell of a row is its heading."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())

    @property
    def groups(self) -> list[list[int]]:
        """Indices of the columns: those under one heading together, every other one alone."""
        groups: list[list[int]] = []
        for i, column in enumerate(self.columns):
            # Two groups of one name may stand side by side; each begins with what is published.
            if column.group and not column.published:
                groups[-1].append(i)
            else:
                groups.append([i])
        return groups

    @property
    def marked(self) -> set[str]:
        return {cell.mark for row in self.rows for cell in row} - {''}


def entries(holder: Mapping, key: str) -> list[Mapping]:
    """The list of that name; empty where the report has none."""
    return [entry for entry in holder.get(key) or [] if isinstance(entry, Mapping)]


def label(entry: Mapping) -> str:
    return str(entry.get('label') or entry.get('key') or NOTHING)


def listed(report: Mapping, name: str) -> list[Mapping]:
    """Methods or sets of the report, those that only its results name included.

    Args:
        report: the whole report.
        name: 'methods' or 'sets'.
    """
    known = entries(report, name)
    keys = [entry.get('key') for entry in known]
    for result in entries(report, 'results'):
        key = result.get(name[:-1])
        if key not in keys:
            keys.append(key)
            known.append({'key': key})
    return known


def result_of(report: Mapping, method: Mapping, dataset: Mapping) -> Mapping | None:
    """The result of a method on a data set, or None."""
    pair = (method.get('key'), dataset.get('key'))
    return next((r for r in entries(report, 'results') if (r.get('method'), r.get('set')) == pair), None)


def figure_of(result: Mapping | None, metric: Mapping) -> Mapping:
    figures: Mapping[Any, Any] = (result or {}).get('figures') or {}
    figure = figures.get(metric.get('key'))
    return figure if isinstance(figure, Mapping) else {}


def metric_label(metric: Mapping) -> str:
    unit = f' ({metric["unit"]})' if metric.get('unit') else ''
    return f'{label(metric)}{unit}'


def with_arrow(text: str, better: Any) -> str:
    return f'{text} {ARROWS[better]}' if better in ARROWS else text


def _first(better: object) -> str:
    return 'descending' if better == 'higher' else 'ascending'


def metric_decimals(report: Mapping, metric: Mapping) -> int:
    """Decimals of a metric, the same all over the report."""
    return decimals(figure_of(result, metric).get('mean') for result in entries(report, 'results'))


def measured_on(report: Mapping, dataset: Mapping) -> list[Mapping]:
    """Metrics that at least one method has a figure of on the data set."""
    results = [result_of(report, method, dataset) for method in listed(report, 'methods')]
    return [
        metric
        for metric in entries(report, 'metrics')
        if any(number(figure_of(result, metric).get('mean')) is not None for result in results)
    ]


def set_table(report: Mapping, dataset: Mapping) -> Table:
    """Methods x metrics of one data set, with the time that each method took."""
    methods = listed(report, 'methods')
    results = [result_of(report, method, dataset) for method in methods]
    metrics = measured_on(report, dataset)
    columns = [Column('Method', numeric=False)]
    cells = [[Cell(label(method), label(method))] for method in methods]
    for metric in metrics:
        better = metric.get('better')
        columns.append(Column(with_arrow(metric_label(metric), better), first=_first(better)))
        for row, cell in zip(cells, _metric_cells(report, results, metric), strict=True):
            row.append(cell)
    for key, heading in (('network', 'Network time (s)'), ('all', 'Whole time (s)')):
        times = [((result or {}).get('seconds') or {}).get(key) for result in results]
        if any(number(time) is not None for time in times):
            columns.append(Column(heading))
            for row, time in zip(cells, times, strict=True):
                row.append(Cell(shown(time, 1), number(time)))
    absent = [label(metric) for metric in entries(report, 'metrics') if metric not in metrics]
    notes = [f'No figures here: {", ".join(absent)}.'] if absent and metrics else []
    if any(column.label.endswith('time (s)') for column in columns):
        notes.append('Times are of the whole data set; the whole time includes reading and measuring the images.')
    return Table(f'Methods on {label(dataset)}', columns, cells, notes)


def _metric_cells(report: Mapping, results: Sequence[Mapping | None], metric: Mapping) -> list[Cell]:
    figures = [figure_of(result, metric) for result in results]
    places = metric_decimals(report, metric)
    most = max((finite(figure.get('count')) or 0 for figure in figures), default=0)
    cells, ranked = [], []
    for figure in figures:
        count, infinite = finite(figure.get('count')), finite(figure.get('infinite')) or 0
        # A mean of fewer images is no rival; where infinite values are not in the count, they are no lack.
        partial = count is not None and count + infinite < most
        notes = [f'{count:.0f} of {most:.0f} images'] if partial and count is not None else []
        notes += [f'{infinite:.0f} infinite'] if infinite else []
        ranked.append(None if partial else figure.get('mean'))
        cells.append(Cell(shown(figure.get('mean'), places), number(figure.get('mean')), note=', '.join(notes)))
    found = marks(ranked, metric.get('better'), places)
    return [cell._replace(mark=mark) for cell, mark in zip(cells, found, strict=True)]


def paper_table(table: Mapping) -> Table:
    """A paper's table turned round: methods x (set and metric), each published and measured."""
    names = [str(name) for name in table.get('columns') or []]
    columns = [Column('Method', numeric=False)]
    cells = [[Cell(name, name)] for name in names]
    for row in entries(table, 'rows'):
        given = [cell if isinstance(cell, Mapping) else {} for cell in row.get('cells') or []][: len(names)]
        given += [{}] * (len(names) - len(given))
        better = row.get('better')
        group = with_arrow(' '.join(str(row[key]) for key in ('set', 'metric') if row.get(key)) or NOTHING, better)
        written = written_decimals(cell.get('published') for cell in given)
        for key in ('published', 'measured'):
            columns.append(Column(key, group, first=_first(better), published=key == 'published'))
            values = [cell.get(key) for cell in given]
            # As exact as the paper, so that the two can be compared at a glance.
            places = written if written or key == 'published' else decimals(values)
            for line, cell, mark in zip(cells, given, marks(values, better, places), strict=True):
                note = str(cell.get('remark') or '') if key == 'measured' else ''
                line.append(Cell(shown(cell.get(key), places), number(cell.get(key)), mark, note))
    note = [str(table['note'])] if table.get('note') else []
    return Table(str(table.get('title') or 'Table'), columns, cells, note)


def cost_table(report: Mapping) -> Table:
    """What each method is and costs; no value is marked, because a small network is not yet a good one."""
    methods = listed(report, 'methods')
    columns = [Column('Method', numeric=False), Column('Network', numeric=False)]
    columns += [Column(heading) for heading in ('Parameters', 'GMACs', 'Time (ms)', 'Memory (MB)')]
    columns += [Column(heading, numeric=False) for heading in ('Measured at', 'Weights')]
    places = {'gmacs': 2, 'milliseconds': 1, 'memory_mb': 1}
    rows = []
    for method in methods:
        count, network = number(method.get('parameters')), method.get('network')
        size = cost_size(method)
        rows.append(
            [
                Cell(label(method), label(method)),
                _words(network),
                Cell(_many(count), count),
                *(Cell(shown(method.get(key), places[key]), number(method.get(key))) for key in places),
                _words(size and f'{size[0]} x {size[1]}'),
                _words(method.get('weights')),
            ]
        )
    notes = ['Measured at: height x width of the image in pixels.'] if any(map(cost_size, methods)) else []
    return Table('Methods and their cost', columns, rows, notes)


def cost_size(method: Mapping) -> tuple[int, int] | None:
    """Height and width of the image that the cost was measured with, or None."""
    size = method.get('cost_size')
    if not isinstance(size, Sequence) or isinstance(size, str) or len(size) != 2:
        return None
    height, width = map(finite, size)
    return None if height is None or width is None else (int(height), int(width))


def _words(value: object) -> Cell:
    return Cell(str(value), str(value)) if value else Cell(NOTHING)


def _many(count: float | None) -> str:
    if count is None or not math.isfinite(count):
        return shown(count, 0)
    for size, suffix in ((1e6, 'M'), (1e3, 'k')):
        if count >= size:
            return f'{count / size:.2f} {suffix}'
    return f'{count:.0f}'


def detection_tables(report: Mapping) -> list[Table]:
    """What the detector finds after each method, a table for each test set."""
    detection = report.get('detection') or {}
    score = finite(detection.get('score')) or 0
    tables = []
    for one in entries(detection, 'sets'):
        rows, reference = entries(one, 'rows'), one.get('reference')
        columns = [Column('Method', numeric=False)]
        cells = [[Cell(str(row.get('method') or NOTHING), str(row.get('method') or NOTHING))] for row in rows]
        for key, heading in (('ap50', 'AP at 0.5'), ('ap', 'AP at 0.5 to 0.95')) if reference else ():
            values = [row.get(key) for row in rows]
            columns.append(Column(with_arrow(heading, 'higher'), first='descending'))
            for line, value, mark in zip(cells, values, marks(values, 'higher', _AP_PLACES), strict=True):
                line.append(Cell(shown(value, _AP_PLACES), number(value), mark))
        columns.append(Column(f'Boxes of score {score:g} and more'))
        for line, row in zip(cells, rows, strict=True):
            count = sum(value >= score for value in map(finite, row.get('scores') or []) if value is not None)
            line.append(Cell(str(count), float(count)))
        pictures, objects = one.get('pictures'), one.get('objects')
        what = f'{pictures} images; neither annotations nor clear images to compare with.'
        if reference == 'annotations':
            what = f'Against annotations: {objects} objects in {pictures} images.'
        elif reference:
            what = f'Agreement with the clear images, in {pictures} of which the detector finds {objects} objects.'
        note = f'{what} Detector: {detection.get("model")}, {detection.get("format")}.'
        tables.append(Table(f'Detection on {label({"key": one.get("set")})}', columns, cells, [note]))
    return tables


def curve_table(report: Mapping) -> Table:
    """The last point of every training curve."""
    columns = [Column('Training', numeric=False), Column('Series', numeric=False)]
    columns += [Column(heading) for heading in ('Points', 'Last iteration', 'Last value')]
    rows = []
    for curve in entries(report, 'curves'):
        for name, points in (curve.get('series') or {}).items():
            pairs = curve_points(points)
            last, value = pairs[-1] if pairs else (None, None)
            text = NOTHING if value is None else f'{value:.5g}' if math.isfinite(value) else shown(value, 0)
            rows.append(
                [
                    Cell(label(curve), label(curve)),
                    Cell(str(name), str(name)),
                    Cell(str(len(pairs)), float(len(pairs))),
                    Cell(shown(last, 0), last),
                    Cell(text, value),
                ]
            )
    return Table('Last points of the training curves', columns, rows)


def curve_points(points: Iterable | None) -> list[tuple[float, float]]:
    """Iteration and value of each point in order of the iterations; the value may be infinite or NaN."""
    pairs = []
    for point in points or []:
        if isinstance(point, Sequence) and not isinstance(point, str) and len(point) == 2:
            x, y = finite(point[0]), number(point[1])
            if x is not None and y is not None:
                pairs.append((x, y))
    return sorted(pairs, key=lambda pair: pair[0])


def protocol(report: Mapping) -> list[tuple[str, str]]:
    """Each metric and how it is measured."""
    directions: dict[Any, str] = {'higher': 'higher is better', 'lower': 'lower is better'}
    lines = []
    for metric in entries(report, 'metrics'):
        if metric.get('missing') and not metric.get('protocol'):
            continue
        parts = [directions.get(metric.get('better'), ''), str(metric.get('protocol') or 'protocol not stated')]
        lines.append((metric_label(metric), '; '.join(part for part in parts if part)))
    return lines


def images(dataset: Mapping) -> str:
    """What a data set holds, in a sentence."""
    count = finite(dataset.get('pictures'))
    if count == 1:
        return '1 hazy image with its clear one.' if dataset.get('has_clear') else '1 hazy image.'
    kinds: dict[Any, str] = {True: ', each with its clear one', False: ' without clear ones'}
    kind = kinds.get(dataset.get('has_clear'), '')
    return f'{"Hazy" if count is None else f"{count:.0f} hazy"} images{kind}.'


def lacking(report: Mapping) -> list[tuple[str, str]]:
    """What the report has no figures of, and why, as far as it says so."""
    methods, sets = listed(report, 'methods'), listed(report, 'sets')
    lines = []
    for kind, known in (('Method', methods), ('Data set', sets), ('Metric', entries(report, 'metrics'))):
        if not known:
            lines.append((f'{kind}s', 'none in this report'))
        gaps = [entry for entry in known if entry.get('missing')]
        lines += [(f'{kind} {label(e)}', str(e['missing']).removeprefix(f'{label(e)}: ')) for e in gaps]
    for dataset in sets:
        rest = [method for method in methods if not method.get('missing') and not dataset.get('missing')]
        names = [label(method) for method in rest if result_of(report, method, dataset) is None]
        if names:
            lines.append((f'Data set {label(dataset)}', f'no result of {", ".join(names)}'))
    for key, what in (('tables', 'Published figures'), ('curves', 'Training curves')):
        if not entries(report, key):
            lines.append((what, 'none in this report'))
    return lines
