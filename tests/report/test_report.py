"""`basicsr report`: what is measured, what is kept, what is said of what is missing."""

import base64
import csv
import json
import math
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.utils.registry import METRIC_REGISTRY

from conftest import basicsr, two_of_basicsr
from okdnet_plugin.commands import report as command
from okdnet_plugin.engine.validation import strip
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.dehazer import Dehazer
from okdnet_plugin.locks import Lock
from okdnet_plugin.report import collect, cost, page, plan
from okdnet_plugin.report.evaluate import Evaluation
from okdnet_plugin.report.images import column
from okdnet_plugin.report.make import make
from okdnet_plugin.report.published import TABLES

WEIGHTS = 'experiments/small/models/net_g_latest.pth'
SMALL = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
GMACS, MILLISECONDS = cost.gmacs, cost.milliseconds


@pytest.fixture
def options(tmp_path, pairs, monkeypatch):
    """Two methods that run and two that are missing, on pairs and on photographs; one test set is missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, 'memory_mb', lambda *_: 12.5)
    monkeypatch.setattr(cost, 'gmacs', lambda *_: 0.25)  # these two are tested once
    monkeypatch.setattr(cost, 'milliseconds', lambda nets, *_: dict.fromkeys(nets, 1.0))
    run_folder = tmp_path / 'experiments' / 'small'
    (run_folder / 'models').mkdir(parents=True)
    torch.save({'params_ema': build_network(dict(SMALL)).state_dict()}, run_folder / 'models' / 'net_g_latest.pth')
    journal = [{'iter': i, 'epoch': 0, 'lr': 0.1, 'l_pix': 1 / i} for i in range(1, 5)]
    journal.append({'iter': 4, 'dataset': 'Held', 'psnr': 20.5, 'ssim': 'nan'})
    (run_folder / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in journal) + '{"half a')
    return {
        'name': 'small',
        'num_gpu': 0,
        'methods': {
            'hazy input': {},
            'DCPDN': {'missing': 'not written yet'},
            'OKDNet': {
                'network_g': dict(SMALL),
                'path': {
                    'pretrain_network_g': 'experiments/small/models/net_g_latest.pth',
                    'param_key_g': 'params_ema',
                },
            },
            'MSBDN': {'network_g': dict(SMALL), 'path': {'pretrain_network_g': 'nowhere.pth'}},
            'EPDN': {'network_g': dict(SMALL)},
        },
        'datasets': {
            'SOTS-indoor': {
                'type': 'PairedDehazeDataset',
                'dataroot_lq': str(pairs / 'hazy'),
                'dataroot_gt': str(pairs / 'clear'),
                'layout': 'its',
            },
            'photographs': {'type': 'SingleDehazeDataset', 'dataroot_lq': str(pairs / 'clear')},
            'URHI': {'type': 'SingleDehazeDataset', 'dataroot_lq': 'no/such/folder'},
        },
        'metrics': {'psnr': {'type': 'calculate_psnr'}, 'ssim': {'type': 'calculate_ssim'}},
        'report': {'cost_size': [32, 48], 'cost_rounds': 1, 'examples': 1, 'num_worker': 0},
    }


def briefly(options):
    """The same of one image of one test set."""
    options['datasets'] = {'SOTS-indoor': options['datasets']['SOTS-indoor']}
    options['report']['limit'] = 1
    return options


def measure(options, folder='report', **ranks):
    this = plan.read(options)
    evaluation = Evaluation(this, str(folder), **ranks)
    evaluation.run()
    return collect.collect(this, evaluation, 'basicsr report'), evaluation


def result(report, method, test_set):
    (found,) = (r for r in report['results'] if (r['method'], r['set']) == (method, test_set))
    return found


def test_figures_are_those_of_basicsr(options, pairs):
    report, _ = measure(options)
    net = build_network(dict(SMALL)).eval()
    net.load_state_dict(torch.load('experiments/small/models/net_g_latest.pth')['params_ema'])
    values = {'hazy input': [], 'OKDNet': []}
    for hazy in sorted((pairs / 'hazy').iterdir()):
        clear = cv2.imread(str(pairs / 'clear' / f'{hazy.name[0]}.png'))
        image = cv2.imread(str(hazy))
        with torch.inference_mode():
            out = net(torch.from_numpy(image[..., ::-1] / np.float32(255)).permute(2, 0, 1)[None])
        restored = (out[0].clamp(0, 1).permute(1, 2, 0).numpy()[..., ::-1] * 255.0).round().astype(np.uint8)
        for name, img in {'hazy input': image, 'OKDNet': restored}.items():
            values[name].append(METRIC_REGISTRY.get('calculate_psnr')(img, clear, crop_border=0))
    for name, each in values.items():
        figures = result(report, name, 'SOTS-indoor')['figures']['psnr']
        assert figures == {'mean': pytest.approx(np.mean(each)), 'count': 8, 'infinite': 0}


def test_what_is_missing_is_said_and_never_made_up(options):
    report, _ = measure(options)
    assert {method['label']: method['missing'] for method in report['methods']} == {
        'hazy input': None,
        'DCPDN': 'not written yet',
        'OKDNet': None,
        'MSBDN': 'the weights nowhere.pth do not exist',
        'EPDN': 'no weights are given (path: pretrain_network_g)',
    }
    assert [(r['set'], r['method']) for r in report['results']] == [
        ('SOTS-indoor', 'hazy input'),
        ('SOTS-indoor', 'OKDNet'),
        ('photographs', 'hazy input'),
        ('photographs', 'OKDNet'),
    ]
    assert 'no/such/folder does not exist' in report['sets'][2]['missing']
    row = report['tables'][0]['rows'][0]
    cells = dict(zip(report['tables'][0]['columns'], row['cells'], strict=True))
    assert (row['set'], row['metric']) == ('SOTS-indoor', 'PSNR')
    assert cells['OKDNet'] == {
        'published': 30.92,
        'measured': result(report, 'OKDNet', 'SOTS-indoor')['figures']['psnr']['mean'],
        'remark': None,
    }
    assert cells['DCPDN'] == {'published': 20.85, 'measured': None, 'remark': 'not written yet'}
    assert cells['MSBDN'] == {'published': 32.67, 'measured': None, 'remark': 'no weights'}
    assert cells['GridDehazeNet'] == {'published': 32.16, 'measured': None, 'remark': 'method not here'}
    assert report['tables'][0]['note'].endswith(' Images measured here: SOTS-indoor 8.')
    # Nothing of Table 2 was asked for, nor of SOTS-outdoor and the real photographs.
    assert [{row['set'] for row in table['rows']} for table in report['tables']] == [{'SOTS-indoor', ''}, {'URHI'}]
    loe = report['tables'][0]['rows'][2]
    assert {cell['remark'] for cell in loe['cells']} == {'not asked for'}
    assert result(report, 'OKDNet', 'photographs')['figures'] == {}


def test_a_metric_that_is_not_available_is_said(options, monkeypatch):
    def unavailable(img, **_):
        raise InputError('PI is not available (install it)')

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_unavailable', unavailable)
    options['metrics']['pi'] = {'type': 'calculate_unavailable', 'better': 'lower'}
    report, _ = measure(briefly(options))
    assert report['metrics'][2]['missing'] == 'PI is not available (install it)'
    assert 'pi' not in result(report, 'OKDNet', 'SOTS-indoor')['figures']


def test_best_and_worst_images_are_strips_of_all_methods(options):
    report, evaluation = measure(options)
    okdnet = result(report, 'OKDNet', 'SOTS-indoor')
    psnr = {
        line['picture']: line['figures']['psnr']
        for line in evaluation.lines()
        if line['method'] == 'OKDNet' and line['figures']
    }
    assert okdnet['best'][0]['picture'] == max(psnr, key=psnr.get)
    assert okdnet['worst'][0]['picture'] == min(psnr, key=psnr.get)
    head, image = decoded(okdnet['best'][0]['strip'])
    assert head == 'data:image/jpeg;base64'
    assert image.shape == (48, 3 * 64 + 2 * 2, 3)  # hazy | OKDNet | clear


def decoded(uri):
    head, content = uri.split(',')
    return head, cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), 1)


def test_chosen_images_are_shown_of_all_methods_with_their_crops(options, pairs):
    options['report'] |= {'limit': 1, 'images': {'SOTS-indoor': {'3_2_0.95': [8, 4, 16, 12], '1_1_0.8': None}}}
    report, _ = measure(options)
    assert result(report, 'OKDNet', 'SOTS-indoor')['figures']['psnr']['count'] == 1  # a chosen one is shown, no more
    cropped, whole = report['images'][:2]
    assert [(entry['set'], entry['picture']) for entry in (cropped, whole)] == [
        ('SOTS-indoor', '3_2_0.95'),
        ('SOTS-indoor', '1_1_0.8'),
    ]
    columns = {one['label']: one for one in cropped['columns']}
    assert list(columns) == ['hazy', 'OKDNet', 'clear']
    assert columns['hazy']['figures'].keys() == columns['OKDNet']['figures'].keys() == {'psnr', 'ssim'}
    for name, side, file in (('hazy', 'hazy', '3_2_0.95.png'), ('clear', 'clear', '3.png')):
        image = cv2.imread(str(pairs / side / file))
        head, column = decoded(columns[name]['strip'])
        assert head == 'data:image/png;base64'
        assert column.shape == (48 + 4 + 48, 64, 3)  # the crop fills the width
        np.testing.assert_array_equal(column[20:48], image[20:48])  # below the frame nothing has changed
        np.testing.assert_array_equal(column[4, 8:24], np.tile((40, 40, 230), (16, 1)))
        enlarged = cv2.resize(image[4:16, 8:24], (62, 46), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(column[53:99, 1:63], enlarged)
    np.testing.assert_array_equal(decoded(whole['columns'][0]['strip'])[1], cv2.imread(str(pairs / 'hazy/1_1_0.8.png')))


def test_images_that_are_chosen_later_are_made_once(options, monkeypatch):
    measure(options)
    calls = count_calls(monkeypatch)
    options['report']['images'] = {'SOTS-indoor': {'3_2_0.95': None}}
    for _ in range(2):
        report = measure(options)[0]
        assert len(calls) == 1
    assert [one['label'] for one in report['images'][0]['columns']] == ['hazy', 'OKDNet', 'clear']
    assert result(report, 'OKDNet', 'SOTS-indoor')['figures']['psnr']['count'] == 8


def test_images_that_nothing_measures_are_shown_anyway(options):
    report, _ = measure(options)
    shown = [(entry['set'], [one['label'] for one in entry['columns']]) for entry in report['images']]
    assert shown == [('photographs', ['hazy', 'OKDNet'])] * 2
    assert page.html(report).count('alt="OKDNet, ') == 2
    options['metrics']['niqe'] = {'type': 'calculate_fast_niqe', 'crop_border': 0}
    assert not any(test_set.chosen for test_set in plan.read(options).sets)


def test_crops_of_an_image_stand_side_by_side_at_one_height():
    image = np.random.default_rng(0).integers(0, 256, (600, 1600, 3), np.uint8)
    made = column(image, [[0, 0, 100, 100], [200, 300, 200, 100], [1500, 500, 100, 100]])
    assert made.shape == (240 + 4 + 158, 640, 3)
    assert [tuple(made[244, x]) for x in (0, 157, 162, 477, 482, 639)] == [
        *[(40, 40, 230)] * 2,
        *[(0, 200, 255)] * 2,
        *[(230, 160, 0)] * 2,
    ]
    assert (made[244:, 158:162] == 255).all()
    assert (made[240:244] == 255).all()


def test_a_paper_gets_tables_and_images(options, tmp_path):
    options['report']['images'] = {'SOTS-indoor': {'3_2_0.95': [8, 4, 16, 12]}}
    (tmp_path / 'own.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    assert command.main(['-opt', 'own.yml', '-o', 'report']) == 0
    folder = tmp_path / 'report'
    report = json.loads((folder / 'report.json').read_text())
    names = [f'{name}.{kind}' for name in ('Cost', 'SOTS-indoor', 'Table_1', 'Table_3') for kind in ('csv', 'tex')]
    assert sorted(file.name for file in (folder / 'tables').iterdir()) == names
    rows = list(csv.DictReader((folder / 'tables/SOTS-indoor.csv').open()))
    psnr = [result(report, name, 'SOTS-indoor')['figures']['psnr']['mean'] for name in ('hazy input', 'OKDNet')]
    assert {row['Method']: row['PSNR (dB) ↑'] for row in rows} == {
        'hazy input': str(psnr[0]),
        'OKDNet': str(psnr[1]),
        **dict.fromkeys(('DCPDN', 'MSBDN', 'EPDN'), ''),
    }
    place = folder / 'images/SOTS-indoor'
    columns = [cv2.imread(str(place / f'3_2_0_95/{name}.png')) for name in ('hazy', 'OKDNet', 'clear')]
    np.testing.assert_array_equal(columns[0], decoded(report['images'][0]['columns'][0]['strip'])[1])
    together = cv2.imread(str(place / '3_2_0_95.png'))
    assert together.shape == (100, 3 * 64 + 2 * 2, 3)
    np.testing.assert_array_equal(together[30:], strip({' ': columns[0], '  ': columns[1], '   ': columns[2]})[30:])


def test_cost_is_told_of_every_network_that_can_be_built(options, monkeypatch):
    monkeypatch.setattr(cost, 'gmacs', GMACS)
    monkeypatch.setattr(cost, 'milliseconds', MILLISECONDS)
    report, _ = measure(briefly(options))
    costs = {
        m['label']: [m[key] for key in ('parameters', 'gmacs', 'milliseconds', 'memory_mb')] for m in report['methods']
    }
    assert costs['hazy input'] == costs['DCPDN'] == [None] * 4
    parameters, gmacs, milliseconds, memory = costs['OKDNet']
    assert parameters == sum(p.numel() for p in build_network(dict(SMALL)).parameters())
    assert 0 < gmacs < 1
    assert milliseconds > 0
    assert memory == 12.5
    assert costs['MSBDN'][0] == parameters


def test_training_curves_come_from_the_journal_beside_the_weights(options):
    report, _ = measure(briefly(options))
    [curve] = report['curves']
    assert curve['label'] == 'OKDNet'
    assert curve['series'] == {'l_pix': [[i, 1 / i] for i in range(1, 5)], 'Held/psnr': [[4, 20.5]]}


def count_calls(monkeypatch):
    calls, restore = [], Dehazer.restore

    def counted(self, hazy):
        calls.append(hazy.shape)
        return restore(self, hazy)

    monkeypatch.setattr(Dehazer, 'restore', counted)
    return calls


def test_a_report_that_was_interrupted_goes_on(options, monkeypatch, tmp_path):
    whole, _ = measure(options)
    file = tmp_path / 'report' / 'figures-0.jsonl'
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(''.join(lines[:10]) + lines[10][:30])  # killed while it wrote
    calls = count_calls(monkeypatch)
    again, _ = measure(options)
    assert len(calls) == len([line for line in lines[10:] if '"method": "OKDNet"' in line])
    for one, other in zip(whole['results'], again['results'], strict=True):
        assert (one['method'], one['set'], one['figures']) == (other['method'], other['set'], other['figures'])
    calls.clear()
    measure(options)
    assert calls == []


def test_a_limit_takes_one_sample_of_each_part_and_the_whole_set_goes_on_from_them(options):
    options['report']['limit'] = 3
    report, evaluation = measure(options)
    assert [s['pictures'] for s in report['sets']] == [3, 3, None]
    assert result(report, 'OKDNet', 'SOTS-indoor')['figures']['psnr']['count'] == 3
    assert [line['index'] for line in evaluation.lines() if line['set'] == 'SOTS-indoor'] == [0, 4, 6] * 2
    del options['report']['limit']
    report, evaluation = measure(options)
    assert result(report, 'OKDNet', 'SOTS-indoor')['figures']['psnr']['count'] == 8
    of_set = [
        line['index'] for line in evaluation.lines() if (line['method'], line['set']) == ('OKDNet', 'SOTS-indoor')
    ]
    assert sorted(of_set) == list(range(8))


def test_a_limit_takes_of_all_degrees_of_haze():
    test_set = SimpleNamespace(read=lambda: range(400))  # ten of each scene
    places = plan.Plan.places(SimpleNamespace(settings={'limit': 40}), test_set)
    assert [place // 10 for place in places] == list(range(40))
    degrees = Counter(place % 10 for place in places)
    assert len(degrees) == 10
    assert max(degrees.values()) <= 6


def test_large_images_in_tiles_are_said_and_are_figures_of_their_own(options, tmp_path):
    (tmp_path / 'large').mkdir()
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'large/1.png'), cv2.resize(image, (300, 200)))
    options['datasets'] = {'Large': {'type': 'PairedDehazeDataset', 'dataroot_lq': 'large', 'dataroot_gt': 'large'}}
    found = []
    for tile in (0, 128, 'auto'):
        options['report']['tile'] = tile
        report, _ = measure(options)
        found.append((result(report, 'OKDNet', 'Large')['figures']['psnr']['mean'], report['notes']))
    (whole, none), (tiled, notes), (auto, nothing) = found
    assert none == nothing == []
    assert whole == auto != tiled
    assert notes == [
        'OKDNet on Large: 1 of 1 images were restored in tiles of up to 128 px that overlap and share one airlight'
    ]


def test_other_weights_are_measured_again_and_others_are_not(options, monkeypatch):
    measure(options)
    calls = count_calls(monkeypatch)
    weights = {key: value * 0.5 for key, value in build_network(dict(SMALL)).state_dict().items()}
    torch.save({'params_ema': weights}, 'experiments/small/models/net_g_latest.pth')
    report, evaluation = measure(options)
    assert len(calls) == 8 + 4
    assert result(report, 'OKDNet', 'SOTS-indoor')['figures']['psnr']['count'] == 8
    assert len(evaluation.lines()) == 3 * (8 + 4)


def test_several_processes_share_the_images(options):
    this = plan.read(options)
    for rank in (0, 1):
        Evaluation(this, 'shared', rank, 2).run()
    evaluation = Evaluation(this, 'shared')
    report = collect.collect(this, evaluation, 'x')
    alone, _ = measure(options)
    assert len(evaluation.lines()) == 2 * (8 + 4)
    for one, other in zip(report['results'], alone['results'], strict=True):
        assert one['figures'] == other['figures']


def test_a_damaged_image_is_said_and_the_others_are_measured(options, tmp_path, pairs, capsys):
    shutil.copytree(pairs / 'hazy', tmp_path / 'hazy')
    damaged = sorted((tmp_path / 'hazy').iterdir())[3]
    content = damaged.read_bytes()
    damaged.write_bytes(b'?')
    options['datasets']['SOTS-indoor']['dataroot_lq'] = str(tmp_path / 'hazy')
    (tmp_path / 'own.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    assert command.main(['-opt', 'own.yml', '-o', 'report']) == 1
    said = capsys.readouterr()
    assert '2 figures failed, see its notes' in said.out
    assert damaged.name in said.err
    report = json.loads(Path('report/report.json').read_text())
    assert result(report, 'OKDNet', 'SOTS-indoor')['figures']['psnr']['count'] == 7
    assert [note.split(':')[0] for note in report['notes']] == ['hazy input on SOTS-indoor', 'OKDNet on SOTS-indoor']
    assert all(damaged.name in note for note in report['notes'])
    damaged.write_bytes(content)
    report, _ = measure(options)
    assert report['notes'] == []
    assert result(report, 'OKDNet', 'SOTS-indoor')['figures']['psnr']['count'] == 8


def test_an_image_that_one_metric_cannot_take_has_the_others(options, monkeypatch):
    def only_large(img, img2, **_):
        if img.shape[0] < 200:
            raise InputError('too small')
        return 1.0

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_large', only_large)
    options['metrics']['large'] = {'type': 'calculate_large', 'better': 'lower'}
    report, _ = measure(briefly(options))
    assert result(report, 'OKDNet', 'SOTS-indoor')['figures'].keys() == {'psnr', 'ssim'}
    assert report['notes'][0] == 'hazy input on SOTS-indoor: 2_1_0.8: large: too small'


def test_images_that_vanish_meanwhile_are_told_and_the_others_measured(options, tmp_path, pairs):
    for side in ('hazy', 'clear'):
        shutil.copytree(pairs / side, tmp_path / side)
        options['datasets']['SOTS-indoor'][f'dataroot_{"lq" if side == "hazy" else "gt"}'] = str(tmp_path / side)
    this = plan.read(options)
    (tmp_path / 'hazy' / '4_2_0.95.png').unlink()
    (tmp_path / 'clear' / '1.png').unlink()  # of two pairs
    evaluation = Evaluation(this, str(tmp_path / 'report'))
    evaluation.run()
    rows = collect.measured(this, evaluation)['OKDNet', 'SOTS-indoor']
    found = [row['picture'] for row in rows if row.get('figures')]
    assert found == ['2_1_0.8', '2_2_0.95', '3_1_0.8', '3_2_0.95', '4_1_0.8']
    notes = collect.collect(this, evaluation, 'basicsr report')['notes']
    told = [line for line in notes if line.startswith('OKDNet on SOTS-indoor') and 'No such file' in line]
    assert len(told) == 3
    assert all('restore it or take it out' in line for line in told)


@pytest.mark.parametrize(
    'change', ['replaced', *(pytest.param(change, marks=pytest.mark.long) for change in ('more', 'fewer'))]
)
def test_figures_are_of_the_images_that_are_there(options, tmp_path, pairs, change):
    for side in ('hazy', 'clear'):
        shutil.copytree(pairs / side, tmp_path / side)
        options['datasets']['SOTS-indoor'][f'dataroot_{"lq" if side == "hazy" else "gt"}'] = str(tmp_path / side)
    first = sorted((tmp_path / 'hazy').iterdir())[0]
    if change == 'more':
        first.rename(tmp_path / 'aside.png')
    measure(options)
    if change == 'more':
        (tmp_path / 'aside.png').rename(first)
    elif change == 'fewer':
        first.unlink()
    else:
        cv2.imwrite(str(first), cv2.imread(str(first)) // 2)
    report, evaluation = measure(options)
    fresh, _ = measure(options, 'fresh')
    for one, other in zip(report['results'], fresh['results'], strict=True):
        assert (one['figures'], one['best'], one['worst']) == (other['figures'], other['best'], other['worst'])
    this = evaluation.plan
    rows = [line['picture'] for line in collect.measured(this, evaluation)['OKDNet', 'SOTS-indoor']]
    assert rows == [file.stem for file in sorted((tmp_path / 'hazy').iterdir())]


def test_images_of_earlier_weights_come_back_with_their_figures(options):
    first, _ = measure(briefly(options))
    weights = torch.load(WEIGHTS)
    torch.save({'params_ema': {key: value * 0.5 for key, value in weights['params_ema'].items()}}, WEIGHTS)
    second, _ = measure(options)
    torch.save(weights, WEIGHTS)
    third, _ = measure(options)
    strips = [result(report, 'OKDNet', 'SOTS-indoor')['best'][0]['strip'] for report in (first, second, third)]
    assert strips[0] == strips[2] != strips[1]


def test_lost_and_damaged_thumbnails_cost_the_strip_alone(options):
    measure(briefly(options))
    for number, file in enumerate(sorted(Path('report/pictures').glob('*/*.jpg'))):
        file.write_bytes(b'' if number % 2 else file.read_bytes()[:100])
    measure(options)
    shutil.rmtree('report/pictures')
    report, _ = measure(options)
    assert result(report, 'OKDNet', 'SOTS-indoor')['best'][0]['strip'] is None
    assert 'no image' in page.html(report)


@pytest.mark.parametrize('keys', [['params'], ['params', 'params_ema'], []])
def test_weights_are_taken_from_the_file_as_it_is(options, keys):
    weights = build_network(dict(SMALL)).state_dict()
    torch.save(dict.fromkeys(keys, weights) if keys else weights, WEIGHTS)
    del options['methods']['OKDNet']['path']['param_key_g']
    report, _ = measure(briefly(options))
    assert report['methods'][2]['missing'] is None
    assert report['methods'][2]['weights'] == WEIGHTS + (f' ({keys[-1]})' if keys else '')


def test_marks_go_by_the_metric_and_the_protocol_is_its_own(options):
    options['metrics'] = {
        'other name': {'type': 'calculate_ciede2000'},
        'psnr': {'type': 'calculate_psnr'},
        'loe': {'type': 'calculate_loe', 'variant': 'formula', 'reference': 'gt'},
    }
    options['protocol'] = 'y'
    options['datasets']['SOTS-indoor']['resize'] = 64
    report, _ = measure(briefly(options))
    assert report['notes'] == []
    told = {metric['key']: (metric['label'], metric['better']) for metric in report['metrics']}
    assert told['other name'] == ('CIEDE2000', 'lower')
    assert told['loe'] == ('LOE (variant formula, reference gt)', 'lower')
    texts = {metric['key']: metric['protocol'] for metric in report['metrics']}
    assert 'CIELAB of RGB' in texts['other name']
    assert 'luma (Y of YCbCr)' in texts['psnr']
    # The hazy image held against itself is no result.
    assert 'loe' not in result(report, 'hazy input', 'SOTS-indoor')['figures']
    assert 'loe' in result(report, 'OKDNet', 'SOTS-indoor')['figures']


def test_a_network_without_parameters_has_none_and_not_nothing(options):
    options['methods']['DCP'] = {'network_g': {'type': 'DCP'}}
    report, _ = measure(briefly(options))
    row = report['tables'][0]['rows'][-1]
    assert dict(zip(report['tables'][0]['columns'], row['cells'], strict=True))['DCP']['measured'] == 0


def test_weights_of_another_network_are_said(options):
    options['methods']['MSBDN'] = {
        'network_g': SMALL | {'num_feat': 16},
        'path': options['methods']['OKDNet']['path'],
    }
    report, _ = measure(briefly(options))
    assert report['methods'][3]['missing'].startswith(f'weights {WEIGHTS} are not of OKDNet: ')


@pytest.mark.parametrize(
    ('protocol', 'shape', 'luma'), [('rgb', (48, 64), False), ('y', (48, 64), True), ('resize256', (256, 256), False)]
)
def test_the_protocol_is_kept_and_said(options, monkeypatch, protocol, shape, luma):
    seen = []

    def calculate_psnr(img, img2, test_y_channel=False, **_):
        seen.append((img.shape[:2], test_y_channel))
        return math.inf

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_psnr', calculate_psnr)
    del options['metrics']['ssim']
    report, _ = measure(briefly(options) | {'protocol': protocol})
    assert set(seen[1:]) == {(shape, luma)}
    assert plan.PROTOCOLS[protocol] in report['metrics'][0]['protocol']
    assert f'OpenCV {cv2.__version__}' in report['metrics'][0]['protocol']
    assert result(report, 'OKDNet', 'SOTS-indoor')['figures']['psnr'] == {'mean': 'inf', 'count': 1, 'infinite': 1}


def test_a_metric_of_another_plugin_says_which_end_is_better(options, monkeypatch):
    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_own', lambda img, **_: 1.0)
    options['metrics'] = {'own': {'type': 'calculate_own'}}
    with pytest.raises(InputError, match="option metrics:own: 'better' is missing; write which end is better"):
        plan.read(options)
    options['metrics']['own']['better'] = 'lower'
    report, _ = measure(briefly(options))
    assert report['metrics'][0]['better'] == 'lower'


def put(path, value):
    def change(options):
        *levels, last = path.split(':')
        for level in levels:
            options = options[level]
        options[last] = value

    return change


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (put('method', {}), 'option method: nothing reads it .did you mean methods'),
        (put('methods', {}), 'option methods is empty; see options/benchmark.yml'),
        (put('protocol', 'rgbb'), "option protocol is 'rgbb' .did you mean rgb.*; write one of rgb, y, resize256"),
        (put('report:tabels', [1]), 'option report:tabels: nothing reads it .did you mean tables'),
        (put('report:tables', [1, 7]), 'option report:tables:1 is 7; write a whole number from 1 to 4'),
        (put('methods:OKDNet:network', {}), 'option methods:OKDNet:network: .*did you mean network_g'),
        (put('methods:OKDNet:network_g', {'num': 1}), 'option methods:OKDNet:network_g:type is missing'),
        (put('methods:OKDNet:network_g', {'type': 'OKDNte'}), 'did you mean OKDNet'),
        (
            put('methods:OKDNet:network_g:num_feats', 8),
            'methods:OKDNet:network_g:num_feats: OKDNet has no such argument .did you mean num_feat',
        ),
        (put('methods:OKDNet:path:strict_load_g', False), 'methods:OKDNet:path:strict_load_g: nothing reads it'),
        (put('methods:OKDNet:path:pretrain_network', 'x'), 'did you mean pretrain_network_g'),
        (put('report:tables', 1), 'option report:tables is 1; write a list'),
        (
            put('report:images', {'SOTS-indor': {}}),
            'report:images:SOTS-indor: there is no such test set .did you mean SOTS-indoor',
        ),
        (
            put('report:images', {'SOTS-indoor': {'1_1_0.9': None}}),
            'report:images:SOTS-indoor:1_1_0.9: there is no such image .did you mean 1_1_0.8',
        ),
        (
            put('report:images', {'SOTS-indoor': {'1_1_0.8': [40, 0, 32, 32]}}),
            r'1_1_0.8: \[40, 0, 32, 32\] is no part of the image, which is 64 px wide and 48 high',
        ),
        (
            put('report:images', {'SOTS-indoor': {'1_1_0.8': [1, 2]}}),
            r'report:images:SOTS-indoor:1_1_0.8 is \[1, 2\]; write .x, y, width, height',
        ),
        (put('report:images', {'SOTS-indoor': {14001: None}}), 'report:images:SOTS-indoor:14001.*quote'),
        (put('report:cost_size', 64), r'option report:cost_size is 64; write \[height, width\]'),
        (put('report:cost_size', [8, 8]), r'option report:cost_size is \[8, 8\]'),
        (put('report:cost_rounds', 0), 'option report:cost_rounds is 0; write a whole number from 1'),
        (put('report:examples', -1), 'option report:examples is -1'),
        (
            put('metrics:loe', {'type': 'calculate_loe', 'varient': 'wang'}),
            'loe:varient: .*did you mean variant',
        ),
        (put('metrics:psnr:test_y_channel', True), 'test_y_channel contradicts protocol rgb; take it out'),
        (put('datasets:URHI', {'dataroot_lq': 'x'}), 'option datasets:URHI:type is missing'),
        (put('datasets:SOTS-indoor:layout', 'itss'), 'datasets:SOTS-indoor:layout is .*did you mean its'),
        (put('metrics:psnr', 'calculate_psnr'), "option metrics:psnr is 'calculate_psnr'; write a block"),
        (put('metrics:psnr', {'type': 'calculate_pnsr'}), 'did you mean calculate_psnr'),
    ],
)
def test_a_mistake_is_named(options, spoil, message):
    spoil(options)
    with pytest.raises(InputError, match=message):
        plan.read(options)


def test_a_misspelt_argument_of_a_metric_of_basicsr_is_a_warning(options, capsys):
    put('metrics:psnr:cropborder', 1)(options)
    plan.read(options)
    assert 'metrics:psnr:cropborder: nothing is known to read it (did you mean crop_border?)' in capsys.readouterr().err


def test_the_command_writes_all_files_and_goes_on(options, tmp_path, capsys):
    options['datasets']['O-HAZE'] = options['datasets'].pop('SOTS-indoor')
    (tmp_path / 'own.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    assert command.main(['-opt', 'own.yml', '--ablation']) == 0
    folder = tmp_path / 'reports' / 'small'
    report = json.loads((folder / 'report.json').read_text())
    assert [table['title'] for table in report['tables']] == ['Table 4: ablation']
    assert 'OKDNet' in (folder / 'report.md').read_text()
    assert '<html' in (folder / 'report.html').read_text()
    rows = list(csv.DictReader((folder / 'pictures.csv').open()))
    assert len(rows) == 2 * (8 + 4)
    assert rows[0].keys() == {'set', 'picture', 'method', 'psnr', 'ssim', 'network_seconds', 'errors'}
    assert report['command'] == 'basicsr report -opt own.yml --ablation'
    said = capsys.readouterr()
    assert said.out == 'reports/small/report.html: 2 methods on 2 test sets; without figures: DCPDN, MSBDN, EPDN\n'
    assert 'note: time, operations and memory of OKDNet, MSBDN, EPDN are measured at 48x32 px on the cpu' in said.err


def test_a_report_that_another_process_writes_is_left_alone(options, tmp_path):
    lock = Lock(str(tmp_path / 'reports' / 'small'), 'is being written', 'wait')
    with pytest.raises(InputError, match=r'small is being written by process \d+ on'):
        make(options, 'reports/small', 'none', '')
    assert not (tmp_path / 'reports' / 'small').exists()
    lock.release()


def test_the_installed_command_is_found_and_its_mistakes_are_one_line(tmp_path):
    done = basicsr('report', '-opt', 'nowhere.yml', cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == 'basicsr: error: option file nowhere.yml cannot be read: No such file or directory\n'


def test_published_tables_have_a_value_for_every_method():
    for table in TABLES.values():
        assert all(len(row.values) == len(table.methods) for row in table.rows)
    okdnet = [row.values[-1] for row in TABLES[1].rows if row.metric == 'psnr']
    assert okdnet == [30.92, 23.38]


def test_operations_and_memory_of_a_network_are_measured():
    assert cost.gmacs(torch.nn.Conv2d(3, 8, 3, padding=1), (10, 20)) == pytest.approx(3 * 8 * 9 * 200 / 1e9)
    assert cost.gmacs(torch.nn.Identity(), (10, 20)) == 0
    assert 5 < cost.memory_mb(SMALL, (256, 256), 'cpu') < 500


def test_two_processes_make_one_report(options, tmp_path):
    del options['methods']['MSBDN'], options['methods']['EPDN']
    options['datasets'].pop('photographs')
    (tmp_path / 'own.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    done = two_of_basicsr('report', '-opt', 'own.yml', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / 'reports/small/report.json').read_text())
    assert result(report, 'OKDNet', 'SOTS-indoor')['figures']['psnr']['count'] == 8
    shares = [(tmp_path / f'reports/small/figures-{rank}.jsonl').read_text().count('OKDNet') for rank in (0, 1)]
    assert shares == [4, 4]
