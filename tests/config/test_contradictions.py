"""What contradicts itself in an option file, each key being right by itself."""

import os

import pytest
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY

from okdnet_plugin.config import check
from okdnet_plugin.config.consistency.seen import contradiction
from okdnet_plugin.engine.trial import attempts


def told(options, phase='train', look=False):
    return [str(mistake) for mistake in check.check(options, phase=phase, look=look)]


def changed(options, changes):
    for keys, value in changes.items():
        *path, last = keys.split(':')
        block = options
        for key in path:
            block = block.setdefault(key, {})
        if value is None:
            block.pop(last, None)
        else:
            block[last] = value
    return options


COSINE = {'type': 'CosineAnnealingRestartLR', 'periods': [2, 2], 'restart_weights': [1, 1]}
RESTORATION = {'model_type': 'RestorationModel', 'train:distill_opt': None}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'train:scheduler:milestones': [3, 9]}, 'warning: option train:scheduler:milestones:1 is 9, but'),
        ({'train:scheduler:milestones': [3, 2]}, 'warning: option train:scheduler:milestones:1 is 2, after 3'),
        ({'train:scheduler': COSINE | {'periods': [1, 1]}}, 'periods: the schedule ends after 2 iterations, bef'),
        ({'train:scheduler': {'type': 'OneCycleLR', 'max_lr': 0.1, 'total_steps': 2}}, 'scheduler: the schedule ends'),
        ({'train:warmup_iter': 9}, 'warning: option train:warmup_iter is 9, but the training ends at total'),
        ({'datasets:val': None}, 'warning: option val has no data set to validate on; add'),
        ({'logger:save_best': 'Held/psrn'}, 'save_best is Held/psrn (did you mean Held/psnr or Held/ssim?); w'),
        ({'datasets:val:dataroot_gt': None, 'datasets:val:type': 'SingleDehazeDataset', 'datasets:val:layout': None,
          'logger:save_best': 'Held/psnr'}, 'save_best is Held/psnr, but Held has no clear images, which psnr needs'),
        ({'datasets:train:gt_size': 33, 'scale': 2}, 'option datasets:train:gt_size is 33, no multiple of scale 2'),
        ({'train:accumulate': 2, 'train:pixel_opt:reduction': 'sum'}, 'reduction is sum, of which train:accumulate'),
        ({'train:pixel_opt': None, 'train:ssim_opt': None, 'train:distill_opt': None}, 'train: no loss is given'),
        ({'val:metrics': None, 'val:save_img': False}, 'warning: option val has neither metrics nor save_img'),
        ({'logger:wandb': {'project': 'x'}}, 'option logger:wandb:project is x, but use_tb_logger is false'),
        ({'logger:wandb': {'project': 'x'}, 'logger:use_tb_logger': True}, 'is x, but wandb is not installed; pip'),
        ({'datasets:train:prefetch_mode': 'cuda'}, 'prefetch_mode is cuda, which needs pin_memory: true; add it'),
        ({'datasets:train:persistent_workers': True}, 'persistent_workers is true, but num_worker_per_gpu is 0'),
        ({'model_type': 'SRModel', 'train:ssim_opt': None, 'train:distill_opt': None, 'train:optim_g:type': 'AdamW'},
         'option train:optim_g:type is AdamW, but SRModel knows Adam alone; write one of them, or use model_type: Res'),
        ({'model_type': 'SRModel', 'train:scheduler': {'type': 'StepLR', 'step_size': 2}},
         'option train:scheduler:type is StepLR, but SRModel knows MultiStepLR,'),
        ({'model_type': 'SRModel', 'train:pixel_opt': None, 'train:ssim_opt': None, 'train:distill_opt': None},
         'train: no loss is given; add one of pixel_opt, perceptual_opt'),
        ({'train:distill_opt:student_weights': [1, 1]}, 'student_weights is [1, 1]; write a block of keys'),
    ],
)  # fmt: skip
def test_contradiction_is_told(train_options, changes, message):
    lines = told(changed(train_options, changes))
    assert any(message in line for line in lines), lines


