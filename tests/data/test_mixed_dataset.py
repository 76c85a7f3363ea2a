"""Several data sets in one training."""

import logging
import random
from collections import Counter
from copy import deepcopy

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data import build_dataset
from basicsr.utils import get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import DataLoader, Dataset

from okdnet_plugin.data.mixed_dataset import MixedDataset, shares
from okdnet_plugin.data.seeded_order import SeededDataset
from okdnet_plugin.errors import InputError, StoreError


def folder(root, count):
    """`count` pairs of equal names in hazy/ and clear/."""
    for side in ('hazy', 'clear'):
        (root / side).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(root / side / f'{number:03}.png'), np.full((16, 16, 3), number, np.uint8))
    return {'dataroot_lq': str(root / 'hazy'), 'dataroot_gt': str(root / 'clear')}


@pytest.fixture
def block(tmp_path):
    return {
        'name': 'Mixture',
        'type': 'MixedDataset',
        'phase': 'train',
        'scale': 1,
        'gt_size': 8,
        'use_hflip': True,
        'use_rot': False,
        'io_backend': {'type': 'disk'},
        'batch_size_per_gpu': 2,
        'parts': {
            'many': {'type': 'PairedDehazeDataset', **folder(tmp_path / 'many', 20)},
            'few': {'type': 'PairedImageDataset', **folder(tmp_path / 'few', 3)},
        },
    }


def epoch(data, seed=0):
    random.seed(seed)
    return [data[index]['gt_path'] for index in range(len(data))]


def test_without_weights_every_image_of_every_part_is_seen_once(block):
    before = deepcopy(block)
    data = build_dataset(block)
    assert block == before
    assert (len(data), data.counts) == (23, [20, 3])
    assert len(set(epoch(data))) == 23


def test_weights_and_length_give_each_part_its_share(block):
    block['parts']['many']['weight'], block['parts']['few']['weight'] = 1, 3
    data = MixedDataset(block | {'epoch_length': 40})
    seen = epoch(data)
    assert len(seen) == 40
    assert sum('/few/' in path for path in seen) == 30
    # three images thirty times: evenly repeated, whatever is drawn
    assert all(9 <= count <= 11 for path, count in Counter(seen).items() if '/few/' in path)


def test_a_large_part_shows_all_its_images_in_the_long_run(block):
    block['parts']['many']['weight'] = block['parts']['few']['weight'] = 1
    data = MixedDataset(block | {'epoch_length': 10})
    epochs = [epoch(data, seed) for seed in range(200)]
    counts = Counter(path for seen in epochs for path in seen if '/many/' in path)
    assert len(counts) == 20
    assert max(counts.values()) < 2 * min(counts.values())
    for seen in epochs:
        assert len({path for path in seen if '/many/' in path}) == 5  # no image twice in an epoch


def test_it_follows_the_seed_of_the_training(block):
    from okdnet_plugin.data.seeded_order import Draw

    data = SeededDataset(MixedDataset(block | {'epoch_length': 6}), seed=1)
    first, again, other = ([data[Draw(epoch, n)]['gt_path'] for n in range(6)] for epoch in (0, 0, 1))
    assert first == again != other


def test_samples_of_all_parts_fit_into_one_batch(block):
    batch = next(iter(DataLoader(MixedDataset(block), batch_size=23)))
    assert batch['lq'].shape == (23, 3, 8, 8)
    assert batch.keys() == {'lq', 'gt', 'lq_path', 'gt_path'}


def test_a_part_may_overrule_what_is_said_for_all(block):
    block['parts']['many'] |= {'resize': 8, 'gt_size': None}
    data = MixedDataset(block)
    assert data.parts[0].resize.size == (8, 8)
    assert data.parts[1].opt['gt_size'] == 8
    assert data.parts[0].opt['name'] == 'Mixture/many'


@pytest.mark.parametrize(
    ('weights', 'length', 'expected'),
    [
        ([1], 5, [5]),
        ([1, 1], 5, [3, 2]),
        ([20, 3], 23, [20, 3]),
        ([1, 1, 1], 2, [1, 1, 0]),
        ([1000, 1], 10, [9, 1]),
        ([0.1, 0.2, 0.7], 10, [1, 2, 7]),
        ([13990, 72135, 40], 86165, [13990, 72135, 40]),
    ],
)
def test_shares_are_whole_and_add_up(weights, length, expected):
    assert shares(weights, length) == expected


