"""scripts/check_onnxruntime_web.py, with ONNX Runtime of Python in the place of Node's."""

from pathlib import Path

import numpy as np
import pytest

from conftest import load_script
from okdnet_plugin.weights.arch_detection import make
from okdnet_plugin.weights.loading import Weights


@pytest.fixture
def check(monkeypatch):
    pytest.importorskip('onnxscript')
    onnxruntime = pytest.importorskip('onnxruntime')
    script, network = load_script('scripts/check_onnxruntime_web.py'), {'type': 'AODNet'}
    weights = Weights(network, make(network).state_dict(), {})
    monkeypatch.setattr(script, 'weights_for', lambda *_: weights)
    errors = {'added': 0.0}

    def node(program, *arguments):
        if arguments and isinstance(program, Path):
            network, given, shape, found = arguments
            hazy = np.fromfile(given, np.float32).reshape(tuple(map(int, shape.split(','))))
            session = onnxruntime.InferenceSession(str(network), providers=['CPUExecutionProvider'])
            (session.run(['dehazed'], {'hazy': hazy})[0] + np.float32(errors['added'])).tofile(found)

    monkeypatch.setattr(script, '_node', node)
    return script, errors


@pytest.mark.parametrize(('error', 'code', 'word'), [(0.0, 0, 'ok'), (2e-3, 1, 'FAILED')])
def test_both_precisions_are_compared_with_the_network(check, capsys, error, code, word):
    script, errors = check
    errors['added'] = error
    assert script.main([]) == code
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[word, 'float32'], [word, 'half']]


def test_a_missing_node_is_one_line(monkeypatch, capsys):
    script = load_script('scripts/check_onnxruntime_web.py')
    monkeypatch.setenv('PATH', '')
    assert script.main([]) == 2
    assert capsys.readouterr().err == 'Node is not installed; it runs onnxruntime-web here as a browser would\n'
