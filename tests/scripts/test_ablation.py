"""`scripts/benchmark/ablation.py`: variants as in options/ablation, trained once, tested, and set beside the paper."""

import json

import cv2
import numpy as np
import pytest

from conftest import load_script
from okdnet_plugin import config
from okdnet_plugin.config.check import check


@pytest.fixture
def script():
    return load_script('scripts/benchmark/ablation.py')


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)

    def image(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, (4, 5, 3), np.uint8), (80, 64)))

    for number in range(4):
        image(tmp_path / f'nyu/clear/{number}.png')
        (tmp_path / 'nyu/depth').mkdir(exist_ok=True)
        depth = np.tile(np.linspace(20, 255, 80), (64, 1)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f'nyu/depth/{number}.png'), depth)
    for side, name in (('hazy', '1440_2'), ('hazy', '1441_2'), ('clear', '1440'), ('clear', '1441')):
        image(tmp_path / f'sots_indoor_val/{side}/{name}.png')
    for side in ('hazy', 'clear'):
        image(tmp_path / f'sots_outdoor_val/{side}/0001.png')
    return tmp_path


def arguments(script, data, *more):
    return script._parse(
        [str(data), '--iterations', '4', '--batch', '2', '--size', '32', '-o', str(data / 'out'), *more]
    )


@pytest.mark.parametrize('variant', 'ABCDEF')
def test_each_variant_is_that_of_its_option_file_and_differs_in_nothing_else(script, data, variant):
    args = arguments(script, data)
    args.out.mkdir()
    train, sets = script._data(data)
    opt, whole = (script._options(args, 'name', one, 7, train, sets) for one in (variant, 'F'))
    assert check(opt, phase='train') == []
    of_file = config.load(str(script.OPTIONS / script.VARIANTS[variant]))
    assert opt['network_g'] == of_file['network_g']
    assert opt['train']['distill_opt'] == of_file['train']['distill_opt']
    changed = [key for key in whole if opt[key] != whole[key]]
    assert changed == {'A': ['network_g'], 'B': ['network_g'], 'C': ['network_g'], 'F': []}.get(variant, ['train'])
    assert opt['manual_seed'] == 7
    assert [block['name'] for block in opt['datasets'].values()] == ['NYU', 'sots_indoor_val', 'sots_outdoor_val']


def trains_by(monkeypatch, script, values):
    """In the place of trainings: each writes its journal; returns the names of those that ran."""
    ran = []

    def run(command, cwd, **_):
        name = command[command.index('-opt') + 1].removesuffix('.yml')
        ran.append(name)
        journal = cwd / 'experiments' / name / 'metrics.jsonl'
        journal.parent.mkdir(parents=True)
        variant, seed = name.split('_')
        lines = [{'iter': 4, 'l_pix': 0.1}]
        lines += [{'iter': 4, 'dataset': one, 'psnr': values[variant] + int(seed), 'ssim': 0.8} for one in script.SETS]
        journal.write_text(''.join(json.dumps(line) + '\n' for line in lines))
        return type('Done', (), {'returncode': 0})

    monkeypatch.setattr(script.common.subprocess, 'run', run)
    return ran


def test_the_table_has_mean_and_spread_beside_the_paper_and_nothing_is_trained_twice(script, data, monkeypatch, capsys):
    ran = trains_by(monkeypatch, script, {'A': 20.0, 'F': 21.5})
    given = [str(data), '--iterations', '4', '-o', str(data / 'out'), '--variants', 'A', 'F']
    assert script.main([*given, '--seeds', '0']) == 0
    assert script.main([*given, '--seeds', '0', '1']) == 0
    assert ran == ['A_0', 'F_0', 'A_1', 'F_1']
    assert script.main([*given, '--seeds', '0', '1']) == 0
    assert len(ran) == 4
    rows = [line for line in (data / 'out/table.md').read_text().splitlines() if line.startswith('| ')][1:]
    first, last = ([cell.strip() for cell in row.strip('|').split('|')] for row in rows)
    assert first == ['A', '22.18 / 0.902', *['20.50 ± 0.50', '0.8000 ± 0.0000'] * 2, *['-1.50, -1.50'] * 2]
    assert last[-1] == '+0.00, +0.00'
    assert script.main([*given, '--seeds', '0', '--iterations', '5']) == 2
    assert 'made with other arguments' in capsys.readouterr().err


def test_what_is_not_there_is_one_line(script, tmp_path, capsys):
    assert script.main([str(tmp_path), '-o', str(tmp_path / 'out')]) == 2
    assert 'nyu/clear' in capsys.readouterr().err


def test_a_training_that_fails_is_said_with_its_last_line(script, data, monkeypatch, capsys):
    failed = type('Done', (), {'returncode': 1, 'stderr': 'first\nno space left\n'})
    monkeypatch.setattr(script.common.subprocess, 'run', lambda *_, **__: failed)
    assert script.main([str(data), '--variants', 'A', '-o', str(data / 'out')]) == 2
    assert capsys.readouterr().err.strip().endswith('exit code 1: no space left')
