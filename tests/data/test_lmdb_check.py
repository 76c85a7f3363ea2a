"""What is found wrong with an LMDB."""

import shutil

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

from okdnet_plugin.data import image_sources, lmdb_check, lmdb_store
from okdnet_plugin.data.layouts import get_layout
from okdnet_plugin.errors import InputError


def write(folder, *names, size=(20, 24)):
    folder.mkdir(exist_ok=True)
    for name in names:
        noise = np.random.default_rng(list(name.encode())).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), noise)
    return str(folder)


@pytest.fixture
def out(tmp_path):
    """hazy.lmdb with 1_1_0.9, 1_2_0.9 and 2_1_0.9, clear.lmdb with 1 and 2."""
    hazy = write(tmp_path / 'hazy', '1_1_0.9.png', '1_2_0.9.png', '2_1_0.9.png')
    lmdb_store.build(str(tmp_path / 'out'), hazy, write(tmp_path / 'clear', '1.png', '2.png'), get_layout('its'))
    return tmp_path / 'out'


def problems(root, **how):
    found = list(lmdb_check.verify(str(root), **how))
    for environment in image_sources._environments.values():  # a process opens an LMDB only once
        environment.close()
    image_sources._environments.clear()
    return found


def change(root, **records):
    with lmdb.open(str(root)) as environment, environment.begin(write=True) as transaction:
        for key, content in records.items():
            if content is None:
                transaction.delete(key.encode())
            else:
                transaction.put(key.encode(), content)


def change_key(root, key):
    with lmdb.open(str(root)) as environment, environment.begin(write=True) as transaction:
        transaction.put(key, png())


def edit(file, change):
    file.write_text(change(file.read_text()))


def png(size=(20, 24)):
    return cv2.imencode('.png', np.zeros((*size, 3), np.uint8))[1].tobytes()


def test_a_whole_lmdb_has_no_problem_and_every_record_is_counted(out):
    seen = []
    assert problems(out / 'hazy.lmdb', on_record=lambda: seen.append(1), workers=2) == []
    assert problems(out / 'clear.lmdb') == []
    assert len(seen) == 3
    assert (
        lmdb_check.verdict(str(out / 'hazy.lmdb'))
        == '3 images are whole: checksum, decoding and size; each fits clear.lmdb'
    )


@pytest.mark.parametrize(
    ('spoil', 'expected'),
    [
        (
            lambda out: change(out / 'hazy.lmdb', **{'1_2_0.9': png()}),
            ["key '1_2_0.9' in {hazy} is not what was written: its checksum or length differs"],
        ),
        (
            lambda out: change(out / 'hazy.lmdb', **{'1_2_0.9': b''}),
            [
                "key '1_2_0.9' in {hazy} is not what was written: its checksum or length differs",
                "key '1_2_0.9' in {hazy} is empty (0 bytes)",
            ],
        ),
        (
            lambda out: change(out / 'hazy.lmdb', **{'1_2_0.9': None}),
            ["key '1_2_0.9' in {hazy} is in meta_info.txt, but not in data.mdb"],
        ),
        (
            lambda out: change(out / 'hazy.lmdb', **{'1_3_0.9': png()}),
            ["key '1_3_0.9' in {hazy} is in data.mdb, but not in meta_info.txt"],
        ),
        (
            lambda out: edit(out / 'hazy.lmdb/meta_info.txt', lambda text: text.replace('(20,24,3)', '(21,24,3)', 1)),
            [
                "key '1_1_0.9' in {hazy} is 20x24, but meta_info.txt says 21x24",
                "key '1_1_0.9' in {hazy} is 21x24, but '1' in {clear} is 20x24",
            ],
        ),
        (
            lambda out: edit(out / 'hazy.lmdb/manifest.jsonl', lambda text: ''.join(text.splitlines(True)[:-1])),
            ["key '2_1_0.9' in {hazy} is only in one of meta_info.txt and the manifest"],
        ),
        (
            lambda out: edit(out / 'hazy.lmdb/manifest.jsonl', lambda text: text.replace('"format": 1', '"format": 9')),
            ['{hazy}/manifest.jsonl cannot be read (another format); make the LMDB again'],
        ),
        (
            lambda out: edit(out / 'clear.lmdb/meta_info.txt', lambda text: text.splitlines(True)[0]),
            ["key '2_1_0.9' in {hazy} has no image in {clear}"],
        ),
        (
            lambda out: (out / 'hazy.lmdb/meta_info.txt').unlink(),
            ['{hazy}/meta_info.txt does not exist; correct the path, or make the LMDB again'],
        ),
        (
            lambda out: (out / 'clear.lmdb/meta_info.txt').unlink(),
            ['{hazy} was made with clear.lmdb: {clear}/meta_info.txt does not exist; correct the path, or make'],
        ),
        (
            lambda out: shutil.rmtree(out / 'clear.lmdb'),
            ['{hazy} was made with clear.lmdb: '],
        ),
        (
            lambda out: edit(out / 'hazy.lmdb/meta_info.txt', lambda text: text + text.splitlines(True)[0]),
            ["key '1_1_0.9' in {hazy} stands in meta_info.txt more than once"],
        ),
        (
            lambda out: change_key(out / 'hazy.lmdb', b'\xff'),
            ["key '\\xff' in {hazy} is in data.mdb, but not in meta_info.txt"],
        ),
        (
            lambda out: (out / 'hazy.lmdb/data.mdb').write_bytes(b''),
            ['{hazy}/data.mdb is cut short: it has 0 of 1 bytes'],
        ),
        (
            lambda out: (out / 'hazy.lmdb/data.mdb').write_bytes(b'x' * 9999),
            ['{hazy} cannot be opened ('],
        ),
        (
            lambda out: (out / 'hazy.lmdb/data.mdb').write_bytes((out / 'hazy.lmdb/data.mdb').read_bytes()[:-4096]),
            ['{hazy}/data.mdb is cut short: it has '],
        ),
    ],
)
def test_what_is_wrong_is_said_a_line_each(out, spoil, expected):
    spoil(out)
    found = problems(out / 'hazy.lmdb')
    places = {'hazy': out / 'hazy.lmdb', 'clear': out / 'clear.lmdb'}
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start.format(**places))


