"""The benchmark of the back ends prints and writes its tables."""

import json
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest

from conftest import load_script


@pytest.fixture(scope='module')
def script():
    return load_script('scripts/benchmark/inference.py')


@pytest.mark.long
def test_rows_take_turns_and_tables_are_written(script, tmp_path, monkeypatch, capsys):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    (tmp_path / 'in').mkdir()
    cv2.imwrite(str(tmp_path / 'in' / 'one.png'), image)
    (tmp_path / 'in' / 'notes.txt').write_text('no image')
    monkeypatch.setattr(script, 'peak_rates', lambda precisions: dict.fromkeys(precisions, 0.2))
    monkeypatch.setattr(script, 'KEPT', script.BASE)  # a process less
    out = tmp_path / 'out'
    arguments = ['--images', tmp_path / 'in', '--rounds', 1, '--networks', '--back-ends', 'eager fp32']
    assert script.main([*map(str, arguments), '--sizes', '16', '--out', str(out)]) == 0

    rows = json.loads((out / 'inference.json').read_text())['rows']
    assert list(rows) == [script.BASE, 'OKDNet, eager fp32']
    assert rows['OKDNet, eager fp32']['psnr'] > 80
    assert all(len(row['seconds']) == 1 and row['peak_mb'] > 50 and row['gflop'] > 0.8 for row in rows.values())
    text = (out / 'inference.md').read_text()
    assert text in capsys.readouterr().out
    assert '| OKDNet, eager fp32 | ' in text
    assert '| seconds (MB) at | 16 px |' in text
    assert ElementTree.parse(out / 'inference_sizes.svg').getroot().tag.endswith('svg')


def test_the_profile_names_parts_of_the_network_and_operators(script, tmp_path, capsys):
    pytest.importorskip('openvino', reason='no OpenVINO')
    cv2.imwrite(str(tmp_path / 'one.png'), np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    assert script.main(['--images', str(tmp_path), '--rounds', '1', '--profile', 'fp32']) == 0
    parts, operators = capsys.readouterr().out.split('| operator (number) | ms | share |')
    assert 'openvino fp32, 50x40' in parts
    assert '| shared.scales.0 | ' in parts
    assert '| Convolution, larger (' in operators
    assert 90 < sum(float(line.split()[-2].rstrip('%')) for line in parts.splitlines() if line.endswith('% |')) <= 100.5


def test_times_that_grow_as_the_pixels_have_the_exponent_one(script):
    assert script.exponent([(edge, 3e-6 * edge**2, 0.0) for edge in (256, 512, 2048)]) == pytest.approx(1)
    assert script.exponent([(edge, 3e-9 * edge**3, 0.0) for edge in (256, 512, 2048)]) == pytest.approx(1.5)


def test_a_size_that_would_not_fit_is_left_out(script):
    points = [(256, 0.1, 1000.0), (512, 0.4, 2000.0)]
    assert script.fits(points, 513)
    assert not script.fits(points, 100_000)


def test_a_process_that_fails_says_why(script, capfd):
    assert script.started({'Mistaken': {'network': 'OKDNett'}}) == {}
    assert 'Mistaken is left out: UnknownNameError' in capfd.readouterr().err


@pytest.mark.parametrize('arguments', [['--rounds', '0'], ['--sizes', '15'], ['--images', 'nowhere']])
def test_wrong_argument_is_named(script, arguments, capsys):
    with pytest.raises(SystemExit, match='2'):
        script.main(arguments)
    assert f'error: {arguments[0]} ' in capsys.readouterr().err
