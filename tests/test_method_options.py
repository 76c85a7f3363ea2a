"""The option files of the three methods of docs/methods.md: right as they are shipped, and run on small images."""

import json
from pathlib import Path

import cv2
import pytest

from conftest import REPOSITORY, basicsr
from okdnet_plugin import config
from okdnet_plugin.config import check

OPTIONS = REPOSITORY / 'options'
FILES = sorted(
    path.relative_to(OPTIONS).as_posix()
    for folder in ('feature_affinity', 'depth_guidance', 'progressive')
    for path in OPTIONS.glob(f'{folder}/*.yml')
)
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


def test_depth_of_clear_images_is_learned_first_and_makes_the_haze_then(pairs, tmp_path):
    for phase in ('train', 'test'):
        (tmp_path / 'datasets/NYU' / phase).mkdir(parents=True)
        (tmp_path / 'datasets/NYU' / phase / 'clear').symlink_to(pairs / 'clear')
        (tmp_path / 'datasets/NYU' / phase / 'depth').mkdir()
        for path in (pairs / 'clear').iterdir():
            grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            cv2.imwrite(str(tmp_path / 'datasets/NYU' / phase / 'depth' / path.name), grey)
    small = ['network_g.depth.num_feat=4', 'network_g.depth.growth=4', 'network_g.depth.num_blocks=[1,1,1,1]']
    small += ['network_g.fuse.dim=4', 'datasets.train.resize=32', 'datasets.train.batch_size_per_gpu=2']
    run('depth_guidance/depth.yml', tmp_path, *small)
    run(
        'depth_guidance/joint.yml',
        tmp_path,
        *small,
        'train.depth_iter=1',
        'train.perceptual_opt=~',
        'logger.print_freq=1',
    )
    journal = [json.loads(line) for line in (tmp_path / 'experiments/DGDNet_joint/metrics.jsonl').open()]
    assert [sorted(key for key in line if key.startswith('l_')) for line in journal if 'l_depth' in line] == [
        ['l_depth'],
        ['l_depth', 'l_mutual', 'l_pix'],
    ]
    (last,) = [line for line in journal if 'dataset' in line]
    assert 0 < last['abs_rel'] < 100
    assert 0 <= last['delta'] <= 1
