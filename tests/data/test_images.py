"""Images from bytes to tensors."""

import io

import cv2
import numpy as np
import pytest
import torch
from basicsr.utils import imfrombytes, img2tensor
from PIL import Image

from okdnet_plugin.data.images import cut_white_frame, decode, resized, to_tensor
from okdnet_plugin.errors import InputError


def image(height=20, width=24):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (3, 3), 0)


def encode(extension, img=None, *parameters):
    return cv2.imencode(extension, image() if img is None else img, list(parameters))[1].tobytes()


def by_pillow(img, kind, **parameters):
    file = io.BytesIO()
    Image.fromarray(img).save(file, kind, **parameters)
    return file.getvalue()


@pytest.mark.parametrize('extension', ['.png', '.bmp', '.tif', '.ppm'])
def test_lossless_files_give_their_pixels(extension):
    assert np.array_equal(decode(encode(extension), 'x'), image())


@pytest.mark.parametrize('extension', ['.png', '.jpg', '.webp', '.tif', '.bmp'])
def test_eight_bits_are_read_as_basicsr_reads_them(extension):
    for img in (image(), image()[..., 0]):
        content = encode(extension, img)
        assert np.array_equal(decode(content, 'x'), imfrombytes(content))


def test_grey_becomes_colour_and_alpha_is_left_out():
    grey = decode(encode('.png', image()[..., 0]), 'x')
    assert np.array_equal(grey, np.repeat(image()[..., :1], 3, 2))
    transparent = np.dstack([image(), np.zeros((20, 24), np.uint8)])
    assert np.array_equal(decode(encode('.png', transparent), 'x'), image())


@pytest.mark.parametrize('extension', ['.png', '.tif'])
@pytest.mark.parametrize('channels', [1, 3])
def test_sixteen_bits_are_kept_or_cut_to_the_upper_eight(extension, channels):
    deep = (image().astype(np.uint16) * 256 + 77)[..., :channels]
    content = encode(extension, deep)
    kept = decode(content, 'x', keep_16_bits=True)
    assert kept.dtype == np.uint16
    assert np.array_equal(kept, np.broadcast_to(deep, (20, 24, 3)))
    assert np.array_equal(decode(content, 'x'), imfrombytes(content))
    assert torch.equal(to_tensor(kept)[2], torch.from_numpy(deep[..., 0].astype(np.float32) / 65535))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_turns_an_image_as_pillow_turns_it(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = by_pillow(image(), kind, exif=exif, lossless=True)
    with Image.open(io.BytesIO(content)) as stored:
        from PIL import ImageOps

        expected = np.asarray(ImageOps.exif_transpose(stored))
    got = decode(content, 'x')[..., ::-1]
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).mean() < 3  # JPEG decoders round differently


@pytest.mark.parametrize('extension', ['.png', '.jpg', '.webp', '.tif', '.bmp'])
@pytest.mark.parametrize('share', [0.3, 0.9, 0.99])
def test_a_file_that_is_cut_short_is_refused(extension, share):
    content = encode(extension, image(60, 80))
    with pytest.raises(InputError, match=r'^x cannot be decoded: it is damaged, cut short or no image; get the file'):
        decode(content[: int(len(content) * share)], 'x')


def test_a_jpeg_that_ends_in_its_image_is_refused_even_if_opencv_fills_it_up(monkeypatch):
    exif = Image.Exif()
    exif[0x010E] = 'a thumbnail ends with \xff\xd9'
    content = by_pillow(image(60, 80), 'JPEG', exif=exif.tobytes() + b'\xff\xd8 thumbnail \xff\xda \xff\xd9')
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: image())
    assert decode(content, 'x').shape == (20, 24, 3)
    assert decode(content + b'what a camera adds \xff\xda', 'x').shape == (20, 24, 3)
    for length in (2, 40, len(content) // 2, len(content) - 1):
        with pytest.raises(InputError, match='cut short'):
            decode(content[:length], 'x')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', r'^x is empty \(0 bytes\); get'),
        (b'GIF89a', 'no image'),
        (b'%PDF-1.4 not an image at all', 'no image'),
        (b'\xff\xd8', 'cut short'),
        (b'RIFF\x00\x00\x00\x00WEBPEXIF', 'damaged'),
    ],
)
def test_what_is_no_image_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        decode(content, 'x', keep_16_bits=True)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('extension', ['.tif', '.hdr', '.pfm'])
@pytest.mark.parametrize('keep_16_bits', [False, True])
def test_floating_point_values_are_refused(extension, channels, keep_16_bits):
    content = encode(extension, (image() / np.float32(255))[..., :channels])
    with pytest.raises(InputError, match=r'^x holds floating-point values; save it with 8 or 16 bits'):
        decode(content, 'x', keep_16_bits)


