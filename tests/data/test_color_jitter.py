"""Colours of a pair that change at random: alike, before the haze is made, and by the seed alone."""

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from okdnet_plugin.config import check
from okdnet_plugin.data.color_jitter import color_jitter_of, jittered
from okdnet_plugin.data.seeded_order import Draw, SeededDataset

ALL = {'brightness': 0.4, 'contrast': 0.4, 'saturation': 0.4, 'hue': 0.2}
LINEAR = {key: value for key, value in ALL.items() if key != 'hue'}
SIZE = 24, 24
HALF_A_BYTE = 0.5 / 255 + 1e-6


def colours(seed, size=SIZE, low=90, high=150):
    return np.random.default_rng(seed).integers(low, high, (*size, 3), np.uint8)


@pytest.fixture
def root(tmp_path):
    """One clear image, a hazy one of a single colour that the clear one has at its first pixel, and a depth."""
    clear = colours(0)
    for side, img in {'clear': clear, 'hazy': np.broadcast_to(clear[0, 0], clear.shape)}.items():
        (tmp_path / side).mkdir()
        cv2.imwrite(str(tmp_path / side / 'a.png'), img)
    (tmp_path / 'depth').mkdir()
    np.save(tmp_path / 'depth' / 'a.npy', np.linspace(0.1, 2, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE))
    return tmp_path


def sample(root, kind, seed=0, **more):
    """The same draw of a training of one of our data sets."""
    own = {
        'PairedDehazeDataset': {'dataroot_lq': str(root / 'hazy')},
        'SyntheticHazeDataset': {
            'dataroot_depth': str(root / 'depth'), 'beta': [0.5, 1.5], 'airlight': [0.5, 1.0], 'return_maps': True,
        },
        'ClearImageDataset': {},
    }[kind]  # fmt: skip
    block = {'name': 'A', 'type': kind, 'phase': 'train', 'dataroot_gt': str(root / 'clear'), 'scale': 1, **own}
    data = SeededDataset(build_dataset(block | {'gt_size': 16, 'use_hflip': True, 'use_rot': True} | more), seed)
    return data[Draw(0, 0)]


def first_pixels(pair):
    return [pair[side].flatten(1) for side in ('gt', 'lq')]


def test_both_images_change_by_the_same_function_of_a_colour(root):
    plain = sample(root, 'PairedDehazeDataset', gt_size=24)
    pair = sample(root, 'PairedDehazeDataset', color_jitter=ALL, gt_size=24)
    before, now = first_pixels(plain), first_pixels(pair)
    place = int((before[0] == before[1][:, :1]).all(0).nonzero()[0])  # of the hazy image's colour in the clear one
    assert (now[0] - before[0]).abs().mean() > 0.02
    assert torch.equal(now[0][:, place], now[1][:, place])


def test_pair_of_haze_stays_a_pair_of_haze():
    clear, t = colours(0).astype(float), np.linspace(0.3, 0.8, SIZE[1])[None, :, None]
    airlight = np.broadcast_to(colours(1, (1, 1)), clear.shape).astype(float)
    hazy = clear * t + airlight * (1 - t)
    for seed in range(8):
        torch.manual_seed(seed)
        images = [np.rint(img).astype(np.uint8) for img in (clear, hazy, airlight)]
        clear_now, hazy_now, airlight_now = jittered(color_jitter_of(LINEAR), images)
        assert np.abs(clear_now - clear).mean() > 2
        difference = clear_now * t + airlight_now.astype(float) * (1 - t) - hazy_now
        assert np.abs(difference).max() < 2.5  # what was rounded before is stretched, and rounded again


def test_haze_is_made_of_the_changed_clear_image(root):
    plain, made = (sample(root, 'SyntheticHazeDataset', color_jitter=block) for block in (None, ALL))
    assert (made['gt'] - plain['gt']).abs().mean() > 0.02
    for key in ('transmission', 'airlight'):
        assert torch.equal(made[key], plain[key])
    expected = made['gt'] * made['transmission'] + made['airlight'] * (1 - made['transmission'])
    assert (made['lq'] - expected).abs().max() <= HALF_A_BYTE


@pytest.mark.parametrize('kind', ['PairedDehazeDataset', 'SyntheticHazeDataset', 'ClearImageDataset'])
def test_draw_depends_on_the_seed_alone_and_moves_no_other_one(root, kind):
    first, again, other = (sample(root, kind, seed, color_jitter=ALL)['gt'] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    small = sample(root, kind, color_jitter={'brightness': 0.02})['gt']
    assert 0 < (small - sample(root, kind)['gt']).abs().max() < 0.03  # the same crop, turned alike


def test_number_of_threads_changes_nothing():
    images, threads, found = [colours(0, (256, 512), 0, 256)], torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.manual_seed(0)
            found += jittered(color_jitter_of(ALL), images)
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(*found)


def test_images_of_a_scale_keep_their_sizes():
    small, large = jittered(color_jitter_of(ALL), [colours(0, (8, 6)), colours(0, (16, 12))])
    assert (small.shape, large.shape) == ((8, 6, 3), (16, 12, 3))


def test_validation_changes_no_colour(root):
    plain, pair = (sample(root, 'PairedDehazeDataset', phase='val', color_jitter=block) for block in (None, ALL))
    assert torch.equal(plain['gt'], pair['gt'])


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'brightness': 2}, 'color_jitter:brightness is 2; write a number from 0 to 1'),
        ({'hue': 0.6}, 'color_jitter:hue is 0.6; write a number from 0 to 0.5'),
        ({'brigthness': 0.1}, 'brigthness: PairedDehazeDataset does not read it (did you mean brightness?)'),
        (0.2, 'color_jitter is 0.2; write a block of keys and values'),
    ],
)  # fmt: skip
def test_wrong_values_are_told(train_options, block, message):
    train_options['datasets']['train']['color_jitter'] = block
    lines = [str(mistake) for mistake in check.check(train_options, look=False)]
    assert any(message in line for line in lines), lines
