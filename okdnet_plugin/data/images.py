"""Images of a data set, from the bytes of a file to the tensor that a network sees."""

import io
import re

import cv2
import numpy as np
import torch
from basicsr.utils import bgr2ycbcr, img2tensor
from PIL import Image
from torch import Tensor

from okdnet_plugin.errors import InputError

_FRAME = 10  # px on each side of a framed clear image
_WHITE_RING = 5  # px: further inside the frame is dithered into the image
_WHITE = 250
_JPEG, _END_OF_JPEG = b'\xff\xd8', b'\xff\xd9'
# Source: ITU T.81, B.1.1.2 and table B.1: any number of 0xFF may stand before a marker; these have no segment.
_MARKER = re.compile(b'\xff+([\x01-\xfe])')
_START_OF_SCAN, _WITHOUT_SEGMENT = 0xDA, {0x01, *range(0xD0, 0xD9)}
# How the kinds begin that hold whole numbers only: PNG, JPEG, BMP, WebP.
_WHOLE_NUMBERS = (b'\x89PNG', _JPEG, b'BM', b'RIFF')
_ORIENTATION = 0x0112  # EXIF's tag; what its values ask for:
_TURNS = {
    2: lambda img: img[:, ::-1],
    3: lambda img: img[::-1, ::-1],
    4: lambda img: img[::-1],
    5: lambda img: img.transpose(1, 0, 2),
    6: lambda img: np.rot90(img, -1),
    7: lambda img: img[::-1, ::-1].transpose(1, 0, 2),
    8: lambda img: np.rot90(img),
}


def decode(content: bytes, label: str, keep_16_bits: bool = False) -> np.ndarray:
    """Image of a file's content: PNG, JPEG, WebP, TIFF, BMP, or what else OpenCV knows.

    Grey becomes colour, alpha is left out, the rotation that EXIF asks for is made. Of 16 bits the upper eight are
    kept, as BasicSR does: pairs are compared at the depth of what is restored. An image that has no clear one
    keeps all, in SingleDehazeDataset.

    Args:
        content: the whole file.
        label: what messages call it.
        keep_16_bits: give uint16 for images of 16 bits a channel.

    Returns:
        The image, (H, W, 3), BGR, uint8 in [0, 255], or uint16 in [0, 65535].

    Raises:
        InputError: it is empty, damaged, cut short or no image, or has other values than 8 or 16 bits.
    """
    img = _decoded(content, keep_16_bits)
    if img is not None and not _has_bits(img):
        held = 'floating-point values' if img.dtype.kind == 'f' else f'values of type {img.dtype}'
        raise InputError(f'{label} holds {held}; save it with 8 or 16 bits, or take it out')
    if img is None or _is_cut_short(content):
        raise InputError(f'{label} {_complaint(content)}; get the file again or take it out, then go on')
    try:
        return _turned(img, content)
    except Exception as error:  # whatever Pillow raises of a file of which OpenCV has read the pixels
        raise InputError(f'{label} {_complaint(content)}; get the file again or take it out, then go on') from error


def to_tensor(img: np.ndarray, color: str | None = None) -> Tensor:
    """Tensor of an image, with the values of BasicSR's `img2tensor(img / 255)`.

    Args:
        img: (H, W, 3), BGR, uint8 or uint16.
        color: `y` for the luma alone.

    Returns:
        float32 RGB (3, H, W), or luma (1, H, W), in [0, 1], contiguous.
    """
    largest = np.iinfo(img.dtype).max
    if color == 'y':
        return img2tensor(bgr2ycbcr(img.astype(np.float32) / largest, y_only=True)[..., None], float32=True)
    planes = np.empty((3, *img.shape[:2]), img.dtype)
    cv2.split(img, [planes[2], planes[1], planes[0]])  # moved as uint8, a quarter of float32
    # Torch takes uint16 since 2.3, and turns it into the same numbers.
    planes = planes if planes.dtype == np.uint8 else planes.astype(np.float32)
    return torch.from_numpy(planes).float().div_(largest)


