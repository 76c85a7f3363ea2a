"""OKDNet for inference alone: the same output from fewer operations and fewer passes over memory.

`fuse(net)` builds it. Everything here is exact up to rounding:

- BatchNorm is part of the convolution before it, Dropout is gone, and of the channel attention's 3x3 convolution only
  the centre tap is kept.
- The weights of a residual dense block, which training splits anew in every forward pass, are split once; the addition
  of its input is part of its 1x1 convolution. See `FusedRDB`.
- A 3x3 convolution to one or three channels, which leaves most lanes of a vector empty, is a row and then a column of
  weights. See `_rows_then_column`.
- What the feature aggregation block computes before its bound is linear, so that away from the border it is one 3x3
  convolution to a few channels and a window of weights; at the border, where its averages have fewer pixels, it is
  computed as it was. See `FusedFAB`.
- Images are kept as their distance from mid-grey, 0.5, so that the change to [-1, 1] is part of the weights.
"""

import copy
from collections.abc import Iterator
from functools import singledispatch
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from okdnet_plugin.archs.arch_util import RDB, check_size, pad_to_multiple
from okdnet_plugin.archs.okdnet_arch import AGRDB, FAB, ANet, MultiScaleNet, OKDNet, OKDNetBranches


@singledispatch
def fuse(net: nn.Module) -> nn.Module:
    """A network for inference alone with the output of `net` in eval mode, from fewer operations.

    A plugin may register the fused form of its own network: `@fuse.register`.

    Args:
        net: a network on any device; it stays as it is.

    Returns:
        The fused network, on the device of `net`; of a class that has no fused form, `net` itself.
    """
    return net


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Make each BatchNorm that follows a convolution in a plain nn.Sequential part of it, and drop Dropout; in place.

    Args:
        module: in eval mode. Its nn.Sequentials must be used as a whole, not by their numbered parts.

    Returns:
        The module.
    """
    for child in list(module.modules()):
        if type(child) is nn.Sequential:
            _fold_sequence(child)
    return module


def _fold_sequence(sequence: nn.Sequential) -> None:
    kept: list[nn.Module] = []
    for layer in sequence:
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            continue
        folded = _fold(kept[-1], layer) if kept else None
        if folded is None:
            kept.append(layer)
        else:
            kept[-1] = folded
    sequence._modules = {str(i): layer for i, layer in enumerate(kept)}


def _fold(conv: nn.Module, norm: nn.Module) -> nn.Module | None:
    """The convolution with the BatchNorm in it, or None if they are no such pair."""
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None:
        return None
    if isinstance(conv, nn.Conv2d):
        return fuse_conv_bn_eval(conv, norm)
    if isinstance(conv, nn.ConvTranspose2d) and conv.groups == 1:  # with groups torch folds along the wrong axis
        return fuse_conv_bn_eval(conv, norm, transpose=True)
    return None


def _convolution(weight: Tensor, bias: Tensor | None, padding: int | tuple[int, int] = 0) -> nn.Conv2d:
    num_out, num_in, height, width = weight.shape
    conv = nn.Conv2d(num_in, num_out, (height, width), padding=padding, bias=bias is not None)
    conv.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone())
    return conv


def _scaled(conv: nn.Module, factor: float) -> nn.Conv2d:
    assert isinstance(conv, nn.Conv2d)
    bias = None if conv.bias is None else factor * conv.bias
    return _convolution(factor * conv.weight, bias, int(conv.padding[0]))


def _rows_then_column(conv: nn.Module) -> nn.Sequential:
    """A 3x3 convolution to few channels, in half the time: each row of its weights alone, and then the sum of the rows.

    Processors compute 16 channels at once, so that one to a single channel takes as long as one to 16. The rows give
    three times as many channels from a third of the weights.
    """
    assert isinstance(conv, nn.Conv2d)
    num = conv.out_channels
    rows = torch.cat(conv.weight.split(1, 2))  # all of the first row, of the second, of the third
    column = torch.eye(3 * num, device=rows.device).reshape(3, num, 3 * num).permute(1, 2, 0)[..., None]
    return nn.Sequential(_convolution(rows, None, (0, 1)), _convolution(column, conv.bias, (1, 0)))


class FusedRDB(nn.Module):
    """A residual dense block of four layers, which takes its features in pairs.

    Each convolution is split by what it reads (see RDB), and those of the third and the fourth layer that read the same
    are one. This is the balance between convolutions to many channels, which are fast, and copies of their parts. The
    addition of the block's input is in the weights of the 1x1 fusion.
    """

    def __init__(self, rdb: RDB):
        super().__init__()
        num_feat, growth = rdb.fuse.out_channels, rdb.layers[0].out_channels
        weights, biases = [], []
        for layer in rdb.layers:
            assert isinstance(layer, nn.Conv2d)
            weights.append(layer.weight.split([num_feat] + [growth] * len(weights), 1))
            biases.append(layer.bias)
        _, second, third, fourth = weights
        bias = None if biases[2] is None else torch.cat(biases[2:])

        self.first = copy.deepcopy(rdb.layers[0])
        self.second = nn.ModuleList([_convolution(second[0], biases[1], 1), _convolution(second[1], None, 1)])
        self.last_two = nn.ModuleList(
            [
                _convolution(torch.cat([third[0], fourth[0]]), bias, 1),
                _convolution(torch.cat([torch.cat(third[1:], 1), torch.cat(fourth[1:3], 1)]), None, 1),
            ]
        )
        self.fourth = _convolution(fourth[3], None, 1)
        weight = rdb.fuse.weight.detach().clone()
        weight[:, :num_feat, 0, 0] += torch.eye(num_feat, device=weight.device)
        self.fuse = _convolution(weight, rdb.fuse.bias)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu_(self.first(x))
        second = F.relu_(self.second[0](x).add_(self.second[1](first)))
        pair = torch.cat([first, second], 1)
        third, fourth = self.last_two[0](x).add_(self.last_two[1](pair)).chunk(2, 1)
        third = F.relu(third)
        fourth = F.relu_(self.fourth(third).add_(fourth))
        return self.fuse(torch.cat([x, pair, third, fourth], 1))


class FusedAGRDB(nn.Module):
    """An attention guided residual dense block whose channel attention is the matrix that acts."""

    def __init__(self, block: AGRDB):
        super().__init__()
        self.rdb = FusedRDB(block.rdb)
        conv = block.channel_attention
        self.channel_attention = _convolution(conv.weight[:, :, 1:2, 1:2], conv.bias)
        self.spatial_attention = _rows_then_column(block.spatial_attention)

    def forward(self, x: Tensor, means: Tensor | None = None, seen: list[Tensor] | None = None) -> Tensor:
        """
        Args:
            x: (N, C, H, W).
            means: what the channel attention sees, (N, C, 1, 1); by default the means of its feature.
            seen: gets what it has seen.
        """
        feature: Tensor = self.rdb(x)
        if means is None:
            means = feature.mean((2, 3), keepdim=True)
        if seen is not None:
            seen.append(means)
        feature.mul_(torch.sigmoid(self.channel_attention(means)))
        return feature.mul_(torch.sigmoid(self.spatial_attention(feature))).add_(x)


class FusedMultiScaleNet(nn.Module):
    """The feature shared network; adjacent scales are added after their convolutions instead of put side by side."""

    def __init__(self, net: MultiScaleNet):
        super().__init__()
        self.downs = copy.deepcopy(net.downs)
        self.ups = copy.deepcopy(net.ups)
        self.scales = nn.ModuleList(
            nn.Sequential(*(_fused_block(block) for block in blocks.children())) for blocks in net.scales
        )
        self.fine, self.coarse = nn.ModuleList(), nn.ModuleList()
        for conv in net.fuses:
            assert isinstance(conv, nn.Conv2d)
            fine, coarse = conv.weight.chunk(2, 1)
            self.fine.append(_convolution(fine, conv.bias, int(conv.padding[0])))
            self.coarse.append(_convolution(coarse, None, int(conv.padding[0])))
        blocks = [block for scale in reversed(self.scales) for block in scale.children()]
        self.attended = [block.channel_attention.in_channels for block in blocks if isinstance(block, FusedAGRDB)]
        """Channels of each channel attention, in the order in which they act."""

    def forward(self, x: Tensor, means: Tensor | None = None, seen: list[Tensor] | None = None) -> Tensor:
        """
        Args:
            x: (N, C, H, W).
            means: what all channel attentions see, side by side, (N, sum of `attended`, 1, 1); by default each sees
                the means of its own feature.
            seen: gets what each has seen.
        """
        given = iter(()) if means is None else iter(means.split(self.attended, 1))
        inputs = [x]
        for down in self.downs:
            inputs.append(down(inputs[-1]))
        out = self._scale(-1, inputs.pop(), given, seen)
        for i in reversed(range(len(self.ups))):
            fine = self._scale(i, inputs.pop(), given, seen)
            out = self.coarse[i](self.ups[i](out)).add_(self.fine[i](fine))
        return out

    def _scale(self, i: int, x: Tensor, given: Iterator[Tensor], seen: list[Tensor] | None) -> Tensor:
        for block in cast(nn.Sequential, self.scales[i]):
            x = block(x, next(given, None), seen) if isinstance(block, FusedAGRDB) else block(x)
        return x


def _fused_block(block: nn.Module) -> nn.Module:
    return FusedAGRDB(block) if isinstance(block, AGRDB) else FusedRDB(cast(RDB, block))


class FusedFAB(nn.Module):
    """The feature aggregation block, as few channels as can be.

    With 1x1 convolutions P_k, averages over windows S_k and the gate's parts G_k the maps are sum_k G_k S_k P_k x.
    Where all windows lie in the image these commute, so that each k is a 3x3 convolution with G_k P_k to the three
    maps, and then an average. The averages of all k are a row of weights and then a column of weights.

    Within `frame` px of the border the averages have fewer pixels and the gate meets its zero padding. These strips are
    computed by the block as it was, from strips of twice that width.
    """

    def __init__(self, fab: FAB):
        super().__init__()
        largest = max(fab.pools)
        self.frame = largest // 2 + 1
        self.direct = copy.deepcopy(fab)
        self.direct.activation = nn.Identity()
        with torch.no_grad():
            # images come as their distance from 0.5, and the block takes [-1, 1]
            self.direct.pointwise.weight[:, :6] *= 2
        self.activation = copy.deepcopy(fab.activation)

        num = len(fab.pools)
        pointwise, gate = fab.pointwise, fab.gate
        assert pointwise.bias is not None
        assert gate.bias is not None
        parts = zip(gate.weight.chunk(num, 1), self.direct.pointwise.weight[:, :, 0, 0].chunk(num), strict=True)
        # In float64, which no setting of a GPU makes coarser.
        composed = torch.cat([torch.einsum('omyx,mi->oiyx', g.double(), p.double()).float() for g, p in parts])
        bias = gate.bias + torch.einsum('omyx,m->o', gate.weight, pointwise.bias)
        self.of_images = _convolution(composed[:, :6], None)
        self.of_feature = _convolution(composed[:, 6:], None)
        across = bias.new_zeros(3 * num, 3 * num, 1, largest)
        down = bias.new_zeros(3, 3 * num, largest, 1)
        for k, size in enumerate(fab.pools):
            inside = slice((largest - size) // 2, (largest + size) // 2)
            for channel in range(3):
                across[3 * k + channel, 3 * k + channel, 0, inside] = 1 / size
                down[channel, 3 * k + channel, inside, 0] = 1 / size
        self.across, self.down = _convolution(across, None), _convolution(down, bias)

    def forward(self, images: Tensor, feature: Tensor) -> Tensor:
        """
        Args:
            images: J and J_mod less 0.5, shape (N, 6, H, W).
            feature: F_s, shape (N, C, H, W), of the same precision.

        Returns:
            Weights of J, J_mod and F_s, (N, 3, H, W).
        """
        n = self.frame
        maps = self.down(self.across(self.of_feature(feature).add_(self.of_images(images))))
        left, right = self._strips(images, feature, 3)
        top, bottom = self._strips(images, feature, 2)
        maps = torch.cat([left[..., n:-n, :n], maps, right[..., n:-n, n:]], 3)
        return self.activation(torch.cat([top[..., :n, :], maps, bottom[..., n:, :]], 2))

    def _strips(self, images: Tensor, feature: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Maps of the two strips of twice the frame's width; right in their outer halves."""
        number, length, width = feature.shape[0], feature.shape[dim], 2 * self.frame
        images, feature = (
            torch.cat([x.narrow(dim, 0, width), x.narrow(dim, length - width, width)]) for x in (images, feature)
        )
        maps = torch.cat(self.direct(images[:, :3], images[:, 3:], feature), 1)
        return maps[:number], maps[number:]


