"""Training of any restoration network of scale 1 by any of the registered losses."""

import contextlib
import copy
import datetime
from collections.abc import Iterable, Mapping
from signal import Signals
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
import torch.distributed
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.lr_scheduler import MultiStepRestartLR
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from okdnet_plugin import files
from okdnet_plugin.config.check import refuse_of_model
from okdnet_plugin.config.keys import options_of
from okdnet_plugin.config.registered import SCHEDULES, find
from okdnet_plugin.config.types import Says, Tile
from okdnet_plugin.engine import (
    batches,
    finetuning,
    optimizers,
    precision,
    randomness,
    state_check,
    workers,
)
from okdnet_plugin.engine.average import Average, decay_after
from okdnet_plugin.engine.guard import Statistics, UpdateGuard
from okdnet_plugin.engine.memory import is_out_of_memory, keep_freed_memory
from okdnet_plugin.engine.run import Run
from okdnet_plugin.engine.signals import StopRequest, exit_code
from okdnet_plugin.engine.sync_batch_norm import synchronise
from okdnet_plugin.engine.torch_versions import (
    compile_network,
    grad_scaler,
    scale_in_place,
    total_norm,
)
from okdnet_plugin.errors import BadUpdatesError, InputError, SaveError, one_line
from okdnet_plugin.models.checkpointing import Checkpointing
from okdnet_plugin.models.restoration_rules import RULES
from okdnet_plugin.models.restoration_step import RestorationStep
from okdnet_plugin.models.validation import Validation

_AMP = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'off': None}
_PATIENCE = datetime.timedelta(days=1)  # of processes that have ended their share of a validation


