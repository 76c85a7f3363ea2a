"""Detection after dehazing: boxes in the images of a report, held against annotations or against the clear image's.

Source: the use of Lan et al. 2022 and of RESIDE's task-driven evaluation (Li et al., TIP 2019); average precision is
that of COCO, by pycocotools.
"""

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from os import path as osp
from typing import Any, NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np

from okdnet_plugin.errors import InputError
from okdnet_plugin.files import open_regular_file
from okdnet_plugin.report.detector import Box, Detector

_LARGEST = 2**26  # bytes of a file of annotations
_SAME = {  # names of PASCAL VOC, and of COCO in one word
    'aeroplane': 'airplane',
    'motorbike': 'motorcycle',
    'sofa': 'couch',
    'tvmonitor': 'tv',
}
_COLOURS = ((60, 220, 60), (60, 160, 255), (255, 200, 60), (220, 80, 220), (80, 240, 240), (255, 120, 120))  # BGR


class Annotated(NamedTuple):
    """What somebody has marked in an image."""

    size: tuple[int, int] | None
    """Height and width in px of the image that was marked; None if it is not said."""
    boxes: list[Box]
    hard: list[bool]
    """Of each box: too difficult to count, found or not."""


class Detection:
    """The block `detection` of a report: its detector, the names of its classes, and what was annotated.

    Args:
        block: model, and perhaps format, classes (file of names), annotations (by test set), score (from which boxes
            count where there are no annotations, and are drawn).
        sets: names of the test sets.

    Raises:
        InputError: a file is missing, damaged or of another kind.
    """

    def __init__(self, block: Mapping, sets: Iterable[str]):
        names = block.get('classes')
        self.names = _lines(names) if names else None
        self.detector = Detector(block['model'], len(self.names) if self.names else None, block.get('format'))
        self.score = block.get('score') or 0.35
        self.model = block['model']
        given = block.get('annotations') or {}
        unknown = sorted(given.keys() - set(sets))
        if unknown:
            raise InputError(f'option detection:annotations:{unknown[0]}: there is no data set of that name')
        if given and self.names is None:
            raise InputError('option detection:classes is missing: annotations name classes; give a file of names')
        self.annotations = {name: self._read(path) for name, path in given.items()}
        if given:
            _coco()
        with open_regular_file(self.model) as file:
            self.fingerprint = hashlib.sha256(file.read() + self.detector.format.encode()).hexdigest()[:16]

    def label(self, kind: int) -> str:
        return self.names[kind] if self.names else f'class {kind}'

    def _read(self, path: str) -> dict[str, Annotated]:
        """Annotations by the stem of their image."""
        if osp.isdir(path):
            files = sorted(name for name in os.listdir(path) if name.lower().endswith('.xml'))
            if not files:
                raise InputError(f'annotations {path}: the folder holds no .xml of PASCAL VOC; give another')
            return {osp.splitext(name)[0]: self._of_voc(osp.join(path, name)) for name in files}
        if not osp.isfile(path):
            raise InputError(f'annotations {path} do not exist; give a folder of PASCAL VOC or a .json of COCO')
        return self._of_coco(path)

    def _kind_of(self, name: str) -> int | None:
        """Number of a class; None of one that the detector does not know, which is passed over."""
        wanted = _plain(name)
        return next((number for number, known in enumerate(self.names or ()) if _plain(known) == wanted), None)

    def _of_voc(self, path: str) -> Annotated:
        text = _text(path)
        if '<!ENTITY' in text or '<!DOCTYPE' in text:
            raise InputError(f'annotations {path} declare entities, which annotations do not need; take them out')
        try:
            root = ElementTree.fromstring(text)
            size = root.find('size')
            boxes, hard = [], []
            for one in root.iter('object'):
                kind = self._kind_of(one.findtext('name') or '')
                frame = one.find('bndbox')
                left, top, right, bottom = (
                    float((frame.findtext(side) if frame is not None else None) or '')
                    for side in ('xmin', 'ymin', 'xmax', 'ymax')
                )
                if kind is not None:
                    boxes.append(Box(left - 1, top - 1, right - left + 1, bottom - top + 1, 1.0, kind))
                    hard.append((one.findtext('difficult') or '0').strip() == '1')
            pixels = None if size is None else (int(size.findtext('height') or ''), int(size.findtext('width') or ''))
        except (ElementTree.ParseError, ValueError) as error:
            raise InputError(f'annotations {path} are no XML of PASCAL VOC: {error}') from error
        return Annotated(pixels, boxes, hard)

    def _of_coco(self, path: str) -> dict[str, Annotated]:
        try:
            content = json.loads(_text(path))
            kinds = {one['id']: self._kind_of(one['name']) for one in content['categories']}
            images = {one['id']: one for one in content['images']}
            found = {
                number: Annotated((int(one['height']), int(one['width'])) if 'height' in one else None, [], [])
                for number, one in images.items()
            }
            for one in content['annotations']:
                kind = kinds[one['category_id']]
                left, top, width, height = map(float, one['bbox'])
                if kind is not None:
                    found[one['image_id']].boxes.append(Box(left, top, width, height, 1.0, kind))
                    found[one['image_id']].hard.append(bool(one.get('iscrowd')))
            return {osp.splitext(osp.basename(images[number]['file_name']))[0]: one for number, one in found.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f'annotations {path} are no JSON of COCO: {type(error).__name__}: {error}') from error

    def annotated(self, test_set: str, paths: Sequence[str], size: tuple[int, int]) -> Annotated | None:
        """What is annotated in an image; None if nothing is known of it.

        Args:
            test_set: its name.
            paths: of the hazy image, and of the clear one.
            size: height and width of the image in px.

        Raises:
            InputError: it was annotated at another size.
        """
        known = self.annotations.get(test_set)
        found = next((known[stem] for stem in map(_stem, paths) if stem in known), None) if known else None
        if found is not None and found.size not in (None, size):
            raise InputError(
                f'the image is {size[0]}x{size[1]} (height x width), and was annotated at {found.size[0]}x'
                f'{found.size[1]}; use protocol rgb and the original images'
            )
        return found

    def references(self, clear: Sequence[Box]) -> Annotated:
        """The sure boxes of a clear image, in the place of annotations."""
        boxes = [box for box in clear if box.score >= self.score]
        return Annotated(None, boxes, [False] * len(boxes))


