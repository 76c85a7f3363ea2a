"""A report as a Markdown text and as one self-contained HTML page, both from the dictionary that is report.json."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import cv2
import numpy as np

from okdnet_plugin.report import charts
from okdnet_plugin.report.figures import finite, number, shown
from okdnet_plugin.report.style import SCRIPT, STYLE
from okdnet_plugin.report.tables import (
    Cell,
    Column,
    Table,
    cost_size,
    cost_table,
    curve_points,
    curve_table,
    entries,
    figure_of,
    label,
    lacking,
    listed,
    measured_on,
    metric_decimals,
    metric_label,
    paper_table,
    pictures,
    protocol,
    result_of,
    set_table,
)

# The page may use what it holds and nothing else, whatever a name in it says.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'"
STRIP = re.compile(r'data:image/(?:jpeg|png|webp);base64,([A-Za-z0-9+/=]+)')
NO_RESULTS = 'No method has figures on this data set.'


def markdown(report: Mapping) -> str:
    """The report as GitHub's Markdown: tables without pictures and charts.

    Args:
        report: what report.json holds; any of its parts may be absent or None.
    """
    report = _clean(report)
    parts = [f'# {_md(_title(report))}', _md(_made(report))]
    if report.get('command'):
        parts.append(_fenced(str(report['command'])))

    parts.append('## Protocol')
    parts += _md_list(f'**{_md(name)}**: {_md(how)}' for name, how in protocol(report)) or ['No metrics are listed.']

    parts.append('## Results')
    for dataset in listed(report, 'sets'):
        parts += [f'### {_md(label(dataset))}', _md(pictures(dataset))]
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
    """The report as one HTML page with tables that sort, charts and pictures; it needs no other file.

    Args:
        report: what report.json holds; any of its parts may be absent or None. A strip of pictures is a data URI of
            a JPEG, PNG or WebP picture.
    """
    report = _clean(report)
    sections = [section for section in _sections(report) if section.body]
    contents = ''.join(f'<li><a href="#{part.anchor}">{escape(part.title)}</a></li>' for part in sections)
    body = ''.join(f'<section id="{p.anchor}"><h2>{escape(p.title)}</h2>{p.body}</section>' for p in sections)
    title = escape(_title(report))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title}</title><style>{STYLE}</style></head>\n'
        f'<body><header><h1>{title}</h1><p class="muted">{escape(_made(report))}</p></header>'
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n<main>{body}</main>\n{_footer(report)}'
        f'<script>{SCRIPT}</script></body></html>\n'
    )


class _Section(NamedTuple):
    anchor: str
    title: str
    body: str


def _sections(report: Mapping) -> Iterable[_Section]:
    yield _Section('missing', 'Missing', _definitions(lacking(report)))
    sets = listed(report, 'sets')
    for index, dataset in enumerate(sets, 1):
        body = _set_body(report, dataset, index)
        yield _Section(_anchor(f'set-{index}', label(dataset)), label(dataset), body)
    if not sets:
        yield _Section('results', 'Results', '<p>No data sets are listed.</p>')
    has_methods = bool(listed(report, 'methods'))
    cost = _scatters(report) + _html_table(cost_table(report)) if has_methods else '<p>No methods are listed.</p>'
    yield _Section('cost', 'Cost', cost)
    yield _Section('published', 'Published and measured', _papers(report))
    galleries = (_gallery(report, dataset, index) for index, dataset in enumerate(sets, 1))
    yield _Section('pictures', 'Best and worst pictures', ''.join(galleries))
    yield _Section('curves', 'Training curves', _curves(report))
    yield _Section('protocol', 'Protocol', _definitions(protocol(report)) or '<p>No metrics are listed.</p>')
    yield _Section('notes', 'Notes', _bullets(report.get('notes')))


def _title(report: Mapping) -> str:
    return f'{report.get("name") or "Unnamed"}: dehazing report'


def _made(report: Mapping) -> str:
    return f'Made {report.get("made") or "at an unstated time"} on {report.get("machine") or "an unstated machine"}.'


def _why_empty(dataset: Mapping) -> str:
    return f'Not measured: {dataset["missing"]}' if dataset.get('missing') else NO_RESULTS


def _clean(value: Any) -> Any:
    """A copy whose strings can be written as UTF-8 and hold no control characters."""
    if isinstance(value, str):
        # A file name that is no UTF-8 comes as lone surrogates.
        text = value.encode('utf-8', 'replace').decode('utf-8')
        return re.sub(r'[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]', '\N{REPLACEMENT CHARACTER}', text)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(entry) for entry in value]
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


def _paragraphs(texts: Iterable[str]) -> str:
    return ''.join(f'<p class="note">{escape(text)}</p>' for text in texts)


def _bullets(texts: Iterable | None) -> str:
    items = ''.join(f'<li>{escape(str(text))}</li>' for text in texts or [])
    return f'<ul>{items}</ul>' if items else ''


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    items = ''.join(f'<dt>{escape(name)}</dt><dd>{escape(text)}</dd>' for name, text in pairs)
    return f'<dl>{items}</dl>' if items else ''


def _html_table(table: Table) -> str:
    """The table in a box of its own that scrolls where it is too wide, and what explains it."""
    title = escape(table.title)
    rows = ''.join(f'<tr>{_html_row(table.columns, row)}</tr>' for row in table.rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table><caption>{title}</caption>'
        f'<thead>{_html_head(table)}</thead><tbody>{rows}</tbody></table></div>'
        f'{_key(table)}{_paragraphs(table.notes)}'
    )


def _html_head(table: Table) -> str:
    over = under = ''
    grouped = any(column.group for column in table.columns)
    for group in table.groups:
        first = table.columns[group[0]]
        heads = ''.join(_html_heading(i, table.columns[i], grouped) for i in group)
        if first.group:
            over += f'<th scope="colgroup" colspan="{len(group)}" class="group">{escape(first.group)}</th>'
            under += heads
        else:
            over += heads
    return f'<tr>{over}</tr>' + (f'<tr>{under}</tr>' if grouped else '')


def _html_heading(index: int, column: Column, grouped: bool) -> str:
    span = ' rowspan="2"' if grouped and not column.group else ''
    kind = 'number' if column.numeric else 'text'
    return (
        f'<th scope="col"{span} data-column="{index}" data-kind="{kind}" data-first="{column.first}"'
        f'{_class(_kinds(column))}>{escape(column.label)}</th>'
    )


def _kinds(column: Column) -> list[str]:
    return ['words'] * (not column.numeric) + ['published'] * column.published


def _html_row(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    cells = ''
    for i, (column, cell) in enumerate(zip(columns, row, strict=True)):
        kinds = _kinds(column)
        kinds += [cell.mark] if cell.mark else ['none'] * (cell.value is None)
        tag = 'td' if i else 'th'
        value = '' if cell.value is None else f' data-sort="{escape(_sort_key(cell.value))}"'
        spoken = f'<span class="unseen"> ({cell.mark})</span>' if cell.mark else ''
        note = f'<small>{escape(cell.note)}</small>' if cell.note else ''
        scope = '' if i else ' scope="row"'
        cells += f'<{tag}{scope}{value}{_class(kinds)}>{escape(cell.text)}{spoken}{note}</{tag}>'
    return cells


def _sort_key(value: float | str) -> str:
    # The script's word for infinity is not Python's.
    return value if isinstance(value, str) else repr(value).replace('inf', 'Infinity').replace('nan', 'NaN')


def _class(kinds: Sequence[str]) -> str:
    return f' class="{" ".join(kinds)}"' if kinds else ''


def _key(table: Table) -> str:
    names = [name for name in ('best', 'second') if name in table.marked]
    if any(column.published for column in table.columns):
        names.append('published')
    texts = {'best': 'best', 'second': 'second', 'published': 'published in the paper, not measured here'}
    keys = ', '.join(f'<span class="key {name}">{texts[name]}</span>' for name in names)
    return f'<p class="note">Marked: {keys}</p>' if keys else ''


def _set_body(report: Mapping, dataset: Mapping, index: int) -> str:
    parts = [f'<p class="muted">{escape(pictures(dataset))}</p>']
    if dataset.get('missing') or not measured_on(report, dataset):
        parts.append(f'<p>{escape(_why_empty(dataset))}</p>')
    if measured_on(report, dataset):
        parts.append(_html_table(set_table(report, dataset)))
    if _gallery(report, dataset, index):
        parts.append(f'<p class="note"><a href="#pictures-{index}">Best and worst pictures</a></p>')
    return ''.join(parts)


def _gallery(report: Mapping, dataset: Mapping, index: int) -> str:
    parts = []
    order = 'hazy picture at the left'
    if dataset.get('has_clear'):
        order += ', clear picture at the right'
    for method in listed(report, 'methods'):
        result = result_of(report, method, dataset) or {}
        strips = [
            _strip(report, f'{kind.capitalize()} {rank} of {label(method)}', entry, order)
            for kind in ('best', 'worst')
            for rank, entry in enumerate(entries(result, kind), 1)
        ]
        if strips:
            parts.append(f'<h4>{escape(label(method))}</h4><div class="strips">{"".join(strips)}</div>')
    head = f'<h3 id="pictures-{index}">{escape(label(dataset))}</h3><p class="note">Each strip: {order}.</p>'
    return head + ''.join(parts) if parts else ''


def _strip(report: Mapping, what: str, entry: Mapping, order: str) -> str:
    name = str(entry.get('picture') or 'unnamed')
    figures = _figures(report, entry)
    caption = f'<b>{escape(what)}</b>: {escape(name)}{escape(figures)}'
    picture, size = _picture(entry.get('strip'))
    if size is None:
        return f'<figure><figcaption>{caption} (no picture)</figcaption></figure>'
    alternative = escape(f'{what}, {name}: {order}')
    image = f'<img src="{picture}" alt="{alternative}" width="{size[0]}" height="{size[1]}" decoding="async">'
    return f'<figure>{image}<figcaption>{caption}</figcaption></figure>'


def _figures(report: Mapping, entry: Mapping) -> str:
    figures = entry.get('figures') or {}
    texts = []
    for metric in entries(report, 'metrics'):
        value = figures.get(metric.get('key'))
        if number(value) is not None:
            unit = f' {metric["unit"]}' if metric.get('unit') else ''
            texts.append(f'{label(metric)} {shown(value, metric_decimals(report, metric))}{unit}')
    return f', {", ".join(texts)}' if texts else ''


def _picture(uri: object) -> tuple[str, tuple[int, int] | None]:
    """The data URI and the width and height of its picture; no size if it is not a picture that a browser shows."""
    match = STRIP.fullmatch(uri) if isinstance(uri, str) else None
    try:
        data = base64.b64decode(match.group(1), validate=True) if match else b''
    except binascii.Error:
        data = b''
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    return (str(uri), (pixels.shape[1], pixels.shape[0])) if pixels is not None else ('', None)


def _papers(report: Mapping) -> str:
    return ''.join(_html_table(paper_table(table)) for table in entries(report, 'tables'))


def _scatters(report: Mapping) -> str:
    """A chart for each data set; the script shows one of them at a time."""
    drawn = []
    for index, dataset in enumerate(listed(report, 'sets'), 1):
        known = measured_on(report, dataset)
        metric = next((metric for metric in known if metric.get('key') == 'psnr'), known[0] if known else None)
        chart = _scatter(report, dataset, metric, index) if metric else None
        if chart:
            drawn.append((f'scatter-{index}', label(dataset), chart))
    options = ''.join(f'<option value="{name}">{escape(text)}</option>' for name, text, _ in drawn)
    choice = f'<p class="choice" hidden><label>Data set: <select>{options}</select></label></p>'
    return (choice if len(drawn) > 1 else '') + ''.join(chart for _, _, chart in drawn)


def _scatter(report: Mapping, dataset: Mapping, metric: Mapping, index: int) -> str | None:
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
    return (
        f'<figure class="chart scatter" id="scatter-{index}"><div class="wide">{wide}</div>'
        f'<div class="narrow">{narrow}</div><figcaption>{escape(" ".join(caption))}</figcaption></figure>'
    )


def _curves(report: Mapping) -> str:
    """A small chart for each series; those of one name share their axes, so that trainings compare."""
    trainings = [
        (label(curve), {str(name): curve_points(points) for name, points in (curve.get('series') or {}).items()})
        for curve in entries(report, 'curves')
    ]
    parts = []
    for i, (training, series) in enumerate(trainings, 1):
        panels = []
        for k, (name, points) in enumerate(series.items(), 1):
            caption = f'<b>{escape(name)}</b>'
            known = [point for point in points if finite(point[1]) is not None]
            if known:
                others = [point for _, rest in trainings for point in rest.get(name, [])]
                drawn = charts.line_chart(points, f'{name} of {training}', f'curve-{i}-{k}', others)
                last, value = known[-1]
                caption += f': {value:.5g} at iteration {last:.0f}'
                if len(known) < len(points):
                    caption += f', {len(points) - len(known)} of {len(points)} not finite'
            else:
                drawn, caption = '', f'{caption}: no finite value'
            panels.append(f'<figure>{drawn}<figcaption>{caption}</figcaption></figure>')
        parts.append(f'<h3>{escape(training)}</h3>')
        parts.append(f'<div class="panels">{"".join(panels)}</div>' if panels else '<p>No series.</p>')
    return ''.join(parts)


def _footer(report: Mapping) -> str:
    parts = []
    if report.get('versions'):
        versions = ', '.join(f'{name} {version}' for name, version in report['versions'].items())
        parts.append(f'<p class="muted">{escape(versions)}</p>')
    if report.get('command'):
        parts.append(f'<p class="muted">Made by:</p><pre><code>{escape(str(report["command"]))}</code></pre>')
    return f'<footer>{"".join(parts)}</footer>\n' if parts else ''
