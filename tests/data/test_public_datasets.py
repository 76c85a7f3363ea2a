"""Public data sets, as downloads unpack them: made trees of a few files each."""

import os
from dataclasses import replace

import pytest

from okdnet_plugin.data import public_datasets
from okdnet_plugin.data.layouts import LAYOUTS
from okdnet_plugin.data.public_datasets import DATASETS, Release, find, survey
from okdnet_plugin.errors import InputError

ITS = (['1_1_0.9.png', '1_2_0.71205.png', '2_1_1.png', '2_2_0.8.png'], ['1.png', '2.png'])
OTS = (['0025_0.8_0.04.jpg', '0025_1_0.2.jpg', '0030_0.8_0.04.jpg', '0030_1_0.2.jpg'], ['0025.jpg', '0030.jpg'])
INDOOR = (['1400_1.png', '1400_10.png', '1401_1.png', '1401_2.png'], ['1400.png', '1401.png'])
OUTDOOR = (['0001_0.8_0.2.jpg', '0002_0.95_0.16.jpg', '0002_1_0.04.jpg'], ['0001.png', '0002.png'])
I_HAZE = (['01_indoor_hazy.jpg', '02_indoor_hazy.JPG'], ['01_indoor_GT.jpg', '02_indoor_GT.jpg'])
O_HAZE = (['01_outdoor_hazy.jpg', '02_outdoor_hazy.jpg'], ['01_outdoor_GT.jpg', '02_outdoor_GT.jpg'])
HAZY_GT = (['01_hazy.png', '55_hazy.png'], ['01_GT.png', '55_GT.png'])
EQUAL = (['1_1_0.9.png', '0025_0.8_0.04.jpg'], ['1_1_0.9.png', '0025_0.8_0.04.jpg'])
HAZE4K = (['1_0.75_1.24.png', '2_0.9_0.66.png'], ['1.png', '2.png'])
URHI = (['AM_Bing_211.png', 'b (2).jpeg', 'c.jpg'], [])

NAMES = {
    'its': ITS,
    'ots': OTS,
    'sots_indoor': INDOOR,
    'sots_outdoor': OUTDOOR,
    'i_haze': I_HAZE,
    'o_haze': O_HAZE,
    'nh_haze': HAZY_GT,
    'dense_haze': HAZY_GT,
    'reside_6k_train': EQUAL,
    'reside_6k_test': EQUAL,
    'haze4k_train': HAZE4K,
    'haze4k_test': HAZE4K,
    'urhi': URHI,
}

UNPACKED = [
    ('its', 'ITS_v2/hazy', 'ITS_v2/clear'),
    ('its', 'RESIDE/ITS/train/ITS_haze', 'RESIDE/ITS/train/ITS_clear'),
    ('its', 'ITS_haze', 'ITS_clear'),
    ('its', 'ITS(training set)/hazy/hazy', 'ITS(training set)/clear'),
    ('its', 'hazy_part/its/hazy', 'clear_part/ITS/clear'),
    ('ots', 'OTS_BETA/haze/part1', 'OTS_BETA/clear'),
    ('ots', 'OTS_ALPHA/haze/OTS', 'OTS_ALPHA/clear/clear_images'),
    ('ots', 'OTS/hazy', 'OTS/clear'),
    ('sots_indoor', 'SOTS/indoor/hazy', 'SOTS/indoor/gt'),
    ('sots_indoor', 'SOTS/SOTS/indoor/nyuhaze500/hazy', 'SOTS/SOTS/indoor/nyuhaze500/gt'),
    ('sots_indoor', 'SOTS(Testing Set)/(indoor)nyuhaze500/hazy', 'SOTS(Testing Set)/(indoor)nyuhaze500/gt'),
    ('sots_outdoor', 'SOTS/outdoor/hazy', 'SOTS/outdoor/clear'),
    ('sots_outdoor', 'sots/OUTDOOR/hazy', 'sots/OUTDOOR/gt'),
    ('i_haze', '# I-HAZY NTIRE 2018/hazy', '# I-HAZY NTIRE 2018/GT'),
    ('i_haze', 'I-HAZE/hazy', 'I-HAZE/GT'),
    ('o_haze', 'O-HAZE/# O-HAZY NTIRE 2018/hazy', 'O-HAZE/# O-HAZY NTIRE 2018/GT'),
    ('nh_haze', 'NH-HAZE', 'NH-HAZE'),
    ('nh_haze', 'NH-HAZE/NH-HAZE', 'NH-HAZE/NH-HAZE'),
    ('nh_haze', 'nhhaze/hazy', 'nhhaze/gt'),
    ('dense_haze', 'Dense_Haze_NTIRE19/hazy', 'Dense_Haze_NTIRE19/GT'),
    ('dense_haze', 'Dense-Haze/hazy', 'Dense-Haze/GT'),
    ('reside_6k_train', 'RESIDE-6K/train/hazy', 'RESIDE-6K/train/GT'),
    ('reside_6k_test', 'RESIDE-6K/test/hazy', 'RESIDE-6K/test/GT'),
    ('haze4k_train', 'Haze4K/Haze4K/train/haze', 'Haze4K/Haze4K/train/gt'),
    ('haze4k_test', 'HAZE4K/test/hazy', 'HAZE4K/test/clear'),
    ('urhi', 'UnannotatedHazyImages', None),
    ('urhi', 'URHI/UnannotatedHazyImages', None),
]

