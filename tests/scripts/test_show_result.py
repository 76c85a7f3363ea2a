import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import run, write_options

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'show_result.py'


@pytest.fixture
def options(train_options, tmp_path):
    """Option file of a test whose saved results are the clear images, each value raised by 1."""
    options = {
        'name': 'shown',
        'scale': 1,
        'datasets': {'test': train_options['datasets']['val']},
        'val': {'suffix': None, 'metrics': train_options['val']['metrics']},
    }
    dataset = options['datasets']['test']
    folder = tmp_path / 'results' / 'shown' / 'visualization' / dataset['name']
    folder.mkdir(parents=True)
    for hazy in Path(dataset['dataroot_lq']).iterdir():
        clear = cv2.imread(f'{dataset["dataroot_gt"]}/{hazy.stem.split("_")[0]}.png')
        cv2.imwrite(str(folder / f'{hazy.stem}_shown.png'), clear + np.where(clear < 255, 1, -1).astype(np.uint8))
    return write_options(tmp_path / 'shown.yml', options)


def show(*arguments, cwd):
    return run(sys.executable, SCRIPT, *arguments, cwd=cwd)


def test_input_and_result_stand_side_by_side_over_a_grid(options, tmp_path):
    done = show(options, '--rows', '3', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == 'Held, mean of 8 images'
    assert lines[1].split() == ['hazy', 'result']
    name, hazy, result = lines[2].split()
    assert name == 'psnr'
    assert float(hazy) < 20
    assert float(result) == pytest.approx(20 * np.log10(255), abs=0.01)
    assert lines[3].startswith('ssim')
    grid = Path(lines[4].split()[-1])
    assert grid == tmp_path / 'results' / 'shown' / 'before_after.png'
    height, width = cv2.imread(str(grid)).shape[:2]
    assert 3 * 240 < height < 4 * 240
    assert 3 * 320 < width < 4 * 320


def test_missing_results_are_one_line_that_says_what_to_do(options, tmp_path):
    shutil.rmtree(tmp_path / 'results' / 'shown' / 'visualization')
    done = show(options, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count('\n') == 1
    assert 'basicsr test' in done.stderr
