"""Which packages there are, whether they can be imported, and whether their versions fit one another."""

import functools
import importlib
import importlib.util
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, metadata, requires, version

from okdnet_plugin.doctor.finding import Finding, ok, one_line, warning, wrong

OWN = 'okdnet_plugin'
_OPENCV = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless')
# Module -> names under which pip knows it.
_NEEDED = {
    'torch': ('torch',),
    'torchvision': ('torchvision',),
    'basicsr': ('basicsr',),
    'numpy': ('numpy',),
    'cv2': _OPENCV,
    'PIL': ('Pillow',),
    'lmdb': ('lmdb',),
    'scipy': ('scipy',),
    'yaml': ('PyYAML',),
}
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


@functools.cache
def import_failure(module: str) -> str | None:
    """Why a module cannot be imported; None if it can.

    A module that is not imported yet is tried in a process of its own: what failed half-way once fails otherwise the
    second time, and a library that crashes takes only that process with it.
    """
    if module in sys.modules:
        return None
    if importlib.util.find_spec(module) is None:
        return f"ModuleNotFoundError: No module named '{module}'"
    if module == 'basicsr':  # only this package makes it importable
        module = f'{OWN}.compat, basicsr'
    try:
        code = f'import sys; sys.path[:] = {sys.path!r}; import {module}'
        result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return 'the import does not end'
    if result.returncode == 0:
        return None
    if result.returncode < 0:
        return f'the import crashes (signal {-result.returncode})'
    lines = [line for line in result.stderr.splitlines() if re.match(r'\w[\w.]*(Error|Exception|Exit)\b', line)]
    return (lines or result.stderr.split('\n') or ['no message'])[-1]


def cure_of(failure: str) -> str:
    """What helps against an error of an import."""
    for pattern, cure in _CURES:
        if re.search(pattern, failure):
            return cure
    return 'install the package again: pip install --force-reinstall --no-deps NAME==VERSION'


def check_versions() -> Iterator[Finding]:
    """Python, the packages that are needed, and whether they fit."""
    yield _python()
    yield ok('platform', f'{platform.system()} {platform.release()}, {platform.machine()}', system=platform.platform())
    yield _own()
    for module, names in _NEEDED.items():
        yield _package(module, names)
    yield from _opencv_twice()
    yield from _misfits()
    if not import_failure('torch') and not import_failure('numpy'):
        yield _bridge()


def _python() -> Finding:
    supported, found = _metadata('Requires-Python'), platform.python_version()
    text = f'Python {found}'
    if supported and not _fits(found, supported[0]):
        cure = f'make an environment with Python {supported[0]}: PYTHON=/path/to/python bash scripts/quickstart.sh'
        return warning('python', f'{text} is outside of {supported[0]}, which is supported', cure, version=found)
    return ok('python', text, version=found)


def _own() -> Finding:
    try:
        return ok(OWN, f'{OWN} {version(OWN)}', version=version(OWN))
    except PackageNotFoundError:
        text = f'{OWN} is not installed: it is imported from a folder, and `basicsr` finds no plugin and no command'
        return wrong(OWN, text, 'pip install -e . in its repository')


def _package(module: str, names: tuple[str, ...]) -> Finding:
    installed = _installed(names)
    name, known = next(iter(installed.items()), (names[0], None))
    failure = import_failure(module)
    if failure:
        text = f'{name} {known} cannot be imported: {failure}' if known else f'{name} is not installed'
        cure = cure_of(failure) if known else f'pip install -c constraints.txt {name}'
        return wrong(name, text, cure, version=known, error=failure)
    loaded = sys.modules.get(module) or importlib.import_module(module)
    found = getattr(loaded, '__version__', None) or known
    if known and found and not _same(found, known):
        text = f'{name}: pip says {known}, but what is imported is {found}'
        return warning(name, text, f'pip install --force-reinstall --no-deps {name}=={known}', version=found)
    return ok(name, f'{name} {found}', version=found)


def _same(found: str, known: str) -> bool:
    """Whether two versions are one, whatever build they name; OpenCV counts its packages by a fourth number."""
    numbers = [re.findall(r'\d+', text.partition('+')[0])[:3] for text in (found, known)]
    return numbers[0] == numbers[1]


def _opencv_twice() -> Iterator[Finding]:
    installed = _installed(_OPENCV)
    if len(set(installed.values())) > 1:
        listed = ' and '.join(f'{name} {number}' for name, number in installed.items())
        yield warning(
            'opencv.twice',
            f'{listed} lie in one folder and overwrite one another',
            f'pip uninstall -y {" ".join(installed)}, then pip install -c constraints.txt opencv-python',
        )


