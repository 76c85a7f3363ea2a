"""DGDNet: the depth in the guide, a depth that is given, and the weights of the released code."""

import pytest
import torch
from torchvision.models import DenseNet

from okdnet_plugin.archs.dgdnet_arch import DGDNet

DEPTH = {'num_feat': 4, 'growth': 4, 'num_blocks': (1, 1, 1, 1)}
FUSE = {'dim': 4, 'depths': (1, 1), 'drop_path': 0}


@pytest.fixture
def net():
    return DGDNet(DEPTH, FUSE)


@pytest.fixture
def hazy():
    return torch.rand(2, 3, 20, 24)


def test_guide_is_the_depth_mixed_with_the_image(net, hazy):
    guides = []
    net.fuse_net.register_forward_pre_hook(lambda _, __, named: guides.append(named['guide']), with_kwargs=True)
    output = net.eval()(hazy, return_depth=True)
    share = 1 / (1 + torch.tensor(0.6).exp())
    assert share.item() == pytest.approx(0.354, abs=5e-4)
    torch.testing.assert_close(guides[0], share * output.depth.expand(-1, 3, -1, -1) + (1 - share) * hazy)
    assert torch.equal(output.output, net(hazy))
    assert torch.equal(output.depth, net.depth_net(hazy))


def test_depth_that_is_given_is_taken(net, hazy):
    net.depth_net.eval()  # the other is not, so that no clamp makes images alike
    depth = net.depth_net(hazy)
    expected = net(hazy)
    net.depth_net.register_forward_pre_hook(lambda *_: pytest.fail('it estimated the depth'))
    assert torch.equal(net(hazy, depth=depth), expected)
    assert not torch.equal(net(hazy, depth=1 - depth), expected)


def test_depth_of_another_size_is_refused(net, hazy):
    with pytest.raises(ValueError, match=r'depth is of \(2, 3, 20, 24\), but must be of \(2, 1, 20, 24\)'):
        net(hazy, depth=hazy)


def test_image_teaches_the_depth_network(net, hazy):
    net(hazy).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.depth_net.last.weight.grad.any()
    assert net.mix.grad.any()


def test_any_network_of_one_channel_may_give_the_depth():
    net = DGDNet({'type': 'DSCFSRCNN', 'num_channels': 1, 'scale': 1}, FUSE)
    assert isinstance(net.depth_net, torch.nn.Module)
    with pytest.raises(ValueError, match='cannot be built'):
        DGDNet({'type': 'DSCFSRCNN', 'growth': 4}, FUSE)


def test_network_that_takes_no_guide_cannot_fuse():
    with pytest.raises(ValueError, match='fuse: AODNet takes no guide'):
        DGDNet(DEPTH, {'type': 'AODNet'})


def test_names_of_the_weights_are_those_of_the_parts(net):
    parts = [f'{part}.{key}' for part in ('depth_net', 'fuse_net') for key in getattr(net, part).state_dict()]
    assert sorted(net.state_dict()) == sorted(['mix', *parts])


def published(net: DGDNet) -> dict[str, torch.Tensor]:
    """The state dict of a network under the names of the released code, its doubles and its dead classifier too."""
    state = {'mix1.w': net.mix}
    aliases = {'conv0': 'conv0', 'norm0': 'norm0', 'norm5': 'model_out'}
    aliases |= {f'denseblock{i}': f'dense_block{i}' for i in (1, 2, 3, 4)}
    aliases |= {f'transition{i}': f'trans_block{i}' for i in (1, 2, 3)}
    depth = 'depth_finetune.depth_es.'
    for key, value in net.depth_net.encoder.state_dict().items():
        part, _, rest = key.partition('.')
        state[f'{depth}model.features.{key}'] = value
        state[f'{depth}{aliases[part]}.{rest}'] = value
    state[f'{depth}model.classifier.weight'] = torch.rand(1000, 8)
    state[f'{depth}model.classifier.bias'] = torch.rand(1000)
    state |= {f'{depth}midconv.{key}': value for key, value in net.depth_net.middle.state_dict().items()}
    state |= {f'{depth}finalconv.{key}': value for key, value in net.depth_net.last.state_dict().items()}
    for i, up in enumerate(net.depth_net.ups, 1):
        state |= {f'{depth}up{i}.{key}': value for key, value in up.state_dict().items()}

    fuse, theirs = net.fuse_net, 'Tfuse_second.Tfuse.'
    modules = {
        f'{theirs}patch_embed1.proj': fuse.embed_guide.conv,
        f'{theirs}patch_embed1.norm': fuse.embed_guide.norm,
        f'{theirs}patch_embed2.proj': fuse.embed.conv,
        f'{theirs}patch_embed2.norm': fuse.embed.norm,
        f'{theirs}patch_embed3.proj': fuse.embed_half.conv,
        f'{theirs}patch_embed3.norm': fuse.embed_half.norm,
        f'{theirs}norm1': fuse.norm_cross,
        f'{theirs}norm2': fuse.norm_self,
        'Tfuse_second.deconv1.0': fuse.ups[0].conv,
        'Tfuse_second.deconv2.0': fuse.ups[1].conv,
    }
    modules |= {f'Tfuse_second.output1.{i}': fuse.tail[i] for i in range(3)}
    for stage, blocks, of_kv in ((1, fuse.cross, '2'), (2, fuse.self_blocks, '')):
        for i, block in enumerate(blocks):
            name = f'{theirs}block{stage}.{i}'
            modules |= {
                f'{name}.attn.q': block.attention.query,
                f'{name}.attn.kv{of_kv}': block.attention.key_value,
                f'{name}.attn.sr{of_kv}': block.attention.reduce,
                f'{name}.attn.norm{of_kv}': block.attention.norm,
                f'{name}.attn.proj': block.attention.project,
                f'{name}.mlp.fc1': block.mlp.fc1,
                f'{name}.mlp.dwconv.dwconv': block.mlp.conv,
                f'{name}.mlp.fc2': block.mlp.fc2,
            }
            norms = [block.norm_guide, block.norm1, block.norm2] if stage == 1 else [block.norm1, block.norm2]
            modules |= {f'{name}.norm{number}': norm for number, norm in enumerate(norms, 1)}
    for name, module in modules.items():
        state |= {f'{name}.{key}': value for key, value in module.state_dict().items()}
    return state


def test_weights_of_the_released_code_load_strictly(net, hazy):
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    state = published(net)
    others = len(DenseNet(4, (1, 1, 1, 1), 4).features.state_dict()) + 2
    assert len(state) == len(net.state_dict()) + others  # the doubles and the classifier
    other = DGDNet(DEPTH, FUSE)
    other.load_state_dict(state, strict=True)
    assert torch.equal(other.eval()(hazy), net.eval()(hazy))


def test_dead_classifier_is_read_where_it_is_kept(net):
    state = published(net)
    kept = DGDNet({**DEPTH, 'classifier': True}, FUSE)
    kept.load_state_dict(dict(state), strict=True)
    assert torch.equal(kept.depth_net.classifier.weight, state['depth_finetune.depth_es.model.classifier.weight'])
