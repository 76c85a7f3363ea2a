"""The benchmark of the three methods: every training that it makes has a right option file, and the tables add up."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import load_script, write_options
from okdnet_plugin import config
from okdnet_plugin.config import check
from okdnet_plugin.errors import InputError

methods = load_script('scripts/benchmark/methods.py')
KINDS = {'affinity': methods._affinity(), 'depth': methods._depth(), 'progressive': list(methods._progressive(None))}


@pytest.fixture
def args(tmp_path):
    for side in ('clear', 'depth'):
        (tmp_path / 'data' / 'nyu' / side).mkdir(parents=True)
        for number in range(20):
            shape = (100, 120, 3) if side == 'clear' else (100, 120)
            image = np.full(shape, 10 * number + 20, np.uint8)
            cv2.imwrite(str(tmp_path / 'data' / 'nyu' / side / f'{number:02}.png'), image)
    return methods._parse([str(tmp_path / 'data'), '-o', str(tmp_path / 'out'), '--seeds', '0'])


@pytest.mark.parametrize(('table', 'name'), [(table, kind.name) for table, kinds in KINDS.items() for kind in kinds])
def test_every_training_has_an_option_file_without_mistakes(args, tmp_path, table, name):
    (kind,) = (one for one in KINDS[table] if one.name == name)
    options = methods._options(args, table, kind, 0, 40)
    loaded = config.load(write_options(tmp_path / 'kind.yml', options))
    loaded['train']['total_iter'] = 40  # by --set
    assert [str(one) for one in check.check(loaded, look=False)] == []
    assert loaded['train']['scheduler']['periods'] == [40]
    first = next((one for one in KINDS[table] if one.name == kind.first), None)
    if first is not None:
        assert f'experiments/{methods._name(table, first.name, 0)}/models/net_g_latest.pth' in str(loaded)
    assert isinstance(loaded['train'].get('pre_restore_iter', 0), int)


def test_images_are_made_small_once_and_split(args):
    methods._prepare(args)
    lists = [Path(args.out, f'{name}.txt').read_text().split() for name in ('train', 'val')]
    assert lists[1] == ['00.png', '10.png']
    assert sorted(lists[0] + lists[1]) == [f'{number:02}.png' for number in range(20)]
    assert cv2.imread(str(args.out / 'small' / 'clear' / '03.png')).shape == (80, 96, 3)
    assert cv2.imread(str(args.out / 'small' / 'depth' / '03.png'), cv2.IMREAD_UNCHANGED).shape == (80, 96)


def test_gains_are_against_the_row_that_is_compared_with():
    def runs(*values):
        return [{'steps': 5, 'held/psnr': value} for value in values]

    rows = {'A': runs(10, 11), 'A, progressive': runs(10.5, 12), 'B': runs(20, 20), 'B, progressive': runs(19, 20)}
    lines = methods.table_of('progressive', rows).splitlines()
    assert '+0.50, +1.00' in lines[5]
    assert '-1.00, +0.00' in lines[7]
    assert '| 10.500 |' in lines[4]


def test_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert methods.main([str(tmp_path / 'none'), '-o', str(tmp_path)]) == 2
    assert 'does not exist' in capsys.readouterr().err
    (tmp_path / 'results.json').write_text('{"settings": {}}')
    with pytest.raises(InputError, match='made with other arguments'):
        methods.measure(methods._parse([str(tmp_path), '-o', str(tmp_path)]), 'affinity')


def test_one_super_resolver_teaches_all_seeds_and_has_the_time_of_them_all(args):
    kept = {f'seconds/affinity/{kind.name}': 0.1 if kind.name == 'teacher' else 0.5 for kind in KINDS['affinity']}
    teacher, *students = KINDS['affinity']
    steps = [methods._steps(args, 'affinity', KINDS['affinity'], kind, kept) for kind in KINDS['affinity']]
    assert steps[1] == steps[2] == steps[3]
    assert steps[0] == pytest.approx(15 * steps[1], abs=15)
    options = methods._options(args, 'affinity', students[-1], 2, 40)
    assert f'{methods._name("affinity", teacher.name, 0)}/models' in str(options)
