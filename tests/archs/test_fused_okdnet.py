"""The fused OKDNet gives what OKDNet gives, from fewer operations."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from okdnet_plugin.archs.fused_okdnet import fold_batch_norms, fuse
from okdnet_plugin.archs.okdnet_arch import OKDNet

SMALL = {'num_feat': 8, 'num_blocks': (1, 2, 1), 'growth': 4}
VARIANTS = {
    'default': {},
    'no attention': {'attention': False},
    'fau': {'aggregation': 'fau'},
    'one scale': {'multi_scale': False},
    'grid': {'down': 'grid', 'up': 'grid', 'fuse_kernel': 3},
    'deconv3': {'up': 'deconv3'},
    'softmax': {'gate': 'softmax'},
    'sigmoid': {'gate': 'sigmoid'},
}


def trained(**options) -> OKDNet:
    """An OKDNet whose weights and BatchNorm statistics are random, and whose result is an image of some contrast."""
    net = OKDNet(**options).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.3, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            with torch.no_grad():
                module.weight.mul_(1.5)
    return net


@pytest.mark.parametrize('size', [(16, 16), (17, 23), (40, 36)])
@pytest.mark.parametrize('options', VARIANTS.values(), ids=VARIANTS)
def test_every_branch_is_as_before(options, size):
    net = trained(**(SMALL | options))
    hazy = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected, got = net(hazy, return_branches=True), fuse(net)(hazy, return_branches=True)
    assert expected.output.std() > 0.03
    for name, one, other in zip(expected._fields, expected, got, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=0, msg=lambda text, name=name: f'{name}: {text}')


def test_output_of_the_whole_network_is_as_before():
    net = trained()
    hazy = torch.rand(1, 3, 61, 50)
    with torch.no_grad():
        torch.testing.assert_close(fuse(net)(hazy), net(hazy), atol=1e-5, rtol=0)


def test_given_airlight_is_used():
    net = trained(**SMALL)
    hazy, airlight = torch.rand(2, 3, 20, 21), torch.rand(2, 3, 1, 1)
    fused = fuse(net)
    with torch.no_grad():
        torch.testing.assert_close(fused(hazy, airlight=airlight), net(hazy, airlight=airlight), atol=1e-5, rtol=0)
        own = fused.estimate_airlight(hazy)
        torch.testing.assert_close(own, net.estimate_airlight(hazy), atol=1e-5, rtol=0)
        torch.testing.assert_close(fused(hazy, airlight=own), net(hazy), atol=1e-5, rtol=0)


def test_a_part_with_airlight_and_attention_of_the_whole_is_as_in_the_whole():
    net, hazy = fuse(trained(**SMALL)), torch.rand(2, 3, 160, 128)
    hazy[..., 96:, :] *= 0.2
    with torch.no_grad():
        whole, light, attention = net(hazy), net.estimate_airlight(hazy), net.estimate_attention(hazy)
        part, alone = (net(hazy[..., :96, :], airlight=light, attention=one) for one in (attention, None))
    inner = slice(None, 48)  # what lies below sees the border
    torch.testing.assert_close(part[..., inner, :], whole[..., inner, :], atol=1e-5, rtol=0)
    assert (alone - whole[..., :96, :])[..., inner, :].abs().max() > 1e-4
    assert fuse(trained(**SMALL, attention=False)).attended == []


@pytest.mark.parametrize('size', [(64, 64), (160, 200)])
def test_operations_are_fewer(size):
    def operations(net):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net.to('meta')(torch.rand(1, 3, *size, device='meta'), airlight=torch.rand(1, 3, 1, 1, device='meta'))
        return counter.get_total_flops()

    net = OKDNet().eval()
    assert 0 < operations(fuse(net)) < operations(net)


def test_the_trained_network_stays_as_it_is():
    net = trained(**SMALL).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fused = fuse(net)
    for parameter in fused.parameters():
        parameter.zero_()
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert list(net.state_dict()) == list(before)
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())


def test_fused_network_is_for_inference_alone():
    fused = fuse(trained(**SMALL))
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert not any(isinstance(module, nn.BatchNorm2d | nn.Dropout2d) for module in fused.modules())
    assert fused.eval() is fused
    with pytest.raises(RuntimeError, match='train the OKDNet that it was made from'):
        fused.train()
    with pytest.raises(ValueError, match='15x16 is too small'):
        fused(torch.rand(1, 3, 15, 16))


@pytest.mark.parametrize('aggregation', ['fab', 'fau'])
def test_half_precision_stays_near_and_images_are_float32(aggregation):
    net = trained(**SMALL, aggregation=aggregation)
    hazy = torch.rand(1, 3, 40, 36)
    fused = fuse(net).set_precision(torch.bfloat16)
    with torch.no_grad():
        expected, got = net(hazy, return_branches=True), fused(hazy, return_branches=True)
    assert fused.dtype == torch.bfloat16
    assert {value.dtype for value in got} == {torch.float32}
    torch.testing.assert_close(got.airlight, expected.airlight, atol=1e-5, rtol=0)
    assert (got.output - expected.output).abs().mean() < 0.01


def test_batch_norm_is_folded_into_convolutions_of_both_kinds():
    net = nn.Sequential(
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.ConvTranspose2d(4, 6, 4, 2, bias=False), nn.BatchNorm2d(6), nn.Dropout2d()),
        nn.Sequential(nn.ConvTranspose2d(6, 6, 3, groups=2), nn.BatchNorm2d(6)),
        nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6, track_running_stats=False)),
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    net.eval()
    x = torch.randn(2, 3, 9, 8)
    with torch.no_grad():
        expected = net(x)
        assert fold_batch_norms(net) is net
        torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=0)
    assert [len(part) for part in list(net)[1:]] == [2, 1, 2, 2]
