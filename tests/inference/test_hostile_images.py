"""Files that are damaged, huge or something else are told of in one line."""

import contextlib
import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.images.reading import OpenedImage, without_other_limits


@pytest.fixture(autouse=True)
def _as_the_command_does():
    with without_other_limits():
        yield


def random(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def saved(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def encoded(extension, pixels):
    return cv2.imencode(extension, pixels)[1].tobytes()


def chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def png_that_says(width, height):
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(bytes(10**6)))
        + chunk(b'IEND', b'')
    )


IMAGE = Image.fromarray(random(60, 80, 3))
FRAMES = [Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)) for i in range(3)]


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        (b'', 'is empty'),
        (b'hello, world', 'cannot be decoded'),
        (b'\x89PNG\r\n\x1a\n', 'cannot be decoded'),
        (b'\xff\xd8\xff\xe0', 'cannot be decoded'),
        (b'II*\0\xff\xff\xff\xff', 'cannot be decoded'),
        (bytes(range(256)) * 9, 'cannot be decoded'),
        (saved(IMAGE, 'PNG')[:2000], 'cannot be decoded'),
        (saved(IMAGE, 'JPEG')[:2000], 'cannot be decoded'),
        (saved(IMAGE, 'WEBP')[:1000], 'cannot be decoded'),
        (saved(IMAGE, 'TIFF')[:4000], 'cannot be decoded'),
        (saved(IMAGE, 'BMP')[:4000], 'cannot be decoded'),
        (encoded('.png', random(60, 80, 3, dtype=np.uint16))[:9000], 'cannot be decoded'),
        (encoded('.tiff', random(60, 80, 3, dtype=np.uint16))[:9000], 'cannot be decoded'),
        (encoded('.tiff', np.full((20, 30, 3), np.nan, np.float32)), 'holds floating-point values'),
        (encoded('.tiff', np.full((20, 30), np.inf, np.float32)), 'holds floating-point values'),
        (saved(FRAMES[0], 'GIF', save_all=True, append_images=FRAMES[1:]), 'holds 3 images'),
        (saved(FRAMES[0], 'TIFF', save_all=True, append_images=FRAMES[1:]), 'holds 3 images'),
        (saved(FRAMES[0], 'PNG', save_all=True, append_images=FRAMES[1:]), 'holds 3 images'),
        (png_that_says(100_000, 100_000), 'a is 100000x100000, 10000 megapixels, more than the 20 that are allowed'),
        (png_that_says(2**31 - 1, 1), 'more than the 20 that are allowed'),
        (png_that_says(1000, 1000)[:500], 'cannot be decoded'),
        (png_that_says(0, 10), 'cannot be decoded'),
    ],
)
def test_what_is_no_whole_image_is_told_of_in_one_line(content, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        OpenedImage(content, 'a', 20).load()
    assert '\n' not in str(caught.value)
    assert str(caught.value).startswith('a ')


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF', 'WEBP'])
def test_no_flipped_bit_brings_anything_but_an_image_or_one_line(kind):
    content = bytearray(saved(IMAGE, kind))
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] ^= 1 << rng.integers(8)
        with contextlib.suppress(InputError):
            assert OpenedImage(bytes(damaged), 'a', 20).load().pixels.dtype in (np.uint8, np.uint16)


def test_the_limit_is_looked_at_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, 'load', None)
    with pytest.raises(InputError, match='raise --max-megapixels'):
        OpenedImage(png_that_says(5000, 5000), 'a', 20)


@pytest.mark.parametrize('options', [[cv2.IMWRITE_TIFF_COMPRESSION, 5], []], ids=['lzw', 'logarithms'])
def test_floating_point_colours_are_told_of_without_being_decoded(options, monkeypatch):
    content = cv2.imencode('.tif', np.zeros((30, 40, 3), np.float32), options)[1].tobytes()
    monkeypatch.setattr(cv2, 'imdecode', None)
    with pytest.raises(InputError, match='floating-point values'):
        OpenedImage(content, 'a', 20)


@pytest.mark.parametrize('size', [(100_000, 1), (1, 70_000)])
def test_long_sides_are_read(size):
    content = saved(Image.fromarray(random(*size, 3)), 'PNG')
    assert OpenedImage(content, 'a', 20).load().pixels.shape == (*size, 3)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF'])
def test_the_content_counts_and_not_the_extension(kind, tmp_path):
    path = tmp_path / 'a.bmp'
    path.write_bytes(saved(IMAGE, kind))
    assert OpenedImage(path, 'a', 20).load().kind == kind


def test_what_is_no_file_is_told_of(tmp_path):
    for path, complaint in {
        tmp_path / 'none.png': 'No such file',
        tmp_path: 'is a folder, no regular file',
        '/dev/zero': 'is a device, no regular file',
        'a\0b': 'cannot be read',
    }.items():
        with pytest.raises(InputError, match=complaint):
            OpenedImage(path, 'a', 20)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'a')
    with pytest.raises(InputError, match='a is a named pipe'):
        OpenedImage(tmp_path / 'a', 'a', 20)


def test_tiff_whose_second_image_is_damaged_is_one_line():
    content = bytearray(saved(Image.fromarray(random(24, 32, 3)), 'TIFF'))
    directory = struct.unpack('<I', content[4:8])[0]
    entries = struct.unpack('<H', content[directory : directory + 2])[0]
    after = directory + 2 + 12 * entries
    content[after : after + 4] = struct.pack('<I', len(content))
    content += bytes(6)
    with pytest.raises(InputError, match=r'a\.tif cannot be decoded'):
        OpenedImage(bytes(content), 'a.tif', 10)
