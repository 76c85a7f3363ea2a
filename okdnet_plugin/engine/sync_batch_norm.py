"""BatchNorm over the images of all processes, on a GPU and on a CPU."""

import torch
import torch.distributed.nn.functional
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class CpuSyncBatchNorm(_BatchNorm):
    """BatchNorm whose mean and variance are those of all processes' batches together.

    The gradients of all processes meet in these, so that processes with parts of a batch have the gradient of one
    process with all of it. torch's SyncBatchNorm does so on GPUs and refuses tensors of the CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x: shape (N, C, ...); N may differ between the processes.
        """
        if not (self.training and torch.distributed.is_initialized()):
            return self._alone(x)
        values = x if x.dtype == torch.float64 else x.float()
        dims, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
        # The moments of this process's batch, then of all batches; float64, because they are combined as sums.
        variance, mean = (moment.double() for moment in torch.var_mean(values, dims, correction=0))
        count = mean.new_tensor([values.numel() / len(mean)])
        sums = torch.cat([mean * count, (variance + mean * mean) * count, count])
        total, squares, count = torch.distributed.nn.functional.all_reduce(sums).split([len(mean), len(mean), 1])
        if count == 1:
            raise ValueError(f'BatchNorm has one value a channel in all processes, of input {tuple(x.shape)}')
        mean = total / count
        variance = squares / count - mean * mean
        self._note(mean.detach(), (variance * count / (count - 1)).detach())
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale + (self.bias if self.affine else 0)
        return torch.addcmul(shift.to(values.dtype).view(shape), values, scale.to(values.dtype).view(shape)).to(x.dtype)

    def _alone(self, x: Tensor) -> Tensor:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        use_batch = self.training or self.running_mean is None
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, use_batch, self._momentum(), self.eps
        )

    def _note(self, mean: Tensor, variance: Tensor) -> None:
        if self.num_batches_tracked is not None and self.running_mean is not None and self.running_var is not None:
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self._momentum())
            self.running_var.lerp_(variance.to(self.running_var.dtype), self._momentum())

    def _momentum(self) -> float:
        if self.momentum is not None:
            return self.momentum
        return 0.0 if self.num_batches_tracked is None else 1 / max(1, int(self.num_batches_tracked))


def synchronise(net: nn.Module, device: torch.device) -> nn.Module:
    """Make every BatchNorm of a network that will be on `device` a synchronised one; names in its state stay.

    Returns:
        The network; the same object unless it is a BatchNorm itself.
    """
    if device.type != 'cpu':
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for module in net.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
            module.__class__ = CpuSyncBatchNorm  # which adds no state of its own
    return net
