"""The benchmark of a validation prints both ways, whose values are equal."""

import importlib.util
import json
import sys
from pathlib import Path

from okdnet_plugin.models.restoration_model import RestorationModel

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'benchmark' / 'validation.py'


def test_both_ways_give_the_same_means(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('benchmark_validation', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(RestorationModel, 'metric_threads', None)
    size = ['--size', '32', '40', '--images', '4', '--turn', '2']
    kept = tmp_path / 'v.json'
    monkeypatch.setattr(sys, 'argv', ['validation.py', '--network', 'AODNet', *size, '--json', str(kept)])
    assert module.main() == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(('| before', '| now'))]
    assert len(rows) == 2
    result = json.loads(kept.read_text())
    assert result['images'] == 4
    assert result['largest_difference'] < 1e-10
    for row in result['ways'].values():
        assert 0 < row['network'] < row['all']
        assert row['values'].keys() == {'psnr', 'ssim'}
