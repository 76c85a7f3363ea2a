"""Training of any restoration network of scale 1 by any of the registered losses."""

import contextlib
import datetime
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from os import path as osp
from signal import Signals
from typing import Annotated, Any, ClassVar, Literal, cast

import cv2
import numpy as np
import torch
import torch.distributed
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.models.lr_scheduler import MultiStepRestartLR
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, tensor2img
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from tqdm import tqdm

from okdnet_plugin.config.check import refuse_of_model
from okdnet_plugin.config.keys import options_of
from okdnet_plugin.config.types import Says
from okdnet_plugin.data.options import located
from okdnet_plugin.engine import checkpoints, optimizers, randomness, validation
from okdnet_plugin.engine.guard import Statistics, UpdateGuard
from okdnet_plugin.engine.memory import keep_freed_memory
from okdnet_plugin.engine.run import Run
from okdnet_plugin.engine.signals import StopRequest, exit_code
from okdnet_plugin.engine.sync_batch_norm import synchronise
from okdnet_plugin.engine.torch_versions import (
    compile_network,
    cpu_has_bf16,
    grad_scaler,
    scale_in_place,
    total_norm,
    uncompiled,
)
from okdnet_plugin.engine.validation import Figures, Mean
from okdnet_plugin.errors import BadUpdatesError, InputError, StoreError, message_of
from okdnet_plugin.hints import MapDataset

_AMP = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'off': None}
_USUAL_SIZE = 256, 256
_Compile = Literal[True, False, 'default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs']
_PATIENCE = datetime.timedelta(days=1)  # of processes that have ended their share of a validation


