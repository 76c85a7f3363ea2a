"""Networks beside OKDNet: their published sizes, what every network owes, published weights."""

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
    'DGDNet': {
        'depth': {'num_feat': 4, 'growth': 4, 'num_blocks': (1, 1, 1, 1)},
        'fuse': {'dim': 4, 'depths': (1, 1), 'drop_path': 0},
    },
    'DepthGuidedFuseNet': {'dim': 4, 'depths': (1, 1), 'drop_path': 0},
    'FFALiteNet': {'dim': 8, 'blocks': 1},
    # Untrained transmissions are next to nothing, which makes much of a rounding error.
    'DCPDN': {'num_feat': 8, 'num_blocks': (1, 1, 1), 't_min': 0.1},
    'DehazeFormer': {'num_feat': 12, 'num_blocks': (1, 2, 2, 1, 1), 'window': 4},
    'EPDN': {'num_feat': 4, 'num_blocks': 1, 'num_fine_blocks': 1},
    'FFANet': {'num_feat': 8, 'num_blocks': 1},
    'GCANet': {'num_feat': 8},
    'GridDehazeNet': {'num_feat': 4, 'growth': 4},
    'MSBDN': {'num_feat': 4, 'num_blocks': 1, 'num_bottom_blocks': 1},
    'ProgressiveDehazer': {'restorer': {'type': 'GridDehazeNet', 'num_feat': 4, 'growth': 4}},
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
        ('DADehazer', {}, 54_591_388),
        ('DCP', {}, 0),
        ('DGDNet', {}, 43_359_005),
        ('DGDNet', {'depth': {'classifier': True}}, 45_024_005),
        ('DSCFSRCNN', {}, 26_451),
        ('DSCFSRCNN', {'num_channels': 1}, 8_817),
        ('DenseDepth169', {}, 42_657_689),
        ('DenseDepth169', {'classifier': True}, 44_322_689),
        ('DenseDepth169', {'num_feat': 32, 'growth': 16, 'num_blocks': (4, 8, 12, 8)}, 1_541_980),
        ('DepthGuidedFuseNet', {}, 701_315),
        ('FFALiteNet', {}, 96_007),
        ('FFALiteNet', {'dim': 24}, 214_439),
        ('FFALiteNet', {'dim': 64, 'blocks': 19}, 4_455_913),
        ('DCPDN', {}, 12_439_766),
        ('DCPDN', {'unused': 'all'}, 66_889_917),
        ('DCPDN', {'unused': 'none'}, 12_439_726),
        ('DehazeFormer', {}, 687_404),
        ('DehazeFormer', {'num_blocks': (8, 8, 8, 4, 4), 'attention': (0.25, 0.5, 0.75, 0, 0)}, 1_284_884),
        ('EPDN', {}, 17_379_249),
        ('EPDN', {'unused': 'none'}, 17_378_849),
        ('FFANet', {}, 4_455_913),
        ('FFANet', {'num_feat': 16, 'num_blocks': 6}, 96_007),
        ('GCANet', {}, 702_818),
        ('GCANet', {'edges': False}, 702_242),
        ('GridDehazeNet', {}, 958_051),
        ('MSBDN', {}, 28_712_861),
        ('MSBDN', {'dense_branch': False}, 31_353_061),
        ('ProgressiveDehazer', {'restorer': {'type': 'DCP'}}, 1_761 + 21),
        ('ProgressiveDehazer', {'restorer': {'type': 'AODNet'}, 'pre_restore': {'type': 'DCP'}}, 21 + 1_761),
        ('PSD', {}, 6_204_857),
        ('PSD', {'backbone': 'gca'}, 2_412_594),
        ('PSD', {'backbone': 'msbdn'}, 33_110_786),
        ('PSD', {'unused': 'none'}, 5_316_278),
        ('PSD', {'backbone': 'gca', 'unused': 'none'}, 1_562_674),
        ('PSD', {'backbone': 'msbdn', 'unused': 'none'}, 32_260_866),
        ('gUNet', {}, 844_899),
        ('gUNet', {'num_blocks': (4, 4, 4, 8, 4, 4, 4)}, 1_477_059),
    ],
)
def test_whole_network_has_the_published_size(name, options, expected):
    with torch.device('meta'):
        net = ARCH_REGISTRY.get(name)(**options)
    assert sum(parameter.numel() for parameter in net.parameters()) == expected


@pytest.mark.parametrize(('size', 'batch'), [((16, 16), 1), ((17, 31), 2), ((64, 48), 1)])
@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_output_is_finite_and_of_the_size_of_the_input(net, size, batch, mode):
    output = net.train(mode == 'train')(torch.rand(batch, 3, *size))
    assert output.shape == (batch, 3, *size)
    assert torch.isfinite(output).all()


