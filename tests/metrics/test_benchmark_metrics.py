"""The benchmark of the metrics prints its table."""

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

FILE = Path(__file__).parents[2] / 'scripts' / 'benchmark_metrics.py'


@pytest.fixture
def benchmark(monkeypatch):
    """Runs the script in this process, whose threads it leaves alone."""
    spec = importlib.util.spec_from_file_location('benchmark_metrics', FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for library, name in ((torch, 'set_num_threads'), (cv2, 'setNumThreads')):
        monkeypatch.setattr(library, name, lambda threads: None)

    def main(*arguments):
        monkeypatch.setattr(sys, 'argv', ['benchmark_metrics.py', *map(str, arguments)])
        return module.main()

    return main


def test_table_has_a_row_for_each_metric(benchmark, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'one.png'), np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8))
    (tmp_path / 'notes.txt').write_text('no picture')
    assert benchmark('--pictures', tmp_path, '--rounds', 1) == 0
    first, _, *table = capsys.readouterr().out.splitlines()
    assert first == '1 pictures of 200x100, 1 rounds'
    assert len(table) == 2 + 7
    for row in table[2:5]:
        assert float(row.strip('| ').split(' | ')[-1]) < 1e-6  # the deviation


@pytest.mark.parametrize('arguments', [['--rounds', 0], ['--pictures', 'nowhere']])
def test_wrong_argument_is_named(benchmark, arguments, capsys):
    with pytest.raises(SystemExit, match='2'):
        benchmark(*arguments)
    assert f'error: {arguments[0]} ' in capsys.readouterr().err
