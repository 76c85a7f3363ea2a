"""Networks in evaluation, and their averages."""

import functools
from types import SimpleNamespace

import torch

from okdnet_plugin.compat.patches import original_source_of, patch, source_of


@patch(lambda: 'get_bare_model' not in source_of('basicsr.models.sr_model:SRModel.test'))
def evaluate_the_bare_network() -> None:
    """Only the first process validates, but through DistributedDataParallel, which waits for the others' buffers.

    A network with BatchNorm and without EMA then breaks off or hangs. Can go when BasicSR evaluates the bare
    network.
    """
    from basicsr.models.sr_model import SRModel

    original = SRModel.test

    @functools.wraps(original)
    def test(self):
        wrapped, self.net_g = self.net_g, self.get_bare_model(self.net_g)
        try:
            original(self)
        finally:
            self.net_g = wrapped

    SRModel.test = test


@patch(lambda: 'logger.info(net_str)' in original_source_of('basicsr.models.base_model:BaseModel.print_network'))
def print_layers_to_the_file_alone() -> None:
    """Before the first loss a training prints its whole network, which takes thousands of lines.

    The line with its class and number of parameters stays; the layers go to the log file. Can go when BasicSR prints a
    summary.
    """
    from basicsr.models.base_model import BaseModel

    def print_network(self, net):
        from basicsr.utils import get_root_logger

        from okdnet_plugin.engine.journal import only_to_file

        logger, bare = get_root_logger(), self.get_bare_model(net)
        count = sum(parameter.numel() for parameter in bare.parameters())
        logger.info(f'Network: {type(bare).__name__}, with parameters: {count:,d}')
        with only_to_file(logger):
            logger.info(str(bare))

    BaseModel.print_network = print_network


def _ema_forgets_buffers() -> bool:
    from basicsr.models.base_model import BaseModel

    net, net_ema = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    mean, mean_ema = net.get_buffer('running_mean'), net_ema.get_buffer('running_mean')
    mean.fill_(1)
    BaseModel.model_ema(SimpleNamespace(net_g=net, net_g_ema=net_ema, get_bare_model=lambda net: net), decay=0)
    return not torch.equal(mean, mean_ema)


@patch(_ema_forgets_buffers)
def average_buffers_in_ema() -> None:
    """The EMA copy of a network never gets its buffers, so BatchNorm evaluates with its initial statistics.

    Running means and variances are averaged like the weights that they belong to, but with a decay of at most
    (1 + n) / (10 + n) after n batches: unlike weights they begin far from their values, and an average over a thousand
    steps would hold a variance of 1 for ten thousand. Any other buffer (a counter, a mask, an index) is copied.
    Validation and `params_ema` use that copy. Can go when BasicSR's model_ema handles buffers.
    """
    from basicsr.models.base_model import BaseModel

    original = BaseModel.model_ema

    @functools.wraps(original)
    def model_ema(self, decay=0.999):
        original(self, decay)
        modules_ema = dict(self.net_g_ema.named_modules())
        for prefix, module in self.get_bare_model(self.net_g).named_modules():
            share = {}
            if isinstance(module, torch.nn.modules.batchnorm._NormBase) and module.num_batches_tracked is not None:
                # On the device of the network: to look at the number would wait for it.
                new = (9 / (10 + module.num_batches_tracked)).clamp(min=1 - decay)
                share = {'running_mean': new, 'running_var': new}
            for name, buffer in module.named_buffers(recurse=False):
                buffer_ema = getattr(modules_ema[prefix], name)
                buffer_ema.copy_(buffer_ema.lerp(buffer, share[name]) if name in share else buffer)

    BaseModel.model_ema = model_ema
