"""A training in small: a network is built, makes one step on two made images, is saved, and comes back the same."""

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import path as osp
from typing import TYPE_CHECKING

from okdnet_plugin.doctor.finding import Finding, ok, one_line, wrong

if TYPE_CHECKING:
    from okdnet_plugin.models.okdnet_model import OKDNetModel

_SIZE = 64  # px
_TOLERANCE = 1e-3  # of an image in [0, 1]: a GPU may take another kernel the second time
_NETWORK = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
_TRAIN = {
    'ema_decay': 0.9,
    'optim_g': {'type': 'Adam', 'lr': 1e-3},
    'scheduler': {'type': 'MultiStepLR', 'milestones': [1], 'gamma': 0.5},
    'total_iter': 1,
    'warmup_iter': -1,
    'pixel_opt': {'type': 'L1Loss'},
    'ssim_opt': {'type': 'SSIMLoss'},
    'distill_opt': {'type': 'OnlineDistillationLoss', 'loss_weight': 0.5},
}


def check() -> Iterator[Finding]:
    """Build, step, save and load; on the GPU if torch sees one."""
    import torch

    import okdnet_plugin

    begin, doing = time.perf_counter(), 'build'
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []  # not all: each would be opened
    with _quiet(), torch.random.fork_rng(gpus), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        try:
            okdnet_plugin.register()
            model = _model(folder, is_train=True)
            count = sum(parameter.numel() for parameter in model.net_g.parameters())
            yield ok('self_test.build', f'a small OKDNet is built, {count:,} parameters on {model.device.type}')
            doing = 'one step of training'
            yield _step(model)
            doing = 'save and load'
            yield _comes_back(model, folder)
        except Exception as error:
            cure = 'correct first what is wrong above; if nothing is, report it with this whole text'
            yield wrong('self_test.failed', f'{doing} fails: {one_line(error)}', cure)
    seconds = time.perf_counter() - begin
    yield ok('self_test.seconds', f'it took {seconds:.1f} s', seconds=round(seconds, 2))


@contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # BasicSR describes each network
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _model(folder: str, is_train: bool, weights: str | None = None) -> 'OKDNetModel':
    import torch

    from okdnet_plugin.models.okdnet_model import OKDNetModel

    options = {
        'name': 'doctor',
        'model_type': 'OKDNetModel',
        'scale': 1,
        'is_train': is_train,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'num_gpu': min(1, torch.cuda.device_count()),
        'datasets': {'train': {'phase': 'train', 'batch_size_per_gpu': 2}},
        'network_g': dict(_NETWORK),
        'path': {
            'pretrain_network_g': weights,
            'param_key_g': 'params_ema',
            'strict_load_g': True,
            'models': folder,
            'training_states': folder,
        },
        'train': {key: dict(value) if isinstance(value, dict) else value for key, value in _TRAIN.items()},
        'val': {},
        'logger': {},
    }
    return OKDNetModel(options)


def _step(model: 'OKDNetModel') -> Finding:
    import torch

    clear = torch.rand(2, 3, _SIZE, _SIZE)
    before = [parameter.detach().clone() for parameter in model.net_g.parameters()]
    model.feed_data({'lq': 0.5 * clear + 0.4, 'gt': clear})
    model.optimize_parameters(1)
    losses = {name: float(value) for name, value in model.get_current_log().items()}
    listed = ', '.join(f'{name} {value:.4f}' for name, value in losses.items())
    parameters = list(model.net_g.parameters())
    if not all(torch.isfinite(tensor).all() for tensor in (*parameters, torch.tensor(list(losses.values())))):
        text = f'one step of training is not finite ({listed})'
        return wrong('self_test.step', text, 'this build of torch computes wrong here: install another', **losses)
    if not any(map(_differ, before, parameters)):
        text = 'one step of training changes nothing'
        return wrong('self_test.step', text, 'this build of torch computes wrong here: install another', **losses)
    return ok('self_test.step', f'one step of training: {listed}', **losses)


def _differ(first, second) -> bool:
    import torch

    return not torch.equal(first, second)


def _comes_back(model: 'OKDNetModel', folder: str) -> Finding:
    import torch

    model.save(0, 1)
    again = _model(folder, is_train=False, weights=osp.join(folder, 'net_g_1.pth'))
    trained, loaded = model.net_g_ema.eval(), again.net_g.eval()
    state = loaded.state_dict()
    changed = [name for name, value in trained.state_dict().items() if not torch.equal(value, state[name])]
    image = torch.rand(1, 3, _SIZE, _SIZE, device=model.device)
    with torch.inference_mode():
        difference = float((trained(image) - loaded(image)).abs().max())
    cure = 'look at the disk, and at plugins that replace saving or loading'
    if changed:
        text = f'the network that was loaded is not the one that was saved: {changed[0]} differs'
        return wrong('self_test.save', text, cure, changed=len(changed))
    if not difference < _TOLERANCE:
        text = f'the network that was loaded gives another image than the one that was saved, off by {difference:.2g}'
        return wrong('self_test.save', text, cure, difference=difference)
    text = f'the network is saved and comes back to the last bit; its image differs by {difference:.1g}'
    return ok('self_test.save', text, difference=difference)