@MODEL_REGISTRY.register()
class RestorationModel(RestorationStep, Checkpointing, Validation):
    """BasicSR's SRModel with one option block a loss, and with what a modern trainer needs.

    Args:
        opt: the option file, as for SRModel. The blocks of `train` in `loss_blocks` are losses of the restored image,
            each of which can be left out. `Options` are those beyond SRModel's.

    Raises:
        InputError: an option is misspelt, missing, or has a value that there is not.
        UnknownNameError: a metric of `val` or an optimiser is unknown.
        BadUpdatesError: too many updates in a row were not finite.
        SaveError: a checkpoint cannot be written.
        SystemExit: a signal asked the training to stop, and it has; the code is 128 and the signal's number.
    """

    class Options(BaseModel):
        class Train(BaseModel):
            accumulate: Annotated[int, Field(ge=1, le=10**6)] | None = Field(
                1, description='parts of batch_size_per_gpu images each, whose gradients make one update'
            )
            grad_clip: Annotated[float, Field(gt=0), Says('the largest L2 norm of the gradient, as 0.01')] | None = (
                Field(None, description='largest L2 norm of the gradient')
            )
            recalibrate_bn: Annotated[int, Field(ge=0, le=10**6)] | None = Field(
                0,
                description='whole training images on which the BatchNorm statistics of the network that is tested are '
                'estimated anew at the end; 0 for none',
            )
            freeze: list[str] | None = Field(
                None, description='parameters that stay as they are, by patterns of their names, as encoder.*'
            )
            lr_factors: (
                dict[
                    str,
                    Annotated[
                        float,
                        Field(gt=0, le=10**6),
                        Says('a number above 0 and to 1000000; what is to stay as it is belongs into train:freeze'),
                    ],
                ]
                | None
            ) = Field(
                None,
                description='factors of the learning rate by patterns of names of parameters, as {tail.*: 0.1}',
            )
            mixup: batches.Mixup | None = Field(
                None, description='each pair of a batch is mixed with another one of it; for losses of lq and gt alone'
            )
            progressive_sizes: batches.ProgressiveSizes | None = Field(
                None, description='crops that grow and batches that shrink within one training'
            )
            max_bad_steps: Annotated[int, Field(ge=0, le=10**9)] | None = Field(
                50, description='updates in a row that may be left out as they are not finite'
            )

        class Logger(BaseModel):
            keep_last: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
                None, description='saved iterations to keep; ~ for all'
            )
            save_best: str | None = Field(
                None, description='<data set>/<metric> whose best network is kept as net_g_best.pth'
            )

        class Val(BaseModel):
            tile: Tile = Field(
                0,
                description='restore large images in overlapping tiles that share one airlight: auto for images that '
                'need more than half of the free memory, a number for the largest side of a tile in px, 0 for never',
            )
            self_ensemble: bool | None = Field(
                False, description='mean over the eight orientations of an image; takes eight times as long'
            )

        amp: Annotated[Literal['bf16', 'fp16', 'off', False], Says('one of bf16, fp16, off')] | None = Field(
            None, description='autocast of the network in training: bf16, fp16 or off; losses are float32'
        )
        channels_last: bool | None = Field(
            False, description='channels innermost, which is faster but on a CPU with AVX2 alone'
        )
        compile: (
            Literal[True, False, 'default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs'] | None
        ) = Field(None, description='torch.compile of the training: true, or a mode by name')
        tf32: bool | None = Field(False, description='TensorFloat-32 on a GPU, for convolutions too')
        deterministic: bool | None = Field(
            False, description='the same numbers each time on a GPU, or an error for what cannot give them'
        )
        sync_bn: bool | None = Field(False, description='BatchNorm over the images of all processes')
        train: Train = Field(default_factory=lambda: RestorationModel.Options.Train.model_validate({}))
        val: Val = Field(default_factory=lambda: RestorationModel.Options.Val.model_validate({}))
        logger: Logger = Field(default_factory=lambda: RestorationModel.Options.Logger.model_validate({}))

    optimized: ClassVar = {'network_g': 'optim_g'}
    option_rules: ClassVar = RULES
    """What contradicts itself in the option file of a training; see `okdnet_plugin.config.consistency`."""

    def __init__(self, opt: dict):
        self.memory_format = torch.channels_last if opt.get('channels_last') else torch.contiguous_format
        self.run = Run.of(opt)
        if not self.run.is_checked:
            refuse_of_model(opt)
            self.check_options(opt)
        self.options: Any = options_of(type(self), opt)
        self.current_iter = 0
        self._frozen_layers: list[nn.Module] = []
        self._untested, self._failures = len(opt['datasets']), []
        self.amp_dtype = _AMP[_amp_of(opt)]
        precision.use_tf32(bool(opt.get('tf32')))
        if opt.get('deterministic'):
            precision.be_deterministic()
        # Sizes of validation images and stop requests are no work for a GPU; gloo waits as long as it takes.
        self.cpu_group: Any = torch.distributed.new_group(backend='gloo', timeout=_PATIENCE) if opt['dist'] else None
        super().__init__(opt)
        complaint = precision.complaint_about_bf16(self.device) if self.amp_dtype is torch.bfloat16 else None
        if self.is_train and complaint is not None:
            get_root_logger().warning(complaint)
        is_unset = not self.is_train and opt['path'].get('pretrain_network_g') is None
        if is_unset and any(True for _ in self.net_g.parameters()):
            get_root_logger().warning(
                f'{type(self.get_bare_model(self.net_g)).__name__} is tested with random weights, as no file is given; '
                'write path:pretrain_network_g, for example experiments/NAME/models/net_g_latest.pth'
            )

    # -------------------------------------------------------------------------------------------------------- options

    @classmethod
    def check_options(cls, opt: dict) -> None:
        """Find what could not be trained with these devices; the rest is for `okdnet_plugin.config` to find.

        Raises:
            InputError: so it is.
        """
        for key in ('amp', 'compile', 'sync_bn') if opt['is_train'] else ():
            if opt.get(key) not in (None, False, 'off') and not opt['dist'] and (opt['num_gpu'] or 0) > 1:
                raise InputError(
                    f'option {key} needs a process for each of the {opt["num_gpu"]} GPUs: start with '
                    'scripts/dist_train.sh, or set num_gpu: 1'
                )
        if opt['is_train']:
            cls.check_training(opt)

    @classmethod
    def check_training(cls, opt: Mapping) -> None:
        """Find what no training can be made with, on any device: patterns of no parameter, arguments of the schedule.

        Raises:
            InputError: so it is.
        """
        train = opt['train']
        if train.get('freeze') or train.get('lr_factors'):
            block: dict = copy.deepcopy(dict(opt['network_g']))
            make: Any = find('network', block.pop('type'))
            net = state_check.without_values(make, block)
            if net is None:
                with torch.random.fork_rng(devices=[]):
                    net = make(**block)  # not by build_network, whose log has no file yet
            names = [name for name, _ in net.named_parameters()]
            for key in ('freeze', 'lr_factors'):
                finetuning.check(names, train.get(key) or (), key)
            if train.get('freeze'):
                finetuning.freeze(net, train['freeze'])
        of_maps = [f'{name}_opt' for name in cls.of_a_batch if train.get(f'{name}_opt')]
        if train.get('mixup') and of_maps:
            raise InputError(
                f'option train:mixup: two hazes laid over one another have no {of_maps[0].removesuffix("_opt")}, with '
                f'which train:{of_maps[0]} compares; take one of both out'
            )
        probe = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1, momentum=0.9)
        _schedule(probe, train['scheduler'])

    # ---------------------------------------------------------------------------------------------------- setting up

    def model_to_device(self, net: nn.Module) -> nn.Module:
        # Torch's hints leave this argument out.
        net = cast('Any', net).to(memory_format=self.memory_format)
        if self.is_train:
            frozen = self.opt['train'].get('freeze') if net is self.net_g else None
            if self.opt.get('sync_bn') and self.opt['dist']:
                net = synchronise(net, self.device)
            if frozen:  # after BatchNorm layers have been replaced
                self._frozen_layers = finetuning.freeze(net, frozen)
            mode = self.opt.get('compile')
            if mode:
                compile_network(net, None if mode is True else mode)
        if not any(parameter.requires_grad for parameter in net.parameters()):
            return net.to(self.device)  # DistributedDataParallel refuses what has nothing to share
        return super().model_to_device(net)

    def init_training_settings(self) -> None:
        if self.device.type == 'cpu':
            keep_freed_memory()
        self.net_g.train()
        self.statistics = Statistics(self.get_bare_model(self.net_g))
        self.setup_ema()
        self.setup_losses()
        self.setup_optimizers()
        self.setup_schedulers()
        train = self.opt['train']
        self.accumulate = train.get('accumulate') or 1
        self.grad_clip = train.get('grad_clip')
        self.scaler = grad_scaler(self.device, enabled=self.amp_dtype is torch.float16)
        self.guard = UpdateGuard(self.options.train.max_bad_steps, get_root_logger())
        self.stop_request = StopRequest(self.cpu_group)
        self._random_states = None  # to be taken up with the first iteration after a resume
        self._saved_iter = None
        self._stage = None  # of progressive_sizes
        self._is_updating = False
        self._validated = set()
        self._unvalidated = []  # to be made up for after a resume
        if self.run.is_begun:
            self.stop_request.install()
            self.run.rescue = self._save_after_failure
            if self.opt['rank'] == 0:
                folders = ('experiments_root', 'models', 'training_states', 'visualization')  # any may be a link
                files.remove_leftovers(*(self.opt['path'][key] for key in folders))

    def setup_ema(self) -> None:
        """Make the averaged copy of the network, from the resumed or pretrained file where there is one."""
        self.ema_decay = self.opt['train'].get('ema_decay', 0)
        if self.ema_decay == 0:
            return
        get_root_logger().info(f'Use Exponential Moving Average with decay: {self.ema_decay}')
        self.net_g_ema = build_network(self.opt['network_g']).to(self.device, memory_format=self.memory_format)
        self.average = Average(self.net_g_ema, self.get_bare_model(self.net_g))
        total, needed = self.opt['train'].get('total_iter'), round(3 / (1 - self.ema_decay))
        if total is not None and total < needed:
            get_root_logger().info(
                f'train:ema_decay {self.ema_decay} takes full effect after about {needed} updates, and total_iter is '
                f'{total}: the average looks back over a tenth of the updates made; a lower decay suits a short run.'
            )
        path = self.opt['path'].get('pretrain_network_g')
        if path is None:
            self.model_ema(0)
        else:
            key = 'params_ema' if self.opt['path'].get('param_key_g', 'params') else None  # None: the weights alone
            self.load_network(self.net_g_ema, path, self.opt['path'].get('strict_load_g', True), key)
        self.net_g_ema.eval()

    def model_ema(self, decay: float = 0.999) -> None:
        """Let the averaged network follow; BasicSR's formula, for BatchNorm's statistics as for weights."""
        self.average.update(decay)

    def make_loss(self, block: Mapping) -> nn.Module:
        """A loss that is registered in BasicSR."""
        return build_loss(block)

    def setup_losses(self) -> None:
        """Build the losses that the option file gives."""
        super().setup_losses()
        self._unused_losses = set(self.losses)  # until the first step has used them
        for key, loss in self.losses.items():
            loss.register_forward_pre_hook(lambda *_, key=key: self._unused_losses.discard(key))

    def get_optimizer(self, optim_type: str, params: Iterable[Any], lr: float, **kwargs: Any) -> Optimizer:
        """Any optimiser of torch.optim that needs no closure."""
        params = list(params)
        if not params:
            raise InputError(f'{self.opt["network_g"]["type"]} has nothing to train; use it with basicsr test')
        return optimizers.build(optim_type, params, lr=lr, **kwargs)

    def setup_optimizers(self) -> None:
        train, net = self.opt['train'], self.get_bare_model(self.net_g)
        arguments = {key: one for key, one in train['optim_g'].items() if key != 'type'}
        groups = finetuning.groups(net, train.get('lr_factors') or {}, arguments['lr'])
        self.optimizer_g = self.get_optimizer(train['optim_g']['type'], groups, **arguments)
        self.optimizers.append(self.optimizer_g)
        trained, total = (
            sum(one.numel() for one in some)
            for some in ((one for group in groups for one in group['params']), net.parameters())
        )
        if trained < total:
            get_root_logger().info(f'{trained:,d} of {total:,d} parameters are trained.')

    def setup_schedulers(self) -> None:
        self.schedulers += [_schedule(optimizer, self.opt['train']['scheduler']) for optimizer in self.optimizers]

    # ------------------------------------------------------------------------------------------------- an iteration

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Begin an iteration: stop instead if a signal has asked for it, then set the learning rate."""
        signal = self.stop_request.agreed()
        if signal is not None:
            self._stop(signal)
        self._validate_if_due()
        if self._random_states is not None:
            randomness.set_state(self._random_states)
            self._random_states = None
        for scheduler in self.schedulers:
            if type(scheduler) in SCHEDULES.values():  # those of torch go on from their last rate, not from a warm-up's
                for group, lr in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr(), strict=True):
                    group['lr'] = lr
        super().update_learning_rate(current_iter, warmup_iter)
        if current_iter == warmup_iter and all(isinstance(s, MultiStepRestartLR) for s in self.schedulers):
            # BasicSR ends one iteration early, and this schedule goes on from the last rate.
            self._set_lr(self._get_init_lr())

    def feed_data(self, data: dict) -> None:
        self.lq = self._on_device(data['lq'])
        vars(self).pop('gt', None)  # of the batch before this one
        if 'gt' in data:
            self.gt = self._on_device(data['gt'])
        self.lq_path = data.get('lq_path', [])

    def _on_device(self, images: Tensor) -> Tensor:
        if images.is_cuda:  # from BasicSR's prefetcher, which made them on another stream
            images.record_stream(torch.cuda.current_stream())
        return images.to(self.device, memory_format=self.memory_format, non_blocking=True)

    def optimize_parameters(self, current_iter: int) -> None:
        self.prepare_step(current_iter)
        self._is_updating = True  # and stays so where an error ends it
        with workers.undisturbed():
            self._make_a_step(current_iter)
        self._is_updating = False

    def _make_a_step(self, current_iter: int) -> None:
        self.current_iter = current_iter
        self._prepare_batch()
        for layer in self._frozen_layers:
            layer.eval()  # a validation has set them to train
        self.optimizer_g.zero_grad()
        self.statistics.note()
        try:
            losses = self._accumulate_gradients()
        except (RuntimeError, MemoryError) as error:
            self._explain(error, is_whole=True)
            raise
        self._refuse_unused_losses()
        try:
            self._update(losses)
        except (RuntimeError, MemoryError) as error:
            self._explain(error, is_whole=False)
            raise
        self._losses = losses
        if self.ema_decay > 0:
            self.model_ema(decay_after(current_iter - 1, self.ema_decay))
        self.run.journal.advance()

    def _explain(self, error: RuntimeError | MemoryError, is_whole: bool) -> None:
        """Say in one line what a step has failed for, if the cure is in the option file.

        Args:
            error: what the step has met.
            is_whole: no weight has been updated by the step; where memory was short the network is saved then.

        Raises:
            InputError: it is.
        """
        if precision.is_not_deterministic(error):
            raise InputError(
                f'option deterministic: {_first_line(error)}; take it out, or use another network or loss'
            ) from error
        if not is_out_of_memory(error):
            return
        count, _, height, width = self.lq.shape
        saved = self._save_before_the_end() if is_whole else ''
        raise InputError(
            f'iteration {self.current_iter}: the memory of {self.device} is too small for {count} images of '
            f'{height}x{width} px at once{saved}. Lower datasets:train:batch_size_per_gpu, for which train:accumulate '
            f'makes up, or gt_size, or use amp: bf16 ({_first_line(error)})'
        ) from error

    def _save_before_the_end(self) -> str:
        """Save the network of the iteration before, where it can be; says so."""
        before = self.current_iter - 1
        if self.opt['rank'] != 0 or before < 1 or before == self._saved_iter or 'models' not in self.opt['path']:
            return ''
        try:
            self.optimizer_g.zero_grad()
            self.statistics.take_back_if(torch.tensor(True, device=self.device))
            return self._save_network_of(before)
        except (BadUpdatesError, SaveError, RuntimeError, MemoryError):
            return ''

    def _save_after_failure(self) -> str:
        """Save the training after its last iteration, if that is whole; of several processes the network alone."""
        iteration = self.current_iter
        if self._is_updating or iteration < 1 or (self.opt['dist'] and self.opt['rank'] != 0):
            return ''
        try:
            if self.opt['dist']:  # a state takes all processes, and the others may wait for this one
                return self._save_network_of(iteration)
            with workers.undisturbed():
                self.save(0, iteration)
        except (BadUpdatesError, SaveError, RuntimeError, MemoryError):
            return ''
        return f'; iteration {iteration} is saved: remove the cause, then go on with --auto_resume'

    def _save_network_of(self, iteration: int) -> str:
        self._refuse_what_is_not_finite()
        nets = {'params': self.net_g} | ({'params_ema': self.net_g_ema} if hasattr(self, 'net_g_ema') else {})
        self.save_network(list(nets.values()), 'net_g', iteration, param_key=list(nets))
        return f'; the network of iteration {iteration} is saved as net_g_{iteration}.pth'

    def _refuse_unused_losses(self) -> None:
        if self._unused_losses:
            key = sorted(self._unused_losses)[0]
            raise InputError(
                f'option train:{key}: {type(self).__name__} declares this loss in loss_blocks and does not compute it; '
                'compute it in compute_losses(), or take it out of other_loss_blocks'
            )

    def _prepare_batch(self) -> None:
        """Make of the batch what the step is to be made on: `progressive_sizes`, then `mixup`."""
        sizes, mixup = self.options.train.progressive_sizes, self.options.train.mixup
        batch = self._batch()
        if sizes:
            stage = sizes.stage(self.current_iter)
            batch = sizes.part_of(batch, stage, self.accumulate)
            if stage != self._stage:
                count, edge = len(batch['lq']) // self.accumulate, sizes.gt_sizes[stage]
                get_root_logger().info(f'From iteration {self.current_iter} on: {count} images of {edge}x{edge} px.')
            self._stage, self.lq_path = stage, self.lq_path[: len(batch['lq'])]
        if mixup:
            batch = batches.mixed(batch, mixup)
        for name, images in batch.items() if sizes or mixup else ():
            setattr(self, name, images.contiguous(memory_format=self.memory_format))

    def _batch(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.of_a_batch if hasattr(self, name)}

    def _accumulate_gradients(self) -> dict[str, Tensor]:
        """Gradients of all parts of the batch; returns the losses, each a mean over the parts."""
        batch = self._batch()
        parts = list(zip(*(tensor.chunk(self.accumulate) for tensor in batch.values()), strict=True))
        totals: dict[str, Tensor] = {}
        for number, part in enumerate(parts, 1):
            vars(self).update(zip(batch, part, strict=True))
            with contextlib.ExitStack() as stack:
                if number < len(parts) and isinstance(self.net_g, DistributedDataParallel):
                    stack.enter_context(self.net_g.no_sync())
                losses = self.compute_losses()
                loss = _share(_sum(losses.values()), len(parts))
                # Not finite in one process: not finite in the gradients of all, which DDP averages.
                loss = loss * (1 + 0 * loss.detach())
                self.scaler.scale(loss).backward()
            for name, value in losses.items():
                share = _share(value.detach(), len(parts))
                totals[name] = totals[name] + share if name in totals else share
        vars(self).update(batch)
        return totals

    def _update(self, losses: Mapping[str, Tensor]) -> None:
        self.scaler.unscale_(self.optimizer_g)
        gradients = [
            parameter.grad
            for group in self.optimizer_g.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        norm = total_norm(gradients)
        is_bad = ~torch.isfinite(norm)
        if self.grad_clip is not None:
            scale = (self.grad_clip / (norm + 1e-6)).clamp(max=1)
            scale_in_place(gradients, scale)
        self._step_unless(is_bad)
        self.guard.note(self.current_iter, is_bad, _sum(losses.values()), self.lq_path)
        self.statistics.take_back_if(is_bad)
        if self.device.type == 'cpu':
            self._look()

    def _step_unless(self, is_bad: Tensor) -> None:
        optimizer: Any = self.optimizer_g  # a fused one has two attributes that the class does not declare
        if self.device.type != 'cpu' and optimizers.heeds_flag(optimizer):
            # Fused kernels look at the flag themselves, on the device, as they do for a GradScaler.
            optimizer.grad_scale, optimizer.found_inf = None, is_bad.float()
            optimizer.step()
            del optimizer.grad_scale, optimizer.found_inf
        elif not is_bad:
            optimizer.step()
        self.scaler.update()  # of the gradients that it has unscaled; nothing without float16

    def _look(self) -> None:
        try:
            self.guard.look(self.scaler.get_scale() if self.scaler.is_enabled() else None)
        except BadUpdatesError:
            # Beside the others, none of which goes: the update before these may have been the ruinous one.
            self._refuse_what_is_not_finite()
            SRModel.save(self, 0, self.current_iter)
            raise

    def get_current_log(self) -> dict[str, float]:
        """Losses of the last iteration, averaged over the processes; all of them have to ask."""
        self._look()
        self.log_dict = self.reduce_loss_dict(self._losses)
        return self.log_dict

    # ------------------------------------------------------------------------------------------------------ stopping

    def _stop(self, signal: Signals) -> None:
        self.save(0, self.current_iter)
        get_root_logger().info(
            f'Stopped by {signal.name} after iteration {self.current_iter}, which is saved; go on with --auto_resume.'
        )
        self.run.journal.close()
        raise SystemExit(exit_code(signal))


def _schedule(optimizer: Optimizer, block: Mapping) -> Any:
    """
    Raises:
        InputError: the schedule refuses its arguments.
    """
    kind: Any = find('scheduler', block['type'])
    try:
        return kind(optimizer, **{key: one for key, one in block.items() if key != 'type'})
    except (TypeError, ValueError, AssertionError) as error:
        raise InputError(f'option train:scheduler: {block["type"]} cannot be made: {one_line(error)}') from error


def _sum(losses: Iterable[Tensor]) -> Tensor:
    first, *others = losses
    return sum(others, first)


def _share(value: Tensor, count: int) -> Tensor:
    return value / count if count > 1 else value


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).split('. ')[0]


def _amp_of(opt: Mapping) -> str:
    return opt.get('amp') or 'off'  # YAML reads a bare `off` as false