def put(path, value):
    def change(block):
        *levels, last = path.split(':')
        for level in levels:
            block = block[level]
        block[last] = value

    return change


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (put('phase', 'val'), "phase is 'val'; give each data set a block val_N of its own"),
        (put('parts', {}), 'option parts is {}; write a block'),
        (put('parts', ['a']), r'option parts is \[a\]; write a block'),
        (put('epoch_length', 0), 'epoch_length is 0; write'),
        (put('parts:few', {'dataroot_gt': 'x'}), 'parts:few:type is missing; add registered name of the data set'),
        (put('parts:few:weight', 0), 'parts:few:weight is 0; write a number above 0'),
        (put('parts:few:weight', 'much'), "parts:few:weight is 'much'"),
        (put('parts:few:type', 'PairedImageDatset'), 'parts:few:type: .*did you mean PairedImageDataset'),
        (
            put('parts:many:layuot', 'its'),
            'parts:many:layuot: .*did you mean layout',
        ),
        (put('parts:many:dataroot_gt', 'nowhere'), 'parts:many: .*folder nowhere does not exist'),
        (put('parts:few:dataroot_gt', 'nowhere'), 'parts:few: PairedImageDataset cannot be made of its block: '),
        (put('parts:few:io_backend', {'type': 'lmdb'}), 'parts:few: PairedImageDataset cannot be made of its block: '),
        (put('name', None), 'option name is missing; add name, by which'),
        (
            put('parts:few:color', 'y'),
            "the parts differ in color .many: 'rgb', few: 'y'.; write one color beside parts",
        ),
        (put('parts:few:scale', 2), r'the parts differ in scale \(many: 1, few: 2\)'),
        (
            put('parts:few', {'type': 'PairedImageDataset', 'mean': [0.5], 'std': [1]}),
            r'differ in mean .many: null, few',
        ),
        (put('parts:few:num_worker_per_gpu', 4), 'parts:few: num_worker_per_gpu is for all parts.*; write it beside'),
        (
            put('parts:many:batch_size_per_gpu', 4),
            'parts:many:batch_size_per_gpu: .*does not read it',
        ),
        (put('parts:many:epoch_length', 4), 'parts:many:epoch_length: PairedDehazeDataset does not read it'),
        (put('parts:many:phase', 'val'), "parts:many: phase is 'val'; remove it"),
        (put('parts:few:return_maps', True), r'the parts differ in return_maps \(many: false, few: true\)'),
        (put('return_maps', True), 'parts:many: option return_maps: PairedDehazeDataset does not read it'),
        (put('weight', 4), '^weight is the share of one part; write it in'),
        (put('parts:many:wieght', 4), '^option parts:many:wieght: .*did you mean weight'),
        (put('parts:few:gt_size', 4), r'different sizes \(many: 8x8, few: 4x4\); write one gt_size'),
        (put('gt_szie', 8), 'parts:many: .*gt_szie: .*did you mean gt_size'),
    ],
)
def test_a_mistake_names_the_part(block, spoil, message):
    spoil(block)
    start = 'phase (train|val), data set (Mixture|without name): '
    with pytest.raises(
        InputError, match=f'^{start}' + (message[1:] if message[0] == '^' else f'.*{message}')
    ) as caught:
        MixedDataset(block)
    assert '\n' not in str(caught.value)
    assert str(caught.value).count('Mixture') <= 1


def test_an_error_of_a_basicsr_data_set_names_the_part_and_the_sample(block, tmp_path):
    (tmp_path / 'few' / 'clear' / '001.png').write_bytes(b'?')
    data = MixedDataset(block)
    message = r'^phase train, data set Mixture: part few: PairedImageDataset fails at its sample'
    with pytest.raises(InputError, match=message):
        epoch(data)


@pytest.fixture
def warnings():
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    get_root_logger().addHandler(handler)
    yield messages
    get_root_logger().removeHandler(handler)


def test_every_bad_image_of_a_basicsr_data_set_is_said_once(block, tmp_path, warnings):
    for name in ('000.png', '002.png'):
        (tmp_path / 'few' / 'clear' / name).write_bytes(b'?')
    block['parts']['few']['weight'] = block['parts']['many']['weight'] = 1
    data = MixedDataset(block | {'epoch_length': 40, 'on_error': 'skip'})
    seen = epoch(data)
    assert len(seen) == 40
    assert not any(path.endswith(('few/clear/000.png', 'few/clear/002.png')) for path in seen)
    # few: three images after the twenty of many
    assert len(data.skipped) == 23
    assert int(data.skipped[20:].sum()) == len(warnings) == 2
    assert len({warning.split('sample ')[1].split(':')[0] for warning in warnings}) == 2


def test_a_part_says_its_place_once_when_it_is_read(block, tmp_path):
    (tmp_path / 'many' / 'hazy' / '000.png').write_bytes(b'')
    with pytest.raises(InputError) as caught:
        MixedDataset(block)[0]
    assert str(caught.value).startswith(
        f'phase train, data set Mixture: part many: {tmp_path}/many/hazy/000.png is empty'
    )


@pytest.mark.parametrize('part', ['many', 'few'])
def test_a_store_that_cannot_be_read_ends_the_training_at_once(block, part, monkeypatch):
    data = MixedDataset(block | {'on_error': 'skip'})
    error = {'many': StoreError('data.mdb is cut short'), 'few': lmdb.CorruptedError('data.mdb')}[part]

    def refuse(self, index):
        raise error

    monkeypatch.setattr(type(data.parts[data.names.index(part)]), '__getitem__', refuse)
    with pytest.raises(StoreError, match=f'^phase train, data set Mixture: part {part}: .*data.mdb'):
        epoch(data)


def test_parts_that_mean_the_same_by_other_words_go_together(block):
    block['parts']['many'] |= {'color': 'rgb', 'mean': [0.5, 0.5, 0.5], 'std': 1}
    block['parts']['few'] |= {'mean': [0.5], 'std': [1, 1, 1], 'scale': 1}
    assert len(MixedDataset(block)) == 23


def test_a_mixture_may_be_a_part(block):
    inner = {'type': 'MixedDataset', 'epoch_length': 6, 'parts': {'few': block['parts'].pop('few')}}
    block['parts']['inner'] = inner
    assert len(MixedDataset(block)) == 26


class Lonely(Dataset):
    def __init__(self, opt):
        self.opt = opt

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return {'lq': 0, 'lq_path': ''}


def test_a_part_without_clear_images_is_refused(block, monkeypatch):
    monkeypatch.setitem(DATASET_REGISTRY._obj_map, 'Lonely', Lonely)
    block['parts']['few'] = {'type': 'Lonely'}
    with pytest.raises(InputError, match='part few: Lonely gives no gt, gt_path, which training needs; take it out'):
        epoch(MixedDataset(block))