def test_eval_output_is_an_image_for_extreme_input(net):
    net.eval()
    for hazy in (torch.zeros(1, 3, 18, 20), torch.ones(1, 3, 18, 20), torch.rand(1, 3, 18, 20).round()):
        output = net(hazy)
        assert torch.isfinite(output).all()
        assert output.min() >= 0
        assert output.max() <= 1


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
@pytest.mark.parametrize('name', LEARNED)
def test_traced_network_is_right_at_another_size(name):
    """As exported files and graph back ends need it: no size may become a constant."""
    net = small(name).eval().requires_grad_(False)
    traced = torch.jit.trace(net, torch.rand(1, 3, 36, 52), check_trace=False)
    hazy = torch.rand(2, 3, 65, 70)
    torch.testing.assert_close(traced(hazy), net(hazy), atol=1e-5, rtol=1e-4)


def test_input_is_not_changed(net):
    hazy = torch.rand(1, 3, 17, 20)
    before = hazy.clone()
    net(hazy)
    assert torch.equal(hazy, before)


def test_images_of_a_batch_do_not_meet(net):
    hazy = torch.rand(2, 3, 20, 24)
    torch.testing.assert_close(net.eval()(hazy), torch.cat([net(hazy[:1]), net(hazy[1:])]), atol=1e-5, rtol=1e-4)


def test_channels_last_gives_the_same(net):
    hazy = torch.rand(2, 3, 20, 24)
    expected = net.eval()(hazy)
    output = net.to(memory_format=torch.channels_last)(hazy.to(memory_format=torch.channels_last))
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_bf16_autocast_gives_a_float32_image(net, mode):
    with torch.autocast('cpu', torch.bfloat16):
        output = net.train(mode == 'train')(torch.rand(2, 3, 17, 24))
    assert output.dtype == torch.float32
    assert torch.isfinite(output).all()


OTHERS = [
    ('MSBDN', {'dense_branch': False}),
    ('DCPDN', {'unused': 'none'}),
    ('EPDN', {'unused': 'none'}),
    ('PSD', {'backbone': 'gca', 'backbone_options': {'num_feat': 8}}),
    ('PSD', {'backbone': 'msbdn', 'backbone_options': SMALL['MSBDN'] | {'dense_branch': False}, 'unused': 'none'}),
    ('gUNet', {'num_blocks': (1, 1, 1, 2, 1, 1, 1)}),
]


@pytest.mark.parametrize(('name', 'options'), [*((name, {}) for name in LEARNED), *OTHERS])
def test_every_parameter_that_is_trained_gets_a_gradient(name, options):
    """So that DistributedDataParallel trains it without find_unused_parameters."""
    net = small(name, **options)
    hazy = torch.rand(2, 3, 32, 32)
    outputs = net(hazy, return_branches=True) if name == 'PSD' else [net(hazy)]
    sum(output.square().sum() for output in outputs).backward()
    trained = {key: parameter for key, parameter in net.named_parameters() if parameter.requires_grad}
    assert [key for key, parameter in trained.items() if parameter.grad is None] == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in trained.values())
    assert any(parameter.grad.any() for parameter in trained.values())
    frozen = {key for key, parameter in net.named_parameters() if not parameter.requires_grad}
    assert all('unused' in key for key in frozen)
    assert not frozen or net.get_parameter(min(frozen)).grad is None


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
    assert torch.equal(net.eval()(hazy), other.eval()(hazy))  # in train mode some drop channels


def test_network_can_be_copied_and_pickled(net):
    """As the averaged copy and worker processes need it, whatever hooks it has."""
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        other.load_state_dict(net.state_dict(), strict=True)


def test_too_small_image_is_refused(net):
    with pytest.raises(ValueError, match=f'{type(net).__name__}: an image of 15x16 is too small'):
        net(torch.rand(1, 3, 15, 16))


@pytest.mark.parametrize(
    ('options', 'message'), [({'num_rows': 6}, 'num_rows is 6'), ({'num_columns': 5}, 'num_columns is 5')]
)
def test_wrong_size_of_the_grid_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        small('GridDehazeNet', **options)


def test_edge_map_is_the_mean_difference_to_the_four_neighbours():
    image = torch.rand(1, 3, 5, 6)
    expected = torch.zeros(1, 1, 5, 6)
    for row in range(5):
        for column in range(6):
            for y, x in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= y < 5 and 0 <= x < 6:
                    expected[..., row, column] += (image[..., row, column] - image[..., y, x]).abs().mean() / 4
    torch.testing.assert_close(edge_map(image), expected)


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


