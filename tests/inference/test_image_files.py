"""What the file of an image holds, its result holds too."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from PIL.ExifTags import IFD, Base

from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.images import metadata as image_metadata
from okdnet_plugin.inference.images import writing as image_writing
from okdnet_plugin.inference.images.metadata import Metadata, turned
from okdnet_plugin.inference.images.reading import OpenedImage

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def random(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def load(content, limit=10):
    return OpenedImage(content, 'a.png', limit).load()


def saved(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


@pytest.fixture
def exif():
    made = Image.Exif()
    made[Base.Orientation], made[Base.Make] = 6, 'Maker'
    made.get_ifd(IFD.Exif)[Base.ExposureTime] = 0.01
    made.get_ifd(IFD.GPSInfo)[2] = (1.0, 2.0, 3.0)
    return made.tobytes().removeprefix(b'Exif\0\0')


@pytest.mark.parametrize('orientation', range(1, 9))
def test_turning_is_what_exif_means_and_can_be_undone(orientation):
    stored = random(5, 7, 3)
    image = Image.fromarray(stored)
    image.getexif()[Base.Orientation] = orientation
    upright = turned(stored, orientation)
    assert np.array_equal(upright, np.asarray(ImageOps.exif_transpose(image)))
    assert np.array_equal(turned(upright, orientation, back=True), stored)


@pytest.mark.parametrize('kind', ['PNG', 'TIFF'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [(), (2,), (3,), (4,)])
def test_every_depth_and_number_of_channels_survives(kind, dtype, channels, exif):
    if dtype == np.uint16 and channels == (2,):
        pytest.skip('becomes RGB with alpha, which is told of')
    pixels = random(37, 53, *channels, dtype=dtype)
    content, notes = image_writing.encode(pixels, Metadata(6, exif, ICC, (300, 150), b'<x/>'), kind, 95)
    image = load(content)
    assert notes == ()
    assert image.pixels.dtype == dtype
    assert np.array_equal(image.pixels, pixels)
    assert (image.kind, image.lossless) == (kind, True)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'JPEG', 'WEBP'])
def test_exif_profile_and_resolution_survive(kind, dtype, exif):
    content, _ = image_writing.encode(
        random(30, 20, 3, dtype=dtype), Metadata(6, exif, ICC, (300, 150), b'<x/>'), kind, 95
    )
    stored = Image.open(io.BytesIO(content))
    if kind != 'TIFF':  # of which Pillow tells the turned size
        assert stored.size == (30, 20)
    kept = load(content).metadata
    assert (kept.orientation, kept.icc, kept.xmp) == (6, ICC, b'<x/>')
    if kind != 'WEBP':  # which has no place for it
        assert kept.dpi == pytest.approx((300, 150), abs=0.1)
    read = image_metadata.parsed(kept.exif)
    assert read[Base.Make] == 'Maker'
    assert read.get_ifd(IFD.Exif)[Base.ExposureTime] == pytest.approx(0.01)
    assert read.get_ifd(IFD.GPSInfo)[2] == (1.0, 2.0, 3.0)


def test_tiff_is_read_by_others(exif):
    pixels = random(1100, 900, 3, dtype=np.uint16)  # several strips
    content, _ = image_writing.encode(pixels, Metadata(icc=ICC, dpi=(72, 72)), 'TIFF', 95)
    assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1], pixels)


def test_the_thumbnail_which_shows_the_haze_is_dropped():
    # One entry, the orientation, and behind it the place of a second directory.
    exif = b'II*\0' + struct.pack('<IH', 8, 1) + struct.pack('<HHII', Base.Orientation, 3, 1, 6) + struct.pack('<I', 26)
    assert image_metadata.without_thumbnail(exif) == exif[:-4] + bytes(4)
    turned_exif = image_metadata.without_thumbnail(exif, orientation=1)
    assert image_metadata.parsed(turned_exif)[Base.Orientation] == 1


@pytest.mark.parametrize('exif', [b'', b'II*\0', b'MM\0*\xff\xff\xff\xff', b'nonsense', b'II*\0\x08\0\0\0\xff\xff'])
def test_damaged_exif_is_left_alone(exif):
    assert image_metadata.without_thumbnail(exif) == exif
    image_metadata.parsed(exif)


def test_what_a_png_says_of_its_colours_survives():
    content = saved(Image.fromarray(random(20, 30, 3)), 'PNG')
    content = image_metadata.into_png(content, Metadata(png_colours=((b'gAMA', struct.pack('>I', 100000)),)))
    image = load(content)
    again, _ = image_writing.encode(image.pixels, image.metadata, 'PNG', 95)
    assert Image.open(io.BytesIO(again)).info['gamma'] == 1


@pytest.mark.parametrize(
    ('kind', 'dtype', 'channels', 'note'),
    [
        ('JPEG', np.uint16, 3, '16 bits became 8'),
        ('JPEG', np.uint8, 4, 'alpha is left out'),
        ('BMP', np.uint8, 4, 'alpha is left out'),
        ('WEBP', np.uint16, 4, '16 bits became 8'),
    ],
)
def test_what_a_kind_of_file_cannot_hold_is_told_of(kind, dtype, channels, note):
    content, notes = image_writing.encode(random(20, 30, channels, dtype=dtype), Metadata(), kind, 95)
    assert note in ' '.join(notes)
    assert load(content).pixels.shape[:2] == (20, 30)


def test_bmp_which_has_no_orientation_is_stored_upright(exif):
    pixels = random(20, 30, 3)
    content, notes = image_writing.encode(pixels, Metadata(6, exif), 'BMP', 95)
    assert np.array_equal(load(content).pixels, pixels)
    assert 'EXIF' in notes[0]


@pytest.mark.parametrize(('quality', 'lossless', 'exact'), [(95, False, False), (100, False, True), (50, True, True)])
def test_webp_is_exact_where_that_is_asked_for(quality, lossless, exact):
    pixels = random(20, 30, 4)
    content, _ = image_writing.encode(pixels, Metadata(icc=ICC), 'WEBP', quality, lossless)
    image = load(content)
    assert image.lossless is exact
    assert np.array_equal(image.pixels, pixels) is exact


def test_quality_is_that_of_jpeg():
    pixels = random(64, 64, 3)
    sizes = [len(image_writing.encode(pixels, Metadata(), 'JPEG', quality)[0]) for quality in (30, 95)]
    assert sizes[0] < sizes[1] / 2


@pytest.mark.parametrize(
    ('image', 'kind', 'shape'),
    [
        (Image.fromarray(np.eye(20) > 0), 'PNG', (20, 20)),
        (Image.fromarray(random(20, 30, 3)).quantize(8), 'PNG', (20, 30, 3)),
        (Image.fromarray(random(20, 30, 3)).quantize(8), 'GIF', (20, 30, 3)),
        (Image.fromarray(random(20, 30, 4), 'CMYK'), 'JPEG', (20, 30, 3)),
        (Image.fromarray(random(20, 30, 4), 'CMYK'), 'TIFF', (20, 30, 3)),
        (Image.fromarray(random(20, 30)), 'JPEG', (20, 30)),
        (Image.fromarray(random(20, 30)), 'BMP', (20, 30)),
        (Image.fromarray(random(20, 30, dtype=np.uint16)), 'TIFF', (20, 30)),
    ],
)
def test_every_kind_of_colours_becomes_grey_or_rgb(image, kind, shape):
    loaded = load(saved(image, kind))
    assert loaded.pixels.shape == shape
    assert bool(loaded.notes) is (image.mode == 'CMYK')
    if kind != 'JPEG' and image.mode != 'CMYK':
        expected = np.asarray(image.convert('RGB') if len(shape) == 3 else image)
        assert np.array_equal(loaded.pixels, expected.astype(loaded.pixels.dtype) * (255 if image.mode == '1' else 1))


def test_a_transparent_colour_becomes_alpha():
    pixels = random(20, 30, 3)
    image = load(saved(Image.fromarray(pixels), 'PNG', transparency=tuple(map(int, pixels[0, 0]))))
    assert image.pixels.shape == (20, 30, 4)
    assert image.pixels[0, 0, 3] == 0
    assert image.pixels[..., 3].max() == 255


def test_the_profile_of_cmyk_is_not_handed_on_to_rgb():
    assert load(saved(Image.fromarray(random(20, 30, 4), 'CMYK'), 'JPEG', icc_profile=ICC)).metadata.icc is None


@pytest.mark.parametrize(('kind', 'longest'), [('JPEG', 65500), ('WEBP', 16383)])
def test_what_is_too_long_for_a_kind_of_file_is_refused(kind, longest):
    image_writing.check_size(1, longest, kind, 'a')
    with pytest.raises(InputError, match='use --format png'):
        image_writing.check_size(longest + 1, 1, kind, 'a')
