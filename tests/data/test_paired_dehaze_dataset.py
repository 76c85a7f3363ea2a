"""PairedDehazeDataset, measured against BasicSR's PairedImageDataset."""

import logging
import random
import shutil
from collections import OrderedDict
from copy import deepcopy
from functools import partial
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils import get_root_logger
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from torch.utils.data import ConcatDataset, DataLoader

from okdnet_plugin.data.options import shown
from okdnet_plugin.data.paired_dehaze_dataset import PairedDehazeDataset
from okdnet_plugin.errors import InputError, StoreError, message_of


def image(name, height=20, width=24):
    noise = np.random.default_rng(list(name.encode())).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (3, 3), 0)


def write(folder, *names, size=(20, 24), img=None):
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        content = cv2.imencode(file.suffix, image(str(name), *size) if img is None else img)[1]
        file.write_bytes(content.tobytes())
    return folder


def make_lmdb(folder):
    files = sorted(file.name for file in folder.iterdir())
    target = folder.with_suffix('.lmdb')
    make_lmdb_from_imgs(str(folder), str(target), files, [file.rsplit('.', 1)[0] for file in files], map_size=2**24)
    return target


def options(lq, gt, backend='disk', **more):
    return {
        'name': 'Tiny',
        'type': 'PairedDehazeDataset',
        'phase': 'val',
        'dataroot_lq': str(lq),
        'dataroot_gt': str(gt),
        'io_backend': {'type': backend},
        'scale': 1,
        **more,
    }


def train(**more):
    return {'phase': 'train', 'gt_size': 8, 'use_hflip': True, 'use_rot': True, **more}


def folders(root, names=('a.png', 'b.png', 'c.png'), lq_size=(20, 24), gt_size=(20, 24), lq_names=None):
    return write(root / 'hazy', *(lq_names or names), size=lq_size), write(root / 'clear', *names, size=gt_size)


def lmdbs(root, **more):
    return [make_lmdb(folder) for folder in folders(root, **more)]


def samples(cls, opt):
    random.seed(7)
    data = cls(deepcopy(opt))
    indices = range(len(data))
    if cls is PairedImageDataset:
        # Its order of folders is the file system's. Random numbers have to be drawn in ours.
        indices = sorted(indices, key=lambda index: data.paths[index]['lq_path'])
    return [data[index] for index in indices]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert (one['lq_path'], one['gt_path']) == (other['lq_path'], other['gt_path'])
        for side in ('lq', 'gt'):
            assert one[side].dtype == other[side].dtype == torch.float32
            assert torch.equal(one[side], other[side])


# ------------------------------------------------------------------------------------------------ as BasicSR reads


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'phase': 'test'},
        {'color': 'y'},
        {'mean': [0.5, 0.4, 0.3], 'std': [0.5, 0.6, 0.7]},
        {'color': 'y', 'mean': [0.5], 'std': [0.5]},
        train(),
        train(use_rot=False),
        train(use_hflip=False),
        train(gt_size=20),
        train(color='y'),
        train(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5]),
    ],
    ids=str,
)
@pytest.mark.parametrize('backend', ['disk', 'lmdb'])
def test_every_value_is_from_basicsr(tmp_path, backend, changes):
    roots = (lmdbs if backend == 'lmdb' else folders)(tmp_path)
    opt = options(*roots, backend, **changes)
    theirs = samples(PairedImageDataset, opt)
    assert_same(samples(PairedDehazeDataset, opt), theirs)


@pytest.mark.parametrize(
    ('size', 'changes'), [((43, 49), {}), ((42, 48), {}), ((42, 48), train())], ids=['remainder', 'exact', 'crop']
)
def test_scale_2_is_read_as_basicsr_reads_it(tmp_path, size, changes):
    opt = options(*folders(tmp_path, lq_size=(21, 24), gt_size=size), scale=2, **changes)
    assert_same(samples(PairedDehazeDataset, opt), samples(PairedImageDataset, opt))


