"""A Dehazer gives back what it is given, restored: kinds, shapes, tiles, memory."""

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from torch import nn

import okdnet_plugin
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference import dehazer as module
from okdnet_plugin.inference import memory
from okdnet_plugin.inference.dehazer import Dehazer

OKDNET = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}


class Squared(nn.Module):
    """Restores each pixel for itself, and fails where a real device would: on more than `most` pixels."""

    def __init__(self, most=10**9):
        super().__init__()
        self.most, self.sizes = most, []

    def __deepcopy__(self, memo):
        return self  # what a back end runs tells its sizes here

    def forward(self, x):
        self.sizes.append(tuple(x.shape[-2:]))
        if x.shape[-1] * x.shape[-2] > self.most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return x.square()


def squared(picture):
    largest = np.iinfo(picture.dtype).max
    return np.rint((picture.astype(np.float64) / largest) ** 2 * largest).astype(picture.dtype)


def random(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def test_it_is_offered_by_the_package():
    assert okdnet_plugin.Dehazer is Dehazer
    with pytest.raises(AttributeError, match='Dehazerr'):
        _ = okdnet_plugin.Dehazerr


def test_an_array_becomes_what_the_network_makes_of_it():
    net = build_network(OKDNET).eval()
    picture = random(37, 50, 3)
    with torch.no_grad():
        expected = net(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0) * 255
    given = picture.copy()
    result = Dehazer(net, backend='eager')(picture)
    assert (result.dtype, result.shape) == (np.uint8, picture.shape)
    assert np.abs(result - expected.numpy()).max() <= 0.51
    assert np.array_equal(picture, given)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('shape', [(1, 1, 3), (1, 500, 3), (3, 7, 3), (40, 30, 3), (20, 300, 3)])
def test_any_size_and_depth_is_kept(shape, dtype):
    picture = random(*shape, dtype=dtype)
    result = Dehazer(Squared())(picture)
    assert (result.dtype, result.shape) == (dtype, shape)
    assert np.abs(result.astype(int) - squared(picture)).max() <= (1 if dtype == np.uint16 else 0)


def test_a_picture_that_is_not_contiguous_is_taken():
    picture = random(40, 30, 3)[::-1, ::2, ::-1]
    assert np.array_equal(Dehazer(Squared())(picture), squared(picture))


def test_alpha_is_kept_and_grey_stays_grey():
    colours = random(20, 30, 4)
    result = Dehazer(Squared())(colours)
    assert np.array_equal(result[..., 3], colours[..., 3])
    assert np.array_equal(result[..., :3], squared(colours[..., :3]))
    grey = random(20, 30)
    assert np.array_equal(Dehazer(Squared())(grey), squared(grey))
    with_alpha = random(20, 30, 2)
    result = Dehazer(Squared())(with_alpha)
    assert np.array_equal(result[..., 1], with_alpha[..., 1])
    assert np.array_equal(result[..., 0], squared(with_alpha[..., 0]))


@pytest.mark.parametrize('shape', [(3, 20, 30), (2, 3, 5, 40)])
def test_tensors_come_back_as_they_are(shape):
    picture = torch.rand(*shape, dtype=torch.float64)
    result = Dehazer(Squared())(picture)
    assert (result.shape, result.dtype) == (picture.shape, torch.float64)
    assert torch.allclose(result, picture.square(), atol=1e-6)


def test_strength_goes_from_the_hazy_picture_to_the_result():
    picture = random(20, 30, 3)
    assert np.array_equal(Dehazer(Squared(), strength=0)(picture), picture)
    half = Dehazer(Squared(), strength=0.5)(picture)
    assert np.abs(half - (picture.astype(float) + squared(picture)) / 2).max() <= 1
    tensor = torch.rand(1, 3, 20, 30)
    assert torch.allclose(Dehazer(Squared(), strength=0.25)(tensor), tensor + 0.25 * (tensor.square() - tensor))


@pytest.mark.parametrize('shape', [(300, 280, 3), (130, 600, 4)])
def test_tiles_make_no_difference_to_what_is_done_pixel_by_pixel(shape):
    net, picture = Squared(), random(*shape)
    result = Dehazer(net, tile=128)(picture)
    assert np.array_equal(result[..., :3], squared(picture[..., :3]))
    assert len(net.sizes) > 4
    assert max(map(max, net.sizes)) <= 128


def test_all_tiles_have_the_airlight_of_the_whole_picture():
    net = build_network(OKDNET).eval()
    picture = random(300, 200, 3)
    whole = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    dehazer, seen = Dehazer(net, backend='eager', tile=128), []
    call = dehazer._backend.__call__
    dehazer._backend = type('Spy', (), {
        'estimate_airlight': dehazer._backend.estimate_airlight,
        '__call__': lambda self, hazy, airlight=None: (seen.append(airlight), call(hazy, airlight))[1],
    })()  # fmt: skip
    dehazer(picture)
    assert len(seen) > 3
    for airlight in seen:
        assert torch.allclose(airlight, net.estimate_airlight(whole), atol=1e-5)


@pytest.mark.parametrize('size', [(300, 200), (100, 1000), (256, 256), (20, 17)])
def test_the_overview_is_what_the_airlight_network_makes_of_a_picture(size):
    picture = torch.rand(1, 3, *size)
    expected = torch.nn.functional.interpolate(picture, (256, 256), mode='bilinear', align_corners=False)
    overview = module._overview(lambda t, b, le, r: picture[..., t:b, le:r], *size)
    assert torch.allclose(overview, expected, atol=1e-5)


def test_without_memory_tiles_become_smaller_which_is_said_once():
    lines, net = [], Squared(most=150 * 150)
    dehazer, picture = Dehazer(net, notify=lines.append), random(500, 480, 3)
    shares = []
    assert np.array_equal(dehazer.dehaze(picture, shares.append).pixels, squared(picture))
    assert sum(shares) == pytest.approx(1)
    assert len(lines) == 2
    assert lines[0].startswith('not enough memory on cpu for 480x500 px; going on in tiles of 2')
    net.sizes.clear()
    assert np.array_equal(dehazer(picture), squared(picture))
    assert len(lines) == 2
    assert max(height * width for height, width in net.sizes) <= 150 * 150


def test_where_the_smallest_tile_does_not_fit_there_is_one_clear_line():
    dehazer = Dehazer(Squared(most=100), notify=lambda line: None)
    with pytest.raises(InputError, match='cpu has not enough memory for Squared even in tiles of 128 px'):
        dehazer(random(300, 300, 3))


def test_without_a_listener_a_warning_says_that_memory_was_short():
    with pytest.warns(RuntimeWarning, match='going on in tiles of 144 px'):
        Dehazer(Squared(most=200 * 200))(random(300, 280, 3))


def test_other_errors_are_not_taken_for_short_memory():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError('something else')

    with pytest.raises(RuntimeError, match='something else'):
        Dehazer(Broken())(random(20, 20, 3))


def test_pictures_are_cut_only_if_they_need_more_than_half_of_the_free_memory(monkeypatch):
    net, picture = Squared(), random(400, 300, 3)
    need = 400 * 300 * memory.bytes_per_pixel('Squared')
    monkeypatch.setattr(memory, 'available', lambda device: 2 * need)
    Dehazer(net)(picture)
    assert net.sizes == [(400, 300)]
    monkeypatch.setattr(memory, 'available', lambda device: 2 * need - 2)
    monkeypatch.setattr(module, '_TILE_BYTES', need / 4)
    net.sizes.clear()
    assert np.array_equal(Dehazer(net)(picture), squared(picture))
    assert 1 < len(net.sizes) < 20
    net.sizes.clear()
    Dehazer(net, tile=0)(picture)
    assert net.sizes == [(400, 300)]


def test_memory_is_found_on_this_machine():
    assert 2**20 < memory.available(torch.device('cpu')) < 2**60


@pytest.mark.parametrize(
    ('options', 'complaint'),
    [({'strength': 1.5}, 'strength is 1.5'), ({'strength': float('nan')}, 'strength'), ({'tile': 64}, 'tile is 64')],
)
def test_options_out_of_range_are_refused(options, complaint):
    with pytest.raises(InputError, match=complaint):
        Dehazer(Squared(), **options)


@pytest.mark.parametrize(
    'picture',
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        torch.zeros(3, 4, 4, dtype=torch.uint8),
        torch.zeros(4, 4, 3),
        torch.full((3, 4, 4), 255.0),
        torch.full((3, 4, 4), -0.1),
        torch.full((3, 4, 4), float('nan')),
        torch.zeros(4, 4),
        'picture.png',
    ],
)
def test_what_is_no_picture_is_refused(picture):
    with pytest.raises(InputError, match=r'a picture (is|has)'):
        Dehazer(Squared())(picture)


