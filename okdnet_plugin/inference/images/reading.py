"""Files of images read for dehazing: nothing of them is lost that the result can keep."""

import contextlib
import io
import os
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from os import PathLike, fspath
from os import path as osp
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from okdnet_plugin.errors import InputError, one_line
from okdnet_plugin.files import open_regular_file
from okdnet_plugin.inference.images import kinds, metadata
from okdnet_plugin.inference.images.metadata import Metadata

_CV2_LOG: Any = getattr(cv2.utils, 'logging', cv2)  # OpenCV 4.13 moved its log there
# Bytes that texts and profiles of a PNG may unpack to, each and all told.
_TEXT, _TEXTS = 2**26, 2**28
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339  # tags of TIFF
_FLOATING_POINT = 3  # a sample format
_LOGARITHMS = (32844, 32845)  # photometric interpretations: CIE Log2(L), and with u' and v'
_DEPTH_OF_PNG = 24  # byte of the file that tells the bits a channel
# Modes of Pillow that are arrays as they are, and what the others become.
_AS_THEY_ARE = ('L', 'LA', 'RGB', 'RGBA', 'I;16')
_BECOME = {
    '1': 'L',
    'I;16B': 'I;16',
    'I;16L': 'I;16',
    'PA': 'RGBA',
    'La': 'LA',
    'RGBa': 'RGBA',
    'RGBX': 'RGB',
    'YCbCr': 'RGB',
}
_WITH_ALPHA = {'L': 'LA', 'RGB': 'RGBA', 'P': 'RGBA'}
_NAMES = {'F': 'floating-point values', 'I': 'values of 32 bits', 'LAB': 'CIE Lab colours', 'HSV': 'HSV colours'}
_UNREADABLE = 'cannot be decoded: it is damaged, cut short, or no image of 8 or 16 bits a channel'


@dataclass
class ImageFile:
    """An image as it is to be seen, and what its file says beside it."""

    pixels: np.ndarray
    """uint8 or uint16, upright; grey (H, W), grey and alpha (H, W, 2), RGB (H, W, 3), RGB and alpha (H, W, 4)."""
    metadata: Metadata
    kind: str
    """PNG, JPEG, WEBP, TIFF, BMP, or another kind that is only read."""
    lossless: bool
    """Whether the file holds the pixels exactly."""
    notes: tuple[str, ...] = ()
    """What could not be kept, in words."""


class OpenedImage:
    """A file whose header has been read: its size is known, its pixels are not there yet."""

    def __init__(self, source: str | PathLike | bytes, label: str, max_megapixels: float):
        """
        Args:
            source: path, or the whole content of a file.
            label: what messages call it.
            max_megapixels: larger images are refused before anything of their size is made.

        Raises:
            InputError: it is missing, empty, no image, too large, or several images in one.
        """
        self.label = label
        self._file = _open(source, label)
        try:
            with _complaints(label):
                self._image = _identified(self._file, label, None if isinstance(source, bytes) else fspath(source))
                self.size = self._image.size
                self.pixels = self.size[0] * self.size[1]
                self._check(max_megapixels)  # which counts frames, and so reads on
        except BaseException:
            self.close()
            raise

    @property
    def num_bytes(self) -> int:
        """What the pixels take in memory; until `load`."""
        mode = self._image.mode
        channels = len(_WITH_ALPHA['P'] if mode == 'P' else self._image.getbands())
        is_deep = mode.startswith('I') or self._has_16_bits(str(self._image.format))
        return self.pixels * channels * (2 if is_deep else 1)

    def close(self) -> None:
        """Give the file back; after `load` that has happened."""
        self._file.close()

    def _check(self, max_megapixels: float) -> None:
        width, height = self.size
        if self.pixels > max_megapixels * 1e6:
            raise InputError(
                f'{self.label} is {width}x{height}, {self.pixels / 1e6:.0f} megapixels, more than the '
                f'{max_megapixels:g} that are allowed; raise --max-megapixels if you trust it'
            )
        frames = getattr(self._image, 'n_frames', 1)
        if frames > 1 and self._image.format != 'MPO':  # whose first image is the photograph
            raise InputError(f'{self.label} holds {frames} images; give them as files of their own, or as a video')

    def load(self) -> ImageFile:
        """Read the pixels.

        Raises:
            InputError: the file is damaged or cut short, or holds other values than 8 or 16 bits a channel.
        """
        try:
            with _complaints(self.label):
                return self._load()
        finally:
            self.close()

    def _load(self) -> ImageFile:
        image = self._image
        kind = 'JPEG' if image.format == 'MPO' else str(image.format)
        kept = metadata.of(image)
        content = b''
        if kind == 'PNG':
            content = self._content()
            kept = replace(kept, png_colours=metadata.png_colours(content))
        lossless = kind not in ('JPEG', 'WEBP') or (kind == 'WEBP' and _is_lossless_webp(self._content()))
        if self._has_16_bits(kind):
            pixels, notes = self._load_16_bits(kind, content or self._content()), ()
        else:
            image, kept, notes = _plain(image, kept, self.label)
            pixels = np.asarray(image)
        if kind != 'TIFF':  # which both libraries turn themselves
            pixels = metadata.turned(pixels, kept.orientation)
        return ImageFile(np.ascontiguousarray(pixels), kept, kind, lossless, notes)

    def _has_16_bits(self, kind: str) -> bool:
        """Whether Pillow, which holds colours with 8 bits, would lose something."""
        if self._image.mode not in ('RGB', 'RGBA', 'LA'):
            return False
        if kind == 'PNG':
            return self._content(_DEPTH_OF_PNG + 1)[-1:] == b'\x10'
        return kind == 'TIFF' and max(self._image.tag_v2.get(_BITS_PER_SAMPLE, (8,))) > 8  # pyright: ignore

    def _load_16_bits(self, kind: str, content: bytes) -> np.ndarray:
        if kind == 'PNG':
            with Image.open(io.BytesIO(content), formats=['PNG']) as image:
                image.verify()  # OpenCV fills up what is missing
        elif self._image.tag_v2.get(_PLANAR, 1) != 1:  # pyright: ignore[reportAttributeAccessIssue]
            raise InputError(f'{self.label} stores its channels one after the other; save it with interleaved channels')
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.dtype != np.uint16:
            raise InputError(f'{self.label} {_UNREADABLE}')
        if pixels.ndim == 2:
            return pixels
        if self._image.mode == 'LA':
            return np.ascontiguousarray(pixels[..., [0, -1]])
        code = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
        return cv2.cvtColor(pixels, code)

    def _content(self, length: int = -1) -> bytes:
        position = self._file.tell()
        self._file.seek(0)
        content = self._file.read(length)
        self._file.seek(position)
        return content


