"""Samples of a training are resized, cropped, or crops of resized images, and have one size in a batch."""

import random

import cv2
import numpy as np
import pytest

from okdnet_plugin.data import sizes
from okdnet_plugin.data.mixed_dataset import MixedDataset
from okdnet_plugin.data.paired_dehaze_dataset import PairedDehazeDataset
from okdnet_plugin.data.synthetic_haze_dataset import SyntheticHazeDataset
from okdnet_plugin.errors import InputError


@pytest.fixture
def folders(tmp_path):
    """One image of 60x80 whose columns count up from left to right, and its depth, which does so too."""
    ramp = np.tile(np.arange(80), (60, 1))
    for folder in ('hazy', 'clear', 'depth'):
        (tmp_path / folder).mkdir()
    for folder in ('hazy', 'clear'):
        cv2.imwrite(str(tmp_path / folder / '1.png'), np.stack([3 * ramp] * 3, -1).astype(np.uint8))
    cv2.imwrite(str(tmp_path / 'depth' / '1.png'), (ramp + 1).astype(np.uint8))
    return tmp_path


def paired(folders, **options):
    block = {
        'name': 'Pairs',
        'phase': 'train',
        'dataroot_lq': str(folders / 'hazy'),
        'dataroot_gt': str(folders / 'clear'),
    }
    return PairedDehazeDataset(block | options)


def synthetic(folders, **options):
    block = {'name': 'Made', 'phase': 'train', 'dataroot_gt': str(folders / 'clear'), 'preset': 'reside_its'}
    block |= {'dataroot_depth': str(folders / 'depth'), 'depth_norm': 'max', 'return_maps': True}
    return SyntheticHazeDataset(block | options)


@pytest.mark.parametrize('make', [paired, synthetic])
@pytest.mark.parametrize(
    ('resize', 'steps'),
    [
        ([30, 40], (2.0, 2.0)),  # values from one column of the sample to the next, in those of the image
        ({'shorter': 30}, (2.0, 2.0)),
        ({'shorter': [20, 60]}, (1.0, 3.0)),
        (40, (2.0, 2.0)),
    ],
)
def test_a_crop_of_a_resized_image_has_its_size_and_its_scale(folders, make, resize, steps):
    dataset = make(folders, resize=resize, gt_size=16)
    seen = []
    for _ in range(30):
        gt = dataset[0]['gt']
        assert gt.shape == dataset[0]['lq'].shape == (3, 16, 16)
        columns = gt[0, 8].numpy() * 255 / 3
        seen.append(np.diff(columns[1:-1]).mean())
    assert steps[0] - 0.15 < min(seen)
    assert max(seen) < steps[1] + 0.15
    if steps[0] < steps[1]:
        assert max(seen) - min(seen) > 1


def test_crops_reach_both_ends_and_none_goes_beyond(folders):
    random.seed(0)
    begins, ends = set(), set()
    for _ in range(300):
        window, size = sizes.draw_resized_crop(sizes.Resize(shorter=(20, 30)), 16, 60, 80)
        assert size == (16, 16)
        begins.add(window[1].start)
        ends.add(window[1].stop)
    assert min(begins) == 0
    assert max(ends) == 80


def test_haze_of_a_crop_of_a_resized_image_is_that_of_its_depth(folders):
    sample = synthetic(folders, resize={'shorter': 30}, gt_size=16, beta=1.0, airlight=1.0)[0]
    t, clear = sample['transmission'][0], sample['gt'][0]
    assert t.shape == (16, 16)
    depth = (clear * 255 / 3 + 1) / 80
    assert (t - (-depth).exp()).abs().max() < 0.02
    assert (sample['lq'][0] - (clear * t + 1 - t)).abs().max() < 0.02


def test_the_parts_of_a_mixture_may_be_resized_each_in_its_way_before_one_crop(folders):
    part = {'type': 'SyntheticHazeDataset', 'dataroot_gt': str(folders / 'clear'), 'preset': 'reside_its'}
    parts = {'small': part | {'resize': {'shorter': [20, 40]}}, 'large': part}
    mixture = MixedDataset({'name': 'Mix', 'phase': 'train', 'parts': parts, 'gt_size': 16, 'return_maps': True})
    for i in range(2):
        assert mixture[i]['lq'].shape == (3, 16, 16)
        assert mixture[i]['transmission'].shape == (1, 16, 16)
        assert mixture[i]['airlight'].shape == (3, 1, 1)


def test_a_test_takes_the_whole_image_with_its_shorter_side_as_asked_for(folders):
    dataset = paired(folders, phase='test', resize={'shorter': 30})
    assert dataset[0]['lq'].shape == (3, 30, 40)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'resize': {'shorter': [20, 30]}}, "'gt_size' is missing: with shorter"),
        ({'resize': 32, 'gt_size': 48}, 'gt_size 48 does not fit into what resize makes, 32'),
        ({'resize': {'shorter': [20, 60]}, 'gt_size': 24}, 'gt_size 24 does not fit'),
        ({'resize': {'shorter': [60, 20]}, 'gt_size': 16}, 'low end is above the high one'),
        ({'resize': {'longer': 60}, 'gt_size': 16}, r'write a number of px, \[height, width\], or \{shorter'),
        ({'resize': {'shorter': 'x'}, 'gt_size': 16}, 'write a number of px'),
        ({'resize': {'shorter': [20, 30]}, 'phase': 'test'}, 'which is for training; write one number in phase test'),
        ({'resize': [20, 30], 'use_rot': True}, 'use_rot turns'),
        ({}, "option 'gt_size' .random crop. or 'resize' is missing"),
    ],
)
def test_what_gives_no_one_size_is_refused(folders, options, message):
    with pytest.raises(InputError, match=message):
        paired(folders, **options)
