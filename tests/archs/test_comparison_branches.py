"""What DCPDN, EPDN, DA and PSD give beside an image, and arguments that they refuse."""

import pytest
import torch

from okdnet_plugin.archs.dadehazer_arch import DADehazer
from okdnet_plugin.archs.dcpdn_arch import DCPDN
from okdnet_plugin.archs.epdn_arch import EPDN
from okdnet_plugin.archs.psd_arch import PSD

PSD_OPTIONS = {
    'ffa': {'num_feat': 8, 'num_blocks': 1},
    'gca': {'num_feat': 8},
    'msbdn': {'num_feat': 4, 'num_blocks': 1, 'num_bottom_blocks': 1},
}


@pytest.fixture
def dcpdn():
    torch.manual_seed(0)
    return DCPDN(num_feat=8, num_blocks=(1, 1, 1)).eval()


@pytest.fixture(params=PSD_OPTIONS)
def psd(request):
    torch.manual_seed(0)
    return PSD(backbone=request.param, backbone_options=PSD_OPTIONS[request.param]).eval()


def test_dcpdn_solves_the_scattering_model_and_refines_it(dcpdn):
    hazy = torch.rand(2, 3, 64, 96)
    branches = dcpdn(hazy, return_branches=True)
    assert branches.transmission.shape == (2, 1, 64, 96)
    assert branches.airlight.shape == (2, 3, 1, 1)
    t = branches.transmission_rgb.abs() + 1e-10
    torch.testing.assert_close(branches.model_based * t + branches.airlight * (1 - t), hazy, atol=1e-4, rtol=1e-4)
    refined = dcpdn.head(dcpdn.refine(torch.cat([branches.model_based, hazy], 1))).clamp(0, 1)
    torch.testing.assert_close(branches.output, refined)
    assert torch.equal(dcpdn(hazy), branches.output)


def test_dcpdn_takes_a_given_airlight(dcpdn):
    hazy, light = torch.rand(1, 3, 20, 30), torch.tensor([0.9, 0.8, 0.7]).view(1, 3, 1, 1)
    assert torch.equal(dcpdn(hazy, return_branches=True, airlight=light).airlight, light)
    assert not torch.equal(dcpdn(hazy, airlight=light), dcpdn(hazy))
    torch.testing.assert_close(dcpdn(hazy, airlight=dcpdn.estimate_airlight(hazy)), dcpdn(hazy))


def test_psd_gives_transmission_airlight_and_feature_of_its_size(psd):
    hazy = torch.rand(2, 3, 21, 34)
    branches = psd(hazy, return_branches=True)
    assert torch.equal(branches.output, psd(hazy))
    assert branches.transmission.shape == (2, 1, 21, 34)
    assert branches.airlight.shape == (2, 3, 1, 1)
    assert torch.equal(branches.airlight, psd.estimate_airlight(hazy))
    assert branches.feature.shape[-2:] == (21, 34)
    torch.testing.assert_close(psd.transmission(branches.feature), branches.transmission)
    light = torch.rand(2, 3, 1, 1)
    assert torch.equal(psd(hazy, return_branches=True, airlight=light).airlight, light)


def test_psd_adds_to_the_image_what_its_backbone_does():
    hazy = torch.rand(1, 3, 18, 20)
    for backbone, expected in (('ffa', 2 * hazy - 1), ('gca', hazy), ('msbdn', torch.zeros_like(hazy))):
        net = PSD(backbone=backbone, backbone_options=PSD_OPTIONS[backbone])
        for parameter in net.clear[-1].parameters():
            torch.nn.init.zeros_(parameter)
        torch.testing.assert_close(net(hazy), expected)


def test_generated_image_of_epdn_is_what_its_enhancers_read():
    net, hazy = EPDN(num_feat=4, num_blocks=1, num_fine_blocks=1).eval(), torch.rand(1, 3, 64, 64)
    branches = net(hazy, return_translated=True)
    assert torch.equal(branches.output, net(hazy))
    first, second = net.enhancers
    translated = 2 * branches.translated - 1
    enhanced = second(translated, first(translated, 2 * hazy - 1))
    torch.testing.assert_close(branches.output, ((enhanced + 1) / 2).clamp(0, 1), atol=1e-5, rtol=1e-4)


def test_dadehazer_gives_an_image_of_each_size():
    net, hazy = DADehazer(num_feat=4, num_centers=1).eval(), torch.rand(2, 3, 40, 64)
    branches = net(hazy, return_scales=True)
    assert torch.equal(branches.output, net(hazy))
    assert [image.shape[-2:] for image in branches.smaller] == [(6, 8), (12, 16), (24, 32)]
    assert branches.feature.shape == (2, 32, 3, 4)
    assert all(0 <= image.min() <= image.max() <= 1 for image in (branches.output, *branches.smaller))


@pytest.mark.parametrize('network', [DCPDN, EPDN, PSD])
def test_unused_weights_change_neither_the_result_nor_the_training(network):
    options = {
        DCPDN: {'num_feat': 8, 'num_blocks': (1, 1, 1)},
        EPDN: {'num_feat': 4},
        PSD: {'backbone_options': {'num_feat': 8, 'num_blocks': 1}},
    }
    whole = network(**options[network]).eval()
    without = network(**options[network], unused='none').eval()
    trained = {key: value for key, value in whole.state_dict().items() if 'unused' not in key}
    without.load_state_dict(trained, strict=True)
    hazy = torch.rand(1, 3, 32, 32)
    assert torch.equal(whole(hazy), without(hazy))
    assert {key for key, parameter in whole.named_parameters() if parameter.requires_grad} == {
        key for key, _ in without.named_parameters()
    }


@pytest.mark.parametrize(
    ('network', 'options', 'message'),
    [
        (DCPDN, {'num_feat': 6}, 'num_feat is 6'),
        (DCPDN, {'num_blocks': (1, 1)}, 'three numbers'),
        (DCPDN, {'t_min': 0}, 't_min is 0'),
        (DCPDN, {'unused': 'some'}, "unused is 'some'"),
        (EPDN, {'num_downs': 7}, 'num_downs is 7'),
        (EPDN, {'unused': 'norm'}, "unused is 'norm'"),
        (DADehazer, {'num_feat': 5}, 'num_feat is 5'),
        (PSD, {'backbone': 'grid'}, "backbone is 'grid'"),
        (PSD, {'unused': 'norm'}, "unused is 'norm'"),
    ],
)
def test_wrong_argument_is_named(network, options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)
