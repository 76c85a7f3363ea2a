"""SyntheticHazeDataset, measured against the scattering model and BasicSR's PairedImageDataset."""

import logging
import random
from collections import Counter
from copy import deepcopy
from functools import partial
from os import path as osp

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.data.degradations import add_jpg_compression
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils import bgr2ycbcr, get_root_logger
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from torch.utils.data import DataLoader

from okdnet_plugin.data.depth import painted_depth
from okdnet_plugin.data.haze import equivalent_distance, sine_of_elevation
from okdnet_plugin.data.haze_options import PRESETS, HazeRule
from okdnet_plugin.data.seeded_order import Draw, SeededDataset
from okdnet_plugin.data.synthetic_haze_dataset import SyntheticHazeDataset
from okdnet_plugin.errors import InputError

SIZE = 40, 48
SCALE = 6553.5
HALF_A_BYTE = 0.5 / 255 + 1e-6


def clear_image(name, size=SIZE):
    noise = np.random.default_rng(list(name.encode())).integers(0, 256, (*size, 3), np.uint8)
    return cv2.GaussianBlur(noise, (3, 3), 0)


def depth_values(name, size=SIZE):
    noise = np.random.default_rng(list(name.encode())).random(size) * 1000
    return (np.linspace(6500, 600, size[0])[:, None] - noise.clip(0, 500)).astype(np.uint16)


def write(file, img):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(file.suffix, img)[1].tobytes())


def folders(root, scenes=('1', '2', '3'), size=SIZE):
    for scene in scenes:
        write(root / 'clear' / f'{scene}.png', clear_image(scene, size))
        write(root / 'depth' / f'{scene}.png', depth_values(scene, size))
    return root


def options(root, **more):
    opt = {
        'name': 'Made',
        'type': 'SyntheticHazeDataset',
        'phase': 'val',
        'dataroot_gt': str(root / 'clear'),
        'dataroot_depth': str(root / 'depth'),
        'depth_scale': SCALE,
        'beta': 1.2,
        'airlight': 0.9,
        'return_maps': True,
        **more,
    }
    return {key: value for key, value in opt.items() if value is not None}


def preset(name):
    return {'preset': name, 'beta': None, 'airlight': None}


def train(**more):
    return {'phase': 'train', 'gt_size': 24, 'use_hflip': True, 'use_rot': True, **more}


def made(root, **more):
    return SyntheticHazeDataset(options(root, **more))


def bgr(tensor):
    return tensor.permute(1, 2, 0).numpy()[..., ::-1]


def model(gt, t, airlight):
    return gt * t + airlight * (1 - t)


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]


# ----------------------------------------------------------------------------------------------------------- the haze


def test_a_hazy_image_is_the_models_rounded_to_bytes(tmp_path):
    sample = made(folders(tmp_path))[1]
    clear, depth = clear_image('2') / 255, depth_values('2') / SCALE
    expected = model(clear, np.exp(-1.2 * depth)[..., None], 0.9)
    np.testing.assert_allclose(bgr(sample['lq']), expected, atol=HALF_A_BYTE)
    assert torch.equal(sample['lq'] * 255, (sample['lq'] * 255).round())
    np.testing.assert_array_equal(bgr(sample['gt']), clear.astype(np.float32))
    assert sample['lq'].dtype == sample['gt'].dtype == torch.float32
    assert sample['lq_path'] == sample['gt_path'] == str(tmp_path / 'clear' / '2.png')


def test_maps_are_the_transmission_and_the_airlight(tmp_path):
    sample = made(folders(tmp_path), airlight={'choices': [0.8]})[0]
    t, airlight = sample['transmission'], sample['airlight']
    assert t.dtype == airlight.dtype == torch.float32
    assert t.shape == (1, *SIZE)
    np.testing.assert_allclose(t[0], np.exp(-1.2 * depth_values('1') / SCALE), rtol=1e-5)
    assert airlight.shape == (3, 1, 1)
    np.testing.assert_allclose(airlight, 0.8)


