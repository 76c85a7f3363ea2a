"""Detection after dehazing: detectors as ONNX files, annotations, average precision, and what a report says of them."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from okdnet_plugin.errors import InputError
from okdnet_plugin.report import collect, page, plan
from okdnet_plugin.report.detection import Annotated, Detection, average_precision, draw
from okdnet_plugin.report.detector import Box, Detector
from okdnet_plugin.report.evaluate import Evaluation

pytest.importorskip('onnxruntime')
pytest.importorskip('pycocotools')
SIDE = 64
CELLS = {8: 64, 16: 16, 32: 4, 64: 1}


def made(path, outputs, shape=(1, 3, SIDE, SIDE), mean=None):
    """A detector that gives these arrays for every image; with `mean` times the mean of its input's green channel."""
    nodes, initializers, names = [], [], []
    for number, values in enumerate(outputs):
        initializers.append(helper.make_tensor(f'c{number}', TensorProto.FLOAT, values.shape, values.ravel().tolist()))
        names.append(f'o{number}')
        if number == mean:
            nodes.append(helper.make_node('ReduceMean', ['x'], ['m'], keepdims=0))
            nodes.append(helper.make_node('Mul', [f'c{number}', 'm'], [names[-1]]))
        else:
            nodes.append(helper.make_node('ReduceMean', ['x'], [f'z{number}'], keepdims=0))
            nodes.append(helper.make_node('Sub', [f'z{number}', f'z{number}'], [f'n{number}']))
            nodes.append(helper.make_node('Add', [f'c{number}', f'n{number}'], [names[-1]]))
    graph = helper.make_graph(
        nodes,
        'tiny',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        initializers,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8), str(path))
    return str(path)


def nanodet(path, score=0.9, **more):
    """One object of class 1 around the cell in row 1, column 2 of stride 16, two cells away from each side."""
    scores = [np.zeros((1, CELLS[stride], 2), np.float32) for stride in (8, 16, 32)]
    bins = [np.zeros((1, CELLS[stride], 32), np.float32) for stride in (8, 16, 32)]
    scores[1][0, 1 * 4 + 2, 1] = score
    bins[1][0, 1 * 4 + 2, [1, 9, 17, 25]] = 50  # the second of eight bins, one stride
    return made(path, [*scores, *bins], **more)


def yolox(path):
    """One object of class 0 in row 1, column 2 of stride 16: 32x16 px around the place a half right and below."""
    cells = np.zeros((1, 84, 7), np.float32)
    cells[0, 64 + 6] = [0.5, 0.5, np.log(2), 0, 0.8, 0.75, 0.0]
    return made(path, [cells])


def plus(path):
    """NanoDet-Plus: one output over four strides, whose cells are at their corners."""
    cells = np.zeros((1, 85, 2 + 32), np.float32)
    cells[0, 64 + 6, 1] = 0.7
    cells[0, 64 + 6, [2 + 1, 2 + 9, 2 + 17, 2 + 25]] = 50
    return made(path, [cells])


def image(height=128, width=128):
    return np.full((height, width, 3), 200, np.uint8)


def test_outputs_of_nanodet_are_boxes_in_px_of_the_image(tmp_path):
    (box,) = Detector(nanodet(tmp_path / 'n.onnx'))(image())
    # Around (2.5, 1.5) cells of 16 px, a stride to each side, in an image twice as large as the input.
    assert box == Box(48, 16, 64, 64, pytest.approx(0.9), 1)


def test_outputs_of_nanodet_plus_and_of_yolox_are_told_apart(tmp_path):
    detector = Detector(plus(tmp_path / 'p.onnx'))
    assert (detector.format, detector.classes) == ('nanodet', 2)
    assert detector(image()) == [Box(32, 0, 64, 64, pytest.approx(0.7), 1)]
    detector = Detector(yolox(tmp_path / 'y.onnx'))
    assert (detector.format, detector.classes) == ('yolox', 2)
    # The middle is at (2.5, 1.5) * 16 = (40, 24).
    assert detector(image()) == [Box(48, 32, 64, 32, pytest.approx(0.6), 0)]


