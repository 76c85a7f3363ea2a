"""Install the plugin, with torch and BasicSR, into the environment of the Python that runs this.

    python scripts/install.py                   # the versions that are tested together, constraints.txt
    python scripts/install.py video onnx        # with extras of setup.py; `all` for every one
    python scripts/install.py --editable dev    # the package as it stands in this folder, with the test tools

BasicSR is a source package. It is built without isolation, or pip would download a second torch to build it with. Its
setup.py reads names that `exec` has made in a function, which Python 3.13 and later keep from it (PEP 667): while it is
built, `exec` gives them to it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD_TOOLS = ('numpy', 'setuptools', 'wheel', 'cython')
# `exec` as it was before Python 3.13, in a module that Python imports when it starts.
SITE = """
import builtins
import sys

plain = builtins.exec


def exec_as_before(code, *arguments, **keywords):
    if arguments or keywords:
        return plain(code, *arguments, **keywords)
    caller = sys._getframe(1)
    return plain(code, caller.f_globals, caller.f_locals)


builtins.exec = exec_as_before
"""


def main() -> int:
    arguments = parse()
    pip = [
        sys.executable,
        '-m',
        'pip',
        '--disable-pip-version-check',
        'install',
        *([] if arguments.verbose else ['-q']),
    ]
    if arguments.upgrade:
        pip += ['--upgrade', '--upgrade-strategy', 'eager']
    else:
        pip += ['--constraint', str(arguments.constraint)]
    extras = f'[{",".join(arguments.extras)}]' if arguments.extras else ''
    package = [*(['--editable'] if arguments.editable else []), f'{ROOT}{extras}']
    try:
        say('torch and the build tools (some minutes, about 5 GB on Linux)')
        subprocess.run([*pip, 'torch', 'torchvision', *BUILD_TOOLS], check=True)
        say('basicsr, a build from source, and what it needs')
        build_basicsr(pip)
        say(f'this package{f" with {extras}" if extras else ""}')
        subprocess.run([*pip, '--no-build-isolation', *package], check=True)
        if subprocess.run([sys.executable, '-c', 'import cv2'], stderr=subprocess.DEVNULL).returncode:
            say('OpenCV lacks a system library for its windows (libGL): the same version without windows goes over it')
            subprocess.run([*pip, '--no-deps', '--force-reinstall', 'opencv-python-headless'], check=True)
            subprocess.run([sys.executable, '-c', 'import cv2'], check=True)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('extras', nargs='*', help='extras of setup.py, as video, onnx, mm or all')
    parser.add_argument('--editable', '-e', action='store_true', help='the package as it stands in this folder')
    versions = parser.add_mutually_exclusive_group()
    versions.add_argument('--constraint', type=Path, default=ROOT / 'constraints.txt', help='default: constraints.txt')
    versions.add_argument('--upgrade', action='store_true', help='the newest versions that pip gives, of all packages')
    parser.add_argument('--verbose', '-v', action='store_true', help='what pip says')
    return parser.parse_args()


def build_basicsr(pip: list[str]) -> None:
    """Install basicsr, whose setup.py finds the names that it makes on any version of Python."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, 'sitecustomize.py').write_text(SITE, encoding='utf-8')
        path = os.pathsep.join(filter(None, (folder, os.environ.get('PYTHONPATH'))))
        environment = {**os.environ, 'PYTHONPATH': path} if sys.version_info >= (3, 13) else None
        subprocess.run([*pip, '--no-build-isolation', 'basicsr'], check=True, env=environment)


def say(what: str) -> None:
    print(f'\n== environment: {what}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
