"""The benchmark of the metrics prints its table."""

import sys

import cv2
import numpy as np
import pytest
import torch

from conftest import load_script


@pytest.fixture
def benchmark(monkeypatch):
    """Runs the script in this process, whose threads it leaves alone."""
    module = load_script('scripts/benchmark/metrics.py')
    for library, name in ((torch, 'set_num_threads'), (cv2, 'setNumThreads')):
        monkeypatch.setattr(library, name, lambda threads: None)

    def main(*arguments):
        monkeypatch.setattr(sys, 'argv', ['metrics.py', *map(str, arguments)])
        return module.main()

    return main


def test_table_has_a_row_for_each_metric(benchmark, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'one.png'), np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8))
    (tmp_path / 'notes.txt').write_text('no image')
    assert benchmark('--images', tmp_path, '--rounds', 1) == 0
    _, first, _, *table = capsys.readouterr().out.splitlines()
    assert first == '1 images of 200x100, 1 rounds'
    assert len(table) == 2 + 7
    for row in table[2:5]:
        assert float(row.strip('| ').split(' | ')[-1]) < 1e-6  # the deviation


@pytest.mark.parametrize('arguments', [['--rounds', 0], ['--images', 'nowhere']])
def test_wrong_argument_is_named(benchmark, arguments, capsys):
    with pytest.raises(SystemExit, match='2'):
        benchmark(*arguments)
    assert f'error: {arguments[0]} ' in capsys.readouterr().err