def _misfits() -> Iterator[Finding]:
    """Requirements of the packages that are not met, as `pip check` finds them."""
    if importlib.util.find_spec('packaging') is None:
        yield warning('fits', 'whether versions fit is not looked at: packaging is missing', 'pip install packaging')
        return
    names = [name for group in _NEEDED.values() for name in _installed(group)]
    found = [finding for name in (OWN, *names) for finding in _misfits_of(name)]
    yield from found or [ok('fits', 'their versions fit one another')]


def _misfits_of(name: str) -> Iterator[Finding]:
    for requirement in _requirements(name, extra=''):
        wanted = f'{requirement.name}{requirement.specifier}'
        is_opencv = requirement.name in _OPENCV
        installed = _installed(_OPENCV if is_opencv else (requirement.name,))
        key = f'fits.{name}.{requirement.name}'
        if not installed:
            yield warning(key, f'{name} needs {wanted}, which is not installed', f'pip install "{wanted}"')
        elif not any(_fits(number, str(requirement.specifier)) for number in installed.values()):
            other, number = next(iter(installed.items()))
            text = f'{name} {_installed((name,)).get(name, "")} needs {wanted}, but {other} {number} is installed'
            if requirement.name == 'torch' and name == 'torchvision':
                yield wrong(key, text, _REINSTALL_TORCH)
            else:
                yield warning(key, text, f'pip install "{wanted}"')


def _bridge() -> Finding:
    """Torch that was built for another NumPy imports, warns, and fails when it is given an array."""
    import numpy as np
    import torch

    try:
        same = torch.from_numpy(np.arange(3)).numpy().tolist() == [0, 1, 2]
    except Exception as error:
        text = f'torch {torch.__version__} does not work with NumPy {np.__version__}: {one_line(error)}'
        return wrong('torch.numpy', text, 'pip install "numpy<2", or a newer torch and torchvision')
    if not same:
        return wrong('torch.numpy', 'torch reads wrong values from an array of NumPy', _REINSTALL_TORCH)
    return ok('torch.numpy', 'torch and NumPy hand arrays to one another')


def check_extras() -> Iterator[Finding]:
    """Each extra of this package: what of it is there, and the line that adds the rest."""
    if importlib.util.find_spec('packaging') is None:
        yield warning('extras', 'not looked at: packaging is missing', 'pip install packaging')
        return
    plain = {requirement.name for requirement in _requirements(OWN, extra='')}
    for extra in _metadata('Provides-Extra'):
        wanted = [requirement for requirement in _requirements(OWN, extra) if requirement.name not in plain]
        states = {requirement.name: _installed((requirement.name,)).get(requirement.name) for requirement in wanted}
        unfit = [
            f'{requirement.name} {number} (needs {requirement.specifier})'
            for requirement in wanted
            if (number := states[requirement.name]) and not _fits(number, str(requirement.specifier))
        ]
        missing = [name for name, number in states.items() if not number]
        line = f"pip install '{OWN}[{extra}]'"
        key = f'extra.{extra}'
        if unfit:
            yield warning(key, f'[{extra}]: {", ".join(unfit)}', line, packages=states)
        elif missing:
            yield ok(key, f'[{extra}]: without {", ".join(missing)}; {line} adds it', packages=states)
        else:
            listed = ', '.join(f'{name} {number}' for name, number in states.items())
            yield ok(key, f'[{extra}]: {listed}', packages=states)


def _requirements(name: str, extra: str) -> list:
    """Requirements that hold on this system, with an extra or (`''`) without."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    try:
        lines = requires(name) or ()
    except PackageNotFoundError:
        return found
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:  # of an old package
            continue
        if requirement.marker is None or requirement.marker.evaluate({'extra': extra}):
            found.append(requirement)
    return found


def _fits(number: str, specifier: str) -> bool:
    if importlib.util.find_spec('packaging') is None:
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(specifier).contains(number, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):  # of a private build
        return True


def _installed(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = distribution(name).version
        except PackageNotFoundError:
            continue
    return found


def _metadata(field: str) -> list[str]:
    """What this package says of itself, once for each time; nothing if it is not installed."""
    try:
        return metadata(OWN).get_all(field) or []
    except PackageNotFoundError:
        return []
