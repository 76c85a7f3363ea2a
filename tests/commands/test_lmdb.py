"""`basicsr lmdb` as it is typed."""

import cv2
import lmdb
import numpy as np
import pytest
import yaml

from conftest import basicsr
from okdnet_plugin.commands import lmdb as command
from okdnet_plugin.data import lmdb_store
from okdnet_plugin.data.paired_dehaze_dataset import PairedDehazeDataset


@pytest.fixture
def folders(tmp_path):
    for folder, names in {'hazy': ('1_1_0.9.png', '1_2_0.9.png'), 'clear': ('1.png',)}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            cv2.imwrite(str(tmp_path / folder / name), np.full((20, 24, 3), 100, np.uint8))
    return ['--hazy', str(tmp_path / 'hazy'), '--clear', str(tmp_path / 'clear'), '--layout', 'its']


def test_build_verify_and_ls_through_the_installed_command(tmp_path, folders):
    build = basicsr('lmdb', 'build', 'out', *folders, '--resize', '8x12', cwd=tmp_path)
    assert build.returncode == 0, build.stderr
    block = yaml.safe_load(build.stdout.partition('for an option file:')[2])
    assert (block['name'], block['type'], block['resize']) == ('out', 'PairedDehazeDataset', [8, 12])
    roots = {key: str(tmp_path / block[key]) for key in ('dataroot_lq', 'dataroot_gt')}
    data = PairedDehazeDataset({**block, **roots, 'phase': 'val'})
    assert len(data) == 2
    assert data[0]['gt'].shape == (3, 8, 12)
    verify = basicsr('lmdb', 'verify', 'out', cwd=tmp_path)
    assert (verify.returncode, verify.stdout.splitlines()) == (
        0,
        [
            'out/clear.lmdb: 1 image is whole: checksum, decoding and size',
            'out/hazy.lmdb: 2 images are whole: checksum, decoding and size; each fits clear.lmdb',
        ],
    )


def test_verify_says_what_is_wrong_and_exits_with_1(tmp_path, folders, capsys):
    assert command.main(['build', str(tmp_path / 'out'), *folders]) == 0
    root = str(tmp_path / 'out' / 'hazy.lmdb')
    with lmdb.open(root) as environment, environment.begin(write=True) as transaction:
        transaction.delete(b'1_2_0.9')
    capsys.readouterr()
    assert command.main(['verify', root]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"key '1_2_0.9' in {root} is in meta_info.txt, but not in data.mdb",
        f'{root}: 1 problem',
    ]


def test_ls_says_what_is_in_it(tmp_path, folders, capsys):
    command.main(['build', str(tmp_path / 'out'), *folders])
    capsys.readouterr()
    assert command.main(['ls', str(tmp_path / 'out'), '--keys']) == 0
    clear, key, hazy, *keys = capsys.readouterr().out.splitlines()
    assert clear.startswith(f'{tmp_path}/out/clear.lmdb: 1 images, 20x24, 0.0 MB, keep, clear, layout its, from ')
    assert hazy.startswith(f'{tmp_path}/out/hazy.lmdb: 2 images, 20x24, ')
    assert [key, *keys] == ['  1.png  20x24x3', '  1_1_0.9.png  20x24x3', '  1_2_0.9.png  20x24x3']


def test_an_interrupted_build_says_how_to_go_on(tmp_path, folders, capsys, monkeypatch):
    def interrupted(self, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(lmdb_store._Encoder, '__call__', interrupted)
    assert command.main(['build', str(tmp_path / 'out'), *folders]) == 130
    assert 'interrupted: the same command goes on' in capsys.readouterr().err


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, folders):
    run = basicsr('lmdb', 'build', 'out', *folders[:-1], 'itss', cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("basicsr: error: layout: 'itss' is not known (did you mean its?)")
    assert run.stderr.count('\n') == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('size', ['a', '8x', '8x8x8'])
def test_a_size_that_is_none_is_refused(tmp_path, folders, size, capsys):
    with pytest.raises(SystemExit):
        command.main(['build', str(tmp_path / 'out'), *folders, '--resize', size])
    assert 'argument --resize: invalid size value' in capsys.readouterr().err