class FusedOKDNet(nn.Module):
    """OKDNet for inference alone, in eval mode and without gradients; what the module's docstring says.

    Args:
        net: the trained network, which stays as it is.

    Raises:
        RuntimeError: `train()` is called on it.
    """

    def __init__(self, net: OKDNet):
        super().__init__()
        net = copy.deepcopy(net).float().eval()
        fold_batch_norms(net)
        self.t_min, self.multiple = net.t_min, net.multiple
        self.preprocess = net.preprocess
        self.shared = FusedMultiScaleNet(net.shared)
        self.airlight: ANet = net.airlight

        # Images come as half of what they were in [-1, 1]; tanh(x) / 2 is sigmoid(2 x) - 1 / 2.
        first, relu, last, _ = net.model_free.children()
        self.model_free = nn.Sequential(first, relu, _rows_then_column(_scaled(last, 2)))
        first, relu, last, _ = net.transmission.children()
        self.transmission = nn.Sequential(first, relu, _rows_then_column(last))
        self.to_image = _scaled(net.to_image, 0.5)
        self.aggregation = FusedFAB(net.aggregation) if isinstance(net.aggregation, FAB) else net.aggregation
        self.eval().requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the layers; images and the airlight are float32 whatever it is."""
        return self.to_image.weight.dtype

    def set_precision(self, dtype: torch.dtype) -> 'FusedOKDNet':
        """Let the layers compute in float32, bfloat16 or float16.

        The airlight's small network, and what the transmission is divided by, stay in float32.
        """
        for name, child in self.named_children():
            if name != 'airlight':
                child.to(dtype)
        return self

    def train(self, mode: bool = True) -> 'FusedOKDNet':
        """
        Raises:
            RuntimeError: `mode` is true.
        """
        if mode:
            raise RuntimeError('a fused OKDNet is for inference alone; train the OKDNet that it was made from')
        return super().train(False)

    def estimate_airlight(self, x: Tensor) -> Tensor:
        """The airlight of hazy images, as `OKDNet.estimate_airlight` gives it."""
        return self._airlight(x) + 0.5

    def _airlight(self, x: Tensor) -> Tensor:
        return self.airlight(2 * x.float() - 1) / 2

    @property
    def attended(self) -> list[int]:
        """Channels of each channel attention; none of a network without attention."""
        return self.shared.attended

    def estimate_attention(self, x: Tensor) -> Tensor:
        """What the channel attentions see of hazy images, to be shared by the parts of an image.

        With the airlight it is all that is global in an OKDNet with a FAB.

        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.

        Returns:
            Means of features, of all blocks of `attended` side by side, (N, C, 1, 1).
        """
        seen: list[Tensor] = []
        hazy = pad_to_multiple(x.float() - 0.5, self.multiple)
        self.shared(self.preprocess(2 * hazy.to(self.dtype)), seen=seen)
        return torch.cat(seen, 1).float()

    def forward(
        self,
        x: Tensor,
        return_branches: bool = False,
        airlight: Tensor | None = None,
        attention: Tensor | None = None,
    ) -> Tensor | OKDNetBranches:
        """
        Args:
            x: hazy RGB images in [0, 1], shape (N, 3, H, W) with H, W >= 16.
            return_branches: give all branches.
            airlight: that of the scene, of shape (N, 3, 1, 1); by default it is estimated from x.
            attention: that of the scene, as `estimate_attention` gives it; by default it is that of x.

        Returns:
            What `OKDNet.forward` gives in eval mode, in float32.

        Raises:
            ValueError: an image is smaller than 16x16.
        """
        height, width = check_size(self, x)
        x = x.float()
        a = self._airlight(x) if airlight is None else airlight.float() - 0.5
        hazy = pad_to_multiple(x - 0.5, self.multiple)

        means = None if attention is None else attention.to(self.dtype)
        feature = self.shared(self.preprocess(2 * hazy.to(self.dtype)), means)
        model_free = torch.sigmoid(self.model_free(feature).float()) - 0.5
        t = self.t_min + (1 - self.t_min) * torch.sigmoid(self.transmission(feature).float())
        model_based = (hazy - a) / t + a  # Eq. 1, solved for J
        shared = self.to_image(feature).float()

        if isinstance(self.aggregation, FusedFAB):
            images = torch.cat([model_free, model_based], 1).to(feature.dtype)
            weights = self.aggregation(images, feature).float().chunk(3, 1)
        else:
            weights = [weight.float() for weight in self.aggregation(model_free, model_based, feature)]
        output = model_free * weights[0] + model_based * weights[1] + shared * weights[2]  # Eq. 2
        output = (output + 0.5).clamp(0, 1)[..., :height, :width]
        if not return_branches:
            return output
        model_free, model_based, shared, t = (
            image[..., :height, :width] for image in (model_free + 0.5, model_based + 0.5, shared + 0.5, t)
        )
        return OKDNetBranches(output, model_free, model_based, shared, t, a + 0.5)


@fuse.register
def _(net: OKDNet) -> FusedOKDNet:
    return FusedOKDNet(net)
