import csv
import json
import re
from html.parser import HTMLParser

import pytest
from made_report import HOSTILE, METHODS, full, hostile

from okdnet_plugin.report.charts import Axis, Point, line_chart, scatter, thinned
from okdnet_plugin.report.figures import marks, number, shown, written_decimals
from okdnet_plugin.report.page import html, markdown
from okdnet_plugin.report.supplement import csv_of, latex
from okdnet_plugin.report.tables import cost_table, paper_table, set_table

VOID = {'meta', 'link', 'img', 'br', 'input', 'hr'}
INF, NAN = float('inf'), float('nan')


class Page(HTMLParser):
    """The page's tags in order, and whether each is closed where it must be."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f'an attribute of {tag} is there twice'
        if tag not in VOID and self.get_starttag_text()[-2] != '/':
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ('script', 'style'):
            self.texts.append(data)

    def all(self, *names: str) -> list[dict]:
        return [attrs for tag, attrs in self.tags if tag in names]

    @property
    def text(self) -> str:
        return ' '.join(self.texts)


FULL = full()


def nothing_in(key: str, value) -> dict:
    return {**FULL, key: value}


PARTIAL = {
    'empty': {},
    **{f'no {key}': nothing_in(key, []) for key in ('metrics', 'methods', 'sets', 'results', 'tables', 'curves')},
    **{f'{key} is None': nothing_in(key, None) for key in FULL},
    **{f'without {key}': {other: value for other, value in FULL.items() if other != key} for key in FULL},
    'methods without anything': nothing_in('methods', [{'key': 'okdnet'}, {'label': 'A'}, {}]),
    'sets without anything': nothing_in('sets', [{'key': 'o-haze'}, {}]),
    'results without anything': nothing_in('results', [{'method': 'okdnet', 'set': 'o-haze'}, {}]),
    'tables without anything': nothing_in('tables', [{}, {'columns': ['A'], 'rows': [{}, {'cells': []}]}]),
    'curves without anything': nothing_in('curves', [{}, {'label': 'A', 'series': {'l_pix': [], 'b': None}}]),
    'detection without anything': nothing_in('detection', {'sets': [{}, {'rows': [{}], 'strips': [{}]}]}),
    'images without anything': nothing_in('images', [{}, {'columns': [{}]}, {'set': 'a', 'picture': 'b'}]),
    'one point': nothing_in('curves', [{'label': 'A', 'series': {'a': [[1, 0.5]], 'b': [[1, 'nan']]}}]),
}


@pytest.fixture(scope='module', params=['full', 'hostile', *PARTIAL])
def report(request) -> dict:
    return {'full': full, 'hostile': hostile}.get(request.param, lambda: PARTIAL[request.param])()


@pytest.fixture(scope='module')
def text(report) -> str:
    return html(report)


@pytest.fixture(scope='module')
def page(text) -> Page:
    return Page(text)


def test_every_page_is_balanced_and_needs_no_other_file(text, page):
    text.encode('utf-8')
    for tag, attrs in page.tags:
        assert not any(name.startswith('on') for name in attrs), tag
        for name in {'src', 'href', 'srcset', 'action', 'data', 'poster', 'xlink:href', 'style'} & set(attrs):
            assert attrs[name].startswith(('data:image/', 'data:,', '#')), (tag, attrs[name])
    assert '@import' not in text
    assert 'url(' not in text
    assert len(page.all('script')) == 1
    ids = [attrs['id'] for _, attrs in page.tags if 'id' in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs['href'][1:] for attrs in page.all('a')} <= set(ids)


def test_every_page_can_be_read_without_sight(page):
    assert page.all('html')[0]['lang'] == 'en'
    assert len(page.all('h1')) == 1
    assert all(attrs['alt'] and int(attrs['width']) > 0 and int(attrs['height']) > 0 for attrs in page.all('img'))
    assert all(attrs['scope'] in ('col', 'colgroup', 'row') for attrs in page.all('th'))
    assert len(page.all('caption')) == len(page.all('table'))
    ids = {attrs['id'] for _, attrs in page.tags if 'id' in attrs}
    for attrs in page.all('svg'):
        assert set(attrs['aria-labelledby'].split()) <= ids


def test_every_markdown_table_is_well_formed(report):
    text = markdown(report)
    text.encode('utf-8')
    blocks = [block.splitlines() for block in text.split('\n\n') if block.startswith('|')]
    for block in blocks:
        widths = {len(re.split(r'(?<!\\)\|', line)) for line in block}
        assert len(widths) == 1, block
        assert re.fullmatch(r'\|( :?-+:? \|)+', block[1])
    assert '\n\n\n' not in text


def test_the_report_survives_json():
    report = json.loads(json.dumps(full()))
    assert html(report) == html(full())


def test_what_stands_in_the_report_stands_on_the_page():
    text = Page(html(full())).text
    for words in (
        'SOTS indoor',
        'OKDNet small',
        '36.36',
        '46.10',
        'RGB, whole image',
        'basicsr report -opt',
        'CPU, 2',
    ):
        assert words in text
    assert 'basicsr 1.4.2' in text
    assert 'The JPEG decoder moves' in text
    assert 'l_pix' in text


@pytest.mark.parametrize('write', [html, markdown])
def test_what_is_missing_is_named_with_its_reason(write):
    text = write(full())
    for words in ('weights models/dcpdn.pth do not exist', 'datasets/HSTS does not exist', 'install pyiqa'):
        assert words in text


@pytest.mark.parametrize('write', [html, markdown])
def test_an_empty_report_says_that_it_is_empty_and_shows_no_figure(write):
    text = write({})
    for words in ('Methods', 'Data sets', 'Metrics', 'Published figures', 'Training curves'):
        assert words in text
    shown_text = Page(text).text if write is html else text
    assert not re.search(r'\d', shown_text)


def test_a_result_that_was_not_made_is_named():
    report = full()
    del report['results'][0]
    assert 'no result of DCP' in markdown(report)


def test_hostile_names_are_text():
    page = Page(html(hostile()))
    assert HOSTILE.split('\N{RIGHT-TO-LEFT OVERRIDE}')[0] in page.text
    assert '霧除去' in page.text
    assert '\x00' not in html(hostile())
    assert '\N{RIGHT-TO-LEFT OVERRIDE}' not in html(hostile())
    assert 'javascript:' not in html(hostile())
    assert 'svg+xml' not in html(hostile())
    assert '(no image)' in page.text


def test_hostile_names_are_text_in_markdown():
    text = markdown(hostile()).split('```')
    assert len(text) == 3
    assert '<script' not in text[0] + text[2]
    assert not re.search(r'(?<!\\)`', text[0] + text[2])


def test_a_command_with_a_fence_stays_inside_its_own():
    assert '\n````\na ``` b\n````\n' in markdown({'command': 'a ``` b'})


@pytest.mark.parametrize(
    ('values', 'better', 'expected'),
    [
        ([20.0, 30.0, 25.0], 'higher', ['', 'best', 'second']),
        ([20.0, 30.0, 25.0], 'lower', ['best', '', 'second']),
        ([20.0, 30.0], 'higher', ['', 'best']),
        ([20.0], 'higher', ['']),
        ([20.001, 20.002, 10], 'higher', ['best', 'best', '']),
        ([None, 'nan', 5, 'inf', 7], 'higher', ['', '', '', 'best', 'second']),
        ([None, 'nan', 5, 'inf', 7], 'lower', ['', '', 'best', '', 'second']),
        ([1, 2, 3], None, ['', '', '']),
    ],
)
def test_marks_respect_which_end_is_better(values, better, expected):
    assert marks(values, better, 2) == expected


def test_the_page_marks_the_best_value_of_each_metric():
    report = full()
    table = set_table(report, report['sets'][0])
    best = {
        column.label: row[0].text
        for i, column in enumerate(table.columns)
        for row in table.rows
        if row[i].mark == 'best'
    }
    assert best == {'PSNR (dB) ↑': 'FFA-Net', 'SSIM ↑': 'FFA-Net', 'NIQE ↓': 'FFA-Net'}
    report['metrics'][0]['better'] = 'lower'
    assert '| **16.61** |' in markdown(report)
    assert re.search(r'class="best">16.61<', html(report))


def test_a_mean_of_fewer_images_is_no_rival():
    report = full()
    figure = report['results'][12]['figures']['psnr']
    figure.update(mean=99.0, count=7)
    assert '99.00 (7 of 500 images)' in markdown(report)
    assert '**99.00**' not in markdown(report)
    figure.update(count=497, infinite=3)
    assert '**99.00** (3 infinite)' in markdown(report)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (30.104, '30.10'),
        ('30.104', '30.10'),
        (None, '—'),
        ('', '—'),
        ('none', '—'),
        (True, '—'),
        ([1], '—'),
        ('inf', '∞'),
        (INF, '∞'),
        ('-inf', '-∞'),
        ('nan', 'NaN'),
        (NAN, 'NaN'),
    ],
)
def test_figures_as_text(value, expected):
    assert shown(value, 2) == expected
    assert (number(value) is None) == (expected == '—')


def test_infinite_and_nan_values_are_shown_and_sorted_apart():
    report = full()
    report['results'][0]['figures']['psnr']['mean'] = 'inf'
    report['results'][3]['figures']['psnr']['mean'] = 'nan'
    report['methods'][0]['gmacs'] = 'nan'
    page = html(report)
    assert '<td data-sort="Infinity" class="best">∞' in page
    assert '<td data-sort="NaN">NaN</td>' in page
    assert '| **∞** |' in markdown(report)


def test_published_figures_are_apart_from_measured_ones():
    table = paper_table(full()['tables'][0])
    assert [column.label for column in table.columns[1:]] == ['published', 'measured'] * 3
    assert [cell.text for cell in table.rows[2]] == ['DCPDN', '15.85', '—', '0.8175', '—', '19.93', '—']
    assert table.rows[2][2].note == 'no weights'
    page = Page(html(full()))
    assert 'published in the paper, not measured here' in page.text
    assert sum('published' in attrs.get('class', '') for attrs in page.all('td')) == 18
    assert '| 16.62 / 16.61 |' in markdown(full())


def test_measured_figures_are_as_exact_as_the_paper():
    assert written_decimals([19.95, 20.4, None, 'nan']) == 2
    row = {'metric': 'PSNR', 'cells': [{'published': 19.95, 'measured': 16.6123}]}
    assert [cell.text for cell in paper_table({'columns': ['A'], 'rows': [row]}).rows[0][1:]] == ['19.95', '16.61']


def test_the_cost_of_a_method_without_a_network_is_a_gap():
    table = cost_table({'methods': [{'label': 'DCP', 'parameters': 0}, {'label': 'A', 'parameters': 2581227}]})
    assert [cell.text for cell in table.rows[0]] == ['DCP', '—', '0', '—', '—', '—', '—', '—']
    assert table.rows[1][2].text == '2.58 M'


def test_methods_without_cost_are_named_under_the_chart():
    assert 'Not drawn: DCP (no GMACs), DCPDN (no figure).' in Page(html(full())).text


def test_tables_for_latex_mark_the_best_and_the_second_of_a_column():
    report = full()
    lines = latex(set_table(report, report['sets'][0])).splitlines()
    assert lines[4:8] == [
        r'\begin{tabular}{lrrrrr}',
        r'\toprule',
        r'Method & PSNR (dB) $\uparrow$ & SSIM $\uparrow$ & NIQE $\downarrow$ & Network time (s) & Whole time (s) \\',
        r'\midrule',
    ]
    assert lines[-2:] == [r'\bottomrule', r'\end{tabular}']
    assert r'FFA-Net & \textbf{36.36} & \textbf{0.9886} & \textbf{2.364} & 400.0 & 450.0 \\' in lines
    assert r'GridDehazeNet & \underline{32.14} & \underline{0.9836} & \underline{2.786} & 400.0 & 450.0 \\' in lines
    assert r'13.06 {\footnotesize (40 of 45 images)}' in latex(set_table(report, report['sets'][2]))
    assert all(line.startswith('% ') for line in lines[:4])


def test_published_figures_for_latex_stand_beside_measured_ones():
    lines = latex(paper_table(full()['tables'][0])).splitlines()
    at = lines.index(r'\toprule')
    assert lines[at + 1].startswith(r' & \multicolumn{2}{c}{SOTS indoor PSNR $\uparrow$} & \multicolumn{2}{c}')
    assert lines[at + 2] == r'\cmidrule(lr){2-3} \cmidrule(lr){4-5} \cmidrule(lr){6-7}'
    assert lines[at + 3] == rf'Method & {" & ".join(["published", "measured"] * 3)} \\'


def test_hostile_names_are_text_in_latex():
    report = hostile()
    for table in [set_table(report, one) for one in report['sets'][:3]] + [paper_table(report['tables'][0])]:
        for line in latex(table).splitlines():
            text = re.sub(r'\\(?:[a-z]+\b|[&%$#_{}\\])|\$\\[a-z]+\$', '', '' if line.startswith('% ') else line)
            assert not set(text) & set('%#_~^<>|\\$'), line
            assert line.startswith('%') or text.count('{') == text.count('}')


def test_tables_as_csv_hold_the_values_and_remarks():
    report = full()
    rows = list(csv.DictReader(csv_of(set_table(report, report['sets'][0])).splitlines()))
    assert [row['PSNR (dB) ↑'] for row in rows] == [*(str(values[4]) for values in METHODS.values()), '']
    rows = list(csv.DictReader(csv_of(set_table(report, report['sets'][2])).splitlines()))
    assert [row['PSNR (dB) ↑, remark'] for row in rows] == ['', '40 of 45 images', *[''] * 6]
    costs = list(csv.DictReader(csv_of(cost_table(report)).splitlines()))
    assert [costs[5][key] for key in ('Parameters', 'GMACs', 'Measured at')] == ['2581227.0', '46.1', '460 x 620']
    published = next(csv.reader(csv_of(paper_table(report['tables'][0])).splitlines()))
    assert published[:4] == [
        'Method',
        'SOTS indoor PSNR ↑ published',
        'SOTS indoor PSNR ↑ measured',
        'SOTS indoor PSNR ↑ measured, remark',
    ]


def test_labels_of_a_crowded_chart_do_not_overlap():
    points = [Point(f'Method {i}', 10 * 1.02**i, 30 + 0.05 * i, '') for i in range(8)]
    drawn = scatter(points, 'x', 'y', 'higher', 'name', 760)
    places = [(float(x), float(y)) for x, y in re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)"', drawn)]
    assert len(places) == 8
    for i, (x, y) in enumerate(places):
        assert all(abs(x - u) > 60 or abs(y - v) > 13 for u, v in places[i + 1 :])


@pytest.mark.parametrize('values', [(5, 5), (0, 0), (1e-9, 2e-9), (-3, 4), (1e6, 3e7), (1, 1e6), (1e15, 1e15 + 1)])
def test_charts_of_any_range(values):
    drawn = line_chart(list(enumerate(values)), 'title', 'name')
    assert 'nan' not in drawn
    assert 1 <= drawn.count('class="tick"') < 20


def test_gaps_and_spikes_of_a_curve_stay():
    points = [(i, 1.0) for i in range(10_000)]
    points[5005] = (5005, 9.0)
    points[7000:7400] = [(i, NAN) for i in range(7000, 7400)]
    assert (5005, 9.0) in thinned(points)
    assert len(thinned(points)) <= 400
    assert line_chart([(0, 1.0), (1, NAN), (2, 1.0), (3, INF), (4, 2.0)], 'a', 'b').count('class="curve"') == 3


def test_a_logarithmic_axis_has_ticks():
    for low, high in ((0.1, 300), (17, 22), (1e-6, 1e6), (2, 2.2)):
        assert len(Axis(low, high, 0, 1, log=True).ticks(6)) <= 7


def test_what_a_detector_finds_is_a_table_and_images_for_each_set():
    text = markdown(full())
    rows = {line.split(' | ')[0].strip('| '): line for line in text.split('## Detection on RTTS')[1].splitlines()[:8]}
    assert '| **0.750** | **0.375** | 2 |' in rows['OKDNet']
    assert rows['AOD-Net'].endswith('| — | — | 2 |')
    assert 'Against annotations: 40 objects in 25 images.' in text
    assert 'Agreement with the clear images' in text
    page = Page(html(full()))
    shown = [attrs['alt'] for attrs in page.all('img') if 'Objects found' in attrs['alt']]
    assert len(shown) == 3
    assert shown[0].startswith('Objects found: hazy input 2, OKDNet 3, 0001')