@contextlib.contextmanager
def without_other_limits() -> Iterator[None]:
    """While this is entered, the limit of an image's size, and what is said of damage, are this module's alone."""
    before, level = Image.MAX_IMAGE_PIXELS, _CV2_LOG.getLogLevel()
    texts = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = _TEXT, _TEXTS
    _CV2_LOG.setLogLevel(0)  # silent
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', module='PIL')
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = texts
        _CV2_LOG.setLogLevel(level)


@contextlib.contextmanager
def _complaints(label: str) -> Iterator[None]:
    """Make one line that names the file of whatever a decoder raises."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise InputError(f'{label} {_UNREADABLE}') from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error …
        raise InputError(f'{label} {_UNREADABLE} ({one_line(error)})') from error


def _open(source: str | PathLike | bytes, label: str) -> BinaryIO:
    """A file that can be read from any place."""
    if not isinstance(source, bytes):
        try:
            file = open_regular_file(source, label)
            if os.fstat(file.fileno()).st_size > 0:
                return file
            file.close()
            source = b''
        except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
            if isinstance(error, InputError):
                raise
            raise InputError(f'{label} cannot be read: {getattr(error, "strerror", None) or error}') from error
    if not source:
        raise InputError(f'{label} is empty (0 bytes)')
    return io.BytesIO(source)


def _identified(file: BinaryIO, label: str, path: str | None) -> Image.Image:
    try:
        return Image.open(file, formats=kinds.kinds_for(path))
    except Image.UnidentifiedImageError:
        file.seek(0)
        start = file.read(4)
        # Pillow knows no floating-point colours. The header alone tells of them: the pixels may be of any size.
        if start in (b'II*\0', b'MM\0*') and _is_floating_point(file):
            raise InputError(_other_values(label, 'F')) from None
        if path is not None and kinds.is_other(path):
            ending = osp.splitext(path)[1].lower()
            raise InputError(f'{label}: {ending} is not read here; {kinds.cure_for(path)}') from None
        raise


def _is_floating_point(file: BinaryIO) -> bool:
    """Whether the values of a TIFF are floating-point numbers, or logarithms that stand for such."""
    file.seek(0)
    directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
    file.seek(directory.next)
    directory.load(file)
    return _FLOATING_POINT in directory.get(_SAMPLE_FORMAT, ()) or directory.get(_PHOTOMETRIC) in _LOGARITHMS


def _plain(image: Image.Image, kept: Metadata, label: str) -> tuple[Image.Image, Metadata, tuple[str, ...]]:
    """The image in a mode that is an array of grey or RGB; what is kept of its file; what is not, in words."""
    image.load()
    if image.mode == 'CMYK':
        note = 'CMYK became RGB' + (' (sRGB, by its ICC profile)' if kept.icc else '')
        return _from_cmyk(image, kept.icc), replace(kept, icc=None), (note,)
    if 'transparency' in image.info and image.mode in _WITH_ALPHA:
        return image.convert(_WITH_ALPHA[image.mode]), kept, ()
    mode = 'RGB' if image.mode == 'P' else _BECOME.get(image.mode, image.mode)
    if mode not in _AS_THEY_ARE:
        raise InputError(_other_values(label, mode))
    return (image if mode == image.mode else image.convert(mode)), kept, ()


def plain(image: Image.Image) -> Image.Image:
    """An image of Pillow, as its files are read: grey or RGB, with its alpha, of 8 or 16 bits.

    Raises:
        InputError: it holds other values, which `convert` would clip to 8 bits.
    """
    if image.mode == 'HSV':
        return image.convert('RGB')
    return _plain(image, Metadata(icc=image.info.get('icc_profile')), 'an image')[0]


def _from_cmyk(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile('sRGB'), outputMode='RGB'
            )
            if converted is not None:
                return converted
    return image.convert('RGB')


def _is_lossless_webp(content: bytes) -> bool:
    """Whether the first chunk of pixels is a lossless one. Source: WebP container specification, RIFF."""
    position = 12
    while position + 8 <= len(content):
        name, length = struct.unpack_from('<4sI', content, position)
        if name in (b'VP8 ', b'VP8L'):
            return name == b'VP8L'
        position += 8 + length + length % 2
    return False


def _other_values(label: str, mode: str) -> str:
    return f'{label} holds {_NAMES.get(mode, f"values of the mode {mode}")}; save it with 8 or 16 bits a channel'
