"""The networks that OKDNet is compared with: their published sizes, what every network owes, published weights."""

import copy
import pickle

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY

from okdnet_plugin.archs.arch_util import RDB
from okdnet_plugin.archs.gcanet_arch import SharedConv, edge_map

SMALL = {
    'AODNet': {},
    'DADehazer': {'num_feat': 4, 'num_centers': 1, 'num_dilations': 2},
    'DCP': {},
    'DCPDN': {'num_feat': 8, 'num_blocks': (1, 1, 1)},
    'DehazeFormer': {'num_feat': 12, 'num_blocks': (1, 2, 2, 1, 1), 'window': 4},
    'EPDN': {'num_feat': 4, 'num_blocks': 1, 'num_fine_blocks': 1},
    'FFANet': {'num_feat': 8, 'num_blocks': 1},
    'GCANet': {'num_feat': 8},
    'GridDehazeNet': {'num_feat': 4, 'growth': 4},
    'MSBDN': {'num_feat': 4, 'num_blocks': 1, 'num_bottom_blocks': 1},
    'PSD': {'backbone_options': {'num_feat': 8, 'num_blocks': 1}},
    'gUNet': {'num_feat': 8, 'num_blocks': (1, 1, 2, 1, 1)},
}
LEARNED = sorted(SMALL.keys() - {'DCP'})


