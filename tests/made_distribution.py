"""An installed package of one module, made for a test."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Install a package of one module, with entry points and requirements, for the length of a test."""
    folder = tmp_path / 'made_distributions'
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    made = []

    def install(name: str, code: str = '', entry_points: str = '', version: str = '2.5', requires: tuple = ()) -> Path:
        (folder / f'{name}.py').write_text(code)
        info = folder / f'{name}-{version}.dist-info'
        info.mkdir()
        lines = ['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}']
        lines += [f'Requires-Dist: {line}' for line in requires]
        (info / 'METADATA').write_text('\n'.join(lines) + '\n')
        (info / 'entry_points.txt').write_text(entry_points)
        (info / 'top_level.txt').write_text(f'{name}\n')
        made.append(name)
        importlib.invalidate_caches()
        return folder

    yield install
    for name in made:  # a real package of that name stays
        if (getattr(sys.modules.get(name), '__file__', None) or '').startswith(str(folder)):
            del sys.modules[name]
