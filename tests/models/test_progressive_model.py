"""Training in stages: J0's loss, negatives, the time for the pre-restore module alone, and the alternating reading."""

import copy

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model

from okdnet_plugin.errors import InputError

SMALL = {
    'AODNet': {},
    'GridDehazeNet': {'num_feat': 2, 'growth': 2},
    'OKDNet': {'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4},
}
CONTRAST = {
    'inter_contrast_opt': {'type': 'InterContrastiveLoss', 'extractor': 'small', 'eps': 0.01},
    'intra_contrast_opt': {'type': 'IntraContrastiveLoss', 'extractor': 'small', 'patch_size': 8, 'num_patches': 2},
}


@pytest.fixture
def options(model_options):
    """A small GridDehazeNet as the restorer, with all losses but the rehazed image's."""
    train = model_options['train']
    del train['distill_opt'], train['ssim_opt']
    train |= {'ema_decay': 0, 'grad_clip': 0.1, 'pre_restore_opt': {'type': 'L1Loss', 'loss_weight': 0.5}, **CONTRAST}
    restorer = {'type': 'GridDehazeNet', **SMALL['GridDehazeNet']}
    network = {'type': 'ProgressiveDehazer', 'restorer': restorer}
    return model_options | {'model_type': 'ProgressiveModel', 'network_g': network}


def batch_of(options):
    dataset = build_dataset(options['datasets']['train'])
    return {key: torch.stack([dataset[i][key] for i in range(2)]) for key in ('lq', 'gt')}


def trained(options, steps=1):
    model, batch, logs = build_model(copy.deepcopy(options)), batch_of(options), []
    for step in range(1, steps + 1):
        model.update_learning_rate(step)
        model.feed_data(batch)
        model.optimize_parameters(step)
        logs.append(dict(model.get_current_log()))
    return model, logs


@pytest.mark.parametrize('name', sorted(SMALL))
def test_any_network_is_the_restorer_and_every_weight_learns(options, name):
    options['network_g']['restorer'] = {'type': name, **SMALL[name]}
    model, logs = trained(options)
    assert set(logs[0]) == {'l_pix', 'l_inter', 'l_intra', 'l_pre'}
    assert all(one.grad is not None for one in model.net_g.parameters())


def test_losses_become_smaller(options):
    options['network_g']['restorer'] = {'type': 'AODNet'}
    options['train']['scheduler']['milestones'] = []
    _, logs = trained(options, steps=12)
    assert sum(logs[-1].values()) < sum(logs[0].values())


def test_first_result_is_supervised_and_is_a_negative(options):
    model, _ = trained(options)
    seen = []
    model.losses['inter_contrast_opt'].register_forward_pre_hook(
        lambda _, __, named: seen.append(named['negatives']), with_kwargs=True
    )
    losses = model.compute_losses()
    hazy, first = seen[0]
    assert torch.equal(hazy, model.lq)
    assert torch.equal(first, model.pre_restored)
    assert not first.requires_grad
    expected = 0.5 * (model.net_g.pre_restore(model.lq) - model.gt).abs().mean()
    assert losses['l_pre'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_pre_restore_module_learns_alone_at_first(options):
    options['train']['pre_restore_iter'] = 2
    model = build_model(copy.deepcopy(options))
    before, batch = copy.deepcopy(model.net_g.state_dict()), batch_of(options)

    def changed():
        return {
            name.split('.')[0] for name, one in model.net_g.state_dict().items() if not torch.equal(one, before[name])
        }

    for step in (1, 2):
        model.feed_data(batch)
        model.optimize_parameters(step)
        assert list(model.get_current_log()) == ['l_pre']
    assert changed() == {'pre_restore'}
    model.feed_data(batch)
    model.optimize_parameters(3)
    assert set(model.get_current_log()) == {'l_pix', 'l_inter', 'l_intra', 'l_pre'}
    assert changed() == {'pre_restore', 'join', 'restorer'}


def test_alternating_network_learns_from_what_it_puts_into_haze_again(options):
    options['network_g']['alternate_steps'] = 2
    options['train']['rehaze_opt'] = {'type': 'L1Loss'}
    model, _ = trained(options)
    stages = model.restore(return_stages=True)
    assert len(stages.rehazed) == 2
    expected = sum((one - model.lq).abs().mean() for one in stages.rehazed) / 2
    assert model.compute_losses()['l_rehaze'].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize('model_type', ['RestorationModel', 'OKDNetModel'])
def test_contrastive_losses_work_without_stages(model_options, model_type):
    model_options['train'] |= CONTRAST
    if model_type == 'RestorationModel':
        del model_options['train']['distill_opt']
    model, logs = trained(model_options | {'model_type': model_type})
    assert {'l_inter', 'l_intra'} <= set(logs[0])
    assert [one.shape for one in model.negatives] == [model.lq.shape]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'network_g': {'type': 'AODNet'}}, 'ProgressiveModel trains networks with stages, and AODNet has none'),
        ({'rehaze_opt': {'type': 'L1Loss'}}, 'option train:rehaze_opt: the network does not alternate'),
        (
            {'pre_restore_iter': 2, 'pre_restore_opt': None},
            'needs the loss train:pre_restore_opt: add',
        ),
        ({'pre_restore_iter': 2, 'pre_restore': {'type': 'DCP'}}, 'DCP has nothing to learn'),
    ],
)
def test_mistake_is_told_in_one_line(options, change, message):
    options['network_g'] = change.get('network_g', options['network_g'])
    options['network_g'] |= {key: change[key] for key in ('pre_restore',) if key in change}
    keys = ('rehaze_opt', 'pre_restore_iter', 'pre_restore_opt')
    options['train'] |= {key: change[key] for key in keys if key in change}
    with pytest.raises(InputError, match=message) as caught:
        trained(options)
    assert '\n' not in str(caught.value)
