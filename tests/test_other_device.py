"""On a device other than the CPU no pass takes a tensor of the CPU, brings one there, or waits to look at a value.

The other device is `meta`: it computes with its own tensors alone, and refuses to say a value.
"""

import contextlib
import inspect

import pytest
import torch
from basicsr.losses import build_loss
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from okdnet_plugin.archs.dcp_arch import DCP
from okdnet_plugin.archs.fused_okdnet import fuse
from okdnet_plugin.archs.okdnet_arch import OKDNet
from okdnet_plugin.engine.gradient_check import registered_networks, small_arguments

NETWORKS = registered_networks()
DEPTH = {'num_feat': 4, 'growth': 4, 'num_blocks': (1, 1, 1, 1)}
SMALLER = {
    'DenseDepth169': DEPTH,
    'DGDNet': {'depth': DEPTH, 'fuse': {'dim': 4}},
    'ProgressiveDehazer': {'restorer': {'type': 'AODNet'}, 'alternate_steps': 2},
    'PSD': {'backbone_options': {'num_feat': 8, 'num_blocks': 1}, 'unused': 'none'},
}
IMAGE, MAP = (2, 3, 48, 64), (2, 1, 48, 64)
# CLAHELoss equalises on the CPU, as it says.
LOSSES = [
    ('SSIMLoss', {}, (IMAGE, IMAGE)),
    ('OnlineDistillationLoss', {}, (IMAGE, (1, *IMAGE))),
    ('TransmissionLoss', {}, (MAP, MAP)),
    ('DarkChannelLoss', {}, (MAP, IMAGE)),
    ('BrightChannelLoss', {}, (MAP, IMAGE)),
    ('ForgettingLoss', {'sky_threshold': 0.6}, (IMAGE, IMAGE, IMAGE)),
    ('FeatureAffinityLoss', {}, (IMAGE, IMAGE)),
    ('FeatureAffinityLoss', {'norm': 'l1'}, (IMAGE, IMAGE)),
    ('InterContrastiveLoss', {'extractor': 'small'}, (IMAGE, IMAGE, IMAGE)),
    ('IntraContrastiveLoss', {'extractor': 'small'}, (IMAGE, IMAGE, IMAGE)),
]


class _Watch(TorchDispatchMode):
    """Notes operations that have to do with values on the CPU, or only those that mix them with others."""

    def __init__(self):
        super().__init__()
        self.found, self.mixed = [], []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_flatten((args, kwargs, result))[0] if isinstance(leaf, Tensor)]
        is_of_cpu = [tensor.device.type == 'cpu' for tensor in tensors if tensor.numel()]
        if any(is_of_cpu) or 'check_errors' in str(operation):
            self.found.append(str(operation))
        if any(is_of_cpu) and not all(is_of_cpu):
            self.mixed.append(str(operation))
        return result


@pytest.fixture
def watch(monkeypatch):
    watch = _Watch()
    monkeypatch.setattr(torch, 'autocast', lambda *_, **__: contextlib.nullcontext())  # which meta has none of
    # It makes its tensor on the CPU, behind the back of all watching, and brings it to the device.
    monkeypatch.setattr(Tensor, 'new_tensor', lambda *_, **__: pytest.fail('new_tensor'))
    return watch


def elsewhere(shape):
    return torch.rand(shape, device='meta').requires_grad_()


def everything_of(output):
    return sum(leaf.float().sum() for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor))


@pytest.mark.parametrize('name', sorted(NETWORKS))
def test_a_network_computes_where_it_is(watch, name):
    network = NETWORKS[name]
    net = network(**{**small_arguments(network), **SMALLER.get(name, {})}).to('meta')
    more = {key: True for key in inspect.signature(net.forward).parameters if key.startswith('return_')}
    for training in (True, False):
        net.train(training)
        with watch:
            everything_of(net(elsewhere((2, 3, 20, 36)), **more)).backward()
    assert watch.found == []


@pytest.mark.parametrize(('name', 'options', 'shapes'), LOSSES)
def test_a_loss_computes_where_its_images_are(watch, name, options, shapes):
    loss, images = build_loss({'type': name, **options}).to('meta'), [elsewhere(shape) for shape in shapes]
    with watch:
        loss(*images).backward()
    assert watch.found == []


@pytest.mark.parametrize('variant', [{}, {'attention': False}, {'aggregation': 'fau'}])
def test_okdnet_is_fused_where_it_is(watch, variant):
    net = OKDNet(num_feat=8, num_blocks=(1, 1, 1), growth=4, **variant).to('meta').eval()
    with watch:
        fused = fuse(net)
    assert watch.mixed == []
    assert {value.device.type for value in fused.state_dict().values()} == {'meta'}


def test_what_is_made_on_the_cpu_is_seen(watch):
    class Wrong(DCP):
        def forward(self, x, airlight=None):
            return super().forward(x, airlight) + torch.tensor([0.1, 0.2, 0.3]).to(x.device)[:, None, None]

    with watch:
        Wrong()(elsewhere((2, 3, 20, 36)))
    assert watch.found