def small(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network({'type': name, **SMALL[name], **options})


@pytest.fixture(params=sorted(SMALL))
def net(request):
    return small(request.param)


@pytest.mark.parametrize(
    ('name', 'options', 'expected'),
    [
        ('AODNet', {}, 1_761),
        ('DCP', {}, 0),
        ('FFANet', {}, 4_455_913),
        ('FFANet', {'num_feat': 16, 'num_blocks': 6}, 96_007),
        ('GCANet', {}, 702_818),
        ('GridDehazeNet', {}, 958_051),
        ('MSBDN', {}, 28_712_861),
        ('MSBDN', {'dense_branch': False}, 31_353_061),
    ],
)
def test_whole_network_has_the_published_size(name, options, expected):
    with torch.device('meta'):
        net = ARCH_REGISTRY.get(name)(**options)
    assert sum(parameter.numel() for parameter in net.parameters()) == expected


@pytest.mark.parametrize('size', [(16, 16), (17, 31), (64, 48)])
@pytest.mark.parametrize('batch', [1, 2])
@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_output_is_finite_and_of_the_size_of_the_input(net, size, batch, mode):
    output = net.train(mode == 'train')(torch.rand(batch, 3, *size))
    assert output.shape == (batch, 3, *size)
    assert torch.isfinite(output).all()


def test_eval_output_is_a_picture_for_extreme_input(net):
    net.eval()
    for hazy in (torch.zeros(1, 3, 18, 20), torch.ones(1, 3, 18, 20), torch.rand(1, 3, 18, 20).round()):
        output = net(hazy)
        assert torch.isfinite(output).all()
        assert output.min() >= 0
        assert output.max() <= 1


def test_input_is_not_changed(net):
    hazy = torch.rand(1, 3, 17, 20)
    before = hazy.clone()
    net(hazy)
    assert torch.equal(hazy, before)


def test_pictures_of_a_batch_do_not_meet(net):
    hazy = torch.rand(2, 3, 20, 24)
    torch.testing.assert_close(net.eval()(hazy), torch.cat([net(hazy[:1]), net(hazy[1:])]), atol=1e-5, rtol=1e-4)


def test_channels_last_gives_the_same(net):
    hazy = torch.rand(2, 3, 20, 24)
    expected = net.eval()(hazy)
    output = net.to(memory_format=torch.channels_last)(hazy.to(memory_format=torch.channels_last))
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_bf16_autocast_gives_a_float32_picture(net, mode):
    with torch.autocast('cpu', torch.bfloat16):
        output = net.train(mode == 'train')(torch.rand(2, 3, 17, 24))
    assert output.dtype == torch.float32
    assert torch.isfinite(output).all()


@pytest.mark.parametrize(('name', 'options'), [*((name, {}) for name in LEARNED), ('MSBDN', {'dense_branch': False})])
def test_every_parameter_gets_a_gradient(name, options):
    """So that DistributedDataParallel trains it without find_unused_parameters."""
    net = small(name, **options)
    net(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert [key for key, parameter in net.named_parameters() if parameter.grad is None] == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())
    assert any(parameter.grad.any() for parameter in net.parameters())


def test_gradient_reaches_the_input(net):
    hazy = torch.rand(1, 3, 20, 20, requires_grad=True)
    net(hazy).sum().backward()
    assert torch.isfinite(hazy.grad).all()
    assert hazy.grad.any()


@pytest.mark.parametrize('name', sorted(SMALL))
def test_own_checkpoint_loads_strictly(name):
    net, other = small(name), build_network({'type': name, **SMALL[name]})
    other.load_state_dict(net.state_dict(), strict=True)
    hazy = torch.rand(1, 3, 20, 20)
    assert torch.equal(net(hazy), other(hazy))


def test_network_can_be_copied_and_pickled(net):
    """As the averaged copy and worker processes need it, whatever hooks it has."""
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        other.load_state_dict(net.state_dict(), strict=True)


def test_too_small_picture_is_refused(net):
    with pytest.raises(ValueError, match=f'{type(net).__name__}: a picture of 15x16 is too small'):
        net(torch.rand(1, 3, 15, 16))


@pytest.mark.parametrize(
    ('options', 'message'), [({'num_rows': 6}, 'num_rows is 6'), ({'num_columns': 5}, 'num_columns is 5')]
)
def test_wrong_size_of_the_grid_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        small('GridDehazeNet', **options)


def test_edge_map_is_the_mean_difference_to_the_four_neighbours():
    picture = torch.rand(1, 3, 5, 6)
    expected = torch.zeros(1, 1, 5, 6)
    for row in range(5):
        for column in range(6):
            for y, x in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= y < 5 and 0 <= x < 6:
                    expected[..., row, column] += (picture[..., row, column] - picture[..., y, x]).abs().mean() / 4
    torch.testing.assert_close(edge_map(picture), expected)


def test_shared_convolution_begins_as_the_identity_and_treats_channels_alike():
    conv, feature = SharedConv(3), torch.rand(2, 4, 8, 9)
    assert torch.equal(conv(feature), feature)
    torch.nn.init.normal_(conv.weight)
    torch.testing.assert_close(conv(feature).flip(1), conv(feature.flip(1)))


@pytest.mark.parametrize('bias', [True, False])
def test_dense_block_is_the_concatenation_of_the_paper(bias):
    block, x = RDB(6, growth=5, num_layers=3, bias=bias), torch.rand(2, 6, 8, 9)
    features = x
    for layer in block.layers:
        features = torch.cat([features, layer(features).relu()], 1)
    torch.testing.assert_close(block(x), block.fuse(features) + x)


# ---------------------------------------------------------------------------------------------------- published weights


def both(*modules: str) -> list[str]:
    return [f'{module}.{part}' for module in modules for part in ('weight', 'bias')]


def gcanet_keys() -> list[str]:
    keys = [f'conv{i}.weight' for i in (1, 2, 3)] + both(*(f'norm{i}' for i in range(1, 6)))
    for i in range(1, 8):
        keys += [f'res{i}.conv{j}.weight' for j in (1, 2)] + both(*(f'res{i}.norm{j}' for j in (1, 2)))
        keys += [f'res{i}.pre_conv{j}.weight' for j in (1, 2) if i < 7]
    return keys + both('gate', 'deconv3', 'deconv2', 'deconv1')


def ffanet_keys() -> list[str]:
    keys = both('pre.0', 'ca.1', 'ca.3', 'palayer.pa.0', 'palayer.pa.2', 'post.0', 'post.1')
    parts = ('conv1', 'conv2', 'calayer.ca.0', 'calayer.ca.2', 'palayer.pa.0', 'palayer.pa.2')
    for group in ('g1', 'g2', 'g3'):
        keys += both(*(f'{group}.gp.0.{part}' for part in parts), f'{group}.gp.1')
    return keys


def griddehazenet_keys() -> list[str]:
    def rdb(name: str) -> list[str]:
        return both(*(f'{name}.residual_dense_layers.{i}.conv' for i in range(4)), f'{name}.conv_1x1')

    keys = ['coefficient', *both('conv_in', 'conv_out'), *rdb('rdb_in'), *rdb('rdb_out')]
    for row in range(3):
        for column in range(5):
            keys += rdb(f'rdb_module.{row}_{column}')
    for row in range(2):
        for column in range(3):
            keys += both(*(f'downsample_module.{row}_{column}.conv{i}' for i in (1, 2)))
            keys += both(*(f'upsample_module.{row}_{column + 3}.{part}' for part in ('deconv', 'conv')))
    return keys


def msbdn_keys() -> list[str]:
    def block(name: str) -> list[str]:
        return [*both(f'{name}.conv1.conv2d', f'{name}.conv2.conv2d'), f'{name}.relu.weight']

    def fusion(number: str, count: int) -> list[str]:
        keys = [f'conv{number}.dense_layers.{i}.conv.weight' for i in range(4)] + [f'conv{number}.conv_1x1.weight']
        for i in range(count):
            up, down = f'fusion{number}.up_convs.{i}', f'fusion{number}.down_convs.{i}'
            keys += [*both(f'{up}.deconv', f'{down}.conv'), f'{up}.act.weight', f'{down}.act.weight']
        return keys

    keys = both('conv_input.conv2d', 'conv_output.conv2d') + block('dehaze.res0')
    for i in range(1, 5):
        size = 2**i
        keys += both(f'conv{size}x.conv2d', f'convd{size}x.conv2d')
        keys += block(f'dense{i - 1}.0') + block(f'dense_{i}.0') + fusion(f'{i}', i) + fusion(f'_{i}', 5 - i)
    return keys


PUBLISHED = {
    'AODNet': (both(*(f'e_conv{i}' for i in range(1, 6))), {'e_conv3.weight': 'convs.2.weight'}),
    'FFANet': (
        ffanet_keys(),
        {
            'palayer.pa.2.weight': 'pixel_attention.mlp.2.weight',
            'g2.gp.0.palayer.pa.2.weight': 'groups.1.layers.0.pixel_attention.mlp.2.weight',
            'ca.3.bias': 'group_attention.2.bias',
        },
    ),
    'GCANet': (
        gcanet_keys(),
        {
            'norm3.bias': 'encoder.7.bias',
            'res2.pre_conv1.weight': 'blocks.1.smooth1.weight',
            'norm5.weight': 'decoder.4.weight',
            'deconv1.weight': 'decoder.6.weight',
        },
    ),
    'GridDehazeNet': (
        griddehazenet_keys(),
        {
            'rdb_module.2_4.conv_1x1.weight': 'rows.2.4.fuse.weight',
            'downsample_module.1_2.conv2.weight': 'downs.1.2.2.weight',
            'upsample_module.0_4.deconv.weight': 'ups.0.1.0.weight',
        },
    ),
    'MSBDN': (
        msbdn_keys(),
        {
            'conv2.conv_1x1.weight': 'encoder_fusions.1.dense.fuse.weight',
            'dense_4.0.relu.weight': 'decoders.0.0.relu.weight',
            'convd2x.conv2d.weight': 'ups.3.weight',
            'fusion3.up_convs.2.deconv.weight': 'encoder_fusions.2.projection.there.2.0.weight',
            'fusion_1.up_convs.3.act.weight': 'decoder_fusions.3.projection.back.3.1.weight',
        },
    ),
}


def published_names(net: torch.nn.Module, keys: list[str]) -> dict[str, str]:
    """What a network takes each published key for, as its own key -> the published one."""
    names = {}

    def note(module: torch.nn.Module, state_dict: dict, *_: object) -> None:
        names.update((own, keys[number]) for own, number in state_dict.items())
        state_dict.clear()
        state_dict.update(net.state_dict())

    net._register_load_state_dict_pre_hook(note, with_module=True)  # after the network's own
    net.load_state_dict({key: number for number, key in enumerate(keys)})
    return names


@pytest.mark.parametrize('name', LEARNED)
def test_published_checkpoint_loads_strictly(name):
    keys, known = PUBLISHED[name]
    trained = small(name)
    names = published_names(small(name), keys)
    assert len(names) == len(keys)
    assert {names[own]: own for own in known.values()} == known
    checkpoint = {names[own]: value for own, value in trained.state_dict().items()}

    net = build_network({'type': name, **SMALL[name]})
    net.load_state_dict(checkpoint, strict=True)
    hazy = torch.rand(1, 3, 20, 20)
    assert torch.equal(net(hazy), trained(hazy))

    inside = torch.nn.Sequential(build_network({'type': name, **SMALL[name]}))
    inside.load_state_dict({f'0.{key}': value for key, value in checkpoint.items()}, strict=True)
    assert torch.equal(inside(hazy), trained(hazy))


@pytest.mark.parametrize('name', LEARNED)
def test_foreign_checkpoint_is_refused(name):
    with pytest.raises(RuntimeError, match='Missing key'):
        small(name).load_state_dict({'another.weight': torch.zeros(1)}, strict=True)


def test_msbdn_of_the_paper_reads_its_published_keys():
    keys = [key for key in msbdn_keys() if not key.startswith(('conv1.', 'conv2.', 'conv3.', 'conv4.', 'conv_'))]
    keys += both('conv_input.conv2d', 'conv_output.conv2d')
    net = small('MSBDN', dense_branch=False)
    assert published_names(net, keys).keys() == net.state_dict().keys()
