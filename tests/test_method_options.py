"""The option files of the three methods of docs/methods.md: right as they are shipped, and run on small images."""

from pathlib import Path

import pytest

from conftest import REPOSITORY, basicsr
from okdnet_plugin import config
from okdnet_plugin.config import check

OPTIONS = REPOSITORY / 'options'
FILES = sorted(path.relative_to(OPTIONS).as_posix() for path in OPTIONS.glob('feature_affinity/*.yml'))
ON_CPU = ['--set', 'num_gpu=0', 'train.total_iter=2', 'datasets.train.num_worker_per_gpu=0', 'val.val_freq=2']


@pytest.mark.parametrize('name', FILES)
def test_shipped_file_has_no_mistake_but_folders_that_are_not_there(name):
    options = config.load(str(OPTIONS / name))
    assert [str(mistake) for mistake in check.check(options, look=False)] == []


def run(name, folder, *settings):
    result = basicsr('train', '-opt', OPTIONS / name, *ON_CPU, *settings, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_student_learns_from_the_teacher_that_its_file_trains(pairs, tmp_path):
    clear = f'{pairs}/clear'
    roots = [f'datasets.train.dataroot_gt={clear}', f'datasets.val.dataroot_gt={clear}']
    run('feature_affinity/teacher.yml', tmp_path, *roots, 'datasets.train.gt_size=32')
    roots += [f'datasets.{phase}.dataroot_lq={pairs}/hazy' for phase in ('train', 'val')]
    roots += [f'datasets.{phase}.layout=its' for phase in ('train', 'val')]
    small = ['datasets.train.resize=[32, 32]', 'datasets.train.batch_size_per_gpu=2', 'logger.print_freq=1']
    run('feature_affinity/aodnet.yml', tmp_path, *roots, *small)
    runs = {path.name for path in (tmp_path / 'experiments').iterdir()}
    assert runs == {'DSCFSRCNN_ITS', 'AODNet_affinity_ITS'}
    journal = Path(tmp_path, 'experiments', 'AODNet_affinity_ITS', 'metrics.jsonl').read_text()
    assert '"l_affinity"' in journal
