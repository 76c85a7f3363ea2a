"""A wheel, installed into an environment of its own, dehazes an image with no file of the repository beside it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import cv2
import numpy as np

from conftest import REPOSITORY


def call(*command: object, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    environment |= {'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def build_wheel(folder: Path) -> Path:
    source = folder / 'source'
    shutil.copytree(
        REPOSITORY / 'okdnet_plugin', source / 'okdnet_plugin', ignore=shutil.ignore_patterns('__pycache__')
    )
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(REPOSITORY / name, source)
    call(
        sys.executable, '-c', f'from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})', cwd=source
    )
    shutil.rmtree(source)
    (wheel,) = folder.glob('*.whl')
    return wheel


def test_an_installed_wheel_dehazes_an_image_in_an_empty_folder(tmp_path):
    wheel = build_wheel(tmp_path)
    environment, work = tmp_path / 'environment', tmp_path / 'work'
    venv.create(environment)
    packages = Path(sysconfig.get_path('purelib', vars={'base': str(environment)}))
    with zipfile.ZipFile(wheel) as archive:  # of pure Python: to install it is to unpack it
        archive.extractall(packages)
    others = [path for path in sys.path if 'site-packages' in path]  # without their .pth files, so without this tree
    shim = 'import _distutils_hack; _distutils_hack.add_shim()'  # BasicSR imports it still
    (packages / 'others.pth').write_text('\n'.join([*others, shim]) + '\n')
    python = environment / 'bin' / 'python'
    work.mkdir()

    where = call(python, '-c', 'import okdnet_plugin; print(okdnet_plugin.__file__)', cwd=work)
    assert where.strip().splitlines()[-1].startswith(str(environment))
    hazy = np.full((48, 64, 3), 200, np.uint8)
    hazy[10:30, 10:50] = (140, 150, 160)
    cv2.imwrite(str(work / 'photo.jpg'), hazy)
    said = call(
        python, '-m', 'okdnet_plugin', 'dehaze', '-i', 'photo.jpg', '-o', 'clear.jpg', '--backend', 'eager', cwd=work
    )
    assert 'okdnet.safetensors' in said
    clear = cv2.imread(str(work / 'clear.jpg'))
    assert clear.shape == hazy.shape
    assert np.abs(clear.astype(int) - hazy).mean() > 3
    assert sorted(path.name for path in work.iterdir()) == ['clear.jpg', 'photo.jpg']
