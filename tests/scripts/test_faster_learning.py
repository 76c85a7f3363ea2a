"""`scripts/benchmark/faster_learning.py`: every variant trains, is measured, and is not trained twice."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'benchmark' / 'faster_learning.py'


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location('faster_learning', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'VARIANTS', {'all three': module.VARIANTS['all three']})
    return module


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ('clear', 'depth'):
        (tmp_path / folder).mkdir()
    for number in range(6):
        clear = cv2.resize(rng.integers(0, 256, (4, 5, 3), np.uint8), (40, 32))
        cv2.imwrite(str(tmp_path / f'clear/{number}.png'), clear)
        cv2.imwrite(str(tmp_path / f'depth/{number}.png'), np.tile(np.linspace(20, 255, 40), (32, 1)).astype(np.uint8))
    return [str(tmp_path / 'clear'), str(tmp_path / 'depth')]


@pytest.mark.long
def test_variants_are_trained_once_and_shown_beside_one_another(script, folders, tmp_path, capsys, monkeypatch):
    options = ['--minutes', '0.0001', '--seeds', '0', '--size', '32', '--batch', '2', '-o', str(tmp_path / 'out')]
    assert script.main([*folders, *options]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith('| ')]
    assert [row.split(' | ')[0] for row in rows[1:]] == ['| all three']
    assert rows[1].endswith('| +0.00 |')
    results = json.loads((tmp_path / 'out/results.json').read_text())
    assert results['all three/0']['steps'] == results['steps of all three'] >= 1
    journal = (tmp_path / 'out/experiments/all_three_0/metrics.jsonl').read_text()
    assert {'l_branch', 'l_trans', 'l_air'} <= json.loads(journal.splitlines()[0]).keys()
    monkeypatch.setattr(script, '_train', lambda *_: pytest.fail('it is trained already'))
    assert script.main([*folders, *options]) == 0


def test_the_images_that_are_measured_are_not_trained_on(script, folders, tmp_path):
    args = script._parse([*folders, '-o', str(tmp_path)])
    lists = {part: set(path.read_text().split()) for part, path in script._split(args).items()}
    assert lists['val'] == {'0.png'}
    assert lists['train'] == {f'{number}.png' for number in range(1, 6)}


def test_folders_that_are_not_there_are_one_line(script, tmp_path, capsys):
    assert script.main([str(tmp_path / 'no'), str(tmp_path), '-o', str(tmp_path / 'out')]) == 2
    assert 'does not exist' in capsys.readouterr().err
