"""A Dehazer gives back what it is given, restored: kinds, shapes, tiles, memory."""

import contextlib
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from PIL import Image
from torch import nn
from torch.nn import functional as F

import okdnet_plugin
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference import backends, memory, tiling
from okdnet_plugin.inference import dehazer as module
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


def squared(image):
    largest = np.iinfo(image.dtype).max
    return np.rint((image.astype(np.float64) / largest) ** 2 * largest).astype(image.dtype)


def random(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def test_it_is_offered_by_the_package():
    assert okdnet_plugin.Dehazer is Dehazer
    with pytest.raises(AttributeError, match='Dehazerr'):
        _ = okdnet_plugin.Dehazerr


def test_an_array_becomes_what_the_network_makes_of_it():
    net = build_network(OKDNET).eval()
    image = random(37, 50, 3)
    with torch.no_grad():
        expected = net(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0) * 255
    given = image.copy()
    result = Dehazer(net, backend='eager')(image)
    assert (result.dtype, result.shape) == (np.uint8, image.shape)
    assert np.abs(result - expected.numpy()).max() <= 0.51
    assert np.array_equal(image, given)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('shape', [(1, 1, 3), (1, 500, 3), (3, 7, 3), (40, 30, 3), (20, 300, 3)])
def test_any_size_and_depth_is_kept(shape, dtype):
    image = random(*shape, dtype=dtype)
    result = Dehazer(Squared())(image)
    assert (result.dtype, result.shape) == (dtype, shape)
    assert np.abs(result.astype(int) - squared(image)).max() <= (1 if dtype == np.uint16 else 0)


def test_an_image_that_is_not_contiguous_is_taken():
    image = random(40, 30, 3)[::-1, ::2, ::-1]
    assert np.array_equal(Dehazer(Squared())(image), squared(image))


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
    image = torch.rand(*shape, dtype=torch.float64)
    result = Dehazer(Squared())(image)
    assert (result.shape, result.dtype) == (image.shape, torch.float64)
    assert torch.allclose(result, image.square(), atol=1e-6)


def test_strength_goes_from_the_hazy_image_to_the_result():
    image = random(20, 30, 3)
    assert np.array_equal(Dehazer(Squared(), strength=0)(image), image)
    half = Dehazer(Squared(), strength=0.5)(image)
    assert np.abs(half - (image.astype(float) + squared(image)) / 2).max() <= 1
    tensor = torch.rand(1, 3, 20, 30)
    assert torch.allclose(Dehazer(Squared(), strength=0.25)(tensor), tensor + 0.25 * (tensor.square() - tensor))


@pytest.mark.parametrize('shape', [(300, 280, 3), (130, 600, 4)])
def test_tiles_make_no_difference_to_what_is_done_pixel_by_pixel(shape):
    net, image = Squared(), random(*shape)
    result = Dehazer(net, tile=128)(image)
    assert np.array_equal(result[..., :3], squared(image[..., :3]))
    assert len(net.sizes) > 4
    assert max(map(max, net.sizes)) <= 128


def test_all_tiles_have_the_airlight_and_the_attention_of_the_whole_image(monkeypatch):
    net = build_network(OKDNET).eval()
    image = random(300, 200, 3)
    whole = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    dehazer, seen = Dehazer(net, backend='eager', tile=128), []
    run = dehazer._backend._run
    monkeypatch.setattr(dehazer._backend, '_run', lambda hazy, *scene: (seen.append(scene), run(hazy, *scene))[1])
    dehazer(image)
    assert len(seen) > 3
    smaller = F.interpolate(whole, scale_factor=0.5, mode='area')
    for airlight, attention in seen:
        assert torch.allclose(airlight, net.estimate_airlight(whole), atol=1e-5)
        assert torch.allclose(attention, dehazer._backend.estimate_attention(smaller)[0], atol=1e-5)


@pytest.mark.parametrize(('shape', 'factor'), [((1, 3, 300, 217), 3), ((2, 1, 5, 900), 5), ((1, 3, 130, 64), 1)])
def test_images_are_made_smaller_by_means_of_squares_in_bounded_memory(shape, factor):
    image, bands = torch.randint(0, 256, shape, dtype=torch.uint8), []
    smaller = module._reduced(image, factor, lambda rows: (bands.append(rows.shape[2]), rows)[1])
    rows, columns = image.shape[2] // factor, image.shape[3] // factor
    squares = image[..., : rows * factor, : columns * factor].double() / 255
    means = squares.unflatten(3, (columns, factor)).unflatten(2, (rows, factor)).mean((3, 5))
    assert torch.allclose(smaller[..., :rows, :columns].double(), means.expand(-1, 3, -1, -1), atol=1e-6)
    assert smaller.shape == (shape[0], 3, -(-shape[2] // factor), -(-shape[3] // factor))
    assert max(bands) <= factor * module._BAND


@pytest.mark.parametrize('size', [(300, 200), (100, 1000), (256, 256), (20, 17)])
def test_the_overview_is_what_the_airlight_network_makes_of_an_image(size):
    image = torch.rand(1, 3, *size)
    expected = torch.nn.functional.interpolate(image, (256, 256), mode='bilinear', align_corners=False)
    overview = module._overview(image, lambda values: values)
    assert torch.allclose(overview, expected, atol=1e-5)


def test_without_memory_tiles_become_smaller_which_is_said_once():
    lines, net = [], Squared(most=150 * 150)
    dehazer, image = Dehazer(net, notify=lines.append), random(500, 480, 3)
    shares = []
    assert np.array_equal(dehazer.dehaze(image, shares.append).pixels, squared(image))
    assert sum(shares) == pytest.approx(1)
    assert len(lines) == 2
    assert lines[0].startswith('not enough memory on cpu for 480x500 px; going on in tiles of 2')
    net.sizes.clear()
    assert np.array_equal(dehazer(image), squared(image))
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


def test_images_are_cut_only_if_they_need_more_than_half_of_the_free_memory(monkeypatch):
    net, image = Squared(), random(400, 300, 3)
    need = 400 * 300 * memory.bytes_per_pixel('Squared')
    monkeypatch.setattr(memory, 'available', lambda device: 2 * need)
    Dehazer(net)(image)
    assert net.sizes == [(400, 300)]
    monkeypatch.setattr(memory, 'available', lambda device: 2 * need - 2)
    monkeypatch.setattr(module, '_TILE_BYTES', need / 4)
    net.sizes.clear()
    assert np.array_equal(Dehazer(net)(image), squared(image))
    assert 1 < len(net.sizes) < 20
    net.sizes.clear()
    Dehazer(net, tile=0)(image)
    assert net.sizes == [(400, 300)]


def test_memory_is_found_on_this_machine():
    assert 2**20 < memory.available(torch.device('cpu')) < 2**60


def test_a_device_may_be_one_of_torch():
    assert Dehazer(Squared(), device=torch.device('cpu')).device == torch.device('cpu')


@pytest.mark.parametrize(
    ('options', 'complaint'),
    [
        ({'strength': 1.5}, 'strength is 1.5'),
        ({'strength': float('nan')}, 'strength'),
        ({'strength': '1'}, "strength is '1'"),
        ({'tile': 64}, 'tile is 64'),
        ({'tile': '512'}, "tile is '512'"),
    ],
)
def test_options_out_of_range_are_refused(options, complaint):
    with pytest.raises(InputError, match=complaint):
        Dehazer(Squared(), **options)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        torch.zeros(3, 4, 4, dtype=torch.int32),
        torch.zeros(4, 4, 3),
        torch.full((3, 4, 4), 255.0),
        torch.full((3, 4, 4), -0.1),
        torch.full((3, 4, 4), float('nan')),
        torch.zeros(4, 4),
        None,
    ],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(InputError, match=r'an image (is|has)'):
        Dehazer(Squared())(image)


def test_bytes_in_the_order_of_another_machine_are_the_same_numbers():
    image = random(20, 24, 3, dtype=np.uint16)
    swapped = image.astype(image.dtype.newbyteorder())
    result = Dehazer(Squared())(swapped)
    assert result.dtype == swapped.dtype
    assert np.array_equal(result, Dehazer(Squared())(image))


# ---------------------------------------------------------------------------------------------- what may be given to it


def test_paths_images_of_pillow_lists_and_tensors_of_bytes_come_back_as_their_kind(tmp_path):
    dehazer, colours = Dehazer(Squared()), random(20, 30, 3)
    Image.fromarray(colours).save(tmp_path / 'hazy.png')
    assert np.array_equal(dehazer(tmp_path / 'hazy.png'), squared(colours))
    result = dehazer(Image.fromarray(colours))
    assert isinstance(result, Image.Image)
    assert np.array_equal(np.asarray(result), squared(colours))
    both = dehazer([colours, str(tmp_path / 'hazy.png')])
    assert all(np.array_equal(one, squared(colours)) for one in both)
    tensor = torch.from_numpy(colours).permute(2, 0, 1)
    result = dehazer(tensor)
    assert result.dtype == torch.uint8
    assert np.array_equal(result.permute(1, 2, 0).numpy(), squared(colours))


def test_strength_of_a_call_goes_before_that_of_the_object():
    dehazer, hazy = Dehazer(Squared(), strength=1), random(20, 30, 3)
    assert np.array_equal(dehazer(hazy, strength=0), hazy)
    assert np.array_equal(dehazer(hazy), squared(hazy))
    with pytest.raises(InputError, match='strength is 2'):
        dehazer(hazy, strength=2)


def test_it_says_what_it_is():
    assert repr(Dehazer(Squared(), backend='eager')) == 'Dehazer(Squared, eager, fp32, cpu)'


def test_the_network_of_the_caller_is_left_alone():
    net = build_network(OKDNET).train()
    Dehazer(net, backend='eager')
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())


class OfWindows(nn.Module):
    """Looks at windows of 8 px, and fails where they do not fit; with `cuts`, leaves the rest of the image out."""

    def __init__(self, cuts):
        super().__init__()
        self.cuts, self.sizes = cuts, []

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        self.sizes.append(tuple(x.shape[-2:]))
        height, width = (side // 8 for side in x.shape[-2:])
        if self.cuts:
            return x[..., : 8 * height, : 8 * width].square()
        return x.reshape(len(x), 3, height, 8, width, 8).square().flatten(4).flatten(2, 3)


@pytest.mark.parametrize('cuts', [False, True])
def test_a_network_of_windows_takes_any_size_and_is_tried_once(cuts):
    net, hazy = OfWindows(cuts), random(37, 50, 3)
    dehazer = Dehazer(net, backend='eager')
    assert np.array_equal(dehazer(hazy), squared(hazy))
    tried = len(net.sizes)
    assert tried > 2
    assert np.array_equal(dehazer(hazy), squared(hazy))
    assert net.sizes[tried:] == [(40, 56)]


def test_a_network_that_enlarges_is_refused():
    class Doubles(nn.Module):
        def forward(self, x):
            return nn.functional.interpolate(x, scale_factor=2)

    with pytest.raises(InputError, match=r'Doubles makes \(3, 40, 60\) of \(3, 20, 30\); only'):
        Dehazer(Doubles(), backend='eager')(random(20, 30, 3))


# -------------------------------------------------------------------------------------------- a GPU that is not there


class Gpu:
    """Stands for torch.cuda and for the copies to and from a GPU, which it notes down; the GPU is the CPU."""

    def __init__(self, monkeypatch, free=80 * 2**30):
        self.copies = []
        cuda, to = torch.cuda, torch.Tensor.to

        def mem_get_info(device):
            if torch.device(device).index is None:
                raise ValueError('Expected a torch.device with a specified index')
            return free, free

        def moved(tensor, *arguments, **keywords):
            device = next((one for one in arguments if isinstance(one, torch.device | str)), None)
            if device is not None and torch.device(device).type == 'cuda':
                self.copies.append((tensor.dtype, tuple(tensor.shape), keywords.get('non_blocking', False)))
                arguments = tuple(one for one in arguments if one is not device)
                return to(tensor, *arguments) if arguments else tensor
            return to(tensor, *arguments, **keywords)

        for name, function in {
            'is_available': lambda: True,
            'device_count': lambda: 1,
            'current_device': lambda: 0,
            'mem_get_info': mem_get_info,
            'memory_reserved': lambda device: 0,
            'memory_allocated': lambda device: 0,
            'empty_cache': lambda: None,
            'Stream': lambda device: mock.MagicMock(),
            'Event': mock.MagicMock,
            'stream': lambda stream: contextlib.nullcontext(),
            'current_stream': lambda device: mock.MagicMock(),
        }.items():
            monkeypatch.setattr(cuda, name, function)
        monkeypatch.setattr(torch.Tensor, 'to', moved)
        monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda tensor: tensor)
        monkeypatch.setattr(torch.Tensor, 'record_stream', lambda tensor, stream: None)
        monkeypatch.setattr(nn.Module, 'to', lambda net, *_, **__: net)


@pytest.fixture
def gpu(monkeypatch):
    return Gpu(monkeypatch)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='what a process has is read from /proc')
