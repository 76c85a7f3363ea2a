"""The files that a test leaves, of our model and of BasicSR's own."""

import csv
import json
import logging

import pytest
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model

from okdnet_plugin.engine import results


@pytest.fixture
def tested(model_options, tmp_path, pairs, caplog):
    """A function that tests a model on two sets of the pairs; gives what it has logged."""

    def test(model_type, metrics):
        block = model_options['datasets']['val'] | {'phase': 'test', 'resize': 32}
        sets = {'test': block | {'name': 'one'}, 'test_2': block | {'name': 'two', 'dataroot_lq': str(pairs / 'hazy')}}
        del model_options['train']
        options = model_options | {'is_train': False, 'model_type': model_type, 'datasets': sets}
        options |= {'network_g': {'type': 'AODNet'}, 'val': {'save_img': False, 'metrics': metrics}}
        options['path'] = {'results_root': str(tmp_path / 'results'), 'pretrain_network_g': None}
        model = build_model(options)
        logger = logging.getLogger('basicsr')
        caplog.set_level(logging.INFO, 'basicsr')
        logger.addHandler(caplog.handler)
        for one in sets.values():
            model.validation(build_dataloader(build_dataset(one), one, num_gpu=0), 'tested', None, save_img=False)
        logger.removeHandler(caplog.handler)
        return caplog.text

    return test


@pytest.mark.parametrize('model_type', ['RestorationModel', 'SRModel'])
def test_a_test_leaves_its_metric_values_as_files_and_no_best_iteration(model_type, tested, tmp_path):
    metrics = {
        'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': False},
        'ssim': {'type': 'calculate_ssim', 'crop_border': 0},
    }
    log = tested(model_type, metrics)
    assert 'psnr: ' in log
    assert 'Best' not in log
    assert {path.name for path in (tmp_path / 'results').iterdir()} == {'metrics.json', 'one.csv', 'two.csv'}
    told = json.loads((tmp_path / 'results' / 'metrics.json').read_text(encoding='utf-8'))
    assert told['decoder'].startswith('OpenCV ')
    assert told['network_g'] == {'type': 'AODNet'}
    assert list(told['datasets']) == ['one', 'two']
    assert told['datasets']['one']['images'] == 8
    assert told['datasets']['one']['protocol']['resize'] == 32
    assert told['datasets']['one']['metrics']['psnr']['crop_border'] == 4
    with (tmp_path / 'results' / 'one.csv').open(encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['image'] for row in rows][:2] == ['1_1_0.8.png', '1_2_0.95.png']
    for metric in metrics:
        mean = sum(float(row[metric]) for row in rows) / len(rows)
        assert told['datasets']['one']['metrics'][metric]['mean'] == pytest.approx(mean, rel=1e-9)


def test_a_test_without_metrics_tells_its_images(tested, tmp_path):
    tested('SRModel', None)
    told = json.loads((tmp_path / 'results' / 'metrics.json').read_text(encoding='utf-8'))
    assert [(name, one['images'], one['metrics']) for name, one in told['datasets'].items()] == [
        ('one', 8, {}),
        ('two', 8, {}),
    ]


def test_values_that_are_not_finite_are_texts(tmp_path):
    opt = {'path': {'results_root': str(tmp_path)}, 'name': 'x', 'model_type': 'SRModel', 'val': {'metrics': {'p': {}}}}
    results.write(
        opt, {'name': 'set'}, [('a,b.png', {'p': float('inf')}), ('c.png', {})], {'p': {'mean': float('inf')}}
    )
    assert json.loads((tmp_path / 'metrics.json').read_text())['datasets']['set']['metrics']['p'] == {'mean': 'inf'}
    assert (tmp_path / 'set.csv').read_text() == 'image,p\n"a,b.png",inf\nc.png,\n'


def test_what_changes_the_values_stands_beside_them(tmp_path):
    val = {'metrics': {'p': {}}, 'tile': 'auto', 'self_ensemble': True}
    opt = {'path': {'results_root': str(tmp_path)}, 'name': 'x', 'model_type': 'RestorationModel', 'val': val}
    block = {'name': 'set', 'pairs': 'pairs.csv', 'filter_lq': '*_hazy.*', 'recursive': False}
    results.write(opt, block, [('a.png', {'p': 1.0})], {'p': {'mean': 1.0}}, failed=2)
    told = json.loads((tmp_path / 'metrics.json').read_text())['datasets']['set']
    assert told['failed'] == 2
    assert told['protocol'] == {
        'pairs': 'pairs.csv',
        'filter_lq': '*_hazy.*',
        'tile': 'auto',
        'self_ensemble': True,
    }