@pytest.mark.parametrize('type_', [np.int16, np.int32])
def test_signed_numbers_are_refused(type_):
    with pytest.raises(InputError, match=f'^x holds values of type {type_.__name__}; save it'):
        decode(encode('.tif', image().astype(type_)), 'x')


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGBA', 'CMYK', 'YCbCr'])
@pytest.mark.parametrize('compression', ['raw', 'tiff_lzw'])
def test_every_tiff_of_eight_bits_is_read_as_basicsr_reads_it(mode, compression):
    file = io.BytesIO()
    Image.fromarray(image()).convert(mode).save(file, 'TIFF', compression=compression)
    for keep_16_bits in (False, True):
        assert np.array_equal(decode(file.getvalue(), 'x', keep_16_bits), imfrombytes(file.getvalue()))


def test_usual_kinds_are_decoded_once(monkeypatch):
    calls, imdecode = [], cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda *arguments: calls.append(1) or imdecode(*arguments))
    for extension in ('.png', '.jpg', '.webp', '.bmp', '.tif'):
        decode(encode(extension), 'x')
    assert len(calls) == 5


def with_fill_bytes(content):
    """A JPEG with 0xFF before each marker up to its scan, and one without a segment."""
    parts, position = [content[:2], b'\xff\xff\x01'], 2
    while content[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], 'big')
        parts += [b'\xff\xff\xff', content[position:end]]
        position = end
    return b''.join([*parts, b'\xff', content[position:]])


def test_a_jpeg_may_have_fill_bytes_before_its_markers():
    content = with_fill_bytes(encode('.jpg'))
    assert np.array_equal(decode(content, 'x'), imfrombytes(content))
    with pytest.raises(InputError, match='cut short'):
        decode(content[:-2], 'x')


@pytest.mark.parametrize('end', [b'\xff', b'\xff\xff', b'\xff\x00', b'\xff\xe0', b'\xff\xe0\x00'])
def test_a_jpeg_that_ends_in_a_marker_is_cut_short(end, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: image())
    with pytest.raises(InputError, match='cut short'):
        decode(b'\xff\xd8' + end, 'x')


def test_what_opencv_decodes_between_odd_segments_is_no_damage():
    content = encode('.jpg')
    after_jfif = 4 + 16
    odd = content[:after_jfif] + b'a camera wrote this' + content[after_jfif:]
    assert np.array_equal(decode(odd, 'x'), imfrombytes(odd))


def test_an_image_with_too_many_pixels_is_refused():
    header = bytearray(encode('.bmp'))
    header[18:26] = (60_000).to_bytes(4, 'little') + (60_000).to_bytes(4, 'little')
    with pytest.raises(InputError, match='cannot be decoded'):
        decode(bytes(header), 'x')


@pytest.mark.parametrize('img', [image(), image()[3:11, 2:10], image()[:, ::-1], image().transpose(1, 0, 2)])
@pytest.mark.parametrize('color', [None, 'y'])
def test_tensors_have_the_basicsrs_values(img, color):
    from basicsr.utils import bgr2ycbcr

    expected = img.astype(np.float32) / 255.0
    expected = bgr2ycbcr(expected, y_only=True)[..., None] if color else expected
    tensor = to_tensor(img, color)
    assert torch.equal(tensor, img2tensor(expected))
    assert tensor.is_contiguous() or color


def test_resizing_is_by_area_only_when_it_shrinks():
    assert np.array_equal(resized(image(), 10, 12), cv2.resize(image(), (12, 10), interpolation=cv2.INTER_AREA))
    assert np.array_equal(resized(image(), 40, 12), cv2.resize(image(), (12, 40), interpolation=cv2.INTER_LINEAR))


def test_only_a_white_frame_is_cut_off():
    framed = cv2.copyMakeBorder(image(), 10, 10, 10, 10, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    assert np.array_equal(cut_white_frame(framed, (20, 24), 'x'), image())
    assert cut_white_frame(framed, (40, 44), 'x') is framed
    framed[1, 7] = 0
    with pytest.raises(InputError, match='has no white frame to be cut off'):
        cut_white_frame(framed, (20, 24), 'x')


def test_webp_of_which_only_the_pixels_can_be_read_is_one_line():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = bytearray(by_pillow(image(), 'WEBP', exif=exif))
    assert decode(bytes(content), 'a.webp').shape == (24, 20, 3)
    content[20] |= 1  # a flag of its header that stands for nothing
    with pytest.raises(InputError, match=r'a\.webp cannot be decoded'):
        decode(bytes(content), 'a.webp')
