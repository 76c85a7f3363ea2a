"""What the README says is so: its commands name files that exist, its tables are complete, its code runs."""

import re

import pytest

from conftest import REPOSITORY
from okdnet_plugin import compat
from okdnet_plugin.data.layouts import LAYOUTS

README = (REPOSITORY / 'README.md').read_text(encoding='utf-8')


def blocks(language):
    return re.findall(rf'```{language}\n(.*?)```', README, re.DOTALL)


def test_every_file_of_a_command_exists():
    named = re.findall(r'(?:options|scripts)/\w+\.\w+|constraints\.txt', README)
    assert len(set(named)) >= 6
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


def test_every_shipped_script_and_option_file_is_named():
    shipped = [*(REPOSITORY / 'options').glob('*.yml'), *(REPOSITORY / 'scripts').glob('*.py')]
    assert [path.name for path in shipped if path.name not in README and 'quickstart' not in path.name] == []


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_is_listed(layout):
    assert f'`{layout}`' in README


def test_patches_are_listed():
    listed = re.findall(r'`(\w+)`', README.split('## What is mended')[1].split('## ')[0])
    assert {patch.name for patch in compat.PATCHES} <= set(listed)


def test_python_example_runs():
    (example,) = (block for block in blocks('python') if 'build_network' in block)
    names = {}
    exec(example, names)
    assert names['clear'].shape == names['hazy'].shape
    for field in names['branches']._fields:
        assert field in example
