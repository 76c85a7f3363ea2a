"""The worked example of CONTRIBUTING.md, followed word by word in a copy of the repository."""

import re
import shlex
import shutil
import sys

import cv2
import numpy as np
import pytest

from conftest import REPOSITORY, run

DOCUMENT = (REPOSITORY / 'CONTRIBUTING.md').read_text(encoding='utf-8')
EXAMPLE = DOCUMENT.split('## Example: a network')[1].split('\n## ')[0]
# A sentence that names a file as its last code, then the block that is the file.
FILES = dict(re.findall(r'is `([\w/]+\.\w+)`[^`]*```(?:python|yaml)\n(.*?)```', EXAMPLE, re.DOTALL))
(COMMAND,) = re.findall(r'```sh\n(.*?)```', EXAMPLE, re.DOTALL)


@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    """The package and the option files with the files of the example, and pictures where its options expect them."""
    root = tmp_path_factory.mktemp('copy')
    for folder in ('okdnet_plugin', 'options'):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns('__pycache__'))
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding='utf-8')
    rng = np.random.default_rng(0)
    for data, hazy_name in {'ITS': '{0}_1_0.9', 'SOTS/indoor': '{0}_1'}.items():
        for scene in range(1, 6):
            for side, name in {'hazy': hazy_name.format(scene), 'clear': str(scene)}.items():
                path = root / 'datasets' / data / side / f'{name}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), rng.integers(0, 256, (72, 80, 3), np.uint8))
    return root


def in_copy(copy, *command):
    # The copy's package stands before the installed one.
    return run(*command, cwd=copy, PYTHONPATH=str(copy))


def test_the_example_is_one_file_one_option_file_and_one_test():
    assert list(FILES) == [
        'okdnet_plugin/archs/smallnet_arch.py',
        'options/smallnet.yml',
        'tests/archs/test_smallnet_arch.py',
    ]
    assert not any((REPOSITORY / path).exists() for path in FILES)


def test_the_network_of_the_example_trains_by_its_command(copy):
    program, *arguments = shlex.split(COMMAND)
    assert program == 'basicsr'
    done = in_copy(copy, sys.executable, '-m', 'okdnet_plugin', *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (copy / 'experiments' / 'SmallNet_ITS' / 'models' / 'net_g_2.pth').is_file()
    assert 'Network [SmallNet] is created' in done.stdout + done.stderr


def test_the_test_of_the_example_passes(copy):
    done = in_copy(copy, sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'tests')
    assert done.returncode == 0, done.stdout + done.stderr
    assert '1 passed' in done.stdout


def test_the_example_keeps_the_house_style(copy):
    files = [copy / path for path in FILES if path.endswith('.py')]
    settings = ('--config', REPOSITORY / 'pyproject.toml', '--no-cache')
    for check in (('check',), ('format', '--check')):
        done = in_copy(copy, sys.executable, '-m', 'ruff', *check, *settings, *files)
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
