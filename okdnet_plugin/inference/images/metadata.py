"""What an image's file says beside its pixels: EXIF, colour profile, resolution, XMP; read, corrected, handed on."""

import io
import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, PngImagePlugin
from PIL.ExifTags import IFD, Base

EXIF_HEADER = b'Exif\0\0'
_XMP_KEYWORD = 'XML:com.adobe.xmp'
_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
# Chunks that say what colours the numbers of a PNG stand for; they go in front of the pixels. Source: PNG 3rd ed., 5.6.
_PNG_COLOURS = (b'cICP', b'sRGB', b'gAMA', b'cHRM')
_INCH = 0.0254  # m
# Tags of a TIFF file that tell about the image; the others say how the file stores it.
_OF_THE_IMAGE = (
    Base.ImageDescription,
    Base.Make,
    Base.Model,
    Base.Software,
    Base.DateTime,
    Base.Artist,
    Base.HostComputer,
    Base.Copyright,
    Base.Rating,
)


@dataclass(frozen=True)
class Metadata:
    """What is kept of an image's file."""

    orientation: int = 1
    """How the stored image has to be turned to be seen upright, 1 (not at all) to 8, as EXIF counts."""
    exif: bytes | None = None
    """EXIF without its header, with the orientation in it."""
    icc: bytes | None = None
    """ICC profile of the RGB or grey values."""
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    png_colours: tuple[tuple[bytes, bytes], ...] = ()
    """Name and content of the chunks of a PNG that say what its colours are."""

    def upright(self) -> 'Metadata':
        """The same of an image that is stored as it is to be seen."""
        return replace(self, orientation=1, exif=self.exif and without_thumbnail(self.exif, orientation=1))


def turned(pixels: np.ndarray, orientation: int, back: bool = False) -> np.ndarray:
    """An image, (H, W, …), as it is to be seen, of one as it is stored; or `back`. A view, where that can be."""
    if back:
        orientation = {6: 8, 8: 6}.get(orientation, orientation)  # a quarter to the right and to the left
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def of(image: Image.Image) -> Metadata:
    """What an opened image says; to be asked before its pixels are loaded, at which Pillow drops some of it."""
    info = image.info
    exif = _exif_of_tiff(image) if image.format == 'TIFF' else info.get('exif')
    if exif is not None:
        exif = without_thumbnail(exif.removeprefix(EXIF_HEADER))
    orientation = parsed(exif).get(Base.Orientation, 1)
    dpi = info.get('dpi')
    xmp = info.get('xmp') or info.get(_XMP_KEYWORD)
    return Metadata(
        orientation if orientation in range(1, 9) else 1,
        exif,
        info.get('icc_profile') or None,
        (float(dpi[0]), float(dpi[1])) if dpi and all(0 < float(value) < 1e6 for value in dpi) else None,
        xmp.encode() if isinstance(xmp, str) else xmp,
    )


def parsed(exif: bytes | None) -> Image.Exif:
    """EXIF as Pillow reads it; empty, if it cannot."""
    made = Image.Exif()
    if exif:
        try:
            made.load(exif)
        except Exception:  # what others have written there may be anything
            return Image.Exif()
    return made


def _exif_of_tiff(image: Image.Image) -> bytes | None:
    """EXIF of a TIFF file, whose first directory also says how the pixels are stored, which is left out."""
    source, made = image.getexif(), Image.Exif()
    for tag in (*_OF_THE_IMAGE, Base.Orientation):
        if tag in source:
            made[tag] = source[tag]
    for ifd in (IFD.Exif, IFD.GPSInfo):
        if found := source.get_ifd(ifd):
            made[ifd] = dict(found)
    return made.tobytes().removeprefix(EXIF_HEADER) if len(made) else None


def without_thumbnail(exif: bytes, orientation: int | None = None) -> bytes:
    """EXIF that no longer points to its thumbnail, which shows the haze; all other bytes stay where they are.

    Args:
        exif: without its header; what is not understood is given back as it is.
        orientation: value to write in the place of the one there.
    """
    order = {b'II*\0': '<', b'MM\0*': '>'}.get(exif[:4])
    try:
        if order is None:
            return exif
        changed = bytearray(exif)
        (start,) = struct.unpack_from(order + 'I', exif, 4)
        (count,) = struct.unpack_from(order + 'H', exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            if orientation is not None and struct.unpack_from(order + 'H', exif, entry) == (Base.Orientation,):
                struct.pack_into(order + 'H', changed, entry + 8, orientation)
        struct.pack_into(order + 'I', changed, start + 2 + 12 * count, 0)  # where the thumbnail's directory lies
        return bytes(changed)
    except struct.error:
        return exif


def png_colours(content: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Name and content of the chunks of a PNG that say what colours its numbers stand for."""
    found, position = [], len(_PNG_SIGNATURE)
    while position + 8 <= len(content):
        length, name = struct.unpack_from('>I4s', content, position)
        if name == b'IDAT':
            break
        if name in _PNG_COLOURS:
            found.append((name, content[position + 8 : position + 8 + length]))
        position += 12 + length
    return tuple(found)


def into_png(content: bytes, metadata: Metadata) -> bytes:
    """A PNG with what is known of the image, put behind its header; for any depth of its pixels."""
    chunks = list(metadata.png_colours)
    if metadata.icc:
        chunks.append((b'iCCP', b'ICC profile\0\0' + zlib.compress(metadata.icc)))
    if metadata.dpi:
        chunks.append((b'pHYs', struct.pack('>IIB', *(round(value / _INCH) for value in metadata.dpi), 1)))
    if metadata.exif:
        chunks.append((b'eXIf', metadata.exif))
    if metadata.xmp:
        chunks.append((b'iTXt', _XMP_KEYWORD.encode() + b'\0\0\0\0\0' + metadata.xmp))
    header_end = len(_PNG_SIGNATURE) + 25  # IHDR: 13 bytes and the 12 of every chunk
    made = io.BytesIO()
    made.write(content[:header_end])
    for name, data in chunks:
        PngImagePlugin.putchunk(made, name, data)
    made.write(memoryview(content)[header_end:])
    return made.getvalue()
