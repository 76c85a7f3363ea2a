"""The progressive framework: what each stage sees, any network in its slots, and haze that is made again."""

import pytest
import torch

from okdnet_plugin.archs.progressivedehazer_arch import ProgressiveDehazer, ProgressiveStages, rehaze

AOD = {'type': 'AODNet'}
RESTORERS = [
    {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4},
    {'type': 'GridDehazeNet', 'num_feat': 4, 'growth': 4},
    {'type': 'GCANet', 'num_feat': 8},
    {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 1},
]


@pytest.fixture
def hazy():
    return torch.rand(2, 3, 20, 24)


@pytest.mark.parametrize('restorer', RESTORERS, ids=lambda block: block['type'])
@pytest.mark.parametrize('pre_restore', [None, {'type': 'DCP'}, {'type': 'GCANet', 'num_feat': 4}], ids=str)
@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_any_network_fills_either_slot(restorer, pre_restore, mode, hazy):
    net = ProgressiveDehazer(restorer, pre_restore).train(mode == 'train')
    output = net(hazy)
    assert output.shape == hazy.shape
    if mode == 'eval':
        assert output.min() >= 0
        assert output.max() <= 1


def test_at_first_the_restorer_sees_the_hazy_image_alone(hazy):
    net = ProgressiveDehazer(AOD).eval()
    assert torch.equal(net(hazy), net.restorer(hazy))


def test_restorer_sees_both_images_as_they_are_joined(hazy):
    net = ProgressiveDehazer(AOD)
    torch.nn.init.normal_(net.join.weight)
    stages = net(hazy, return_stages=True)
    assert isinstance(stages, ProgressiveStages)
    assert torch.equal(stages.pre_restored, net.pre_restore(hazy))
    weight = net.join.weight[..., 0, 0]
    joined = torch.einsum('oi,nihw->nohw', weight[:, :3], hazy)
    joined = joined + torch.einsum('oi,nihw->nohw', weight[:, 3:], stages.pre_restored)
    torch.testing.assert_close(stages.output, net.restorer(joined))
    assert torch.equal(stages.output, net(hazy))
    assert len(stages.restored) == 1
    assert stages.rehazed == ()


def test_alternating_restorer_goes_on_from_what_it_made(hazy):
    net = ProgressiveDehazer(AOD, alternate_steps=3)
    torch.nn.init.normal_(net.join.weight)
    last, expected = net.pre_restore(hazy), []
    for _ in range(3):
        last = net.restorer(net.join(torch.cat([hazy, last], 1)))
        expected.append(last)
    stages = net(hazy, return_stages=True)
    torch.testing.assert_close(torch.stack(stages.restored), torch.stack(expected))
    assert torch.equal(stages.output, stages.restored[-1])
    assert [image.shape for image in stages.rehazed] == 3 * [hazy.shape]
    assert not any(image.isnan().any() for image in stages.rehazed)


def test_haze_is_made_again_where_the_clear_image_is_right():
    clear, t, airlight = torch.rand(2, 3, 6, 7), 0.2 + 0.8 * torch.rand(2, 1, 6, 7), 0.5 + torch.rand(2, 3, 1, 1)
    hazy = clear * t + airlight * (1 - t)
    torch.testing.assert_close(rehaze(hazy, clear, airlight), hazy)
    assert (rehaze(hazy, torch.rand_like(clear), airlight) - hazy).abs().mean() > 0.01


def test_haze_that_is_made_is_the_nearest_there_is():
    hazy, clear, airlight = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), torch.ones(1, 3, 1, 1)
    found = (rehaze(hazy, clear, airlight) - hazy).square().sum(1)
    for t in torch.linspace(0.1, 1, 91):
        assert (found <= (clear * t + airlight * (1 - t) - hazy).square().sum(1) + 1e-6).all()


def test_each_loss_reaches_its_stage(hazy):
    net = ProgressiveDehazer(AOD)
    for conv in net.pre_restore.convs:
        torch.nn.init.uniform_(conv.weight, 0, 0.1)
    net(hazy, return_stages=True).pre_restored.sum().backward()
    assert net.pre_restore.convs[0].weight.grad.any()
    assert net.restorer.convs[0].weight.grad is None
    net.zero_grad()
    net(hazy).sum().backward()
    assert net.restorer.convs[0].weight.grad.any()
    assert net.join.weight.grad[:, 3:].any()
    assert not net.pre_restore.convs[0].weight.grad.any()  # until the second step
    with torch.no_grad():
        net.join.weight[:, 3:] = 0.1
    net(hazy).sum().backward()
    assert net.pre_restore.convs[0].weight.grad.any()


def test_names_of_the_weights_stay():
    convs = [f'convs.{i}.{part}' for i in range(5) for part in ('weight', 'bias')]
    assert list(ProgressiveDehazer(AOD).state_dict()) == [
        *(f'pre_restore.{key}' for key in convs),
        *('join.weight', 'join.bias'),
        *(f'restorer.{key}' for key in convs),
    ]


def test_published_weights_of_a_part_load():
    net = ProgressiveDehazer(AOD)
    state = {
        key.replace('convs.0', 'e_conv1') if key.startswith('restorer') else key: value
        for key, value in net.state_dict().items()
    }
    ProgressiveDehazer(AOD).load_state_dict(state, strict=True)


def test_network_that_enlarges_is_refused(hazy):
    net = ProgressiveDehazer({'type': 'DSCFSRCNN'})
    with pytest.raises(ValueError, match='restorer: DSCFSRCNN makes'):
        net(hazy)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'restorer': {'type': 'OKDNte'}}, 'restorer: OKDNte cannot be built'),
        ({'restorer': AOD, 'pre_restore': {'num_feat': 3}}, "pre_restore has no 'type'"),
        ({'restorer': AOD, 'alternate_steps': 0}, 'alternate_steps is 0'),
    ],
)
def test_wrong_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        ProgressiveDehazer(**options)
