"""LMDBs made by this package: what is in them, who can read them, and what becomes of an interrupted build."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from PIL import Image

from okdnet_plugin.data import lmdb_check, lmdb_store
from okdnet_plugin.data.image_sources import ImageLmdb
from okdnet_plugin.data.layouts import get_layout, layout_from_regex, layout_from_template
from okdnet_plugin.data.paired_dehaze_dataset import PairedDehazeDataset
from okdnet_plugin.data.synthetic_haze_dataset import SyntheticHazeDataset
from okdnet_plugin.errors import InputError, SaveError


def image(seed, height=20, width=24):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (3, 3), 0)


def write(folder, *names, **how):
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(file.suffix, image(list(os.fsencode(name)), **how))[1].tobytes())
    return str(folder)


@pytest.fixture
def its(tmp_path):
    hazy = write(tmp_path / 'hazy', *(f'{scene}_{variant}_0.9.png' for scene in (1, 2) for variant in (1, 2, 3)))
    return hazy, write(tmp_path / 'clear', '1.png', '2.png')


def records(root):
    with lmdb.open(str(root), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {key.decode(): bytes(value) for key, value in transaction.cursor()}


def contents(folder):
    return {file.stem: file.read_bytes() for file in Path(folder).iterdir()}


def block(lq, gt, backend='lmdb', **more):
    return {
        'name': 'Tiny',
        'phase': 'val',
        'scale': 1,
        'dataroot_lq': str(lq),
        'dataroot_gt': str(gt),
        'io_backend': {'type': backend},
        **more,
    }


def assert_same_samples(one, other):
    assert len(one) == len(other) > 0
    for i in range(len(one)):
        for side in ('lq', 'gt'):
            assert torch.equal(one[i][side], other[i][side])


# ------------------------------------------------------------------------------------------------------ what is stored


def test_records_are_the_files_and_clear_images_are_stored_once(tmp_path, its):
    roots = lmdb_store.build(str(tmp_path / 'out'), *its, get_layout('its'))
    assert roots == [str(tmp_path / 'out' / 'hazy.lmdb'), str(tmp_path / 'out' / 'clear.lmdb')]
    for root, folder in zip(roots, its, strict=True):
        files = contents(folder)
        assert records(root) == files
        lines = Path(root, 'meta_info.txt').read_text().splitlines()
        assert lines == [f'{key}.png (20,24,3) 0' for key in sorted(files)]
        assert sorted(os.listdir(root)) == ['data.mdb', 'manifest.jsonl', 'meta_info.txt']
    assert sorted(os.listdir(tmp_path / 'out')) == ['clear.lmdb', 'hazy.lmdb']
    folders = PairedDehazeDataset(block(*its, 'disk', layout='its'))
    assert_same_samples(PairedDehazeDataset(block(*roots, layout='its')), folders)


def test_the_basicsrs_data_set_reads_it_where_stems_are_equal(tmp_path):
    folders = write(tmp_path / 'hazy', 'a.png', 'b.png'), write(tmp_path / 'clear', 'a.png', 'b.png')
    roots = lmdb_store.build(str(tmp_path / 'out'), *folders)
    ours = PairedDehazeDataset(block(*folders, 'disk'))
    assert_same_samples(PairedImageDataset(block(*roots)), ours)


@pytest.mark.parametrize('encode', ['png', 'webp', 'bmp', None])
def test_images_stored_small_have_the_pixels_of_resizing_when_they_are_read(tmp_path, its, encode):
    roots = lmdb_store.build(str(tmp_path / 'out'), *its, get_layout('its'), resize=(8, 12), encode=encode)
    resized = PairedDehazeDataset(block(*its, 'disk', layout='its', resize=[8, 12]))
    assert_same_samples(PairedDehazeDataset(block(*roots, layout='its')), resized)
    assert_same_samples(PairedDehazeDataset(block(*roots, layout='its', resize=[8, 12])), resized)
    assert f'1.{encode or "bmp"} (8,12,3)' in Path(roots[1], 'meta_info.txt').read_text()


def test_the_white_frame_is_cut_off_before_resizing(tmp_path):
    hazy = write(tmp_path / 'hazy', '1400_1.png', '1400_2.png')
    framed = cv2.copyMakeBorder(image(5), 10, 10, 10, 10, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    (tmp_path / 'clear').mkdir()
    cv2.imwrite(str(tmp_path / 'clear' / '1400.png'), framed)
    folders = hazy, str(tmp_path / 'clear')
    roots = lmdb_store.build(str(tmp_path / 'out'), *folders, get_layout('sots_indoor'), resize=(8, 8))
    whole = PairedDehazeDataset(block(*folders, 'disk', layout='sots_indoor', resize=8))
    assert_same_samples(PairedDehazeDataset(block(*roots, layout='sots_indoor')), whole)


@pytest.mark.parametrize('encode', ['png', 'webp', 'bmp'])
def test_every_kind_of_image_keeps_its_pixels(tmp_path, encode):
    folder = tmp_path / 'clear'
    folder.mkdir()
    img = image(0)
    cv2.imwrite(str(folder / 'grey.png'), img[..., 0])
    cv2.imwrite(str(folder / 'alpha.png'), np.dstack([img, img[..., :1]]))
    cv2.imwrite(str(folder / 'deep.png'), img.astype(np.uint16) * 200)
    cv2.imwrite(str(folder / 'photo.jpg'), img)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for extension in ('jpg', 'webp'):
            file = folder / f'turned {orientation} {extension}.{extension}'
            Image.fromarray(img).save(file, exif=exif, lossless=True)
    (folder / '霧.bmp').write_bytes(cv2.imencode('.bmp', img)[1].tobytes())
    [root] = lmdb_store.build(str(tmp_path / 'out'), clear=str(folder), encode=encode)
    stored = PairedDehazeDataset(block(root, root))
    assert_same_samples(stored, PairedDehazeDataset(block(folder, folder, 'disk')))
    assert len(stored) == 21


def test_part_folders_are_searched_where_the_layout_has_them(tmp_path):
    hazy = write(tmp_path / 'hazy', 'part1/0001_0.8_0.04.jpg', 'part2/0002_1_0.2.jpg')
    clear = write(tmp_path / 'clear', '0001.jpg', '0002.jpg')
    roots = lmdb_store.build(str(tmp_path / 'out'), hazy, clear, get_layout('ots'))
    assert records(roots[0]).keys() == {'0001_0.8_0.04', '0002_1_0.2'}


def test_one_folder_for_both_sides_is_parted(tmp_path):
    folder = write(tmp_path / 'NH', '01_hazy.png', '01_GT.png')
    roots = lmdb_store.build(str(tmp_path / 'out'), folder, folder, get_layout('nh_haze'))
    assert [[*records(root)] for root in roots] == [['01_hazy'], ['01_GT']]


def test_only_some_hazy_images_are_taken(tmp_path, its):
    roots = lmdb_store.build(str(tmp_path / 'out'), *its, get_layout('its'), only=[f'{its[0]}/2_1_0.9.png'])
    assert [sorted(records(root)) for root in roots] == [['2_1_0.9'], ['2']]
    [root] = lmdb_store.build(str(tmp_path / 'one side'), its[0], only=[f'{its[0]}/2_1_0.9.png'])
    assert [*records(root)] == ['2_1_0.9']


def test_depth_is_stored_as_it_is(tmp_path):
    (tmp_path / 'depth').mkdir()
    values = np.random.default_rng(0).integers(0, 65536, (20, 24), np.uint16)
    cv2.imwrite(str(tmp_path / 'depth' / 'a.png'), values)
    np.save(tmp_path / 'depth' / 'b.npy', values / np.float32(65535))
    clear = write(tmp_path / 'clear', 'a.png', 'b.png')
    folders = {'dataroot_gt': clear, 'dataroot_depth': str(tmp_path / 'depth')}
    roots = lmdb_store.build(str(tmp_path / 'out'), clear=clear, depth=folders['dataroot_depth'])
    assert records(roots[1]) == contents(tmp_path / 'depth')
    assert [line.split(' ')[1] for line in Path(roots[1], 'meta_info.txt').read_text().splitlines()] == [
        '(20,24,1)'
    ] * 2
    assert list(lmdb_check.verify(roots[1])) == []
    how = {'name': 'x', 'phase': 'val', 'scale': 1, 'depth_norm': 'max', 'beta': 1, 'airlight': 0.9}
    stored = SyntheticHazeDataset({**how, **dict(zip(folders, roots, strict=True)), 'io_backend': {'type': 'lmdb'}})
    assert_same_samples(stored, SyntheticHazeDataset({**how, **folders}))
    with pytest.raises(InputError, match=r'depth is stored as it is, .*; leave resize and encode out'):
        lmdb_store.build(str(tmp_path / 'other'), depth=folders['dataroot_depth'], resize=(8, 8))


def test_the_map_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_store, '_FIRST_MAP', 2**16)
    monkeypatch.setattr(lmdb_store, '_BATCH', 2**17)
    folder = write(tmp_path / 'clear', *(f'{i}.bmp' for i in range(9)), height=200, width=200)
    [root] = lmdb_store.build(str(tmp_path / 'out'), clear=folder)
    assert sum(map(len, records(root).values())) > 2**20


def test_layouts_come_back_from_the_manifest(tmp_path):
    for number, (layout, option) in enumerate(
        (
            (get_layout('its'), {'layout': 'its'}),
            (layout_from_regex(r'(\w+)-\d'), {'pairing': r'(\w+)-\d'}),
            (layout_from_template('{}_hazy'), {'filename_tmpl': '{}_hazy'}),
        )
    ):
        [root] = lmdb_store.build(str(tmp_path / str(number)), clear=write(tmp_path / 'clear', '1.png'), layout=layout)
        recipe, found = lmdb_store.read_manifest(root)
        assert recipe.pairing == option
        assert found['1'].shape == [20, 24, 3]


# ------------------------------------------------------------------------------------------------------- being stopped


def interrupt_after(monkeypatch, count):
    """Let the encoder be interrupted after some images, each of which is committed; count what it is asked for."""
    monkeypatch.setattr(lmdb_store, '_FIRST_MAP', 2**16)  # so small that every change needs a larger one
    asked, encode = [], lmdb_store._Encoder.__call__

    def interrupted(self, path):
        asked.append(path)
        if len(asked) > count:
            raise KeyboardInterrupt
        return encode(self, path)

    monkeypatch.setattr(lmdb_store._Encoder, '__call__', interrupted)
    monkeypatch.setattr(lmdb_store, '_BATCH', 1)
    return asked


@pytest.fixture
def interrupted(tmp_path, its, monkeypatch):
    """A build of six hazy images, stopped after four; gives a function that goes on and lists what it reads."""
    out = str(tmp_path / 'out')
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            lmdb_store.build(out, hazy=its[0], layout=get_layout('its'), workers=1)
    assert os.listdir(out) == ['hazy.lmdb.part']

    def go_on():
        with monkeypatch.context() as patch:
            asked = interrupt_after(patch, 99)
            lmdb_store.build(out, hazy=its[0], layout=get_layout('its'), workers=1)
        assert os.listdir(out) == ['hazy.lmdb']
        files = contents(its[0])
        assert records(f'{out}/hazy.lmdb') == files
        assert len(Path(out, 'hazy.lmdb', 'manifest.jsonl').read_text().splitlines()) == 1 + len(files)
        return [os.path.basename(path) for path in asked]

    return go_on


def test_an_interrupted_build_goes_on_where_it_was(interrupted):
    assert interrupted() == ['2_2_0.9.png', '2_3_0.9.png']


def test_what_an_interrupted_build_has_is_kept_when_going_on_fails_at_once(tmp_path, its, interrupted, monkeypatch):
    def full(*_):
        raise OSError(errno.EIO, 'Input/output error')

    with monkeypatch.context() as patch:
        patch.setattr(lmdb_store, 'publish', full)
        with pytest.raises(SaveError, match=r'hazy\.lmdb\.part cannot be written .*go on with the same command'):
            lmdb_store.build(str(tmp_path / 'out'), hazy=its[0], layout=get_layout('its'), workers=1)
    assert interrupted() == ['2_2_0.9.png', '2_3_0.9.png']


def test_a_file_that_has_changed_meanwhile_is_read_again(its, interrupted):
    shutil.copy(f'{its[0]}/2_3_0.9.png', f'{its[0]}/1_1_0.9.png')
    assert interrupted() == ['1_1_0.9.png', '2_2_0.9.png', '2_3_0.9.png']


def test_a_file_that_has_gone_meanwhile_leaves_no_record(its, interrupted):
    os.remove(f'{its[0]}/1_1_0.9.png')
    assert interrupted() == ['2_2_0.9.png', '2_3_0.9.png']


def test_a_record_that_was_damaged_meanwhile_is_written_again(tmp_path, interrupted):
    with (
        lmdb.open(str(tmp_path / 'out' / 'hazy.lmdb.part')) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b'1_2_0.9', b'damage')
        transaction.put(b'stray', b'never noted down')
    with open(tmp_path / 'out' / 'hazy.lmdb.part' / 'manifest.jsonl', 'a') as file:
        file.write('{"name": "half a li')
    assert interrupted() == ['1_2_0.9.png', '2_2_0.9.png', '2_3_0.9.png']


def test_many_large_records_that_are_no_longer_asked_for_are_dropped(tmp_path, its, interrupted):
    part = str(tmp_path / 'out' / 'hazy.lmdb.part')
    with lmdb.open(part, map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for number in range(200):
            transaction.put(b'old %d' % number, bytes(30_000))
    assert interrupted() == ['2_2_0.9.png', '2_3_0.9.png']


def test_what_was_read_before_an_interruption_is_kept(tmp_path, its, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        patch.setattr(lmdb_store, '_BATCH', 2**30)
        with pytest.raises(KeyboardInterrupt):
            lmdb_store.build(str(tmp_path / 'out'), hazy=its[0], layout=get_layout('its'), workers=1)
    assert len(records(tmp_path / 'out' / 'hazy.lmdb.part')) == 4


def test_a_line_that_was_cut_off_costs_no_more_than_its_record(tmp_path, its, monkeypatch):
    part = tmp_path / 'out' / 'hazy.lmdb.part'

    def stop_after(count):
        with monkeypatch.context() as patch:
            interrupt_after(patch, count)
            with pytest.raises(KeyboardInterrupt):
                lmdb_store.build(str(tmp_path / 'out'), hazy=its[0], layout=get_layout('its'), workers=1)
        return sorted(records(part))

    names = ['1_1_0.9', '1_2_0.9', '1_3_0.9', '2_1_0.9']
    assert stop_after(3) == names[:3]
    (part / 'manifest.jsonl').write_text((part / 'manifest.jsonl').read_text()[:-20])
    assert stop_after(2) == names  # the third again, and the fourth
    asked = interrupt_after(monkeypatch, 99)
    lmdb_store.build(str(tmp_path / 'out'), hazy=its[0], layout=get_layout('its'), workers=1)
    assert [os.path.basename(path) for path in asked] == ['2_2_0.9.png', '2_3_0.9.png']


def test_another_recipe_begins_anew(tmp_path, its, interrupted):
    lmdb_store.build(str(tmp_path / 'out'), hazy=its[0], layout=get_layout('its'), encode='bmp')
    assert all(content.startswith(b'BM') for content in records(tmp_path / 'out' / 'hazy.lmdb').values())
    assert len(records(tmp_path / 'out' / 'hazy.lmdb')) == 6


def test_what_is_there_is_left_and_another_one_is_refused(tmp_path, its, capsys, monkeypatch):
    arguments = str(tmp_path / 'out'), *its, get_layout('its')
    lmdb_store.build(*arguments)
    asked = interrupt_after(monkeypatch, 0)
    lmdb_store.build(*arguments)
    assert asked == []
    assert 'hazy.lmdb is there already, with these 6 images' in capsys.readouterr().out
    with pytest.raises(InputError, match=r'hazy\.lmdb was made from something else .encode: keep, not png.; remove it'):
        lmdb_store.build(*arguments, encode='png')
    write(tmp_path / 'hazy', '2_4_0.7.png')
    with pytest.raises(InputError, match=r"1 files, as '2_4_0\.7', differ.; remove it"):
        lmdb_store.build(*arguments)
    assert len(records(tmp_path / 'out' / 'hazy.lmdb')) == 6


def test_all_bad_images_are_named_and_the_rest_is_kept_for_the_next_time(tmp_path, its, capfd):
    for name, content in (('1_1_0.9.png', b''), ('2_3_0.9.png', b'?')):
        (tmp_path / 'hazy' / name).write_bytes(content)
    with pytest.raises(
        InputError, match=r'hazy\.lmdb is not made: 2 of 6 images .*1_1_0\.9\.png is empty .* 4 are ready'
    ):
        lmdb_store.build(str(tmp_path / 'out'), *its, get_layout('its'))
    assert '2_3_0.9.png cannot be decoded' in capfd.readouterr().err
    write(tmp_path / 'hazy', '1_1_0.9.png', '2_3_0.9.png')
    roots = lmdb_store.build(str(tmp_path / 'out'), *its, get_layout('its'))
    assert len(records(roots[0])) == 6


def test_too_little_room_is_said_before_anything_is_written(tmp_path, its, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(SaveError, match=r'hazy\.lmdb needs about 0\.0 GB, but 0\.0 GB are free there; make room'):
        lmdb_store.build(str(tmp_path / 'out'), *its, get_layout('its'))
    assert not (tmp_path / 'out').exists()


def test_a_disk_that_becomes_full_leaves_one_line_and_no_folder(tmp_path, its):
    program = f'from okdnet_plugin.data.lmdb_store import build; build({str(tmp_path / "out")!r}, clear={its[1]!r})'
    run = subprocess.run(
        [sys.executable, '-c', program],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
    )
    last = run.stderr.strip().splitlines()[-1]
    assert 'SaveError' in last
    assert 'clear.lmdb.part cannot be written' in last
    assert 'it is removed: make room' in last
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('free', 'cure'), [(10, 'it is removed: make room'), (10**12, 'remove the cause, then go on')])
def test_a_write_that_the_disk_has_cut_off_is_told_from_other_failures(tmp_path, its, monkeypatch, free, cure):
    def fail(self, environment, batch):
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(free, 0, free))
        raise lmdb.Error('mdb_txn_commit: Input/output error')

    monkeypatch.setattr(lmdb_store._Build, '_commit', fail)
    with pytest.raises(SaveError, match=rf'hazy\.lmdb\.part cannot be written .*{cure}'):
        lmdb_store.build(str(tmp_path / 'out'), *its, get_layout('its'))
    assert (tmp_path / 'out').exists() == (free > 10)


@pytest.mark.parametrize(
    ('names', 'options', 'message'),
    [
        (
            ('part1/1_1_0.9.png', 'part2/1_1_0.9.jpg'),
            {'layout': get_layout('ots')},
            "have the same key '1_1_0.9'; rename",
        ),
        (('1.png',), {'encode': 'gif'}, "encode is 'gif'; write keep, png, webp, bmp"),
        (('1.png',), {'encode': 'wepb'}, "encode is 'wepb' .did you mean webp"),
        (('1.png',), {'encode': 'keep', 'resize': (8, 8)}, 'encode keep stores the bytes'),
        (('1.png',), {'resize': (8, 0)}, 'resize is .8, 0.; write'),
        (('1.png',), {'workers': 0}, 'workers is 0; write'),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path, names, options, message):
    folder = write(tmp_path / 'hazy', *names)
    with pytest.raises(InputError, match=message):
        lmdb_store.build(str(tmp_path / 'out'), folder, **options)
    assert not (tmp_path / 'out').exists()


def test_a_key_that_is_too_long_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(lmdb_store, '_LONGEST_KEY', 3)
    with pytest.raises(InputError, match=r'four\.png: a key has at most 3 bytes; give the file a shorter name'):
        lmdb_store.build(str(tmp_path / 'out'), write(tmp_path / 'hazy', 'four.png'))


@pytest.mark.parametrize('name', ['a\nb.png', 'a\x07.png', os.fsdecode(b'\xff.png')])
def test_a_name_that_no_list_can_hold_is_refused(tmp_path, name):
    with pytest.raises(InputError, match='has signs in its name that no list can hold; give the file another name'):
        lmdb_store.build(str(tmp_path / 'out'), write(tmp_path / 'hazy', name))


@pytest.mark.parametrize('name', ['photo (1)', 'a (1,2)', 'b (1,2,3) 4', 'c  d', '(1,2,3)'])
def test_names_with_brackets_come_back(tmp_path, name):
    [root] = lmdb_store.build(str(tmp_path / 'out'), write(tmp_path / 'hazy', f'{name}.png', 'photo.png'))
    source = ImageLmdb(root, {})
    assert sorted(source.names()) == sorted([f'{name}.png', 'photo.png'])
    assert source.read(f'{name}.png') == (tmp_path / 'hazy' / f'{name}.png').read_bytes()
    assert list(lmdb_check.verify(root)) == []


def test_an_image_that_webp_cannot_hold_is_named(tmp_path):
    folder = write(tmp_path / 'clear', 'wide.png', height=1, width=17_000)
    with pytest.raises(InputError, match=r'wide\.png cannot be stored as webp, being 1x17000; .*choose png or bmp'):
        lmdb_store.build(str(tmp_path / 'out'), clear=folder, encode='webp')


def test_a_file_that_has_become_a_dangling_link_is_named(tmp_path, its):
    arguments = str(tmp_path / 'out'), *its, get_layout('its')
    lmdb_store.build(*arguments)
    os.remove(f'{its[0]}/1_1_0.9.png')
    os.symlink('nowhere', f'{its[0]}/1_1_0.9.png')
    with pytest.raises(InputError, match=r"1 files, as '1_1_0\.9', differ"):
        lmdb_store.build(*arguments)
    with pytest.raises(InputError, match=r'1_1_0\.9\.png cannot be read .No such file or directory.; restore it'):
        lmdb_store.build(str(tmp_path / 'other'), *its, get_layout('its'))


def test_two_builds_of_one_lmdb_do_not_meet(tmp_path, its, monkeypatch):
    arguments = str(tmp_path / 'out'), its[0], None, get_layout('its')
    encode, met = lmdb_store._Encoder.__call__, []

    def meanwhile(self, path):
        if not met:
            met.append(path)
            with pytest.raises(
                InputError, match=rf'hazy\.lmdb is being made by process {os.getpid()} on .*; wait for it, or end it'
            ):
                lmdb_store.build(*arguments)
        return encode(self, path)

    monkeypatch.setattr(lmdb_store._Encoder, '__call__', meanwhile)
    lmdb_store.build(*arguments, workers=1)
    assert met
    assert os.listdir(tmp_path / 'out') == ['hazy.lmdb']
    assert len(records(tmp_path / 'out' / 'hazy.lmdb')) == 6


@pytest.mark.parametrize('out', ['', 'x.lmdb', 'x.lmdb/'])
def test_out_is_a_folder_for_lmdbs(tmp_path, its, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"OUT is '{out}', but it is the folder that the LMDBs are made in"):
        lmdb_store.build(out, *its, get_layout('its'))


def test_no_folder_at_all_is_refused(tmp_path):
    with pytest.raises(InputError, match='no folder is given; give --hazy, --clear or --depth'):
        lmdb_store.build(str(tmp_path))


def test_a_manifest_of_another_format_is_refused(tmp_path):
    (tmp_path / 'manifest.jsonl').write_text('{"format": 2}\n')
    with pytest.raises(InputError, match=r'manifest\.jsonl cannot be read .another format.; make the LMDB again'):
        lmdb_store.read_manifest(str(tmp_path))


def test_results_of_threads_come_in_order_and_never_far_ahead():
    begun = []

    def square(number):
        begun.append(number)
        return number**2

    results = lmdb_store.read_ahead(square, range(100), workers=2)
    assert next(results) == 0
    assert len(begun) <= 10
    assert [*results] == [number**2 for number in range(1, 100)]
