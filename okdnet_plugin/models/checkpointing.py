"""Saving a training and going on with it: networks and states, what a state decides, what is never saved."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from os import path as osp
from typing import Any, ClassVar, cast

from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from okdnet_plugin.config.registered import OPTIMIZERS
from okdnet_plugin.engine import (
    bn_recalibration,
    checkpoints,
    finetuning,
    finite,
    optimizers,
    randomness,
    state_check,
    validation,
)
from okdnet_plugin.engine.guard import UpdateGuard
from okdnet_plugin.engine.run import Run
from okdnet_plugin.errors import BadUpdatesError
from okdnet_plugin.map_dataset import MapDataset


class Checkpointing(SRModel):
    """What of a model is saved, and taken up again by the run that goes on; the step and the validation are others'."""

    optimized: ClassVar[Mapping[str, str]]
    """Block of a network in the option file -> that of its optimiser under `train`, in the order of the optimisers."""
    run: Run
    current_iter: int
    optimizer_g: Optimizer
    guard: UpdateGuard
    scaler: Any
    cpu_group: Any
    _random_states: dict | None
    _saved_iter: int | None
    _validated: set[tuple[int | str, str]]
    _unvalidated: list[DataLoader]
    _look: Callable[[], None]
    _on_device: Callable[[Tensor], Tensor]
    _is_validated: Callable[[], bool]

    def save_network(self, net: Any, net_label: str, current_iter: Any, param_key: Any = 'params') -> None:
        """As in BasicSR; the best network, which is saved on its own, is looked at first as `save` looks at all.

        Raises:
            BadUpdatesError: it holds values that are not finite.
        """
        if current_iter == 'best':
            self._refuse_what_is_not_finite()
        super().save_network(net, net_label, current_iter, param_key)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save networks and state, give the newest network its second name `net_g_latest.pth`, remove old ones.

        While updates are left out nothing is removed, and the second name stays with an earlier network but at the end.

        Args:
            epoch: for the state; -1 at the end of the training.
            current_iter: iterations made; -1 at the end of the training.

        Raises:
            BadUpdatesError: weights or optimiser hold values that are not finite, or the whole training has made no
                update; nothing is saved, linked or removed.
        """
        if current_iter == -1 and self.opt['train'].get('recalibrate_bn'):
            self._recalibrate_bn(self.opt['train']['recalibrate_bn'])
        current_iter = self.current_iter if current_iter == -1 else current_iter
        if current_iter != self._saved_iter:
            self._look()
            self._refuse_what_is_not_finite()
            if epoch == -1 and 0 < self.current_iter <= self.guard.skipped:
                raise BadUpdatesError(
                    f'none of the {self.current_iter} updates of this training was made, as no loss or gradient was '
                    'finite: the network is what it was at the beginning, and is not saved. Look at the weights that '
                    'it begins with (path:pretrain_network_g), and at the images that the log names'
                )
            super().save(max(epoch, 0), current_iter)
            self._saved_iter = current_iter
        # Also after the state that a killed process has saved as its last work.
        if self.opt['rank'] != 0:
            return
        models, states = self.opt['path']['models'], self.opt['path']['training_states']
        if epoch == -1 or not self.guard.is_leaving_out:
            checkpoints.link(osp.join(models, f'net_g_{current_iter}.pth'), osp.join(models, 'net_g_latest.pth'))
        if self.opt['logger'].get('keep_last') and not self.guard.is_leaving_out:
            checkpoints.keep_newest(self.opt['logger']['keep_last'], current_iter, models, states)

    def _refuse_what_is_not_finite(self) -> None:
        """See that what is to be saved is worth it: a moment that is not finite spoils weights by finite gradients.

        Raises:
            BadUpdatesError: it is not.
        """
        nets = {'the network': self.get_bare_model(self.net_g).parameters()}
        if hasattr(self, 'net_g_ema'):
            nets['the averaged network'] = self.net_g_ema.parameters()
        everything: dict[str, Iterable[Tensor]] = {**nets, 'the optimiser': _tensors_of(self.optimizer_g)}
        values = {name: list(tensors) for name, tensors in everything.items()}
        if finite.are_finite(chain.from_iterable(values.values())):
            return
        spoilt = [name for name, tensors in values.items() if not finite.are_finite(tensors)]
        raise BadUpdatesError(
            f'{" and ".join(spoilt)} of iteration {self.current_iter} hold values that are not finite, so nothing is '
            'saved and no earlier file is touched. Go on from the newest state with --auto_resume, and with '
            'train:grad_clip, or amp: bf16 or off'
        )

    def _recalibrate_bn(self, count: int) -> None:
        """Estimate the BatchNorm statistics of the network that is tested anew, which makes it another one."""
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)
        images = bn_recalibration.images_of_training(self.opt, count)
        layers = bn_recalibration.recalibrate(net, lambda: map(self._on_device, images))
        get_root_logger().info(
            f'BatchNorm statistics of {layers} layers are of {len(images)} whole training images now.'
        )
        self._saved_iter, self._validated = None, set()

    def more_of_training_state(self) -> dict:
        """What a state holds beside BasicSR's keys, gathered from all processes."""
        best = {
            dataset: {name: {**record, 'val': float(record['val'])} for name, record in records.items()}
            for dataset, records in getattr(self, 'best_metric_results', {}).items()
        }
        return {
            'optimizer': type(self.optimizer_g).__name__,
            # Those of the state that the run goes on from, as long as they have not been taken up.
            'random_states': validation.gather(self._random_states or randomness.get_state(), self.cpu_group),
            'best_metric_results': best,
            'scaler': self.scaler.state_dict(),
            'guard': self.guard.state_dict(),
            'is_validated': self._is_validated(),
        }

    @classmethod
    def check_state(cls, opt: Mapping, state: Mapping, path: str) -> None:
        """See that a run can go on from a state, before there is a model; another optimiser is told of later.

        Raises:
            InputError: it cannot.
        """
        name = opt['train']['optim_g']['type']
        if state.get('optimizer', name) != name:
            return
        # A subclass may make optimisers that nothing here knows of.
        keys = 'optimized', 'setup_optimizers'
        owner, other = (next(one for one in cls.__mro__ if key in vars(one)) for key in keys)
        found = [_optimizer_of(opt, *pair) for pair in cls.optimized.items()] if owner is other else [None]
        known = [optimizer for optimizer in found if optimizer is not None]
        if len(known) == len(found):
            state_check.refuse_what_does_not_fit(state, path, known, opt.get('rank', 0), opt.get('world_size', 1))

    def resume_training(self, resume_state: dict) -> None:
        """Take optimisers, schedules, random numbers, best figures and counters up from a state.

        Raises:
            InputError: the state is of another optimiser or schedule.
        """
        super().resume_training(resume_state)
        for optimizer in self.optimizers:
            optimizers.restore_layout(optimizer)
        self.current_iter = self._saved_iter = resume_state['iter']
        if 'random_states' not in resume_state:
            get_root_logger().warning(
                'The state holds no random numbers (another model or version saved it): the run goes on with new ones.'
            )
            return
        states = resume_state['random_states']
        if len(states) == self.opt['world_size']:
            self._random_states = states[self.opt['rank']]
        else:
            get_root_logger().warning(
                f'The state was saved by {len(states)} processes and goes on with {self.opt["world_size"]}: '
                'dropout draws new random numbers.'
            )
        has_metrics = bool((self.opt.get('val') or {}).get('metrics'))
        for dataset, records in resume_state['best_metric_results'].items() if has_metrics else ():
            self._initialize_best_metric_results(dataset)
            known = self.best_metric_results[dataset]
            known.update((metric, record) for metric, record in records.items() if metric in known)
        val = self.opt.get('val')
        if resume_state['is_validated']:
            self._validated = {
                (self.current_iter, cast(MapDataset, loader.dataset).opt['name']) for loader in self.run.val_loaders
            }
        elif val is not None and self.current_iter > 0 and self.current_iter % val['val_freq'] == 0:
            self._unvalidated = list(self.run.val_loaders)
        if self.scaler.is_enabled() and resume_state['scaler']:
            self.scaler.load_state_dict(resume_state['scaler'])
        self.guard.load_state_dict(resume_state['guard'])


def _optimizer_of(opt: Mapping, network: str, optimizer: str) -> Optimizer | None:
    """The optimiser of a network as a training makes it, of parameters without values; None if it cannot be made so."""
    block, arguments, train = {**opt[network]}, {**opt['train'][optimizer]}, opt['train']
    net = state_check.without_values(ARCH_REGISTRY.get(block.pop('type')), block)
    if net is None:
        return None
    chosen = {key: train.get(key) for key in ('freeze', 'lr_factors') if network == 'network_g'}
    try:
        if chosen.get('freeze'):
            finetuning.freeze(net, chosen['freeze'])
        groups = finetuning.groups(net, chosen.get('lr_factors') or {}, arguments['lr'])
        kind = OPTIMIZERS[arguments.pop('type')]
        return kind(groups, **{key: one for key, one in arguments.items() if key not in ('fused', 'foreach')})
    except (KeyError, TypeError, ValueError, RuntimeError):  # of which the model will tell
        return None


def _tensors_of(optimizer: Optimizer) -> list[Tensor]:
    states = optimizer.state.values()
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]
