"""The models of three methods in MMEngine: the steps of BasicSR's models, what is frozen, stages, checkpoints."""

import copy
import functools

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils import set_random_seed
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner

import okdnet_plugin.mm
from conftest import in_two_processes
from okdnet_plugin.errors import InputError
from okdnet_plugin.mm.checkpoint import convert
from okdnet_plugin.mm.compat import load_from_local

L1 = {'type': 'L1Loss', 'loss_weight': 0.5}
TEACHER = {'type': 'DSCFSRCNN', 'd': 4, 's': 2, 'm': 1}
DGDNET = {
    'type': 'DGDNet',
    'depth': {'num_feat': 4, 'growth': 4, 'num_blocks': [1, 1, 1, 1], 'bound': 'softplus'},
    'fuse': {'dim': 4, 'depths': [1, 1], 'drop_path': 0.0},
}
OKDNET = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
AFFINITY = {'loss': {'type': 'FeatureAffinityLoss', 'reduction': 'mean'}}
CONTRAST = {
    'pre_restore_opt': L1,
    'inter_contrast_opt': {'type': 'InterContrastiveLoss', 'extractor': 'small', 'eps': 0.01},
    'intra_contrast_opt': {'type': 'IntraContrastiveLoss', 'extractor': 'small', 'patch_size': 8, 'num_patches': 2},
}
HAZE = {'beta': [1.0, 2.0], 'airlight': 0.9}
# Of each case the two models, the network, what `train` has beside pixel_opt, and what the option file has at its top.
CASES = {
    'distillation': (
        'DistillationModel', 'DistillationRestorer', {'type': 'FFALiteNet', 'dim': 4, 'blocks': 1},
        {'distillation': {'affinity': AFFINITY}}, {'teachers': {'sr': {'network_t': TEACHER}}},
    ),
    'distillation of branches': (
        'OKDNetDistillationModel', 'DistillationRestorer', OKDNET,
        {'distill_opt': {'type': 'OnlineDistillationLoss'},
         'distillation': {'affinity': AFFINITY | {'student': 'return_branches.model_free', 'teachers': ['sr']},
                          'hidden': {'loss': L1, 'student': 'to_image', 'teacher': 'to_image',
                                     'teachers': ['okd']}}},
        {'teachers': {'sr': {'network_t': TEACHER}, 'okd': {'network_t': OKDNET, 'sees': 'lq'}}},
    ),
    'depth of a folder': (
        'DepthGuidanceModel', 'DepthGuidanceRestorer', DGDNET, {'depth_opt': L1, 'mutual_opt': L1}, {},
    ),
    'depth of a network': (
        'DepthGuidanceModel', 'DepthGuidanceRestorer', DGDNET, {'depth_opt': L1, 'mutual_opt': L1},
        {'clear_depth': {'network_d': DGDNET}, 'haze': HAZE},
    ),
    'depth in stages': (
        'DepthGuidanceModel', 'DepthGuidanceRestorer', DGDNET,
        {'depth_opt': L1, 'mutual_opt': L1, 'depth_iter': 2, 'freeze_depth': True}, {},
    ),
    'progressive': (
        'ProgressiveModel', 'ProgressiveRestorer',
        {'type': 'ProgressiveDehazer', 'restorer': {'type': 'GridDehazeNet', 'num_feat': 2, 'growth': 2}},
        {**CONTRAST, 'pre_restore_iter': 2}, {},
    ),
    'alternating': (
        'ProgressiveModel', 'ProgressiveRestorer',
        {'type': 'ProgressiveDehazer', 'restorer': {'type': 'AODNet'}, 'alternate_steps': 2},
        {**CONTRAST, 'rehaze_opt': L1}, {},
    ),
}  # fmt: skip
FROZEN = {'network_t': 'pretrain_network_t', 'network_d': 'pretrain_network_d'}


def with_weights(block, folder):
    """A block with files of weights for the frozen networks in it."""
    block = {key: with_weights(one, folder) if isinstance(one, dict) else one for key, one in block.items()}
    for network, path in FROZEN.items():
        if network in block:
            block[path] = str(folder / f'{block[network]["type"]}.pth')
            torch.manual_seed(1)
            torch.save({'params': build_network(block[network]).state_dict()}, block[path])
    return block


def named(loss):
    return loss | {'type': f'BasicSR{loss["type"]}'} if loss['type'] == 'L1Loss' else loss


