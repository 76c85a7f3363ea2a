"""What a report says of detection: average precision of each method on each test set, and images with boxes."""

from collections.abc import Iterable, Mapping, Sequence

from okdnet_plugin.engine.validation import strip
from okdnet_plugin.report.detection import Annotated, Detection, average_precision, draw
from okdnet_plugin.report.detector import Box
from okdnet_plugin.report.evaluate import Evaluation
from okdnet_plugin.report.images import data_uri, read
from okdnet_plugin.report.plan import Plan, TestSet

CLEAR = 'clear image'


def collect_detection(
    plan: Plan, evaluation: Evaluation, groups: Mapping[tuple[str, str], Sequence[Mapping]]
) -> dict | None:
    """The part `detection` of a report; None if its option file asks for none.

    Args:
        plan: what it measures.
        evaluation: what has been measured.
        groups: lines of each method and set, as `collect.measured` gives them.
    """
    detection = plan.detection
    if detection is None:
        return None
    clear = {
        (line['content'], line['index']): _boxes(line['clear_boxes'])
        for line in evaluation.lines()
        if line.get('detector') == detection.fingerprint and 'clear_boxes' in line
    }
    sets = [_of_set(plan, detection, evaluation, test_set, groups, clear) for test_set in plan.sets]
    return {
        'model': detection.model,
        'format': detection.detector.format,
        'classes': detection.detector.classes,
        'score': detection.score,
        'sets': [one for one in sets if one is not None],
    }


def _of_set(
    plan: Plan,
    detection: Detection,
    evaluation: Evaluation,
    test_set: TestSet,
    groups: Mapping[tuple[str, str], Sequence[Mapping]],
    clear: Mapping[tuple[str, int], list[Box]],
) -> dict | None:
    found = {
        method.label: {
            line['index']: line for line in groups.get((method.label, test_set.label), ()) if 'boxes' in line
        }
        for method in plan.methods
    }
    found = {label: lines for label, lines in found.items() if lines}
    if not found:
        return None
    known = {index: line for lines in found.values() for index, line in lines.items()}
    of_clear = {index: clear[test_set.content, index] for index in known if (test_set.content, index) in clear}
    marked = test_set.label in detection.annotations
    truth: dict[int, Annotated] = {}
    for index, line in known.items():
        if marked:
            one = detection.annotated(test_set.label, [line['picture'], line['clear']], tuple(line['size']))
        else:
            one = detection.references(of_clear[index]) if index in of_clear else None
        if one is not None:
            truth[index] = one
    rows = [
        _row(label, {k: _boxes(line['boxes']) for k, line in lines.items()}, truth) for label, lines in found.items()
    ]
    if marked and of_clear:
        rows.append(_row(CLEAR, of_clear, truth))
    order = sorted(known, key=lambda index: (-len(truth[index].boxes) if index in truth else 0, index))
    shown_ones = order[: plan.settings['examples']]
    return {
        'set': test_set.label,
        'reference': 'annotations' if marked else 'clear images' if truth else None,
        'pictures': len(truth or known),
        'objects': sum(len(one.boxes) for one in truth.values()),
        'rows': rows,
        'strips': [_strip(plan, detection, evaluation, test_set, index, found, of_clear) for index in shown_ones],
    }


def _row(label: str, boxes: Mapping[int, Sequence[Box]], truth: Mapping[int, Annotated]) -> dict:
    """What a method finds; images of which nothing is known do not count."""
    own = {index: one for index, one in truth.items() if index in boxes}
    values = average_precision(boxes, own)
    counted = [box for index in own or boxes for box in boxes[index]]
    return {'method': label, 'pictures': len(own or boxes), 'scores': [box.score for box in counted], **values}


def _strip(
    plan: Plan,
    detection: Detection,
    evaluation: Evaluation,
    test_set: TestSet,
    index: int,
    found: Mapping[str, Mapping[int, Mapping]],
    clear: Mapping[int, Sequence[Box]],
) -> dict:
    images = {}
    boxes = {label: (_boxes(lines[index]['boxes']), lines[index]) for label, lines in found.items() if index in lines}
    line = next(line for _, line in boxes.values())
    methods = {method.label: method for method in plan.methods}
    places = {label: evaluation.thumbnail(plan.fingerprint(methods[label], test_set), index) for label in boxes}
    if index in clear:
        boxes[CLEAR] = list(clear[index]), line
        places[CLEAR] = evaluation.thumbnail(f'clear-{test_set.content}', index)
    for label, (own, _) in boxes.items():
        image = read(places[label])
        if image is not None:
            sure = [box for box in own if box.score >= detection.score]
            images[label] = draw(image, sure, line['size'], detection.label)
    uri = data_uri(strip(images), 'jpeg') if images else None
    counts = {label: sum(box.score >= detection.score for box in own) for label, (own, _) in boxes.items()}
    return {'picture': line['picture'], 'strip': uri, 'counts': counts}


def _boxes(values: Iterable[Sequence]) -> list[Box]:
    return [Box(*value) for value in values]