def batch_norm(*modules: str) -> list[str]:
    parts = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    return [f'{module}.{part}' for module in modules for part in parts]


def pyramid_keys(prefix: str) -> list[str]:
    return both(*(f'{prefix}{name}' for name in ('conv1010', 'conv1020', 'conv1030', 'conv1040', 'refine3')))


def gunet_keys() -> list[str]:
    keys = both('inconv.proj', 'outconv.proj.0')
    for stage, count in enumerate((1, 1, 2, 1, 1)):
        for block in (f'layers.{stage}.blocks.{i}' for i in range(count)):
            keys += batch_norm(f'{block}.norm')
            keys += both(*(f'{block}.conv.{part}' for part in ('Wv.0', 'Wv.1', 'Wg.0', 'proj')))
    for i in range(2):
        keys += both(f'downs.{i}.proj', f'ups.{i}.proj.0', f'skips.{i}')
        keys += [f'fusions.{i}.mlp.{layer}.weight' for layer in (1, 3)]
    return keys


def dehazeformer_keys() -> list[str]:
    keys = both('patch_embed.proj', 'patch_unembed.proj.0')
    for stage, attention in enumerate(((0,), (0, 1), (1, 1), (0,), (0,)), 1):
        for i, has_attention in enumerate(attention):
            block = f'layer{stage}.blocks.{i}'
            keys += both(
                *(f'{block}.{part}' for part in ('attn.V', 'attn.conv', 'attn.proj', 'mlp.mlp.0', 'mlp.mlp.2'))
            )
            if has_attention:
                parts = ('attn.QK', 'attn.attn.meta.0', 'attn.attn.meta.2', 'norm1', 'norm1.meta1', 'norm1.meta2')
                keys += both(*(f'{block}.{part}' for part in parts))
    for i in (1, 2):
        keys += both(f'patch_merge{i}.proj', f'patch_split{i}.proj.0', f'skip{i}')
        keys += [f'fusion{i}.mlp.{layer}.weight' for layer in (0, 2)]
    return keys


def unet_keys(name: str) -> list[str]:
    keys = [
        f'{name}.layer1.layer1.weight',
        f'{name}.dlayer8.dlayer8.tconv.weight',
        f'{name}.dlayer1.dlayer1.tconv.weight',
    ]
    for i in range(2, 9):
        keys += [f'{name}.layer{i}.layer{i}.conv.weight', *batch_norm(f'{name}.layer{i}.layer{i}.bn')]
    for i in range(2, 8):
        keys += [f'{name}.dlayer{i}.dlayer{i}.tconv.weight', *batch_norm(f'{name}.dlayer{i}.dlayer{i}.bn')]
    return keys


def dcpdn_keys() -> list[str]:
    keys = ['tran_dense.conv0.weight', *batch_norm('tran_dense.norm0'), *both('tran_dense.conv_refin')]
    for i in range(1, 4):
        layer, transition = f'tran_dense.dense_block{i}.denselayer1', f'tran_dense.trans_block{i}'
        keys += batch_norm(f'{layer}.norm.1', f'{layer}.norm.2', f'{transition}.norm')
        keys += [f'{layer}.conv.1.weight', f'{layer}.conv.2.weight', f'{transition}.conv.weight']
    for i in range(4, 9):
        block, transition = f'tran_dense.dense_block{i}', f'tran_dense.trans_block{i}'
        keys += batch_norm(f'{block}.bn1', f'{block}.bn2', f'{transition}.bn1')
        keys += [f'{block}.conv1.weight', f'{block}.conv2.weight', f'{transition}.conv1.weight']
    keys += pyramid_keys('tran_dense.') + unet_keys('atp_est')
    return keys + both('refine1', 'refine2') + pyramid_keys('') + batch_norm('batch1')


DCPDN_GENERATOR = [*unet_keys('tran_est'), *pyramid_keys('tran_est.'), 'tran_est.dlayerfinal.dlayer1.conv.weight']


def epdn_keys() -> list[str]:
    # Where layers of padding have numbers too; a coarse generator of four halvings, and one block each.
    keys = both(*(f'model.{i}' for i in (1, 4, 7, 10, 13, 17, 20, 23, 26)), 'model1_1.1', 'model1_1.4')
    keys += both('model.16.conv_block.1', 'model.16.conv_block.5', 'model1_2.0.conv_block.1', 'model1_2.0.conv_block.5')
    keys += both('model1_2.1', 'model1_2.5')
    for name in ('dehaze', 'dehaze2'):
        keys += both(f'{name}.refine1', f'{name}.refine2', f'{name}.batch1') + pyramid_keys(f'{name}.')
    return keys