def test_maps_are_given_on_demand_only(tmp_path):
    assert made(folders(tmp_path), return_maps=None)[0].keys() == {'lq', 'gt', 'lq_path', 'gt_path'}


def beta_of(sample, name='1'):
    beta = -np.log(sample['transmission'][0].numpy()) / (depth_values(name) / SCALE)
    assert np.ptp(beta) < 1e-4
    return beta.mean()


def test_its_draws_beta_and_airlight_from_its_ranges(tmp_path):
    root = folders(tmp_path, scenes=['1'])
    samples = [made(root, **preset('reside_its'), seed=seed)[0] for seed in range(60)]
    for values, low, high in (
        ([beta_of(sample) for sample in samples], 0.6, 1.8),
        ([sample['airlight'][0].item() for sample in samples], 0.7, 1.0),
    ):
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    assert all((sample['airlight'] == sample['airlight'][0]).all() for sample in samples)


def test_ots_draws_from_its_choices_and_its_grid_has_35_combinations(tmp_path):
    root = folders(tmp_path, scenes=['1'])
    beta, airlight = (PRESETS['reside_ots'][key]['choices'] for key in ('beta', 'airlight'))
    samples = [made(root, **preset('reside_ots'), seed=seed)[0] for seed in range(9)]
    assert all(min(abs(beta_of(sample) - one) for one in beta) < 1e-4 for sample in samples)
    assert {round(sample['airlight'][0].item(), 5) for sample in samples} <= set(airlight)
    grid = made(root, **preset('reside_ots'), grid=True)
    found = [(round(beta_of(sample), 3), round(sample['airlight'][0].item(), 3)) for sample in grid]
    assert len(beta) * len(airlight) == 35
    assert found == [(b, a) for a in airlight for b in beta]


def test_sots_indoor_is_a_grid_of_ten_with_white_light(tmp_path):
    data = made(folders(tmp_path, scenes=['1400', '1401']), **preset('sots_indoor'))
    assert len(data) == 20
    names = [osp.basename(data[index]['lq_path']) for index in range(20)]
    assert names == [f'{scene}_{variant}.png' for scene in (1400, 1401) for variant in range(1, 11)]
    for index in (0, 6, 9):
        assert beta_of(data[index], '1400') == pytest.approx(0.6 + 0.1 * index, abs=1e-4)
        assert (data[index]['airlight'] == 1).all()
    assert osp.basename(data[13]['gt_path']) == '1401.png'
    assert data.lq_path(13) == data[13]['lq_path']


def test_the_white_frame_of_sots_indoor_is_cut_off(tmp_path):
    plain = made(folders(tmp_path / 'plain', scenes=['1']), **preset('sots_indoor'))[3]
    root = folders(tmp_path / 'framed', scenes=['1'])
    framed = cv2.copyMakeBorder(clear_image('1'), 10, 10, 10, 10, cv2.BORDER_CONSTANT, value=(255,) * 3)
    write(root / 'clear' / '1.png', framed)
    assert torch.equal(made(root, **preset('sots_indoor'))[3]['lq'], plain['lq'])


def test_keys_override_a_preset(tmp_path):
    data = made(folders(tmp_path), preset='sots_indoor', beta=2.0, airlight=[0.5, 0.6], grid=False)
    assert len(data) == 3
    assert beta_of(data[0]) == pytest.approx(2, abs=1e-4)
    assert 0.5 <= data[0]['airlight'][0] <= 0.6


def test_the_airlight_may_be_coloured(tmp_path):
    sample = made(folders(tmp_path), airlight=[0.5, 1], airlight_per_channel=True)[0]
    airlight = sample['airlight'].flatten().tolist()
    assert len(set(airlight)) == 3
    t = np.exp(-1.2 * depth_values('1') / SCALE)[..., None]
    np.testing.assert_allclose(bgr(sample['lq']), model(clear_image('1') / 255, t, airlight[::-1]), atol=HALF_A_BYTE)


