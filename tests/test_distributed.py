"""Two processes do what one does, faster; and they are launched in every way that users know."""

import json
import os
import socket
from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from conftest import REPOSITORY, basicsr, basicsr_of_ranks, run, two_ranks, write_options


@pytest.fixture(scope='module')
def side_by_side():
    return {}


@pytest.fixture
def compared(side_by_side, model_options, tmp_path):
    """What two_processes.py says of the gradients of 2 x 2 images and of 4, and of the validation."""
    if not side_by_side:
        options = model_options | {'sync_bn': True}
        models = {'OKDNetModel': options, **of_further_models(options, tmp_path / 'teacher.pth')}
        program = Path(__file__).with_name('two_processes.py').read_text(encoding='utf-8')
        result = basicsr_of_ranks(json.dumps(models), cwd=tmp_path, environments=two_ranks(), program=program)
        assert result.returncode == 0, result.stderr
        side_by_side.update(json.loads(result.stdout.splitlines()[-1]))
    return side_by_side


def of_further_models(options, file):
    """Frozen teachers; and depth that learns alone for an iteration and then no more."""
    train = {key: one for key, one in options['train'].items() if key not in ('ssim_opt', 'distill_opt')}
    train['ema_decay'] = 0
    teacher = {'type': 'DSCFSRCNN', 'd': 4, 's': 2, 'm': 1}
    torch.save({'params': build_network(dict(teacher)).state_dict()}, file)
    affinity = {'loss': {'type': 'FeatureAffinityLoss', 'norm': 'l1', 'reduction': 'mean'}}  # a mean over images
    guided = {
        'type': 'DGDNet',
        'depth': {'num_feat': 4, 'growth': 4, 'num_blocks': [1, 1, 1, 1], 'bound': 'softplus'},
        'fuse': {'dim': 4, 'depths': [1, 1], 'drop_path': 0.0},
    }
    l1 = {'type': 'L1Loss'}
    return {
        'DistillationModel': options
        | {
            'model_type': 'DistillationModel',
            'network_g': {'type': 'FFALiteNet', 'dim': 8, 'blocks': 1},
            'teachers': {'sr': {'network_t': teacher, 'pretrain_network_t': str(file)}},
            'train': train | {'distillation': {'affinity': affinity}},
        },
        'DepthGuidanceModel': options
        | {
            'model_type': 'DepthGuidanceModel',
            'network_g': guided,
            'train': train | {'depth_opt': l1, 'mutual_opt': l1, 'depth_iter': 1, 'freeze_depth': True},
        },
    }


def test_two_batches_of_two_have_the_gradient_of_one_of_four(compared):
    assert compared['gradient'] < 1e-5
    assert compared['statistics'] < 1e-5
    assert compared['log'] < 1e-5


@pytest.mark.parametrize(
    ('step', 'losses'),
    [
        ('DistillationModel 1', ['l_affinity', 'l_pix']),
        ('DistillationModel 2', ['l_affinity', 'l_pix']),
        ('DepthGuidanceModel 1', ['l_depth']),
        ('DepthGuidanceModel 2', ['l_depth', 'l_mutual', 'l_pix']),
    ],
)
def test_models_of_two_networks_have_the_gradient_of_one_process_too(compared, step, losses):
    difference, logged = compared[step]
    assert difference < 1e-5
    assert logged == losses


def test_two_processes_validate_as_one_does_to_the_last_digit(compared):
    assert compared['figures of two'] == compared['figures of one']


@pytest.mark.parametrize('arguments', [[], ['2'], ['two', 'options.yml'], ['0', 'options.yml']])
def test_script_says_how_it_is_used(arguments, tmp_path):
    result = run('bash', REPOSITORY / 'scripts' / 'dist_train.sh', *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert 'dist_train.sh N OPTION_FILE' in result.stderr


def test_script_launches_as_many_processes_with_these_options(tmp_path):
    """Whatever stands in the name of the option file stays one argument."""
    arguments = tmp_path / 'arguments'
    python = tmp_path / 'python'
    python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {arguments}\n')
    python.chmod(0o755)
    options = 'my options; touch x.yml'
    path = f'{tmp_path}:{os.environ["PATH"]}'
    script = REPOSITORY / 'scripts' / 'dist_train.sh'
    result = run('bash', script, 2, options, '--auto_resume', cwd=tmp_path, PATH=path)
    assert result.returncode == 0, result.stderr
    said = arguments.read_text().splitlines()
    assert {'--nproc_per_node=2', options, '--auto_resume', 'okdnet_plugin'} <= set(said)


def test_slurm_trains_in_two_processes_on_the_cpu(train_options, tmp_path):
    """As srun starts them: by variables alone, each with its number."""
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\necho 127.0.0.1\n')
    scontrol.chmod(0o755)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        train_options['dist_params'] = {'backend': 'nccl', 'port': free.getsockname()[1]}
    options = write_options(tmp_path / 'o.yml', train_options)
    shared = {
        'PATH': f'{tmp_path}:{os.environ["PATH"]}',
        'SLURM_NTASKS': '2',
        'SLURM_NODELIST': 'node[1-2]',
    }
    ranks = [shared | {'SLURM_PROCID': str(rank), 'SLURM_LOCALID': str(rank)} for rank in range(2)]
    arguments = ('train', '-opt', options, '--launcher', 'slurm')
    result = basicsr_of_ranks(*arguments, cwd=tmp_path, environments=ranks)
    assert result.returncode == 0, result.stderr
    assert 'World size (gpu number): 2' in result.stdout + result.stderr
    assert (tmp_path / 'experiments' / 'small' / 'models' / 'net_g_latest.pth').exists()


def test_missing_rank_says_how_to_launch(train_options, tmp_path):
    options = write_options(tmp_path / 'o.yml', train_options)
    result = basicsr('train', '-opt', options, '--launcher', 'pytorch', cwd=tmp_path)
    assert result.returncode == 2
    assert 'torchrun --nproc_per_node=N -m okdnet_plugin train' in result.stderr