def test_an_image_that_is_not_square_is_framed_and_its_boxes_end_at_its_edges(tmp_path):
    # 128x64 (height x width) becomes 64x32, in the middle of the input: 16 px at each side.
    (box,) = Detector(nanodet(tmp_path / 'n.onnx'))(image(128, 64))
    assert (box.left, box.top, box.width, box.height) == (16, 16, 48, 64)
    # A YOLOX has the image in its upper left corner.
    (box,) = Detector(yolox(tmp_path / 'y.onnx'))(image(64, 128))
    assert (box.left, box.top, box.width, box.height) == (48, 32, 64, 32)


def test_of_boxes_on_one_place_the_surest_stays(tmp_path):
    cells = np.zeros((1, 84, 7), np.float32)
    for row, score in ((64 + 5, 0.5), (64 + 6, 0.9)):
        cells[0, row] = [0.5 if row == 64 + 6 else 1.4, 0.5, np.log(4), np.log(4), score, 1, 0]
    assert [box.score for box in Detector(made(tmp_path / 'y.onnx', [cells]))(image())] == [pytest.approx(0.9)]


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda path: None, 'does not exist'),
        (lambda path: path.write_bytes(b'no model'), 'no ONNX file'),
        (lambda path: made(path, [np.zeros((1, 10, 7), np.float32)]), 'neither the outputs of NanoDet nor of YOLOX'),
        (lambda path: nanodet(path, shape=(1, 1, SIDE, SIDE)), 'not one image'),
        (lambda path: nanodet(path, shape=(1, 3, 60, 60)), 'multiples of 32'),
    ],
)
def test_a_file_that_is_no_such_detector_is_refused_in_a_line(tmp_path, spoil, message):
    spoil(tmp_path / 'd.onnx')
    with pytest.raises(InputError, match=message) as error:
        Detector(str(tmp_path / 'd.onnx'))
    assert '\n' not in str(error.value)
    assert 'd.onnx' in str(error.value)


# -------------------------------------------------------------------------------------------------- average precision


def truth(*boxes, hard=()):
    return Annotated(None, list(boxes), [number in hard for number in range(len(boxes))])


def box(left, score=1.0, kind=0, width=10):
    return Box(left, 0, width, 10, score, kind)


def test_average_precision_is_that_of_coco():
    there = {0: truth(box(0), box(50)), 1: truth(box(20, kind=1))}
    assert average_precision({0: [box(0, 0.9), box(50, 0.8)], 1: [box(20, 0.9, 1)]}, there) == {'ap50': 1, 'ap': 1}
    assert average_precision({}, there) == {'ap50': 0, 'ap': 0}
    # Class 0: one of two is found: precision 1 up to there, 51 of 101 places of recall. Class 1: an overlap of 8/12.
    half = average_precision({0: [box(0, 0.9)], 1: [box(22, 0.9, 1)]}, there)
    assert half['ap50'] == pytest.approx((51 / 101 + 1) / 2)
    assert half['ap'] == pytest.approx((51 / 101 + 4 / 10) / 2)


def test_wrong_boxes_cost_only_in_classes_that_are_annotated_and_hard_ones_count_for_nothing():
    there = {0: truth(box(0), box(50), hard=(1,))}
    assert average_precision({0: [box(0, 0.9), box(50, 0.95), box(90, 0.99, kind=7)]}, there)['ap50'] == pytest.approx(
        1
    )
    assert average_precision({0: [box(0, 0.9), box(90, 0.99)]}, there)['ap50'] == pytest.approx(0.5)
    assert average_precision({0: [box(0)]}, {0: truth()}) == {'ap50': None, 'ap': None}


# -------------------------------------------------------------------------------------------------------- annotations

