"""The schema that editors read: it is one, it is that of this version, and it says what the check says."""

import re

import jsonschema
import pytest
import yaml

from conftest import REPOSITORY
from okdnet_plugin.config.json_schema import json_schema
from okdnet_plugin.config.reference import page

OPTIONS = REPOSITORY / 'options'
STOCK = REPOSITORY / 'tests/config/stock'
FILES = sorted([*OPTIONS.rglob('*.yml'), *STOCK.glob('*.yml')])


@pytest.fixture(scope='module')
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_page_of_keys_is_up_to_date():
    """`basicsr options --write-docs` makes it."""
    assert (REPOSITORY / 'docs/config_reference.md').read_text(encoding='utf-8') == page()


@pytest.mark.parametrize('file', FILES, ids=lambda file: f'{file.parent.name}/{file.stem}')
def test_right_file_is_right_to_an_editor(file, validator):
    assert [error.message for error in validator.iter_errors(yaml.safe_load(file.read_text()))] == []


@pytest.mark.parametrize('file', sorted(OPTIONS.rglob('*.yml')), ids=lambda file: file.stem)
def test_shipped_file_points_editors_to_the_schema(file):
    match = re.match(r'# yaml-language-server: \$schema=(\S+)\n', file.read_text())
    assert (file.parent / match[1]).resolve() == (OPTIONS / 'schema.json').resolve()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'chanels_last': True}, "'chanels_last' does not match"),
        ({'network_g': {'type': 'OKDNet', 'gate': 'sofmax'}}, "'sofmax' is not"),
        ({'network_g': {'type': 'OKDNet', 'widht': 1}}, "'widht' was unexpected"),
        ({'network_g': {'type': 'OKDNte'}}, "'OKDNte' is not"),
        ({'network_d': {'type': 'OKDNte'}}, "'OKDNte' is not"),
        ({'train': {'total_iter': 'x'}}, "'x' is not"),
        ({'train': {'ssim_opt': {'type': 'SSIMLoss', 'reduction': 'summ'}}}, "'summ' is not"),
        ({'datasets': {'val': {'type': 'PairedDehazeDataset', 'layout': 'itss'}}}, "'itss' is not"),
        ({'val': {'metrics': {'psnr': {'type': 'calculate_pnsr'}}}}, "'calculate_pnsr' is not"),
        ({'path': {'pretrain_network_z': 3}}, '3 is not'),
        ({'methods': {'A': {'network': 1}}}, "'network' was unexpected"),
    ],
)
def test_mistake_is_one_to_an_editor(change, message, validator):
    errors = list(validator.iter_errors(change))
    assert any(message in text for error in errors for text in texts_of(error)), errors


def texts_of(error):
    yield error.message
    for inner in error.context:
        yield from texts_of(inner)


@pytest.mark.parametrize(
    'right',
    [
        {'network_g': {'num_feat': '${network_g.growth}'}},
        {'train': {'total_iter': '${env:ITERATIONS}'}},
        {'_base_': ['a.yml'], 'datasets': {'train': {'_delete_': True}}},
        {'train': {'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': ['${train.total_iter}']}}},
        {'val': {'val_freq': 5000.0}},
        {'network_g': {'anything': 1}},
    ],
)
def test_what_a_base_or_a_reference_may_give_is_right(right, validator):
    assert validator.is_valid(right)