def test_limit_of_the_address_space_is_a_limit_of_memory():
    import resource

    with open('/proc/self/statm') as file:
        own = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (own + 2**28, before[1]))
    try:
        assert memory.available(torch.device('cpu')) <= 2**28
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_memory_of_a_gpu_is_asked_for_by_its_number(gpu):
    dehazer = Dehazer(Squared(), device='cuda')
    assert dehazer.device == torch.device('cuda', 0)
    assert np.array_equal(dehazer(random(20, 30, 3)), squared(random(20, 30, 3)))
    assert Dehazer(Squared()).device == torch.device('cuda', 0)


@pytest.mark.parametrize(('dtype', 'sent'), [(np.uint8, torch.uint8), (np.uint16, torch.int16)])
def test_images_go_to_a_gpu_as_whole_numbers_and_once(gpu, dtype, sent):
    hazy = random(300, 200, 3, dtype=dtype)
    result = Dehazer(Squared(), device='cuda', tile=128)(hazy)
    assert np.abs(result.astype(int) - squared(hazy)).max() <= (1 if dtype == np.uint16 else 0)
    pieces = [copy for copy in gpu.copies if copy[0] == sent]
    assert len(pieces) == len(tiling.places(300, 200, 128))
    assert all(non_blocking for _, _, non_blocking in pieces)