def test_filename_tmpl_is_read_as_basicsr_reads_it(tmp_path):
    roots = folders(tmp_path, names=('a.png', 'b.png'), lq_names=('a_hazy.png', 'b_hazy.png'))
    opt = options(*roots, filename_tmpl='{}_hazy')
    assert_same(samples(PairedDehazeDataset, opt), samples(PairedImageDataset, opt))


def test_a_meta_info_file_is_read_as_basicsr_reads_it(tmp_path):
    roots = folders(
        tmp_path, names=('a.png', 'b.png', 'c.png'), lq_names=('ax2.png', 'bx2.png', 'cx2.png', 'other.png')
    )
    listed = tmp_path / 'list.txt'
    listed.write_text('b.png (20,24,3)\na.png\n')
    opt = options(*roots, meta_info_file=str(listed), filename_tmpl='{}x2')
    ours, theirs = PairedDehazeDataset(opt), PairedImageDataset(deepcopy(opt))
    assert_same([ours[0], ours[1]], [theirs[0], theirs[1]])


def test_a_meta_info_file_may_hold_names_with_spaces_and_many_hazy_images(tmp_path):
    roots = folders(tmp_path, names=('a b.png', 'c.png'), lq_names=('a b_1.png', 'a b_2.png', 'c_1.png'))
    listed = tmp_path / 'list.txt'
    listed.write_text('a b.png (20,24,3) 1\n\n')
    data = PairedDehazeDataset(options(*roots, meta_info_file=str(listed), pairing=r'(.+)_\d'))
    assert [data[i]['lq_path'].rsplit('/', 1)[1] for i in range(len(data))] == ['a b_1.png', 'a b_2.png']


def test_lmdbs_with_equal_keys_are_paired_by_key_whatever_the_template(tmp_path):
    opt = options(*lmdbs(tmp_path), 'lmdb', filename_tmpl='{}x2')
    theirs = samples(PairedImageDataset, opt)
    assert_same(samples(PairedDehazeDataset, opt), theirs)


def test_basicsr_builds_it_and_options_stay_as_they_were(tmp_path):
    opt = options(*lmdbs(tmp_path), 'lmdb', **train(), num_worker_per_gpu=0, batch_size_per_gpu=2, pin_memory=True)
    before = deepcopy(opt)
    data = PairedDehazeDataset(opt)
    data[0]
    assert opt == before
    assert data.opt['name'] == 'Tiny'
    assert isinstance(build_dataset(opt), PairedDehazeDataset)


# ------------------------------------------------------------------------------------------------- beyond BasicSR


def test_ten_hazy_images_share_one_clear_image(tmp_path):
    roots = folders(tmp_path, names=('1.jpg',), lq_names=[f'1_{variant}.png' for variant in range(1, 11)])
    data = PairedDehazeDataset(options(*roots, layout='sots_indoor'))
    assert len({data[i]['lq_path'] for i in range(10)}) == len(data) == 10
    assert {data[i]['gt_path'] for i in range(10)} == {str(roots[1] / '1.jpg')}


def test_other_files_are_ignored_and_names_may_be_of_any_script_and_case(tmp_path):
    names = ('Übung 1.PNG', '霧.jpeg', 'x.y.webp')
    roots = folders(tmp_path, names=names)
    for name in ('Thumbs.db', '.hidden.png', 'readme.txt'):
        (roots[0] / name).write_bytes(b'?')
    write(roots[0] / 'sub', 'z.png')
    data = PairedDehazeDataset(options(*roots))
    assert {data[i]['lq_path'] for i in range(len(data))} == {str(roots[0] / name) for name in names}


def test_ots_is_read_from_its_part_folders(tmp_path):
    lq, gt = folders(
        tmp_path, names=('0001.jpg', '0002.jpg'), lq_names=('part1/0001_0.8_0.04.jpg', 'part2/0002_1_0.2.jpg')
    )
    data = PairedDehazeDataset(options(lq, gt, layout='ots'))
    assert [data[i]['gt_path'] for i in range(len(data))] == [str(gt / '0001.jpg'), str(gt / '0002.jpg')]


