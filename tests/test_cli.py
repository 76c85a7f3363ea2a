"""The command: what it finds, what it hands over, and what it says of mistakes."""

import errno
import json
import os
import subprocess
import sys
import threading
from importlib.metadata import entry_points, version

import cv2
import numpy as np
import pytest
import torch
import torch.distributed

from conftest import basicsr, run, write_options
from okdnet_plugin import __version__, cli, plugins


@pytest.fixture(autouse=True)
def _own_argv(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['basicsr'])


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Install a package of one module, with entry points, for the length of a test."""

    def install(name, code, entry_points):
        (tmp_path / f'{name}.py').write_text(code)
        info = tmp_path / f'{name}-2.5.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 2.5\n')
        (info / 'entry_points.txt').write_text(entry_points)

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    for path in tmp_path.glob('*.py'):
        sys.modules.pop(path.stem, None)


def test_help_says_in_a_line_what_each_command_does_and_names_the_plugins(capsys):
    assert cli.main(['-h']) == 0
    printed = capsys.readouterr().out
    assert '\n  train    train what an option file describes' in printed
    assert '\n  dehaze   remove the haze from images and videos\n' in printed
    assert f'okdnet (okdnet_plugin {__version__})' in printed
    rows = [line.split(maxsplit=1) for line in printed.partition('commands:\n')[2].partition('\n\n')[0].splitlines()]
    own = entry_points(group='basicsr.commands')
    assert {'train', 'test', *own.names} == {name for name, *_ in rows}
    assert all(len(row) == 2 and 'okdnet_plugin' not in row[1] for row in rows)


def test_versions_are_said_without_an_import(capsys):
    assert cli.main(['--version']) == 0
    assert capsys.readouterr().out.startswith(f'okdnet_plugin {__version__}, basicsr 1.4.2, torch {version("torch")}, ')


HEAVY = ('basicsr', 'cv2', 'lmdb', 'numpy', 'pydantic', 'scipy', 'torch')
_HELP = """
import contextlib, io, json, sys
from okdnet_plugin.cli import main
imported = {}
for arguments in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(arguments)
    heavy = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
    imported[' '.join(arguments)] = [out.getvalue().split()[:2], heavy]
