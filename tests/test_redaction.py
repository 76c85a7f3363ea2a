"""Secrets of the environment are used, and written nowhere."""

import json
import sys

import pytest
import torch
import yaml
from basicsr.utils import logger as basicsr_logger

from conftest import basicsr, write_options
from okdnet_plugin import cli, redaction
from okdnet_plugin.inference.export import metadata
from okdnet_plugin.redaction import redacted
from okdnet_plugin.weights import loading

SECRET = 'hf_0123456789'


@pytest.fixture(autouse=True)
def _secret(monkeypatch):
    monkeypatch.setenv('HF_TOKEN', SECRET)
    monkeypatch.setattr(redaction, '_references', {})


@pytest.mark.parametrize('name', ['SECRET', 'HF_TOKEN', 'DB_PASSWORD', 'WANDB_API_KEY', 'AWS_SECRET_KEY', 'auth'])
def test_variables_are_secrets_by_their_names(name):
    redaction.note(name, SECRET)
    assert redacted(f'a/{SECRET}/b') == f'a/${{env:{name}}}/b'
    assert redacted({'a': [SECRET, 1, None]}) == {'a': [f'${{env:{name}}}', 1, None]}


@pytest.mark.parametrize(
    ('name', 'value'), [('DATA', SECRET), ('KEYBOARD', SECRET), ('PWD', SECRET), ('HF_TOKEN', 'on')]
)
def test_other_variables_and_short_values_are_none(name, value):
    redaction.note(name, value)
    assert redacted(f'a/{value}/b') == f'a/{value}/b'


def test_a_number_that_is_a_secret_is_redacted():
    redaction.note('SEED_SECRET', '12345678')
    assert redacted({'manual_seed': 12345678, 'other': 1}) == {'manual_seed': '${env:SEED_SECRET}', 'other': 1}


def test_a_training_writes_its_secrets_nowhere(tmp_path, train_options, pairs):
    (tmp_path / SECRET).symlink_to(pairs)
    folder = f'{tmp_path}/${{env:HF_TOKEN}}/hazy'
    for block in train_options['datasets'].values():
        block['dataroot_lq'] = folder
    train_options['logger']['wandb'] = {'project': None, 'resume_id': '${env:HF_TOKEN}'}
    train_options['train']['total_iter'], train_options['val']['save_img'] = 2, False
    train_options['val']['val_freq'] = 10
    train_options['train']['scheduler']['milestones'] = [1]
    done = basicsr('train', '-opt', write_options(tmp_path / 'o.yml', train_options), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    written = [path for path in (tmp_path / 'experiments').rglob('*') if path.is_file()]
    assert len(written) > 4
    assert [path.name for path in written if SECRET.encode() in path.read_bytes()] == []
    copy = yaml.safe_load((tmp_path / 'experiments/small/o.yml').read_text())
    assert copy['datasets']['val']['dataroot_lq'] == folder


def test_metadata_of_exported_weights_and_the_config_of_wandb_have_references(tmp_path, train_options, monkeypatch):
    redaction.note('HF_TOKEN', SECRET)
    train_options['datasets']['train']['name'] = SECRET
    weights = loading.Weights({'type': 'AODNet'}, {}, opt=train_options)
    described = metadata.describe(weights, {'conv.weight': torch.zeros(1)})
    assert SECRET not in json.dumps(described)
    assert '${env:HF_TOKEN}' in described['training_data']

    given = {}

    class Wandb:
        class util:
            generate_id = staticmethod(lambda: 'x')

        init = staticmethod(lambda **arguments: given.update(arguments))

    monkeypatch.setitem(sys.modules, 'wandb', Wandb)
    train_options['logger']['wandb'] = {'project': 'haze'}
    basicsr_logger.init_wandb_logger(train_options)
    assert given['config']['datasets']['train']['name'] == '${env:HF_TOKEN}'


def test_messages_and_mistakes_have_references(tmp_path, train_options, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['basicsr'])
    train_options['train']['total_iter'] = '${env:HF_TOKEN}'
    path = write_options(tmp_path / 'o.yml', train_options)
    assert cli.main(['train', '-opt', path]) == 2
    assert cli.main(['check', '-opt', path, '--json']) != 0
    said = ''.join(capsys.readouterr())
    assert '${env:HF_TOKEN}' in said
    assert SECRET not in said
