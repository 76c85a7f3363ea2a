"""basicsr doctor: its report and exit code, where all is well and where not even the package can be imported."""

import io
import json
import sys
from pathlib import Path

import pytest

from conftest import basicsr, run
from okdnet_plugin.commands import doctor
from okdnet_plugin.commands.doctor import main
from okdnet_plugin.doctor.examination import GROUPS, SELF_TEST, Group
from okdnet_plugin.doctor.finding import ok, warning, wrong

KEYS = {
    'torch',
    'torchvision',
    'basicsr',
    'numpy',
    'lmdb',
    'environment',
    'fits',
    'patch.save_whole_files',
    'gpu',
    'disk',
}


@pytest.fixture
def examined(monkeypatch):
    """Let the examination find something."""

    def make(*findings):
        monkeypatch.setattr(doctor, 'examine', lambda groups: [(GROUPS[0], found) for found in findings])

    return make


def broken(folder: Path, module: str, error: str) -> Path:
    (folder / module).mkdir()
    (folder / module / '__init__.py').write_text(f'raise ImportError({error!r})\n')
    return folder


def test_whole_examination_as_json(tmp_path):
    result = basicsr('doctor', '--json', cwd=tmp_path)
    report = json.loads(result.stdout)
    checks = {check['key']: check for check in report['checks']}
    assert {key.partition('.')[0] if key.startswith('fits') else key for key in checks} >= KEYS
    assert {'self_test.step', 'self_test.save'} <= checks.keys()
    assert next(check['group'] for check in report['checks'] if check['key'] == 'self_test.step') == 'self_test'
    assert report['counts']['ok'] > 35
    assert not [check for check in report['checks'] if check['status'] == 'wrong']
    assert result.returncode == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('findings', 'code'),
    [([ok('a', 'x')], 0), ([ok('a', 'x'), warning('b', 'y')], 0), ([wrong('c', 'z'), ok('a', 'x')], 1)],
)
def test_exit_code_is_1_if_something_is_wrong(findings, code, examined, capsys):
    examined(*findings)
    assert main([]) == code
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line[:2] == '  '] == [[found.status, found.text] for found in findings]


def test_quick_leaves_out_the_self_test_alone(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(doctor, 'examine', lambda groups: asked.append(groups) or [])
    main(['--quick'])
    main([])
    assert asked == [[group for group in GROUPS if group != SELF_TEST], list(GROUPS)]
    assert 'everything works' in capsys.readouterr().out


def test_what_packages_print_does_not_spoil_the_json(monkeypatch, capsys):
    def chatty():
        print('hello from a package')
        yield ok('a', 'x')

    group = Group('a', 'a', '')
    monkeypatch.setattr(Group, 'load', lambda group: chatty)
    monkeypatch.setattr(doctor, 'GROUPS', (group,))
    assert main(['--json']) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)['checks'][0]['key'] == 'a'
    assert 'hello' in printed.err


def test_terminal_without_the_letters_of_an_error_gets_their_numbers(examined, monkeypatch):
    examined(wrong('a', 'Größe: 目录'))
    written = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(written, encoding='ascii'))
    assert main([]) == 1
    assert b'  wrong    Gr\\xf6\\xdfe: \\u76ee\\u5f55' in written.getvalue()


def test_environment_in_which_torch_cannot_be_imported_is_examined(tmp_path):
    module, error, cure = 'torch', 'libcudnn.so.9: cannot open shared object file', 'as one pair'
    place = tmp_path / 'broken'
    place.mkdir()
    environment = {'PYTHONPATH': str(broken(place, module, error))}
    command = (sys.executable, '-m', 'okdnet_plugin', 'doctor', '--quick', '--json')
    result = run(*command, cwd=tmp_path, **environment)
    assert result.returncode == 1, result.stderr
    checks = {check['key']: check for check in json.loads(result.stdout)['checks']}
    assert error in checks[module]['text']
    assert cure in checks[module]['cure']
    assert checks['patches.not_tried']['status'] == 'warning'
    assert {'numpy', 'disk', 'lmdb'} <= checks.keys()


def test_removed_folder_is_one_line(tmp_path):
    command = f'mkdir gone; cd gone; rmdir ../gone; {sys.executable} -m okdnet_plugin doctor'
    result = run('bash', '-c', command, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == 'basicsr: error: the current folder has been removed; change to one that exists\n'


def test_other_commands_point_to_the_doctor_where_the_package_cannot_be_imported(tmp_path):
    environment = {'PYTHONPATH': str(broken(tmp_path, 'torch', 'no library'))}
    result = run(sys.executable, '-m', 'okdnet_plugin', 'train', '-opt', 'x.yml', cwd=tmp_path, **environment)
    assert result.returncode == 1
    assert 'ImportError: no library' in result.stderr
    assert '`basicsr doctor` says what is wrong' in result.stderr
