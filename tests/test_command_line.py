"""What BasicSR meets of option files: its parser, its command line, the copy that a run keeps."""

import contextlib
import json
import sys
from pathlib import Path

import pytest
import yaml
from basicsr.utils.options import parse_options

from conftest import basicsr, run, write_options
from okdnet_plugin.compat.command_line import parse, resolved_copy, write_copy
from okdnet_plugin.config import Override, load
from okdnet_plugin.errors import InputError

# BasicSR's own parser, without this plugin: only what makes it import on today's torchvision.
STOCK = """
import importlib, json, sys
name = 'torchvision.transforms.functional_tensor'
sys.modules[name] = importlib.import_module('torchvision.transforms._functional_tensor')
from basicsr.utils.options import parse_options
opt, _ = parse_options('.')
assert not any(module.startswith('okdnet_plugin') for module in sys.modules)
print(json.dumps(opt))
"""
ADDED = {'dist', 'rank', 'world_size', 'auto_resume', 'is_train'}


@pytest.mark.parametrize(
    ('arguments', 'path', 'overrides', 'rest'),
    [
        (['-opt', 'a.yml', '--debug'], 'a.yml', (), ['-opt', 'a.yml', '--debug']),
        (['-opt=a.yml'], 'a.yml', (), ['-opt', 'a.yml']),
        (['-o', 'a.yml'], 'a.yml', (), ['-opt', 'a.yml']),
        ([], None, (), []),
        (['-opt'], None, (), []),
        (
            ['--launcher', 'pytorch', '--local_rank=1', '--auto_resume', '--debug'],
            None,
            (),
            ['--launcher', 'pytorch', '--local_rank=1', '--auto_resume', '--debug'],
        ),
        (
            ['--set', 'a=1', '-opt', 'a.yml', '--force_yml', 'b:c=-1', 'd=2', '--auto_resume', '--set=e=3'],
            'a.yml',
            (('a=1', '--set'), ('b:c=-1', '--force_yml'), ('d=2', '--force_yml'), ('e=3', '--set')),
            ['-opt', 'a.yml', '--auto_resume'],
        ),
        (['--f', 'a=1'], None, (('a=1', '--force_yml'),), []),
        (['--force=a=1'], None, (('a=1', '--force_yml'),), []),
    ],
    ids=str,
)
def test_overrides_are_parted_from_what_basicsr_reads(arguments, path, overrides, rest):
    assert parse(arguments) == (path, overrides, rest)


