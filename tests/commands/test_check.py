"""basicsr check and basicsr options, as a user types them."""

import json

import jsonschema
import pytest

from conftest import REPOSITORY, basicsr, write_options
from okdnet_plugin.cli import main
from okdnet_plugin.commands import check
from okdnet_plugin.commands import options as options_command
from okdnet_plugin.errors import InputError


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_right_file_is_said_to_be_right(train_options, tmp_path, capsys):
    file = write_options(tmp_path / 'o.yml', train_options)
    assert check.main(['-opt', file]) == 0
    assert capsys.readouterr().out == f'{file}: right\n'
    assert [path.name for path in tmp_path.iterdir()] == ['o.yml']


def test_mistakes_of_several_files_are_a_line_each(train_options, tmp_path, capsys):
    right = write_options(tmp_path / 'right.yml', train_options)
    (tmp_path / 'broken.yml').write_text('a: [')
    train_options['datasets']['train'] |= {'use_hflp': True, 'dataroot_lq': 'nowhere'}
    wrong = write_options(tmp_path / 'wrong.yml', train_options)
    lines = (tmp_path / 'wrong.yml').read_text().splitlines()
    assert main(['check', '-opt', right, 'wrong.yml', 'broken.yml', 'missing.yml']) == 2
    said = capsys.readouterr().out.splitlines()
    at = {key: [number for number, line in enumerate(lines, 1) if key in line][-1] for key in ('use_hflp', 'nowhere')}
    assert said[0] == f'{right}: right'
    starts = [
        f'wrong.yml:{at["nowhere"]}: option datasets:train:dataroot_lq: the folder nowhere does not exist',
        f'wrong.yml:{at["use_hflp"]}: option datasets:train:use_hflp: PairedDehazeDataset does not read it (did you',
    ]
    assert all(any(line.startswith(start) for line in said[1:3]) for start in starts), said
    assert said[3].startswith('option file broken.yml')
    assert said[4].startswith('option file missing.yml cannot be read')
    assert len(said) == 5
    assert wrong


def test_files_may_be_named_one_by_one(train_options, tmp_path, capsys):
    file = write_options(tmp_path / 'o.yml', train_options)
    assert check.main(['-opt', 'missing.yml', '-opt', file]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == f'{file}: right'


def test_what_a_data_set_says_when_it_is_made_is_told(train_options, tmp_path, capsys):
    train_options['datasets']['train'] |= {'layout': None, 'pairing': '(x)'}
    write_options(tmp_path / 'o.yml', train_options)
    assert check.main(['-opt', 'o.yml']) == 2
    printed = capsys.readouterr().out
    assert 'option datasets:train: phase train, data set Pairs: ' in printed
    assert 'is not a hazy name of this rule' in printed
    assert check.main(['-opt', 'o.yml', '--no-files']) == 0


@pytest.mark.parametrize(
    ('train', 'message'),
    [
        ({'freeze': ['airlihgt*']}, "option train:freeze: 'airlihgt*' fits no parameter (did you mean airlight"),
        ({'freeze': ['*']}, 'option train:freeze leaves nothing to train'),
        ({'scheduler': {'type': 'CosineAnnealingLR', 'T_max': 'x'}}, 'option train:scheduler'),
    ],
)
def test_what_the_model_says_of_a_training_is_told(train, message, train_options, tmp_path, capsys):
    train_options['train'] |= train
    write_options(tmp_path / 'o.yml', train_options)
    assert check.main(['-opt', 'o.yml']) == 2
    said = capsys.readouterr().out
    assert message in said
    assert 'does not take a batch' not in said


def test_json_and_overrides_and_phase(train_options, tmp_path, capsys):
    write_options(tmp_path / 'o.yml', train_options)
    changed = ['--set', 'logger.kep_last=3', '--set', 'train.optim_g.lr=5e-4']
    assert check.main(['-opt', 'o.yml', '--json', *changed]) == 2
    (result,) = json.loads(capsys.readouterr().out)
    assert (result['file'], result['phase']) == ('o.yml', 'train')
    (mistake,) = result['mistakes']
    assert mistake['key'] == 'logger:kep_last'
    assert mistake['place'] == '--set logger.kep_last'
    assert mistake['kind'] == 'unknown key'
    assert '(did you mean keep_last?)' in mistake['message']
    del train_options['train']['total_iter']
    write_options(tmp_path / 'o.yml', train_options)
    assert check.main(['-opt', 'o.yml', '--phase', 'test']) == 0
    assert check.main(['-opt', 'o.yml']) == 2


def test_shipped_files_are_right_without_their_images(capsys):
    files = sorted(str(file) for file in (REPOSITORY / 'options').glob('*.yml'))
    assert check.main(['-opt', *files, '--no-files']) == 0
    assert capsys.readouterr().out.splitlines() == [f'{file}: right' for file in files]


def test_training_tells_all_mistakes_before_anything_is_made(train_options, tmp_path):
    train_options['train']['optim_g']['lrr'] = 1
    train_options['val']['save_img'] = 'yes'
    write_options(tmp_path / 'o.yml', train_options)
    done = basicsr('train', '-opt', 'o.yml', cwd=tmp_path)
    assert done.returncode == 2
    assert 'option train:optim_g:lrr: Adam has no such argument' in done.stderr
    assert "option val:save_img is 'yes'; write true or false" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ['o.yml']


def test_keys_are_listed_with_a_line_each(capsys):
    assert options_command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith('train:total_iter'))
    assert line.split(None, 1) == [
        'train:total_iter*',
        'iterations of the training (a whole number from 1 to 1000000000)',
    ]
    assert options_command.main(['train:scheduler', '--model', 'SRModel']) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert 'MultiStepLR' in line
    with pytest.raises(InputError, match=r"RestorationModel reads no key 'trian' \(did you mean train\?"):
        options_command.main(['trian'])
    with pytest.raises(InputError, match=r'--model: .*did you mean SRModel'):
        options_command.main(['--model', 'SRModle'])


def test_schema_is_printed(capsys):
    assert options_command.main(['--schema']) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema['$schema'] == 'https://json-schema.org/draft/2020-12/schema'
    assert schema['$defs']['network.OKDNet']['properties']['gate']['description'].startswith('bound of the FAB')
