"""Images as the content of files, with all that the kind of file can hold."""

import io
import zlib
from os import path as osp

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin, TiffTags
from PIL.ExifTags import Base

from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.images import metadata
from okdnet_plugin.inference.images.metadata import Metadata

KINDS = {
    '.png': 'PNG',
    '.jpg': 'JPEG',
    '.jpeg': 'JPEG',
    '.jpe': 'JPEG',
    '.jfif': 'JPEG',
    '.webp': 'WEBP',
    '.tif': 'TIFF',
    '.tiff': 'TIFF',
    '.bmp': 'BMP',
}
_LONGEST = {'JPEG': 65500, 'WEBP': 16383}  # px of a side
_EIGHT_BITS = ('JPEG', 'WEBP', 'BMP')
_NO_ALPHA = ('JPEG', 'BMP')
_CODECS_OF_JPEG = {'subsampling': 0, 'optimize': False}  # colours in full; haze leaves fine colours to be lost
_STRIP = 2**20  # bytes of the pixels that a TIFF packs together
_DEFLATE, _DIFFERENCES = 8, 2  # compression and predictor of a TIFF
_GREY, _RGB = 1, 2  # photometric interpretation of a TIFF


def kind_of(path: str) -> str:
    """Kind of file that a path's extension stands for."""
    return KINDS[osp.splitext(path)[1].lower()]


def check_size(height: int, width: int, kind: str, label: str) -> None:
    """Refuse what a kind of file cannot hold, before it is computed."""
    longest = _LONGEST.get(kind)
    if longest and max(height, width) > longest:
        raise InputError(
            f'{label} becomes {width}x{height}, but {kind} holds at most {longest} px a side; use --format png'
        )


def encode(
    pixels: np.ndarray, kept: Metadata, kind: str, quality: int, lossless: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """An image as the content of a file.

    Args:
        pixels: upright, as ImageFile has them.
        kept: what the file says beside them.
        kind: PNG, JPEG, WEBP, TIFF or BMP.
        quality: of JPEG and WebP, 1 to 100; WebP at 100 is without loss.
        lossless: WebP without loss, whatever the quality.

    Returns:
        The content, and what could not be kept, in words.
    """
    notes = []
    if pixels.dtype == np.uint16 and kind in _EIGHT_BITS:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        notes.append(f'16 bits became 8, as {kind} has no more')
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and kind in _NO_ALPHA:
        pixels = pixels[..., :-1]
        notes.append(f'alpha is left out, as {kind} has none')
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    if kind == 'BMP':
        if kept.exif or kept.icc or kept.xmp:
            notes.append('EXIF and ICC profile are left out, as BMP has none')
    else:
        pixels = metadata.turned(pixels, kept.orientation, back=True)
    pixels = np.ascontiguousarray(pixels)
    if pixels.dtype == np.uint16 and pixels.ndim == 3 and pixels.shape[2] == 2:
        pixels = pixels[..., [0, 0, 0, 1]]  # neither library knows it otherwise
        notes.append('grey with alpha of 16 bits became RGB with alpha')
    if kind == 'TIFF':
        return _tiff(pixels, kept), tuple(notes)
    if kind == 'PNG':
        return metadata.into_png(_png(pixels), kept), tuple(notes)
    return _by_pillow(pixels, kept, kind, quality, lossless), tuple(notes)


def _by_pillow(pixels: np.ndarray, kept: Metadata, kind: str, quality: int, lossless: bool) -> bytes:
    exif = kept.exif and metadata.EXIF_HEADER + kept.exif
    options: dict = {'dpi': kept.dpi} if kept.dpi else {}
    if kind != 'BMP':
        options |= {'quality': quality} | {
            key: value for key, value in {'exif': exif, 'icc_profile': kept.icc, 'xmp': kept.xmp}.items() if value
        }
    if kind == 'JPEG':
        options |= _CODECS_OF_JPEG
    if kind == 'WEBP' and (lossless or quality == 100):
        options |= {'lossless': True, 'exact': True, 'quality': 75}  # there the quality is the effort
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    """A PNG of the pixels alone."""
    if pixels.dtype == np.uint8:
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, 'PNG')
        return content.getvalue()
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode('.png', pixels, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise InputError('the image cannot be written as PNG of 16 bits')
    return encoded.tobytes()


def _tiff(pixels: np.ndarray, kept: Metadata) -> bytes:
    """A TIFF, packed by differences and Deflate; Pillow writes the directory, but knows no colours of 16 bits.

    Source: TIFF 6.0, sections 8, 14 and 18.
    """
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    planes = pixels.reshape(height, width, samples)
    rows = max(1, min(height, _STRIP // (width * samples * pixels.itemsize)))
    strips = [_strip(planes[top : top + rows]) for top in range(0, height, rows)]

    directory = TiffImagePlugin.ImageFileDirectory_v2()
    exif = metadata.parsed(kept.exif)
    for tag, value in exif.items():
        directory[tag] = exif.get_ifd(tag) if tag in TiffTags.TAGS_V2_GROUPS else value
    directory[Base.ImageWidth], directory[Base.ImageLength] = width, height
    directory[Base.BitsPerSample] = (8 * pixels.itemsize,) * samples
    directory[Base.Compression], directory[Base.Predictor] = _DEFLATE, _DIFFERENCES
    directory[Base.PhotometricInterpretation] = _RGB if samples > 2 else _GREY
    directory[Base.SamplesPerPixel], directory[Base.PlanarConfiguration] = samples, 1
    directory[Base.RowsPerStrip] = rows
    if samples in (2, 4):
        directory[338] = 2  # the extra sample is alpha, not multiplied into the colours
    if kept.dpi:
        directory[Base.XResolution], directory[Base.YResolution] = kept.dpi
        directory[Base.ResolutionUnit] = 2  # inch
    for tag, content in {Base.InterColorProfile: kept.icc, Base.XMLPacket: kept.xmp}.items():
        if content:
            directory.tagtype[tag] = TiffTags.UNDEFINED if tag == Base.InterColorProfile else TiffTags.BYTE
            directory[tag] = content
    directory.tagtype[Base.StripOffsets] = directory.tagtype[Base.StripByteCounts] = TiffTags.LONG
    sizes = [len(strip) for strip in strips]
    directory[Base.StripByteCounts] = tuple(sizes)
    directory[Base.StripOffsets] = tuple(sum(sizes[:i]) for i in range(len(sizes)))  # Pillow adds where the data begin

    file = io.BytesIO()
    directory.save(file)
    file.writelines(strips)
    return file.getvalue()


def _strip(pixels: np.ndarray) -> bytes:
    """Rows of (rows, width, samples): each value as its difference to the pixel before, packed."""
    differences = pixels.copy()
    differences[:, 1:] -= pixels[:, :-1]
    return zlib.compress(differences.astype(differences.dtype.newbyteorder('<'), copy=False).tobytes(), 6)