BY_NAMES_ALONE = [
    ('its', 'archive/hazy', 'archive/clear'),
    ('its', 'archive/hazy/hazy', 'archive/clear'),
    ('sots_indoor', 'ITS/test/hazy', 'ITS/test/clear'),
    ('i_haze', 'x/hazy', 'x/GT'),
    ('o_haze', 'flat', 'flat'),
]


def fill(folder, names, content=b'image'):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(content)
    return folder


def unpack(root, key, hazy, clear=None):
    fill(root / hazy, NAMES[key][0])
    if clear:
        fill(root / clear, NAMES[key][1])
    return root


def names_of(files):
    return [os.path.basename(file) for file in files]


@pytest.fixture
def its(tmp_path):
    return unpack(tmp_path, 'its', 'ITS_v2/hazy', 'ITS_v2/clear')


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Releases as small as the made trees."""
    for key, (hazy, clear) in NAMES.items():
        monkeypatch.setitem(DATASETS, key, replace(DATASETS[key], releases=(Release(len(hazy), len(clear)),)))


# --------------------------------------------------------------------------------------------------------- recognised


def test_every_data_set_of_the_table_is_tried_here():
    assert {key for key, *_ in UNPACKED} == set(DATASETS) == set(NAMES)


@pytest.mark.parametrize(('key', 'hazy', 'clear'), [*UNPACKED, *BY_NAMES_ALONE])
def test_a_complete_data_set_is_found_and_pairs(tmp_path, key, hazy, clear):
    unpack(tmp_path, key, hazy, clear)
    (found,) = find(str(tmp_path))
    assert found.dataset.key == key
    assert found.is_complete
    assert [*found.useless, *found.unused, *found.duplicates, *found.empty] == []
    assert found.problem is None
    if clear:
        assert len(found.pairs) == len(NAMES[key][0])
        assert os.path.samefile(found.clear_root, os.path.commonpath(found.clear))
    assert found.hazy_root in {str(tmp_path / hazy), str((tmp_path / hazy).parent)}


@pytest.mark.parametrize(('key', 'hazy', 'clear'), [row for row in UNPACKED if not row[1].startswith('hazy_part')])
def test_the_root_may_be_the_folder_of_the_data_set_itself(tmp_path, key, hazy, clear):
    unpack(tmp_path, key, hazy, clear)
    root = tmp_path / (os.path.commonpath([hazy, clear]) if clear else hazy)
    (found,) = find(str(root))
    assert found.dataset.key == key
    assert found.is_complete


def test_all_data_sets_lie_side_by_side(tmp_path):
    places = {key: (hazy, clear) for key, hazy, clear in UNPACKED}
    for key, (hazy, clear) in places.items():
        unpack(tmp_path / key, key, hazy, clear)
    seen = survey(str(tmp_path))
    assert [found.dataset.key for found in seen.found] == list(DATASETS)
    assert all(found.is_complete for found in seen.found)
    assert seen.unknown == []


def test_paths_are_given_as_the_root_was(its, monkeypatch):
    monkeypatch.chdir(its)
    (found,) = find('.')
    assert (found.hazy_root, found.clear_root) == ('ITS_v2/hazy', 'ITS_v2/clear')
    (found,) = find('ITS_v2/')
    assert (found.hazy_root, found.clear_root) == ('ITS_v2/hazy', 'ITS_v2/clear')


def test_part_folders_are_searched_from_the_folder_above_them(tmp_path):
    unpack(tmp_path, 'ots', 'OTS_BETA/haze/part1', 'OTS_BETA/clear')
    (tmp_path / 'OTS_BETA/haze/part2').mkdir()
    os.rename(tmp_path / 'OTS_BETA/haze/part1' / OTS[0][0], tmp_path / 'OTS_BETA/haze/part2' / OTS[0][0])
    (found,) = find(str(tmp_path))
    assert found.hazy_root == str(tmp_path / 'OTS_BETA/haze')
    assert found.is_complete


def test_part_folders_beside_the_clear_images_are_a_problem_with_its_cure(tmp_path):
    unpack(tmp_path, 'ots', 'OTS_BETA/part1', 'OTS_BETA/clear')
    fill(tmp_path / 'OTS_BETA/part2', ['0030_0.85_0.1.jpg'])
    (found,) = find(str(tmp_path))
    assert len(found.pairs) == 5
    assert 'OTS_BETA/clear lies among the hazy part folders' in found.problem
    assert f'one folder of their own, as {tmp_path}/OTS_BETA/hazy' in found.problem


def test_hidden_folders_and_other_maps_are_passed_over(its):
    fill(its / '__MACOSX/ITS_v2/hazy', ['._1_1_0.9.png', '3_1_0.9.png'])
    fill(its / '.trash/ITS_v2/hazy', ITS[0])
    fill(its / 'ITS_v2/hazy', ['._1_1_0.9.png', '.DS_Store', 'Thumbs.db', 'list.txt'])
    fill(its / 'ITS_v2/trans', ITS[0])
    fill(its / 'ITS_v2/ITS_trans', ITS[0])
    fill(its / 'ITS_v2/depth', ['1.png'])
    fill(its / 'made/its/hazy.lmdb', ['1.png'])
    seen = survey(str(its))
    assert [found.is_complete for found in seen.found] == [True]
    assert seen.unknown == []


def test_links_are_followed_but_not_in_circles(tmp_path):
    unpack(tmp_path / 'elsewhere', 'its', 'ITS_v2/hazy', 'ITS_v2/clear')
    (tmp_path / 'root/ITS').mkdir(parents=True)
    for side in ('hazy', 'clear'):
        (tmp_path / 'root/ITS' / side).symlink_to(tmp_path / 'elsewhere/ITS_v2' / side)
    (tmp_path / 'root/ITS/again').symlink_to(tmp_path / 'root')
    (found,) = find(str(tmp_path / 'root'))
    assert found.is_complete
    assert found.hazy_root == str(tmp_path / 'root/ITS/hazy')


def test_a_stray_image_does_not_spoil_a_data_set(its):
    fill(its / 'ITS_v2', ['preview.png'])
    fill(its, ['poster.jpg'])
    seen = survey(str(its))
    assert [found.is_complete for found in seen.found] == [True]
    assert [folder.folder for folder in seen.unknown] == [str(its), str(its / 'ITS_v2')]


def test_a_second_folder_of_a_side_is_told_and_not_used(its):
    fill(its / 'ITS_v2/hazy/old', ['3_1_0.9.png'])
    seen = survey(str(its))
    assert [found.is_complete for found in seen.found] == [True]
    assert [(folder.folder, folder.remark) for folder in seen.unknown] == [
        (str(its / 'ITS_v2/hazy/old'), 'a further folder of ITS')
    ]


# ---------------------------------------------------------------------------------------------------------- incomplete


def test_missing_variants_are_named_by_their_scenes(its):
    (its / 'ITS_v2/hazy/2_1_1.png').unlink()
    (found,) = find(str(its))
    assert not found.is_complete
    assert len(found.pairs) == 3
    assert found.short_scenes == {'2': 1}


def test_a_release_with_more_clear_images_than_are_hazed_is_complete(its):
    fill(its / 'ITS_v2/clear', ['3.png', '4.png', '5.png'])
    (found,) = find(str(its))
    assert found.is_complete
    assert names_of(found.unused) == ['3.png', '4.png', '5.png']


def test_the_nearest_release_is_the_one_it_is_measured_by(its, monkeypatch):
    releases = (Release(4, 2), Release(40, 20))
    monkeypatch.setitem(DATASETS, 'its', replace(DATASETS['its'], releases=releases))
    assert find(str(its))[0].release == (4, 2)
    fill(its / 'ITS_v2/hazy', [f'{scene}_1_0.9.png' for scene in range(3, 19)])
    assert find(str(its))[0].release == (40, 20)


def test_no_clear_folder_is_a_finding(tmp_path):
    unpack(tmp_path, 'its', 'ITS_v2/hazy')
    (found,) = find(str(tmp_path))
    assert (found.clear_root, found.pairs, found.is_complete) == (None, [], False)
    assert names_of(found.unpaired) == sorted(ITS[0])


def test_no_hazy_folder_is_a_finding(tmp_path):
    fill(tmp_path / 'ITS_v2/clear', ITS[1])
    (found,) = find(str(tmp_path))
    assert (found.hazy_root, found.pairs, found.is_complete) == (None, [], False)


def test_what_does_not_pair_is_told_by_its_cause(its):
    (its / 'ITS_v2/clear/2.png').unlink()
    fill(its / 'ITS_v2/hazy', ['cover.png', '1_1_0.9.jpg', '9_1_0.9.png'])
    fill(its / 'ITS_v2/hazy', ['1_9_0.9.png'], content=b'')
    (found,) = find(str(its))
    assert names_of(found.unpaired) == ['2_1_1.png', '2_2_0.8.png', '9_1_0.9.png']
    assert names_of(found.misfits) == ['cover.png']
    assert names_of(found.duplicates) == ['1_1_0.9.png']
    assert names_of(found.empty) == ['1_9_0.9.png']
    assert names_of(found.usable) == ['1_1_0.9.jpg', '1_2_0.71205.png']
    assert len(found.useless) == 6
    assert found.bad_clear == []


def test_of_two_files_with_one_stem_the_empty_one_is_the_duplicate(its):
    fill(its / 'ITS_v2/hazy', ['1_1_0.9.jpg'], content=b'')
    (found,) = find(str(its))
    assert names_of(found.duplicates) == names_of(found.empty) == ['1_1_0.9.jpg']
    assert len(found.pairs) == 4


def test_clear_images_that_are_empty_or_there_twice_are_told(its):
    (its / 'ITS_v2/clear/1.png').write_bytes(b'')
    fill(its / 'ITS_v2/clear', ['2.jpg'])
    (found,) = find(str(its))
    assert names_of(found.unpaired) == ['1_1_0.9.png', '1_2_0.71205.png']
    assert names_of(found.ambiguous) == ['2_1_1.png', '2_2_0.8.png']
    assert names_of(found.bad_clear) == ['1.png', '2.png']


def test_a_link_to_nothing_counts_as_empty(its):
    (its / 'ITS_v2/hazy/1_3_0.9.png').symlink_to(its / 'gone.png')
    (found,) = find(str(its))
    assert names_of(found.empty) == ['1_3_0.9.png']


def test_two_copies_are_two_findings_and_the_fuller_one_comes_first(tmp_path):
    unpack(tmp_path, 'its', 'a/ITS/hazy', 'a/ITS/clear')
    unpack(tmp_path, 'its', 'b/ITS_v2/hazy', 'b/ITS_v2/clear')
    (tmp_path / 'a/ITS/hazy/1_1_0.9.png').unlink()
    found = find(str(tmp_path))
    assert [one.is_complete for one in found] == [True, False]
    assert found[0].hazy_root == str(tmp_path / 'b/ITS_v2/hazy')


# ------------------------------------------------------------------------------------------------------ not recognised


@pytest.mark.parametrize(
    ('hazy', 'clear', 'remark'),
    [
        (['a.png', 'b.png'], ['1.png'], 'looks like ITS, but 2 of 2 names do not fit its rule (1_1_0.90179.png -> '),
        (['1_1_0.9.png'], ['x.png'], 'looks like ITS, but by its rule'),
        (['1_1_0.9.png'], ['1_1_0.9.png'], 'hazy and clear names are equal, which needs no layout'),
    ],
)
def test_what_only_its_folder_calls_so_is_not_that_data_set(tmp_path, hazy, clear, remark):
    fill(tmp_path / 'ITS_v2/hazy', hazy)
    fill(tmp_path / 'ITS_v2/clear', clear)
    seen = survey(str(tmp_path))
    assert seen.found == []
    assert [(folder.count, remark in folder.remark) for folder in seen.unknown] == [
        (len(clear), True),
        (len(hazy), True),
    ]


def test_names_of_several_data_sets_want_a_folder_that_tells(tmp_path):
    unpack(tmp_path, 'dense_haze', 'x/hazy', 'x/GT')
    seen = survey(str(tmp_path))
    assert seen.found == []
    assert 'has the names of NH-HAZE or Dense-Haze' in seen.unknown[0].remark


def test_other_folders_with_images_are_listed(its):
    fill(its / 'holiday/2024', ['a.jpg', 'b.jpg'])
    fill(its / 'mixed', ITS[0])
    fill(its, ['OTS.zip'])
    seen = survey(str(its))
    assert [(folder.folder, folder.count, folder.example, folder.remark) for folder in seen.unknown] == [
        (str(its / 'holiday/2024'), 2, 'a.jpg', ''),
        (str(its / 'mixed'), 4, '1_1_0.9.png', 'hazy images with the names of ITS'),
    ]
    assert seen.archives == [str(its / 'OTS.zip')]


def test_a_folder_that_cannot_be_read_is_told_and_the_others_are_found(its, monkeypatch):
    (its / 'locked').mkdir()
    scandir = os.scandir

    def deny(path):
        if path == str(its / 'locked'):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', deny)
    seen = survey(str(its))
    assert [found.is_complete for found in seen.found] == [True]
    assert seen.unreadable == {str(its / 'locked'): 'Permission denied'}


def test_an_empty_folder_has_nothing(tmp_path):
    assert find(str(tmp_path)) == []


def test_a_root_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(InputError, match='gone does not exist'):
        find(str(tmp_path / 'gone'))


@pytest.mark.parametrize('key', [key for key in DATASETS if DATASETS[key].names])
def test_names_that_tell_a_data_set_are_hazy_names_of_its_rule(key):
    dataset = DATASETS[key]
    assert public_datasets._fits(NAMES[key][0], dataset.names)
    assert all(LAYOUTS[dataset.layout].hazy_scene(name) for name in NAMES[key][0])


def test_each_folder_is_read_once_and_each_name_matched_a_few_times(tmp_path, monkeypatch):
    names = [f'{scene:04d}_{a}_0.{b:02d}.jpg' for scene in range(40) for a in (0.8, 1) for b in range(1, 21)]
    fill(tmp_path / 'OTS/hazy', names)
    fill(tmp_path / 'OTS/clear', [f'{scene:04d}.jpg' for scene in range(40)])
    scans, matches = [], []
    scandir, hazy_scene = os.scandir, type(LAYOUTS['ots']).hazy_scene
    monkeypatch.setattr(os, 'scandir', lambda path: scans.append(path) or scandir(path))
    monkeypatch.setattr(
        type(LAYOUTS['ots']), 'hazy_scene', lambda self, name: matches.append(name) or hazy_scene(self, name)
    )
    (found,) = find(str(tmp_path))
    assert (len(found.pairs), found.is_complete, bool(found.short_scenes)) == (1600, False, False)
    assert len(scans) == 4
    assert len(matches) <= 3 * len(names)
