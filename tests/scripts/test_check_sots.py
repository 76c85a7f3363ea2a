import cv2
import numpy as np
import pytest

from conftest import load_script


@pytest.fixture(scope='module')
def script():
    return load_script('scripts/check_sots.py')


@pytest.fixture
def sots(tmp_path):
    """Scenes 1400 to 1402, of which 1401 has no depth and 1402 no hazy image; clear ones have the white frame."""
    rng = np.random.default_rng(0)
    for folder in ('clear', 'depth', 'hazy'):
        (tmp_path / folder).mkdir()
    for scene in (1400, 1401, 1402):
        clear, depth = rng.integers(0, 256, (30, 40, 3), np.uint8), rng.integers(100, 6553, (30, 40), np.uint16)
        framed = cv2.copyMakeBorder(clear, 10, 10, 10, 10, cv2.BORDER_CONSTANT, value=(255,) * 3)
        cv2.imwrite(str(tmp_path / 'clear' / f'{scene}.png'), framed)
        if scene != 1401:
            cv2.imwrite(str(tmp_path / 'depth' / f'{scene}.png'), depth)
        for variant in (1, 7) if scene != 1402 else ():
            t = np.exp(-(0.5 + 0.1 * variant) * depth / 6553.5)[..., None]
            # cut off, not rounded, as files of another program may be: half a level beside ours
            cv2.imwrite(str(tmp_path / 'hazy' / f'{scene}_{variant}.png'), (clear * t + 255 * (1 - t)).astype(np.uint8))
    return tmp_path


def folders(root):
    return [str(root / name) for name in ('clear', 'depth', 'hazy')]


def test_genuine_images_are_made_again(script, sots, capsys):
    assert script.main(folders(sots)) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    figures = {stem: float(value) for stem, value, _ in map(str.split, lines)}
    assert figures.keys() == {'1400_1', '1400_7'}
    # One level of 255 in half of the pixels.
    assert all(figure == pytest.approx(51.1, abs=0.3) for figure in figures.values())
    minimum, mean = min(figures.values()), sum(figures.values()) / 2
    assert summary == f'2 images: minimum {minimum:.2f} dB, mean {mean:.2f} dB'


def test_the_scale_of_depth_matters(script, sots, capsys):
    assert script.main([*folders(sots), '--depth-scale', '10000']) == 0
    assert float(capsys.readouterr().out.split()[1]) < 35


def test_a_hazy_image_of_another_size_is_named(script, sots, capsys):
    cv2.imwrite(str(sots / 'hazy' / '1400_1.png'), np.zeros((30, 41, 3), np.uint8))
    assert script.main(folders(sots)) == 2
    error = capsys.readouterr().err
    assert '1400_1.png is 30x41' in error
    assert '30x40' in error


def test_folders_without_a_scene_in_common_are_an_error(script, sots, capsys):
    (sots / 'depth' / '1400.png').unlink()
    assert script.main(folders(sots)) == 2
    assert 'no scene in common' in capsys.readouterr().err


def test_a_missing_folder_is_an_error_of_one_line(script, sots, capsys):
    assert script.main([*folders(sots)[:2], str(sots / 'nowhere')]) == 2
    error = capsys.readouterr().err
    assert 'nowhere' in error
    assert error.count('\n') == 1


@pytest.fixture
def its(tmp_path):
    """Scene 1 of ITS in two hazes; its depth has 8 bits, and is that of the middle."""
    for folder in ('clear', 'depth', 'hazy'):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    clear = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (80, 60))
    depth = np.tile(np.linspace(0.2, 1, 80), (60, 1))
    cv2.imwrite(str(tmp_path / 'clear/1.png'), clear)
    cv2.imwrite(str(tmp_path / 'depth/0001.png'), np.rint(40 * depth).astype(np.uint8)[4:-4, 4:-4])
    for name, beta, airlight in (('1_1_0.9', 0.87, 0.9), ('1_2_0.75', 1.63, 0.75)):
        t = np.exp(-beta * depth)[..., None]
        cv2.imwrite(str(tmp_path / f'hazy/{name}.png'), np.rint(clear * t + 255 * airlight * (1 - t)).astype(np.uint8))
    return tmp_path


def test_images_of_its_are_made_again_and_smooth_depth_comes_nearer(script, its, capsys):
    means = []
    for smooth in ('0', '3'):
        assert script.main([*folders(its), '--layout', 'its', '--depth-smooth', smooth]) == 0
        *lines, summary = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ['1_1_0.9', '1_2_0.75']
        means.append(float(summary.split()[-2]))
    assert means[0] > 40
    assert means[1] > means[0] + 2


def test_a_name_that_is_none_of_its_is_an_error(script, its, capsys):
    (its / 'hazy/1_1_0.9.png').rename(its / 'hazy/1_1.png')
    assert script.main([*folders(its), '--layout', 'its']) == 2
    assert 'its name is none of ITS' in capsys.readouterr().err
