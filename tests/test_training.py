"""The way of the data as a user goes it: train, go on, test, on one process and on two."""

import re
import sys

import pytest
import torch
from basicsr.archs import build_network

from conftest import basicsr, run, two_of_basicsr, write_options
from okdnet_plugin.engine.torch_versions import allow_counters

TWO_PROCESSES = (
    *(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'),
    *('-m', 'okdnet_plugin'),
)
METRICS = re.compile(r'# psnr: (?P<psnr>[\d.]+).*# ssim: (?P<ssim>[\d.]+)', re.DOTALL)


def load(path):
    allow_counters()  # which torch before 2.4 does not do by itself
    return torch.load(path, weights_only=True)


def options_of_a_test(train_options, weights):
    shared = {key: train_options[key] for key in ('model_type', 'scale', 'num_gpu', 'manual_seed', 'network_g')}
    return shared | {
        'datasets': {'test_1': train_options['datasets']['val']},
        'path': {'pretrain_network_g': str(weights)},
        'val': {'save_img': True, 'suffix': None, 'metrics': train_options['val']['metrics']},
    }


@pytest.fixture(scope='module')
def workplace(tmp_path_factory):
    return tmp_path_factory.mktemp('workplace')


@pytest.fixture
def trained(workplace, train_options):
    """A run of four iterations below `workplace`, the current directory of the command."""
    if not (workplace / 'experiments').exists():
        # From nothing, as a user starts it; most other tests ask the nursery.
        command = (sys.executable, '-m', 'okdnet_plugin', 'train')
        result = run(*command, '-opt', write_options(workplace / 'train.yml', train_options), cwd=workplace)
        assert result.returncode == 0, result.stderr
        (workplace / 'stdout').write_text(result.stdout + result.stderr)
    return workplace / 'experiments' / 'small'


def test_training_leaves_everything_below_the_current_directory(trained):
    assert {path.name for path in (trained / 'models').iterdir()} == {'net_g_2.pth', 'net_g_4.pth', 'net_g_latest.pth'}
    assert {path.name for path in (trained / 'training_states').iterdir()} == {'2.state', '4.state'}
    assert len(list(trained.glob('visualization/*/*_4.png'))) == 8
    assert (trained / 'train.yml').exists()


def test_training_logs_each_part_of_the_loss_and_the_metrics(trained, workplace):
    log = (workplace / 'stdout').read_text()
    assert re.search(r'l_pix: \S+ l_ssim: \S+ l_distill: \S+', log)
    assert METRICS.search(log)


def test_saved_average_has_the_statistics_of_the_training(trained, train_options):
    saved = load(trained / 'models' / 'net_g_latest.pth')
    options = {key: value for key, value in train_options['network_g'].items() if key != 'type'}
    initial = build_network({'type': 'OKDNet', **options}).state_dict()
    for key in (key for key in initial if key.endswith(('running_mean', 'running_var'))):
        assert not torch.equal(saved['params_ema'][key], initial[key]), key
        assert not torch.equal(saved['params_ema'][key], saved['params'][key]), key


def test_auto_resume_goes_on_from_the_newest_state(trained, workplace, train_options):
    train_options['train']['total_iter'] = 6
    options = write_options(workplace / 'train.yml', train_options)
    result = basicsr('train', '-opt', options, '--auto_resume', cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert 'Resuming training from epoch: 1, iter: 4.' in result.stdout + result.stderr
    assert (trained / 'training_states' / '6.state').exists()
    assert load(trained / 'training_states' / '6.state')['iter'] == 6
    steps = {
        int(state['step']) for state in load(trained / 'training_states' / '6.state')['optimizers'][0]['state'].values()
    }
    assert steps == {6}


def test_testing_reads_the_average_and_writes_results(trained, workplace, train_options):
    options = options_of_a_test(train_options, trained / 'models' / 'net_g_latest.pth') | {'name': 'tested'}
    options['path']['param_key_g'] = 'params_ema'
    result = basicsr('test', '-opt', write_options(workplace / 'test.yml', options), cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert METRICS.search(result.stdout + result.stderr)
    written = {path.name for path in (workplace / 'results' / 'tested' / 'visualization' / 'Held').iterdir()}
    assert '1_1_0.8_tested.png' in written
    assert len(written) == 8


@pytest.mark.parametrize('dataset', ['PairedDehazeDataset', pytest.param('PairedImageDataset', marks=pytest.mark.long)])
def test_two_processes_train_on_the_cpu(dataset, tmp_path, train_options, pairs):
    """With gloo from the option file, spawned workers, validation and a saved state; BasicSR's data set as well."""
    # One long epoch, because a spawned worker takes seconds to start.
    train_options['datasets']['train'] |= {'num_worker_per_gpu': 1, 'dataset_enlarge_ratio': 10}
    if dataset == 'PairedImageDataset':
        for block in train_options['datasets'].values():
            block |= {'type': dataset, 'dataroot_lq': str(pairs / 'clear')}
            del block['layout']
    options = write_options(tmp_path / 'o.yml', train_options)
    if dataset == 'PairedDehazeDataset':
        result = run(*TWO_PROCESSES, 'train', '-opt', options, '--launcher', 'pytorch', cwd=tmp_path)
    else:
        result = two_of_basicsr('train', '-opt', options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    printed = result.stdout + result.stderr
    assert 'World size (gpu number): 2' in printed
    assert METRICS.search(printed)
    experiment = tmp_path / 'experiments' / 'small'
    assert load(experiment / 'training_states' / '4.state')['iter'] == 4
    assert all(
        torch.isfinite(value).all() for value in load(experiment / 'models' / 'net_g_latest.pth')['params_ema'].values()
    )


def test_two_processes_validate_and_test_without_an_average(tmp_path, train_options):
    train_options['train'] |= {'ema_decay': 0, 'total_iter': 2}
    train_options['train']['scheduler']['milestones'] = [1]
    train_options['val']['val_freq'] = 1
    options = write_options(tmp_path / 'o.yml', train_options)
    result = two_of_basicsr('train', '-opt', options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (result.stdout + result.stderr).count('# psnr') == 2  # what the end would repeat is left out

    weights = tmp_path / 'experiments' / 'small' / 'models' / 'net_g_latest.pth'
    options = write_options(tmp_path / 't.yml', options_of_a_test(train_options, weights) | {'name': 'tested'})
    result = two_of_basicsr('test', '-opt', options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_mistake_leaves_an_earlier_run_where_it_is(trained, workplace, train_options):
    train_options['datasets']['train']['dataroot_lq'] = 'nowhere'
    result = basicsr('train', '-opt', write_options(workplace / 'wrong.yml', train_options), cwd=workplace)
    assert result.returncode == 2
    assert 'the folder nowhere does not exist' in result.stderr
    assert [path.name for path in (workplace / 'experiments').iterdir()] == ['small']
    assert (trained / 'models' / 'net_g_latest.pth').exists()


def test_fewer_images_than_a_batch_are_refused(tmp_path, train_options):
    train_options['datasets']['train']['batch_size_per_gpu'] = 16
    result = basicsr('train', '-opt', write_options(tmp_path / 'o.yml', train_options), cwd=tmp_path)
    assert result.returncode == 2
    assert 'raise dataset_enlarge_ratio' in result.stderr


def test_iterations_are_made_up_though_the_loader_drops_images(tmp_path, train_options):
    train_options['datasets']['train']['batch_size_per_gpu'] = 5  # three epochs of one batch, where two are meant
    train_options['val'] = None
    result = basicsr('train', '-opt', write_options(tmp_path / 'o.yml', train_options), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / 'experiments' / 'small' / 'training_states' / '4.state').exists()
