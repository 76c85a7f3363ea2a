"""What README.md and docs/ say is so: files exist, tables are complete, examples run, links lead somewhere."""

import argparse
import importlib
import re
import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs import build_network
from PIL import Image

from conftest import REPOSITORY
from okdnet_plugin import cli, compat, config
from okdnet_plugin.config import check
from okdnet_plugin.data.layouts import LAYOUTS

PAGES = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding='utf-8')
    for path in (REPOSITORY / 'README.md', REPOSITORY / 'CONTRIBUTING.md', *sorted((REPOSITORY / 'docs').glob('*.md')))
}
ALL = '\n'.join(PAGES.values())


def blocks(language: str) -> list:
    """Code blocks of all pages but CONTRIBUTING.md, which has a test of its own, named by page and number."""
    return [
        pytest.param(block, id=f'{page}-{number}')
        for page, text in PAGES.items()
        if page != 'CONTRIBUTING.md'
        for number, block in enumerate(re.findall(rf'^```{language}\n(.*?)^```', text, re.DOTALL | re.MULTILINE), 1)
    ]


def commands(program: str) -> list:
    """Command lines of all pages that start a program, without their comments."""
    found = {}
    for param in blocks('sh'):
        for line in param.values[0].splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == [program] or (program in words and words[0] in ('srun', 'torchrun')):
                found[' '.join(words[words.index(program) + 1 :])] = words[words.index(program) + 1 :]
    return [pytest.param(words, id=line) for line, words in found.items()]


def test_readme_is_a_front_page_that_leads_to_every_page():
    assert PAGES['README.md'].count('\n') < 200
    linked = set(re.findall(r'\]\((docs/[\w.]+)\)', PAGES['README.md']))
    assert linked == {page for page in PAGES if page.startswith('docs/')}


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_to_files(page):
    folder = (REPOSITORY / page).parent
    targets = [target for target in re.findall(r'\]\(([^)#]+)[^)]*\)', PAGES[page]) if '://' not in target]
    assert [target for target in targets if not (folder / target).exists()] == []


def test_every_file_of_a_command_exists():
    named = {
        *re.findall(r'\b(?:options|scripts)/[\w/]+\.\w+', ALL),
        *re.findall(r'\btests/[\w/]+\.py', ALL),
        'constraints.txt',
    }
    example = PAGES['CONTRIBUTING.md'].split('## Example')[1]
    assert len(named) >= 20
    assert [name for name in named if not (REPOSITORY / name).is_file() and f'`{name}`' not in example] == []


def test_every_shipped_script_and_option_file_is_named():
    shipped = [*(REPOSITORY / 'options').glob('*.*'), *(REPOSITORY / 'scripts').glob('*.*')]
    inner = ('quickstart', 'environment.sh')
    assert [
        path.name for path in shipped if path.name not in ALL and not any(part in path.name for part in inner)
    ] == []
    by_hand = [*(REPOSITORY / 'scripts' / 'benchmark').glob('*.py'), *(REPOSITORY / 'tests' / 'harness').glob('*.py')]
    commands = [path for path in by_hand if not path.name.startswith('test_') and path.name != 'common.py']
    assert len(commands) > 10
    assert [path for path in commands if str(path.relative_to(REPOSITORY)) not in ALL] == []


SCRIPTS = '\n'.join(path.read_text(encoding='utf-8') for path in sorted((REPOSITORY / 'scripts').glob('*.sh')))


@pytest.mark.parametrize(
    'line', sorted(set(re.findall(r'^ *((?:from|import) okdnet_plugin\b.*)$', SCRIPTS, re.MULTILINE)))
)
def test_what_shell_scripts_import_is_there(line):
    exec(line, {})


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_is_listed(layout):
    assert f'`{layout}`' in PAGES['docs/data.md']


def test_patches_are_listed():
    assert {patch.name for patch in compat.PATCHES} == set(re.findall(r'`(\w+)`(?:,| \|)', PAGES['docs/basicsr.md']))


@pytest.mark.parametrize('name', [command.name for command in entry_points(group='basicsr.commands')])
def test_every_command_is_shown(name):
    assert f'basicsr {name}' in ALL