@pytest.mark.parametrize(
    'changes',
    [
        {'train:scheduler:milestones': [3, 4]},
        {'train:scheduler:milestones': []},
        {'train:scheduler': COSINE},
        {'train:scheduler': COSINE | {'periods': [5, 5]}},
        {'train:total_iter': 4.0, 'val:val_freq': 5e3, 'logger:save_checkpoint_freq': 5e3},
        {'val': None, 'datasets:val': None},
        {'val': None},  # its data set is not used, as in BasicSR
        {'x-anchors': {'lr': '1e-4', 'anything': [1]}},
        {'manual_seed': 2**32 - 2**16},
        {'datasets:train:gt_size': 16},
        {'datasets:train:gt_size': 8, 'network_g': {'type': 'MSRResNet', 'upscale': 1}, **RESTORATION},
        {'val:val_freq': 1000},
        {'logger:save_best': 'Held/ssim'},
        {'datasets:train:prefetch_mode': 'cuda', 'datasets:train:pin_memory': True},
        {'amp': False, 'compile': False, 'tf32': True},
        {'train:optim_g': {'type': 'SGD', 'lr': 0, 'momentum': 0.9, 'nesterov': True}},
        {'train:distill_opt:student_weights': {'shared': 0}},
        {'num_gpu': 0, 'manual_seed': 7, 'find_unused_parameters': True},
        {'datasets:train:resize': [32, 48], 'datasets:train:gt_size': None},
        {'datasets:train:mean': 0.5, 'datasets:train:std': [0.5, 0.5, 0.5]},
    ],
)  # fmt: skip
def test_what_does_not_contradict_itself_passes(train_options, changes):
    assert told(changed(train_options, changes)) == []


def test_a_model_of_any_package_may_have_rules_of_its_own(train_options, monkeypatch):
    class OwnModel(SRModel):
        option_rules = (lambda given: [contradiction(('name',), f'is {given.at("name")}, which it does not like')],)

    monkeypatch.setitem(MODEL_REGISTRY._obj_map, 'OwnModel', OwnModel)
    assert 'option name is small, which it does not like' in told(train_options | {'model_type': 'OwnModel'})


@pytest.mark.parametrize('value', ['empty', {'val_freq': 2, 'save_img': False, 'metrics': None}])
def test_validation_that_is_switched_off_passes(train_options, value):
    assert told(train_options | {'val': None if value == 'empty' else value}) == []


def test_wrong_values_are_told_once_and_not_as_contradictions(train_options):
    lines = told(changed(train_options, {'train:total_iter': 'many', 'train:scheduler:milestones': [9, 'x']}))
    assert len(lines) == 2
    assert all('write a whole number' in line for line in lines)


def test_data_sets_of_a_test_have_their_names(train_options):
    options = {key: train_options[key] for key in ('name', 'model_type', 'num_gpu', 'scale', 'network_g', 'path')}
    options |= {'datasets': {'tset': train_options['datasets']['val']}, 'val': {'save_img': True}}
    (line,) = told(options, 'test')
    assert line.startswith('option datasets:tset: a test has the data sets test, test_2 … (did you mean test?)')


def test_arguments_that_an_optimiser_refuses_are_told_before_an_earlier_run_is_moved(train_options):
    for name, value in {'weight_decay': -1, 'betas': [0.9, 1.5]}.items():
        options = changed(train_options, {f'train:optim_g:{name}': value})
        (line,) = map(str, attempts(options, 'train'))
        assert line.startswith('option train:optim_g: Adam cannot be made: ValueError: Invalid')
        options['train']['optim_g'].pop(name)


def test_test_with_a_model_of_basicsr_needs_a_suffix(train_options):
    options = {key: train_options[key] for key in ('name', 'num_gpu', 'scale', 'network_g', 'path')}
    options |= {'model_type': 'SRModel', 'val': {'save_img': True}}
    options['datasets'] = {'test': train_options['datasets']['val']}
    (line,) = told(options, 'test')
    assert line == 'option val:suffix is missing; BasicSR asks for it where images are saved: add suffix: ~'
    assert told(options | {'val': {'save_img': True, 'suffix': None}}, 'test') == []
    assert told(options | {'model_type': 'RestorationModel'}, 'test') == []