def test_one_folder_may_hold_both_sides(tmp_path):
    folder = write(tmp_path / 'NH-HAZE', '01_hazy.png', '01_GT.png', '02_hazy.png', '02_GT.png')
    data = PairedDehazeDataset(options(folder, folder, layout='nh_haze'))
    assert [data[i]['gt_path'] for i in range(len(data))] == [str(folder / '01_GT.png'), str(folder / '02_GT.png')]


@pytest.mark.parametrize(
    ('resize', 'size', 'method'),
    [
        (10, (10, 10), cv2.INTER_AREA),
        ([40, 30], (40, 30), cv2.INTER_LINEAR),
        ([10, 48], (10, 48), cv2.INTER_LINEAR),
        ([20, 24], (20, 24), None),
    ],
)
@pytest.mark.parametrize('phase', ['train', 'val'])
def test_resize_brings_both_images_to_one_size(tmp_path, phase, resize, size, method):
    roots = folders(tmp_path, names=('a.png',))
    sample = PairedDehazeDataset(options(*roots, phase=phase, resize=resize))[0]
    for side, root in zip(('lq', 'gt'), roots, strict=True):
        img = cv2.imread(str(root / 'a.png'))
        expected = img if method is None else cv2.resize(img, size[::-1], interpolation=method)
        assert np.array_equal(sample[side].permute(1, 2, 0).numpy()[..., ::-1], expected.astype(np.float32) / 255)


def framed(img, ring=255):
    return cv2.copyMakeBorder(img, 10, 10, 10, 10, cv2.BORDER_CONSTANT, value=(ring,) * 3)


@pytest.mark.parametrize('clear', [framed(image('1')), image('1')], ids=['framed', 'cropped before'])
def test_the_white_frame_of_sots_indoor_is_cut_off(tmp_path, clear):
    lq, gt = write(tmp_path / 'hazy', '1_1.png'), write(tmp_path / 'clear', '1.png', img=clear)
    sample = PairedDehazeDataset(options(lq, gt, layout='sots_indoor'))[0]
    assert np.array_equal(sample['gt'].permute(1, 2, 0).numpy()[..., ::-1], image('1').astype(np.float32) / 255)


def test_clear_images_without_a_hazy_one_are_reported(tmp_path):
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    get_root_logger().addHandler(handler)
    PairedDehazeDataset(options(*folders(tmp_path, names=('a.png', 'b.png', 'c.png'), lq_names=('a.png',))))
    get_root_logger().removeHandler(handler)
    assert [m for m in messages if 'phase val, data set Tiny: 2 of 3 clear images' in m]


def test_lmdb_keys_with_dots_keep_their_extension_in_the_path(tmp_path):
    lq, gt = lmdbs(tmp_path, names=('0025.png',), lq_names=('0025_0.8_0.04.png', '0025_0.8_0.1.png'))
    data = PairedDehazeDataset(options(lq, gt, 'lmdb', layout='ots'))
    assert [data[i]['lq_path'] for i in range(len(data))] == ['0025_0.8_0.04.png', '0025_0.8_0.1.png']
    assert data[0]['gt_path'] == '0025'
    assert not torch.equal(data[0]['lq'], data[1]['lq'])


def test_data_sets_share_an_lmdb_in_one_process(tmp_path):
    lq, gt = lmdbs(tmp_path)
    (tmp_path / 'link.lmdb').symlink_to(gt)
    training = PairedDehazeDataset(options(lq, gt, 'lmdb', **train()))
    validation = PairedDehazeDataset(options(gt, tmp_path / 'link.lmdb', 'lmdb'))
    for i in range(3):
        assert training[i]['gt_path'] == validation[i]['gt_path']
        assert torch.equal(validation[i]['lq'], validation[i]['gt'])


