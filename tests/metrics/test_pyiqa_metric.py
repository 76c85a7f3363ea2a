"""PI and other metrics of pyiqa, by a package that stands in for it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric

from okdnet_plugin.errors import InputError
from okdnet_plugin.metrics import pyiqa_metric
from okdnet_plugin.metrics.pyiqa_metric import calculate_pi, calculate_pyiqa_fr, calculate_pyiqa_nr

RESULT, CLEAR = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), np.uint8)
IMAGES = {'img': RESULT, 'img2': CLEAR}


@pytest.fixture(autouse=True)
def _nothing_kept():
    pyiqa_metric._scorer.cache_clear()
    yield
    pyiqa_metric._scorer.cache_clear()


@pytest.fixture
def pyiqa(monkeypatch):
    """A package whose values are the mean of the red channel, or of the difference; it counts what it makes."""
    modes = {'NR': ['pi', 'musiq'], 'FR': ['lpips']}
    made = []

    def create_metric(name, device):
        made.append((name, device))

        def score(*tensors):
            assert all(tensor.shape[:2] == (1, 3) and tensor.dtype == torch.float32 for tensor in tensors)
            assert len(tensors) == (1 if name in modes['NR'] else 2)
            return (tensors[0] - sum(tensors[1:]))[:, 0].mean().reshape(1, 1)

        return score

    package = SimpleNamespace(list_models=modes.get, create_metric=create_metric, made=made)
    monkeypatch.setitem(sys.modules, 'pyiqa', package)
    return package


@pytest.mark.parametrize(
    ('block', 'what'),
    [
        ({'type': 'calculate_pi'}, 'PI'),
        ({'type': 'calculate_pyiqa_nr', 'metric': 'musiq'}, 'pyiqa metric musiq'),
        ({'type': 'calculate_pyiqa_fr', 'metric': 'lpips'}, 'pyiqa metric lpips'),
    ],
)
def test_absent_package_is_named(monkeypatch, block, what):
    monkeypatch.setitem(sys.modules, 'pyiqa', None)
    with pytest.raises(
        InputError, match=rf'^{what} is not available: .*\(install pyiqa; its licence is non-commercial\)$'
    ):
        calculate_metric(IMAGES, block)


def test_it_sees_rgb_in_0_to_1_without_the_border(pyiqa):
    red = RESULT[2:-2, 2:-2, 2].mean() / 255
    assert calculate_metric(IMAGES, {'type': 'calculate_pi', 'crop_border': 2}) == pytest.approx(red)
    nr = {'type': 'calculate_pyiqa_nr', 'metric': 'musiq', 'crop_border': 2}
    assert calculate_metric(IMAGES, nr) == pytest.approx(red)
    fr = {'type': 'calculate_pyiqa_fr', 'metric': 'lpips', 'crop_border': 2}
    clear = CLEAR[2:-2, 2:-2, 2].mean() / 255
    assert calculate_metric(IMAGES, fr) == pytest.approx(red - clear, abs=1e-6)
    assert pyiqa.made == [(name, torch.device('cpu')) for name in ('pi', 'musiq', 'lpips')]


def test_network_is_made_once_for_each_device(pyiqa):
    for device in ('cpu', 'meta', 'cpu'):
        calculate_pi(RESULT.transpose(2, 0, 1), input_order='CHW', device=device)
    assert pyiqa.made == [('pi', torch.device('cpu')), ('pi', torch.device('meta'))]
    assert calculate_pi(RESULT[..., 0]) == pytest.approx(RESULT[..., 0].mean() / 255)


@pytest.mark.usefixtures('pyiqa')
def test_wrong_metric_is_named():
    with pytest.raises(InputError, match=r'pyiqa has no metric muziq \(did you mean musiq\?\)'):
        calculate_pyiqa_nr(RESULT, 'muziq')
    with pytest.raises(InputError, match='lpips compares with the clear image; write type: calculate_pyiqa_fr'):
        calculate_pyiqa_nr(RESULT, 'lpips')
    with pytest.raises(InputError, match='musiq has no reference; write type: calculate_pyiqa_nr'):
        calculate_pyiqa_fr(RESULT, CLEAR, 'musiq')
    with pytest.raises(InputError, match='pyiqa lpips: the result is 30x20'):
        calculate_pyiqa_fr(RESULT, CLEAR[1:], 'lpips')
