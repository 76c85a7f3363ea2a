"""An exported network in onnxruntime-web, as a page would run it; left out where Node does not find that package.

npm install --prefix FOLDER onnxruntime-web && NODE_PATH=FOLDER/node_modules pytest tests/inference/test_onnxruntime_web.py
"""  # noqa: E501

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from okdnet_plugin.inference.export.exporting import export
from okdnet_plugin.weights.loading import build, load

NODE = shutil.which('node')


def has_package():
    command = [str(NODE), '-e', "require.resolve('onnxruntime-web')"]
    return NODE is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.parametrize('half', [False, True])
def test_shipped_weights_restore_in_a_browser_as_here(tmp_path, half):
    if not has_package():
        pytest.skip('Node does not find onnxruntime-web')
    for package in ('onnx', 'onnxruntime', 'onnxscript'):
        pytest.importorskip(package)
    weights, hazy = load('okdnet'), torch.rand(2, 3, 50, 75)
    export(weights, str(tmp_path / 'net.onnx'), half=half)
    (tmp_path / 'in.bin').write_bytes(hazy.numpy().tobytes())
    script = Path(__file__).with_name('run_onnx.cjs')
    command = [str(NODE), str(script), 'net.onnx', 'in.bin', '2,3,50,75', 'out.bin']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = torch.from_numpy(np.fromfile(tmp_path / 'out.bin', np.float32)).reshape(hazy.shape)
    torch.testing.assert_close(found, build(weights)(hazy), atol=1e-3, rtol=0)
