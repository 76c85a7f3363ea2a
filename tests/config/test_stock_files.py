"""Option files as the users of BasicSR write them pass unchanged, and so does every one of ours."""

import pytest

from conftest import REPOSITORY
from okdnet_plugin import config
from okdnet_plugin.config import check
from okdnet_plugin.config.walk import phase_of

STOCK = sorted((REPOSITORY / 'tests/config/stock').glob('*.yml'))
SHIPPED = sorted(file for file in (REPOSITORY / 'options').rglob('*.yml') if file.parent.name != 'base')


def mistakes_in(file):
    opt, places = config.load_with_places(str(file))
    mistakes = check.check(opt, places, phase_of(opt), look=False)
    return [str(mistake) for mistake in mistakes if not mistake.is_warning]


@pytest.mark.parametrize('file', STOCK, ids=lambda file: file.stem)
def test_stock_file_passes(file):
    expected = 'train' if file.stem.startswith(('train', 'finetune')) else 'test'
    assert phase_of(config.load(str(file))) == expected
    assert mistakes_in(file) == []


@pytest.mark.parametrize('file', SHIPPED, ids=lambda file: file.stem)
def test_shipped_file_passes(file):
    assert mistakes_in(file) == []


@pytest.mark.parametrize('file', STOCK, ids=lambda file: file.stem)
def test_misspelt_key_of_basicsr_is_told_as_a_warning_in_every_block_of_a_stock_file(file):
    opt = config.load(str(file))
    blocks = {'': opt, 'path': opt['path'], 'logger': opt.get('logger'), 'train': opt.get('train')}
    misspelt = {'': 'manual_seeed', 'path': 'resume_sate', 'logger': 'print_ferq', 'train': 'warmup_itr'}
    for name, block in blocks.items():
        if block is None:
            continue
        block.pop('resume_state' if name == 'path' else {'': 'manual_seed', 'train': 'warmup_iter'}.get(name), None)
        block[misspelt[name]] = 1
        told = check.check(opt, phase=phase_of(opt), look=False)
        found = [one for one in told if one.path[-1] == misspelt[name]]
        assert [one.is_warning for one in found] == ([True] if name != 'logger' else []), told
        del block[misspelt[name]]