def test_a_changed_byte_anywhere_in_the_records_is_found(out):
    file = out / 'clear.lmdb' / 'data.mdb'
    content = file.read_bytes()
    with lmdb.open(str(out / 'clear.lmdb'), readonly=True, lock=False) as environment, environment.begin() as reader:
        record = reader.get(b'2')
    place = content.index(record) + len(record) // 2
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert any(line.startswith("key '2' in") for line in problems(out / 'clear.lmdb'))


def test_sizes_have_to_fit_but_for_a_white_frame(tmp_path):
    hazy, clear = write(tmp_path / 'hazy', '1_1.png'), write(tmp_path / 'clear', '1.png', size=(40, 44))
    lmdb_store.build(str(tmp_path / 'out'), hazy, clear, get_layout('sots_indoor'))
    assert problems(tmp_path / 'out' / 'hazy.lmdb') == []
    [line] = problems(tmp_path / 'out' / 'hazy.lmdb', layout=get_layout('sots_outdoor'))
    assert 'is no name of the rule 0001_0.8_0.2.jpg -> 0001.png' in line


def test_depth_has_to_be_there_for_every_clear_image(tmp_path):
    clear = write(tmp_path / 'clear', '1.png', '2.png')
    (tmp_path / 'depth').mkdir()
    np.save(tmp_path / 'depth' / '1.npy', np.ones((20, 24), np.float32))
    arguments = {'out': str(tmp_path / 'out'), 'clear': clear, 'depth': str(tmp_path / 'depth')}
    with pytest.raises(InputError, match=r'2\.png has no depth of equal stem in .*depth .1 of 2 such.; add it'):
        lmdb_store.build(**arguments)
    np.save(tmp_path / 'depth' / '2.npy', np.ones((21, 24), np.float32))
    lmdb_store.build(**arguments)
    [line] = problems(tmp_path / 'out' / 'clear.lmdb')
    assert "'2' in" in line
    assert 'is 20x24, but' in line
    change(tmp_path / 'out' / 'depth.lmdb', **{'1': b'\x93NUMPY'})
    assert len(problems(tmp_path / 'out' / 'depth.lmdb')) == 2


def test_an_lmdb_that_has_been_replaced_is_read_anew(tmp_path):
    [root] = lmdb_store.build(str(tmp_path / 'out'), clear=write(tmp_path / 'clear', '1.png'))
    assert list(lmdb_check.verify(root)) == []
    shutil.rmtree(root)
    lmdb_store.build(str(tmp_path / 'out'), clear=write(tmp_path / 'clear', '2.png'))
    assert list(lmdb_check.verify(root)) == []


def test_a_slash_at_the_end_does_not_matter(out):
    assert lmdb_check.find([f'{out}/hazy.lmdb/']) == [str(out / 'hazy.lmdb')]
    assert problems(f'{out}/hazy.lmdb/') == []


def test_one_of_the_basicsrs_is_checked_as_far_as_that_goes(tmp_path):
    write(tmp_path / 'hazy', 'a.png', 'b.png')
    root = str(tmp_path / 'hazy.lmdb')
    make_lmdb_from_imgs(str(tmp_path / 'hazy'), root, ['a.png', 'b.png'], ['a', 'b'], map_size=2**24)
    assert problems(root) == []
    assert 'it has no checksums' in lmdb_check.verdict(root)
    assert 'without manifest' in lmdb_check.summary(root)
    change(root, b=png()[:-20])
    [line] = problems(root)
    assert line.startswith(f"key 'b' in {root} cannot be decoded")


def test_lmdbs_are_found_in_folders(out):
    assert lmdb_check.find([str(out)]) == [str(out / 'clear.lmdb'), str(out / 'hazy.lmdb')]
    assert lmdb_check.find([str(out / 'hazy.lmdb')]) == [str(out / 'hazy.lmdb')]
    shutil.rmtree(out / 'hazy.lmdb')
    shutil.rmtree(out / 'clear.lmdb')
    with pytest.raises(InputError, match=r'out is no LMDB and holds none .\*\.lmdb.; correct the path'):
        lmdb_check.find([str(out)])
