"""A run that was interrupted and went on is the run that was not, to the last bit; so is one with other workers."""

import json
import shutil

import pytest
import torch
from basicsr.archs import build_network

from conftest import basicsr, two_of_basicsr, write_options

TOTAL, INTERRUPTED = 14, 6
SWINIR = {
    'type': 'SwinIR', 'upscale': 1, 'img_size': 32, 'window_size': 8, 'depths': [2], 'embed_dim': 12, 'num_heads': [2],
    'mlp_ratio': 2, 'upsampler': '', 'in_chans': 3,
}  # fmt: skip


def train(folder, options, processes, *arguments):
    options = write_options(folder / 'train.yml', options)
    if processes == 1:
        result = basicsr('train', '-opt', options, *arguments, cwd=folder)
    else:
        result = two_of_basicsr('train', '-opt', options, *arguments, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / 'experiments' / 'small'


def content(experiment):
    """All that a run leaves, with its times taken out."""
    lines = [json.loads(line) for line in (experiment / 'metrics.jsonl').read_text().splitlines()]
    for line in lines:
        line.pop('time', None)
        line.pop('data_time', None)
    saved = {
        path.name: torch.load(path, weights_only=True)
        for path in sorted([*experiment.glob('models/*_14.pth'), *experiment.glob('training_states/14.state')])
    }
    saved |= {
        name: torch.load(experiment / 'models' / name, weights_only=True)
        for name in ('net_g_best.pth', 'net_g_latest.pth')
    }
    return {'journal': lines, **saved}


def differences(first, second, place=''):
    """Places at which two nested values are not equal bit for bit."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        same = first.shape == second.shape and first.dtype == second.dtype and torch.equal(first, second)
        return [] if same else [place]
    if type(first) is not type(second):
        return [place]
    if isinstance(first, dict):
        if first.keys() != second.keys():
            return [f'{place}: keys']
        return [d for key in first for d in differences(first[key], second[key], f'{place}/{key}')]
    if isinstance(first, list | tuple):
        if len(first) != len(second):
            return [f'{place}: length']
        return [d for i, pair in enumerate(zip(first, second, strict=True)) for d in differences(*pair, f'{place}/{i}')]
    return [] if first == second else [place]


NOT_OF_CLEAR = ('dataroot_lq', 'layout')  # keys of pairs


@pytest.fixture
def options(train_options):
    """Fourteen iterations over two epochs and more, with dropout, EMA, a schedule, augmentation and validation."""
    train_options['datasets']['train']['dataset_enlarge_ratio'] = 3  # 24 images: 12 iterations, or 6 of two processes
    train_options['train'] |= {'total_iter': TOTAL, 'warmup_iter': 3}
    train_options['train']['scheduler']['milestones'] = [5, 9]
    train_options['val'] |= {'val_freq': 3, 'save_img': False}
    train_options['logger']['save_best'] = 'Held/psnr'
    return train_options


def whole_and_in_halves(folder, options, processes=1, whole=None):
    """What a run leaves, and what the same run leaves when it is killed in its seventh iteration and goes on."""
    (folder / 'whole').mkdir()
    (folder / 'halves').mkdir()
    whole = whole or train(folder / 'whole', options, processes)
    # What SIGKILL leaves: the journal is ahead of the newest state.
    halves = folder / 'halves' / 'experiments' / 'small'
    shutil.copytree(whole, halves)
    for path in [*halves.glob('models/*'), *halves.glob('training_states/*')]:
        if not path.stem.endswith((str(INTERRUPTED), 'best', 'latest')):
            path.unlink()
    train(folder / 'halves', options, processes, '--auto_resume')
    return content(whole), content(halves)


@pytest.fixture(scope='module')
def runs():
    """Experiments that several tests look at, by name."""
    return {}


@pytest.fixture
def undisturbed(runs, options, tmp_path_factory):
    """The experiment of an undisturbed run in one process without workers; it is not to be changed."""
    if not runs:
        runs['undisturbed'] = train(tmp_path_factory.mktemp('undisturbed'), options, 1)
    return runs['undisturbed']


@pytest.mark.parametrize(
    ('processes', 'workers'), [(1, 0), (2, 0), *(pytest.param(count, 2, marks=pytest.mark.long) for count in (1, 2))]
)
def test_interrupted_run_goes_on_as_if_nothing_had_been(processes, workers, options, request, tmp_path):
    options['datasets']['train']['num_worker_per_gpu'] = workers
    known = request.getfixturevalue('undisturbed') if (processes, workers) == (1, 0) else None
    whole, halves = whole_and_in_halves(tmp_path, options, processes, known)
    assert differences(whole, halves) == []
    assert len(whole['journal']) == TOTAL + 5  # validated at 3, 6, 9, 12 and the end


def test_network_of_basicsr_with_every_switch_goes_on_as_if_nothing_had_been(options, tmp_path):
    options |= {'model_type': 'RestorationModel', 'network_g': SWINIR, 'amp': 'bf16', 'channels_last': True}
    options['datasets']['train'] |= {'num_worker_per_gpu': 1, 'prefetch_mode': 'cpu', 'batch_size_per_gpu': 1}
    del options['train']['distill_opt']
    options['train'] |= {'accumulate': 2, 'grad_clip': 0.5, 'optim_g': {'type': 'AdamW', 'lr': 1e-3, 'fused': True}}
    options['logger']['keep_last'] = 7
    whole, halves = whole_and_in_halves(tmp_path, options)
    assert differences(whole, halves) == []
    losses = [line['l_pix'] for line in whole['journal'] if 'l_pix' in line]
    assert sum(losses[-4:]) < sum(losses[:4])


def test_number_of_workers_changes_nothing(options, undisturbed, tmp_path):
    options['datasets']['train']['num_worker_per_gpu'] = 2
    assert differences(content(train(tmp_path, options, 1)), content(undisturbed)) == []


def test_validation_that_was_cut_off_is_made_up_for(options, undisturbed, tmp_path):
    """A process that is killed while it validates leaves a state that says so."""
    whole = tmp_path / 'experiments' / 'small'
    shutil.copytree(undisturbed, whole)
    expected = content(whole)
    for iteration in range(INTERRUPTED + 1, TOTAL + 1):
        for path in [*whole.glob(f'models/*_{iteration}.pth'), *whole.glob(f'training_states/{iteration}.state')]:
            path.unlink()
    path = whole / 'training_states' / f'{INTERRUPTED}.state'
    state = torch.load(path, weights_only=True)
    assert state['is_validated']
    state['is_validated'] = False
    state['best_metric_results']['Held']['psnr'].update(val=-1.0, iter=3)
    state['best_metric_results']['Held']['ssim'].update(val=-1.0, iter=3)
    torch.save(state, path)
    lines = (whole / 'metrics.jsonl').read_text().splitlines(keepends=True)
    (whole / 'metrics.jsonl').write_text(''.join(line for line in lines if json.loads(line)['iter'] < INTERRUPTED))
    lost = [json.loads(line) for line in lines if json.loads(line)['iter'] == INTERRUPTED and 'psnr' not in line]
    train(tmp_path, options, 1, '--auto_resume')
    remade = content(whole)
    missing = [{key: value for key, value in line.items() if 'time' not in key} for line in lost]
    assert [line for line in expected['journal'] if line not in remade['journal']] == missing
    del expected['journal'], remade['journal']
    assert differences(expected, remade) == []


def of_distillation(options, folder):
    """A small student with a frozen teacher, and a rate of its own for one layer."""
    teacher = {'type': 'DSCFSRCNN', 'd': 4, 's': 2, 'm': 1}
    torch.save({'params': build_network(teacher).state_dict()}, folder / 'teacher.pth')
    options['train']['distillation'] = {'affinity': {'loss': {'type': 'FeatureAffinityLoss', 'reduction': 'mean'}}}
    options['train']['lr_factors'] = {'tail.*': 0.1}
    return options | {
        'model_type': 'DistillationModel',
        'network_g': {'type': 'FFALiteNet', 'dim': 8, 'blocks': 1},
        'teachers': {'sr': {'network_t': teacher, 'pretrain_network_t': str(folder / 'teacher.pth')}},
    }


def of_depth_guidance(options, folder):
    """Haze that the model makes by the depth that a frozen network tells, after a time for the depth alone."""
    depth = {'num_feat': 4, 'growth': 4, 'num_blocks': [1, 1, 1, 1], 'bound': 'softplus'}
    network = {'type': 'DGDNet', 'depth': depth, 'fuse': {'dim': 4, 'depths': [1, 1]}}
    torch.save({'params': build_network(network).state_dict()}, folder / 'depth.pth')
    clear = {'name': 'Clear', 'type': 'ClearImageDataset'}
    block = options['datasets']['train']
    options['datasets']['train'] = clear | {key: block[key] for key in block if key not in (*clear, *NOT_OF_CLEAR)}
    options['train'] |= {'depth_iter': 4, 'depth_opt': {'type': 'L1Loss'}, 'mutual_opt': {'type': 'L1Loss'}}
    source = {'network_d': network, 'pretrain_network_d': str(folder / 'depth.pth')}
    haze = {'preset': 'reside_its'}
    return options | {
        'model_type': 'DepthGuidanceModel', 'network_g': network, 'clear_depth': source, 'haze': haze,
    }  # fmt: skip


def of_progressive(options, _):
    """A pre-restore module that learns alone first, then all with both contrasts."""
    options['train'] |= {
        'pre_restore_iter': 4,
        'pre_restore_opt': {'type': 'L1Loss'},
        'inter_contrast_opt': {'type': 'InterContrastiveLoss', 'extractor': 'small', 'eps': 0.01},
    }
    network = {'type': 'ProgressiveDehazer', 'restorer': {'type': 'GridDehazeNet', 'num_feat': 2, 'growth': 2}}
    return options | {'model_type': 'ProgressiveModel', 'network_g': network}


def of_changed_batches(options, _):
    """Colours, mixtures and sizes that change; it is interrupted in the second of three stages."""
    options['datasets']['train'] |= {'color_jitter': {'contrast': 0.2, 'hue': 0.1}, 'num_worker_per_gpu': 1}
    sizes = {'iters': [4, 5, 5], 'gt_sizes': [16, 24, 32], 'mini_batch_sizes': [4, 3, 2]}
    options['datasets']['train']['batch_size_per_gpu'] = 4
    options['train'] |= {'mixup': {'alpha': 1.2, 'probability': 0.7}, 'progressive_sizes': sizes}
    return options | {'model_type': 'RestorationModel'}


FURTHER = of_distillation, of_progressive, of_changed_batches


@pytest.mark.parametrize(
    'method', [of_depth_guidance, *(pytest.param(method, marks=pytest.mark.long) for method in FURTHER)]
)
def test_method_goes_on_as_if_nothing_had_been(method, options, tmp_path):
    del options['train']['distill_opt']
    options['datasets']['train']['dataset_enlarge_ratio'] = 6
    whole, halves = whole_and_in_halves(tmp_path, method(options, tmp_path))
    assert differences(whole, halves) == []
    assert len(whole['journal']) == TOTAL + 5
