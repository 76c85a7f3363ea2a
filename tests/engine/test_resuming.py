"""What a state decides, and what the option file that goes on from it."""

import logging
import math

import pytest
import torch
from basicsr.models.base_model import BaseModel
from torch import nn

from conftest import basicsr, write_options
from okdnet_plugin.engine import resuming
from okdnet_plugin.errors import InputError

COSINE = {'type': 'CosineAnnealingRestartLR', 'periods': [6]}
STEPS = {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5}


@pytest.fixture
def said():
    """Warnings of the log."""
    logger, found = logging.getLogger('basicsr'), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def model(scheduler, total_iter=6, lr=0.1, **train):
    """BasicSR's own model, as far as resuming goes, with one weight."""
    made = BaseModel({'num_gpu': 0, 'is_train': True, 'train': {'total_iter': total_iter, **train}})
    made.optimizers = [torch.optim.Adam(nn.Linear(1, 1, bias=False).parameters(), lr=lr)]
    made.opt['train']['scheduler'] = dict(scheduler)
    made.setup_schedulers()
    return made


def rates(model, first, last):
    """The learning rates of these iterations."""
    found = []
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration)
        found += model.get_current_learning_rate()
        model.optimizers[0].step()
    return found


def state_after(model, iteration):
    rates(model, 1, iteration)
    parts = {'optimizers': [one.state_dict() for one in model.optimizers]}
    return parts | {'schedulers': [one.state_dict() for one in model.schedulers], 'iter': iteration, 'epoch': 0}


def test_a_run_that_changes_nothing_says_nothing_and_goes_on(said):
    whole, half = rates(model(STEPS), 1, 6), model(STEPS)
    half.resume_training(state_after(model(STEPS), 2))
    assert rates(half, 3, 6) == whole[2:]
    assert said == []


def test_schedule_of_the_state_wins_with_a_word(said):
    other = model(STEPS | {'milestones': [4], 'gamma': 0.1})
    other.resume_training(state_after(model(STEPS), 2))
    assert rates(other, 3, 6) == rates(model(STEPS), 1, 6)[2:]
    assert [line.split(', as')[0] for line in said] == [
        'option train:scheduler:gamma is 0.1, but the run goes on with 0.5',
        'option train:scheduler:milestones is [4], but the run goes on with [3]',
    ]


def test_periods_of_the_state_that_end_too_early_are_refused_before_the_first_step():
    longer = model(COSINE | {'periods': [8]}, total_iter=8)
    with pytest.raises(InputError, match=r'periods \[6\] of the state end .*resume_settings: file'):
        longer.resume_training(state_after(model(COSINE), 2))


@pytest.mark.parametrize('wanted', [COSINE | {'periods': [8]}, STEPS | {'milestones': [1, 6]}])
def test_option_file_wins_where_it_says_so(wanted, said):
    state = state_after(model(COSINE), 2)
    changed = model(wanted, 8, 0.2, resume_settings='file')
    changed.resume_training(state)
    assert rates(changed, 3, 8) == pytest.approx(rates(model(wanted, 8, 0.2), 1, 8)[2:], rel=1e-12)
    assert said == []


def test_moments_stay_where_the_option_file_wins():
    before = model(STEPS)
    weight = before.optimizers[0].param_groups[0]['params'][0]
    weight.grad = torch.ones_like(weight)
    state = state_after(before, 2)
    changed = model(STEPS, resume_settings='file')
    changed.resume_training(state)
    (moments,) = changed.optimizers[0].state.values()
    assert moments['step'] == 2
    assert math.isclose(moments['exp_avg'].item(), 0.19, rel_tol=1e-6)


def test_another_schedule_and_other_parameters_are_refused():
    with pytest.raises(InputError, match=r'scheduler:type is MultiStepRestartLR, but the state is of .*periods'):
        model(STEPS).resume_training(state_after(model(COSINE), 2))
    more = model(STEPS)
    more.optimizers[0].add_param_group({'params': [nn.Parameter(torch.zeros(1))]})
    with pytest.raises(InputError, match=r'groups of \[\[1, 1\]\] parameters, those of the state \[\[1\]\]'):
        more.resume_training(state_after(model(STEPS), 2))


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (lambda state: state['schedulers'][0].update(cumulative_period=6), 'a schedule whose cumulative_period is 6;'),
        (lambda state: state['schedulers'][0].update(periods=['\n\u2028']), r'a schedule whose periods is \[.*\];'),
        (lambda state: state['schedulers'].clear(), '0 schedules instead of 1;'),
    ],
)
def test_spoiled_schedules_are_one_line_with_what_helps(change, told):
    state = state_after(model(COSINE), 2)
    change(state)
    with pytest.raises(InputError, match=f'state of iteration 2 holds {told} .*resume_settings: file') as caught:
        model(COSINE).resume_training(state)
    assert str(caught.value).isprintable()
    model(COSINE, resume_settings='file').resume_training(state)


def test_what_the_option_file_changes_is_told(model_options, said):
    model_options['train']['mixup'] = {'alpha': 1.2}
    facts = resuming.facts_of(model_options, 8)
    state = {'iter': 2, 'seed': 0, 'facts': facts}
    resuming.tell_changes(state, model_options, facts, 0)
    assert said == []
    model_options['datasets']['train'] |= {'batch_size_per_gpu': 4, 'num_worker_per_gpu': 7, 'dataroot_lq': 'moved'}
    model_options['datasets']['train']['color_jitter'] = {'hue': 0.1}
    model_options['train'] |= {'ssim_opt': None, 'mixup': {'alpha': 0.5}, 'progressive_sizes': {'iters': [2, 2]}}
    model_options['world_size'] = 2
    resuming.tell_changes(state, model_options, resuming.facts_of(model_options, 9), 0)
    assert [line.split(' until')[0] for line in said] == [
        'the number of processes is 2, and was 1',
        'the number of training images is 9, and was 8',
        'option train:ssim_opt:type is not given, and was SSIMLoss',
        'option train:mixup:alpha is 0.5, and was 1.2',
        'option datasets:train:batch_size_per_gpu is 4, and was 2',
        'option train:progressive_sizes:iters is [2, 2], and was not given',
        'option datasets:train:color_jitter:hue is 0.1, and was not given',
    ]


def test_a_finished_run_says_how_it_would_go_on(train_options, tmp_path):
    train_options['train']['total_iter'] = train_options['logger']['save_checkpoint_freq'] = 2
    train_options['val'] = None
    options = write_options(tmp_path / 'o.yml', train_options)
    assert basicsr('train', '-opt', options, cwd=tmp_path).returncode == 0
    again = basicsr('train', '-opt', options, '--auto_resume', cwd=tmp_path)
    assert again.returncode == 0
    assert 'run is finished' in again.stdout + again.stderr
    anew = basicsr('train', '-opt', options, cwd=tmp_path)
    assert 'had made 2 iterations' in anew.stdout
    assert '--auto_resume' in anew.stdout
    less = basicsr('train', '-opt', options, '--auto_resume', '--set', 'train.total_iter=1', cwd=tmp_path)
    assert less.returncode == 2
    assert 'is of iteration 2: nothing would be trained' in less.stderr
    more = ['train.total_iter=3', 'datasets.train.batch_size_per_gpu=3']
    more = basicsr('train', '-opt', options, '--auto_resume', '--set', *more, cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert 'batch_size_per_gpu is 3, and was 2' in more.stdout + more.stderr
