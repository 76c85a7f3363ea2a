import io
import zipfile

import cv2
import numpy as np
import pytest

from okdnet_plugin.data.depth import DepthRule, decode_depth, distances, painted_depth
from okdnet_plugin.errors import InputError

VALUES = np.arange(1, 36, dtype=np.uint16).reshape(5, 7) * 700


def encode(values, extension='.png'):
    return cv2.imencode(extension, values)[1].tobytes()


def npy(values, **more):
    file = io.BytesIO()
    np.save(file, values, **more)
    return file.getvalue()


def npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return file.getvalue()


@pytest.mark.parametrize(
    ('content', 'dtype'),
    [
        (encode(VALUES), np.uint16),
        (encode(VALUES, '.tif'), np.uint16),
        (encode((VALUES // 256).astype(np.uint8)), np.uint8),
        (encode(VALUES.astype(np.float32), '.tiff'), np.float32),
        (npy(VALUES), np.uint16),
        (npy(VALUES.astype(np.float16)), np.float16),
        (npy(np.asfortranarray(VALUES.astype('>f8'))), np.float64),
        (npz(anything=VALUES), np.uint16),
        (npz(np.savez_compressed, depth=VALUES, mask=VALUES > 9), np.uint16),
    ],
)
def test_every_kind_of_file_gives_its_values(content, dtype):
    values = decode_depth(content, 'a.png')
    assert values.dtype.newbyteorder('=') == dtype
    np.testing.assert_array_equal(values, (VALUES // 256 if dtype == np.uint8 else VALUES).astype(dtype))


@pytest.mark.parametrize(
    ('content', 'parts'),
    [
        (b'', ['is empty (0 bytes)', 'make']),
        (b'no image', ['cannot be decoded', 'make']),
        (encode(VALUES)[:-40], ['cannot be decoded', 'cut short']),
        (encode(np.zeros((5, 7, 3), np.uint8)), ['shape (5, 7, 3)', 'one channel', 'save the depth itself']),
        (npy(VALUES)[:-9], ['cannot be read as an array', 'make']),
        (npy(VALUES)[:20], ['cannot be read as an array']),
        (npy(VALUES[None]), ['shape (1, 5, 7)', 'one channel']),
        (npy(np.zeros((0, 7))), ['holds no values', '(0, 7)']),
        (npy(VALUES > 9), ['type bool', 'save']),
        (npy(VALUES * 1j), ['type complex128', 'save']),
        (npy(np.array([[object()]]), allow_pickle=True), ['pickled objects', 'numpy.save']),
        (npz(depth=np.array([[{}]])), ['pickled objects', 'numpy.save']),
        (npz(a=VALUES, b=VALUES), ['2 arrays (a, b)', "name it 'depth'"]),
        (npz(), ['holds no array', 'save']),
        (zipped(readme='text'), ['holds no array', 'save']),
        (npz(depth=VALUES)[:60], ['cannot be read as an array', 'make']),
        (npz(depth=VALUES).replace(VALUES.tobytes(), bytes(70)), ['cannot be read as an array', 'CRC']),
    ],
    # Bytes would stand in the names, those of a zip file with the second in which it was made.
    ids=lambda value: 'content' if isinstance(value, bytes) else '-'.join(value[:1]),
)
def test_a_file_that_is_no_depth_is_named(content, parts):
    assert_named(lambda: decode_depth(content, 'scenes/a.npz'), ['scenes/a.npz ', *parts])


def test_damaged_files_never_raise_anything_else():
    rng = np.random.default_rng(0)
    complaints = []
    for whole in (npy(VALUES), npz(depth=VALUES), npz(np.savez_compressed, depth=VALUES)):
        for _ in range(200):
            content = bytearray(whole)
            for place in rng.integers(6, len(whole), 3):
                content[place] = rng.integers(256)
            try:
                decode_depth(bytes(content), 'a')
            except InputError as error:
                complaints.append(str(error))
    assert len(complaints) > 100
    assert not [complaint for complaint in complaints if '\n' in complaint]


# ---------------------------------------------------------------------------------------------------------- distances


@pytest.mark.parametrize(
    ('rule', 'expected'),
    [
        (DepthRule(scale=1000), VALUES / 1000),
        (DepthRule(norm='max'), VALUES / VALUES.max()),
        (DepthRule(norm='max', scale=10), VALUES / VALUES.max()),
        (DepthRule(norm='minmax'), (VALUES - 700.0) / (VALUES.max() - 700)),
        (DepthRule('inverse', scale=10), 10 / VALUES),
        (DepthRule('inverse', 'max'), 700 / VALUES),
        (DepthRule('inverse', 'minmax'), (1 / VALUES - 1 / VALUES.max()) / (1 / 700 - 1 / VALUES.max())),
    ],
    ids=str,
)
def test_a_rule_says_what_the_values_mean(rule, expected):
    depth = distances(VALUES, rule, 'a')
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, expected, rtol=1e-5, atol=1e-7)


def test_floating_point_values_are_distances_unless_a_scale_is_given():
    values = VALUES.astype(np.float64)
    np.testing.assert_array_equal(distances(values, DepthRule(), 'a'), VALUES)
    np.testing.assert_allclose(distances(values, DepthRule(scale=100), 'a'), VALUES / 100)


def test_inverse_depth_of_zero_is_a_thousand_times_as_far_as_the_nearest_place():
    values = np.array([[0, 0.25, 2.0]])
    np.testing.assert_allclose(distances(values, DepthRule('inverse'), 'a'), [[500, 4, 0.5]])
    np.testing.assert_allclose(distances(values, DepthRule('inverse', 'max'), 'a'), [[1, 0.008, 0.001]], rtol=1e-5)


def test_values_are_left_as_they_were():
    values = VALUES.astype(np.float32)
    distances(values, DepthRule('inverse', 'minmax', 10), 'a')
    np.testing.assert_array_equal(values, VALUES)


def test_a_place_without_distance_and_one_very_far_away_are_allowed():
    np.testing.assert_array_equal(distances(np.zeros((2, 2)), DepthRule(), 'a'), 0)
    assert distances(np.full((2, 2), 1e30), DepthRule(), 'a').min() > 9e29


@pytest.mark.parametrize(
    ('values', 'rule', 'parts'),
    [
        (VALUES, DepthRule(), ['whole numbers (uint16)', 'depth_scale', 'depth_norm']),
        (np.array([[1, np.nan], [np.inf, -np.inf]]), DepthRule(), ['3 of 4', 'not finite', 'fill']),
        (np.array([[1, 1e300]]), DepthRule(norm='max'), ['1 of 2', 'not finite']),
        (np.array([[1, -1, -2]]), DepthRule(scale=2), ['2 of 3', 'negative', 'fill']),
        (VALUES * 0, DepthRule(norm='max'), ['zero everywhere', 'depth_norm: max', 'make']),
        (VALUES * 0, DepthRule('inverse', 'max'), ['zero everywhere', 'inverse', 'make']),
        (VALUES * 0 + 5, DepthRule(norm='minmax'), ['the same everywhere', 'depth_norm: minmax', 'make']),
    ],
)
def test_values_that_are_no_distances_are_named(values, rule, parts):
    assert_named(lambda: distances(values, rule, 'scenes/a.npy'), ['scenes/a.npy ', *parts])


# ------------------------------------------------------------------------------------------------------ made-up depth


def test_made_up_depth_is_far_at_the_top_and_where_colours_are_cool():
    image = np.zeros((80, 120, 3), np.uint8)
    image[:, :60], image[:, 60:] = (200, 80, 40), (40, 80, 200)  # blue beside red, BGR
    depth = painted_depth(image)
    assert depth.min() == pytest.approx(0.2)
    assert depth.max() == pytest.approx(1)
    assert (np.diff(depth, axis=0) < 0).all()
    assert (depth[:, 20] - depth[:, 100]).min() > 0.25


def test_made_up_depth_of_one_colour_has_no_columns():
    depth = painted_depth(np.full((20, 30, 3), 90, np.uint8))
    assert np.isfinite(depth).all()
    assert (depth == depth[:, :1]).all()


def assert_named(action, parts):
    """The error is one line with every part."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert [part for part in parts if part not in message] == []
    assert '\n' not in message


def test_smoothing_takes_the_steps_out_of_a_slope_and_leaves_an_edge():
    slope = np.tile(np.linspace(10, 22, 120, dtype=np.float32), (40, 1))
    stored = np.rint(slope).astype(np.uint8)
    stored[:, 90:] += 100
    exact = slope + 100 * (np.arange(120) >= 90)
    plain = distances(stored, DepthRule(scale=1), 'd')
    smooth = distances(stored, DepthRule(scale=1, smooth=3), 'd')
    inside = np.s_[:, 8:82]
    assert np.abs(smooth - exact)[inside].mean() < 0.5 * np.abs(plain - exact)[inside].mean()
    assert np.abs(np.diff(smooth[inside], axis=1)).max() < 0.5
    assert (smooth[:, 90] - smooth[:, 89]).min() > 95


def test_smoothing_leaves_floating_point_depth_alone():
    values = np.random.default_rng(0).random((20, 20), np.float32)
    assert np.array_equal(distances(values, DepthRule(smooth=3), 'd'), values)
