"""The super-resolver: three networks of one channel side by side, and an image of twice the size."""

import pytest
import torch

from okdnet_plugin.archs.dscfsrcnn_arch import DSCFSRCNN

KEYS = [
    *('first.0.weight', 'first.0.bias', 'first.1.weight'),
    *(
        f'middle.{3 * i + j}.{part}'
        for i in range(3)
        for j, parts in enumerate((('weight', 'bias'), ('weight', 'bias'), ('weight',)))
        for part in parts
    ),
    *('last.weight', 'last.bias'),
]


def small(**options):
    return DSCFSRCNN(**{'d': 6, 's': 3, 'm': 1} | options)


@pytest.fixture
def lively():
    """A small network whose last layer does not begin next to zero."""
    net = small()
    torch.nn.init.normal_(net.last.weight)
    return net


@pytest.mark.parametrize('scale', [1, 2, 3])
@pytest.mark.parametrize('size', [(16, 16), (17, 31)])
@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_image_becomes_so_many_times_larger(scale, size, mode):
    output = small(scale=scale).train(mode == 'train')(torch.rand(2, 3, *size))
    assert output.shape == (2, 3, scale * size[0], scale * size[1])
    assert torch.isfinite(output).all()


def test_it_is_three_networks_of_one_channel(lively):
    images = torch.rand(2, 3, 16, 18)
    for channel in range(3):
        alone = small(num_channels=1)
        alone.load_state_dict({key: value.chunk(3)[channel] for key, value in lively.state_dict().items()})
        torch.testing.assert_close(alone(images[:, [channel]]), lively(images)[:, [channel]])


def test_depthwise_convolutions_are_followed_by_pointwise_ones():
    kernels = [conv.kernel_size[0] for conv in DSCFSRCNN().middle if isinstance(conv, torch.nn.Conv2d)]
    assert kernels == [1, 1, *(3, 1) * 4, 1, 1]
    depthwise = [conv for conv in DSCFSRCNN().middle if isinstance(conv, torch.nn.Conv2d)][::2]
    assert all(conv.groups == conv.in_channels == conv.out_channels for conv in depthwise)


def test_last_layer_begins_near_zero():
    net = DSCFSRCNN()
    assert net.last.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert not net.last.bias.any()


def test_names_of_the_weights_stay():
    assert list(small().state_dict()) == KEYS


def test_eval_output_is_clamped_and_that_of_training_is_not(lively):
    images = 10 * torch.rand(1, 3, 16, 16)
    assert lively(images).min() < 0
    output = lively.eval()(images)
    assert (output.min(), output.max()) == (0, 1)


def test_every_parameter_gets_a_gradient(lively):
    lively(torch.rand(1, 3, 16, 16)).square().sum().backward()
    assert all(parameter.grad.any() for parameter in lively.parameters())


def test_bf16_autocast_gives_a_float32_image(lively):
    with torch.autocast('cpu', torch.bfloat16):
        assert lively(torch.rand(1, 3, 16, 16)).dtype == torch.float32


@pytest.mark.parametrize('name', ['num_channels', 'scale', 'd', 's', 'm'])
def test_wrong_argument_is_named(name):
    with pytest.raises(ValueError, match=f'{name} is 0'):
        DSCFSRCNN(**{name: 0})


def test_too_small_image_is_refused():
    with pytest.raises(ValueError, match='too small'):
        small()(torch.rand(1, 3, 15, 16))
