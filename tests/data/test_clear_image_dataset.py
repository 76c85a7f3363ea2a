"""Clear images alone, and the same ones made smaller."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils.matlab_functions import imresize

from okdnet_plugin.errors import InputError


@pytest.fixture
def options(pairs):
    return {'name': 'Clear', 'type': 'ClearImageDataset', 'dataroot_gt': str(pairs / 'clear'), 'phase': 'val'}


def test_low_quality_image_is_the_clear_one_made_smaller(options, pairs):
    sample = build_dataset(options | {'scale': 2})[1]
    clear = cv2.imread(str(pairs / 'clear' / '2.png')).astype(np.float32)[..., ::-1] / 255
    assert torch.equal(sample['gt'], torch.from_numpy(clear.transpose(2, 0, 1).copy()))
    assert sample['lq'].shape == (3, 24, 32)
    smaller = imresize(clear, 0.5).transpose(2, 0, 1).clip(0, 1)
    np.testing.assert_allclose(sample['lq'].numpy(), smaller, atol=0.51 / 255)
    assert sample['gt_path'] == sample['lq_path'] == str(pairs / 'clear' / '2.png')


def test_with_scale_1_both_are_one_image(options):
    sample = build_dataset(options)[0]
    assert torch.equal(sample['lq'], sample['gt'])


def test_sides_are_cut_to_a_multiple_of_the_scale(options):
    sample = build_dataset(options | {'scale': 5})[0]
    assert (sample['lq'].shape, sample['gt'].shape) == ((3, 9, 12), (3, 45, 60))


def test_training_takes_a_crop(options):
    data = build_dataset(options | {'phase': 'train', 'gt_size': 32, 'scale': 2, 'use_hflip': True, 'use_rot': True})
    shapes = {(data[i % 4]['lq'].shape, data[i % 4]['gt'].shape) for i in range(8)}
    assert shapes == {((3, 16, 16), (3, 32, 32))}


def test_list_names_the_images(options, tmp_path):
    (tmp_path / 'list.txt').write_text('3.png\n1.png\n')
    data = build_dataset(options | {'meta_info_file': str(tmp_path / 'list.txt')})
    assert [data[i]['gt_path'][-5:] for i in range(len(data))] == ['3.png', '1.png']


def test_crop_that_is_no_multiple_of_the_scale_is_refused(options):
    with pytest.raises(InputError, match='gt_size 33 is no multiple of scale 2'):
        build_dataset(options | {'phase': 'train', 'gt_size': 33, 'scale': 2})
