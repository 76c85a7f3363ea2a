"""The check of a GPU: its parts pass on a CPU, a step that hangs or dies is a line, and no GPU is no failure."""

import importlib.util
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'check_gpu.py'


@pytest.fixture
def check():
    spec = importlib.util.spec_from_file_location('check_gpu', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    yield module
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.fixture
def step(check, tmp_path, monkeypatch):
    """A step on the CPU that keeps its lines."""
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # as a deterministic run leaves it
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', False)

    class Kept(check.Step):
        def __init__(self):
            super().__init__('cpu', tmp_path, compiles=False)
            self.rows = []

        def note(self, name, passed, value=None, limit=None, text=''):
            self.rows.append((name, passed, text))

    return Kept()


def failures(step):
    return [row for row in step.rows if row[1] is False]


# `train`, `distributed` and `speed` start processes of what other tests run too.
@pytest.mark.parametrize(
    'part',
    ['_window', '_ssim', '_sizes', *(pytest.param(part, marks=pytest.mark.long) for part in ('doctor', 'dehaze'))],
)
def test_a_part_passes_on_a_cpu(check, step, part):
    getattr(check, part)(step)
    assert failures(step) == []
    assert any(passed for _, passed, _ in step.rows)


@pytest.mark.parametrize(
    ('part', 'lines'),
    [
        ('_bad_image', 2),
        pytest.param('_momentum', 2, marks=pytest.mark.long),
        ('_states', 5),
        pytest.param('_deterministic', 1, marks=pytest.mark.long),
    ],
)
def test_a_part_of_the_training_steps_passes_on_a_cpu(check, step, part, lines):
    getattr(check, part)(step, check._batch(4, 32))
    assert failures(step) == []
    assert len(step.rows) == lines


@pytest.mark.parametrize(('share', 'failing'), [(0.5, ['NCHW', 'NHWC']), (0.95, [])])
def test_wrong_gradients_are_found_and_roundings_are_told_from_them(check, step, monkeypatch, share, failing):
    """Gradients that are a little off in float32 alone are a rounding that crosses a bend; more is not."""
    from okdnet_plugin.engine import gradient_check

    class Wrong(torch.nn.Conv2d):
        def forward(self, x):
            result = super().forward(x)
            return result if x.dtype is torch.float64 else result.detach() + share * (result - result.detach())

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = Wrong(3, 3, 1)

        def forward(self, x):
            return self.conv(x)

    monkeypatch.setattr(gradient_check, 'registered_networks', lambda: {'Net': Net})
    check.gradients(step)
    assert [name for name, *_ in failures(step)] == [f'gradients of Net, {layout}' for layout in failing]
    assert len([text for _, _, text in step.rows if 'in float64' in text]) == 2 - len(failing)


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_a_number_that_is_not_finite_fails_and_is_none_of_json(check, tmp_path, capsys, value):
    check.Step('cpu', tmp_path, compiles=False).below('a', value, 1)
    row = json.loads(capsys.readouterr().out.removeprefix(check.MARK), parse_constant=pytest.fail)
    assert (row['passed'], row['value'], row['limit']) == (False, None, 1)


def test_an_error_within_a_case_is_a_line_and_the_others_go_on(check, step, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError('CUDA error:\n no kernel image')

    monkeypatch.setattr(check, '_model', fails)
    check._bad_image(step, check._batch(4, 32))
    assert [text for _, _, text in failures(step)] == ['RuntimeError: CUDA error: no kernel image'] * 2


def run(check, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['check_gpu.py', *arguments])
    return check.main()


def test_without_a_gpu_it_says_that_nothing_was_checked(check, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert run(check, monkeypatch) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert 'nothing was checked' in first
    assert json.loads(last) == {'device': None, 'checked': 0, 'results': []}


STAND_INS = {
    'passes': "note('a', True, 1.5, 2)",
    'fails': "note('a', True); note('b', False, 3.0, 2)",
    'dies': "note('a', True); raise MemoryError('too little')",
    'hangs': "note('a', True); time.sleep(60)",
    # In a session of its own, as what torch compiles in.
    'leaves a child behind': "note('a', True); subprocess.Popen(['sleep', '20'], start_new_session=True)",
}


def stand_in(check, monkeypatch, folder, kind, seconds):
    """Put a script in the place of all steps."""
    script = folder / 'step.py'
    script.write_text(
        'import json, subprocess, time\n'
        'def note(name, passed, value=None, limit=None):\n'
        "    row = {'name': name, 'passed': passed, 'value': value, 'limit': limit, 'text': ''}\n"
        f'    print({check.MARK!r} + json.dumps(row), flush=True)\n{STAND_INS[kind]}\n'
    )
    monkeypatch.setattr(check, '__file__', str(script))
    monkeypatch.setattr(check, 'STEPS', {name: (step, seconds) for name, (step, _) in check.STEPS.items()})


@pytest.mark.parametrize(
    ('kind', 'code', 'line'),
    [
        ('passes', 0, 'PASS  doctor  a  1.5 (at most 2)'),
        ('fails', 1, 'FAIL  doctor  b  3 (at most 2)'),
        ('dies', 1, 'FAIL  doctor  the step itself  MemoryError: too little'),
        ('hangs', 1, 'FAIL  doctor  the step itself  no end after 3 s'),
        ('leaves a child behind', 0, 'PASS  doctor  a'),
    ],
)
def test_every_end_of_a_step_is_a_line_and_the_json_of_the_end_holds_it(
    check, monkeypatch, tmp_path, capsys, kind, code, line
):
    monkeypatch.setattr(check, '_GRACE', 1)
    stand_in(check, monkeypatch, tmp_path, kind, 3 if kind == 'hangs' else 60)
    kept = tmp_path / 'result.json'
    assert run(check, monkeypatch, '--device', 'cpu', '--only', 'doctor', '--json', str(kept)) == code
    printed = capsys.readouterr().out.splitlines()
    assert line in printed
    summary = json.loads(printed[-1])
    assert summary == json.loads(kept.read_text())
    assert summary['failed'] == code
    assert summary['results'][0]['name'] == 'a'


def test_ctrl_c_ends_what_runs_and_what_is_known_is_told(check, monkeypatch, tmp_path, capsys):
    stand_in(check, monkeypatch, tmp_path, 'hangs', 60)
    before = signal.getsignal(signal.SIGINT)
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    begin = time.monotonic()
    assert run(check, monkeypatch, '--device', 'cpu', '--only', 'doctor', 'speed') == 1
    assert time.monotonic() - begin < 20
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {row['step'] for row in summary['results']} == {'doctor'}
    assert [row['name'] for row in summary['results']] == ['a', 'the step itself', 'seconds']
    assert signal.getsignal(signal.SIGINT) is before


def test_every_step_has_a_limit_and_their_lanes_and_the_timed_one_fit_into_five_minutes(check):
    seconds = {name: limit for name, (_, limit) in check.STEPS.items()}
    assert all(0 < limit <= 120 for limit in seconds.values())
    assert {name for lane in check.LANES for name in lane} | {'speed'} == seconds.keys()
    assert check.SECONDS == 300
