"""Every back end gives what the plain network gives, and says what it cannot do."""

import functools
import importlib.util
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from basicsr.archs import build_network
from torch import nn

from conftest import run_code
from okdnet_plugin.archs.okdnet_arch import OKDNet
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference import backends

SMALL = {'num_feat': 8, 'num_blocks': (1, 1, 1), 'growth': 4}
PLAIN = {'attention': False, 'multi_scale': False}  # what is exported sooner
OF_ONNX = {'multi_scale': False}  # the same, with an attention


def installed(*packages: str):
    missing = [package for package in packages if not importlib.util.find_spec(package)]
    return pytest.mark.skipif(bool(missing), reason=f'no {missing}')


OPENVINO, ONNX = installed('openvino'), installed('onnx', 'onnxscript', 'onnxruntime')


@pytest.fixture(autouse=True)
def _keep_no_memory(monkeypatch):
    """The test's process is to stay as it is."""
    monkeypatch.setattr('okdnet_plugin.inference.backends.in_torch.keep_freed_memory', lambda: True)


@pytest.fixture
def net() -> OKDNet:
    return made()


@pytest.fixture
def plain_net() -> OKDNet:
    return made(**PLAIN)


def made(**options) -> OKDNet:
    net = OKDNet(**SMALL, **options).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.weight, 0.5, 2)
    return net


def assert_same(back_end, net, size, batch=1, tolerance=1e-5):
    hazy = torch.rand(batch, 3, *size)
    result = back_end(hazy)
    with torch.no_grad():
        expected = net(hazy, return_branches=True)
    for got, wanted in (
        (result.output, expected.output),
        (result.transmission, expected.transmission),
        (result.airlight, expected.airlight),
    ):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, wanted, atol=tolerance, rtol=0)


@pytest.fixture(scope='module')
def with_maps():
    """A network, and a back end of it that gives maps: made once, since exporters take long."""

    @functools.cache
    def with_maps(name):
        net = made(**(OF_ONNX if name == 'onnx' else {}))
        return net, backends.make(net, name, device='cpu', maps=True)

    return with_maps


@pytest.mark.parametrize('name', ['eager', pytest.param('openvino', marks=OPENVINO), pytest.param('onnx', marks=ONNX)])
def test_sizes_and_batches_give_what_the_network_gives(with_maps, name):
    net, back_end = with_maps(name)
    assert (back_end.name, back_end.precision, back_end.device.type) == (name, 'fp32', 'cpu')
    for size, batch in (((16, 16), 1), ((37, 50), 1), ((20, 33), 3)):
        assert_same(back_end, net, size, batch)
    with pytest.raises(ValueError, match='15x16 is too small'):
        back_end(torch.rand(1, 3, 15, 16))
    hazy, airlight = torch.rand(2, 3, 20, 24), torch.rand(1, 3, 1, 1)
    with torch.no_grad():
        expected, light = net(hazy, airlight=airlight), net.estimate_airlight(hazy)
    torch.testing.assert_close(back_end.estimate_airlight(hazy), light, atol=1e-5, rtol=0)
    result = back_end(hazy, airlight).output
    back_end(1 - hazy)  # must not go into the memory of the first result
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    'name',
    ['eager', pytest.param('openvino', marks=OPENVINO), pytest.param('onnx', marks=[ONNX, pytest.mark.long])],
)
def test_attention_of_the_whole_image_is_taken(with_maps, name):
    net, back_end = with_maps(name)
    hazy, light = torch.rand(2, 3, 20, 24), torch.rand(1, 3, 1, 1)
    attention = back_end.estimate_attention(hazy)
    assert attention is not None
    result, other = back_end(hazy, light, attention).output, back_end(hazy, light, [attention[0] + 1]).output
    with torch.no_grad():
        torch.testing.assert_close(result, net(hazy, airlight=light), atol=1e-5, rtol=0)
    assert (result - other).abs().max() > 1e-4


def test_each_orientation_has_the_attention_of_its_own(net):
    back_end = backends.make(net, 'eager', device='cpu')
    back_end.self_ensemble = True
    hazy = torch.rand(2, 3, 20, 24)
    attention = back_end.estimate_attention(hazy)
    assert attention is not None
    assert len(attention) == 8
    expected = back_end(hazy).output
    torch.testing.assert_close(back_end(hazy, None, attention).output, expected, atol=1e-6, rtol=0)
    assert (back_end(hazy, None, attention[::-1]).output - expected).abs().max() > 1e-6


@pytest.mark.parametrize('has_it', [False, True])
def test_bf16_that_is_emulated_is_said_to_be_slow(has_it, plain_net, monkeypatch, caplog):
    monkeypatch.setattr(backends, 'cpu_has_bf16', lambda: has_it)
    backends.make(plain_net, 'eager', 'bf16', 'cpu')
    assert ('much slower than fp32 on this CPU' in caplog.text) == (not has_it)


@pytest.mark.parametrize('name', ['eager', pytest.param('openvino', marks=OPENVINO)])
def test_bf16_stays_near(plain_net, name):
    try:
        back_end = backends.make(plain_net, name, 'bf16', 'cpu', maps=True)
    except InputError as error:
        if 'no bf16 instructions' not in str(error):
            raise
        pytest.skip(f'{error}')
    hazy = torch.rand(1, 3, 33, 40)
    with torch.no_grad():
        difference = (back_end(hazy).output - plain_net(hazy)).abs()
    assert 0 < difference.mean() < 0.005
    assert back_end(hazy).output.dtype == torch.float32


def test_maps_are_given_when_they_are_asked_for(net):
    assert backends.make(net, 'eager', device='cpu')(torch.rand(1, 3, 16, 16)).transmission is None