def dadehazer_keys() -> list[str]:
    keys = ['conv1.1.weight', *batch_norm('conv1.2'), 'conv1.3.weight']
    for i in (2, 3, 4):
        keys += [
            f'conv{i}.model.0.weight',
            f'conv{i}.model.3.weight',
            *batch_norm(f'conv{i}.model.1', f'conv{i}.model.4'),
        ]
    keys += [f'center.0.{part}.1.weight' for part in ('layer0', 'layer1', 'branch1x1')]
    keys += batch_norm('center.0.norm1', 'center.0.norm2')
    for name in ('center.1', 'deconv4', 'deconv3', 'deconv2'):
        keys += [f'{name}.model.1.weight', *both(f'{name}.model.4'), *batch_norm(f'{name}.model.2', f'{name}.model.5')]
    return keys + [f'output{i}.model.1.weight' for i in (1, 2, 3, 4)]


PUBLISHED = {
    'DADehazer': (
        dadehazer_keys(),
        {
            'conv1.3.weight': 'activation.weight',
            'conv4.model.4.running_var': 'encoders.2.norm2.running_var',
            'center.0.layer1.1.weight': 'center.0.convs.1.weight',
            'center.1.model.4.bias': 'decoders.0.conv2.bias',
            'deconv2.model.1.weight': 'decoders.3.conv1.weight',
            'output4.model.1.weight': 'outputs.0.weight',
        },
    ),
    'DCPDN': (
        dcpdn_keys(),
        {
            'tran_dense.dense_block2.denselayer1.conv.2.weight': 'transmission.downs.1.0.denselayer1.conv2.weight',
            'tran_dense.trans_block8.conv1.weight': 'transmission.ups.4.transition.2.weight',
            'tran_dense.conv1030.weight': 'transmission.head.squeeze.2.weight',
            'atp_est.dlayer7.dlayer7.bn.weight': 'airlight.ups.1.2.weight',
            'atp_est.layer8.layer8.conv.weight': 'airlight.downs.7.1.weight',
            'refine2.bias': 'refine.2.bias',
            'refine3.bias': 'head.out.bias',
        },
    ),
    'DehazeFormer': (
        dehazeformer_keys(),
        {
            'layer2.blocks.1.attn.QK.weight': 'stages.1.1.mixer.query_key.weight',
            'layer3.blocks.0.norm1.meta2.bias': 'stages.2.0.norm.rebias.bias',
            'patch_split2.proj.0.weight': 'ups.1.0.weight',
            'skip1.weight': 'skips.0.weight',
        },
    ),
    'EPDN': (
        epdn_keys(),
        {
            'model.26.weight': 'coarse.25.weight',
            'model.16.conv_block.5.weight': 'coarse.15.conv2.weight',
            'model1_1.4.weight': 'fine_in.3.weight',
            'model1_2.5.weight': 'fine_out.4.weight',
            'dehaze2.refine1.weight': 'enhancers.1.refine.0.weight',
            'dehaze.batch1.bias': 'enhancers.0.unused_norm.bias',
        },
    ),
    'gUNet': (
        gunet_keys(),
        {
            'layers.2.blocks.1.conv.Wv.1.weight': 'stages.2.1.value.1.weight',
            'layers.4.blocks.0.conv.Wg.0.bias': 'stages.4.0.gate.bias',
            'ups.1.proj.0.weight': 'ups.1.0.weight',
            'fusions.0.mlp.3.weight': 'fusions.0.mlp.2.weight',
        },
    ),
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


PUBLISHED['FFALiteNet'] = PUBLISHED['FFANet']


@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_published_checkpoint_loads_strictly(name):
    keys, known = PUBLISHED[name]
    trained = small(name).eval()
    names = published_names(small(name), keys)
    assert len(names) == len(keys)
    assert {names[own]: own for own in known.values()} == known
    checkpoint = {names[own]: value for own, value in trained.state_dict().items()}

    net = build_network({'type': name, **SMALL[name]}).eval()
    net.load_state_dict(checkpoint, strict=True)
    hazy = torch.rand(1, 3, 20, 20)
    assert torch.equal(net(hazy), trained(hazy))

    inside = torch.nn.Sequential(build_network({'type': name, **SMALL[name]})).eval()
    inside.load_state_dict({f'0.{key}': value for key, value in checkpoint.items()}, strict=True)
    assert torch.equal(inside(hazy), trained(hazy))


@pytest.mark.parametrize('name', LEARNED)
def test_foreign_checkpoint_is_refused(name):
    with pytest.raises(RuntimeError, match='Missing key'):
        small(name).load_state_dict({'another.weight': torch.zeros(1)}, strict=True)


def psd_keys(backbone: str) -> list[str]:
    keys = ['ANet.conv.weight', 'ANet.dconv.weight']
    for i in range(1, 8):
        keys += [f'ANet.{name}{i}.{part}.weight' for name in ('layer', 'dlayer') for part in ('conv', 'deconv')]
    keys += ['conv_T_1.weight', 'conv_T_2.weight']
    if backbone == 'gca':
        return keys + [key for key in gcanet_keys() if key not in ('conv1.weight',)] + ['conv1.weight']
    keys += ['conv_J_1.weight', 'conv_J_2.weight']
    if backbone == 'ffa':
        return keys + [key for key in ffanet_keys() if not key.startswith('pre.0')] + both('pre.0')
    left_out = ('conv1.', 'conv2.', 'conv3.', 'conv4.', 'conv_')
    return [
        *keys,
        'upsample.weight',
        *both('conv_input.conv2d'),
        *(k for k in msbdn_keys() if not k.startswith(left_out)),
    ]


PSD_BACKBONES = {
    'ffa': SMALL['PSD'] | {'backbone': 'ffa'},
    'gca': {'backbone': 'gca', 'backbone_options': {'num_feat': 8}},
    'msbdn': {'backbone': 'msbdn', 'backbone_options': SMALL['MSBDN']},
}


@pytest.mark.parametrize('backbone', PSD_BACKBONES)
@pytest.mark.parametrize('unused', ['all', 'none'])
def test_psd_reads_its_published_keys_and_those_of_its_backbone(backbone, unused):
    options = PSD_BACKBONES[backbone] | {'unused': unused}
    net, keys = build_network({'type': 'PSD', **options}), psd_keys(backbone)
    names = published_names(net, keys)
    if unused == 'none':
        dropped = {f'ANet.layer{i}.deconv.weight' for i in range(1, 8)} | {
            f'ANet.dlayer{i}.conv.weight' for i in range(1, 8)
        }
        dropped |= set(both('post.0', 'post.1')) & set(keys)
        assert set(keys) - set(names.values()) == dropped
    inner = {own.removeprefix('backbone.'): key for own, key in names.items() if own.startswith('backbone.')}
    of_backbone = published_names(net.backbone, list(inner))
    outer = {own for own in names if not own.startswith('backbone.')}
    assert outer | {f'backbone.{own}' for own in of_backbone} == net.state_dict().keys()
    assert names['airlight.ups.6.1.weight'] == 'ANet.dlayer1.deconv.weight'
    assert names['transmission.1.weight'] == 'conv_T_2.weight'
    last = 'clear.3.weight' if backbone == 'gca' else 'clear.1.weight'
    assert names[last] == ('deconv1.weight' if backbone == 'gca' else 'conv_J_2.weight')


@pytest.mark.parametrize(
    ('name', 'options', 'dropped'),
    [
        ('DADehazer', {}, ['conv3.model.2.weight', 'center.0.nonlinearity.weight', 'center.1.model.6.weight']),
        ('DCPDN', {}, DCPDN_GENERATOR),
        ('DCPDN', {'unused': 'none'}, ['batch1.weight', *DCPDN_GENERATOR]),
        ('DehazeFormer', {}, ['layer2.blocks.1.attn.attn.relative_positions']),
        ('EPDN', {'unused': 'none'}, ['dehaze.batch1.weight', 'dehaze2.batch1.bias']),
    ],
)
def test_published_weights_that_nothing_uses_are_passed_over(name, options, dropped):
    net = small(name, **options)
    state = net.state_dict() | {key: torch.zeros(1) for key in dropped}
    net.load_state_dict(state, strict=True)
    with pytest.raises(RuntimeError, match='Unexpected key'):
        net.load_state_dict(state | {'another.weight': torch.zeros(1)}, strict=True)


def test_released_dcpdn_has_a_place_for_its_generator():
    net = small('DCPDN', unused='all')
    assert published_names(net, dcpdn_keys() + DCPDN_GENERATOR).keys() == net.state_dict().keys()


def test_msbdn_of_the_paper_reads_its_published_keys():
    keys = [key for key in msbdn_keys() if not key.startswith(('conv1.', 'conv2.', 'conv3.', 'conv4.', 'conv_'))]
    keys += both('conv_input.conv2d', 'conv_output.conv2d')
    net = small('MSBDN', dense_branch=False)
    assert published_names(net, keys).keys() == net.state_dict().keys()
