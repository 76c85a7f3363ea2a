"""Exported networks in int8: near the network in float32, with the layers in float32 that cost too much."""

import cv2
import numpy as np
import pytest
import torch

from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.export import quantizing
from okdnet_plugin.inference.export.exporting import export
from okdnet_plugin.weights import arch_detection
from okdnet_plugin.weights.loading import Weights

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('hazy')
    random = np.random.default_rng(0)
    for number in range(6):
        areas = random.integers(60, 250, (4, 5, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), cv2.resize(areas, (64, 48), interpolation=cv2.INTER_CUBIC))
    return str(folder)


@pytest.fixture(scope='module')
def weights() -> Weights:
    torch.manual_seed(0)
    return Weights({'type': 'AODNet'}, arch_detection.make({'type': 'AODNet'}).state_dict(), {'licence': 'CC0-1.0'})


@pytest.fixture
def least(monkeypatch):
    return lambda value: monkeypatch.setattr(quantizing, 'LEAST_PSNR', value)


def types_of(model) -> set[int]:
    return {one.data_type for one in model.graph.initializer if one.dims}


def test_all_convolutions_compute_in_int8_where_that_is_near_enough(tmp_path, weights, folder, least):
    least(0)
    path = str(tmp_path / 'net.onnx')
    done = export(weights, path, calibrate=folder)
    assert done.quantized is not None
    assert (done.quantized.num_layers, done.quantized.in_float, len(done.quantized.psnr)) == (5, (), 3)
    model = onnx.load(path)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count('Conv') == 5
    assert kinds.count('QuantizeLinear') >= 5
    assert onnx.TensorProto.INT8 in types_of(model)
    metadata = {one.key: one.value for one in model.metadata_props}
    assert metadata['licence'] == 'CC0-1.0'
    assert metadata['int8'] == f'5 of 5 convolutions, {min(done.quantized.psnr):.1f} dB at least'
    net = arch_detection.make({'type': 'AODNet'})
    net.load_state_dict(weights.state)
    run = quantizing.session_of(model.SerializeToString())
    hazy = torch.from_numpy(quantizing.images_of(folder, None)[1])
    for image in (hazy, hazy[..., :33, :50].repeat(2, 1, 1, 1)):  # any size and number
        error = (run(image) - net.eval()(image)).square().mean()
        assert 0 < error < 10 ** (-min(done.quantized.psnr) / 10 + 1)


def test_layers_that_cost_most_stay_in_float32(tmp_path, weights, folder, least):
    least(0)
    whole = export(weights, str(tmp_path / 'whole.onnx'), calibrate=folder).quantized
    assert whole is not None
    least(min(whole.psnr) + 0.5)
    part = export(weights, str(tmp_path / 'part.onnx'), calibrate=folder).quantized
    assert part is not None
    assert part.in_float
    assert min(part.psnr) >= min(whole.psnr) + 0.5
    model = onnx.load(str(tmp_path / 'part.onnx'))
    dequantized = {name for node in model.graph.node if node.op_type == 'DequantizeLinear' for name in node.output}
    in_float = {node.name for node in model.graph.node if node.op_type == 'Conv' and node.input[1] not in dequantized}
    assert in_float == set(part.in_float)


def test_int8_that_stays_too_far_away_is_refused(tmp_path, weights, folder, least):
    least(150)
    with pytest.raises(InputError, match=r'int8 keeps .* dB of 150 even with 2 of 5 convolutions in float32'):
        export(weights, str(tmp_path / 'net.onnx'), calibrate=folder)
    assert not list(tmp_path.iterdir())


def test_images_of_one_size_serve_a_network_of_one_size(folder):
    assert [image.shape for image in quantizing.images_of(folder, (32, 40))] == [(1, 3, 32, 40)] * 6
    assert quantizing.images_of(folder, None)[0].shape == (1, 3, 48, 64)


def test_one_image_is_too_few(tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), np.full((32, 32, 3), 90, np.uint8))
    with pytest.raises(InputError, match='has one image, and two are needed'):
        quantizing.images_of(str(tmp_path), None)


@pytest.mark.parametrize(('name', 'half'), [('net.pt', False), ('net.safetensors', False), ('net.onnx', True)])
def test_int8_is_of_onnx_alone(tmp_path, weights, folder, name, half):
    with pytest.raises(InputError, match=r'--int8 is for \.onnx, without --half'):
        export(weights, str(tmp_path / name), half=half, calibrate=folder)


def graph_of(*nodes, weights):
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    tensors = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    ends = [helper.make_tensor_value_info(name, kind, ['n', 3, 'h', 'w']) for name in ('hazy', 'dehazed')]
    graph = helper.make_graph(list(nodes), 'net', ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9).SerializeToString()


IMAGES = [np.random.default_rng(i).random((1, 3, 48, 50), np.float32) for i in range(4)]
KERNEL = np.random.default_rng(9).random((3, 3, 1, 1)) / 3


def test_convolutions_without_names_are_told_apart(least):
    least(0)
    nodes = [onnx.helper.make_node('Conv', [a, 'k'], [b]) for a, b in (('hazy', 'middle'), ('middle', 'dehazed'))]
    _, _, found = quantizing.quantize(graph_of(*nodes, weights={'k': KERNEL}), IMAGES, 'net')
    assert found.num_layers == 2


def test_result_that_is_not_finite_is_not_near_enough(least):
    least(0)
    nodes = [onnx.helper.make_node('Conv', ['hazy', 'k'], ['low']), onnx.helper.make_node('Log', ['low'], ['dehazed'])]
    with pytest.raises(InputError, match='net: int8 keeps -inf dB of 0; nothing is written'):
        quantizing.quantize(graph_of(*nodes, weights={'k': -KERNEL}), IMAGES, 'net')


def test_network_without_a_convolution_is_refused():
    node = onnx.helper.make_node('Relu', ['hazy'], ['dehazed'])
    with pytest.raises(InputError, match='net has no convolution'):
        quantizing.quantize(graph_of(node, weights={}), IMAGES, 'net')


def test_transposed_convolution_of_groups_stays_in_float32(least):
    least(0)
    nodes = [
        onnx.helper.make_node('Conv', ['hazy', 'k'], ['middle']),
        onnx.helper.make_node('ConvTranspose', ['middle', 'g', 'b'], ['dehazed'], group=3),
    ]
    weights = {'k': KERNEL, 'g': np.full((3, 1, 1, 1), 0.5), 'b': np.ones(3)}
    _, run, found = quantizing.quantize(graph_of(*nodes, weights=weights), IMAGES, 'net')
    assert found.num_layers == 1
    assert run(torch.from_numpy(IMAGES[0])).shape == (1, 3, 48, 50)


def test_failure_of_the_quantiser_is_one_line(tmp_path, weights, folder, monkeypatch):
    monkeypatch.setattr(quantizing, 'quantize', lambda *_: 1 / 0)
    with pytest.raises(InputError, match=r'AODNet in int8: .*division by zero.*; nothing is written; take --half'):
        export(weights, str(tmp_path / 'net.onnx'), calibrate=folder)


def test_network_of_one_size_is_measured_at_it(tmp_path, weights, folder, least):
    least(0)
    done = export(weights, str(tmp_path / 'net.onnx'), size=(32, 40), calibrate=folder)
    assert done.quantized is not None
    assert len(done.quantized.psnr) == 3
    assert list(done.differences) == [(1, 3, 32, 40)]
