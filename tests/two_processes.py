"""Two processes side by side with one: the same gradients, statistics, logs and validation figures.

Run by test_distributed.py in two processes, with option files of models as JSON, by name; the first
process prints what differs as JSON. `OKDNetModel` validates as well.
"""

import copy
import json
import sys

import torch
import torch.distributed

import okdnet_plugin

okdnet_plugin.register()

from basicsr.data import build_dataloader, build_dataset  # noqa: E402
from basicsr.models import build_model  # noqa: E402
from basicsr.utils import set_random_seed  # noqa: E402

from okdnet_plugin.engine.torch_versions import leave_process_group  # noqa: E402

NUM_VALIDATED = 7


def build(options, processes):
    set_random_seed(0)
    rank = torch.distributed.get_rank() if processes > 1 else 0
    opt = copy.deepcopy(options) | {'dist': processes > 1, 'rank': rank, 'world_size': processes}
    model = build_model(opt)
    for module in model.net_g.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0  # each process drops others
    return model


def difference(first, second):
    """Largest difference, as a share of the largest value."""
    first, second = (torch.cat([tensor.flatten().double() for tensor in tensors]) for tensors in (first, second))
    return float((first - second).abs().max() / second.abs().max())


def step(model, batch, number=1):
    model.update_learning_rate(number)
    model.feed_data(batch)
    model.optimize_parameters(number)
    net = model.get_bare_model(model.net_g)
    zero = torch.zeros(1)  # of what does not learn in this step
    gradients = [zero.expand(one.shape) if one.grad is None else one.grad.clone() for one in net.parameters()]
    statistics = [buffer.float() for buffer in net.buffers()]
    return gradients, statistics, dict(model.get_current_log())


def validate(model, dataset):
    model.run.val_loaders = []
    figures = {}
    for count in (1, NUM_VALIDATED):
        part = torch.utils.data.Subset(dataset, range(count))
        part.opt = {'name': f'{count} images', 'phase': 'val', 'num_worker_per_gpu': 1}
        model.validation(build_dataloader(part, part.opt), 1, None)
        figures[count] = dict(model.metric_results)
    return figures


def main():
    models = json.loads(sys.argv[1])
    options = models.pop('OKDNetModel')
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    dataset = build_dataset(options['datasets']['train'])
    set_random_seed(0)  # of crops and flips
    images = [dataset[i] for i in range(4)]
    batch = {key: torch.stack([image[key] for image in images]) for key in ('lq', 'gt')}
    batch['depth'] = batch['gt'].mean(1, keepdim=True)
    share = {key: value[rank::2] for key, value in batch.items()}

    together = build(options, 2)
    shared = step(together, share)
    alone = build(options, 1)
    single = step(alone, batch)

    # The same weights for both, so that what is compared is how a validation is shared.
    held_out = build_dataset(options['datasets']['val'])
    alone.net_g_ema.load_state_dict(together.net_g_ema.state_dict())
    torch.distributed.broadcast_object_list(state := [alone.net_g_ema.state_dict()])
    alone.net_g_ema.load_state_dict(state[0])
    if rank == 1:  # as statistics are without sync_bn: each process has its own, and the first one's count
        for buffer in together.net_g_ema.buffers():
            buffer += 1
    figures = validate(together, held_out), validate(alone, held_out)
    result: dict = {}
    if rank == 0:
        result = {
            'gradient': difference(shared[0], single[0]),
            'statistics': difference(shared[1], single[1]),
            'log': max(abs(shared[2][name] / single[2][name] - 1) for name in single[2]),
            'figures of two': figures[0],
            'figures of one': figures[1],
        }
    for name, options in models.items():
        together, alone = build(options, 2), build(options, 1)
        for number in (1, 2):
            shared, single = step(together, share, number), step(alone, batch, number)
            result[f'{name} {number}'] = difference(shared[0], single[0]), sorted(shared[2])
    if rank == 0:
        print(json.dumps(result))
    torch.distributed.barrier()
    leave_process_group()


if __name__ == '__main__':
    main()