def config_of(case, folder) -> dict:
    """The model of MMEngine."""
    _, theirs, network, train, top = CASES[case]
    losses = {f'{key.removesuffix("_opt")}_loss': named(one) for key, one in train.items() if key.endswith('_opt')}
    rest = {key: one for key, one in train.items() if not key.endswith('_opt')}
    if 'distillation' in rest:
        rest['distillation'] = {key: one | {'loss': named(one['loss'])} for key, one in rest['distillation'].items()}
    pixel = {'pixel_loss': {'type': 'BasicSRL1Loss'}}
    return copy.deepcopy({'type': theirs, 'generator': network, **pixel, **losses, **rest, **with_weights(top, folder)})


@pytest.fixture
def options_of(model_options, tmp_path):
    """The options of BasicSR's model of a case."""

    def options(case):
        ours, _, network, train, top = CASES[case]
        kept = {key: model_options['train'][key] for key in ('optim_g', 'scheduler', 'total_iter', 'pixel_opt')}
        blocks = {'model_type': ours, 'network_g': network, 'train': kept | {'ema_decay': 0} | train}
        return copy.deepcopy(model_options | blocks | with_weights(top, tmp_path))

    return options


@pytest.fixture
def batch(model_options):
    dataset = build_dataset(model_options['datasets']['train'])
    images = {key: torch.stack([dataset[i][key] for i in range(2)]) for key in ('lq', 'gt')}
    return images | {'depth': torch.rand(2, 1, 32, 32) + 0.2}


@pytest.fixture
def sides(options_of, tmp_path):
    """A model of each side with equal weights."""

    def build(case):
        ours = build_model(options_of(case))
        ours.schedulers[0].milestones = {}
        theirs = MODELS.build(config_of(case, tmp_path))
        theirs.load_state_dict(ours.net_g.state_dict())
        return ours, theirs.train()

    return build


def at_iteration(number):
    """Let MMEngine be at an iteration, counted from 1, as RuntimeInfoHook does in a run."""
    MessageHub.get_current_instance().update_info('iter', number - 1)


@pytest.fixture(autouse=True)
def _first_iteration():
    MessageHub.get_instance('test')
    at_iteration(1)


def step(model, batch, number):
    model.update_learning_rate(number)
    model.feed_data(batch)
    model.optimize_parameters(number)
    return model.get_current_log()


def frozen_of(model):
    """The frozen networks of a model of MMEngine."""
    made = vars(model._step)
    return [*made.get('teachers', {}).values(), *([made['clear_depth']] if made.get('clear_depth') else [])]


def logged(losses):
    return {name.replace('loss_', 'l_', 1): float(loss.detach()) for name, loss in losses.items()}


