"""Option files as the users of the toolbox write them pass unchanged, and so does every one of ours."""

import pytest
import yaml

from conftest import REPOSITORY
from okdnet_plugin import option_file, schema

STOCK = sorted((REPOSITORY / 'tests/schema/stock').glob('*.yml'))
SHIPPED = sorted(file for file in (REPOSITORY / 'options').rglob('*.yml') if file.parent.name != 'base')


def check(file):
    opt, places = option_file.load_with_places(str(file))
    return [str(mistake) for mistake in schema.check(opt, places, schema.phase_of(opt), look=False)]


def test_files_of_all_models_of_the_toolbox_are_here():
    networks = {'MSRResNet', 'EDSR', 'RCAN', 'RRDBNet', 'SwinIR', 'BasicVSR', 'EDVR', 'StyleGAN2Generator', 'RIDNet'}
    options = [yaml.safe_load(file.read_text()) for file in STOCK]
    assert networks <= {opt['network_g']['type'] for opt in options}
    for kind in ('train', 'test'):
        assert sum(schema.phase_of(opt) == kind for opt in options) >= 15


@pytest.mark.parametrize('file', STOCK, ids=lambda file: file.stem)
def test_stock_file_passes(file):
    expected = 'train' if file.stem.startswith(('train', 'finetune')) else 'test'
    assert schema.phase_of(option_file.load(str(file))) == expected
    assert check(file) == []


@pytest.mark.parametrize('file', SHIPPED, ids=lambda file: file.stem)
def test_shipped_file_passes(file):
    assert check(file) == []


@pytest.mark.parametrize('file', STOCK, ids=lambda file: file.stem)
def test_stock_file_with_a_misspelt_key_in_every_block_is_refused(file):
    opt = option_file.load(str(file))
    blocks = [block for _, block in opt.items() if isinstance(block, dict)]
    blocks += [
        block for name in ('datasets', 'train') for block in opt.get(name, {}).values() if isinstance(block, dict)
    ]
    for block in [opt, *blocks]:
        if block is opt['datasets']:  # labels
            continue
        block['wrogn'] = 1
        assert [one.path[-1] for one in schema.check(opt, phase=schema.phase_of(opt), look=False)] == ['wrogn']
        del block['wrogn']
