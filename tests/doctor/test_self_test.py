"""The self-test: it passes here, and finds a network that does not learn, is not finite or does not come back."""

import logging

import pytest
import torch

from okdnet_plugin.doctor import self_test
from okdnet_plugin.engine import checkpoints
from okdnet_plugin.errors import SaveError
from okdnet_plugin.models.okdnet_model import OKDNetModel


def keyed(findings):
    return {finding.key: finding for finding in findings}


def test_training_in_small_works_and_leaves_random_numbers_and_logging_alone():
    before = torch.random.get_rng_state()
    found = keyed(self_test.check())
    assert [finding.status for finding in found.values()] == ['ok'] * 4
    assert {'l_pix', 'l_ssim', 'l_distill'} <= found['self_test.step'].values.keys()
    assert torch.equal(before, torch.random.get_rng_state())
    assert logging.root.manager.disable == logging.NOTSET


def test_step_that_changes_nothing_is_wrong(monkeypatch):
    monkeypatch.setattr(OKDNetModel, '_step_unless', lambda model, is_bad: None)
    assert keyed(self_test.check())['self_test.step'].text == 'one step of training changes nothing'


def test_loss_that_is_not_finite_is_wrong(monkeypatch):
    monkeypatch.setattr(OKDNetModel, 'get_current_log', lambda model: {'l_pix': float('nan')})
    finding = keyed(self_test.check())['self_test.step']
    assert (finding.status, finding.text) == ('wrong', 'one step of training is not finite (l_pix nan)')


def test_network_that_comes_back_changed_is_wrong(monkeypatch):
    save = checkpoints.save

    def spoil(content, path):
        for tensors in content.values() if path.endswith('.pth') else ():
            first = next(iter(tensors))
            tensors[first] = tensors[first] + 1
        save(content, path)

    monkeypatch.setattr(checkpoints, 'save', spoil)
    finding = keyed(self_test.check())['self_test.save']
    assert finding.status == 'wrong'


@pytest.mark.parametrize(
    ('method', 'error', 'text'),
    [
        ('feed_data', RuntimeError('no kernel'), 'one step of training fails: RuntimeError: no kernel'),
        ('save', SaveError('x cannot be written'), 'save and load fails: SaveError: x cannot be written'),
        ('init_training_settings', MemoryError(), 'build fails: MemoryError'),
    ],
)
def test_failure_says_what_was_being_done(method, error, text, monkeypatch):
    def fail(*args):
        raise error

    monkeypatch.setattr(OKDNetModel, method, fail)
    finding = keyed(self_test.check())['self_test.failed']
    assert (finding.status, finding.text) == ('wrong', text)


@pytest.mark.parametrize(('error', 'status'), [(1e-5, 'ok'), (0.01, 'wrong')])
def test_images_may_differ_as_kernels_of_a_gpu_do_but_weights_may_not(monkeypatch, error, status):
    build, evaluated = self_test._model, []

    def with_other_kernels(folder, is_train, weights=None):
        model = build(folder, is_train, weights)
        if not is_train:
            model.net_g.register_forward_hook(lambda net, inputs, output: output + error)
            evaluated.append(model)
        return model

    monkeypatch.setattr(self_test, '_model', with_other_kernels)
    assert keyed(self_test.check())['self_test.save'].status == status
    assert len(evaluated) == 1


@pytest.mark.parametrize('count', [0, 4])
def test_random_numbers_of_the_gpu_that_is_used_are_kept_and_no_other_is_opened(monkeypatch, count):
    forked = []

    def fork_rng(devices):
        forked.append(list(devices))
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.random, 'fork_rng', fork_rng)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: count > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        next(self_test.check())
    assert forked == [[2] if count else []]
