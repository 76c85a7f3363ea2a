"""What a run writes, and how it is read again."""

import functools
import importlib
import pickle
import sys
from os import path as osp

import torch

from okdnet_plugin.compat.patches import original_source_of, patch, replace_function, source_of


@patch(lambda: 'torch.save(' in original_source_of('basicsr.models.base_model:BaseModel.save_training_state'))
def save_whole_files() -> None:
    """Networks and states are written in place, and a run goes on when that fails three times.

    A process that is killed meanwhile leaves half a file, which `--auto_resume` then picks. They are now written beside
    and renamed, a failure stops the run, and a model may add to its state by a method `more_of_training_state()`.
    Can go when BasicSR does so.
    """
    from basicsr.models.base_model import BaseModel

    from okdnet_plugin.engine import checkpoints
    from okdnet_plugin.engine.run import Run

    def save_network(self, net, net_label, current_iter, param_key: str | list[str] = 'params'):
        if self.opt['rank'] != 0:
            return
        nets, keys = (value if isinstance(value, list) else [value] for value in (net, param_key))
        content = {
            key: {name.removeprefix('module.'): value.cpu() for name, value in state.items()}
            for key, state in zip(keys, (self.get_bare_model(net).state_dict() for net in nets), strict=True)
        }
        name = f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
        checkpoints.save(content, osp.join(self.opt['path']['models'], name))

    def save_training_state(self, epoch, current_iter):
        if current_iter == -1:
            return
        more = self.more_of_training_state() if hasattr(self, 'more_of_training_state') else {}
        if self.opt['rank'] != 0:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'seed': Run.of(self.opt).seed,
            'facts': Run.of(self.opt).facts,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
        }
        checkpoints.save(state | more, osp.join(self.opt['path']['training_states'], f'{current_iter}.state'))

    BaseModel.save_network = save_network
    BaseModel.save_training_state = save_training_state


@patch(lambda: "param_key = 'params'" in source_of('basicsr.models.base_model:BaseModel.load_network'))
def read_weights_of_any_file() -> None:
    """Networks are loaded from BasicSR's own files alone, and what is wrong with a file is a traceback.

    A key that the file does not have becomes `params` without a word. Weights are now read by
    `okdnet_plugin.weights.reading`, as `dehaze`, `export` and `report` read them: nested and prefixed as other trainers
    write them, or in safetensors. A file or a key that is wrong, values that are not finite and a network that does not
    fit are one line. Can go when BasicSR does so.
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import get_root_logger

    from okdnet_plugin.weights import loading, reading

    def load_network(self, net, load_path, strict=True, param_key: str | None = 'params'):
        net = self.get_bare_model(net)
        paths = getattr(self, 'opt', {}).get('path', {})
        written = {value for key, value in paths.items() if key.startswith('param_key')}
        # BasicSR asks for `params` where nobody does, and takes it for an average that is not there.
        key = param_key if param_key in written and param_key != 'params_ema' else None
        content = reading.read(load_path, key, (param_key or 'params', *reversed(reading.KEYS)))
        get_root_logger().info(f'Loading {type(net).__name__} model from {load_path}, with param key: [{content.key}].')
        if strict:
            loading.load_into(net, content.state, load_path)
            return
        state = dict(loading.nearest(net, content.state, load_path))
        self._print_different_keys_loading(net, state, strict)
        net.load_state_dict(state, strict=False)

    setattr(BaseModel, 'load_network', load_network)  # noqa: B010  its types are the hints' own


@patch(lambda: 'logger.info(' in original_source_of('basicsr.train:MessageLogger.__call__'))
def keep_a_journal() -> None:
    """The log of a training is made for the eye alone, and a terminal shows no progress.

    What it reports now goes to `metrics.jsonl` beside it as well, see `okdnet_plugin.engine.journal`. Can go when
    BasicSR writes such a file.
    """
    train = importlib.import_module('basicsr.train')

    class JournalLogger(train.MessageLogger):
        def __init__(self, opt, start_iter=1, tb_logger=None):
            from okdnet_plugin.engine.run import Run

            super().__init__(opt, start_iter, tb_logger)
            self.is_master = opt['rank'] == 0
            run = Run.of(opt)
            run.tb_logger = tb_logger
            self.journal = run.journal
            if self.is_master:
                is_validated = (run.state or {}).get('is_validated', True)
                self.journal.open(opt['path']['log'], start_iter, int(self.max_iters), self.logger, is_validated)
            self.max_iters += 1  # by which BasicSR comes to one iteration too few, and at the end to -1 day

        def __call__(self, log_vars):
            if not self.is_master:
                return
            timings = {key: log_vars[key] for key in ('epoch', 'time', 'data_time') if key in log_vars}
            losses = {key: value for key, value in log_vars.items() if key not in (*timings, 'iter', 'lrs')}
            self.journal.report({'iter': log_vars['iter'], **timings, 'lr': log_vars['lrs'], **losses})
            self.journal.show(log_vars['iter'], losses)
            with self.journal.only_to_file(self.logger):
                super().__call__(log_vars)

    replace_function('basicsr.train:MessageLogger', JournalLogger)


def _basicsr_unpickles() -> bool:
    is_said = 'weights_only' in source_of('basicsr.models.base_model:BaseModel.load_network')
    return not is_said and not hasattr(torch.load, 'heeds_basicsr')


@patch(_basicsr_unpickles)
def load_weights_without_running_code() -> None:
    """Networks read their weights by a torch.load that unpickles whatever a file holds, on torch before 2.6.

    So they do under TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD too. Where a module of BasicSR does not say `weights_only`,
    it is now true. Can go when BasicSR says so.
    """
    original = torch.load

    @functools.wraps(original)
    def load(f, *args, **kwargs):
        is_of_basicsr = sys._getframe(1).f_globals.get('__name__', '').split('.')[0] == 'basicsr'
        if not is_of_basicsr or kwargs.get('weights_only') is not None:
            return original(f, *args, **kwargs)
        try:
            return original(f, *args, **kwargs | {'weights_only': True})
        except pickle.UnpicklingError:
            from okdnet_plugin.engine import checkpoints

            checkpoints.load(f)  # says in one line what is wrong with it
            raise

    setattr(load, 'heeds_basicsr', True)  # noqa: B010
    torch.load = load
