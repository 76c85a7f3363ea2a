import sys

import cv2
import numpy as np
import pytest

import okdnet_plugin
from conftest import load_script
from okdnet_plugin.inference.backends import Restored


class Offset:
    """Its airlight is the mean of the frame, and moves the whole result."""

    def __init__(self, weights, opt):
        self.weights = weights

    def estimate_airlight(self, hazy):
        return None if self.weights == 'none' else hazy.mean((2, 3), keepdim=True)

    def restore(self, hazy, airlight=None):
        return Restored(hazy - 5 * airlight)


@pytest.fixture
def measure(tmp_path, monkeypatch):
    script = load_script('scripts/measure_flicker.py')
    monkeypatch.setattr(okdnet_plugin, 'Dehazer', Offset, raising=False)
    image = np.random.default_rng(0).integers(60, 180, (6, 9, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'hazy.png'), cv2.resize(image, (96, 64)))

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['measure_flicker.py', str(tmp_path / 'hazy.png'), *arguments])
        return script.main()

    return run


def test_the_table_shows_that_smoothing_calms(measure, capsys):
    assert measure('--weights', 'some', '--frames', '40', '--width', '96', '--smoothing', '0', '1') == 0
    rows = [line.strip('| ').split(' | ') for line in capsys.readouterr().out.splitlines() if line.startswith('| ')]
    assert rows[0] == ['clip', 'hazy', 'off', '1 s']
    figures = {name: list(map(float, cells)) for name, *cells in rows[1:]}
    assert set(figures) == {'noise', 'pan', 'passing'}
    hazy, off, smoothed = figures['passing']
    assert hazy < 0.2  # what is measured stands still
    assert off > 1
    assert smoothed < 0.6 * off


def test_a_network_without_an_airlight_is_told_apart(measure, capsys):
    assert measure('--weights', 'none') == 2
    assert 'estimates no airlight' in capsys.readouterr().err
