"""What the demo does with a file: the bytes of `basicsr dehaze`, and images to look at."""

import numpy as np
import pytest
from PIL import Image

from okdnet_plugin import cli
from okdnet_plugin.demo.worker import LARGEST_VIEW, Worker
from okdnet_plugin.errors import InputError


@pytest.fixture(scope='module')
def worker():
    worker = Worker('cpu', 'fp32', 'eager', 1)
    yield worker
    worker.close()


@pytest.fixture
def hazy(tmp_path):
    path = tmp_path / 'a b.jpg'
    Image.fromarray(np.random.default_rng(0).integers(120, 250, (40, 56, 3), np.uint8)).save(path)
    return str(path)


def content_of(path):
    with open(path, 'rb') as file:
        return file.read()


def test_the_result_has_the_bytes_of_the_command(worker, hazy, tmp_path):
    made = worker.restore(hazy, 'okdnet', 0.7)
    assert (
        cli.main(['dehaze', '-i', hazy, '-o', str(tmp_path / 'o.jpg'), '--backend', 'eager', '--strength', '0.7']) == 0
    )
    assert content_of(made.path) == content_of(tmp_path / 'o.jpg')
    assert made.path.endswith('a b.jpg')
    assert [view.shape for view in made.views] == [(40, 56, 3)] * 2
    assert not made.maps


def test_maps_are_images_to_look_at(worker, hazy):
    made = worker.restore(hazy, 'okdnet', maps=True)
    assert Image.open(made.maps['transmission']).size == (56, 40)
    assert Image.open(made.maps['airlight']).size == (64, 64)


@pytest.mark.parametrize('mode', ['L', 'LA', 'RGBA', 'I;16'])
def test_what_is_shown_is_rgb_of_8_bits_whatever_the_file_holds(worker, tmp_path, mode):
    path = tmp_path / 'a.png'
    Image.new(mode, (20, 16), 300 if mode == 'I;16' else None).save(path)
    assert {(view.shape, view.dtype) for view in worker.restore(str(path), 'okdnet').views} == {
        ((16, 20, 3), np.dtype('u1'))
    }


def test_a_large_image_is_shown_smaller(worker, tmp_path):
    path = str(tmp_path / 'a.png')
    Image.new('RGB', (2 * LARGEST_VIEW, 32)).save(path)
    assert worker._view(path).shape == (16, LARGEST_VIEW, 3)


@pytest.mark.parametrize(
    ('content', 'weights', 'words'),
    [(b'no image', 'okdnet', 'cannot be decoded'), (None, 'none', 'none'), ((1200, 900), 'okdnet', 'megapixels')],
)
def test_what_cannot_be_used_is_one_line_that_names_it(worker, hazy, tmp_path, content, weights, words):
    if isinstance(content, bytes):
        (tmp_path / 'a b.jpg').write_bytes(content)
    elif content:
        Image.new('RGB', content).save(hazy)
    with pytest.raises(InputError, match=words) as refused:
        worker.restore(hazy, weights)
    assert '\n' not in str(refused.value)


def test_a_clip_becomes_a_clip(worker, tmp_path):
    av = pytest.importorskip('av', '18', reason='no PyAV 18')
    with av.open(str(tmp_path / 'a.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, 'yuv420p'
        frames = [av.VideoFrame.from_ndarray(np.full((32, 48, 3), 120 + level, 'u1'), 'rgb24') for level in range(2)]
        for frame in [*frames, None]:
            container.mux(stream.encode(frame))
    made = worker.restore(str(tmp_path / 'a.mp4'), 'okdnet')
    assert made.views is None
    with av.open(made.path) as container:
        assert len(list(container.decode(video=0))) == 2


def test_old_results_go_and_new_ones_stay(hazy, monkeypatch):
    monkeypatch.setattr('okdnet_plugin.demo.worker._KEPT', 2)
    worker = Worker('cpu', 'fp32', 'eager', 1)
    paths = [worker.restore(hazy, 'okdnet', strength).path for strength in (0, 0.5, 1)]
    assert [bool(content) for content in map(_content_or_nothing, paths)] == [False, True, True]
    worker.close()
    assert not any(map(_content_or_nothing, paths))


def _content_or_nothing(path):
    try:
        return content_of(path)
    except FileNotFoundError:
        return b''
