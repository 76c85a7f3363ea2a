"""`scripts/prepare_nyu.py`: scenes with RESIDE's numbers, from the original file and from folders."""

import importlib.util
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from okdnet_plugin.data.synthetic_haze_dataset import SyntheticHazeDataset

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'prepare_nyu.py'


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location('prepare_nyu', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scene(number: int, height: int = 480, width: int = 640) -> tuple[np.ndarray, np.ndarray]:
    """RGB and metres; both tell the number and where they are."""
    rows, columns = np.mgrid[:height, :width]
    rgb = np.stack([rows % 256, columns % 256, np.full_like(rows, number % 256)], -1).astype(np.uint8)
    return rgb, (1 + number / 1000 + rows / height + columns / width).astype(np.float32)


@pytest.fixture
def mat(tmp_path):
    """Three scenes in the layout of the original file: MATLAB's columns are rows in HDF5."""
    h5py = pytest.importorskip('h5py')
    path = tmp_path / 'nyu_depth_v2_labeled.mat'
    with h5py.File(path, 'w') as file:
        scenes = [scene(number) for number in (1, 2, 3)]
        file['images'] = np.stack([rgb.transpose(2, 1, 0) for rgb, _ in scenes])
        file['depths'] = np.stack([depth.T for _, depth in scenes])
    return path


@pytest.fixture
def folder(tmp_path):
    """Scenes 1, 1399, 1400 and 1449 of 48x64 as files, with depth of 8 bits."""
    root = tmp_path / 'nyu'
    for side in ('clear', 'depth'):
        (root / side).mkdir(parents=True)
    for number in (1, 1399, 1400, 1449):
        rgb, depth = scene(number, 48, 64)
        cv2.imwrite(str(root / 'clear' / f'{number:04d}.jpg'), rgb[..., ::-1])
        cv2.imwrite(str(root / 'depth' / f'{number:04d}.png'), np.rint(depth * 25).astype(np.uint8))
    return root


def read(path: Path) -> np.ndarray:
    img = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert img is not None, path
    return img


def test_scenes_of_the_original_file_are_upright_numbered_from_1_and_without_the_frame(script, mat, tmp_path):
    assert script.main([str(mat), str(tmp_path / 'out')]) == 0
    for number in (1, 2, 3):
        rgb, metres = scene(number)
        clear, depth = (read(tmp_path / f'out/train/{side}/{number}.png') for side in ('clear', 'depth'))
        assert np.array_equal(clear[..., ::-1], rgb[10:-10, 10:-10])
        assert depth.dtype == np.uint16
        assert np.abs(depth / 6553.5 - metres[10:-10, 10:-10]).max() < 1e-4
    assert not (tmp_path / 'out/test').exists()


def test_scenes_from_1400_on_are_for_the_test(script, folder, tmp_path, capsys):
    assert script.main([str(folder), str(tmp_path / 'out')]) == 0
    found = {
        part: sorted(path.stem for path in (tmp_path / 'out' / part / 'clear').iterdir()) for part in ('train', 'test')
    }
    assert found == {'train': ['1', '1399'], 'test': ['1400', '1449']}
    assert np.array_equal(read(tmp_path / 'out/test/depth/1400.png'), read(folder / 'depth/1400.png'))
    assert '2 scenes for training, 2 for the test' in capsys.readouterr().out


@pytest.mark.parametrize('lmdb', [False, True])
def test_what_is_made_is_what_a_training_reads(script, folder, tmp_path, lmdb, capsys):
    assert script.main([str(folder), str(tmp_path / 'out'), '--resize', '32', *(['--lmdb'] if lmdb else [])]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = dict(line.split(': ', 1) for line in lines if line.startswith(('dataroot', 'depth_norm', 'preset')))
    backend = {'type': 'lmdb' if lmdb else 'disk'}
    data = SyntheticHazeDataset(
        {'name': 'NYU', 'phase': 'train', 'resize': 32, 'io_backend': backend, 'return_maps': True, **told}
    )
    assert len(data) == 2
    sample = data[0]
    assert sample['lq'].shape == (3, 32, 32)
    assert 0.1 < sample['transmission'].min() < sample['transmission'].max() < 1


def test_what_is_there_stays(script, folder, tmp_path):
    script.main([str(folder), str(tmp_path / 'out')])
    marker = tmp_path / 'out/train/clear/1.png'
    shutil.copy(folder / 'clear/1399.jpg', marker)
    content = marker.read_bytes()
    (tmp_path / 'out/train/depth/1399.png').unlink()
    assert script.main([str(folder), str(tmp_path / 'out')]) == 0
    assert marker.read_bytes() == content
    assert (tmp_path / 'out/train/depth/1399.png').is_file()


def test_a_wrong_source_is_one_line(script, folder, tmp_path, capsys):
    (tmp_path / 'no.mat').write_bytes(b'no HDF5')
    cases = {
        tmp_path / 'nowhere': 'nowhere does not exist',
        tmp_path / 'no.mat': 'no.mat is ',
        tmp_path: 'clear does not exist',
    }
    (folder / 'depth/1400.png').unlink()
    cases[folder] = 'scene 1400 has no partner'
    for source, message in cases.items():
        assert script.main([str(source), str(tmp_path / 'out')]) == 2
        assert message in capsys.readouterr().err