@pytest.mark.parametrize(
    ('backend', 'workers'),
    [
        *(('disk', workers) for workers in (None, 'fork')),
        *(('lmdb', workers) for workers in (None, 'fork', 'spawn')),
        pytest.param('disk', 'spawn', marks=pytest.mark.long),
    ],
)
def test_workers_read_what_the_parent_has_read_before(tmp_path, backend, workers):
    lq, gt = (lmdbs if backend == 'lmdb' else folders)(tmp_path)
    data = PairedDehazeDataset(options(lq, gt, backend))
    twin = PairedDehazeDataset(options(gt, gt, backend))
    before = [data[i] for i in range(3)]
    both = ConcatDataset([data, twin])
    loader = DataLoader(both, batch_size=None, num_workers=1 if workers else 0, multiprocessing_context=workers)
    assert_same(list(loader)[:3], before)
    assert_same([data[i] for i in range(3)], before)


# ------------------------------------------------------------------------------------------------------------ mistakes


def remove(*keys):
    return lambda opt, root: [opt.pop(key) for key in keys]


def put(**changes):
    return lambda opt, root: opt.update(changes)


def break_file(name, content):
    return lambda opt, root: (root / name).write_bytes(content((root / name).read_bytes()))


def delete(name):
    return lambda opt, root: (root / name).unlink()


@pytest.mark.parametrize(
    ('spoil', 'parts'),
    [
        (put(usehflip=True), ['usehflip', 'did you mean use_hflip', 'take it out']),
        (remove('dataroot_gt'), ['dataroot_gt is missing', 'add folder']),
        (put(io_backend=OrderedDict(type='lmbd')), ["io_backend:type is 'lmbd' (did you mean lmdb?)"]),
        (put(io_backend={'type': ['lmdb']}), ['io_backend:type is [lmdb]; write one of disk, lmdb']),
        (put(gt_size='64'), ["gt_size is '64'; write a whole number"]),
        (put(scale='2'), ["scale is '2'; write"]),
        (put(mean=('0.5',), std=1), ['mean is', '0.5', 'write a number']),
        (put(use_hflip='false'), ["use_hflip is 'false'; write true or false"]),
        (put(use_rot='no'), ["use_rot is 'no'; write true or false"]),
        (put(use_rot=1), ['use_rot is 1; write true or false']),
        (
            lambda opt, root: opt.update(dataroot_gt=str(make_lmdb(root / 'clear'))),
            ['dataroot_gt', 'clear.lmdb is an LMDB', 'write io_backend: {type: lmdb}'],
        ),
        (
            lambda opt, root: opt.update(dataroot_lq=str(make_lmdb(root / 'hazy').rename(root / 'store'))),
            ['store is an LMDB', 'write io_backend: {type: lmdb}'],
        ),
        (
            put(io_backend={'type': 'lmdb', 'readahed': True}),
            ['io_backend:readahed', 'did you mean readahead', 'take it out'],
        ),
        (put(dataroot_lq=['a', 'b']), ['dataroot_lq', 'one path']),
        (put(phase='train'), ["'gt_size'", "'resize'"]),
        (put(phase='training'), ["'training'", 'write one of train, val, test']),
        (put(gt_size=9, resize=8), ['gt_size 9', 'resize', 'does not fit']),
        (put(gt_size=0), ['gt_size is 0', 'whole number']),
        (put(gt_size=9, scale=2), ['gt_size 9', 'scale 2']),
        (put(resize=[1, 2, 3]), ['resize is [1, 2, 3]', '[height, width]']),
        (put(resize=8, scale=2), ['resize', 'scale is 2']),
        (put(resize=[8, 9], use_rot=True), ['use_rot', 'square']),
        (put(scale=0), ['scale is 0', 'whole number']),
        (put(color='hsv'), ["'hsv'", 'write one of rgb, y']),
        (put(mean=[0.5] * 3), ['mean and std', 'give both']),
        (put(mean=[0.5] * 3, std=[1, 1, 0]), ['std', 'zero']),
        (put(mean=[0.5] * 2, std=[1, 1]), ['mean is [0.5, 0.5]', 'each channel']),
        (put(layout='its', pairing='(.)'), ['layout and pairing', 'keep one']),
        (put(layout='itss'), ['itss', 'did you mean its']),
        (put(pairing='.'), ['0 groups']),
        (put(dataroot_gt='nowhere'), ['dataroot_gt', 'nowhere does not exist', 'correct the path']),
        (delete('clear/a.png'), ['clear holds no image', '.png', 'give']),
        (lambda opt, root: write(root / 'hazy', 'z.png'), ['z.png has no clear', '1 of 2', 'equal stems', 'add']),
        (lambda opt, root: write(root / 'clear', 'a.jpg'), ['several clear', 'a.jpg', 'remove']),
        (put(layout='its'), ['a.png is not a hazy name', '1_1_0.90179.png -> 1.png']),
        (put(meta_info_file='nowhere.txt'), ['nowhere.txt cannot be read', 'correct']),
    ],
)
def test_a_wrong_option_is_named_at_construction(tmp_path, spoil, parts):
    opt = options(*folders(tmp_path, names=('a.png',)))
    spoil(opt, tmp_path)
    assert_named(partial(PairedDehazeDataset, opt), parts)


