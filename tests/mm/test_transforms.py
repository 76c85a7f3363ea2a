"""Pipelines of mmcv over files and LMDBs of the plugin."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from mmcv.transforms import Compose, LoadImageFromFile
from mmengine.registry import TRANSFORMS

import okdnet_plugin.mm  # noqa: F401
from okdnet_plugin.data.layouts import LAYOUTS
from okdnet_plugin.data.lmdb_store import build
from okdnet_plugin.errors import InputError

NAME = '1_1_0.8'


@pytest.fixture(scope='module')
def lmdbs(pairs, tmp_path_factory):
    root = tmp_path_factory.mktemp('lmdbs') / 'its'
    build(str(root), str(pairs / 'hazy'), str(pairs / 'clear'), LAYOUTS['its'])
    return root


@pytest.fixture
def expected(pairs) -> dict:
    """The same pair as the plugin's data set gives it."""
    roots = {'dataroot_lq': str(pairs / 'hazy'), 'dataroot_gt': str(pairs / 'clear')}
    dataset = build_dataset({'type': 'PairedDehazeDataset', 'phase': 'val', 'name': 'Pairs', 'layout': 'its', **roots})
    return next(sample for sample in dataset if NAME in sample['lq_path'])


def pipeline(**options) -> Compose:
    return Compose([TRANSFORMS.build({'type': 'LoadHazePair', **options}), TRANSFORMS.build({'type': 'PackHazePair'})])


def test_files_give_what_the_data_set_gives(pairs, expected):
    paths = {'img_path': str(pairs / 'hazy' / f'{NAME}.png'), 'gt_path': str(pairs / 'clear' / '1.png')}
    packed = pipeline()(paths)
    assert torch.equal(packed['lq'], expected['lq'])
    assert torch.equal(packed['gt'], expected['gt'])
    assert packed['lq_path'] == paths['img_path']


@pytest.mark.parametrize('name', [NAME, f'{NAME}.png', f'anywhere/{NAME}.png'])
def test_lmdbs_give_what_the_data_set_gives_also_after_pickling(lmdbs, expected, name):
    made = pipeline(dataroot_lq=str(lmdbs / 'hazy.lmdb'), dataroot_gt=str(lmdbs / 'clear.lmdb'))
    packed = pickle.loads(pickle.dumps(made))({'img_path': name, 'gt_path': '1'})
    assert torch.equal(packed['lq'], expected['lq'])
    assert torch.equal(packed['gt'], expected['gt'])


def test_images_that_were_loaded_as_rgb_are_packed_alike(pairs, expected):
    loader = LoadImageFromFile(imdecode_backend='cv2')
    results = loader({'img_path': str(pairs / 'hazy' / f'{NAME}.png')})
    results |= {'img': results['img'][..., ::-1], 'img_channel_order': 'rgb'}
    assert torch.equal(TRANSFORMS.build({'type': 'PackHazePair'})(results)['lq'], expected['lq'])


def test_mmcv_reads_these_lmdbs_itself(lmdbs, expected, tmp_path):
    copy = shutil.copytree(lmdbs / 'clear.lmdb', tmp_path / 'clear.lmdb')  # py-lmdb opens none twice in a process
    backend = {'backend': 'lmdb', 'db_path': str(copy)}
    results = LoadImageFromFile(backend_args=backend)({'img_path': '1'})
    assert torch.equal(TRANSFORMS.build({'type': 'PackHazePair'})(results)['lq'], expected['gt'])


def test_a_missing_image_is_named(lmdbs):
    with pytest.raises(InputError, match='2_9'):
        pipeline(dataroot_lq=str(lmdbs / 'hazy.lmdb'))({'img_path': '2_9.png'})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r'nowhere\.png'):
        pipeline()({'img_path': str(tmp_path / 'nowhere.png')})


def test_a_pair_is_cropped_flipped_and_turned_together():
    clear = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    augment = TRANSFORMS.build({'type': 'AugmentHazePair', 'gt_size': 24, 'use_hflip': True, 'use_rot': True})
    seen = set()
    for _ in range(8):
        results = augment({'img': clear // 2, 'gt': clear})
        assert results['img'].shape == (24, 24, 3)
        assert np.array_equal(results['img'], results['gt'] // 2)
        seen.add(results['gt'].tobytes())
    assert len(seen) > 1


def test_images_that_are_no_pair_any_more_are_refused():
    img, gt = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 31, 3), np.uint8)
    with pytest.raises(InputError, match='20x30, but its clear one 20x31'):
        TRANSFORMS.build({'type': 'PackHazePair'})({'img': img, 'gt': gt})


def test_normalised_images_are_refused():
    with pytest.raises(InputError, match='img is float32; take out what makes floats of it'):
        TRANSFORMS.build({'type': 'PackHazePair'})({'img': np.zeros((20, 30, 3), np.float32)})
