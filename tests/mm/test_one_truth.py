"""The BasicSR side and the MMEngine side are one: losses, gradients, weights, and the shipped experiment."""

from pathlib import Path

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import DATASETS, MODELS

import okdnet_plugin.mm  # noqa: F401
from conftest import REPOSITORY
from okdnet_plugin import config

OPTIONS = REPOSITORY / 'options'
# Keys of BasicSR's loader, which MMEngine has under other names.
OF_A_LOADER = (*('num_worker_per_gpu', 'batch_size_per_gpu', 'dataset_enlarge_ratio', 'prefetch_mode', 'pin_memory'),)


@pytest.fixture
def sides(model_options, model_config):
    """A model of each side with equal weights, and a batch."""
    ours = build_model(model_options)
    theirs = MODELS.build(model_config)
    theirs.load_state_dict(ours.net_g.state_dict())
    theirs.train()
    dataset = build_dataset(model_options['datasets']['train'])
    batch = {key: torch.stack([dataset[i][key] for i in range(2)]) for key in ('lq', 'gt')}
    return ours, theirs, batch


def step(model, batch, number):
    model.update_learning_rate(number)
    model.feed_data(batch)
    model.optimize_parameters(number)
    return model.get_current_log()


def weights(net) -> dict:
    return {name: value.double() for name, value in net.state_dict().items()}


def test_one_batch_has_the_same_losses_and_gradients(sides):
    ours, theirs, batch = sides
    torch.manual_seed(1)  # of the dropout in the airlight network
    log = step(ours, batch, 1)
    torch.manual_seed(1)
    losses = theirs(**theirs.data_preprocessor(batch), mode='loss')
    sum(losses.values()).backward()
    assert [log[name] for name in ('l_pix', 'l_ssim', 'l_distill')] == pytest.approx(
        [float(loss) for loss in losses.values()], abs=1e-6
    )
    gradients = dict(theirs.generator.named_parameters())
    assert gradients
    for name, parameter in ours.net_g.named_parameters():
        torch.testing.assert_close(gradients[name].grad, parameter.grad, atol=1e-6, rtol=1e-5)


def test_twenty_steps_end_with_the_same_weights(sides):
    ours, theirs, batch = sides
    ours.schedulers[0].milestones = {}
    wrapper = OptimWrapper(torch.optim.Adam(theirs.parameters(), lr=1e-3, betas=(0.9, 0.999)))
    for number in range(1, 21):
        torch.manual_seed(number)
        step(ours, batch, number)
        torch.manual_seed(number)
        theirs.train_step(batch, wrapper)
    mine, other = weights(ours.net_g), weights(theirs.generator)
    assert max(float((mine[name] - other[name]).abs().max()) for name in mine) < 1e-5


def test_data_sets_of_both_sides_are_the_same(model_options):
    block = model_options['datasets']['val']
    ours = build_dataset(dict(block))
    theirs = DATASETS.build({'type': block['type'], 'opt': {k: v for k, v in block.items() if k != 'type'}})
    assert type(ours) is type(theirs)
    assert all(torch.equal(ours[i]['lq'], theirs[i]['lq']) for i in range(len(ours)))


CONFIGS = {
    'okdnet_mm.py': 'okdnet.yml',
    'okdnet_mm_demo.py': 'okdnet_quickstart.yml',
    'feature_affinity/distilled_mm.py': 'feature_affinity/distilled.yml',
    'depth_guidance/folder_mm.py': 'depth_guidance/folder.yml',
    'progressive/griddehazenet_mm.py': 'progressive/griddehazenet.yml',
}
# Blocks of `train` that MMEngine has outside of the model.
OF_A_TRAINING = ('ema_decay', 'optim_g', 'scheduler', 'total_iter', 'warmup_iter', 'grad_clip')


def as_option_file(model: dict) -> tuple[dict, dict]:
    """What the blocks of a model are in an option file: under `train`, and at the top."""
    of_engine = ('type', 'generator', 'channels_last')
    blocks = {name: one for name, one in model.items() if name not in of_engine}
    top = {name: blocks.pop(name) for name in ('teachers', 'clear_depth', 'haze') if name in blocks}
    named = {
        f'{name.removesuffix("_loss")}_opt' if name.endswith('_loss') else name: one for name, one in blocks.items()
    }
    for block in named.values():
        if isinstance(block, dict) and 'type' in block:
            block['type'] = block['type'].removeprefix('BasicSR')
    return named, top


@pytest.mark.parametrize('mm_config', CONFIGS)
def test_the_shipped_experiment_is_that_of_basicsr(mm_config):
    opt = config.load(str(OPTIONS / CONFIGS[mm_config]))
    cfg = Config.fromfile(str(OPTIONS / mm_config), import_custom_modules=False)
    train = opt['train']

    assert cfg.train_cfg.max_iters == cfg.param_scheduler.end == train['total_iter']
    schedule = cfg.param_scheduler
    if schedule.type == 'MultiStepLR':
        assert {key: schedule[key] for key in ('milestones', 'gamma')} | {'type': schedule.type} == train['scheduler']
    else:
        wanted = [schedule.T_max], schedule.eta_min
        assert wanted == (train['scheduler']['periods'], train['scheduler']['eta_min'])
    averages = [hook for hook in cfg.custom_hooks if hook.type == 'EMAHook']
    assert [1 - one.momentum for one in averages] == pytest.approx([train['ema_decay']] if train['ema_decay'] else [])
    assert all(one.update_buffers for one in averages)
    optimizer = {key: list(one) if key == 'betas' else one for key, one in cfg.optim_wrapper.optimizer.items()}
    assert {'fused': False, **optimizer} == {'fused': False, **train['optim_g']}
    clip = cfg.optim_wrapper.get('clip_grad')
    assert (clip and clip.max_norm) == train.get('grad_clip')
    assert cfg.model.generator == opt['network_g']
    assert as_option_file(cfg.model.to_dict()) == (
        {key: one for key, one in train.items() if key not in OF_A_TRAINING},
        {key: opt[key] for key in ('teachers', 'clear_depth', 'haze') if key in opt},
    )

    for loader, phase in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'val')):
        block = {key: value for key, value in opt['datasets'][phase].items() if key not in OF_A_LOADER}
        described = {key: value for key, value in loader.dataset.opt.items() if value is not None}
        assert described.pop('phase') == phase
        assert described == {key: value for key, value in block.items() if key != 'type' and value is not None}
        assert loader.dataset.type == block['type']
    assert cfg.train_dataloader.batch_size == opt['datasets']['train']['batch_size_per_gpu']
    metrics = [{**metric, 'type': metric['function']} for metric in cfg.val_evaluator]
    assert [{k: v for k, v in metric.items() if k not in ('function', 'name')} for metric in metrics] == [
        {k: v for k, v in metric.items() if k != 'better'} for metric in opt['val']['metrics'].values()
    ]
    assert cfg.train_cfg.val_interval == min(opt['val']['val_freq'], train['total_iter'])
    assert cfg.randomness.seed == opt['manual_seed']
    assert cfg.model.channels_last == opt['channels_last']
    wanted = opt['logger'].get('save_best')
    assert wanted is None or wanted.endswith(f'/{cfg.default_hooks.checkpoint.save_best}')
    assert cfg.default_hooks.checkpoint.interval == opt['logger']['save_checkpoint_freq']
    assert cfg.default_hooks.logger.interval == opt['logger']['print_freq']


def test_every_shipped_config_is_checked():
    assert {path.relative_to(OPTIONS).as_posix() for path in Path(OPTIONS).rglob('*.py')} == set(CONFIGS)