@pytest.mark.parametrize('switch', [True, False, None])
def test_switches_are_true_false_or_left_out(tmp_path, switch):
    opt = options(*folders(tmp_path), **train(use_hflip=switch, use_rot=switch))
    assert PairedDehazeDataset(opt)[0]['lq'].shape == (3, 8, 8)


def test_a_message_shows_values_in_one_line_of_bearable_length():
    assert shown('64') == "'64'"
    assert shown(64) == '64'
    assert shown(None) == 'null'
    assert shown(OrderedDict(a=[1, None, True], b='two\nlines')) == "{a: [1, null, true], b: 'two lines'}"
    assert shown(Path('x')) == repr(Path('x'))
    assert len(shown(list(range(10_000)))) < 250


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('a.png\nb.png (2,2,3)\n', ['b.png', 'list.txt', '1 of 2', 'correct']),
        ('\n', ['list.txt names no image', 'write']),
    ],
)
def test_a_wrong_meta_info_file_is_named(tmp_path, text, parts):
    listed = tmp_path / 'list.txt'
    listed.write_text(text)
    opt = options(*folders(tmp_path, names=('a.png',)), meta_info_file=str(listed))
    assert_named(partial(PairedDehazeDataset, opt), parts)


@pytest.mark.parametrize(
    ('spoil', 'parts'),
    [
        (break_file('clear/a.png', lambda content: b''), ['clear/a.png is empty (0 bytes)', 'again']),
        (break_file('clear/a.png', lambda content: content[:-40]), ['clear/a.png cannot be decoded', 'again']),
        (break_file('hazy/a.png', lambda content: b'text'), ['hazy/a.png cannot be decoded', 'again']),
        (
            lambda opt, root: write(root / 'clear', 'a.png', size=(20, 25)),
            ['hazy/a.png', '20x24', '20x25', 'scale is 1'],
        ),
        (put(**train(gt_size=21)), ['clear/a.png is 20x24', 'gt_size 21', 'lower']),
        (put(scale=2), ['clear/a.png', '20x24', 'scale is 2']),
    ],
)
def test_a_bad_image_is_named_when_it_is_read(tmp_path, spoil, parts):
    opt = options(*folders(tmp_path, names=('a.png',)))
    spoil(opt, tmp_path)
    data = PairedDehazeDataset(opt)
    assert_named(lambda: data[0], parts)


def test_an_image_that_has_gone_since_is_named_when_it_is_read(tmp_path):
    data = PairedDehazeDataset(options(*folders(tmp_path, names=('a.png',))))
    (tmp_path / 'hazy/a.png').unlink()
    assert_named(lambda: data[0], ['hazy/a.png cannot be read', 'No such file', 'restore'])


def test_an_error_in_a_worker_keeps_its_type_and_message(tmp_path):
    data = PairedDehazeDataset(options(*folders(tmp_path, names=('a.png',))))
    (tmp_path / 'hazy/a.png').write_bytes(b'')
    with pytest.raises(InputError, match=r'phase val, data set Tiny: .*a.png is empty'):
        list(DataLoader(data, num_workers=1, multiprocessing_context='fork'))


