"""Chosen images as every method leaves them: whole with the crops marked, and the crops enlarged below."""

import base64
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from okdnet_plugin.report.evaluate import Evaluation
from okdnet_plugin.report.figures import plain
from okdnet_plugin.report.plan import Plan, TestSet

_WIDTH = 640  # px at most, at which the images of SOTS stay as they are
_GAP = 4  # px between two crops
_COLOURS = ((40, 40, 230), (0, 200, 255), (230, 160, 0), (200, 60, 200))  # BGR, one for each crop


def versions_of(plan: Plan, test_set: TestSet) -> dict[str, str]:
    """What there is of each image of a test set: names, and the fingerprints under which the images are kept."""
    methods = {m.label: plan.fingerprint(m, test_set) for m in plan.methods if m.network and not m.missing}
    return {'hazy': f'hazy-{test_set.content}', **methods, 'clear': f'clear-{test_set.content}'}


def read(path: str) -> np.ndarray | None:
    """An image, uint8 BGR (H, W, 3); None if it is not there or damaged."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    return cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None


def collect_images(plan: Plan, evaluation: Evaluation) -> Iterator[dict]:
    """The chosen images, each with a PNG for the hazy image, for every method and for the clear image.

    Args:
        plan: what the report measures.
        evaluation: what has been measured.
    """
    lines = {(line['fingerprint'], line['index']): line for line in evaluation.lines()}
    methods = [method for method in plan.methods if not method.missing]
    for test_set in plan.sets:
        for index, crops in test_set.chosen.items():
            places = {m.label if m.network else 'hazy': (plan.fingerprint(m, test_set), index) for m in methods}
            known = {label: lines[place] for label, place in places.items() if place in lines}
            images = {key: read(evaluation.whole(kept, index)) for key, kept in versions_of(plan, test_set).items()}
            columns = [
                {
                    'label': label,
                    'figures': {key: plain(value) for key, value in known.get(label, {}).get('figures', {}).items()},
                    'strip': data_uri(column(image, crops), 'png'),
                }
                for label, image in images.items()
                if image is not None
            ]
            if columns and known:
                yield {'set': test_set.label, 'picture': next(iter(known.values()))['picture'], 'columns': columns}


def column(image: np.ndarray, crops: Sequence[Sequence[int]]) -> np.ndarray:
    """An image with its crops framed, and below it the crops enlarged, side by side at one height.

    Args:
        image: uint8 BGR (H, W, 3); a wide one is made smaller, but its crops are of the pixels as they are.
        crops: [x, y, width, height] in px of the image.

    Returns:
        uint8 BGR, of the image's width or of 640 px.
    """
    height, width = image.shape[:2]
    factor = min(1, _WIDTH / width)
    whole = _scaled(image, round(width * factor), max(1, round(height * factor)))
    if not crops:
        return whole
    line = max(1, round(whole.shape[1] / 200))
    room = whole.shape[1] - _GAP * (len(crops) - 1)
    tall = max(1, round(room / sum(w / h for *_, w, h in crops)))
    ends = np.rint(np.cumsum([w / h for *_, w, h in crops]) * room / sum(w / h for *_, w, h in crops)).astype(int)
    enlarged = []
    for (x, y, w, h), wide, colour in zip(crops, np.diff(ends, prepend=0), _COLOURS, strict=False):
        inner = _scaled(image[y : y + h, x : x + w], max(1, wide - 2 * line), max(1, tall - 2 * line))
        part = cv2.copyMakeBorder(inner, line, line, line, line, cv2.BORDER_CONSTANT, value=colour)
        enlarged += [part, np.full((part.shape[0], _GAP, 3), 255, np.uint8)]
        corners = [(round(a * factor), round(b * factor)) for a, b in ((x, y), (x + w, y + h))]
        cv2.rectangle(whole, corners[0], corners[1], colour, line)
    below = np.concatenate(enlarged[:-1], 1)
    return np.concatenate([whole, np.full((_GAP, whole.shape[1], 3), 255, np.uint8), below])


def data_uri(image: np.ndarray, kind: str) -> str:
    """An image as a page holds it: kind `png`, or `jpeg`."""
    content = cv2.imencode(f'.{kind}', image, [cv2.IMWRITE_JPEG_QUALITY, 80] if kind == 'jpeg' else [])[1]
    return f'data:image/{kind};base64,{base64.b64encode(content.tobytes()).decode()}'


def _scaled(image: np.ndarray, width: int, height: int) -> np.ndarray:
    method = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method)