@pytest.mark.parametrize(('free', 'precision', 'least'), [(80, 'fp32', 3000), (80, 'bf16', 4500), (2, 'fp32', 500)])
def test_tiles_of_a_gpu_are_as_large_as_its_memory_allows(monkeypatch, free, precision, least):
    Gpu(monkeypatch, free * 2**30)
    dehazer = Dehazer(Squared(), device='cuda', precision=precision)
    assert dehazer.tile_of(1, 1000, 100_000) >= min(least, 512)
    tile = dehazer.tile_of(1, 20_000, 20_000)
    assert tile >= least
    assert tile**2 * memory.bytes_per_pixel('Squared', precision) <= free * 2**29


@pytest.mark.parametrize(
    'message',
    [
        'CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`',
        'cuDNN error: CUDNN_STATUS_ALLOC_FAILED',
        'GET was unable to find an engine to execute this computation',
        'Unable to find an engine',
    ],
)
def test_libraries_of_a_gpu_say_in_their_own_words_that_memory_is_short(message):
    assert memory.is_out_of_memory(RuntimeError(message))
    assert not memory.is_out_of_memory(ValueError(message))


@pytest.mark.parametrize('name', ['onnx', 'openvino'])
def test_back_ends_of_the_cpu_run_there_though_there_is_a_gpu(gpu, monkeypatch, name):
    made = []
    monkeypatch.setattr(backends, '_make', lambda *arguments: made.append(arguments))
    backends.make(Squared(), name)
    assert made[0][3] == torch.device('cpu')
    with pytest.raises(InputError, match='runs on the CPU alone, not on cuda:0'):
        backends.make(Squared(), name, device='cuda')


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
    with pytest.raises(InputError, match=f'{network["type"]} makes .* only networks of scale 1'):
        dehazer(random(37, 50, 3))


def test_network_of_two_networks_dehazes():
    """Parts of a network may have names that a Dehazer asks for: `fuse` makes OKDNet faster."""
    depth = {'num_feat': 4, 'growth': 4, 'num_blocks': (1, 1, 1, 1)}
    net = build_network({'type': 'DGDNet', 'depth': depth, 'fuse': {'dim': 4, 'depths': (1, 1)}})
    image = random(37, 50, 3)
    assert Dehazer(net, backend='eager')(image).shape == image.shape


def test_images_of_pillow_are_taken_as_their_files_are_and_never_clipped():
    dehazer = Dehazer(Squared())
    wide = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 60
    assert np.asarray(dehazer(Image.frombytes('I;16B', (32, 32), wide.astype('>u2').tobytes()))).dtype == np.uint16
    palette = Image.fromarray((wide // 256).astype(np.uint8)).convert('P')
    palette.info['transparency'] = 3
    assert dehazer(palette).mode == 'RGBA'
    for mode in ('I', 'F'):
        with pytest.raises(InputError, match=r'an image holds .*; save it with 8 or 16 bits a channel'):
            dehazer(Image.fromarray(wide.astype(np.int32 if mode == 'I' else np.float32)))