def test_height_is_the_exponential_atmosphere_of_the_depth(tmp_path):
    sample = made(folders(tmp_path), field='height', falloff=1.5, fov=50)[0]
    distance = equivalent_distance(depth_values('1') / SCALE, sine_of_elevation(SIZE[0], 50), 1.5)
    np.testing.assert_allclose(sample['transmission'][0], np.exp(-1.2 * distance), rtol=1e-5)


def test_patchy_haze_is_of_the_same_beta_on_the_whole(tmp_path):
    sample = made(folders(tmp_path), field='patchy', patchiness=1)[0]
    ratio = -np.log(sample['transmission'][0].numpy()) / (1.2 * depth_values('1') / SCALE)
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert ratio.min() < 0.1
    assert ratio.max() > 1.5


def test_fields_are_drawn_by_their_weights():
    field = {
        'homogeneous': 6,
        'height': 1,
        'patchy': 3,
    }
    rule = HazeRule({'beta': 1, 'airlight': 1, 'field': field, 'falloff': [1, 2], 'patchiness': 0.5})
    rng = np.random.default_rng(0)
    counts = Counter(rule.draw(rng, 0).field for _ in range(1000))
    for name, weight in field.items():
        assert counts[name] == pytest.approx(100 * weight, abs=50)


def test_noise_is_gaussian_and_of_the_given_strength(tmp_path):
    root = folders(tmp_path, scenes=['1'])
    write(root / 'clear' / '1.png', np.full((*SIZE, 3), 128, np.uint8))
    without, noisy = made(root, airlight=0.5)[0]['lq'], made(root, airlight=0.5, noise=0.05)[0]['lq']
    difference = (noisy - without).flatten()
    assert difference.std().item() == pytest.approx(0.05, rel=0.05)
    assert difference.mean().item() == pytest.approx(0, abs=0.005)
    assert (difference.abs() > 0.1).float().mean().item() == pytest.approx(0.046, abs=0.01)


def test_noise_stays_within_the_range_of_bytes(tmp_path):
    lq = made(folders(tmp_path), noise=0.9)[0]['lq']
    assert lq.min() == 0
    assert lq.max() == 1
    assert (lq == 0).float().mean() > 0.1


def test_jpeg_is_from_basicsr_compression(tmp_path):
    root = folders(tmp_path)
    expected = add_jpg_compression(bgr(made(root)[0]['lq']), 35)
    np.testing.assert_array_equal(bgr(made(root, jpeg=35)[0]['lq']), expected)


def test_jpeg_quality_is_drawn_from_its_range():
    rule = HazeRule({'beta': 1, 'airlight': 1, 'jpeg': [60, 63]})
    rng = np.random.default_rng(0)
    assert {rule.draw(rng, 0).jpeg for _ in range(60)} == {60, 61, 62, 63}


# ---------------------------------------------------------------------------------------------------- crops and turns


@pytest.mark.parametrize(
    'changes', [train(), train(use_rot=False), train(use_hflip=False), train(gt_size=40), {}], ids=str
)
def test_clear_images_are_cropped_and_turned_as_by_basicsr(tmp_path, changes):
    root = folders(tmp_path)
    ours = made(root, **changes)
    clear = {'dataroot_lq': str(root / 'clear'), 'dataroot_gt': str(root / 'clear')}
    theirs = PairedImageDataset({'phase': 'val', 'scale': 1, 'io_backend': {'type': 'disk'}, **clear, **changes})
    place = {path['gt_path']: index for index, path in enumerate(theirs.paths)}
    for seed in range(6):
        index = seed % 3
        random.seed(seed)
        sample = ours[index]
        random.seed(seed)
        assert torch.equal(sample['gt'], theirs[place[sample['gt_path']]]['gt'])


@pytest.mark.parametrize('field', [{}, {'field': 'height', 'falloff': 1}, {'field': 'patchy'}], ids=str)
def test_maps_fit_the_images_however_they_are_cropped_and_turned(tmp_path, field):
    data = made(folders(tmp_path), **train(airlight=[0.4, 1], airlight_per_channel=True, **field))
    for index in (*range(3), *range(3), *range(3)):
        sample = data[index]
        assert sample['lq'].shape == (3, 24, 24)
        assert sample['transmission'].shape == (1, 24, 24)
        expected = model(sample['gt'], sample['transmission'], sample['airlight'])
        torch.testing.assert_close(sample['lq'], expected, atol=HALF_A_BYTE, rtol=0)


