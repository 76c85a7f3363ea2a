"""The depth network: its layers one by one, its range, and where its gradient goes."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.models import DenseNet

from okdnet_plugin.archs.densedepth_arch import DenseDepth169

SMALL = {'num_feat': 4, 'growth': 4, 'num_blocks': (1, 2, 1, 1)}


def small(**options):
    return DenseDepth169(**SMALL | options)


@pytest.mark.parametrize('size', [(16, 16), (17, 33), (64, 96)])
@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('bound', ['threshold', 'softplus'])
def test_depth_is_a_part_of_the_farthest_for_each_pixel(size, mode, bound):
    depth = small(bound=bound).train(mode == 'train')(torch.rand(1, 3, *size))
    assert depth.shape == (1, 1, *size)
    assert depth.min() > 0
    assert depth.max() <= 1


def test_layers_are_those_of_the_paper():
    net, images = small().eval(), torch.rand(2, 3, 64, 96)
    e = net.encoder
    half = e.relu0(e.norm0(e.conv0(images)))
    quarter = e.pool0(half)
    eighth = e.transition1(e.denseblock1(quarter))
    sixteenth = e.transition2(e.denseblock2(eighth))
    feature = net.middle(e.norm5(e.denseblock4(e.transition3(e.denseblock3(sixteenth)))).relu())
    for up, skip in zip(net.ups, (sixteenth, eighth, quarter, half), strict=True):
        feature = F.interpolate(feature, scale_factor=2, mode='bilinear', align_corners=True)
        feature = up.conv2(up.conv1(torch.cat([feature, skip], 1)))
        feature = torch.where(feature > 0, feature, 0.2 * feature)
    inverse = F.interpolate(net.last(feature), (64, 96), mode='bilinear', align_corners=True)
    torch.testing.assert_close(net(images), 1 / torch.where(inverse > 1, inverse, 1))


def test_widths_of_the_whole_decoder_are_the_published_ones():
    with torch.device('meta'):
        net = DenseDepth169()
    assert [(up.conv1.in_channels, up.conv1.out_channels) for up in net.ups] == [
        (1920, 832),
        (960, 416),
        (480, 208),
        (272, 104),
    ]


def test_names_of_the_weights_stay():
    encoder = [f'encoder.{key}' for key in DenseNet(4, (1, 2, 1, 1), 4).features.state_dict()]
    convs = ['middle', *(f'ups.{i}.conv{j}' for i in range(4) for j in (1, 2)), 'last']
    decoder = [f'{conv}.{part}' for conv in convs for part in ('weight', 'bias')]
    assert list(small().state_dict()) == encoder + decoder
    assert list(small(classifier=True).state_dict()) == [
        *encoder,
        'classifier.weight',
        'classifier.bias',
        *decoder,
    ]


@pytest.mark.parametrize('bound', ['threshold', 'softplus'])
def test_every_parameter_learns_from_the_start(bound):
    net = small(bound=bound)
    net(torch.rand(2, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_no_gradient_comes_from_below_the_threshold_but_some_through_softplus():
    for bound, learns in (('threshold', False), ('softplus', True)):
        net = small(bound=bound)
        torch.nn.init.constant_(net.last.bias, -100 if bound == 'threshold' else -1)
        net(torch.rand(1, 3, 32, 32)).sum().backward()
        assert bool(net.last.bias.grad.any()) == learns


def test_classifier_of_imagenet_is_dead():
    net = small(classifier=True)
    net(torch.rand(1, 3, 32, 32)).sum().backward()
    without = [key for key, parameter in net.named_parameters() if parameter.grad is None]
    assert without == ['classifier.weight', 'classifier.bias']
    assert not net.classifier.weight.requires_grad


def test_part_of_an_image_that_needs_padding_is_computed_of_its_reflection():
    net, image = small().eval(), torch.rand(1, 3, 40, 64)
    reflected = F.pad(image, (0, 0, 0, 24), mode='reflect')
    torch.testing.assert_close(net(image), net(reflected)[..., :40, :])


@pytest.mark.parametrize(
    ('options', 'message'), [({'num_blocks': (1, 1, 1)}, 'num_blocks is'), ({'bound': 'relu'}, 'bound is')]
)
def test_wrong_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_too_small_image_is_refused():
    with pytest.raises(ValueError, match='too small'):
        small()(torch.rand(1, 3, 15, 16))