@pytest.mark.parametrize(
    ('network', 'name'),
    [
        ('AODNet', 'eager'),
        ('GCANet', 'eager'),
        pytest.param('AODNet', 'openvino', marks=OPENVINO),
        pytest.param('GCANet', 'openvino', marks=[OPENVINO, pytest.mark.long]),
    ],
)
def test_other_networks_run_as_they_are(network, name):
    other = build_network({'type': network}).eval()
    back_end = backends.make(other, name, device='cpu', maps=True)
    hazy = torch.rand(1, 3, 30, 41)
    result = back_end(hazy, torch.rand(1, 3, 1, 1))  # an airlight that it has no use for
    with torch.no_grad():
        torch.testing.assert_close(result.output, other(hazy), atol=1e-4, rtol=0)
    assert set(result[1:]) == {None}
    assert back_end.estimate_airlight(hazy) is None
    assert back_end.estimate_attention(hazy) is None


@pytest.fixture(scope='module')
def by_auto():
    return backends.make(made(**PLAIN), device='cpu')


@OPENVINO
def test_auto_takes_openvino_where_it_is_installed(by_auto, plain_net, monkeypatch):
    assert by_auto.name == 'openvino'
    monkeypatch.setattr(backends.importlib.util, 'find_spec', lambda name: None)
    assert backends.make(plain_net, device='cpu').name == 'eager'


class TakesSizesForConstant(nn.Module):
    """Decides by a value of the image's, which a trace cannot follow."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(x) * (1 if x.shape[-1] == 52 else 2)


@OPENVINO
def test_a_network_that_a_graph_gets_wrong_is_refused_and_auto_runs_it_in_torch():
    net = TakesSizesForConstant().eval()
    with pytest.raises(InputError, match=r'openvino runs TakesSizesForConstant wrongly .* write eager'):
        backends.make(net, 'openvino', device='cpu')
    back_end = backends.make(net, device='cpu')
    assert back_end.name == 'eager'
    hazy = torch.rand(1, 3, 20, 30)
    with torch.no_grad():
        torch.testing.assert_close(back_end(hazy).output, net(hazy))


def test_the_network_stays_as_it_is(net):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    backends.make(net, 'eager', 'bf16', 'cpu')
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    plain = build_network({'type': 'AODNet'}).eval()
    backends.make(plain, 'eager', 'bf16', 'cpu')
    assert all(parameter.requires_grad for parameter in plain.parameters())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'name': 'opnvino'}, r"back end is 'opnvino' \(did you mean openvino"),
        ({'precision': 'fp8'}, 'precision is .fp8.*fp32, bf16, fp16'),
        ({'precision': 'fp16', 'device': 'cpu'}, 'fp16 needs a GPU'),
        ({'name': 'onnx', 'precision': 'bf16', 'device': 'cpu'}, 'onnx computes in fp32'),
        ({'device': 'cuda:99'}, 'torch finds .* GPUs'),
        ({'device': 'toaster'}, "device is 'toaster'"),
        ({'device': 'meta'}, "device is 'meta'"),
        ({'device': 'xpu'}, "device is 'xpu'"),
        ({'device': 'cpu:1'}, "device is 'cpu:1'"),
    ],
)
def test_what_cannot_be_is_named(net, arguments, message):
    with pytest.raises(InputError, match=message):
        backends.make(net, **arguments)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason='there is such a GPU')
def test_a_gpu_of_apple_is_refused_where_there_is_none(net):
    with pytest.raises(InputError, match="device is 'mps'"):
        backends.make(net, device='mps')


@OPENVINO
def test_threads_may_share_openvino(by_auto):
    images = [torch.rand(1, 3, 64, 64 + 4 * number) for number in range(4)]
    alone = [by_auto(hazy).output for hazy in images]
    with ThreadPoolExecutor(4) as pool:
        for together in (list(pool.map(lambda hazy: by_auto(hazy).output, images)) for _ in range(10)):
            for one, other in zip(together, alone, strict=True):
                torch.testing.assert_close(one, other)


@pytest.mark.parametrize(('name', 'package'), [('openvino', 'openvino'), ('onnx', 'onnxruntime')])
def test_missing_package_is_named(net, name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf'pip install okdnet_plugin\[{name}\]'):
        backends.make(net, name, device='cpu')


def test_compiled_network_gets_images_that_need_no_padding(net, monkeypatch):
    """The compiler itself takes a minute; what is handed to it is what matters here."""
    seen = []

    def compiler(core, dynamic):
        def run(hazy, airlight):
            seen.append((dynamic, tuple(hazy.shape[-2:])))
            return core(hazy, airlight)

        return run

    monkeypatch.setattr(torch, 'compile', compiler)
    back_end = backends.make(net, 'compile', device='cpu', maps=True)
    assert_same(back_end, net, (37, 50))
    assert seen == [(True, (40, 52))]


@OPENVINO
def test_signals_are_handled_after_a_back_end_has_ended_in_another_thread(tmp_path):
    """OpenVINO frees the stack of signal handlers where it ends; a process of its own, for it dies of it."""
    code = """
        import signal
        import threading

        import torch
        from torch import nn

        from okdnet_plugin.inference import backends

        signal.signal(signal.SIGTERM, lambda *_: print('handled'))
        held = [backends.make(nn.Conv2d(3, 3, 1), 'openvino', device='cpu')]
        held[0](torch.rand(1, 3, 16, 16))
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        signal.raise_signal(signal.SIGTERM)
    """
    done = run_code(textwrap.dedent(code), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, 'handled\n')