def test_an_option_without_a_value_stops_as_in_basicsr(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(['--set'])
    assert caught.value.code == 2
    assert 'argument --set: expected at least one argument' in capsys.readouterr().err


@pytest.fixture
def basicsr_parses(write, train_options, monkeypatch):
    """Options as BasicSR's parser returns them for a command line."""

    def parses(*arguments, parse=parse_options):
        write_options(Path('o.yml'), train_options)
        monkeypatch.setattr(sys, 'argv', ['basicsr train', '-opt', 'o.yml', *arguments])
        return parse('.')[0]

    return parses


@pytest.mark.parametrize('option', ['--set', '--force_yml', '--force'])
def test_overrides_reach_the_options_of_basicsr(option, basicsr_parses, capsys):
    opt = basicsr_parses(option, 'train:ema_decay=0.99', 'train:optim_g:betas=[0.5,0.9]', 'manual_seed=7')
    assert opt['train']['ema_decay'] == 0.99
    assert opt['train']['optim_g']['betas'] == [0.5, 0.9]
    assert opt['manual_seed'] == 7
    assert sys.argv[-1] == 'manual_seed=7'  # the run's copy of the option file notes it down


def test_overrides_mean_what_they_mean_to_basicsr_as_released(basicsr_parses, train_options, tmp_path):
    given = [
        'train:ema_decay=0.99',
        'train:total_iter=300000',
        'train:optim_g:betas=[0.9, 0.99]',
        'train:scheduler:milestones=[1, 2]',
        'path:resume_state=~',
        'datasets:train:use_rot=False',
        'datasets:train:use_hflip=true',
        'val:val_freq=!!float 5e3',
        'name=other',
    ]
    ours = basicsr_parses('--force_yml', *given)
    stock = run(sys.executable, '-c', STOCK, '-opt', 'o.yml', '--force_yml', *given, cwd=tmp_path)
    assert stock.returncode == 0, stock.stderr
    assert json.loads(stock.stdout.splitlines()[-1]) == json.loads(json.dumps(ours))


@pytest.mark.parametrize('option', ['--set', '--force_yml', '--force'])
@pytest.mark.parametrize(
    'text', ['name=__import__("os").mkdir("made")', 'x"];__import__("os").mkdir("made")#=1', 'name=[open("made","w")]']
)
def test_no_override_is_run_as_python(option, text, basicsr_parses, tmp_path):
    with contextlib.suppress(InputError):
        basicsr_parses(option, text)
    assert not (tmp_path / 'made').exists()


def test_a_file_that_needs_nothing_is_kept_as_it_is(write):
    with resolved_copy(write('a.yml', '# mine\na: 1  # one\n')) as copy:
        assert Path(copy).read_text() == '# mine\na: 1  # one\n'


@pytest.mark.parametrize(
    ('text', 'overrides'),
    [
        ('_base_: base.yml\n', []),
        ('x: {_delete_: true}\n', []),
        ('a: ${b}\nb: 1e-05\n', []),
        ('a: $${b}\n', []),
        ('a: &a {b: 1}\nc: {<<: *a}\n', []),
        ('a: 1\n', [Override('a=1e-5')]),
        ('a: Größe 夜\n', [Override('b=~')]),
        ('a: "yes"\nb: 2020-01-02\nc: "1"\nd: !!float 1e-7\ne: "two\\nlines"\n', [Override('f=1')]),
    ],
)
def test_any_other_is_written_so_that_plain_yaml_reads_the_same(write, text, overrides):
    write('base.yml', 'a: 1\n')
    with resolved_copy(write('a.yml', text), overrides) as copy:
        content = Path(copy).read_text(encoding='utf-8')
    assert yaml.safe_load(content) == load('a.yml', overrides)
    assert '<<' not in content
    assert '&' not in content


def test_the_command_in_the_copy_stays_a_comment(write, monkeypatch, tmp_path):
    path = write('a.yml', 'a: 1\n')
    monkeypatch.setattr(sys, 'argv', ['basicsr train', '-opt', path, '--set', 'a=x\nb'])
    write_copy(path, str(tmp_path.parent))
    copy = (tmp_path.parent / 'a.yml').read_text()
    assert '\n# basicsr train -opt a.yml --set a=x b\n' in copy
    assert set(yaml.safe_load(copy)) == {'a'}
    assert sys.argv[-1] == 'a=x\nb'


def test_a_run_keeps_a_copy_that_says_all_and_basicsr_alone_reads_it(tmp_path, train_options):
    network = train_options.pop('network_g')
    write_options(tmp_path / 'base.yml', train_options)
    own = {'_base_': 'base.yml', 'network_g': network, 'name': 'built_${manual_seed}'}
    (tmp_path / 'own.yml').write_text(yaml.safe_dump(own))
    overrides = ['--set', 'train.total_iter=1', 'train.scheduler.milestones=[]', '--force_yml', 'manual_seed=3']
    result = basicsr('train', '-opt', 'own.yml', *overrides, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    kept = tmp_path / 'experiments/built_3/own.yml'
    said = train_options | {'network_g': network, 'name': 'built_3', 'manual_seed': 3}
    said['train']['total_iter'] = 1
    said['train']['scheduler']['milestones'] = []
    assert yaml.safe_load(kept.read_text()) == said
    assert '--set train.total_iter=1' in kept.read_text()
    stock = run(sys.executable, '-c', STOCK, '-opt', kept, cwd=tmp_path)
    assert stock.returncode == 0, stock.stderr
    read = json.loads(stock.stdout.splitlines()[-1])
    assert read['train'] == said['train']
    assert read.keys() == said.keys() | ADDED
