"""The benchmark of int8: every way of running takes its turn, and the distance to float32 is told."""

import cv2
import numpy as np
import pytest
import torch

from conftest import load_script
from okdnet_plugin.inference.export import quantizing
from okdnet_plugin.inference.export.exporting import export
from okdnet_plugin.weights import arch_detection
from okdnet_plugin.weights.loading import Weights

for package in ('onnx', 'onnxruntime', 'openvino'):
    pytest.importorskip(package)
int8 = load_script('scripts/benchmark/int8.py')


def test_table_has_all_ways_of_running_and_what_int8_loses(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quantizing, 'LEAST_PSNR', 0)
    for number in range(3):
        image = np.full((40, 48, 3), (60, 120, 180 + 20 * number), np.uint8)
        cv2.imwrite(str(tmp_path / f'{number}.png'), cv2.rectangle(image, (5, 5), (25, 30), (20, 200, 90), -1))
    torch.manual_seed(0)
    weights = Weights({'type': 'AODNet'}, arch_detection.make({'type': 'AODNet'}).state_dict(), {})
    files = [str(tmp_path / name) for name in ('float32.onnx', 'int8.onnx')]
    export(weights, files[0])
    export(weights, files[1], calibrate=str(tmp_path))
    assert int8.main([*files, str(tmp_path), '--images', '2', '--rounds', '1']) == 0
    rows = [
        line.split(' | ') for line in capsys.readouterr().out.splitlines() if line.startswith(('| float', '| int8'))
    ]
    lowest = {row[0].strip('| '): row[3].split(' / ')[0] for row in rows}
    assert float(lowest['float32, OpenVINO']) > 80 > float(lowest['int8, OpenVINO']) > 10
    assert float(lowest['int8, ONNX Runtime']) == pytest.approx(float(lowest['int8, OpenVINO']), abs=6)


def test_files_that_are_not_there_are_one_line(tmp_path, capsys):
    assert int8.main([str(tmp_path / 'a.onnx'), str(tmp_path / 'b.onnx'), str(tmp_path)]) == 2
    assert 'a.onnx does not exist' in capsys.readouterr().err
