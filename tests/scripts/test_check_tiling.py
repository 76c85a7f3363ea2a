"""scripts/check_tiling.py: images in tiles against whole ones, as a table."""

import cv2
import numpy as np
import pytest

from conftest import load_script


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for name in ('hazy', 'clear'):
        path = str(tmp_path / f'{name}.png')
        cv2.imwrite(path, cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (240, 180)))
        paths.append(path)
    return paths


def table_of(capsys):
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]


def test_each_image_is_brought_to_its_size_and_compared_in_tiles_that_are_smaller(images, capsys):
    check = load_script('scripts/check_tiling.py')
    sizes = ['--megapixels', '0.03,0.12', '--tiles', '128,256,512', '--markdown']
    assert check.main([images[0], images[1], '--network', 'DCP', *sizes, '--device', 'cpu']) == 0
    head, _, *rows = table_of(capsys)
    assert head[:3] == ['image', 'size', 'tile']
    assert [row[:3] for row in rows] == [
        ['hazy.png', '200x150', '128'],
        ['clear.png', '400x300', '128'],
        ['clear.png', '400x300', '256'],
    ]
    assert all(10 < float(row[3]) < 100 for row in rows), 'dark channels near the edges of tiles differ, and not much'


def test_the_psnr_against_a_clear_image_is_that_of_whole_and_of_tiles(images, capsys):
    check = load_script('scripts/check_tiling.py')
    given = [images[0], '--clear', images[1], '--network', 'DCP', '--tiles', '128', '--markdown', '--device', 'cpu']
    assert check.main(given) == 0
    head, _, row = table_of(capsys)
    clear = cv2.imread(images[1]).astype(float)
    from okdnet_plugin import Dehazer
    from okdnet_plugin.weights.loading import Weights

    for tile, column in ((0, 'whole, dB'), (128, 'tiles, dB')):
        result = Dehazer(Weights({'type': 'DCP'}, {}), tile=tile, device='cpu', backend='eager')(images[0])
        psnr = 10 * np.log10(255**2 / ((result[..., ::-1] - clear) ** 2).mean())
        assert float(row[head.index(column)]) == pytest.approx(psnr, abs=1e-3)


def test_sizes_that_are_not_one_for_each_image_are_refused_in_a_line(images, capsys):
    check = load_script('scripts/check_tiling.py')
    assert check.main([*images, '--network', 'DCP', '--megapixels', '1']) == 2
    assert capsys.readouterr().err.count('\n') == 1