def test_compiling_on_a_cpu_without_a_compiler_is_refused(train_options, monkeypatch):
    monkeypatch.setattr('shutil.which', lambda name: None)
    (line,) = told(train_options | {'compile': True, 'num_gpu': 0})
    assert 'needs a C++ compiler' in line


# ---------------------------------------------------------------------------------------------------------- on the disk


def test_paths_that_do_not_exist_are_told_with_near_names(train_options, pairs, tmp_path):
    (tmp_path / 'weights.pth').touch()
    changes = {
        'datasets:train:dataroot_lq': f'{pairs}/hasy',
        'datasets:val:dataroot_gt': f'{tmp_path}/weights.pth',
        'path:pretrain_network_g': f'{tmp_path}/weight.pth',
        'path:resume_state': str(tmp_path),
    }
    lines = told(changed(train_options, changes), look=True)
    assert lines == [
        f'option datasets:train:dataroot_lq: the folder {pairs}/hasy does not exist (did you mean hazy?); correct the '
        'path',
        f'option datasets:val:dataroot_gt: {tmp_path}/weights.pth is a file; write the folder or LMDB',
        f'option path:pretrain_network_g: there is no file {tmp_path}/weight.pth (did you mean weights.pth?); correct '
        'the path, or leave it empty (~)',
        f'option path:resume_state: {tmp_path} is a folder; write a file',
    ]
    assert told(train_options, look=False) == []


def test_pipes_and_links_that_lead_nowhere_are_called_what_they_are(train_options, tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'link').symlink_to('nowhere')
    changes = {
        'datasets:train:layout': None,
        'datasets:train:pairs': f'{tmp_path}/pipe',
        'datasets:val:dataroot_gt': f'{tmp_path}/pipe',
        'path:pretrain_network_g': f'{tmp_path}/link',
    }
    assert told(changed(train_options, changes), look=True) == [
        f'option datasets:train:pairs: {tmp_path}/pipe is a named pipe, no regular file; give a file',
        f'option datasets:val:dataroot_gt: {tmp_path}/pipe is no folder; write the folder or LMDB',
        f'option path:pretrain_network_g: there is no file {tmp_path}/link; correct the path, or leave it empty (~)',
    ]


def test_average_that_a_state_lacks_is_told(train_options, tmp_path):
    for folder in ('models', 'training_states'):
        (tmp_path / folder).mkdir()
    state = tmp_path / 'training_states' / '2.state'
    state.touch()
    options = changed(train_options, {'path:resume_state': str(state)})
    torch.save({'params': {}, 'params_ema': {}}, tmp_path / 'models' / 'net_g_2.pth')
    assert told(options, look=True) == []
    torch.save({'params': {}}, tmp_path / 'models' / 'net_g_2.pth')
    (line,) = told(options, look=True)
    assert line.startswith(
        f'option train:ema_decay is 0.9, but {tmp_path}/models/net_g_2.pth, from which the run goes on, '
    )
    assert told(changed(options, {'train:ema_decay': 0}), look=True) == []


def test_key_of_weights_that_their_file_lacks_is_told(train_options, tmp_path):
    torch.save({'params': {}}, tmp_path / 'net.pth')
    options = changed(train_options, {'path:pretrain_network_g': str(tmp_path / 'net.pth')})
    (line,) = told(changed(options, {'path:param_key_g': 'params_em'}), look=True)
    assert line.startswith('option path:param_key_g is params_em (did you mean params?), but ')
    (line,) = told(changed(options, {'path:param_key_g': 'params_ema'}), look=True)
    assert line.startswith('warning: option path:param_key_g is params_ema, but ')
    assert told(changed(options, {'path:param_key_g': 'params'}), look=True) == []


@pytest.mark.parametrize(
    ('keys', 'value'),
    [
        ('name', 'x' * 235),
        ('train:total_iter', 10**20),
        ('datasets:train:dataset_enlarge_ratio', 1e20),
        ('datasets:train:num_worker_per_gpu', 10**6),
        ('datasets:train:gt_size', 10**6),
        ('network_g:num_blocks', [10**6, 1, 1]),
    ],
)
def test_values_beyond_all_measure_are_refused(train_options, keys, value):
    lines = told(changed(train_options, {keys: value}))
    assert any(line.startswith(f'option {keys}') for line in lines), lines
