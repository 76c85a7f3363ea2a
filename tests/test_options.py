"""The shipped option files: they hold what the paper says, and the command runs each of them."""

import fnmatch
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from conftest import REPOSITORY, basicsr, write_options
from okdnet_plugin import config
from okdnet_plugin.archs.okdnet_arch import OKDNet
from okdnet_plugin.compat.checking import prepare
from okdnet_plugin.config import check
from okdnet_plugin.report import plan
from okdnet_plugin.report.published import TABLES

OPTIONS = REPOSITORY / 'options'
SIDES = {'lq': 'hazy', 'gt': 'clear'}


def load(name):
    return config.load(str(OPTIONS / name))


def overrides(options, pairs, **more):
    """Arguments that put small images where the data sets of an option file would lie."""
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
    """What options/okdnet.yml leaves behind when two of its iterations are run on small images."""
    folder = tmp_path_factory.mktemp('trained')
    small = overrides(
        load('okdnet.yml'),
        pairs,
        **{'train:total_iter': 2, 'train:scheduler:milestones': [1]},
        **{'datasets:train:resize': 32, 'datasets:train:num_worker_per_gpu': 0},
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
    images = trained / 'results/OKDNet_ITS_test/visualization'
    assert {path.name for path in images.iterdir()} == {'SOTS-indoor', 'SOTS-outdoor', 'I-HAZE', 'O-HAZE'}
    assert Path(images / 'O-HAZE/1_1_0.8_OKDNet_ITS_test.png').exists()


def test_shipped_mixture_trains_on_all_its_parts(tmp_path, pairs):
    """The parts are replaced by `pairs`: BasicSR's data set needs equal names, the made haze gets no depth."""
    for side in ('hazy', 'clear'):
        shutil.copytree(pairs / 'clear', tmp_path / 'equal' / side)
    options = load('okdnet_mixed.yml')
    train_set = options['datasets']['train'] | {'gt_size': 32, 'epoch_length': 10, 'num_worker_per_gpu': 0}
    parts = train_set['parts']
    parts['indoor'] |= {'dataroot_lq': str(pairs / 'hazy'), 'dataroot_gt': str(pairs / 'clear')}
    parts['outdoor'] |= {f'dataroot_{side}': str(tmp_path / 'equal' / name) for side, name in SIDES.items()}
    parts['made'] |= {'dataroot_gt': str(pairs / 'clear'), 'dataroot_depth': None, 'depth_norm': None}
    options['datasets'] = {'train': train_set}
    options['train'] |= {'total_iter': 2, 'scheduler': {'type': 'MultiStepLR', 'milestones': [1]}}
    options['logger'] |= {'print_freq': 1, 'save_best': None}
    del options['val']
    result = basicsr('train', '-opt', write_options(tmp_path / 'mixed.yml', options), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert 'an epoch has 10 samples: indoor 4 (of 8), made 2 (of 4), outdoor 4 (of 4)' in result.stderr
    assert (tmp_path / 'experiments/OKDNet_mixed/models/net_g_latest.pth').exists()


def test_shipped_file_for_photographs_dehazes_a_folder(trained, tmp_path):
    for name, size in {'a.png': (21, 34), 'b.jpg': (40, 17), 'more/a.webp': (16, 16)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name), image)
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


TRAININGS = [
    *('okdnet', 'aodnet', 'gcanet', 'griddehazenet', 'ffanet', 'msbdn', 'gunet', 'dehazeformer'),
    *('epdn', 'da', 'psd'),
    *(f'ablation/{v}' for v in 'abcde'),
]


@pytest.mark.parametrize('name', TRAININGS)
def test_every_training_passes_the_check_of_options(name, pairs):
    options = load(f'{name}.yml') | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'num_gpu': 0}
    for phase, block in options['datasets'].items():
        block |= {'phase': phase, 'scale': 1, 'layout': 'its'}
        block |= {'dataroot_lq': str(pairs / 'hazy'), 'dataroot_gt': str(pairs / 'clear')}
    train = options['datasets']['train']  # the images are few and small
    train |= {'batch_size_per_gpu': 2} | ({'gt_size': 32} if 'gt_size' in train else {})
    prepare(options)


@pytest.mark.parametrize('name', ['dcpdn', 'psd_finetune'])
def test_trainings_on_other_data_than_its_are_right_but_for_the_data(name):
    assert check.check(load(f'{name}.yml'), phase='train', look=False) == []