print(json.dumps(imported))
"""


def test_help_of_every_command_imports_nothing_heavy(tmp_path):
    names = ['train', 'test', *(entry.name for entry in entry_points(group='basicsr.commands'))]
    asked = [['-h'], ['--version'], *([name, '-h'] for name in names), ['lmdb', 'build', '-h']]
    result = run(sys.executable, '-c', _HELP, json.dumps(asked), json.dumps(HEAVY), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    imported = json.loads(result.stdout)
    assert len(imported) == len(asked) > 10
    for arguments, (words, heavy) in imported.items():
        assert heavy == [], arguments
        assert words == (['okdnet_plugin', f'{__version__},'] if arguments == '--version' else ['usage:', 'basicsr'])


def test_lists_in_the_help_are_those_of_the_code():
    from okdnet_plugin.commands import dehaze, lmdb
    from okdnet_plugin.data.lmdb_store import ENCODINGS
    from okdnet_plugin.inference.images.writing import KINDS

    assert tuple(ENCODINGS) == lmdb.ENCODINGS
    assert {f'.{name}' for name in dehaze._FORMATS} <= set(KINDS)


def test_arguments_of_train_that_are_wrong_end_it_before_plugins_are_loaded(monkeypatch, capsys):
    monkeypatch.setattr(cli, 'load_plugins', lambda: raises(AssertionError('loaded')))
    for arguments, complaint in (([], '-opt'), (['-opt', 'a.yml', '--launcher', 'mpi'], "invalid choice: 'mpi'")):
        with pytest.raises(SystemExit, match='2'):
            cli.main(['train', *arguments])
        assert complaint in capsys.readouterr().err
    with pytest.raises(SystemExit, match='0'):
        cli.main(['train', '-h'])
    assert '--set KEY.KEY=VALUE' in capsys.readouterr().out


@pytest.mark.parametrize('key', ['train.pixel_opt', 'train:pixel_opt', 'datasets:train', 'datasets.val_2.layout'])
def test_keys_are_listed_by_dots_and_by_colons(key, capsys):
    assert cli.main(['options', key]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.split()[0].rstrip('*').startswith(key.replace('.', ':')) for line in lines)
    assert all(line.startswith(key.replace('.', ':')) for line in lines)
    if key == 'datasets:train':
        assert any(line.startswith('datasets:train:dataroot_lq') for line in lines)


def test_no_command_prints_the_help_and_fails(capsys):
    assert cli.main([]) == 2
    assert 'usage: basicsr' in capsys.readouterr().out


def test_unknown_command_gets_the_near_one(capsys):
    assert cli.main(['trian', '-opt', 'x.yml']) == 2
    message = "basicsr: error: no command 'trian' (did you mean train?); there are train, test, "
    assert capsys.readouterr().err.startswith(message)


def test_further_command_comes_from_an_entry_point(distribution, capsys):
    distribution(
        'more_commands',
        '"""basicsr more: do more of it."""\ndef main(arguments):\n    print(arguments)\n    return 3\n',
        '[basicsr.commands]\nmore = more_commands:main\n',
    )
    assert cli.main(['more', '--much', '1']) == 3
    assert capsys.readouterr().out == "['--much', '1']\n"
    cli.main(['-h'])
    assert '\n  more     do more of it (more_commands 2.5)\n' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('code', 'said'),
    [('"""A line.\n\nMore."""\n', ' A line'), ('import not_there\n', ''), ('def broken(:\n', '')],
    ids=['other form', 'without docstring', 'broken'],
)
def test_module_of_a_command_is_read_and_not_imported_for_the_help(code, said, distribution, capsys):
    distribution('more_commands', code + 'raise AssertionError\n', '[basicsr.commands]\nmore = more_commands:main\n')
    assert cli.main(['-h']) == 0
    assert f'\n  more    {said} (more_commands 2.5)\n' in capsys.readouterr().out
    assert 'more_commands' not in sys.modules


def test_other_plugin_is_registered(distribution):
    distribution(
        'other_plugin',
        'calls = []\ndef register():\n    calls.append(1)\n',
        '[basicsr.plugins]\nother = other_plugin:register\n',
    )
    assert 'other (other_plugin 2.5)' in plugins.load_plugins()
    assert sys.modules['other_plugin'].calls == [1]


def test_plugin_that_fails_to_import_stops_the_command_and_is_named(distribution, tmp_path, capsys, train_options):
    distribution('broken_plugin', 'import not_there\n', '[basicsr.plugins]\nbroken = broken_plugin:register\n')
    assert cli.main(['train', '-opt', write_options(tmp_path / 'o.yml', train_options)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        'basicsr: error: plugin broken (broken_plugin 2.5) cannot be loaded from broken_plugin:register: '
        "ModuleNotFoundError: No module named 'not_there'"
    )
    assert not (tmp_path / 'experiments').exists()


@pytest.mark.parametrize('given', [['-opt', '{}'], ['-opt={}']], ids=' '.join)
def test_missing_option_file_gets_the_near_one(given, tmp_path, capsys):
    (tmp_path / 'okdnet.yml').touch()
    assert cli.main(['train', *(part.format(tmp_path / 'okdnet.yaml') for part in given)]) == 2
    assert capsys.readouterr().err == (
        f'basicsr: error: option file {tmp_path}/okdnet.yaml cannot be read: No such file or directory '
        '(did you mean okdnet.yml?)\n'
    )


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [
        ('name: [1\nmodel: 2', 'o.yml:2 is not valid YAML'),
        ('', 'holds no keys'),
        ('- a', 'holds no keys'),
        ('\0', 'has the control character'),
    ],
    ids=['syntax', 'empty', 'list', 'binary'],
)
def test_option_file_that_is_none_is_named(text, complaint, tmp_path, capsys):
    (tmp_path / 'o.yml').write_text(text)
    assert cli.main(['train', '-opt', str(tmp_path / 'o.yml')]) == 2
    printed = capsys.readouterr().err
    assert complaint in printed
    assert f'option file {tmp_path}/o.yml' in printed
    assert printed.count('\n') == 1


def test_path_that_is_a_list_is_one_line(tmp_path, capsys, train_options):
    train_options['datasets']['val']['dataroot_lq'] = ['a']
    assert cli.main(['test', '-opt', write_options(tmp_path / 'o.yml', train_options)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'basicsr: error: {tmp_path}/o.yml:')
    assert line.endswith(': option datasets:val:dataroot_lq is [a]; write one path (quote numbers)')


def test_all_mistakes_of_file_and_command_line_are_told_with_their_places(tmp_path, capsys, train_options):
    train_options['train']['total_itr'] = 4
    given = write_options(tmp_path / 'o.yml', train_options)
    assert cli.main(['train', '-opt', given, '--set', 'train.ema_deca=0.9']) == 2
    printed = capsys.readouterr().err
    assert f'{given}:' in printed
    assert 'option train:total_itr: nothing reads it (did you mean total_iter?)' in printed
    printed = printed.splitlines()
    assert any(line.strip().startswith('--set train.ema_deca: option train:ema_deca') for line in printed)


def test_a_value_of_the_wrong_type_is_refused_by_its_override(tmp_path, capsys, train_options):
    given = write_options(tmp_path / 'o.yml', train_options)
    assert cli.main(['train', '-opt', given, '--force_yml', 'train:optim_g:lr=fast']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('basicsr: error: --force_yml train:optim_g:lr: ')
    assert not (tmp_path / 'experiments').exists()


@pytest.mark.parametrize('variable', ['LOCAL_RANK', 'SLURM_LOCALID'])
def test_of_several_processes_of_a_machine_the_first_says_what_is_wrong(
    variable, tmp_path, capsys, train_options, monkeypatch
):
    train_options['train']['total_itr'] = 4
    given = write_options(tmp_path / 'o.yml', train_options)
    for other in ('LOCAL_RANK', 'SLURM_LOCALID'):  # a test before may have set one for good
        monkeypatch.delenv(other, raising=False)
    printed = []
    for rank in range(2):
        monkeypatch.setenv(variable, str(rank))
        assert cli.main(['train', '-opt', given]) == 2
        printed.append(capsys.readouterr().err)
    assert 'total_itr' in printed[0]
    assert printed[1] == ''


def test_data_set_without_name_leaves_no_folder(tmp_path, train_options):
    train_options['datasets']['val'] |= {'type': 'PairedImageDataset'}
    for key in ('name', 'layout'):
        del train_options['datasets']['val'][key]
    result = basicsr('train', '-opt', write_options(tmp_path / 'o.yml', train_options), cwd=tmp_path)
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f'basicsr: error: {tmp_path}/o.yml:')
    assert ': option datasets:val:name is missing; add ' in line
    assert not (tmp_path / 'experiments').exists()


@pytest.mark.parametrize(
    ('launched', 'expected'),
    [
        (['train', '-opt', 'a.yml'], ('train', ['-opt', 'a.yml'])),
        (['--local-rank=1', 'train', '-opt', 'a.yml'], ('train', ['-opt', 'a.yml', '--local-rank=1'])),
        ([], (None, [])),
    ],
)
def test_rank_of_an_old_launcher_may_stand_in_front(launched, expected):
    assert cli._split(launched) == expected


def test_unknown_network_gets_near_names_and_the_plugins_in_one_line(tmp_path, train_options):
    train_options['network_g']['type'] = 'OKDNett'
    result = basicsr('train', '-opt', write_options(tmp_path / 'o.yml', train_options), cwd=tmp_path)
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f'basicsr: error: {tmp_path}/o.yml:')
    assert "option network_g:type: no object named 'OKDNett' " in line
    assert line.endswith(f' (did you mean OKDNet or AODNet?); plugins loaded: okdnet (okdnet_plugin {__version__})')
    assert 'Traceback' not in result.stderr


def test_bad_image_of_a_test_is_named_when_all_others_are_done(tmp_path, train_options):
    photos = tmp_path / 'photos'
    photos.mkdir()
    for name, height in {'a': 32, 'b': 1, 'c': 32}.items():
        cv2.imwrite(str(photos / f'{name}.png'), np.full((height, 32, 3), 100, np.uint8))
    block = {'type': 'SingleDehazeDataset', 'dataroot_lq': str(photos), 'io_backend': {'type': 'disk'}}
    train_options['datasets'] = {'test_1': block | {'name': 'First'}, 'test_2': block | {'name': 'Second'}}
    result = basicsr('test', '-opt', write_options(tmp_path / 'o.yml', train_options), cwd=tmp_path)
    assert result.returncode == 2
    (line,) = (line for line in result.stderr.splitlines() if line.startswith('basicsr: error: '))
    assert line.startswith(f'basicsr: error: phase test, data set First: {photos}/b.png is 1x32 ')
    assert line.endswith('(2 such images, named in the log, are left out; the others are done)')
    assert 'Traceback' not in result.stderr
    results = (tmp_path / 'results' / 'small' / 'visualization').glob('*/*.png')
    assert sorted(f'{path.parent.name}/{path.name[0]}' for path in results) == [
        'First/a',
        'First/c',
        'Second/a',
        'Second/c',
    ]


@pytest.mark.parametrize('workers', [0, 1])
def test_unreadable_image_gets_one_line_from_any_process(workers, tmp_path, train_options, pairs):
    hazy = tmp_path / 'hazy'
    hazy.mkdir()
    for path in (pairs / 'hazy').iterdir():
        (hazy / path.name).write_bytes(path.read_bytes()[:200])
    train_options['datasets']['train'].update(dataroot_lq=str(hazy), num_worker_per_gpu=workers)
    result = basicsr('train', '-opt', write_options(tmp_path / 'o.yml', train_options), cwd=tmp_path)
    assert result.returncode == 2
    (line,) = (line for line in result.stderr.splitlines() if line.startswith('basicsr: error: '))
    assert line.startswith(f'basicsr: error: phase train, data set Pairs: {hazy}/')
    assert 'cannot be decoded' in line
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    ('unbuffered', 'arguments'),
    [
        ('', ['-h']),
        ('1', ['check', '-opt', 'missing.yml']),
        *(pytest.param(*more, marks=pytest.mark.long) for more in (('1', ['-h']), ('', ['lmdb', '-h']))),
    ],
)
def test_reader_that_goes_ends_the_command_quietly(unbuffered, arguments, tmp_path):
    env = os.environ | {'PYTHONUNBUFFERED': unbuffered}
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, 'wb') as gone:
        command = [sys.executable, '-m', 'okdnet_plugin', *arguments]
        result = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=env)
    assert (result.returncode, result.stderr) == (141, '')


def test_broken_pipe_of_something_else_is_an_error(monkeypatch):
    monkeypatch.setattr(cli, '_run', lambda *_: raises(BrokenPipeError('a worker')))
    with pytest.raises(BrokenPipeError, match='a worker'):
        cli.main(['options'])


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(cli, '_run', lambda *_: raises(KeyboardInterrupt()))
    assert cli.main(['options']) == 130
    assert capsys.readouterr().err == 'basicsr: error: stopped by Ctrl-C\n'


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (OSError(errno.EIO, 'Input/output error', 'runs/o.yml'), 'runs/o.yml cannot be used: Input/output error'),
        (OSError(errno.EDQUOT, 'Disk quota exceeded', b'runs/o.yml'), 'runs/o.yml cannot be used: Disk quota exceeded'),
        (PermissionError(errno.EACCES, 'Permission denied', 'runs'), 'runs cannot be used: Permission denied'),
        (FileNotFoundError(errno.ENOENT, 'No such file or directory', 'a\nb'), "'a\\nb' cannot be used: No such file"),
        (MemoryError(), 'not enough memory (MemoryError)'),
        (RuntimeError("can't start new thread"), "not enough memory (can't start new thread)"),
    ],
)
def test_what_the_system_refuses_is_one_line(error, said, monkeypatch, capsys):
    monkeypatch.setattr(cli, '_run', lambda *_: raises(error))
    assert cli.main(['options']) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'basicsr: error: {said}')


def test_another_process_that_has_ended_is_one_line(monkeypatch, capsys, tmp_path):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/meeting', rank=0, world_size=1)
    try:
        gone = RuntimeError('[/pytorch/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:2')
        monkeypatch.setattr(cli, '_run', lambda *_: raises(gone))
        assert cli.main(['train']) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith('basicsr: error: another process of this run has ended, or does not answer')
        monkeypatch.setattr(cli, '_run', lambda *_: raises(RuntimeError('a bug')))
        with pytest.raises(RuntimeError, match='a bug'):
            cli.main(['train'])
    finally:
        torch.distributed.destroy_process_group()


def test_thread_whose_disk_is_full_ends_in_one_line(monkeypatch, capsys):
    def run(*_):
        thread = threading.Thread(target=raises, args=(OSError(errno.ENOSPC, 'No space left on device', 'events'),))
        thread.start()
        thread.join()
        return 0

    monkeypatch.setattr(cli, '_run', run)
    assert cli.main(['options']) == 0
    assert capsys.readouterr().err == "basicsr: warning: [Errno 28] No space left on device: 'events'\n"


def raises(error):
    raise error