@pytest.mark.parametrize('case', CASES)
def test_losses_gradients_and_weights_are_those_of_basicsr(sides, batch, case):
    ours, theirs = sides(case)
    wrapper = OptimWrapper(torch.optim.Adam(theirs.parameters(), lr=1e-3, betas=(0.9, 0.999)))
    for number in range(1, 5):
        at_iteration(number)
        set_random_seed(number)
        losses = theirs(**theirs.data_preprocessor(batch), mode='loss')
        wrapper.zero_grad()
        sum(losses.values()).backward()
        set_random_seed(number)
        log = step(ours, batch, number)
        assert logged(losses) == pytest.approx(log, abs=1e-6)
        mine = dict(ours.net_g.named_parameters())
        for name, parameter in theirs.generator.named_parameters():
            assert (parameter.grad is None) == (mine[name].grad is None), name
            if parameter.grad is not None:
                torch.testing.assert_close(parameter.grad, mine[name].grad, atol=1e-6, rtol=1e-5)
        wrapper.step()
    assert set(log) > {'l_pix'}
    other = ours.net_g.state_dict()
    for name, value in theirs.generator.state_dict().items():
        torch.testing.assert_close(value, other[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize('case', ['distillation of branches', 'depth of a network', 'progressive'])
def test_what_is_frozen_stays_so_and_is_neither_trained_nor_saved_nor_averaged(sides, batch, case):
    _, theirs = sides(case)
    frozen, seen = frozen_of(theirs), []
    beside = theirs._step.modules_beside()
    for net in frozen:
        getattr(net, 'depth_net', net).register_forward_pre_hook(
            lambda net, given: seen.append((net.training, given[0]))
        )
    before = copy.deepcopy([net.state_dict() for net in frozen])
    theirs.train()
    theirs.train_step(batch, OptimWrapper(torch.optim.Adam(theirs.parameters(), lr=1e-3)))
    assert all(not training for training, _ in seen)
    assert not frozen or torch.equal(seen[0][1], batch['gt'])
    for net, state in zip(frozen, before, strict=True):
        assert all(not one.requires_grad and one.grad is None for one in net.parameters())
        assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    of_network = {f'generator.{name}' for name in theirs.generator.state_dict()}
    assert set(theirs.state_dict()) == of_network
    assert {name for name, _ in theirs.named_parameters()} <= of_network
    average = copy.deepcopy(theirs)
    assert all(one is other for one, other in zip(average._step.modules_beside(), beside, strict=True))
    assert average._step.net_g is average.generator is not theirs.generator
    expected, copied = (model(**model.data_preprocessor(batch), mode='loss') for model in (theirs, average))
    assert logged(copied).keys() == logged(expected).keys()
    moved = [one.device.type for net in theirs.to('meta')._step.modules_beside() for one in net.parameters()]
    assert moved
    assert set(moved) == {'meta'}


def test_features_under_autocast_are_compared_in_float32(sides, batch):
    _, theirs = sides('distillation of branches')
    kinds = []
    theirs.generator.to_image.register_forward_hook(lambda *given: kinds.append(given[2].dtype))
    with torch.autocast('cpu', torch.bfloat16):
        losses = theirs(**theirs.data_preprocessor(batch), mode='loss')
    assert kinds == [torch.bfloat16]
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


def test_predictions_have_depth_where_there_is_truth(sides, batch):
    _, theirs = sides('depth of a folder')
    theirs.eval()
    with torch.inference_mode():
        samples = theirs.val_step(batch)
        expected = theirs.generator(batch['lq'], return_depth=True).depth
    metric = okdnet_plugin.mm.metric.RestorationMetric(function='calculate_abs_rel')
    metric.process(batch, samples)
    error = ((expected - batch['depth']).abs() / batch['depth']).mean()
    assert metric.evaluate(2)['abs_rel'] == pytest.approx(float(error), rel=1e-4)
    del batch['depth']
    assert 'depth' not in theirs.val_step(batch)[0]


@pytest.mark.parametrize(
    ('case', 'change', 'message'),
    [
        ('distillation', {'distilation': {}}, r'there is no distilation \(did you mean distillation'),
        ('distillation', {'teachers': {}}, 'DistillationRestorer: option teachers is empty'),
        ('distillation', {'teachers': {'sr': {'network_t': {**TEACHER, 'scael': 2}}}}, 'network_t:scael.*mean scale'),
        ('distillation', {'teachers': {'sr': {'network_t': TEACHER}}}, 'DSCFSRCNN has weights to load'),
        ('distillation', {'distillation': {'a': {}}}, 'option distillation:a:loss is missing'),
        ('distillation', {'distillation': {'a': {'loss': {'type': 'Nil'}}}}, 'loss Nil cannot be built'),
        ('distillation', {'distillation': {'a': AFFINITY | {'student': 'groups.9'}}}, 'FFALiteNet has no such module'),
        ('distillation', {'pixel_loss': {'type': 'BasicSRL1Loss', 'weight': 2}}, 'loss BasicSRL1Loss cannot be built'),
        ('distillation', {'pixel_loss': 'L1Loss'}, 'pixel_loss is L1Loss; write a config with its type'),
        ('distillation', {'pixel_loss': {'loss_weight': 1}}, "pixel_loss is {'loss_weight': 1}; write a config with"),
        ('depth of a folder', {'depth_iter': -1}, 'option depth_iter is -1; write'),
        ('depth of a folder', {'depth_iter': 2, 'depth_loss': None}, 'option depth_iter needs the loss depth_loss'),
        ('depth of a folder', {'haze': HAZE}, 'option haze needs clear_depth'),
        ('depth of a folder', {'generator': OKDNET}, 'type: DepthGuidanceRestorer trains networks that depth guides'),
        ('progressive', {'generator': OKDNET}, 'ProgressiveRestorer trains networks with stages, and OKDNet has none'),
        ('progressive', {'rehaze_loss': named(L1), 'pre_restore_iter': 0}, 'option rehaze_loss: the network does not'),
    ],
)
def test_mistake_is_told_in_one_line(batch, tmp_path, case, change, message):
    with pytest.raises(InputError, match=message) as caught:
        MODELS.build(config_of(case, tmp_path) | change)(**batch, mode='loss')
    assert '\n' not in str(caught.value)


def test_depth_that_nothing_tells_is_told_in_one_line(sides, batch):
    _, theirs = sides('depth of a folder')
    del batch['depth']
    with pytest.raises(InputError, match='nothing tells the depth of the training images'):
        theirs(**batch, mode='loss')


# ------------------------------------------------------------------------------------------------------ with a Runner


@pytest.fixture
def config(runner_config, pairs, tmp_path):
    """Config that trains the model of a case for four iterations, images as they are, so that a run can be repeated."""

    def config(case):
        data = copy.deepcopy(runner_config['train_dataloader'])
        data['dataset']['opt'] |= {'gt_size': None, 'resize': [48, 64], 'use_hflip': False, 'use_rot': False}
        if CASES[case][0] == 'DepthGuidanceModel':
            (tmp_path / 'depth').mkdir()
            for number in range(1, 5):
                ramp = np.tile(np.linspace(255, 40, 48, dtype=np.uint8)[:, None], (1, 64))
                cv2.imwrite(str(tmp_path / 'depth' / f'{number}.png'), ramp)
            folders = {'dataroot_gt': str(pairs / 'clear'), 'dataroot_depth': str(tmp_path / 'depth')}
            haze = {'beta': 1.0, 'airlight': 0.9, 'depth_norm': 'max', 'return_depth': True, 'resize': [48, 64]}
            options = {'phase': 'train', 'name': 'Made', **folders, **haze}
            data['dataset'] = {'type': 'SyntheticHazeDataset', 'opt': options}
        changed = {'model': config_of(case, tmp_path), 'train_dataloader': data, 'find_unused_parameters': True}
        return copy.deepcopy(runner_config | changed)

    return config


@pytest.mark.parametrize(
    'case',
    ['depth in stages', *(pytest.param(case, marks=pytest.mark.long) for case in ('distillation', 'progressive'))],
)
def test_a_training_goes_on_exactly_and_its_weights_are_those_of_basicsrs_network(config, options_of, case, tmp_path):
    made = config(case)
    Runner.from_cfg(Config(copy.deepcopy(made))).train()
    again = {'work_dir': str(tmp_path / 'second'), 'experiment_name': f'{tmp_path.name}_2', 'resume': True}
    Runner.from_cfg(Config(made | again | {'load_from': str(tmp_path / 'work/iter_2.pth')})).train()
    whole, resumed = (load_from_local(str(tmp_path / one / 'iter_4.pth')) for one in ('work', 'second'))
    first = load_from_local(str(tmp_path / 'work/iter_2.pth'))['state_dict']
    assert all(torch.equal(value, resumed['state_dict'][name]) for name, value in whole['state_dict'].items())
    assert any(not torch.equal(value, whole['state_dict'][name]) for name, value in first.items())

    convert(str(tmp_path / 'work/iter_4.pth'), str(tmp_path / 'net_g.pth'))
    options = options_of(case)
    options['path'] |= {'pretrain_network_g': str(tmp_path / 'net_g.pth'), 'param_key_g': 'params_ema'}
    net = build_model(options).net_g
    assert all(torch.equal(value, whole['state_dict'][f'generator.{name}']) for name, value in net.state_dict().items())


def stages_of_shares(folder, rank):
    """Which parts of the networks learn in each iteration, and the sum of the weights at the end."""
    okdnet_plugin.register()
    found = []
    for case in ('depth in stages', 'progressive'):
        torch.manual_seed(0)
        model = MMDistributedDataParallel(MODELS.build(config_of(case, folder)), find_unused_parameters=True)
        wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-3))
        torch.manual_seed(rank + 1)
        batch = {'lq': torch.rand(1, 3, 32, 32), 'gt': torch.rand(1, 3, 32, 32), 'depth': torch.rand(1, 1, 32, 32)}
        net, parts = model.module.generator, []
        for number in range(1, 5):
            before = copy.deepcopy(dict(net.named_parameters()))
            at_iteration(number)
            model.train_step(batch, wrapper)
            moved = (name for name, one in net.named_parameters() if not torch.equal(one, before[name]))
            parts.append(sorted({name.split('.')[0] for name in moved}))
        found.append((parts, sum(float(one.detach().double().sum()) for one in net.parameters())))
    return found


def test_stages_train_in_two_processes_that_have_one_model(tmp_path):
    first, second = in_two_processes(functools.partial(stages_of_shares, tmp_path), tmp_path)
    assert first == second
    (of_depth, _), (progressive, _) = first
    assert of_depth[:2] == [['depth_net']] * 2
    assert all('fuse_net' in parts and 'depth_net' not in parts for parts in of_depth[2:])
    assert progressive == [['pre_restore']] * 2 + [['join', 'pre_restore', 'restorer']] * 2
