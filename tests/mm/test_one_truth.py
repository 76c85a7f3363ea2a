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
LOSSES = {'pixel_loss': 'pixel_opt', 'ssim_loss': 'ssim_opt', 'distill_loss': 'distill_opt'}


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


@pytest.mark.parametrize(('yaml', 'mm_config'), [('okdnet.yml', 'okdnet_mm.py'),
                                                 ('okdnet_quickstart.yml', 'okdnet_mm_demo.py')])  # fmt: skip
def test_the_shipped_experiment_is_that_of_basicsr(yaml, mm_config):
    opt = config.load(str(OPTIONS / yaml))
    cfg = Config.fromfile(str(OPTIONS / mm_config), import_custom_modules=False)
    train = opt['train']

    assert cfg.train_cfg.max_iters == cfg.param_scheduler.end == train['total_iter']
    assert cfg.param_scheduler.milestones == train['scheduler']['milestones']
    assert cfg.param_scheduler.gamma == train['scheduler']['gamma']
    optimizer = dict(cfg.optim_wrapper.optimizer)
    (average,) = (hook for hook in cfg.custom_hooks if hook.type == 'EMAHook')
    assert average.update_buffers
    assert {key: optimizer[key] for key in ('type', 'lr', 'weight_decay')} == {
        key: train['optim_g'][key] for key in ('type', 'lr', 'weight_decay')
    }
    assert list(optimizer['betas']) == train['optim_g']['betas']
    assert 1 - average.momentum == pytest.approx(train['ema_decay'])
    assert cfg.model.generator == opt['network_g']
    for theirs, ours in LOSSES.items():
        loss = dict(cfg.model[theirs])
        assert {**loss, 'type': loss['type'].removeprefix('BasicSR')} == train[ours]

    for loader, phase in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'val')):
        block = {key: value for key, value in opt['datasets'][phase].items() if key not in OF_A_LOADER}
        described = dict(loader.dataset.opt)
        assert described.pop('phase') == phase
        assert described == {key: value for key, value in block.items() if key != 'type' and value is not None}
        assert loader.dataset.type == block['type']
    assert cfg.train_dataloader.batch_size == opt['datasets']['train']['batch_size_per_gpu']
    metrics = [{**metric, 'type': metric['function']} for metric in cfg.val_evaluator]
    assert [{k: v for k, v in metric.items() if k not in ('function', 'name')} for metric in metrics] == list(
        opt['val']['metrics'].values()
    )
    assert cfg.train_cfg.val_interval == min(opt['val']['val_freq'], train['total_iter'])
    assert cfg.randomness.seed == opt['manual_seed']
    assert cfg.model.channels_last == opt['channels_last']
    wanted = opt['logger'].get('save_best')
    assert wanted is None or wanted.endswith(f'/{cfg.default_hooks.checkpoint.save_best}')
    assert optimizer.get('fused', False) == train['optim_g'].get('fused', False)
    assert cfg.default_hooks.checkpoint.interval == opt['logger']['save_checkpoint_freq']
    assert cfg.default_hooks.logger.interval == opt['logger']['print_freq']


def test_every_shipped_config_is_checked():
    assert {path.name for path in Path(OPTIONS).glob('*.py')} == {'okdnet_mm.py', 'okdnet_mm_demo.py'}