@pytest.mark.parametrize('block', blocks('python'))
def test_python_examples_run(block, tmp_path, monkeypatch):
    """In a folder that holds nothing but the weights that the block opens, with large images made small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, 'openvino', None)  # torch starts sooner
    block = re.sub(r'\b([1-9]\d)0, ([1-9]\d)0\b', r'\1, \2', block)
    for file in re.findall(r"'([\w/]+\.pth)'", block):
        (tmp_path / file).parent.mkdir(parents=True)
        torch.save({'params': build_network({'type': 'OKDNet'}).state_dict()}, tmp_path / file)
    names = {}
    exec(compile(block, 'example', 'exec'), names)
    if 'clear' in names:
        assert (names['clear'].shape, names['clear'].dtype) == (names['hazy'].shape, names['hazy'].dtype)
    if 'branches' in names:
        for field in names['branches']._fields:
            assert field in block


def test_the_example_of_a_cluster_dehazes_every_file(tmp_path, monkeypatch, capsys):
    """Its workers are threads here, which need not import torch anew."""
    (block,) = (block.values[0] for block in blocks('python') if 'dask' in block.values[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, 'openvino', None)  # torch starts sooner
    Path('hazy').mkdir()
    for number in range(3):
        Image.new('RGB', (40, 32), (200, 200, 60 * number)).save(f'hazy/{number}.png')
    in_threads = block.replace('Client(n_workers=2,', 'Client(processes=False, n_workers=2,')
    assert in_threads != block
    exec(compile(in_threads, 'example', 'exec'), {'__name__': '__main__'})
    assert capsys.readouterr().out == '3 images\n'
    for number in range(3):
        with Image.open(f'clear/{number}.png') as clear, Image.open(f'hazy/{number}.png') as hazy:
            assert clear.size == hazy.size
            assert clear.tobytes() != hazy.tobytes()


@pytest.mark.parametrize('block', blocks('yaml'))
def test_yaml_examples_are_right(block, tmp_path):
    """A block that builds on a shipped file is checked as an option file, that of a data set as its part of one."""
    given = yaml.safe_load(block)
    path = REPOSITORY / 'options' / 'okdnet.yml'
    if '_base_' in given:
        file = tmp_path / 'example.yml'
        bases = given['_base_'] if isinstance(given['_base_'], list) else [given['_base_']]
        file.write_text(
            yaml.safe_dump(given | {'_base_': [str(path.parent / base) for base in bases]}), encoding='utf-8'
        )
        options = config.load(str(file))
    else:
        options = config.load(str(path))
        options['datasets']['train'] = {'name': 'Example', 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0} | given
    phase = 'report' if 'methods' in options else 'train'
    mistakes = check.check(options, phase=phase, look=False)
    assert [str(mistake.text) for mistake in mistakes] == []


class _ParsedError(Exception):
    """The arguments of a command have been understood."""


@pytest.mark.parametrize('words', commands('basicsr'))
def test_lines_of_the_command_are_understood(words, monkeypatch):
    """The parser of each sub-command takes the options of each line; nothing is run."""
    name, *arguments = [word for word in words if word not in ('|', '>', 'schema.json')]
    if name in ('-h', '--version'):
        assert cli.main([name, *arguments]) == 0
        return
    if name in ('train', 'test'):
        file = arguments[arguments.index('-opt') + 1]
        assert (REPOSITORY / file).is_file()
        known = ('-opt', '--auto_resume', '--launcher', '--set', '--force_yml', '--debug')
        assert [word for word in arguments if word.startswith('-') and word not in known] == []
        overrides = arguments[arguments.index('--set') + 1 :] if '--set' in arguments else []
        config.load(str(REPOSITORY / file), [word for word in overrides if '=' in word])
        return
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser, args=None, namespace=None):
        parse(parser, args, namespace)
        raise _ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', only_parse)
    (command,) = (command for command in entry_points(group='basicsr.commands') if command.name == name)
    module, function = command.value.split(':')
    with pytest.raises(_ParsedError):
        getattr(importlib.import_module(module), function)(arguments)
