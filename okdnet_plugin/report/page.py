"""A report as a Markdown text and as one self-contained HTML page, both from the dictionary that is report.json."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any, NamedTuple

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from okdnet_plugin.report import charts
from okdnet_plugin.report.figures import finite, number, shown
from okdnet_plugin.report.tables import (
    Cell,
    Column,
    Table,
    cost_size,
    cost_table,
    curve_points,
    curve_table,
    detection_tables,
    entries,
    figure_of,
    images,
    label,
    lacking,
    listed,
    measured_on,
    metric_decimals,
    metric_label,
    paper_table,
    protocol,
    result_of,
    set_table,
)

# The page may use what it holds and nothing else, whatever a name in it says.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'"
STRIP = re.compile(r'data:image/(?:jpeg|png|webp);base64,([A-Za-z0-9+/=]+)')
NO_RESULTS = 'No method has figures on this data set.'


def markdown(report: Mapping) -> str:
    """The report as GitHub's Markdown: tables without images and charts.

    Args:
        report: what report.json holds; any of its parts may be absent or None.
    """
    report = clean(report)
    parts = [f'# {_md(_title(report))}', _md(_made(report))]
    if report.get('command'):
        parts.append(_fenced(str(report['command'])))

    parts.append('## Protocol')
    parts += _md_list(f'**{_md(name)}**: {_md(how)}' for name, how in protocol(report)) or ['No metrics are listed.']

    parts.append('## Results')
    for dataset in listed(report, 'sets'):
        parts += [f'### {_md(label(dataset))}', _md(images(dataset))]
        if measured_on(report, dataset):
            parts.append(_md_table(set_table(report, dataset)))
        else:
            parts.append(_md(_why_empty(dataset)))
    if not listed(report, 'sets'):
        parts.append('No data sets are listed.')

    if papers := [paper_table(table) for table in entries(report, 'tables')]:
        parts += ['## Published and measured', "Each cell: the paper's figure / the figure measured here."]
        for table in papers:
            parts += [f'### {_md(table.title)}', _md_table(table)]

    for table in detection_tables(report):
        parts += [f'## {_md(table.title)}', _md_table(table)]

    parts.append('## Cost')
    parts.append(_md_table(cost_table(report)) if listed(report, 'methods') else 'No methods are listed.')

    if (curves := curve_table(report)).rows:
        parts += ['## Training curves', _md_table(curves)]

    if gaps := lacking(report):
        parts += ['## Missing', *_md_list(f'**{_md(what)}**: {_md(why)}' for what, why in gaps)]
    if report.get('notes'):
        parts += ['## Notes', *_md_list(_md(note) for note in report['notes'])]
    if report.get('versions'):
        lines = (f'{_md(name)} {_md(version)}' for name, version in report['versions'].items())
        parts += ['## Versions', *_md_list(lines)]
    return '\n\n'.join(parts) + '\n'


def html(report: Mapping) -> str:
    """The report as one HTML page with tables that sort, charts and images; it needs no other file.

    Args:
        report: what report.json holds; any of its parts may be absent or None. A strip of images is a data URI of
            a JPEG, PNG or WebP image.
    """
    report = clean(report)
    folder = files('okdnet_plugin.report')
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(folder.joinpath('report.html.j2').read_text(encoding='utf-8'))
    return template.render(
        report={'versions': report.get('versions'), 'command': report.get('command')},
        title=_title(report),
        made=_made(report),
        sections=[section for section in _sections(report) if section.content or section.empty],
        policy=POLICY,
        style=Markup(folder.joinpath('report.css').read_text(encoding='utf-8')),
        script=Markup(folder.joinpath('report.js').read_text(encoding='utf-8')),
        kinds=_kinds,
        marks_of=_marks_of,
        sort_key=_sort_key,
        image_of=lambda entry: _image(entry.get('strip')),
        figures_of=lambda entry: _figures(report, entry),
        zip=zip,
    )


class _Section(NamedTuple):
    """A part of the page: what it shows, and the form in which the template shows it."""

    anchor: str
    title: str
    kind: str
    content: Any
    empty: Any = ''


def _sections(report: Mapping) -> Iterable[_Section]:
    yield _Section('missing', 'Missing', 'definitions', lacking(report))
    sets, galleries = listed(report, 'sets'), []
    for index, dataset in enumerate(sets, 1):
        gallery = _gallery(report, dataset, index)
        galleries += [gallery] if gallery['strips'] else []
        is_measured = bool(measured_on(report, dataset))
        content = {
            'index': index,
            'said': images(dataset),
            'why': _why_empty(dataset) if dataset.get('missing') or not is_measured else '',
            'table': set_table(report, dataset) if is_measured else None,
            'gallery': gallery['strips'],
        }
        yield _Section(_anchor(f'set-{index}', label(dataset)), label(dataset), 'set', content)
    if not sets:
        yield _Section('results', 'Results', 'text', 'No data sets are listed.')
    if listed(report, 'methods'):
        yield _Section('cost', 'Cost', 'cost', {'charts': list(_scatters(report)), 'table': cost_table(report)})
    else:
        yield _Section('cost', 'Cost', 'text', 'No methods are listed.')
    yield _Section('published', 'Published and measured', 'tables', list(map(paper_table, entries(report, 'tables'))))
    yield _Section('detection', 'Detection after dehazing', 'tables', detection_tables(report))
    yield _Section('compared', 'Images of all methods', 'galleries', list(_compared(report)))
    yield _Section('pictures', 'Best and worst images', 'galleries', galleries)
    yield _Section('detected', 'Detected objects', 'galleries', list(_detected(report)))
    yield _Section('curves', 'Training curves', 'curves', list(_curves(report)))
    none = Markup('<p>No metrics are listed.</p>')
    yield _Section('protocol', 'Protocol', 'definitions', protocol(report), none)
    yield _Section('notes', 'Notes', 'list', report.get('notes'))


def _title(report: Mapping) -> str:
    return f'{report.get("name") or "Unnamed"}: dehazing report'


def _made(report: Mapping) -> str:
    return f'Made {report.get("made") or "at an unstated time"} on {report.get("machine") or "an unstated machine"}.'


def _why_empty(dataset: Mapping) -> str:
    return f'Not measured: {dataset["missing"]}' if dataset.get('missing') else NO_RESULTS


def clean(value: Any) -> Any:
    """A copy whose strings can be written as UTF-8 and hold no control characters."""
    if isinstance(value, str):
        # A file name that is no UTF-8 comes as lone surrogates.
        text = value.encode('utf-8', 'replace').decode('utf-8')
        return re.sub(r'[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]', '\N{REPLACEMENT CHARACTER}', text)
    if isinstance(value, Mapping):
        return {clean(key): clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [clean(entry) for entry in value]
    return value


# Markdown


def _md(value: object) -> str:
    """The text on one line, with nothing in it that Markdown or HTML would take for markup."""
    text = ' '.join(str(value).split())
    text = re.sub(r'([\\`*_\[\]|~#$])', r'\\\1', text).replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
    # What would begin a list.
    return re.sub(r'^(\d*)([.)+-])(?= |$)', r'\1\\\2', text)


def _fenced(text: str) -> str:
    fence = '`' * max(3, 1 + max(map(len, re.findall('`+', text)), default=0))
    return f'{fence}\n{text}\n{fence}'


def _md_list(lines: Iterable[str]) -> list[str]:
    text = '\n'.join(f'- {line}' for line in lines)
    return [text] if text else []


def _md_table(table: Table) -> str:
    """The table, in which columns of one group are one, and what explains it."""
    heads, lines = [], []
    for group in table.groups:
        names = ' / '.join(_md(table.columns[i].label) for i in group)
        over = table.columns[group[0]].group
        heads.append(f'{_md(over)}<br>{names}' if over else names)
    rules = ['---:' if table.columns[group[0]].numeric else ':---' for group in table.groups]
    for row in table.rows:
        lines.append([' / '.join(_md_cell(row[i]) for i in group) for group in table.groups])
    text = '\n'.join(f'| {" | ".join(line)} |' for line in (heads, rules, *lines))
    marked = {'best': '**bold**: best', 'second': '*italic*: second'}
    explained = ', '.join(text for mark, text in marked.items() if mark in table.marked)
    notes = [explained[0].upper() + explained[1:] + '.'] if explained else []
    return '\n\n'.join([text, *notes, *map(_md, table.notes)])


def _md_cell(cell: Cell) -> str:
    text = {'best': '**{}**', 'second': '*{}*'}.get(cell.mark, '{}').format(_md(cell.text))
    return f'{text} ({_md(cell.note)})' if cell.note else text


# HTML


def _anchor(prefix: str, text: str) -> str:
    return f'{prefix}-{re.sub("[^a-z0-9]+", "-", text.lower())}'.rstrip('-')


def _kinds(column: Column, cell: Cell | None = None) -> list[str]:
    """Classes of a heading, or of a cell under it."""
    kinds = ['words'] * (not column.numeric) + ['published'] * column.published
    if cell is not None:
        kinds += [cell.mark] if cell.mark else ['none'] * (cell.value is None)
    return kinds


def _sort_key(value: float | str) -> str:
    # The script's word for infinity is not Python's.
    return value if isinstance(value, str) else repr(value).replace('inf', 'Infinity').replace('nan', 'NaN')


def _marks_of(table: Table) -> list[tuple[str, str]]:
    names = {name: name for name in ('best', 'second') if name in table.marked}
    if any(column.published for column in table.columns):
        names['published'] = 'published in the paper, not measured here'
    return list(names.items())


def _gallery(report: Mapping, dataset: Mapping, index: int) -> dict:
    order = 'hazy image at the left' + (', clear image at the right' if dataset.get('has_clear') else '')
    strips = []
    for method in listed(report, 'methods'):
        result = result_of(report, method, dataset) or {}
        own = [
            (f'{kind.capitalize()} {rank} of {label(method)}', {'picture': None, **entry})
            for kind in ('best', 'worst')
            for rank, entry in enumerate(entries(result, kind), 1)
        ]
        strips += [(label(method), own)] if own else []
    return {'index': index, 'label': label(dataset), 'each': 'strip', 'order': order, 'strips': strips}


def _compared(report: Mapping) -> Iterable[dict]:
    """The chosen images of each data set, a row for each, in the form of the galleries."""
    chosen = entries(report, 'images')
    for index, name in enumerate(dict.fromkeys(str(entry.get('set') or 'Unnamed') for entry in chosen), 1):
        rows = [
            (
                str(entry.get('picture') or 'unnamed'),
                [(label(one), {**one, 'picture': entry.get('picture')}) for one in entries(entry, 'columns')],
            )
            for entry in chosen
            if str(entry.get('set') or 'Unnamed') == name
        ]
        order = 'whole, with its crops framed, and the crops enlarged below'
        yield {'index': f'c{index}', 'label': name, 'each': 'image', 'order': order, 'strips': rows}


def _detected(report: Mapping) -> Iterable[dict]:
    """Images with the boxes that the detector finds, in the form of the galleries."""
    order = 'each method, and the clear image at the right, with the boxes that the detector is sure of'
    for index, one in enumerate(entries(report.get('detection') or {}, 'sets'), 1):
        strips = []
        for entry in entries(one, 'strips'):
            counts = ', '.join(f'{name} {count}' for name, count in (entry.get('counts') or {}).items())
            strips.append((f'Objects found: {counts}', {'picture': None, **entry}))
        if strips:
            name = str(one.get('set') or 'Unnamed')
            yield {
                'index': f'd{index}',
                'label': name,
                'each': 'strip',
                'order': order,
                'strips': [('All methods', strips)],
            }


def _figures(report: Mapping, entry: Mapping) -> str:
    figures = entry.get('figures') or {}
    texts = []
    for metric in entries(report, 'metrics'):
        value = figures.get(metric.get('key'))
        if number(value) is not None:
            unit = f' {metric["unit"]}' if metric.get('unit') else ''
            texts.append(f'{label(metric)} {shown(value, metric_decimals(report, metric))}{unit}')
    return f', {", ".join(texts)}' if texts else ''


def _image(uri: object) -> tuple[str, tuple[int, int] | None]:
    """The data URI and the width and height of its image; no size if it is not an image that a browser shows."""
    match = STRIP.fullmatch(uri) if isinstance(uri, str) else None
    try:
        data = base64.b64decode(match.group(1), validate=True) if match else b''
    except binascii.Error:
        data = b''
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    return (str(uri), (pixels.shape[1], pixels.shape[0])) if pixels is not None else ('', None)


def _scatters(report: Mapping) -> Iterable[dict]:
    """A chart for each data set; the script shows one of them at a time."""
    for index, dataset in enumerate(listed(report, 'sets'), 1):
        known = measured_on(report, dataset)
        metric = next((metric for metric in known if metric.get('key') == 'psnr'), known[0] if known else None)
        chart = _scatter(report, dataset, metric, index) if metric else None
        if chart:
            yield {'name': f'scatter-{index}', 'label': label(dataset), **chart}


def _scatter(report: Mapping, dataset: Mapping, metric: Mapping, index: int) -> dict | None:
    points, rest, sizes = [], [], set()
    places = metric_decimals(report, metric)
    for method in listed(report, 'methods'):
        mean = figure_of(result_of(report, method, dataset), metric).get('mean')
        x, y = finite(method.get('gmacs')), finite(mean)
        if x is None or y is None or x <= 0:
            rest.append(f'{label(method)} ({"no GMACs" if y is not None else "no figure"})')
            continue
        sizes.add(cost_size(method))
        detail = f'{label(method)}: {metric_label(metric)} {shown(y, places)}, {x:.4g} GMACs'
        points.append(charts.Point(label(method), x, y, detail))
    if not points:
        return None
    better = metric.get('better')
    y_title = metric_label(metric)
    titles = ('GMACs (logarithmic)', f'{y_title} on {label(dataset)}', better)
    wide = charts.scatter(points, *titles, f'scatter-{index}-wide', 760)
    narrow = charts.scatter(points, *titles, f'scatter-{index}-narrow', 360)
    caption = [f'{y_title} on {label(dataset)} against GMACs.']
    if len(points) > 1 and better in ('higher', 'lower'):
        caption.append('Dashed: the best that so many GMACs buy.')
    if len(sizes) > 1:
        caption.append("The methods' GMACs were counted at different sizes.")
    elif (size := next(iter(sizes))) is not None:
        caption.append(f'GMACs at {size[0]} x {size[1]}.')
    caption += [f'Not drawn: {", ".join(rest)}.'] if rest else []
    return {'wide': Markup(wide), 'narrow': Markup(narrow), 'caption': ' '.join(caption)}


def _curves(report: Mapping) -> Iterable[tuple[str, list]]:
    """A small chart for each series; those of one name share their axes, so that trainings compare."""
    trainings = [
        (label(curve), {str(name): curve_points(points) for name, points in (curve.get('series') or {}).items()})
        for curve in entries(report, 'curves')
    ]
    for i, (training, series) in enumerate(trainings, 1):
        panels = []
        for k, (name, points) in enumerate(series.items(), 1):
            known = [point for point in points if finite(point[1]) is not None]
            drawn, said = '', ': no finite value'
            if known:
                others = [point for _, rest in trainings for point in rest.get(name, [])]
                drawn = Markup(charts.line_chart(points, f'{name} of {training}', f'curve-{i}-{k}', others))
                last, value = known[-1]
                said = f': {value:.5g} at iteration {last:.0f}'
                if len(known) < len(points):
                    said += f', {len(points) - len(known)} of {len(points)} not finite'
            panels.append((name, drawn, said))
        yield training, panels
