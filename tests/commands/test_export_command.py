"""The command `basicsr export`: what it prints and refuses."""

import cv2
import numpy as np
import pytest
import torch

from conftest import basicsr
from okdnet_plugin.commands.export import main
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference.export import quantizing
from okdnet_plugin.weights import arch_detection
from okdnet_plugin.weights import loading as weights


@pytest.fixture
def path(tmp_path) -> str:
    torch.save({'params': arch_detection.make({'type': 'AODNet'}).state_dict()}, tmp_path / 'net.pth')
    return str(tmp_path / 'net.pth')


def test_command_exports_and_prints_the_differences(tmp_path, path, capsys):
    assert main(['-w', path, '-o', str(tmp_path / 'net.pt')]) == 0
    printed = capsys.readouterr().out
    assert 'network from the names and shapes of the weights: AODNet' in printed
    assert 'TorchScript' in printed
    assert '2x3x50x75 0.0e+00' in printed
    assert 'each side from 16 px' in printed


def test_licence_and_other_metadata_are_kept(tmp_path, path):
    out = str(tmp_path / 'net.safetensors')
    assert main(['-w', path, '-o', out, '--licence', 'MIT', '--meta', 'author=A. B.', '--meta', 'formula=a=b']) == 0
    told = weights.load(out).metadata
    assert (told['licence'], told['author'], told['formula']) == ('MIT', 'A. B.', 'a=b')


@pytest.mark.parametrize('entry', ['author', '=text', 'network={}'])
def test_metadata_that_make_no_sense_are_refused(tmp_path, path, entry):
    with pytest.raises(InputError, match='--meta'):
        main(['-w', path, '-o', str(tmp_path / 'net.safetensors'), '--meta', entry])


def test_target_is_looked_at_before_the_weights(tmp_path):
    with pytest.raises(InputError, match='its ending'):
        main(['-w', str(tmp_path / 'none.pth'), '-o', str(tmp_path / 'net.xyz')])


def test_wrong_weights_are_one_line_and_code_two(tmp_path):
    (tmp_path / 'net.pth').write_text('no weights at all, but some text')
    done = basicsr('export', '-w', 'net.pth', '-o', 'net.onnx', cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count('\n') == 1
    assert 'it is a text' in done.stderr
    assert not (tmp_path / 'net.onnx').exists()


def test_int8_needs_images_and_is_told_in_the_summary(tmp_path, path, capsys, monkeypatch):
    out = str(tmp_path / 'net.onnx')
    for arguments in (['--int8'], ['--calibrate', str(tmp_path)]):
        with pytest.raises(InputError, match='--int8 --calibrate FOLDER'):
            main(['-w', path, '-o', out, *arguments])
    pytest.importorskip('onnxruntime')
    monkeypatch.setattr(quantizing, 'LEAST_PSNR', 0)
    for number in range(2):
        cv2.imwrite(str(tmp_path / f'{number}.png'), np.full((40, 32, 3), 90 + 60 * number, np.uint8))
    assert main(['-w', path, '-o', out, '--int8', '--calibrate', str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert ', int8, ' in printed
    assert 'of 5 convolutions in float32: none' in printed
