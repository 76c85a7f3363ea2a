"""The worked example of CONTRIBUTING.md, followed word by word: a package of its own, installed into a folder."""

import os
import re
import shlex
import sys
import zipfile

import cv2
import numpy as np
import pytest
import yaml

from conftest import REPOSITORY, run, write_options

DOCUMENT = (REPOSITORY / 'CONTRIBUTING.md').read_text(encoding='utf-8')
EXAMPLE = DOCUMENT.split('## Example: a package')[1].split('\n## ')[0]
# A sentence that names a file as its last code, then the block that is the file.
FILES = dict(re.findall(r'is `([\w./]+\.\w+)`[^`]*```(?:python|yaml|toml)\n(.*?)```', EXAMPLE, re.DOTALL))
(COMMANDS,) = re.findall(r'```sh\n(.*?)```', EXAMPLE, re.DOTALL)
OPTIONS = {
    'datasets:train:lamps': (101, 'write a whole number from 0 to 100'),
    'datasets:train:lmaps': (1, 'LampDataset does not read it (did you mean lamps?)'),
    'train:cut_edge': (-1, 'write a number from 0 to 1'),
    'train:cut_egde': (1, 'nothing reads it (did you mean cut_edge?)'),
    'train:pixel_opt:power': (0, 'write a number above 0'),
    'train:pixel_opt:powr': (1, 'EdgeLoss has no such argument (did you mean power?)'),
    'network_g:num_feat': (0, 'write a whole number from 1 to 1024'),
    'val:metrics:contrast:percentile': (50, 'write a number above 0 and below 50'),
    'val:metrics:contrast:percentil': (5, 'calculate_contrast has no such argument (did you mean percentile?)'),
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The files of the example, the package installed beside them, and images where its options expect them."""
    root = tmp_path_factory.mktemp('fog')
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding='utf-8')
    # What `pip install --no-build-isolation .` does, without pip, which an environment need not have.
    build = "from setuptools import build_meta; build_meta.build_wheel('wheels')"
    done = run(sys.executable, '-c', build, cwd=root)
    assert done.returncode == 0, done.stderr
    (wheel,) = (root / 'wheels').glob('*.whl')
    zipfile.ZipFile(wheel).extractall(root / 'installed')
    rng = np.random.default_rng(0)
    for data, hazy_name in {'ITS': '{0}_1_0.9', 'SOTS/indoor': '{0}_1'}.items():
        for scene in range(1, 4):
            for side, name in {'hazy': hazy_name.format(scene), 'clear': str(scene)}.items():
                path = root / 'datasets' / data / side / f'{name}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), rng.integers(0, 256, (48, 40, 3), np.uint8))
    return root


def basicsr(folder, arguments):
    path = os.pathsep.join([str(folder / 'installed'), str(REPOSITORY)])
    return run(sys.executable, '-m', 'okdnet_plugin', *arguments, cwd=folder, PYTHONPATH=path)


def test_the_example_has_one_file_for_each_kind():
    kinds = [path.rpartition('_')[2] for path in FILES if path.startswith('fog_plugin/') and '__' not in path]
    assert kinds == ['arch.py', 'dataset.py', 'loss.py', 'metric.py', 'model.py']


def test_the_commands_of_the_example_install_check_and_train(folder):
    install, *others = [shlex.split(line) for line in COMMANDS.splitlines()]
    assert install[:2] == ['pip', 'install']
    done = [basicsr(folder, arguments) for program, *arguments in others if program == 'basicsr']
    assert [one.returncode for one in done] == [0, 0], done[-1].stderr
    checked, trained = done
    assert checked.stdout == 'fog.yml: right\n'
    assert (
        'warning: option train:scheduler:milestones:0 is 1000, but the training ends at total_iter 2' in trained.stderr
    )
    assert (folder / 'experiments' / 'fog' / 'models' / 'net_g_2.pth').is_file()
    assert '# contrast:' in trained.stdout + trained.stderr


def test_options_of_the_example_are_checked_as_ours_are(folder):
    options = yaml.safe_load(FILES['fog.yml'])
    for key, (value, _) in OPTIONS.items():
        *path, last = key.split(':')
        block = options
        for name in path:
            block = block[name]
        block[last] = value
    write_options(folder / 'wrong.yml', options)
    done = basicsr(folder, ['check', '-opt', 'wrong.yml', '--no-files'])
    assert done.returncode == 2, done.stdout + done.stderr
    for key, (_, message) in OPTIONS.items():
        assert any(f'option {key}' in line and message in line for line in done.stdout.splitlines()), (key, done.stdout)


def test_the_example_keeps_the_house_style(folder):
    files = [folder / path for path in FILES if path.endswith('.py')]
    settings = ('--config', REPOSITORY / 'pyproject.toml', '--no-cache')
    for check in (('check',), ('format', '--check')):
        done = run(sys.executable, '-m', 'ruff', *check, *settings, *files, cwd=folder)
        assert done.returncode == 0, done.stdout


def test_every_room_and_file_that_is_named_exists():
    named = re.findall(r'`((?:okdnet_plugin|tests|options|scripts|typings)/[\w/.]*)`', DOCUMENT)
    missing = [path for path in named if path not in FILES and not (REPOSITORY / path).exists()]
    assert len(named) > 10
    assert missing == []


def test_the_core_of_the_suite_for_other_versions_exists():
    script = (REPOSITORY / 'scripts' / 'test.sh').read_text(encoding='utf-8')
    (core,) = re.findall(r'^core=\((.*?)\)', script, re.MULTILINE)
    assert [path for path in core.split() if not (REPOSITORY / path).exists()] == []


def test_the_oldest_versions_are_older_than_those_of_the_whole_suite():
    pinned = {}
    for name in ('constraints-oldest.txt', 'constraints.txt'):
        lines = (REPOSITORY / name).read_text(encoding='utf-8').splitlines()
        pinned[name] = dict(line.partition(';')[0].split('==') for line in lines if '==' in line)
    oldest, tested = pinned.values()
    both = oldest.keys() & tested.keys()
    assert {'torch', 'torchvision', 'numpy', 'opencv-python'} <= both
    for package in both:
        older, newer = ([int(part) for part in pinned[package].split('.')] for pinned in (oldest, tested))
        assert older <= newer
