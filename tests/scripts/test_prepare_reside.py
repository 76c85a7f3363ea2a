"""The command that prepares public data sets, on made trees of small images."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from conftest import load_script
from okdnet_plugin.data.image_sources import open_lmdb
from okdnet_plugin.data.paired_dehaze_dataset import PairedDehazeDataset
from okdnet_plugin.data.public_datasets import DATASETS, Release

TREE = {
    'its': (
        'ITS_v2/hazy',
        ['1_1_0.9.png', '1_2_0.8.png', '2_1_1.png', '2_2_0.7.png'],
        'ITS_v2/clear',
        ['1.png', '2.png'],
    ),
    'ots': ('OTS_BETA/haze/part1', ['0025_0.8_0.04.jpg', '0025_1_0.2.jpg'], 'OTS_BETA/clear', ['0025.jpg']),
    'sots_indoor': ('SOTS/indoor/hazy', ['1400_1.png', '1400_2.png'], 'SOTS/indoor/gt', ['1400.png']),
    'i_haze': ('# I-HAZY NTIRE 2018/hazy', ['01_indoor_hazy.jpg'], '# I-HAZY NTIRE 2018/GT', ['01_indoor_GT.jpg']),
    'nh_haze': ('NH-HAZE', ['01_hazy.png', '02_hazy.png'], 'NH-HAZE', ['01_GT.png', '02_GT.png']),
    'reside_6k_train': ('RESIDE-6K/train/hazy', ['1_1_0.9.png'], 'RESIDE-6K/train/GT', ['1_1_0.9.png']),
    'haze4k_test': ('Haze4K/test/haze', ['1_0.75_1.24.png'], 'Haze4K/test/gt', ['1.png']),
    'urhi': ('UnannotatedHazyImages', ['a.png', 'b.jpeg'], None, []),
}


@pytest.fixture(scope='module')
def script():
    return load_script('scripts/prepare_reside.py')


@pytest.fixture(scope='module')
def unpacked(tmp_path_factory):
    root = tmp_path_factory.mktemp('unpacked')
    for hazy, hazy_names, clear, clear_names in TREE.values():
        write(root / hazy, *hazy_names)
        write(root / (clear or hazy), *clear_names)
    return root


@pytest.fixture
def downloads(unpacked, tmp_path, monkeypatch):
    """Downloads in the current folder."""
    shutil.copytree(unpacked, tmp_path / 'downloads')
    monkeypatch.chdir(tmp_path)
    return Path('downloads')


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for key, (_, hazy, _, clear) in TREE.items():
        monkeypatch.setitem(DATASETS, key, replace(DATASETS[key], releases=(Release(len(hazy), len(clear)),)))


def write(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        noise = np.random.default_rng(list(name.encode())).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), cv2.GaussianBlur(noise, (3, 3), 0))


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(folder).rglob('*') if path.is_file()}


def option_blocks(text):
    _, _, lines = text.partition('(a training also wants gt_size or resize)\n')
    return {block['name']: block for block in map(yaml.safe_load, re.split(r'\n\n+', lines.strip('\n'))) if block}


def opened(block, **more):
    return PairedDehazeDataset({**block, 'phase': 'val', **more})


def records(path):
    with open_lmdb(str(path), {}).begin() as transaction:
        return {key.decode(): content for key, content in transaction.cursor()}


# ------------------------------------------------------------------------------------------------------- what is there


def test_every_set_of_the_tree_becomes_lmdbs_that_the_data_set_reads(script, downloads, capsys):
    before = contents(downloads)
    assert script.main(['downloads']) == 0
    output = capsys.readouterr().out
    assert 'ITS: downloads/ITS_v2/hazy -> downloads/ITS_v2/clear\n  4 of 4 hazy, 2 of 2 clear: complete' in output
    assert output.count(': complete') == len(TREE)
    blocks = option_blocks(output)
    assert [block['name'] for block in blocks.values()] == [DATASETS[key].name for key in DATASETS if key in TREE]
    for key in TREE.keys() - {'urhi'}:
        block = blocks[DATASETS[key].name]
        assert block['dataroot_lq'] == f'datasets/lmdb/{key}/hazy.lmdb'
        assert block['io_backend'] == {'type': 'lmdb'}
        data = opened(block)
        assert len(data) == len(TREE[key][1])
        assert data[0]['lq'].shape == data[0]['gt'].shape == (3, 20, 24)
    assert contents(downloads) == before


def test_a_set_without_clear_images_gets_a_block_of_its_own_kind(script, downloads, capsys):
    assert script.main(['downloads', '--only', 'urhi']) == 0
    assert option_blocks(capsys.readouterr().out) == {
        'URHI': {
            'name': 'URHI',
            'type': 'SingleDehazeDataset',
            'dataroot_lq': 'datasets/lmdb/urhi/hazy.lmdb',
            'io_backend': {'type': 'lmdb'},
        }
    }
    assert records('datasets/lmdb/urhi/hazy.lmdb').keys() == {'a', 'b'}


def test_lmdbs_hold_the_bytes_of_the_files(script, downloads):
    assert script.main(['downloads', '--only', 'ots,nh_haze']) == 0
    file = downloads / 'OTS_BETA/haze/part1/0025_0.8_0.04.jpg'
    assert records('datasets/lmdb/ots/hazy.lmdb')['0025_0.8_0.04'] == file.read_bytes()
    assert records('datasets/lmdb/nh_haze/hazy.lmdb').keys() == {'01_hazy', '02_hazy'}
    assert records('datasets/lmdb/nh_haze/clear.lmdb').keys() == {'01_GT', '02_GT'}


def test_a_second_run_changes_no_byte(script, downloads):
    assert script.main(['downloads', '--only', 'its']) == 0
    before = contents('datasets')
    assert script.main(['downloads', '--only', 'its']) == 0
    assert contents('datasets') == before


def test_images_are_resized_and_the_option_lines_say_so(script, downloads, capsys):
    assert script.main(['downloads', '--only', 'its', '--resize', '16', '--encode', 'png', '--workers', '1']) == 0
    (block,) = option_blocks(capsys.readouterr().out).values()
    sample = PairedDehazeDataset({**block, 'phase': 'train'})[0]
    assert sample['lq'].shape == (3, 16, 16)
    content = records('datasets/lmdb/its/clear.lmdb')['1']
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape == (16, 16, 3)


def test_option_lines_for_files_need_no_lmdb(script, downloads, tmp_path, capsys):
    write(downloads / 'OTS_BETA/haze/part2', '0025_0.85_0.1.jpg')
    assert script.main(['downloads', '--files']) == 0
    blocks = option_blocks(capsys.readouterr().out)
    assert blocks['I-HAZE']['dataroot_lq'] == 'downloads/# I-HAZY NTIRE 2018/hazy'
    assert blocks['OTS']['dataroot_lq'] == 'downloads/OTS_BETA/haze'
    assert len(opened(blocks['OTS'])) == 3
    for key in TREE.keys() - {'ots', 'urhi'}:
        assert len(opened(blocks[DATASETS[key].name])) == len(TREE[key][1])
    assert [path.name for path in tmp_path.iterdir()] == ['downloads']


def test_absolute_paths_stay_absolute(script, downloads, tmp_path, capsys):
    out = tmp_path / 'my sets: #1'
    assert script.main([str(tmp_path / 'downloads'), '--only', 'its', '--out', str(out)]) == 0
    (block,) = option_blocks(capsys.readouterr().out).values()
    assert block['dataroot_gt'] == f'{out}/its/clear.lmdb'
    assert len(opened(block)) == 4


def test_a_dry_run_writes_nothing(script, downloads, tmp_path, capsys):
    before = contents(tmp_path)
    assert script.main(['downloads', '--dry-run']) == 0
    output = capsys.readouterr().out
    assert option_blocks(output)['ITS']['dataroot_lq'] == 'datasets/lmdb/its/hazy.lmdb'
    assert 'once the LMDBs are made' in output
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ['downloads']


def test_a_name_of_several_sets_stands_for_all_of_them(script, downloads, capsys):
    assert script.main(['downloads', '--only', 'sots,haze4k_test', '--dry-run']) == 0
    captured = capsys.readouterr()
    assert list(option_blocks(captured.out)) == ['SOTS-indoor', 'Haze4K-test']
    assert captured.err == ''


# ------------------------------------------------------------------------------------------------------ what is missing


def test_an_incomplete_set_is_made_of_what_pairs_and_says_what_is_missing(script, downloads, capsys):
    (downloads / 'ITS_v2/hazy/2_1_1.png').unlink()
    write(downloads / 'ITS_v2/clear', '3.png')
    assert script.main(['downloads', '--only', 'its']) == 0
    output = capsys.readouterr().out
    assert '3 of 4 hazy, 2 of 2 clear: not complete' in output
    assert 'missing hazy images: 1, of the scenes 2\n' in output
    assert 'clear images without a hazy one, which are not used: 1, as 3.png' in output
    assert len(opened(option_blocks(output)['ITS'])) == 3


def test_missing_clear_images_are_counted(script, downloads, capsys):
    for name in ('2_1_1.png', '2_2_0.7.png'):
        (downloads / 'ITS_v2/hazy' / name).unlink()
    (downloads / 'ITS_v2/clear/2.png').unlink()
    assert script.main(['downloads', '--only', 'its']) == 0
    output = capsys.readouterr().out
    assert '2 of 4 hazy, 1 of 2 clear: not complete' in output
    assert 'missing clear images: 1' in output


def test_unpaired_images_refuse_that_set_and_the_others_go_on(script, downloads, capsys):
    (downloads / 'ITS_v2/clear/2.png').unlink()
    write(downloads / 'ITS_v2/hazy', 'cover.png')
    assert script.main(['downloads', '--only', 'its,haze4k_test']) == 1
    captured = capsys.readouterr()
    assert 'hazy images without a clear one: 2, as 2_1_1.png, 2_2_0.7.png' in captured.out
    assert 'names that do not fit the rule 1_1_0.90179.png -> 1.png: 1, as cover.png' in captured.out
    assert captured.err.count('\n') == 1
    assert 'its: 3 of 5 hazy images cannot be used' in captured.err
    assert '--skip-unpaired' in captured.err
    assert list(option_blocks(captured.out)) == ['Haze4K-test']
    assert not Path('datasets/lmdb/its').exists()


def test_unpaired_images_are_left_out_on_demand(script, downloads, capsys):
    (downloads / 'ITS_v2/clear/2.png').unlink()
    write(downloads / 'ITS_v2/hazy', 'cover.png', '1_1_0.9.jpg')
    (downloads / 'ITS_v2/hazy/1_3_1.png').write_bytes(b'')
    before = contents(downloads)
    assert script.main(['downloads', '--only', 'its', '--skip-unpaired']) == 0
    output = capsys.readouterr().out
    assert 'empty files (0 bytes, or links to nothing): 1, as 1_3_1.png' in output
    assert 'files with the stem of another one: 1, as 1_1_0.9.png' in output
    assert 'its: 5 hazy images are left out' in output
    assert len(opened(option_blocks(output)['ITS'])) == 2
    assert contents(downloads) == before


def test_images_are_left_out_of_part_folders_in_the_current_folder_too(script, downloads, monkeypatch, capsys):
    write(downloads / 'OTS_BETA/haze/part2', '0099_0.8_0.04.jpg')
    monkeypatch.chdir(downloads / 'OTS_BETA')
    assert script.main(['.', '--skip-unpaired', '--out', 'made']) == 0
    assert len(opened(option_blocks(capsys.readouterr().out)['OTS'])) == 2


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda root: shutil.rmtree(root / 'ITS_v2/clear'), 'its: there is no folder of clear images'),
        (lambda root: shutil.rmtree(root / 'ITS_v2/hazy'), 'its: there is no folder of hazy images'),
        (lambda root: (root / 'ITS_v2/hazy/1_1_0.9.png').write_bytes(b'no image'), 'cannot be decoded'),
    ],
)
def test_a_set_that_cannot_be_made_is_one_line(script, downloads, capsys, spoil, message):
    spoil(downloads)
    assert script.main(['downloads', '--only', 'its', '--skip-unpaired']) == 1
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith('prepare_reside.py: error: ')]
    assert len(errors) == 1
    assert message in errors[0]
    assert option_blocks(captured.out) == {}


@pytest.mark.parametrize('spoil', [lambda file: file.write_bytes(b''), lambda file: write(file.parent, '1.jpg')])
def test_a_clear_image_that_cannot_be_used_takes_its_hazy_ones_along_or_ends_it(script, downloads, capsys, spoil):
    spoil(downloads / 'ITS_v2/clear/1.png')
    assert script.main(['downloads', '--only', 'its']) == 1
    assert 'clear/1.png is empty, or another clear image has its stem' in capsys.readouterr().err
    assert script.main(['downloads', '--only', 'its', '--skip-unpaired']) == 0
    lines = Path('datasets/lmdb/its/clear.lmdb/meta_info.txt').read_text().splitlines()
    assert [line.split()[0] for line in lines] == ['2.png']


def test_a_set_that_was_asked_for_and_is_not_there_is_said(script, downloads, capsys):
    assert script.main(['downloads', '--only', 'its,o_haze', '--dry-run']) == 1
    captured = capsys.readouterr()
    assert 'o_haze: not found below downloads' in captured.err
    assert list(option_blocks(captured.out)) == ['ITS']


def test_the_fuller_of_two_copies_is_used(script, downloads, capsys):
    shutil.copytree(downloads / 'ITS_v2', downloads / 'old/ITS')
    (downloads / 'old/ITS/hazy/1_1_0.9.png').unlink()
    assert script.main(['downloads', '--only', 'its', '--dry-run', '--files']) == 0
    output = capsys.readouterr().out
    assert 'ITS, another copy, not used: downloads/old/ITS/hazy' in output
    assert option_blocks(output)['ITS']['dataroot_lq'] == 'downloads/ITS_v2/hazy'


def test_what_is_not_recognised_is_listed(script, downloads, capsys):
    write(downloads / 'holiday', 'a.png', 'b.png')
    (downloads / 'haze_part2.zip').write_bytes(b'')
    assert script.main(['downloads', '--dry-run']) == 0
    output = capsys.readouterr().out
    assert 'pairing:' in output
    assert 'downloads/holiday: 2 images, as a.png' in output
    assert 'not unpacked: haze_part2.zip' in output


@pytest.mark.parametrize(
    ('arguments', 'parts'),
    [
        (['empty'], ['below empty', 'ITS_v2/{hazy,clear}']),
        (['holiday'], ['below holiday', 'expected is one of', 'there: 1 folder with other images']),
        (['downloads', '--only', 'o_haze'], ['nothing of o_haze', '# O-HAZY NTIRE 2018/{hazy,GT}']),
        (['gone'], ['gone does not exist']),
        (['downloads', '--only', 'sots_indor'], ["'sots_indor' is not known", 'did you mean sots_indoor']),
    ],
)
def test_nothing_found_is_one_line_that_says_what_was_expected(script, downloads, capsys, arguments, parts):
    Path('empty').mkdir()
    write(Path('holiday'), 'a.png')
    assert script.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert [part for part in parts if part not in error] == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--files', '--skip-unpaired'], '--skip-unpaired is for LMDBs'),
        (['--resize', '16', '--encode', 'keep'], '--encode keep'),
        (['--resize', '0'], 'must be positive'),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(script, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        script.main(['downloads', *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