@pytest.fixture
def recipe(tmp_path, pairs, monkeypatch):
    """Places that scripts/train_weights.sh gives to the stages of the shipped weights."""
    shutil.copytree(pairs / 'clear', tmp_path / 'rgbd' / 'clear')
    (tmp_path / 'rgbd' / 'depth').mkdir()
    for path in (pairs / 'clear').iterdir():
        cv2.imwrite(str(tmp_path / 'rgbd' / 'depth' / path.name), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NYU', str(tmp_path / 'rgbd'))
    monkeypatch.setenv('OUTDOOR', str(tmp_path / 'rgbd'))
    monkeypatch.setenv('DATA', str(tmp_path))
    (tmp_path / 'sots_indoor_val').mkdir()
    shutil.copytree(pairs / 'clear', tmp_path / 'sots_indoor_val' / 'clear')
    (tmp_path / 'sots_indoor_val' / 'hazy').mkdir()
    for path in (pairs / 'clear').iterdir():
        shutil.copy(path, tmp_path / 'sots_indoor_val' / 'hazy' / f'{path.stem}_1.png')
    return [load(f'weights/okdnet_{stage}.yml') for stage in range(1, 8)]


def test_stages_of_the_shipped_weights_go_on_from_one_another_and_grow(recipe, tmp_path):
    stages = [Path(stage['name']) for stage in recipe]
    for before, stage in zip([None, *stages[:-1]], recipe, strict=True):
        path = stage['path']['pretrain_network_g']
        assert path == (before and f'experiments/{before}/models/net_g_latest.pth')
        if path:
            (tmp_path / path).parent.mkdir(parents=True)
            (tmp_path / path).touch()
        prepare(stage | {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'num_gpu': 0})
        assert stage['train']['scheduler']['periods'] == [stage['train']['total_iter']]
    training = [stage['datasets']['train'] for stage in recipe]
    pixels = [data['gt_size'] ** 2 if 'gt_size' in data else math.prod(data['resize']) for data in training]
    assert pixels[:4] == sorted(set(pixels[:4]))
    assert pixels[4] == pixels[3]  # it changes BatchNorm and haze alone
    assert pixels[6] == pixels[5] > pixels[4]  # and the airlight network and the others see the same images
    script = (REPOSITORY / 'scripts' / 'train_weights.sh').read_text()
    assert f'stages=({" ".join(map(str, stages))})' in script


def test_the_last_stages_of_the_shipped_weights_keep_batch_norm_and_part_by_part_the_rest(recipe):
    net = OKDNet()
    norms = {
        f'{name}.{parameter}'
        for name, layer in net.named_modules()
        if isinstance(layer, torch.nn.BatchNorm2d)
        for parameter, _ in layer.named_parameters()
    }
    names = {name for name, _ in net.named_parameters()}
    airlight = {name for name in names if name.startswith('airlight.')}
    kept = [
        {name for name in names if any(fnmatch.fnmatchcase(name, one) for one in stage)}
        for stage in (stage['train']['freeze'] for stage in recipe[-3:])
    ]
    assert kept == [norms, names - airlight, norms | airlight]
    losses = {key for key, value in recipe[-2]['train'].items() if key.endswith('_opt') and value}
    assert losses == {'airlight_opt'}


def test_the_experiment_without_reside_is_that_of_the_paper_on_made_haze():
    paper, nyu = load('okdnet.yml'), load('okdnet_nyu.yml')
    assert {key for key in paper if paper[key] != nyu[key]} == {'name', 'datasets'}
    train, test = nyu['datasets']['train'], load('okdnet_nyu_test.yml')
    assert (train['preset'], train['resize'], train['batch_size_per_gpu']) == ('reside_its', 256, 4)
    assert math.ceil(1_399 * train['dataset_enlarge_ratio'] / 4) * 30 == nyu['train']['total_iter']
    assert test['datasets']['test'] == nyu['datasets']['val']
    assert test['path']['pretrain_network_g'].split('/')[1] == nyu['name']


def test_variants_of_the_ablation_differ_from_okdnet_in_one_thing():
    whole = load('okdnet.yml')
    for variant in 'abcde':
        options = load(f'ablation/{variant}.yml')
        assert options.pop('name') == f'OKDNet_{variant.upper()}'
        changed = [key for key, value in options.items() if value != whole[key]]
        assert changed == ['network_g' if variant in 'abc' else 'train']
        methods = load('ablation.yml')['methods']
        assert methods[variant.upper()]['network_g'] == options['network_g']
        assert methods[variant.upper()]['path']['pretrain_network_g'].split('/')[1] == f'OKDNet_{variant.upper()}'


@pytest.mark.parametrize('name', ['benchmark.yml', 'benchmark_nyu.yml', 'ablation.yml'])
def test_reports_can_be_planned_and_name_the_methods_of_the_tables(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    this = plan.read(load(name))
    assert all(test_set.missing for test_set in this.sets)
    measured = {method.label: method.missing for method in this.methods}
    for number in this.settings['tables']:
        assert set(TABLES[number].methods) <= measured.keys()
        assert {row.set for row in TABLES[number].rows} <= {'', *(test_set.label for test_set in this.sets)}
    assert name == 'ablation.yml' or measured['DCP'] is None
    assert name != 'benchmark_nyu.yml' or measured['OKDNet'] is None, 'the weights of the package are there'


def test_trainings_leave_their_weights_where_the_benchmark_looks():
    names = {load(f'{name}.yml')['name'] for name in TRAININGS}
    methods = load('benchmark.yml')['methods'] | load('ablation.yml')['methods']
    weights = [block['path']['pretrain_network_g'] for block in methods.values() if 'path' in block]
    assert {path.split('/')[1] for path in weights} <= names