def test_bytes_in_the_order_of_another_machine_are_the_same_numbers():
    picture = random(20, 24, 3, dtype=np.uint16)
    swapped = picture.astype(picture.dtype.newbyteorder())
    result = Dehazer(Squared())(swapped)
    assert result.dtype == swapped.dtype
    assert np.array_equal(result, Dehazer(Squared())(picture))


@pytest.mark.parametrize(
    'network',
    [
        {'type': 'DSCFSRCNN', 'd': 2, 's': 2, 'm': 1},
        {'type': 'DenseDepth169', 'num_feat': 4, 'growth': 4, 'num_blocks': (1, 1, 1, 1)},
    ],
    ids=lambda network: network['type'],
)
def test_network_that_gives_no_image_of_the_size_is_refused(network):
    """A part of what it gives would look like a result."""
    dehazer = Dehazer(build_network(network), backend='eager')
    with pytest.raises(InputError, match=f'{network["type"]} makes .* no network that dehazes'):
        dehazer(random(37, 50, 3))


def test_network_of_two_networks_dehazes():
    """Parts of a network may have names that a Dehazer asks for: `fuse` makes OKDNet faster."""
    depth = {'num_feat': 4, 'growth': 4, 'num_blocks': (1, 1, 1, 1)}
    net = build_network({'type': 'DGDNet', 'depth': depth, 'fuse': {'dim': 4, 'depths': (1, 1)}})
    picture = random(37, 50, 3)
    assert Dehazer(net, backend='eager')(picture).shape == picture.shape