@MODEL_REGISTRY.register()
class RestorationModel(SRModel):
    """The toolbox's SRModel with one option block a loss, and with what a modern trainer needs.

    Args:
        opt: the option file, as for SRModel. The blocks of `train` in `loss_blocks` are losses of the restored picture,
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
                1, description='parts of batch_size_per_gpu pictures each, whose gradients make one update'
            )
            grad_clip: Annotated[float, Field(gt=0), Says('the largest L2 norm of the gradient, as 0.01')] | None = (
                Field(None, description='largest L2 norm of the gradient')
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

        amp: Annotated[Literal['bf16', 'fp16', 'off', False], Says('one of bf16, fp16, off')] | None = Field(
            None, description='autocast of the network in training: bf16, fp16 or off; losses are float32'
        )
        channels_last: bool | None = Field(False, description='channels innermost, which is faster')
        compile: (
            Literal[True, False, 'default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs'] | None
        ) = Field(None, description='torch.compile of the training: true, or a mode by name')
        tf32: bool | None = Field(None, description='TensorFloat-32 on a GPU')
        sync_bn: bool | None = Field(False, description='BatchNorm over the pictures of all processes')
        train: Train = Train()
        logger: Logger = Logger()

    # Block of the option file under `train` -> name of its value in the log.
    loss_blocks: ClassVar = {'pixel_opt': 'l_pix', 'ssim_opt': 'l_ssim', 'perceptual_opt': 'l_percep'}

    def __init__(self, opt: dict):
        self.memory_format = torch.channels_last if opt.get('channels_last') else torch.contiguous_format
        self.run = Run.of(opt)
        if not self.run.is_checked:
            refuse_of_model(opt)
            self.check_options(opt)
        self.options: Any = options_of(type(self), opt)
        self.current_iter = 0
        self._untested, self._failures = len(opt['datasets']), []
        self.amp_dtype = _AMP[_amp_of(opt)]
        if opt.get('tf32') is not None:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = opt['tf32']
        # Sizes of validation pictures and stop requests are no work for a GPU; gloo waits as long as it takes.
        self.cpu_group: Any = torch.distributed.new_group(backend='gloo', timeout=_PATIENCE) if opt['dist'] else None
        super().__init__(opt)
        if self.is_train and self.amp_dtype is torch.bfloat16 and self.device.type == 'cpu' and not cpu_has_bf16():
            get_root_logger().warning('amp: bf16 is slower than float32 on this CPU, which has no instructions for it.')

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

    # ---------------------------------------------------------------------------------------------------- setting up

    def model_to_device(self, net: nn.Module) -> nn.Module:
        # Torch's hints leave this argument out.
        net = cast('Any', net).to(memory_format=self.memory_format)
        if self.is_train:
            if self.opt.get('sync_bn') and self.opt['dist']:
                net = synchronise(net, self.device)
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
        self._saved_iter: int | None = None
        self._validated: set[tuple[int | str, str]] = set()
        self._unvalidated: list[DataLoader] = []  # to be made up for after a resume
        if self.run.is_begun:
            self.stop_request.install()
            if self.opt['rank'] == 0:
                checkpoints.remove_leftovers(*(self.opt['path'][key] for key in ('models', 'training_states', 'log')))

    def setup_ema(self) -> None:
        """Make the averaged copy of the network, from the resumed or pretrained file where there is one."""
        self.ema_decay = self.opt['train'].get('ema_decay', 0)
        if self.ema_decay == 0:
            return
        get_root_logger().info(f'Use Exponential Moving Average with decay: {self.ema_decay}')
        self.net_g_ema = build_network(self.opt['network_g']).to(self.device, memory_format=self.memory_format)
        path = self.opt['path'].get('pretrain_network_g')
        if path is None:
            self.model_ema(0)
        else:
            key = 'params_ema' if self.opt['path'].get('param_key_g', 'params') else None  # None: the weights alone
            self.load_network(self.net_g_ema, path, self.opt['path'].get('strict_load_g', True), key)
        self.net_g_ema.eval()

    def setup_losses(self) -> None:
        """Build the losses that the option file gives."""
        train_opt = self.opt['train']
        self.losses = {
            key: build_loss(train_opt[key]).to(self.device) for key in self.loss_blocks if train_opt.get(key)
        }

    def get_optimizer(self, optim_type: str, params: Iterable[Any], lr: float, **kwargs: Any) -> Optimizer:
        """Any optimiser of torch.optim that needs no closure."""
        params = list(params)
        if not params:
            raise InputError(f'{self.opt["network_g"]["type"]} has nothing to train; use it with basicsr test')
        return optimizers.build(optim_type, params, lr=lr, **kwargs)

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
        super().update_learning_rate(current_iter, warmup_iter)
        if current_iter == warmup_iter and all(isinstance(s, MultiStepRestartLR) for s in self.schedulers):
            # The toolbox ends one iteration early, and this schedule goes on from the last rate.
            self._set_lr(self._get_init_lr())

    def feed_data(self, data: dict) -> None:
        self.lq = self._on_device(data['lq'])
        vars(self).pop('gt', None)  # of the batch before this one
        if 'gt' in data:
            self.gt = self._on_device(data['gt'])
        self.lq_path = data.get('lq_path', [])

    def _on_device(self, pictures: Tensor) -> Tensor:
        if pictures.is_cuda:  # from the toolbox's prefetcher, which made them on another stream
            pictures.record_stream(torch.cuda.current_stream())
        return pictures.to(self.device, memory_format=self.memory_format, non_blocking=True)

    def optimize_parameters(self, current_iter: int) -> None:
        self.current_iter = current_iter
        self.optimizer_g.zero_grad()
        net = self.get_bare_model(self.net_g)
        statistics = Statistics(net)
        losses = self._accumulate_gradients()
        self._update(losses, statistics)
        self._losses = losses
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        self.run.journal.advance()

    def _accumulate_gradients(self) -> dict[str, Tensor]:
        """Gradients of all parts of the batch; returns the losses, each a mean over the parts."""
        batch = self.lq, self.gt
        parts = list(zip(*(tensor.chunk(self.accumulate) for tensor in batch), strict=True))
        totals: dict[str, Tensor] = {}
        for number, (self.lq, self.gt) in enumerate(parts, 1):
            with contextlib.ExitStack() as stack:
                if number < len(parts) and isinstance(self.net_g, DistributedDataParallel):
                    stack.enter_context(self.net_g.no_sync())
                losses = self.compute_losses()
                loss = _sum(losses.values()) / len(parts)
                # Not finite in one process: not finite in the gradients of all, which DDP averages.
                loss = loss * (1 + 0 * loss.detach())
                self.scaler.scale(loss).backward()
            for name, value in losses.items():
                share = value.detach() / len(parts)
                totals[name] = totals[name] + share if name in totals else share
        self.lq, self.gt = batch
        return totals

    def _update(self, losses: Mapping[str, Tensor], statistics: Statistics) -> None:
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
        statistics.take_back_if(is_bad)
        if self.device.type == 'cpu':
            self._look()

    def _step_unless(self, is_bad: Tensor) -> None:
        optimizer: Any = self.optimizer_g  # a fused one has two attributes that the class does not declare
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
            self.scaler.update()
        elif self.device.type != 'cpu' and _heeds_flag(optimizer):
            # Fused kernels look at the flag themselves, on the device, as they do for a GradScaler.
            optimizer.grad_scale, optimizer.found_inf = None, is_bad.float()
            optimizer.step()
            del optimizer.grad_scale, optimizer.found_inf
        elif not is_bad:
            optimizer.step()

    def _look(self) -> None:
        try:
            self.guard.look()
        except BadUpdatesError:
            # Beside the others, none of which goes: the update before these may have been the ruinous one.
            super().save(0, self.current_iter)
            raise

    def compute_losses(self) -> dict[str, Tensor]:
        """Restore the batch and compare it with the clear pictures.

        Returns:
            The parts of the loss by their names in the log, each a scalar; their sum is minimised.
        """
        self.output = self.restore()
        return self.picture_losses(self.output)

    def restore(self, **keywords: object) -> Any:
        """What the network makes of the batch, under autocast; its tensors, also those of a NamedTuple, as float32."""
        with torch.autocast(self.device.type, self.amp_dtype, enabled=self.amp_dtype is not None):
            result = self.net_g(self.lq, **keywords)
        return result.float() if isinstance(result, Tensor) else type(result)(*(tensor.float() for tensor in result))

    def picture_losses(self, picture: Tensor) -> dict[str, Tensor]:
        """The losses between a restored picture and the clear one, shapes (N, 3, H, W)."""
        losses = OrderedDict()
        for key in ('pixel_opt', 'ssim_opt'):
            if key in self.losses:
                losses[self.loss_blocks[key]] = self.losses[key](picture, self.gt)
        if 'perceptual_opt' in self.losses:
            parts = zip(('l_percep', 'l_style'), self.losses['perceptual_opt'](picture, self.gt), strict=True)
            losses.update((name, value) for name, value in parts if value is not None)
        return losses

    def get_current_log(self) -> dict[str, float]:
        """Losses of the last iteration, averaged over the processes; all of them have to ask."""
        self._look()
        self.log_dict = self.reduce_loss_dict(self._losses)
        return self.log_dict

    # ------------------------------------------------------------------------------------------- saving and going on

    def save(self, epoch: int, current_iter: int) -> None:
        """Save networks and state, give the newest network its second name `net_g_latest.pth`, remove old ones.

        Args:
            epoch: for the state; -1 at the end of the training.
            current_iter: iterations made; -1 at the end of the training.
        """
        current_iter = self.current_iter if current_iter == -1 else current_iter
        if current_iter != self._saved_iter:
            self._look()
            super().save(max(epoch, 0), current_iter)
            self._saved_iter = current_iter
        # Also after the state that a killed process has saved as its last work.
        if self.opt['rank'] != 0:
            return
        models, states = self.opt['path']['models'], self.opt['path']['training_states']
        checkpoints.link(osp.join(models, f'net_g_{current_iter}.pth'), osp.join(models, 'net_g_latest.pth'))
        if self.opt['logger'].get('keep_last'):
            checkpoints.keep_newest(self.opt['logger']['keep_last'], current_iter, models, states)

    def more_of_training_state(self) -> dict:
        """What a state holds beside the toolbox's keys, gathered from all processes."""
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

    def resume_training(self, resume_state: dict) -> None:
        """Take optimisers, schedules, random numbers, best figures and counters up from a state.

        Raises:
            InputError: the state is of another optimiser.
        """
        self._check_optimizer_of(resume_state)
        super().resume_training(resume_state)
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

    def _check_optimizer_of(self, state: dict) -> None:
        """Say what of the option file does not count, because the state decides it."""
        name = type(self.optimizer_g).__name__
        if state.get('optimizer', name) != name:
            raise InputError(
                f'option train:optim_g:type is {name}, but the state is of {state["optimizer"]}; write that again, or '
                'begin a new run from the weights by path:pretrain_network_g'
            )
        of_state = state['optimizers'][0]['param_groups'][0]
        # How an update is computed is no part of what it is.
        for group in state['optimizers'][0]['param_groups']:
            group.update({key: self.optimizer_g.defaults[key] for key in ('fused', 'foreach') if key in group})
        for key, wanted in self.optimizer_g.defaults.items():
            saved = of_state.get('initial_lr' if key == 'lr' else key)  # the rate itself follows the schedule
            if None not in (wanted, saved) and _plain(saved) != _plain(wanted):
                get_root_logger().warning(
                    f'option train:optim_g:{key} is {wanted}, but the run goes on with {saved}, as its state says; for '
                    'another value begin a new run from the weights by path:pretrain_network_g'
                )

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """As in the toolbox.

        Raises:
            InputError: the file is damaged, holds objects that could run code, or does not fit the network.
        """
        try:
            super().load_network(net, load_path, strict, param_key)
        except Exception as error:
            content: Any = checkpoints.load(load_path)  # says what is wrong with the file, if that is it
            if isinstance(error, KeyError):
                raise InputError(
                    f"{load_path} has no '{param_key}', but {', '.join(list(content)[:3])} …; write one of its keys as "
                    'param_key_g, or param_key_g: ~ if it holds the weights alone'
                ) from error
            if isinstance(error, RuntimeError) and 'loading state_dict' in str(error):
                text = ' '.join(str(error).split())
                raise InputError(
                    f'{load_path} does not fit the network: {text[:300]}{" …" if len(text) > 300 else ""}; give the '
                    'weights of this network, with the same arguments'
                ) from error
            raise

    def _print_different_keys_loading(self, crt_net: nn.Module, load_net: dict, strict: bool = True) -> None:
        """As in the toolbox, but not for a strict load, which says by itself what does not fit.

        Before it, keys may still have other names: some networks take the weights that their authors published.
        """
        if not strict:
            super()._print_different_keys_loading(crt_net, load_net, strict)

    def _stop(self, signal: Signals) -> None:
        self.save(0, self.current_iter)
        get_root_logger().info(
            f'Stopped by {signal.name} after iteration {self.current_iter}, which is saved; go on with --auto_resume.'
        )
        self.run.journal.close()
        raise SystemExit(exit_code(signal))

    # --------------------------------------------------------------------------------------------------- validation

    def validation(
        self, dataloader: DataLoader, current_iter: int | str, tb_logger: object, save_img: bool = False
    ) -> None:
        """Restore the pictures of a data set, all processes their share, and log the means of the metrics.

        While training, pictures are saved as strips hazy | result | clear; in a test as they are. What has been
        validated at this iteration is not validated again, as the toolbox does at the end of a training.

        A picture that cannot be read or restored ends a training. A test leaves it out.

        Raises:
            InputError: so it is; in a test, with its last data set, after all other pictures are done.
            StoreError: the pictures cannot be read at all.
        """
        opt, dataset = self.opt, cast(MapDataset, dataloader.dataset)
        name = dataset.opt['name']
        if self.is_train:
            current_iter = self.current_iter  # the toolbox gives one more at the end of the training
            if (current_iter, name) in self._validated:
                return
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)
        validation.share_buffers(net, self.cpu_group)
        loader = validation.loader_of_share(dataset, opt['rank'], opt['world_size'], self._num_workers(dataset.opt))
        share: list[Figures] = []
        failures: list[str] = []
        is_hidden = opt['rank'] != 0 or not opt['val'].get('pbar', False)
        read = self._read(loader, failures)
        for data in self._until_stopped(tqdm(read, None, len(loader), leave=False, unit='image', disable=is_hidden)):
            with self._noting(failures, f'phase {dataset.opt["phase"]}, data set {name}'):
                share.append(self._figures_of(data, name, current_iter, save_img))
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()  # pictures of all sizes have left blocks that no batch fits
        is_whole = len(share) + len(failures) == len(loader)
        shares = validation.gather((share, failures, None if is_whole else self.stop_request.signal), self.cpu_group)
        signals = [signal for *_, signal in shares if signal is not None]
        if signals:
            self._stop(signals[0])
        figures = list(chain.from_iterable(share for share, *_ in shares))
        means = validation.means_of(figures)
        left_out = [metric for metric in opt['val'].get('metrics') or {} if figures and metric not in means]
        if left_out:
            get_root_logger().info(f'{name} has no clear pictures, which {", ".join(left_out)} would need.')
        if means:
            self._note_means(means, name, current_iter, tb_logger)
        if self.is_train:
            self._validated.add((current_iter, name))
            if self._saved_iter == current_iter and self._is_validated():
                self.save_training_state(0, self.current_iter)  # with the best figures, and that they are known
        else:
            self._end_test_of(name, sorted(chain.from_iterable(failures for _, failures, _ in shares)))

    def _read(self, loader: DataLoader, failures: list[str]) -> Iterator[dict]:
        batches = iter(loader)
        for _ in range(len(loader)):
            batch = None
            with self._noting(failures):
                batch = next(batches)
            if batch is not None:
                yield batch

    @contextlib.contextmanager
    def _noting(self, failures: list[str], where: str | None = None) -> Iterator[None]:
        """Note, in a test, what is wrong with a picture, instead of ending with it.

        Args:
            failures: takes the message up.
            where: goes before it, if it does not say so itself.
        """
        try:
            yield
        except StoreError:
            raise
        except InputError as error:
            message = message_of(error) if where is None else f'{where}: {error}'
            if self.is_train:
                raise InputError(message) from error
            failures.append(message)

    def _end_test_of(self, dataset_name: str, failures: list[str]) -> None:
        """Say what has been left out of a data set; after the last one, that it fails the test."""
        for failure in failures:
            get_root_logger().warning(f'Left out: {failure}.')
        if failures:
            get_root_logger().warning(f'{dataset_name}: {len(failures)} pictures are left out, also of the means.')
        self._failures += failures
        self._untested -= 1
        if self._failures and self._untested <= 0:
            count = len(self._failures)
            others = f'{count} such pictures, named in the log, are left out; ' if count > 1 else ''
            raise InputError(f'{self._failures[0]} ({others}the others are done)')

    def _is_validated(self) -> bool:
        """All data sets have been validated at this iteration."""
        names = {cast(MapDataset, loader.dataset).opt['name'] for loader in self.run.val_loaders}
        return names <= {name for iteration, name in self._validated if iteration == self.current_iter}

    def _num_workers(self, block: Mapping) -> int:
        train = self.opt['datasets'].get('train', {})
        return block.get('num_worker_per_gpu', train.get('num_worker_per_gpu', 1))

    def _until_stopped(self, pictures: Iterable[dict]) -> Iterator[dict]:
        for data in pictures:
            if self.is_train and self.stop_request.signal is not None:
                return
            yield data

    def _figures_of(self, data: dict, dataset_name: str, current_iter: int | str, save_img: bool) -> Figures:
        index = int(data.pop('index'))
        pictures = self.restore_picture(data)
        if save_img:
            self._save_picture(pictures, data['lq_path'][0], dataset_name, current_iter)
        with located(data['lq_path'][0]):
            return Figures(index, validation.figures_of(pictures, self.opt['val'].get('metrics') or {}))

    def restore_picture(self, data: dict) -> dict[str, np.ndarray]:
        """What becomes of one picture of a test.

        Args:
            data: batch of one, as a loader gives it.

        Returns:
            lq, result and, if there is one, gt: uint8 BGR, (H, W, 3).

        Raises:
            InputError: the network does not restore pictures of this size.
        """
        self.feed_data(data)
        with uncompiled(self.get_bare_model(self.net_g)):  # pictures have many sizes, each of which would be compiled
            self._test_picture()
        pictures = {key: tensor2img(tensor) for key, tensor in self.get_current_visuals().items()}
        del self.lq, self.output
        if 'gt' in pictures:
            del self.gt
        return pictures

    def _test_picture(self) -> None:
        try:
            self.test()
        except InputError:
            raise
        except (ValueError, RuntimeError) as error:
            height, width = self.lq.shape[-2:]
            if not self._fails_for_the_size(error):
                raise
            raise InputError(
                f'{self.lq_path[0]} is {height}x{width} (height x width), which {self.opt["network_g"]["type"]} cannot '
                f'restore: {" ".join(str(error).split())[:300]}; bring it to another size, or take it out'
            ) from None

    def _fails_for_the_size(self, error: Exception) -> bool:
        """Whether the network restores the picture once it has a usual size."""
        if isinstance(error, torch.cuda.OutOfMemoryError):
            return True
        self.lq = F.interpolate(self.lq, _USUAL_SIZE)
        try:
            self.test()
        except (ValueError, RuntimeError):
            return False
        return True

    def _save_picture(self, pictures: dict, lq_path: str, dataset_name: str, current_iter: int | str) -> None:
        name, folder = osp.splitext(osp.basename(lq_path))[0], self.opt['path']['visualization']
        if self.is_train:
            several = [dataset_name] if len(self.run.val_loaders) > 1 else []
            path = osp.join(folder, *several, name, f'{name}_{current_iter}.png')
            names = {'lq': 'hazy', 'result': 'result', 'gt': 'clear'}
            picture = validation.strip({names[key]: picture for key, picture in pictures.items()})
        else:
            path = osp.join(folder, dataset_name, f'{name}_{self.opt["val"].get("suffix") or self.opt["name"]}.png')
            picture = pictures['result']
        os.makedirs(osp.dirname(path), exist_ok=True)
        checkpoints.write(cv2.imencode('.png', picture)[1].data, path)

    def _note_means(self, means: Mapping[str, Mean], dataset_name: str, current_iter: int | str, tb_logger) -> None:
        self.metric_results = {metric: mean.value for metric, mean in means.items()}
        self._initialize_best_metric_results(dataset_name)
        for metric, value in self.metric_results.items():
            self._update_best_metric_result(dataset_name, metric, value, current_iter)
        self._log_validation_metric_values(current_iter, dataset_name, tb_logger)
        infinite = {metric: mean.infinite for metric, mean in means.items() if mean.infinite}
        for metric, count in infinite.items():
            get_root_logger().warning(
                f'{dataset_name}: {metric} of {count} pictures is infinite, as they equal their clear ones; '
                'the mean is that of the others'
            )
        if not self.is_train:
            return
        entry = {'iter': current_iter, 'dataset': dataset_name, **self.metric_results}
        self.run.journal.report(entry | ({'infinite': infinite} if infinite else {}))
        if self.opt['rank'] == 0:
            self._save_if_best(dataset_name, current_iter)

    def _save_if_best(self, dataset_name: str, current_iter: int | str) -> None:
        wanted, _, metric = (self.opt['logger'].get('save_best') or '').rpartition('/')
        if wanted != dataset_name or self.best_metric_results[wanted][metric]['iter'] != current_iter:
            return
        nets = {'params': self.net_g} | ({'params_ema': self.net_g_ema} if hasattr(self, 'net_g_ema') else {})
        self.save_network(list(nets.values()), 'net_g', 'best', param_key=list(nets))

    def _validate_if_due(self) -> None:
        """Make up for a validation that the end of the process before this one has left out."""
        for loader in self._unvalidated:
            self.validation(loader, self.current_iter, self.run.tb_logger, self.opt['val'].get('save_img', False))
        self._unvalidated = []


# ---------------------------------------------------------------------------------------------------- checks of options


def _sum(losses: Iterable[Tensor]) -> Tensor:
    first, *others = losses
    return sum(others, first)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _heeds_flag(optimizer: Optimizer) -> bool:
    """Whether it leaves an update out by itself."""
    groups = optimizer.param_groups
    # SGD would begin its momentum with what lies in memory.
    return all(group.get('fused') and not group.get('momentum') for group in groups)


def _amp_of(opt: Mapping) -> str:
    return opt.get('amp') or 'off'  # YAML reads a bare `off` as false
