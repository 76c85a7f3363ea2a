"""The page in a real browser, without a screen; what it finds about itself comes back in the dumped document."""

import html as html_module
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from made_report import HOSTILE, full, hostile

from okdnet_plugin.report.page import html

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason='no chromium, chromium-browser or google-chrome on the PATH')

OPTIONS = [
    *('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'),
    *('--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage'),
    *('--hide-scrollbars', '--window-size=1600,1000', '--virtual-time-budget=10000', '--dump-dom'),
]

# A window has a least width, a frame has none.
FRAME = """<!DOCTYPE html><body style="margin:0"><pre id="found"></pre><script>
addEventListener('message', (event) => { document.getElementById('found').textContent = event.data; });
</script><iframe src="page.html" style="border:0;width:WIDTHpx;height:844px"></iframe></body>"""

PROBE = """<script>
addEventListener('load', () => {
  const found = {};
  const table = document.querySelector('table');
  const column = (index) => [...table.tBodies[0].rows].map((row) => row.cells[index].firstChild.data);
  const sorted = (index) => {
    const head = table.querySelector(`th[data-column="${index}"]`);
    head.querySelector('button').click();
    return [head.getAttribute('aria-sort'), column(index), table.querySelectorAll('[aria-sort]').length];
  };
  try {
    found.pictures = [...document.images].map((image) => image.naturalWidth);
    found.width = document.documentElement.clientWidth;
    found.content = document.documentElement.scrollWidth;
    found.scrolling = [...document.querySelectorAll('.scroll')].map((box) => [box.scrollWidth, box.clientWidth]);
    found.first = table.querySelector('th').dataset.column;
    found.psnr = [column(1), sorted(1), sorted(1)];
    found.niqe = [sorted(3)];
    found.method = [sorted(0), sorted(0)];
    found.keyboard = [...document.querySelectorAll('th[data-column]')].every(
      (head) => head.firstElementChild.tabIndex === 0 && head.firstElementChild.localName === 'button');
    const shown = () => [...document.querySelectorAll('.scatter')].map((chart) => chart.offsetHeight > 0);
    const select = document.querySelector('.choice select');
    found.charts = [shown()];
    select.selectedIndex = 1;
    select.dispatchEvent(new Event('change'));
    found.charts.push(shown());
    found.drawings = [...document.querySelectorAll('.scatter:not(.unchosen) svg')].map((svg) => svg.clientWidth > 0);
    const dialog = document.querySelector('dialog');
    const zoom = document.querySelector('.strips button');
    found.dialog = [dialog.open];
    zoom.click();
    found.dialog.push(dialog.open, dialog.querySelector('img').naturalWidth, dialog.querySelector('p').textContent);
    dialog.querySelectorAll('button')[0].click();
    found.previous = dialog.querySelector('p').textContent;
    dialog.querySelectorAll('button')[2].click();
    found.dialog.push(dialog.open);
    found.resources = performance.getEntriesByType('resource').map((entry) => entry.name);
    found.scripts = document.scripts.length;
    found.title = document.title;
    found.wide = [...document.querySelectorAll('main *')]
      .filter((one) => !one.closest('.scroll, svg') && one.getBoundingClientRect().right > found.width + 1)
      .map((one) => one.outerHTML.slice(0, 80));
  } catch (error) { found.error = String(error.stack); }
  parent.postMessage(JSON.stringify(found), '*');
});
</script>"""


def look(folder: Path, report: dict, width: int) -> dict:
    """What the probe finds on the page of the report in a frame of that width."""
    page = html(report)
    assert page.count('</body>') == 1
    (folder / 'page.html').write_text(page.replace('</body>', PROBE + '</body>'), encoding='utf-8')
    frame = folder / 'frame.html'
    frame.write_text(FRAME.replace('WIDTH', str(width)), encoding='utf-8')
    command = [BROWSER, *OPTIONS, f'--user-data-dir={folder / "profile"}', frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    match = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert match, f'{done.stdout[-500:]}\n{done.stderr[-2000:]}'
    found = json.loads(html_module.unescape(match.group(1)))
    assert 'error' not in found, found['error']
    return found


@pytest.fixture(scope='module', params=[390, 1280])
def found(request, tmp_path_factory) -> dict:
    return look(tmp_path_factory.mktemp('browser'), full(), request.param)


def test_all_images_load(found):
    assert len(found['pictures']) == 31
    assert set(found['pictures']) == {960}


def test_nothing_is_fetched(found):
    assert [name for name in found['resources'] if not name.startswith('data:')] == []


def test_the_page_never_scrolls_sideways_and_wide_tables_do_in_their_box(found):
    assert found['width'] in (390, 1280)
    assert found['content'] == found['width']
    assert found['wide'] == []
    if found['width'] == 390:
        assert any(inner > outer for inner, outer in found['scrolling'])


def test_a_column_of_numbers_sorts_both_ways_with_gaps_last(found):
    before, (first, down, marked), (second, up, _) = found['psnr']
    assert before[-1] == '—'
    assert (first, second, marked) == ('descending', 'ascending', 1)
    figures = sorted(map(float, before[:-1]))
    assert [*map(float, up[:-1])] == figures
    assert [*map(float, down[:-1])] == figures[::-1]
    assert (up[-1], down[-1]) == ('—', '—')


def test_the_first_click_brings_the_best_to_the_top(found):
    order, values, marked = found['niqe'][0]
    assert (order, marked) == ('ascending', 1)
    assert values[0] == '2.364'


def test_a_column_of_words_sorts_as_words(found):
    (first, up, _), (second, down, _) = found['method']
    assert (first, second) == ('ascending', 'descending')
    assert up[0] == 'AOD-Net'
    assert up == down[::-1]


def test_tables_sort_from_the_keyboard(found):
    assert found['keyboard']


def test_the_data_set_of_the_chart_can_be_chosen(found):
    assert found['charts'] == [[True, False, False], [False, True, False]]
    assert sorted(found['drawings']) == [False, True]


def test_an_image_is_enlarged_in_a_dialog(found):
    closed, opened, width, caption, closed_again = found['dialog']
    assert (closed, opened, closed_again) == (False, True, False)
    assert width == 960
    assert caption.startswith('hazy: 0001, PSNR 12.50 dB')
    assert found['previous'].startswith('Objects found: hazy input 2, OKDNet 3')


def test_hostile_names_run_nothing_and_do_not_widen_the_page(tmp_path):
    found = look(tmp_path, hostile(), 390)
    assert found['scripts'] == 2
    assert HOSTILE[:20] in found['title']
    assert found['content'] == 390
    assert found['wide'] == []
    assert len(found['pictures']) == 29
    assert min(found['pictures']) > 0
