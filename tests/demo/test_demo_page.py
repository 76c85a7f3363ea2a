"""The page of `basicsr demo` in a real browser: upload, slider, download, several users, nothing asked of elsewhere."""

import shutil

import numpy as np
import pytest
from PIL import Image

from okdnet_plugin import cli

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
if BROWSER is None:
    pytest.skip('no chromium, chromium-browser or google-chrome on the PATH', allow_module_level=True)
pytest.importorskip('gradio', reason='no Gradio')
playwright = pytest.importorskip('playwright.sync_api', reason='no playwright')

from okdnet_plugin.demo import page as demo  # noqa: E402
from okdnet_plugin.demo.worker import Worker  # noqa: E402

_PATIENCE = 60_000  # ms, of a machine that has other work


@pytest.fixture(scope='module')
def address():
    worker = Worker('cpu', 'fp32', 'eager', 1)
    blocks = demo.build(worker, ['okdnet'])
    yield demo.serve(blocks, '127.0.0.1', None, 2**20)
    blocks.close(verbose=False)
    worker.close()


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def hazy(tmp_path):
    path = tmp_path / 'street.png'
    Image.fromarray(np.random.default_rng(0).integers(120, 250, (60, 80, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def opened(browser, address):
    """A page with a file dropped on it, and what it has asked for."""
    pages = []

    def open_page(path):
        page = browser.new_page(viewport={'width': 1200, 'height': 900})
        page.set_default_timeout(_PATIENCE)
        pages.append(page)
        asked = []
        page.on('request', lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector('#start')
        page.set_input_files('#given input[type=file]', path)
        page.wait_for_selector(f'#given >> text={path.stem[:4]}')
        return page, asked

    yield open_page
    for page in pages:
        page.close()


def test_an_image_is_dehazed_compared_and_kept(opened, hazy, address, tmp_path):
    page, asked = opened(hazy)
    page.check('#maps input')
    page.click('#start')
    page.wait_for_selector('#result')
    page.wait_for_selector('#transmission img')
    page.wait_for_selector('#airlight img')
    slider = page.locator('#slider')
    page.wait_for_function("[...document.querySelectorAll('#slider img')].filter(one => one.complete).length >= 2")
    box = slider.bounding_box()
    middle = box['y'] + box['height'] / 2
    before = slider.screenshot()
    page.mouse.move(box['x'] + box['width'] / 2, middle)
    page.mouse.down()
    page.mouse.move(box['x'] + box['width'] * 0.9, middle, steps=5)
    page.mouse.up()
    assert slider.screenshot() != before
    with page.expect_download() as found:
        page.click('#result')
    found.value.save_as(tmp_path / 'got.png')
    assert cli.main(['dehaze', '-i', str(hazy), '-o', str(tmp_path / 'wanted.png'), '--backend', 'eager']) == 0
    assert found.value.suggested_filename == 'street.png'
    assert (tmp_path / 'got.png').read_bytes() == (tmp_path / 'wanted.png').read_bytes()
    assert [url for url in asked if not url.startswith((address, 'data:', 'blob:'))] == []


def test_a_bad_file_is_one_line_with_its_name_alone(opened, tmp_path):
    path = tmp_path / 'none.png'
    path.write_text('no image')
    page, _ = opened(path)
    page.click('#start')
    text = page.wait_for_selector('[data-testid=toast-text]').inner_text()
    assert 'none.png cannot be decoded' in text
    assert str(tmp_path) not in text
    assert '/gradio/' not in text


def test_users_wait_for_one_another_and_each_gets_a_result(opened, hazy):
    pages = [opened(hazy)[0] for _ in range(2)]
    for page in pages:
        page.click('#start')
    for page in pages:
        page.wait_for_selector('#result')
