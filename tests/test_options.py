"""The shipped option files: they hold what the paper says, and the command runs each of them."""

import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from conftest import REPOSITORY, basicsr, write_options

OPTIONS = REPOSITORY / 'options'
SIDES = {'lq': 'hazy', 'gt': 'clear'}


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


def test_shipped_mixture_trains_on_all_its_parts(tmp_path, pairs):
    """The parts are replaced by `pairs`: the toolbox's data set needs equal names, the made haze gets no depth."""
    for side in ('hazy', 'clear'):
        shutil.copytree(pairs / 'clear', tmp_path / 'equal' / side)
    options = load('okdnet_mixed.yml')
    train_set = options['datasets']['train'] | {'gt_size': 32, 'epoch_length': 10, 'num_worker_per_gpu': 0}
    parts = train_set['parts']
    parts['indoor'] |= {'dataroot_lq': str(pairs / 'hazy'), 'dataroot_gt': str(pairs / 'clear')}
    parts['outdoor'] |= {f'dataroot_{side}': str(tmp_path / 'equal' / name) for side, name in SIDES.items()}
    parts['made'] |= {'dataroot_gt': str(pairs / 'clear'), 'dataroot_depth': None, 'depth_norm': None}
    options['datasets'] = {'train': train_set}
    options['train']['total_iter'] = 2
    options['logger'] |= {'print_freq': 1, 'save_best': None}
    del options['val']
    result = basicsr('train', '-opt', write_options(tmp_path / 'mixed.yml', options), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert 'an epoch has 10 samples: indoor 4 (of 8), made 2 (of 4), outdoor 4 (of 4)' in result.stderr
    assert (tmp_path / 'experiments/OKDNet_mixed/models/net_g_latest.pth').exists()


def test_shipped_file_for_photographs_dehazes_a_folder(trained, tmp_path):
    for name, size in {'a.png': (21, 34), 'b.jpg': (40, 17), 'more/a.webp': (16, 16)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name), picture)
    file = OPTIONS / 'okdnet_photos_test.yml'
    result = basicsr('test', '-opt', file, '--force_yml', f'datasets:test:dataroot_lq={tmp_path}', cwd=trained)
    assert result.returncode == 0, result.stderr
    results = (trained / 'results/OKDNet_photos/visualization/photos').iterdir()
    sizes = {path.name: cv2.imread(str(path)).shape[:2] for path in results}
    assert sizes == {
        'a_png_OKDNet_photos.png': (21, 34),
        'b_OKDNet_photos.png': (40, 17),
        'more_a_webp_OKDNet_photos.png': (16, 16),
    }