@pytest.mark.parametrize('ring', [0, 240])
def test_a_larger_clear_image_without_white_frame_is_named(tmp_path, ring):
    lq, gt = write(tmp_path / 'hazy', '1_1.png'), write(tmp_path / 'clear', '1.png', img=framed(image('1'), ring))
    data = PairedDehazeDataset(options(lq, gt, layout='sots_indoor'))
    assert_named(lambda: data[0], ['clear/1.png', '20 px larger', 'no white frame', 'give'])


@pytest.mark.parametrize(
    ('spoil', 'parts'),
    [
        (put(dataroot_gt='clear'), ['dataroot_gt', '.lmdb', 'type: disk']),
        (put(dataroot_gt='nowhere.lmdb'), ['nowhere.lmdb', 'does not exist']),
        (delete('clear.lmdb/data.mdb'), ['clear.lmdb/data.mdb does not exist', 'make']),
        (delete('clear.lmdb/meta_info.txt'), ['clear.lmdb/meta_info.txt does not exist', 'make']),
        (break_file('clear.lmdb/meta_info.txt', lambda _: b''), ['meta_info.txt names no image', 'write']),
    ],
)
def test_a_wrong_lmdb_is_named_at_construction(tmp_path, spoil, parts):
    opt = options(*lmdbs(tmp_path, names=('a.png',)), 'lmdb')
    spoil(opt, tmp_path)
    assert_named(partial(PairedDehazeDataset, opt), parts)


def overwrite_record(opt, root):
    with lmdb.open(str(root / 'clear.lmdb'), map_size=2**24) as env, env.begin(write=True) as txn:
        txn.put(b'a', b'no image')


@pytest.mark.parametrize(
    ('spoil', 'parts'),
    [
        (break_file('clear.lmdb/data.mdb', lambda _: b''), ['data.mdb is cut short', '0 of 1 bytes; copy it']),
        (break_file('clear.lmdb/data.mdb', lambda _: b'x' * 9999), ["key 'a' in", 'cannot be read', 'make']),
        (break_file('clear.lmdb/data.mdb', lambda whole: whole[:-4096]), ['data.mdb is cut short', 'bytes; copy it']),
        (overwrite_record, ["key 'a' in", 'clear.lmdb cannot be decoded', 'again']),
        (
            lambda opt, root: shutil.copy(root / 'other.lmdb/data.mdb', root / 'clear.lmdb/data.mdb'),
            ["key 'a' in", 'clear.lmdb is in meta_info.txt, but not in data.mdb', 'make'],
        ),
    ],
)
def test_a_bad_record_is_named_when_it_is_read(tmp_path, spoil, parts):
    opt = options(*lmdbs(tmp_path, names=('a.png',)), 'lmdb')
    make_lmdb(write(tmp_path / 'other', 'b.png'))
    spoil(opt, tmp_path)
    data = PairedDehazeDataset(opt)
    assert_named(lambda: data[0], parts)


def assert_named(action, parts):
    """The error is one line with phase, data set and every part."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert [part for part in ('phase ', 'data set Tiny: ', *parts) if part not in message] == []
    assert '\n' not in message


@pytest.mark.parametrize('workers', [0, 1])
def test_an_lmdb_that_is_cut_short_ends_a_training_that_leaves_images_out(tmp_path, workers):
    lq, gt = lmdbs(tmp_path)
    break_file('clear.lmdb/data.mdb', lambda whole: whole[:-4096])(None, tmp_path)
    data = PairedDehazeDataset(options(lq, gt, 'lmdb', **train(on_error='skip')))
    with pytest.raises(StoreError) as caught:
        next(iter(DataLoader(data, num_workers=workers, multiprocessing_context='fork' if workers else None)))
    message = message_of(caught.value)
    assert message.startswith('phase train, data set Tiny: ')
    assert 'clear.lmdb/data.mdb is cut short' in message
    assert '\n' not in message
    assert not data.skipped.any()
