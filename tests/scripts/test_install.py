"""scripts/install.py: what it does about the setup.py of basicsr, which reads names that exec made in a function."""

import os
import subprocess
import sys

import pytest

from conftest import load_script

SETUP = """
def version():
    exec(compile("__version__ = '1.4.2'", 'version.py', 'exec'))
    return locals()['__version__']


space = {}
exec('given = 3', space)
exec('own = 4')
print(version(), space['given'], own, __name__)
"""


@pytest.fixture(scope='module')
def script():
    return load_script('scripts/install.py')


def test_exec_in_a_function_makes_names_in_it_and_everywhere_else_does_what_it_did(script, tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(script.SITE)
    (tmp_path / 'setup.py').write_text(SETUP)
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    # As pip runs the setup.py of a source package.
    code = "exec(compile(open('setup.py').read(), 'setup.py', 'exec'))"
    for command in (['setup.py'], ['-c', code]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.stdout == '1.4.2 3 4 __main__\n', done.stderr


@pytest.mark.parametrize('arguments', [['--upgrade', '--constraint', 'c.txt'], ['--nothing']])
def test_arguments_that_contradict_or_do_not_exist_are_refused(script, arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['install.py', *arguments])
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: pytest.fail('nothing is installed'))
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