def average_precision(found: Mapping[int, Sequence[Box]], truth: Mapping[int, Annotated]) -> dict[str, float | None]:
    """Average precision of COCO over the classes that occur.

    Args:
        found: boxes by image.
        truth: what there is, of the same images.

    Returns:
        `ap50` at an overlap of 0.5 and `ap` as mean over 0.5 to 0.95, in [0, 1]; None if there is nothing to find.

    Raises:
        InputError: pycocotools is not installed.
    """
    api, evaluator = _coco()
    kinds = sorted(
        {box.kind for one in truth.values() for box, hard in zip(one.boxes, one.hard, strict=True) if not hard}
    )
    if not kinds:
        return {'ap50': None, 'ap': None}
    images = sorted(truth)
    boxes = [
        (number, box, hard)
        for number in images
        for box, hard in zip(truth[number].boxes, truth[number].hard, strict=True)
    ]
    results = [(number, box, False) for number in images for box in found.get(number, ()) if box.kind in kinds]
    if not results:
        return {'ap50': 0.0, 'ap': 0.0}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells its progress
        evaluation = evaluator(_dataset(api, images, kinds, boxes), _dataset(api, images, kinds, results), 'bbox')
        evaluation.params.imgIds, evaluation.params.catIds = images, kinds
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision'][:, :, :, 0, -1]  # overlap x recall x class; all areas, most boxes
    ap50, ap = (part[part > -1].mean() if (part > -1).any() else 0.0 for part in (precision[0], precision))
    return {'ap50': float(ap50), 'ap': float(ap)}


def _dataset(api: Any, images: Sequence[int], kinds: Sequence[int], boxes: Sequence[tuple[int, Box, bool]]) -> Any:
    made = api()
    made.dataset = {
        'images': [{'id': number} for number in images],
        'categories': [{'id': kind} for kind in kinds],
        'annotations': [
            {
                'id': number,
                'image_id': image,
                'category_id': box.kind,
                'bbox': [box.left, box.top, box.width, box.height],
                'area': box.width * box.height,
                'iscrowd': int(hard),
                'score': box.score,
            }
            for number, (image, box, hard) in enumerate(boxes, 1)
        ],
    }
    made.createIndex()
    return made


def _coco() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise InputError('average precision needs pycocotools: pip install okdnet_plugin[detection]') from error
    return COCO, COCOeval


def draw(image: np.ndarray, boxes: Sequence[Box], size: Sequence[int], label: Any) -> np.ndarray:
    """A copy of an image with boxes and their names.

    Args:
        image: uint8 BGR, (H, W, 3), perhaps a smaller copy of the one in which the boxes were found.
        boxes: in px of that one.
        size: its height and width.
        label: gives the name of a class by its number.
    """
    drawn = image.copy()
    across, down = image.shape[1] / size[1], image.shape[0] / size[0]
    for box in boxes:
        corner = round(box.left * across), round(box.top * down)
        other = round((box.left + box.width) * across), round((box.top + box.height) * down)
        colour = _COLOURS[box.kind % len(_COLOURS)]
        cv2.rectangle(drawn, corner, other, colour, 1, cv2.LINE_AA)
        text = f'{label(box.kind)} {box.score:.2f}'
        cv2.putText(
            drawn, text, (corner[0] + 2, max(corner[1] - 2, 8)), cv2.FONT_HERSHEY_SIMPLEX, 0.3, colour, 1, cv2.LINE_AA
        )
    return drawn


def _plain(name: str) -> str:
    word = re.sub(r'[\s_-]', '', name).lower()
    return _SAME.get(word, word)


def _stem(path: str) -> str:
    return osp.splitext(osp.basename(path))[0]


def _text(path: str) -> str:
    try:
        with open_regular_file(path) as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error.strerror}') from error
    if len(content) > _LARGEST:
        raise InputError(f'{path} has more than {_LARGEST >> 20} MB, which annotations do not; give another file')
    return content.decode('utf-8', 'replace')


def _lines(path: str) -> list[str]:
    if not osp.isfile(path):
        raise InputError(f'option detection:classes: {path} does not exist; give a file with a name in each line')
    names = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if not names:
        raise InputError(f'option detection:classes: {path} is empty; write a name in each line')
    return names