def resized(img: np.ndarray, height: int, width: int) -> np.ndarray:
    """Image of another size: by area when neither edge grows, else linearly."""
    if img.shape[:2] == (height, width):
        return img
    shrinks = height <= img.shape[0] and width <= img.shape[1]
    return cv2.resize(img, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def cut_white_frame(img_gt: np.ndarray, size: tuple[int, ...], labels: str) -> np.ndarray:
    """Clear image without the frame that SOTS-indoor's original files have and their hazy ones lack.

    Args:
        img_gt: clear image, (H, W, 3), uint8.
        size: height and width of the hazy image; only a clear one that is 20 px larger can have a frame.
        labels: what messages call the pair.

    Raises:
        InputError: it is 20 px larger, but what surrounds it is not white.
    """
    if any(img_gt.shape[axis] - size[axis] != 2 * _FRAME for axis in (0, 1)):
        return img_gt
    ring = np.ones(img_gt.shape[:2], bool)
    ring[_WHITE_RING:-_WHITE_RING, _WHITE_RING:-_WHITE_RING] = False
    if img_gt[ring].min() < _WHITE:
        raise InputError(
            f'{labels} do not fit: the clear image is {2 * _FRAME} px larger, but has no white frame to be cut off; '
            'give the original clear images, or ones of the hazy size'
        )
    return img_gt[_FRAME:-_FRAME, _FRAME:-_FRAME]


def cut_remainder(img_gt: np.ndarray, size: tuple[int, ...], scale: int, exact: bool, labels: str) -> np.ndarray:
    """Clear image of `scale` times the hazy size; unless `exact`, a remainder smaller than `scale` is cut off."""
    (h_lq, w_lq), (h_gt, w_gt) = size[:2], img_gt.shape[:2]
    largest = 0 if exact else scale - 1
    if not (0 <= h_gt - h_lq * scale <= largest and 0 <= w_gt - w_lq * scale <= largest):
        raise InputError(
            f'{labels} do not fit: the hazy image is {h_lq}x{w_lq}, the clear one {h_gt}x{w_gt} (height x width), '
            f'but scale is {scale}; make the sizes fit, take the pair out, or correct scale'
        )
    return img_gt[: h_lq * scale, : w_lq * scale]


def check_large_enough(img: np.ndarray, gt_size: int, label: str) -> None:
    """Refuse an image that a crop does not fit into."""
    if min(img.shape[:2]) < gt_size:
        height, width = img.shape[:2]
        raise InputError(
            f'{label} is {height}x{width} (height x width), smaller than gt_size {gt_size}; lower gt_size, use resize, '
            'or take the pair out'
        )


def _decoded(content: bytes, keep_16_bits: bool) -> np.ndarray | None:
    """The image; of other values than 8 or 16 bits, it is as it is stored."""
    wanted = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if keep_16_bits else 0)
    if content.startswith(_WHOLE_NUMBERS):
        return _by_opencv(content, wanted)
    # Asked for 8 bits, OpenCV would make something of any values, of [0, 1] for example black and white.
    img = _by_opencv(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if img is None:  # of one channel of some types it makes no colours
        img = _by_opencv(content, cv2.IMREAD_UNCHANGED)
        return None if img is None or _has_bits(img) else img
    return _by_opencv(content, wanted) if img.dtype == np.uint16 and not keep_16_bits else img


def _has_bits(img: np.ndarray) -> bool:
    return img.dtype in (np.uint8, np.uint16)


def _by_opencv(content: bytes, flags: int) -> np.ndarray | None:
    if content[8:12] == b'WEBP':
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error:  # more pixels than OpenCV takes, or a kind of image that it knows by name only
        return None


def _complaint(content: bytes) -> str:
    return 'cannot be decoded: it is damaged, cut short or no image' if content else 'is empty (0 bytes)'


def _is_cut_short(content: bytes) -> bool:
    """Whether a JPEG ends within its image: some versions of OpenCV fill up what is missing with grey."""
    if not content.startswith(_JPEG):
        return False
    position = len(_JPEG)
    # From segment to segment, as thumbnails in them have ends of their own: to the scan, or as far as they are known.
    while (marker := _MARKER.match(content, position)) and marker[1][0] != _START_OF_SCAN:
        position = marker.end()
        if marker[1][0] not in _WITHOUT_SEGMENT:
            position += int.from_bytes(content[position : position + 2], 'big')
    return content.find(_END_OF_JPEG, position) < 0


def _turned(img: np.ndarray, content: bytes) -> np.ndarray:
    """The image as EXIF wants it seen; OpenCV sees to that by itself, but not for WebP."""
    if content[8:12] != b'WEBP' or b'EXIF' not in content:
        return img
    with Image.open(io.BytesIO(content)) as image:
        orientation = image.getexif().get(_ORIENTATION, 1)
    return np.ascontiguousarray(_TURNS.get(orientation, lambda img: img)(img))
