"""`scripts/evaluate_weights.py`: the table, its figures, the sheet, and what a second run does."""

import importlib.util
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network

from okdnet_plugin.report import cost

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'evaluate_weights.py'
SMALL = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}


@pytest.fixture
def evaluate(monkeypatch):
    spec = importlib.util.spec_from_file_location('evaluate_weights', SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(cost, 'memory_mb', lambda *_: None)
    monkeypatch.setattr(script, 'keep_freed_memory', lambda: None)  # it would be so for the tests after this one
    threads = torch.get_num_threads(), cv2.getNumThreads()
    yield script.main
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


@pytest.fixture
def data(tmp_path):
    """Two scenes with depth, a pair of O-HAZE and one photograph; the other test sets are not there."""
    rng = np.random.default_rng(0)
    for folder in ('rgbd_indoor/clear', 'rgbd_indoor/depth', 'o_haze/hazy', 'o_haze/clear', 'real_hazy'):
        (tmp_path / folder).mkdir(parents=True)
    for scene in ('1400', '1401'):
        clear = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (80, 64))
        depth = np.tile(np.linspace(1000, 6553, 80), (64, 1)).astype(np.uint16)
        cv2.imwrite(str(tmp_path / f'rgbd_indoor/clear/{scene}.png'), clear)
        cv2.imwrite(str(tmp_path / f'rgbd_indoor/depth/{scene}.png'), depth)
    cv2.imwrite(str(tmp_path / 'o_haze/clear/35_outdoor_GT.png'), clear)
    cv2.imwrite(str(tmp_path / 'o_haze/hazy/35_outdoor_hazy.png'), clear // 2 + 100)
    cv2.imwrite(str(tmp_path / 'real_hazy/street.png'), clear // 2 + 100)
    return tmp_path


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / 'net_g.pth'
    torch.save({'params_ema': build_network(dict(SMALL)).state_dict()}, path)
    return path


def rows(folder: Path) -> list[list[str]]:
    return [[cell.strip() for cell in line.split('|')[1:-1]] for line in (folder / 'table.md').read_text().splitlines()]


def test_all_methods_are_measured_on_what_is_there_and_shown_on_the_photographs(evaluate, data, weights, capsys):
    out = data / 'report'
    assert evaluate([str(data), '--weights', str(weights), '-o', str(out), '--limit', '4']) == 0
    table = rows(out)
    assert [row[:2] for row in table[2:]] == [
        ['o_haze (1)', 'hazy input'],
        ['', 'DCP'],
        ['', '**these weights**'],
        ['SOTS-indoor, made again (4)', 'hazy input'],
        ['', 'DCP'],
        ['', '**these weights**'],
    ]
    assert table[0][2:] == ['PSNR ↑', 'SSIM ↑', 'CIEDE2000 ↓', 'LOE ↓']
    hazy, clear = (
        cv2.imread(str(data / 'o_haze' / name)) for name in ('hazy/35_outdoor_hazy.png', 'clear/35_outdoor_GT.png')
    )
    assert float(table[2][2]) == pytest.approx(cv2.PSNR(hazy, clear), abs=0.005)
    assert table[2][5] == '-', 'LOE of the hazy input is of an image against itself'
    figures = json.loads((out / 'figures.json').read_text())
    assert set(figures) == {'o_haze', 'SOTS-indoor, made again'}
    assert f'{figures["o_haze"]["psnr"]:.2f}' == table[4][2]
    assert figures['o_haze']['images'] == 1
    assert cv2.imread(str(out / 'sheet.png')).shape == (26 + 320 + 6, 3 * 406, 3)
    assert '| test set (images) |' in capsys.readouterr().out


@pytest.mark.long
def test_new_weights_cost_only_their_own_time(evaluate, data, weights):
    out = data / 'report'
    shutil.rmtree(data / 'rgbd_indoor')
    arguments = [str(data), '--weights', str(weights), '-o', str(out)]
    measured = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        torch.save({'params_ema': build_network(dict(SMALL)).state_dict()}, weights)
        evaluate(arguments)
        lines = (out / 'figures-0.jsonl').read_text().splitlines()
        measured.append([json.loads(line)['method'] for line in lines if line])
    assert measured[1] == measured[0]
    assert measured[2] == [*measured[0], 'these weights']


@pytest.mark.long
def test_weights_in_half_precision_with_their_network_beside_them_are_measured(evaluate, data, weights):
    from safetensors.torch import save_file

    shutil.rmtree(data / 'rgbd_indoor')
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in build_network(dict(SMALL)).state_dict().items()
    }
    save_file(state, data / 'half.safetensors', {'network': json.dumps(SMALL)})
    assert evaluate([str(data), '--weights', str(data / 'half.safetensors'), '-o', str(data / 'report')]) == 0
    assert rows(data / 'report')[-1][1] == '**these weights**'


def test_a_folder_that_is_not_there_is_one_line(evaluate, weights, tmp_path, capsys):
    assert evaluate([str(tmp_path / 'nowhere'), '--weights', str(weights)]) == 2
    assert 'nowhere does not exist' in capsys.readouterr().err