VOC = """<annotation><size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>motorbike</name><difficult>{hard}</difficult>
<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
<object><name>unicorn</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def block(tmp_path):
    (tmp_path / 'names.txt').write_text('person\nmotor cycle\n')
    return {'model': nanodet(tmp_path / 'n.onnx'), 'classes': str(tmp_path / 'names.txt')}


def test_annotations_of_voc_and_of_coco_are_the_same_boxes(block, tmp_path):
    (tmp_path / 'voc').mkdir()
    (tmp_path / 'voc/1.xml').write_text(VOC.format(hard=1))
    coco = {
        'images': [{'id': 5, 'file_name': 'photos/1.png', 'height': 48, 'width': 64}],
        'categories': [{'id': 3, 'name': 'motorcycle'}, {'id': 4, 'name': 'unicorn'}],
        'annotations': [
            {'image_id': 5, 'category_id': 3, 'bbox': [10, 20, 20, 20], 'iscrowd': 1},
            {'image_id': 5, 'category_id': 4, 'bbox': [0, 0, 9, 9]},
        ],
    }
    (tmp_path / 'coco.json').write_text(json.dumps(coco))
    both = block | {'annotations': {'a': str(tmp_path / 'voc'), 'b': str(tmp_path / 'coco.json')}}
    detection = Detection(both, ['a', 'b'])
    expected = Annotated((48, 64), [Box(10, 20, 20, 20, 1.0, 1)], [True])
    for name in ('a', 'b'):
        assert detection.annotated(name, ['folder/1.png', 'x.png'], (48, 64)) == expected
        assert detection.annotated(name, ['1_3_0.9.png', '1.png'], (48, 64)) == expected, 'by the clear image'
        assert detection.annotated(name, ['2.png', '3.png'], (48, 64)) is None
        with pytest.raises(InputError, match='annotated at 48x64'):
            detection.annotated(name, ['1.png'], (256, 256))


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ('<annotation><object><name>person</name></object></annotation>', 'voc/1.xml'),
        ('<annotation', 'voc/1.xml'),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', 'voc/1.xml'),
        ('{"images": []}', 'coco.json'),
        ('[', 'coco.json'),
        (
            '{"images": [], "categories": [], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1]}]}',
            'coco.json',
        ),
    ],
)
def test_damaged_annotations_are_refused_in_a_line_that_names_the_file(block, tmp_path, text, name):
    (tmp_path / 'voc').mkdir()
    (tmp_path / name).write_text(text)
    place = str(tmp_path / name.split('/')[0])
    with pytest.raises(InputError, match=name) as error:
        Detection(block | {'annotations': {'a': place}}, ['a'])
    assert '\n' not in str(error.value)


def test_what_does_not_go_together_is_refused(block, tmp_path):
    with pytest.raises(InputError, match='detection:annotations:b: there is no data set'):
        Detection(block | {'annotations': {'b': str(tmp_path)}}, ['a'])
    with pytest.raises(InputError, match='detection:classes is missing'):
        Detection({'model': block['model'], 'annotations': {'a': str(tmp_path)}}, ['a'])
    (tmp_path / 'names.txt').write_text('person\n')
    with pytest.raises(InputError, match='has 2 classes, and 1 names'):
        Detection(block, ['a'])
    with pytest.raises(InputError, match=r'names\.txt does not exist'):
        Detection(block | {'classes': str(tmp_path / 'no/names.txt')}, ['a'])


def test_boxes_are_drawn_where_they_are_in_a_smaller_copy():
    small = np.zeros((50, 100, 3), np.uint8)
    drawn = draw(small, [Box(40, 40, 100, 50, 0.9, 0)], (100, 200), str)
    assert small.max() == 0
    assert drawn[20:46, 20].max(1).all()
    assert not drawn[30, 30:60].any()


# ------------------------------------------------------------------------------------------------------------ reports


@pytest.fixture
def options(pairs, tmp_path, monkeypatch):
    """The hazy input and DCP on pairs of 48x64; the detector finds one object, surer in a brighter image."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('okdnet_plugin.report.cost.memory_mb', lambda *_: 12.5)
    block = {'model': nanodet(tmp_path / 'n.onnx', score=-0.5, mean=1)}
    paired = {'type': 'PairedDehazeDataset', 'layout': 'its'}
    sides = {'dataroot_lq': str(pairs / 'hazy'), 'dataroot_gt': str(pairs / 'clear')}
    return {
        'name': 'small',
        'num_gpu': 0,
        'methods': {'hazy input': {}, 'DCP': {'network_g': {'type': 'DCP'}}},
        'datasets': {
            'Pairs': paired | sides,
            'photographs': {'type': 'SingleDehazeDataset', 'dataroot_lq': str(pairs / 'clear')},
        },
        'metrics': {'psnr': {'type': 'calculate_psnr'}},
        'detection': block | {'score': 0.1},
        'report': {'tables': [], 'cost_size': [32, 32], 'cost_rounds': 1, 'examples': 1, 'num_worker': 0, 'limit': 3},
    }