@pytest.mark.parametrize('field', [{}, {'field': 'height', 'falloff': 1}, {'field': 'patchy'}], ids=str)
def test_a_crop_has_the_haze_of_the_whole_image(tmp_path, field):
    root = folders(tmp_path, scenes=['1'])
    for seed in range(4):
        maps = []
        for size in ({'gt_size': 24}, {'gt_size': None, 'resize': list(SIZE)}):
            random.seed(seed)
            np.random.seed(seed)
            maps.append(made(root, **train(use_hflip=False, use_rot=False, depth_norm='max', **size, **field))[0])
        random.seed(seed)
        top, left = random.randint(0, SIZE[0] - 24), random.randint(0, SIZE[1] - 24)
        crop, whole = (sample['transmission'] for sample in maps)
        torch.testing.assert_close(crop, whole[:, top : top + 24, left : left + 24], atol=1e-5, rtol=0)


@pytest.mark.parametrize('phase', ['train', 'val'])
def test_resize_treats_the_finished_image_like_a_file(tmp_path, phase):
    root = folders(tmp_path)
    whole, small = made(root)[0], made(root, phase=phase, resize=[20, 30])[0]
    for side in ('lq', 'gt'):
        bytes_of_it = np.rint(bgr(whole[side]) * 255).astype(np.uint8)
        expected = cv2.resize(bytes_of_it, (30, 20), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        np.testing.assert_array_equal(bgr(small[side]), expected)
    assert small['transmission'].shape == (1, 20, 30)
    expected = model(small['gt'], small['transmission'], small['airlight'])
    torch.testing.assert_close(small['lq'], expected, atol=0.03, rtol=0)


def test_an_enlarged_transmission_is_not_above_one(tmp_path):
    root = folders(tmp_path, scenes=['1'])
    write(root / 'depth' / '1.png', np.zeros(SIZE, np.uint16))
    t = made(root, resize=77)[0]['transmission']
    assert t.shape == (1, 77, 77)
    assert t.max() == 1


def test_luma_and_normalisation_are_the_paired_data_sets(tmp_path):
    root = folders(tmp_path)
    plain, luma = made(root)[0], made(root, color='y')[0]
    np.testing.assert_allclose(luma['lq'][0], bgr2ycbcr(bgr(plain['lq']), y_only=True), atol=1e-6)
    mean, std = [0.5, 0.4, 0.3], [0.5, 0.6, 0.7]
    normal = made(root, mean=mean, std=std)[0]
    for side in ('lq', 'gt'):
        expected = (plain[side] - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        torch.testing.assert_close(normal[side], expected)


# --------------------------------------------------------------------------------------------------------- the sources


def test_lmdbs_give_what_folders_give(tmp_path):
    root = folders(tmp_path)
    lmdbs = {}
    for kind in ('clear', 'depth'):
        lmdbs[kind] = str(root / f'{kind}.lmdb')
        make_lmdb_from_imgs(str(root / kind), lmdbs[kind], ['1.png', '2.png', '3.png'], ['1', '2', '3'], map_size=2**24)
    backend = {'io_backend': {'type': 'lmdb'}, 'dataroot_gt': lmdbs['clear'], 'dataroot_depth': lmdbs['depth']}
    for changes in ({}, {'preset': 'sots_indoor', 'beta': None, 'airlight': None}):
        ours, files = made(root, **changes, **backend), made(root, **changes)
        assert len(ours) == len(files)
        sample, expected = ours[1], files[1]
        assert sample.pop('lq_path') == osp.splitext(osp.basename(expected.pop('lq_path')))[0]
        assert sample.pop('gt_path') == osp.splitext(osp.basename(expected.pop('gt_path')))[0]
        assert_equal(sample, expected)


def test_depth_may_be_of_any_kind_beside_any_image(tmp_path):
    root = folders(tmp_path)
    for scene in '123':
        (root / 'depth' / f'{scene}.png').unlink()
    np.save(root / 'depth' / '1.npy', depth_values('1') / SCALE)
    np.savez(root / 'depth' / '2.npz', depth=np.float32(depth_values('2') / SCALE), other=np.zeros(3))
    write(root / 'depth' / '3.TIFF', np.float32(depth_values('3') / SCALE))
    data = made(root, depth_scale=None)
    for index, scene in enumerate('123'):
        assert beta_of(data[index], scene) == pytest.approx(1.2, abs=1e-4)


def test_depth_options_reach_the_depth(tmp_path):
    sample = made(folders(tmp_path), depth_scale=None, depth_kind='inverse', depth_norm='max')[0]
    depth = depth_values('1').min() / depth_values('1')
    np.testing.assert_allclose(sample['transmission'][0], np.exp(-1.2 * depth), rtol=1e-5)


def messages_of(action):
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    get_root_logger().addHandler(handler)
    try:
        action()
    finally:
        get_root_logger().removeHandler(handler)
    return messages


def test_without_depth_it_is_made_up_and_one_line_says_so(tmp_path):
    root = folders(tmp_path)
    no_depth = {'dataroot_depth': None, 'depth_scale': None}
    messages = messages_of(lambda: made(root, **no_depth)[0])
    assert len(messages) == 1
    assert 'phase val, data set Made: no dataroot_depth' in messages[0]
    assert 'made up' in messages[0]
    t = made(root, **no_depth)[0]['transmission'][0]
    np.testing.assert_allclose(t, np.exp(-1.2 * painted_depth(clear_image('1'))), rtol=1e-5)
    assert not messages_of(lambda: made(root)[0])


def test_a_list_chooses_clear_images(tmp_path):
    root = folders(tmp_path)
    (root / 'depth' / '2.png').unlink()
    (tmp_path / 'list.txt').write_text('3.png (40,48,3) 1\n1.png\n')
    data = made(root, meta_info_file=str(tmp_path / 'list.txt'))
    assert [osp.basename(sample['gt_path']) for sample in (data[0], data[1])] == ['3.png', '1.png']
    assert len(data) == 2


def test_basicsr_builds_it_and_options_stay_as_they_were(tmp_path):
    opt = options(folders(tmp_path), **train(num_worker_per_gpu=0, batch_size_per_gpu=2), **preset('reside_its'))
    before = deepcopy(opt)
    data = build_dataset(opt)
    assert isinstance(data, SyntheticHazeDataset)
    batch = next(iter(DataLoader(data, batch_size=3)))
    assert batch['lq'].shape == batch['gt'].shape == (3, 3, 24, 24)
    assert batch['airlight'].shape == (3, 3, 1, 1)
    assert opt == before


# --------------------------------------------------------------------------------------------------------- determinism

RANDOM = {
    'beta': [0.6, 1.8],
    'airlight': [0.7, 1],
    'field': {'homogeneous': 1, 'height': 1, 'patchy': 1},
    'falloff': [0.5, 2],
    'patchiness': [0.2, 1],
    'noise': [0, 0.02],
    'jpeg': [60, 100],
}


@pytest.mark.parametrize('phase', ['val', 'test'])
def test_every_validation_sees_the_same_haze_and_moves_no_other_generator(tmp_path, phase):
    root = folders(tmp_path)
    data = made(root, phase=phase, **RANDOM)
    first = [data[index] for index in range(3)]
    np.random.seed(5)
    random.seed(5)
    torch.manual_seed(5)
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
    again = made(root, phase=phase, **RANDOM)
    for index in (2, 0, 1):
        assert_equal(again[index], first[index])
    assert before == (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist())


def test_images_and_seeds_have_their_own_haze(tmp_path):
    root = folders(tmp_path)
    airlights = [made(root, seed=seed, **RANDOM)[index]['airlight'][0].item() for seed in (0, 1) for index in range(3)]
    assert len(set(airlights)) == 6
    assert_equal(made(root, seed=0, **RANDOM)[0], made(root, **RANDOM)[0])


def test_training_follows_numpys_generator(tmp_path):
    data = made(folders(tmp_path), **train(gt_size=40, use_hflip=False, use_rot=False), **RANDOM)

    def sample(seed):
        random.seed(0)
        np.random.seed(seed)
        return data[0]

    assert_equal(sample(1), sample(1))
    assert not torch.equal(sample(1)['airlight'], sample(2)['airlight'])
    np.random.seed(1)
    assert not torch.equal(data[0]['airlight'], data[0]['airlight'])


@pytest.mark.parametrize('phase', ['train', 'val'])
def test_workers_make_what_the_parent_makes(tmp_path, phase):
    data = made(folders(tmp_path), **(train() if phase == 'train' else {}), **RANDOM)
    numbers = range(3)
    if phase == 'train':
        data, numbers = SeededDataset(data, 7), [Draw(epoch, number) for epoch in range(2) for number in range(3)]
    here, there = (list(DataLoader(data, batch_size=None, sampler=numbers, num_workers=workers)) for workers in (0, 1))
    assert len(here) == len(numbers)
    for one, other in zip(here, there, strict=True):
        assert_equal(one, other)


# ------------------------------------------------------------------------------------------------------------ mistakes


def put(**changes):
    return lambda opt, root: opt.update(changes)


def remove(*keys):
    return lambda opt, root: [opt.pop(key) for key in keys]


def put_without(*keys, **changes):
    return lambda opt, root: (remove(*keys)(opt, root), opt.update(changes))


@pytest.mark.parametrize(
    ('spoil', 'parts'),
    [
        (put(betas=1), ['betas', 'did you mean beta', 'take it out']),
        (remove('dataroot_gt'), ['dataroot_gt is missing', 'add folder']),
        (remove('beta'), ["'beta' is missing", 'a preset: reside_its']),
        (remove('airlight'), ["'airlight' is missing", 'a preset']),
        (put(preset='reside_it'), ["preset is 'reside_it'", 'did you mean reside_its', 'write one of']),
        (put(beta=[1.8, 0.6]), ['beta is the range [1.8, 0.6]', 'swap']),
        (put(beta=-0.1), ['beta is -0.1', 'write numbers from 0']),
        (put(beta=[0.6, float('inf')]), ['beta is [0.6, .inf]', 'write a number']),
        (put(beta=[1, 2, 3]), ['beta is [1, 2, 3]', 'a range [low, high], or {choices: [...]}']),
        (put(beta={'choices': []}), ['beta is', '{choices: [...]}']),
        (put(beta={'choice': [1]}), ['beta is', '{choices: [...]}']),
        (put(beta='1.0'), ["beta is '1.0'", 'write a number']),
        (put(airlight=True), ['airlight is true', 'write a number']),
        (put(airlight=[0.7, 1.1]), ['airlight is [0.7, 1.1]', 'from 0 to 1']),
        (put(airlight={'choices': [0.8, 200]}), ['airlight is', '200', 'from 0 to 1']),
        (put(airlight_per_channel=1), ['airlight_per_channel is 1', 'true or false']),
        (put(grid=True, beta=[0.6, 1.8]), ['grid needs choices', 'beta is the range [0.6, 1.8]', 'grid: false']),
        (put(grid=True, airlight=[0.7, 1]), ['grid needs choices', 'airlight is the range', '{choices: [...]}']),
        (put(preset='sots_indoor', beta=[1, 2], airlight=1), ['grid needs choices', 'grid: false']),
        (put_without('beta', preset='reside_its', grid=True), ['grid needs choices', '{choices: [...]}']),
        (put(grid=True, airlight_per_channel=True), ['grid and airlight_per_channel', 'remove one']),
        (put(field='foggy'), ["field is 'foggy'", 'write one of homogeneous, height, patchy']),
        (put(field={'patchyy': 1}), ['patchyy', 'write one of homogeneous']),
        (put(field={}), ['field is {}', 'write one of']),
        (put(field=['patchy']), ['field is', 'write one of']),
        (put(field={'patchy': -1}), ['field is {patchy: -1}', 'weights']),
        (put(field={'patchy': 0}), ['field is', 'above 0']),
        (put(falloff=1), ['falloff belongs to field height', 'add the field or remove falloff']),
        (put(fov=60), ['fov belongs to field height', 'remove fov']),
        (put(patchiness=0.5), ['patchiness belongs to field patchy', 'remove patchiness']),
        (put(field='height'), ["'falloff' is missing", 'per unit of depth']),
        (put(field='height', falloff=-1), ['falloff is -1', 'from 0']),
        (put(field='height', falloff=1, fov=180), ['fov is 180', 'above 0 and below 180']),
        (put(field='patchy', patchiness=[0, 1.5]), ['patchiness is [0, 1.5]', 'from 0 to 1']),
        (put(noise=[0, 5]), ['noise is [0, 5]', 'from 0 to 1']),
        (put(jpeg=0), ['jpeg is 0', 'from 1 to 100']),
        (put(jpeg=[60, 101]), ['jpeg is [60, 101]', 'from 1 to 100']),
        (put(scale=2), ['scale is 2', 'write 1']),
        (put(seed=-1), ['seed is -1', 'whole number']),
        (put(phase='train', gt_size=24, seed=1), ['seed is for the haze of val and test', 'manual_seed', 'remove']),
        (put(return_maps='yes'), ["return_maps is 'yes'", 'true or false']),
        (put(phase='train'), ["'gt_size'", "'resize'"]),
        (put(color='hsv'), ["'hsv'", 'write one of rgb, y']),
        (put(depth_kind='disparity'), ["depth_kind is 'disparity'", 'one of depth, inverse']),
        (put(depth_norm='mean'), ["depth_norm is 'mean'", 'one of none, max, minmax']),
        (put(depth_scale=0), ['depth_scale is 0', 'above 0']),
        (remove('depth_scale'), ["'depth_scale' is missing", 'depth/1.png holds whole numbers', 'depth_norm']),
        (remove('dataroot_depth'), ['depth_scale says', 'no dataroot_depth', 'remove depth_scale']),
        (put(dataroot_gt='nowhere'), ['dataroot_gt', 'nowhere does not exist', 'correct the path']),
        (put(dataroot_depth='nowhere'), ['dataroot_depth', 'nowhere does not exist', 'correct the path']),
        (put(dataroot_depth=['a', 'b']), ['dataroot_depth', 'one path']),
        (put(meta_info_file='nowhere.txt'), ['nowhere.txt cannot be read', 'correct']),
        (lambda opt, root: (root / 'depth/2.png').unlink(), ['2.png has no depth', '1 of 3 such', 'add the depth']),
        (lambda opt, root: write(root / 'clear/1.jpg', clear_image('1')), ['1.jpg and', 'same stem', 'remove']),
        (lambda opt, root: write(root / 'depth/1.tif', depth_values('1')), ['1.tif', 'same stem', 'remove']),
    ],
)
def test_a_wrong_option_is_named_at_construction(tmp_path, spoil, parts):
    opt = options(folders(tmp_path))
    spoil(opt, tmp_path)
    assert_named(partial(SyntheticHazeDataset, opt), parts)


def depth_file(values):
    return lambda opt, root: (root / 'depth/1.png').write_bytes(cv2.imencode('.png', values)[1].tobytes())


def npy_file(values):
    return lambda opt, root: ((root / 'depth/1.png').unlink(), np.save(root / 'depth/1.npy', values))


def break_file(name, content):
    return lambda opt, root: (root / name).write_bytes(content((root / name).read_bytes()))


@pytest.mark.parametrize(
    ('spoil', 'parts'),
    [
        (break_file('clear/1.png', lambda whole: whole[:-40]), ['clear/1.png cannot be decoded', 'again']),
        (break_file('depth/1.png', lambda whole: whole[:-40]), ['depth/1.png cannot be decoded', 'make']),
        (break_file('depth/1.png', lambda whole: b''), ['depth/1.png is empty', 'make']),
        (depth_file(clear_image('1')), ['depth/1.png is of shape (40, 48, 3)', 'one channel']),
        (depth_file(depth_values('1', (40, 49))), ['depth/1.png is 40x49', 'clear/1.png is 40x48', 'make it again']),
        (npy_file(np.full(SIZE, np.nan)), ['depth/1.npy has 1920 of 1920', 'not finite', 'fill']),
        (npy_file(np.full(SIZE, -1.0)), ['depth/1.npy has 1920 of 1920', 'negative']),
        (npy_file(np.array([{}])), ['depth/1.npy holds pickled objects', 'numpy.save']),
        (put(**train(gt_size=41)), ['clear/1.png is 40x48', 'gt_size 41', 'lower']),
        (lambda opt, root: (npy_file(np.ones(SIZE, int))(opt, root), opt.pop('depth_scale')), ['1.npy', 'depth_scale']),
    ],
)
def test_a_bad_image_is_named_when_it_is_read(tmp_path, spoil, parts):
    opt = options(folders(tmp_path, scenes=['1']))
    spoil(opt, tmp_path)
    data = SyntheticHazeDataset(opt)
    assert_named(lambda: data[0], parts)


def test_a_larger_clear_image_without_white_frame_is_named(tmp_path):
    root = folders(tmp_path, scenes=['1'])
    write(root / 'clear/1.png', clear_image('1', (60, 68)))
    assert_named(lambda: made(root, **preset('sots_indoor'))[0], ['clear/1.png', 'no white frame'])
    assert_named(lambda: made(root)[0], ['depth/1.png is 40x48', 'clear/1.png is 60x68'])


def test_an_lmdb_has_its_own_list(tmp_path):
    root = folders(tmp_path)
    make_lmdb_from_imgs(str(root / 'clear'), str(root / 'clear.lmdb'), ['1.png'], ['1'], map_size=2**24)
    more = {'io_backend': {'type': 'lmdb'}, 'dataroot_gt': str(root / 'clear.lmdb'), 'meta_info_file': 'list.txt'}
    action = partial(made, root, **more, dataroot_depth=None, depth_scale=None)
    assert_named(action, ['meta_info_file list.txt is for folders', 'remove'])


def test_a_training_can_leave_bad_depth_out(tmp_path):
    root = folders(tmp_path)
    (root / 'depth/2.png').write_bytes(b'')
    data = made(root, **train(on_error='skip'))
    assert osp.basename(data[1]['gt_path']) in ('1.png', '3.png')
    assert data.skipped.tolist() == [False, True, False]


def assert_named(action, parts):
    """The error is one line with phase, data set and every part."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert [part for part in ('phase ', 'data set Made: ', *parts) if part not in message] == []
    assert '\n' not in message


def test_depth_is_given_with_the_crop_and_the_turn_of_the_images(tmp_path):
    for folder in ('clear', 'depth'):
        (tmp_path / folder).mkdir()
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)) + np.arange(48, dtype=np.uint8)[:, None]
    cv2.imwrite(str(tmp_path / 'clear' / 'a.png'), np.repeat(ramp[..., None], 3, 2))
    cv2.imwrite(str(tmp_path / 'depth' / 'a.png'), ramp)
    options = {
        'name': 'Depth', 'type': 'SyntheticHazeDataset', 'phase': 'train', 'dataroot_gt': str(tmp_path / 'clear'),
        'dataroot_depth': str(tmp_path / 'depth'), 'depth_scale': 255.0, 'beta': 0.0, 'airlight': 1.0, 'gt_size': 32,
        'use_hflip': True, 'use_rot': True, 'return_depth': True,
    }  # fmt: skip
    data = build_dataset(options)
    for _ in range(4):
        sample = data[0]
        assert sample['depth'].shape == (1, 32, 32)
        torch.testing.assert_close(sample['depth'][0], sample['gt'][0])
    whole = build_dataset({**options, 'phase': 'val', 'gt_size': None, 'use_rot': False, 'resize': [24, 32]})[0]
    assert whole['depth'].shape == (1, 24, 32)
    torch.testing.assert_close(whole['depth'][0], whole['gt'][0], atol=3 / 255, rtol=0)
