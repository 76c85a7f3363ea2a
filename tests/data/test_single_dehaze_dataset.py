"""Hazy images without clear ones, and images that are left out."""

import io
import logging

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import get_root_logger
from PIL import Image
from torch.utils.data import DataLoader

from okdnet_plugin.data.image_sources import ImageFolder
from okdnet_plugin.data.lmdb_store import build
from okdnet_plugin.data.paired_dehaze_dataset import PairedDehazeDataset
from okdnet_plugin.data.single_dehaze_dataset import SingleDehazeDataset
from okdnet_plugin.errors import InputError, StoreError


def image(height=20, width=24):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def block(root, **more):
    return {'name': 'Own', 'type': 'SingleDehazeDataset', 'phase': 'test', 'dataroot_lq': str(root), 'scale': 1, **more}


def test_every_size_and_kind_of_image_is_read(tmp_path):
    sizes = {
        'a.png': (20, 24),
        'b.jpg': (31, 17),
        'c.webp': (16, 50),
        'd.tif': (20, 20),
        'e.bmp': (5, 7),
        '霧.PNG': (9, 9),
    }
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(cv2.imencode(name[-4:].replace('webp', '.webp'), image(*size))[1].tobytes())
    (tmp_path / 'notes.txt').write_text('not an image')
    data = SingleDehazeDataset(block(tmp_path))
    for index, name in enumerate(sizes):
        sample = data[index]
        assert sample['lq'].shape == (3, *sizes[name])
        assert sample['lq_path'] == str(tmp_path / name)
        assert sample.keys() == {'lq', 'lq_path'}


def test_values_are_those_of_the_file_to_sixteen_bits(tmp_path):
    deep = image().astype(np.uint16) * 257 // 2
    cv2.imwrite(str(tmp_path / 'a.png'), deep)
    expected = torch.from_numpy(deep[..., ::-1].astype(np.float32) / 65535).permute(2, 0, 1)
    assert torch.equal(SingleDehazeDataset(block(tmp_path))[0]['lq'], expected)


def test_a_photograph_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(image()).save(file, 'JPEG', exif=exif)
    (tmp_path / 'a.jpg').write_bytes(file.getvalue())
    assert SingleDehazeDataset(block(tmp_path))[0]['lq'].shape == (3, 24, 20)


def test_part_folders_are_searched_on_demand_and_results_get_names_of_their_own(tmp_path):
    for name in ('x.png', 'one/x.png', 'two/x.png', 'two/y.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), image())
    (tmp_path / 'two' / 'back').symlink_to(tmp_path)
    assert len(SingleDehazeDataset(block(tmp_path))) == 1
    data = SingleDehazeDataset(block(tmp_path, recursive=True))
    paths = {data[index]['lq_path'] for index in range(len(data))}
    assert paths == {str(tmp_path / name) for name in ('x_png.png', 'one_x_png.png', 'two_x_png.png', 'two/y.png')}


def test_an_lmdb_is_read(tmp_path):
    (tmp_path / 'hazy').mkdir()
    cv2.imwrite(str(tmp_path / 'hazy' / 'ü.png'), image())
    [root] = build(str(tmp_path), hazy=str(tmp_path / 'hazy'))
    data = SingleDehazeDataset(block(root, io_backend={'type': 'lmdb'}))
    assert torch.equal(data[0]['lq'], SingleDehazeDataset(block(tmp_path / 'hazy'))[0]['lq'])
    assert data[0]['lq_path'] == 'ü'


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ({'phase': 'train'}, 'training needs clear images; use PairedDehazeDataset'),
        ({'dataroot_gt': 'x'}, 'dataroot_gt: SingleDehazeDataset does not read it .did you mean dataroot_lq'),
        ({'dataroot_lq': None}, 'option dataroot_lq is missing'),
        ({'recursive': 'yes'}, "recursive is 'yes'; write true or false"),
        ({'recursive': 1}, 'recursive is 1; write true or false'),
        ({'name': None}, 'option name is missing; add name, by which'),
        ({'name': 2024}, 'name is 2024; write a string'),
        ({'resize': -1}, 'resize is -1; write'),
        ({'on_error': 'skip'}, 'on_error: skip is for training'),
        ({'on_error': 'ignore'}, "on_error is 'ignore'; write one of raise, skip"),
    ],
)
def test_a_wrong_option_is_named(tmp_path, more, message):
    cv2.imwrite(str(tmp_path / 'a.png'), image())
    with pytest.raises(InputError, match=r'^phase \w+, data set (Own|2024|without name): .*' + message):
        SingleDehazeDataset(block(tmp_path, **more))


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr('os.scandir', refuse)
    with pytest.raises(InputError, match=r'data set Own: dataroot_lq: the folder .* cannot be read .Permission denied'):
        SingleDehazeDataset(block(tmp_path))


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / 'a.png'), image())
    data = SingleDehazeDataset(block(tmp_path))

    def refuse(path, *_, **__):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr('os.open', refuse)
    with pytest.raises(InputError, match=r'data set Own: .*a\.png cannot be read .Permission denied'):
        data[0]


