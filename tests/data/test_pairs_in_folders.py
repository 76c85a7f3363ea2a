"""Pairs in sub-folders, in one folder by filters, and in a table."""

import os

import cv2
import numpy as np
import pytest

from okdnet_plugin.data.image_sources import read_pairs
from okdnet_plugin.data.paired_dehaze_dataset import PairedDehazeDataset
from okdnet_plugin.errors import InputError


def write(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 24, 3), value, np.uint8))


def data_set(root, **more):
    block = {'name': 'pairs', 'phase': 'test', 'dataroot_lq': str(root), 'dataroot_gt': str(root)}
    return PairedDehazeDataset(block | more)


def pairs_of(found, root):
    return [tuple(name.removeprefix(f'{root}/') for name in pair) for pair in found.pairs]


@pytest.fixture
def scenes(tmp_path):
    """scene/img_hazy.jpg and scene/img_GT.png of two scenes."""
    for scene in ('one', 'two'):
        write(tmp_path / scene / 'img_hazy.jpg')
        write(tmp_path / scene / 'img_GT.png', 200)
    return tmp_path


def test_each_scene_may_have_its_folder(scenes):
    found = data_set(scenes, recursive=True, filter_lq='*_hazy.*', filter_gt='*_GT.*', pairing='(.+)_(?:hazy|GT)')
    assert pairs_of(found, scenes) == [
        ('one/img_hazy.jpg', 'one/img_GT.png'),
        ('two/img_hazy.jpg', 'two/img_GT.png'),
    ]
    assert len({found[index]['lq_path'] for index in range(2)}) == 2  # results do not overwrite one another
    assert float(found[1]['gt'].mean()) > float(found[1]['lq'].mean())


def test_a_table_says_the_pairs(scenes, tmp_path):
    table = tmp_path / 'pairs.csv'
    table.write_text('hazy,clear\none/img_hazy.jpg,two/img_GT.png\n\ntwo/img_hazy.jpg,two/img_GT.png\n')
    found = data_set(scenes, pairs=str(table))
    assert pairs_of(found, scenes)[0] == ('one/img_hazy.jpg', 'two/img_GT.png')
    assert len(found) == 2
    assert found[0]['lq_path'] != found[1]['lq_path']


@pytest.mark.parametrize(
    ('text', 'more', 'message'),
    [
        ('a.png\n', {}, r'pairs.csv:1 has 1 columns; write two'),
        ('hazy,clear\nno.png,one/img_GT.png\n', {}, r'pairs.csv:2: .*/no.png does not exist'),
        ('hazy,clear\n', {}, 'names no pair'),
        (
            'one/img_hazy.jpg,one/img_GT.png\n./one/img_hazy.jpg,two/img_GT.png\n',
            {},
            r'pairs.csv:2: .*/img_hazy.jpg is the hazy image of line 1 too; take one out',
        ),
        ('a,b\n', {'layout': 'its'}, 'pairs says all pairs, and layout how to find them'),
        ('a,b\n', {'filter_lq': '*'}, 'pairs says all pairs, and filter_lq'),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(scenes, tmp_path, text, more, message):
    (tmp_path / 'pairs.csv').write_text(text)
    with pytest.raises(InputError, match=message):
        data_set(scenes, pairs=str(tmp_path / 'pairs.csv'), **more)


def test_a_training_may_see_a_hazy_image_twice(scenes, tmp_path):
    (tmp_path / 'pairs.csv').write_text('one/img_hazy.jpg,one/img_GT.png\none/img_hazy.jpg,two/img_GT.png\n')
    assert len(data_set(scenes, pairs=str(tmp_path / 'pairs.csv'), phase='train', gt_size=8)) == 2


def test_a_filter_that_lets_nothing_through_is_named(scenes):
    with pytest.raises(InputError, match=r'holds no image that fits \*_haze'):
        data_set(scenes, recursive=True, filter_lq='*_haze.*', filter_gt='*_GT.*', pairing='(.+)_(?:hazy|GT)')


@pytest.mark.parametrize('filters', [{'filter_lq': '*_hazy.*'}, {'filter_gt': '*_GT.*'}])
def test_of_one_folder_one_filter_leaves_the_other_side_the_rest(scenes, filters):
    found = data_set(scenes, recursive=True, pairing='(.+)_(?:hazy|GT)', **filters)
    assert pairs_of(found, scenes) == [
        ('one/img_hazy.jpg', 'one/img_GT.png'),
        ('two/img_hazy.jpg', 'two/img_GT.png'),
    ]


def test_a_list_pairs_within_each_folder_too(tmp_path):
    for scene in ('one', 'two'):
        write(tmp_path / 'hazy' / scene / 'img.png')
        write(tmp_path / 'clear' / scene / 'img.png')
    (tmp_path / 'list.txt').write_text('two/img.png (20,24,3)\none/img.png (20,24,3)\n')
    sides = {'dataroot_lq': str(tmp_path / 'hazy'), 'dataroot_gt': str(tmp_path / 'clear')}
    found = data_set(tmp_path, recursive=True, meta_info_file=str(tmp_path / 'list.txt'), **sides)
    assert pairs_of(found, tmp_path) == [
        ('hazy/two/img.png', 'clear/two/img.png'),
        ('hazy/one/img.png', 'clear/one/img.png'),
    ]


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='a system without named pipes')
def test_a_table_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pairs.csv')
    with pytest.raises(InputError, match='is a named pipe'):
        read_pairs(str(tmp_path / 'pairs.csv'), '', '')
