"""The shipped option files: they hold what the paper says, and the command runs each of them."""

import math
from pathlib import Path

import pytest
import yaml

from conftest import REPOSITORY, basicsr

OPTIONS = REPOSITORY / 'options'


def load(name):
    return yaml.safe_load((OPTIONS / name).read_text(encoding='utf-8'))


def overrides(options, pairs, **more):
    """Arguments that put small pictures where the data sets of an option file would lie."""
    changes = {}
    for phase in options['datasets']:
        block = f'datasets:{phase}'
        changes |= {f'{block}:dataroot_lq': pairs / 'hazy', f'{block}:dataroot_gt': pairs / 'clear'}
        changes |= {f'{block}:layout': 'its'}
    return ['--force_yml', *(f'{key}={value}' for key, value in (changes | more).items())]


def test_training_is_the_experiment_of_the_paper():
    """Lan et al. 2022, implementation details and Eq. 3."""
    options = load('okdnet.yml')
    train_set, train = options['datasets']['train'], options['train']
    per_epoch = math.ceil(13_990 / train_set['batch_size_per_gpu'])
    assert (train_set['layout'], train_set['resize'], train_set['batch_size_per_gpu']) == ('its', 256, 4)
    assert train['total_iter'] == 30 * per_epoch == 104_940
    assert train['scheduler']['milestones'] == [5 * n * per_epoch for n in range(1, 6)]
    assert train['scheduler']['gamma'] == 0.5
    paper = {'type': 'Adam', 'lr': 1e-3, 'weight_decay': 0, 'betas': [0.9, 0.999]}
    assert train['optim_g'] == paper | {'fused': True}  # the same update, computed at once
    weights = {key: train[key]['loss_weight'] for key in ('pixel_opt', 'ssim_opt', 'distill_opt')}
    assert weights == {'pixel_opt': 1, 'ssim_opt': 1, 'distill_opt': 0.5}


def test_every_test_set_of_the_paper_with_references_is_tested():
    layouts = [block['layout'] for block in load('okdnet_test.yml')['datasets'].values()]
    assert layouts == ['sots_indoor', 'sots_outdoor', 'i_haze', 'o_haze']


@pytest.fixture(scope='module')
def trained(tmp_path_factory, pairs):
    """What options/okdnet.yml leaves behind when two of its iterations are run on small pictures."""
    folder = tmp_path_factory.mktemp('trained')
    small = overrides(
        load('okdnet.yml'),
        pairs,
        **{'train:total_iter': 2, 'datasets:train:resize': 32, 'datasets:train:num_worker_per_gpu': 0},
    )
    result = basicsr('train', '-opt', OPTIONS / 'okdnet.yml', *small, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_shipped_training_file_runs(trained):
    assert (trained / 'experiments/OKDNet_ITS/models/net_g_latest.pth').exists()
    assert list((trained / 'tb_logger/OKDNet_ITS').iterdir())


def test_shipped_test_file_finds_what_the_training_file_wrote(trained, pairs):
    small = overrides(load('okdnet_test.yml'), pairs)
    result = basicsr('test', '-opt', OPTIONS / 'okdnet_test.yml', *small, cwd=trained)
    assert result.returncode == 0, result.stderr
    pictures = trained / 'results/OKDNet_ITS_test/visualization'
    assert {path.name for path in pictures.iterdir()} == {'SOTS-indoor', 'SOTS-outdoor', 'I-HAZE', 'O-HAZE'}
    assert Path(pictures / 'O-HAZE/1_1_0.8_OKDNet_ITS_test.png').exists()