# ------------------------------------------------------------------------------------------------------------ left out


@pytest.fixture
def spoiled(tmp_path):
    """Options of a training on eight pairs, of which the third is damaged, and the sixth has another size."""
    for side in ('hazy', 'clear'):
        (tmp_path / side).mkdir()
        for number in range(8):
            cv2.imwrite(str(tmp_path / side / f'{number}.png'), np.full((16, 16, 3), number, np.uint8))
    (tmp_path / 'hazy' / '2.png').write_bytes(b'')
    cv2.imwrite(str(tmp_path / 'clear' / '5.png'), image())
    return {
        'name': 'Tiny',
        'phase': 'train',
        'dataroot_lq': str(tmp_path / 'hazy'),
        'dataroot_gt': str(tmp_path / 'clear'),
        'gt_size': 8,
    }


def test_by_default_a_bad_image_ends_the_training(spoiled):
    with pytest.raises(InputError, match=r'2\.png is empty'):
        PairedDehazeDataset(spoiled)[2]


@pytest.mark.parametrize('workers', [0, 2])
def test_bad_images_are_left_out_counted_and_said_once(spoiled, workers, tmp_path):
    log = logging.FileHandler(tmp_path / 'log')
    get_root_logger().addHandler(log)
    data = PairedDehazeDataset(spoiled | {'on_error': 'skip'})
    for _ in range(2):
        # Forked, so that the workers have the log too; a training hands it to its workers.
        context = 'fork' if workers else None
        loader = DataLoader(data, batch_size=4, num_workers=workers, multiprocessing_context=context)
        seen = [path for batch in loader for path in batch['lq_path']]
        assert len(seen) == 8
        assert not any(path.endswith(('2.png', '5.png')) for path in seen)
    assert data.skipped.nonzero().flatten().tolist() == [2, 5]
    get_root_logger().removeHandler(log)
    said = (tmp_path / 'log').read_text()
    assert said.count('2.png is empty') == said.count('5.png do not fit') == 1
    assert 'phase train, data set Tiny: left out (2 of 8 so far): ' in said


def test_a_store_that_cannot_be_read_ends_the_training_at_once(spoiled, monkeypatch, tmp_path):
    data = PairedDehazeDataset(spoiled | {'on_error': 'skip'})
    reads = []

    def refuse(self, name):
        reads.append(name)
        raise StoreError('hazy.lmdb/data.mdb is cut short; copy it again')

    monkeypatch.setattr(ImageFolder, 'read', refuse)
    with pytest.raises(
        StoreError, match=r'^phase train, data set Tiny: hazy\.lmdb/data\.mdb is cut short; copy it again$'
    ):
        data[0]
    assert len(reads) == 1
    assert not data.skipped.any()


def test_what_takes_their_place_follows_the_seed(spoiled):
    from okdnet_plugin.data.seeded_order import Draw, SeededDataset

    data = SeededDataset(PairedDehazeDataset(spoiled | {'on_error': 'skip'}), seed=3)
    places = [[data[Draw(epoch, 2)]['lq_path'] for epoch in range(8)] for _ in range(2)]
    assert places[0] == places[1]
    assert len(set(places[0])) > 1


def test_with_nothing_left_the_training_ends(spoiled, tmp_path):
    for file in (tmp_path / 'hazy').iterdir():
        file.write_bytes(b'?')
    data = PairedDehazeDataset(spoiled | {'on_error': 'skip'})
    with pytest.raises(InputError, match=r'10 images in a row cannot be used; the last one: .*cannot be decoded'):
        data[0]
