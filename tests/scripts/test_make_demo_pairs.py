import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import load_script
from okdnet_plugin.data.layouts import get_layout, pair_names

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'make_demo_pairs.py'


@pytest.fixture(scope='module')
def script():
    return load_script('scripts/make_demo_pairs.py')


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    cwd = tmp_path_factory.mktemp('elsewhere')
    done = subprocess.run([sys.executable, SCRIPT, 'a/demo'], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return cwd / 'a' / 'demo'


@pytest.fixture
def rgbd(tmp_path):
    rng = np.random.default_rng(0)
    for folder, suffix in (('clear', '.jpg'), ('depth', '.png')):
        (tmp_path / folder).mkdir()
        for name in ('7', '12'):
            shape, dtype = ((20, 30, 3), np.uint8) if folder == 'clear' else ((20, 30), np.uint16)
            image = rng.integers(0, 200 if dtype == np.uint8 else 6553, shape, dtype)
            cv2.imwrite(str(tmp_path / folder / (name + suffix)), image)
    return ['--clear', str(tmp_path / 'clear'), '--depth', str(tmp_path / 'depth'), '--variants', '2']


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def pairs(folder):
    """Hazy and clear image in [0, 1] and the airlight of each pair, as the data set finds them."""
    names = ([path.name for path in (folder / kind).iterdir()] for kind in ('hazy', 'clear'))
    for hazy, clear in pair_names(*names, get_layout('its')):
        images = (cv2.imread(str(folder / part)) / 255 for part in (f'hazy/{hazy}', f'clear/{clear}'))
        yield *images, float(hazy[: -len('.png')].split('_')[2])


def least_squares_transmission(hazy, clear, airlight):
    contrast = clear - airlight
    return ((hazy - airlight) * contrast).sum(2) / np.maximum((contrast**2).sum(2), 1e-9)


@pytest.mark.parametrize(('split', 'scenes'), [('train', 48), ('val', 4)])
def test_every_scene_of_the_demo_has_five_hazy_variants_in_the_its_scheme(demo, split, scenes):
    assert len(list((demo / split / 'clear').iterdir())) == scenes
    assert len(list(pairs(demo / split))) == 5 * scenes


@pytest.mark.parametrize('split', ['train', 'val'])
def test_hazy_images_follow_the_scattering_model(demo, split):
    for hazy, clear, airlight in pairs(demo / split):
        assert 0.7 <= airlight <= 1
        t = least_squares_transmission(hazy, clear, airlight)[..., None].clip(np.exp(-1.8), 1)
        # Both images are rounded to 8 bit.
        np.testing.assert_allclose(hazy, clear * t + airlight * (1 - t), atol=1.5 / 255)


def test_haze_is_thick_somewhere_and_not_the_same_everywhere(demo):
    for hazy, clear, airlight in pairs(demo / 'val'):
        t = least_squares_transmission(hazy, clear, airlight)
        assert np.quantile(t, 0.1) < np.exp(-0.4)
        assert np.quantile(t, 0.9) - np.quantile(t, 0.1) > 0.1


def test_training_and_held_out_scenes_are_of_different_photographs(script):
    train, val = (set(photos) for photos, _ in script.DEMO.values())
    assert not train & val


def test_scenes_differ(demo):
    assert len(set(contents(demo / 'train' / 'clear').values())) == 48


def test_second_run_changes_no_byte(demo, script):
    before = contents(demo)
    assert script.main([str(demo)]) == 0
    assert contents(demo) == before


def test_interrupted_run_is_taken_up_again(demo, script, tmp_path):
    (tmp_path / 'README.txt').write_bytes((demo / 'README.txt').read_bytes())
    (tmp_path / 'train' / 'hazy').mkdir(parents=True)
    name = next((demo / 'train' / 'hazy').iterdir()).name
    (tmp_path / 'train' / 'hazy' / f'{name}.part').write_bytes(b'half')
    assert script.main([str(tmp_path)]) == 0
    assert contents(tmp_path) == contents(demo)


@pytest.mark.parametrize(
    ('file', 'arguments', 'message'),
    [
        ('demo/notes.txt', [], 'holds files of others, such as notes.txt'),
        ('demo/train/clear/0.png', [], 'holds files of others, such as train/clear/0.png'),
        (None, ['--seed', '1'], 'was not made by this command'),
    ],
)
def test_folder_with_other_content_is_refused_and_left_alone(demo, script, tmp_path, capsys, file, arguments, message):
    out = tmp_path / 'demo'
    out.mkdir()
    (out / 'README.txt').write_bytes((demo / 'README.txt').read_bytes())
    if file:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b'mine')
    before = contents(out)
    assert script.main([str(out), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert contents(out) == before


def test_folder_of_somebody_else_is_refused(script, rgbd, tmp_path, capsys):
    assert script.main([str(tmp_path), *rgbd]) == 2
    assert capsys.readouterr().err.count('\n') == 1
    assert not (tmp_path / 'README.txt').exists()


def test_own_images_get_the_haze_of_their_depth(script, rgbd, tmp_path):
    out = tmp_path / 'out'
    assert script.main([str(out), *rgbd, '--depth-scale', '6553.5']) == 0
    assert len(list(pairs(out))) == 4
    for name in ('7', '12'):
        depth = cv2.imread(str(tmp_path / 'depth' / f'{name}.png'), cv2.IMREAD_UNCHANGED) / 6553.5
        clear = cv2.imread(str(out / 'clear' / f'{name}.png')) / 255
        for file in out.glob(f'hazy/{name}_*.png'):
            airlight = float(file.stem.split('_')[2])
            t = least_squares_transmission(cv2.imread(str(file)) / 255, clear, airlight)
            beta = -np.log(t[depth > 0.5]) / depth[depth > 0.5]
            assert 0.6 <= np.median(beta) <= 1.8
            np.testing.assert_allclose(t, np.exp(-np.median(beta) * depth), atol=0.02)


def test_depth_beyond_the_farthest_is_refused_with_the_scale_that_fits(script, rgbd, tmp_path, capsys):
    assert script.main([str(tmp_path / 'out'), *rgbd, '--depth-scale', '1000']) == 2
    assert 'give --depth-scale 6' in capsys.readouterr().err


def test_more_variants_keep_the_first_ones(script, rgbd, tmp_path):
    assert script.main([str(tmp_path / 'two'), *rgbd]) == 0
    assert script.main([str(tmp_path / 'three'), *rgbd[:-1], '3']) == 0
    assert contents(tmp_path / 'two' / 'hazy').items() < contents(tmp_path / 'three' / 'hazy').items()


def test_names_that_are_no_numbers_give_way_to_numbers(script, rgbd, tmp_path):
    for folder, suffix in (('clear', '.jpg'), ('depth', '.png')):
        (tmp_path / folder / f'7{suffix}').rename(tmp_path / folder / f'the_kitchen.7{suffix}')
    assert script.main([str(tmp_path / 'out'), *rgbd]) == 0
    assert {path.name for path in (tmp_path / 'out' / 'clear').iterdir()} == {'0.png', '1.png'}


def test_missing_depth_is_an_error_that_names_the_image(script, rgbd, tmp_path, capsys):
    (tmp_path / 'depth' / '7.png').unlink()
    assert script.main([str(tmp_path / 'out'), *rgbd]) == 2
    assert '7.jpg has no depth' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('depth', 'message'),
    [
        (np.zeros((20, 30), np.uint8), 'not a readable 16-bit image'),
        (np.zeros((20, 31), np.uint16), 'sizes must be equal'),
    ],
)
def test_unfit_depth_is_an_error_that_names_the_file(script, rgbd, tmp_path, capsys, depth, message):
    cv2.imwrite(str(tmp_path / 'depth' / '12.png'), depth)
    assert script.main([str(tmp_path / 'out'), *rgbd]) == 2
    error = capsys.readouterr().err
    assert '12.png' in error
    assert message in error