def measure(options):
    this = plan.read(options)
    evaluation = Evaluation(this, 'report')
    evaluation.run()
    return collect.collect(this, evaluation, 'basicsr report'), evaluation


def test_without_annotations_a_report_says_how_far_methods_agree_with_the_clear_image(options):
    report, evaluation = measure(options)
    pairs, photographs = report['detection']['sets']
    assert [row['method'] for row in pairs['rows']] == ['hazy input', 'DCP']
    clear = [line['clear_boxes'] for line in evaluation.lines() if 'clear_boxes' in line]
    assert len(clear) == 3, 'each clear image is looked at once'
    sure = sum(box[4] >= 0.1 for boxes in clear for box in boxes)
    assert (pairs['reference'], pairs['objects'], pairs['pictures']) == ('clear images', sure, 3)
    assert sure > 0
    for row in pairs['rows']:
        assert 0 <= row['ap'] <= row['ap50'] <= 1
    assert photographs['reference'] is None
    assert [row['ap50'] for row in photographs['rows']] == [None, None]
    text = page.markdown(report)
    assert 'Detection on Pairs' in text
    html = page.html(report)
    assert 'Objects found: hazy input' in html
    assert html.count('data:image/jpeg') >= 2


def test_with_annotations_the_clear_image_is_a_row_and_what_was_measured_is_kept(options, tmp_path, monkeypatch):
    (tmp_path / 'names.txt').write_text('person\ncar\n')
    (tmp_path / 'voc').mkdir()
    where = '<bndbox><xmin>25</xmin><ymin>1</ymin><xmax>56</xmax><ymax>32</ymax></bndbox>'
    for scene in range(1, 5):
        (tmp_path / f'voc/{scene}.xml').write_text(f'<annotation><object><name>car</name>{where}</object></annotation>')
    options['detection'] |= {'classes': 'names.txt', 'annotations': {'Pairs': 'voc'}}
    report, _ = measure(options)
    rows = report['detection']['sets'][0]['rows']
    assert [row['method'] for row in rows] == ['hazy input', 'DCP', 'clear image']
    assert report['detection']['sets'][0]['reference'] == 'annotations'
    assert report['detection']['sets'][0]['objects'] == 3
    assert rows[-1]['ap50'] > 0
    monkeypatch.setattr(Detector, '__call__', lambda *_: pytest.fail('it is known already'))
    again, _ = measure(options)
    assert again['detection'] == report['detection']


def test_an_image_that_was_annotated_at_another_size_is_said(options, tmp_path):
    (tmp_path / 'names.txt').write_text('person\ncar\n')
    (tmp_path / 'voc').mkdir()
    for scene in range(1, 5):
        (tmp_path / f'voc/{scene}.xml').write_text(VOC.format(hard=0).replace('<height>48', '<height>50'))
    options['detection'] |= {'classes': 'names.txt', 'annotations': {'Pairs': 'voc'}}
    report, _ = measure(options)
    assert any('detection: the image is 48x64' in note for note in report['notes'])


def test_a_report_without_a_detector_has_no_such_part(options):
    del options['detection']
    report, _ = measure(options)
    assert report['detection'] is None
    assert 'Detection' not in page.markdown(report)


def test_a_mistake_in_the_block_is_found_before_anything_is_measured(options, tmp_path):
    options['detection']['model'] = str(tmp_path / 'none.onnx')
    with pytest.raises(InputError, match=r'none\.onnx'):
        plan.read(options)
    options['detection'] = {'modle': 'x.onnx'}
    with pytest.raises(InputError, match='did you mean model'):
        plan.read(options)
