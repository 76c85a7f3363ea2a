"""BatchNorm over two processes, held against one process with the whole batch."""

import copy

import pytest
import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from conftest import in_two_processes
from okdnet_plugin.engine.sync_batch_norm import CpuSyncBatchNorm, synchronise

CPU = torch.device('cpu')
SETTINGS = {'affine': {}, 'not affine': {'affine': False}, 'plain average': {'momentum': None}}
CASES = [(size, setting) for size in (6, 1) for setting in SETTINGS]
# Images of the first process; the other has the rest of four.
SHARES = {'even': 2, 'uneven': 3, 'distributed': 2}


def network(setting, norm):
    """A norm between two layers, so that what it hands on and back both count."""
    torch.manual_seed(1)
    norm = norm(3, **SETTINGS[setting])
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias)
    return nn.Sequential(nn.Conv2d(3, 3, 1), norm, nn.Conv2d(3, 2, 1))


def batch(size):
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 + 5


def two_steps(net, x, images):
    """All that comes of two passes; `images` is what the sum of a loss is divided by."""
    x = x.clone().requires_grad_()
    for _ in range(2):
        net.zero_grad()
        x.grad = None
        y = net(x)
        ((y - 1).pow(4).sum() / (images * y[0].numel())).backward()
    bare = getattr(net, 'module', net)
    gradients = {name: parameter.grad for name, parameter in bare.named_parameters()}
    return {'output': y.detach(), 'input': x.grad, 'gradients': gradients, 'buffers': dict(bare.named_buffers())}


def of_share(rank, kind):
    return slice(SHARES[kind]) if rank == 0 else slice(SHARES[kind], 4)


def results_of(rank):
    results = {}
    for size, setting in CASES:
        for kind in SHARES:
            net = network(setting, CpuSyncBatchNorm)
            net = DistributedDataParallel(net) if kind == 'distributed' else net
            result = two_steps(net, batch(size)[of_share(rank, kind)], images=2)
            if kind != 'distributed':
                for gradient in result['gradients'].values():  # the mean over processes, as DDP takes it
                    torch.distributed.all_reduce(gradient)
                    gradient /= 2
            results[size, setting, kind] = result
    x = batch(6)
    results['evaluated'] = CpuSyncBatchNorm(3).eval()(x[rank:])
    norm = CpuSyncBatchNorm(3)
    results['half'] = norm(x.bfloat16()), norm.running_var.clone()
    laid_out = norm(x.to(memory_format=torch.channels_last))
    results['laid out'] = laid_out.is_contiguous(memory_format=torch.channels_last)
    norm = CpuSyncBatchNorm(3)
    norm(x + 1000)
    results['far'] = norm.running_var
    return _without_tensors(results)


def _without_tensors(value):
    """Lists in place of tensors, whose memory ends with their process."""
    if isinstance(value, dict):
        return {key: _without_tensors(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_without_tensors, value))
    return value.float().tolist() if isinstance(value, torch.Tensor) else value


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    return in_two_processes(results_of, tmp_path_factory.mktemp('group'))


def assert_close(actual, expected):
    torch.testing.assert_close(torch.tensor(actual), expected.detach().float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kind', SHARES)
@pytest.mark.parametrize(('size', 'setting'), CASES)
def test_two_processes_are_as_one_with_the_whole_batch(results, size, setting, kind):
    expected = two_steps(network(setting, nn.BatchNorm2d), batch(size), images=4)
    for rank in range(2):
        result = results[rank][size, setting, kind]
        assert_close(result['output'], expected['output'][of_share(rank, kind)])
        assert_close(result['input'], 2 * expected['input'][of_share(rank, kind)])
        for part in ('gradients', 'buffers'):
            assert result[part].keys() == expected[part].keys()
            for name, value in expected[part].items():
                assert_close(result[part][name], value)


def test_evaluation_waits_for_no_other_process(results):
    for rank in range(2):
        assert_close(results[rank]['evaluated'], nn.BatchNorm2d(3).eval()(batch(6)[rank:]))


def test_statistics_of_short_floats_are_taken_in_long_ones(results):
    x = torch.cat([batch(6)] * 2).bfloat16()
    output, variance = results[0]['half']
    norm = nn.BatchNorm2d(3)
    torch.testing.assert_close(torch.tensor(output), norm(x.float())[:4], rtol=0.01, atol=0.01)
    assert_close(variance, norm.running_var)


def test_variance_of_values_far_from_zero_is_exact(results):
    norm = nn.BatchNorm2d(3)
    norm(torch.cat([batch(6)] * 2))
    torch.testing.assert_close(torch.tensor(results[0]['far']), norm.running_var, rtol=1e-4, atol=0)


def test_layout_of_the_images_stays(results):
    assert results[0]['laid out']


# ---------------------------------------------------------------------------------------------------------------- alone


@pytest.mark.parametrize('setting', [*SETTINGS.values(), {'track_running_stats': False}], ids=str)
@pytest.mark.parametrize('shape', [(4, 3, 5, 6), (4, 3, 1, 1)])
def test_alone_it_is_batch_norm_to_the_last_bit(setting, shape):
    plain, ours = nn.BatchNorm2d(3, **setting), CpuSyncBatchNorm(3, **setting)
    x = torch.randn(shape) + 5
    for _ in range(3):
        assert torch.equal(plain(x), ours(x))
    for name, buffer in plain.named_buffers():
        assert torch.equal(dict(ours.named_buffers())[name], buffer), name
    assert torch.equal(plain.eval()(x), ours.eval()(x))


def test_alone_its_gradients_are_those_of_batch_norm():
    gradients = []
    for norm in (nn.BatchNorm2d(3), CpuSyncBatchNorm(3)):
        x = batch(6).requires_grad_()
        norm(x).pow(3).sum().backward()
        gradients.append((x.grad, norm.weight.grad, norm.bias.grad))
    for plain, ours in zip(*gradients, strict=True):
        assert torch.equal(plain, ours)


def test_single_value_is_refused_in_training_alone():
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        CpuSyncBatchNorm(3)(torch.rand(1, 3, 1, 1))
    CpuSyncBatchNorm(3).eval()(torch.rand(1, 3, 1, 1))


def test_plain_average_without_statistics_is_as_in_batch_norm():
    setting = {'momentum': None, 'track_running_stats': False}
    assert torch.equal(nn.BatchNorm2d(3, **setting)(batch(6)), CpuSyncBatchNorm(3, **setting)(batch(6)))


# ------------------------------------------------------------------------------------------------------------ replacing


def test_every_norm_of_a_network_is_replaced_and_its_state_stays():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.BatchNorm1d(2))
    net[1](torch.rand(2, 4, 2, 2))
    before = copy.deepcopy(net.state_dict())
    net = synchronise(net, CPU)
    assert [type(net[1][0]), type(net[2])] == [CpuSyncBatchNorm, CpuSyncBatchNorm]
    after = net.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_replaced_norm_keeps_its_settings():
    norm = synchronise(nn.BatchNorm2d(4, eps=0.1, momentum=0.3, affine=False).eval(), CPU)
    assert (norm.eps, norm.momentum, norm.affine, norm.training) == (0.1, 0.3, False, False)


def test_other_layers_stay_and_parameters_are_the_same_objects():
    net = nn.Sequential(nn.InstanceNorm2d(4, affine=True), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
    parameters = list(net.parameters())
    net = synchronise(net, CPU)
    assert [type(net[0]), type(net[2])] == [nn.InstanceNorm2d, nn.GroupNorm]
    assert all(new is old for new, old in zip(net.parameters(), parameters, strict=True))
