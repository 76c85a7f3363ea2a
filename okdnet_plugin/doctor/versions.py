"""Versions: what is imported here, the environment as torch describes it, and what `pip check` says of it."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator

from okdnet_plugin.doctor.finding import Finding, ok, one_line, warning, wrong

NEEDED = ('numpy', 'torch', 'torchvision', 'cv2', 'PIL', 'lmdb', 'scipy', 'yaml', 'basicsr')
_PATIENCE = 100  # seconds, for all imports together
# Each is a line of its own, so that after a crash the module at fault is the one behind the last line.
_IMPORT = """
import importlib, json, sys
out, sys.stdout = sys.stdout, sys.stderr  # some packages greet
sys.path[:] = json.loads(sys.argv[1])
import okdnet_plugin
for name in json.loads(sys.argv[2]):
    print(end='\\n' + name + '\\t', file=out, flush=True)
    try:
        module = importlib.import_module(name)
        print(end='ok\\t' + str(getattr(module, '__version__', '')), file=out, flush=True)
    except BaseException as error:
        print(end='error\\t' + ' '.join(f'{type(error).__name__}: {error}'.split()), file=out, flush=True)
"""
_REINSTALL_TORCH = (
    'install torch and torchvision again, as one pair: pip install --force-reinstall torch torchvision, with the '
    '--index-url that https://pytorch.org/get-started/locally gives for your system'
)
# What an error of an import says -> its cure.
_CURES = (
    (
        r'libGL\.so|libgthread|libSM\.so|libXext',
        'OpenCV lacks a system library for its windows: pip install --no-deps --force-reinstall opencv-python-headless',
    ),
    (
        r'_ARRAY_API|numpy\.core\.multiarray|numpy\.dtype size changed|compiled using NumPy 1',
        'a package was built for another NumPy: install it again, or pip install "numpy<2"',
    ),
    (r'torchvision::|libcudnn|libcublas|libcudart|libnccl|libtorch|nvrtc|undefined symbol', _REINSTALL_TORCH),
    (r'GLIBC|GLIBCXX|manylinux', 'the system is older than this build: take an older version, or a newer system'),
    (r'No module named', 'pip install the missing package into this environment; see constraints.txt for versions'),
)


def check() -> Iterator[Finding]:
    """What is needed and can be imported, the environment, and whether the versions fit one another."""
    for name in NEEDED:
        version, error = imports()[name]
        if error is None:
            yield ok(name, f'{name} {version}'.strip(), version=version)
        else:
            yield wrong(name, f'{name} cannot be imported: {error}', _cure_of(error), error=error)
    if imports()['torch'][1] is None:
        yield _environment()
    yield from _misfits()


@functools.cache
def imports() -> dict[str, tuple[str, str | None]]:
    """Version and error (None if there is none) of each of `NEEDED`, imported in a process of its own.

    A library that crashes takes only that process with it.
    """
    command = [sys.executable, '-c', _IMPORT, json.dumps(sys.path), json.dumps(NEEDED)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, errors='replace')
        printed, end = result.stdout, f'the import crashes (exit code {result.returncode})'
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b''
        printed = out if isinstance(out, str) else out.decode(errors='replace')
        end = f'the import does not end within {_PATIENCE} s'
    found: dict[str, tuple[str, str | None]] = {}
    for name in NEEDED:
        line = re.search(rf'^{name}\t(?:(ok|error)\t(.*))?$', printed, re.MULTILINE)
        if line is None:
            found[name] = '', 'it was not tried, as an import before it does not end well'
        elif line[1] is None:
            found[name] = '', end
        else:
            found[name] = (line[2], None) if line[1] == 'ok' else ('', line[2])
    return found


def _cure_of(failure: str) -> str:
    """What helps against an error of an import."""
    for pattern, cure in _CURES:
        if re.search(pattern, failure):
            return cure
    return 'install the package again: pip install --force-reinstall --no-deps NAME==VERSION'


def _environment() -> Finding:
    """The system and the builds, as reports of bugs in torch give them."""
    from torch.utils import collect_env

    try:
        found = collect_env.get_env_info()._asdict()
    except Exception as error:  # it asks many programs of the system
        return warning('environment', f'torch.utils.collect_env fails: {one_line(error)}')
    wanted = ('os', 'libc_version', 'python_version', 'cuda_compiled_version', 'nvidia_driver_version', 'cudnn_version')
    values = {key: found.get(key) for key in wanted}
    text = f'{values["os"]}, Python {str(values["python_version"]).split()[0]}'
    if values['cuda_compiled_version'] not in (None, 'None', 'N/A'):
        text += f', CUDA {values["cuda_compiled_version"]}, driver {values["nvidia_driver_version"] or "none"}'
    return ok('environment', text, **values)


def _misfits() -> Iterator[Finding]:
    """Requirements of installed packages that are not met."""
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check', 'check']
    result = subprocess.run(command, capture_output=True, text=True, errors='replace')
    if result.returncode == 0:
        yield ok('fits', 'their versions fit one another (pip check)')
    elif 'No module named pip' in result.stderr:
        yield ok('fits', 'pip is not installed in this environment: whether the versions fit is not known')
    for line in result.stdout.splitlines() if result.returncode else ():
        package = line.partition(' ')[0]
        yield warning(f'fits.{package}', line, 'pip install the version that it asks for; see constraints.txt')
