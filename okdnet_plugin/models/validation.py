"""The validation of a training, and the test: restored images, metric values and their means."""

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from itertools import chain
from os import path as osp
from typing import Any, ClassVar, cast

import cv2
import numpy as np
import torch
import torch.distributed
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, tensor2img
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from okdnet_plugin.engine import checkpoints, results, validation
from okdnet_plugin.engine.any_size import AnySize
from okdnet_plugin.engine.ensemble import of_eight
from okdnet_plugin.engine.memory import is_out_of_memory
from okdnet_plugin.engine.ordered_work import OrderedWork
from okdnet_plugin.engine.run import Run
from okdnet_plugin.engine.signals import StopRequest
from okdnet_plugin.engine.torch_versions import uncompiled
from okdnet_plugin.engine.validation import Mean, MetricValues
from okdnet_plugin.errors import InputError, StoreError, message_of
from okdnet_plugin.inference.dehazer import Dehazer
from okdnet_plugin.map_dataset import MapDataset
from okdnet_plugin.progress import fitting

_USUAL_SIZE = 256, 256
_PIXELS_AT_ONCE = 4_000_000  # of images that wait for their metrics: SSIM takes some 300 bytes for each


class Validation(SRModel):
    """The part of RestorationModel that restores whole data sets: in one process or several, in a training or a test.

    What it needs of the rest of the model is declared here; `_stop` ends the training at a signal.
    """

    metric_threads: ClassVar[int | None] = None
    """Threads that save and measure beside the network; None: by the cores, 0: none."""
    run: Run
    current_iter: int
    cpu_group: Any
    stop_request: StopRequest
    _saved_iter: int | None
    _stop: Any
    _validated: set[tuple[int | str, str]]
    _unvalidated: list[DataLoader]
    _untested: int
    _failures: list[str]
    _in_tiles: Dehazer | None = None
    _tiled: list[str]  # images that were restored in tiles, and how large these were
    lq_path: list[str]

    def validation(
        self, dataloader: DataLoader, current_iter: int | str, tb_logger: object, save_img: bool = False
    ) -> None:
        """Restore the images of a data set, all processes their share, and log the means of the metrics.

        While training, images are saved as strips hazy | result | clear; in a test as they are. What has been
        validated at this iteration is not validated again, as BasicSR does at the end of a training.

        An image that cannot be read or restored ends a training. A test leaves it out.

        Raises:
            InputError: so it is; in a test, with its last data set, after all other images are done.
            StoreError: the images cannot be read at all.
        """
        opt, dataset = self.opt, cast(MapDataset, dataloader.dataset)
        name = dataset.opt['name']
        if self.is_train:
            current_iter = self.current_iter  # BasicSR gives one more at the end of the training
            if (current_iter, name) in self._validated:
                return
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)
        validation.share_buffers(net, self.cpu_group)
        loader = validation.loader_of_share(dataset, opt['rank'], opt['world_size'], self._num_workers(dataset.opt))
        failures: list[str] = []
        self._in_tiles, self._tiled = None, []  # the weights are others than last time
        share = self._restore_all(loader, dataset, current_iter, save_img, failures)
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()  # images of all sizes have left blocks that no batch fits
        self._say_what_is_tiled(name)
        is_whole = len(share) + len(failures) == len(loader)
        shares = validation.gather((share, failures, None if is_whole else self.stop_request.signal), self.cpu_group)
        signals = [signal for *_, signal in shares if signal is not None]
        if signals:
            self._stop(signals[0])
        figures = list(chain.from_iterable(share for share, *_ in shares))
        means = validation.means_of(figures)
        counts = self._say_what_has_no_value(figures, name)
        missing = [metric for metric in opt['val'].get('metrics') or {} if metric not in {*means, *counts}]
        if figures and missing:
            get_root_logger().info(f'{name} has no clear images, or no depth, which {", ".join(missing)} would need.')
        if means:
            self._note_means(means, counts, name, current_iter, tb_logger)
        if self.is_train:
            self._validated.add((current_iter, name))
            if self._saved_iter == current_iter and self._is_validated():
                self.save_training_state(0, self.current_iter)  # with the best figures, and that they are known
        else:
            failures = list(chain.from_iterable(failures for _, failures, _ in shares))
            if opt['rank'] == 0 and 'results_root' in opt['path']:
                told = {
                    metric: {'mean': mean.value, 'infinite': mean.infinite, 'left_out': counts.get(metric, 0)}
                    for metric, mean in means.items()
                }
                rows = sorted(figures, key=lambda row: row.index)
                results.write(opt, dataset.opt, [(row.path, row.values) for row in rows], told, len(failures))
            without = [f'{_place_of(dataset)}: {"; ".join(row.reasons.values())}' for row in figures if row.reasons]
            self._end_test_of(name, sorted(failures + without))

    def _restore_all(
        self, loader: DataLoader, dataset: MapDataset, current_iter: int | str, save_img: bool, failures: list[str]
    ) -> list[MetricValues]:
        """Restore this process's share, image after image; threads measure and save the ones before meanwhile."""
        opt, name = self.opt, dataset.opt['name']
        where = _place_of(dataset)
        share: list[MetricValues] = []

        def take(finished: Iterable[Future[MetricValues]]) -> None:
            for future in finished:
                with self._noting(failures, where):
                    share.append(future.result())

        is_hidden = opt['rank'] != 0 or not opt['val'].get('pbar', False)
        read = tqdm(
            self._read(loader, failures), None, len(loader), leave=False, unit='image', disable=is_hidden, **fitting()
        )
        threads = validation.metric_threads(opt['world_size']) if self.metric_threads is None else self.metric_threads
        with validation.without_kernel_search(), OrderedWork[MetricValues](threads, _PIXELS_AT_ONCE) as work:
            for tensors, index, lq_path in self._restored_ones(self._until_stopped(read), failures, where):
                path = self._image_path(lq_path, name, current_iter) if save_img else None
                pixels = tensors['result'].shape[-2] * tensors['result'].shape[-1]
                take(work.room_for(pixels))
                work.add(functools.partial(self._measured, tensors, index, lq_path, path), path, pixels)
            take(work.rest())
        return share

    def _restored_ones(
        self, batches: Iterable[dict], failures: list[str], where: str
    ) -> Iterator[tuple[dict[str, Tensor], int, str]]:
        """The tensors of each image that can be restored, its place in the data set, and its path."""
        for data in batches:
            index, lq_path, tensors = int(data.pop('index')), data['lq_path'][0], None
            with self._noting(failures, where):
                tensors = self._restored(data)
            if tensors is not None:
                yield tensors, index, lq_path

    def _say_what_has_no_value(self, figures: list[MetricValues], dataset_name: str) -> dict[str, int]:
        """Name each metric that has no value for some images, with the first of them; returns how many, by metric."""
        counts = {}
        for metric in self.opt['val'].get('metrics') or {}:
            rows = [row for row in figures if metric in row.reasons]
            if rows:
                counts[metric] = len(rows)
                get_root_logger().warning(
                    f'{dataset_name}: {metric} has no value for {len(rows)} of {len(figures)} images, which its mean '
                    f'leaves out; the first: {min(rows, key=lambda row: row.index).reasons[metric]}'
                )
        return counts

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
        """Note, in a test, what is wrong with an image, instead of ending with it.

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
            get_root_logger().warning(
                f'{dataset_name}: {len(failures)} images are left out of the means, or of some of them.'
            )
        self._failures += failures
        self._untested -= 1
        if self._failures and self._untested <= 0:
            count = len(self._failures)
            others = f'{count} such images, named in the log, are left out; ' if count > 1 else ''
            raise InputError(f'{self._failures[0]} ({others}the others are done)')

    def _is_validated(self) -> bool:
        """All data sets have been validated at this iteration."""
        names = {cast(MapDataset, loader.dataset).opt['name'] for loader in self.run.val_loaders}
        return names <= {name for iteration, name in self._validated if iteration == self.current_iter}

    def _num_workers(self, block: Mapping) -> int:
        train = self.opt['datasets'].get('train', {})
        return block.get('num_worker_per_gpu', train.get('num_worker_per_gpu', 1))

    def _until_stopped(self, images: Iterable[dict]) -> Iterator[dict]:
        for data in images:
            if self.is_train and self.stop_request.signal is not None:
                return
            yield data

    def _measured(self, tensors: dict[str, Tensor], index: int, lq_path: str, path: str | None) -> MetricValues:
        """Save an image and work out its metrics, in any thread; its tensors are gone afterwards."""
        images = _as_arrays(tensors)
        if path is not None:
            self._save_image(images, path)
        found = validation.metric_values_of(images, self.opt['val'].get('metrics') or {})
        reasons = {metric: f'{lq_path}: {metric}: {reason}' for metric, reason in found.reasons.items()}
        return MetricValues(index, found.values, reasons, lq_path)

    def restore_image(self, data: dict) -> dict[str, np.ndarray]:
        """What becomes of one image of a test.

        Args:
            data: batch of one, as a loader gives it.

        Returns:
            lq, result and, if there is one, gt: uint8 BGR, (H, W, 3). Maps of the model, as its depth: float32, (H, W).

        Raises:
            InputError: the network does not restore images of this size.
        """
        self._in_tiles, self._tiled = None, []
        return _as_arrays(self._restored(data))

    def _restored(self, data: dict) -> dict[str, Tensor]:
        """As `restore_image`, but tensors of the CPU, (1, 3, H, W)."""
        self.feed_data(data)
        with uncompiled(self.get_bare_model(self.net_g)):  # images have many sizes, each of which would be compiled
            self._test_image()
        tensors = self.get_current_visuals()
        del self.lq, self.output
        if 'gt' in tensors:
            del self.gt
        return tensors

    def test(self) -> None:
        """As in BasicSR, `output` of `lq`; images are padded for networks that take multiples of a window only."""
        image = self.lq

        def run(padded: Tensor) -> list[Tensor]:
            self.lq = padded
            super(Validation, self).test()
            return [self.output]

        def run_any_size(images: Tensor) -> list[Tensor]:
            return self._any_size(images, run)

        is_ensemble = (self.opt.get('val') or {}).get('self_ensemble')
        try:
            (self.output,) = of_eight(run_any_size, image) if is_ensemble else run_any_size(image)
        finally:
            self.lq = image

    @functools.cached_property
    def _any_size(self) -> AnySize:
        return AnySize(self.get_bare_model(self.net_g), self.opt.get('scale') or 1)

    def _test_image(self) -> None:
        try:
            self._test_in_tiles_or_whole()
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

    def _test_in_tiles_or_whole(self) -> None:
        """Restore the image as `val: tile` says: whole, or in overlapping tiles that share the airlight."""
        val = self.opt.get('val') or {}
        tile = val.get('tile')
        if not tile:
            self.test()
            return
        if self._in_tiles is None:
            net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)
            self._in_tiles = Dehazer(
                net,
                backend='eager',
                device=str(self.device),
                tile=None if tile == 'auto' else tile,
                self_ensemble=bool(val.get('self_ensemble')),
                notify=get_root_logger().warning,
            )
        count, _, height, width = self.lq.shape
        side = self._in_tiles.tile_of(count, height, width)
        if not side:
            try:
                self.test()
                return
            except RuntimeError as error:
                if tile != 'auto' or not is_out_of_memory(error):
                    raise
        self.output = self._in_tiles.restore(self.lq).output
        side = self._in_tiles.tile_of(count, height, width)  # it may have become smaller
        self._tiled.append(f'{self.lq_path[0]}, {height}x{width} (height x width), of up to {side} px')

    def _say_what_is_tiled(self, dataset_name: str) -> None:
        tiled = list(chain.from_iterable(validation.gather(self._tiled, self.cpu_group)))
        if tiled:
            get_root_logger().info(
                f'{dataset_name}: {len(tiled)} images are restored in tiles that overlap and share one airlight '
                f'(val:tile: {self.opt["val"]["tile"]}); the first: {tiled[0]}. Their metric values may differ a '
                'little from those of whole images.'
            )

    def _fails_for_the_size(self, error: Exception) -> bool:
        """Whether the network restores the image once it has a usual size."""
        if isinstance(error, torch.cuda.OutOfMemoryError):
            return True
        self.lq = F.interpolate(self.lq, _USUAL_SIZE)
        try:
            self.test()
        except (ValueError, RuntimeError):
            return False
        return True

    def _image_path(self, lq_path: str, dataset_name: str, current_iter: int | str) -> str:
        name, folder = osp.splitext(osp.basename(lq_path))[0], self.opt['path']['visualization']
        if self.is_train:
            several = [dataset_name] if len(self.run.val_loaders) > 1 else []
            return osp.join(folder, *several, name, f'{name}_{current_iter}.png')
        return osp.join(folder, dataset_name, f'{name}_{self.opt["val"].get("suffix") or self.opt["name"]}.png')

    def _save_image(self, images: dict, path: str) -> None:
        image = images['result']
        if self.is_train:
            names = {'lq': 'hazy', 'result': 'result', 'gt': 'clear'}
            image = validation.strip({names[key]: image for key, image in images.items() if key in names})
        os.makedirs(osp.dirname(path), exist_ok=True)
        checkpoints.write(cv2.imencode('.png', image)[1].data, path)

    def _note_means(
        self,
        means: Mapping[str, Mean],
        left_out: Mapping[str, int],
        dataset_name: str,
        current_iter: int | str,
        tb_logger: Any,
    ) -> None:
        self.metric_results = {metric: mean.value for metric, mean in means.items()}
        if self.is_train:  # a test has no best iteration
            self._initialize_best_metric_results(dataset_name)
            for metric, value in self.metric_results.items():
                self._update_best_metric_result(dataset_name, metric, value, current_iter)
        self._log_validation_metric_values(current_iter, dataset_name, tb_logger)
        infinite = {metric: mean.infinite for metric, mean in means.items() if mean.infinite}
        for metric, count in infinite.items():
            get_root_logger().warning(
                f'{dataset_name}: {metric} of {count} images is infinite, as they equal their clear ones; '
                'the mean is that of the others'
            )
        if not self.is_train:
            return
        entry = {'iter': current_iter, 'dataset': dataset_name, **self.metric_results}
        entry |= {'infinite': infinite} if infinite else {}
        self.run.journal.report(entry | ({'left_out': dict(left_out)} if left_out else {}))
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


def _as_arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Images as uint8 BGR; what else there is, as its one channel. They are taken out, as they are large."""
    arrays = {}
    for key in list(tensors):
        tensor = tensors.pop(key)
        arrays[key] = tensor2img(tensor) if key in ('lq', 'result', 'gt') else tensor.float().numpy()[0, 0]
    return arrays


def _place_of(dataset: MapDataset) -> str:
    return f'phase {dataset.opt["phase"]}, data set {dataset.opt["name"]}'
