"""The figures of every method on every picture, kept as they come, so that a report that is interrupted goes on."""

import contextlib
import glob
import inspect
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy
from os import path as osp

import cv2
import numpy as np
import torch
from basicsr.utils import tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from tqdm import tqdm

from okdnet_plugin.engine import checkpoints
from okdnet_plugin.engine.devices import usable_gpus
from okdnet_plugin.engine.validation import figures_of, loader_of
from okdnet_plugin.errors import InputError, SaveError, StoreError, message_of
from okdnet_plugin.models.restoration_model import RestorationModel
from okdnet_plugin.report.plan import Method, Plan, TestSet

_WIDTH = 360  # px of a thumbnail
_QUALITY = 85


class Evaluation:
    """What a plan measures, in a folder.

    The folder gets `figures-RANK.jsonl`, a line for each method and picture, and small pictures for the page. A figure
    belongs to the fingerprint of what it was measured with, and is never taken for that of another.

    Args:
        plan: what is to be measured.
        folder: of the report.
        rank, world_size: this process and how many there are; each takes its share of the pictures.
    """

    def __init__(self, plan: Plan, folder: str, rank: int = 0, world_size: int = 1):
        self.plan, self.folder = plan, folder
        self.rank, self.world_size = rank, world_size

    def run(self) -> None:
        """Measure what is not measured yet; what fails is noted with its picture, and the rest goes on.

        Raises:
            StoreError: the pictures of a set cannot be read at all.
            SaveError: the folder cannot be written.
        """
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise SaveError(f'{self.folder} cannot be made ({error.strerror}); choose another folder') from error
        done = {(line['fingerprint'], line['index']) for line in self.lines() if not line['errors']}
        with open(osp.join(self.folder, f'figures-{self.rank}.jsonl'), 'a', encoding='utf-8') as file:
            file.write('\n' if file.tell() else '')  # ends what a killed process has left
            for method in self.plan.methods:
                tasks = [] if method.missing else list(self._tasks(method, done))
                if not tasks:
                    continue
                try:
                    model = self._model(method)
                except InputError as error:  # weights of another network, say
                    method.missing = str(error)
                    continue
                clock = _Clock(model)
                for test_set, fingerprint, places in tasks:
                    for line in self._measure(method, model, clock, test_set, fingerprint, places):
                        file.write(json.dumps(line, ensure_ascii=False) + '\n')
                        file.flush()

    def lines(self) -> list[dict]:
        """All that has been measured in the folder, by any process; half a line of one that was killed is left out."""
        found = []
        for path in sorted(glob.glob(osp.join(glob.escape(self.folder), 'figures-*.jsonl'))):
            with open(path, encoding='utf-8') as file:
                for line in file:
                    with contextlib.suppress(json.JSONDecodeError):
                        found.append(json.loads(line))
        return found

    def thumbnail(self, fingerprint: str, index: int) -> str:
        """Path of a small picture.

        Args:
            fingerprint: of the method on the set, or `hazy` or `clear` with the content of the set.
            index: place of the picture in the set.
        """
        return osp.join(self.folder, 'pictures', fingerprint, f'{index}.jpg')

    def _tasks(self, method: Method, done: set) -> Iterator[tuple[TestSet, str, list[int]]]:
        for test_set in self.plan.sets:
            if test_set.missing:
                continue
            fingerprint = self.plan.fingerprint(method, test_set)
            share = self.plan.places(test_set)[self.rank :: self.world_size]
            places = [place for place in share if (fingerprint, place) not in done]
            if places:
                yield test_set, fingerprint, places

    def _model(self, method: Method) -> RestorationModel | None:
        """The network in the toolbox's own model, which loads and runs it; None for the hazy input."""
        if method.network is None:
            return None
        opt = self.plan.opt
        return RestorationModel(
            {
                'name': 'report',
                'is_train': False,
                'datasets': {},
                'dist': False,
                'rank': self.rank,
                'world_size': self.world_size,
                'num_gpu': min(1, usable_gpus({**opt, 'dist': False}, 'report')[0]),  # each process takes one
                'channels_last': opt.get('channels_last'),
                'network_g': deepcopy(dict(method.network)),
                'path': {'strict_load_g': True, **method.path, 'param_key_g': method.param_key},
                'val': {'metrics': {}},
            }
        )

    def _measure(
        self,
        method: Method,
        model: RestorationModel | None,
        clock: '_Clock',
        test_set: TestSet,
        fingerprint: str,
        places: list[int],
    ) -> Iterator[dict]:
        batches = iter(loader_of(test_set.read(), places, self.plan.settings['num_worker']))
        title, is_shown = f'{method.label} on {test_set.label}', self.rank == 0
        for index in tqdm(places, title, unit='picture', dynamic_ncols=True, disable=None if is_shown else True):
            begin = time.perf_counter()
            line = {
                'fingerprint': fingerprint,
                'method': method.label,
                'set': test_set.label,
                'picture': str(index),
                'index': index,
                'figures': {},
                'errors': {},
            }
            try:
                data = next(batches)
                data.pop('index')
                line['picture'] = osp.splitext(osp.basename(data['lq_path'][0]))[0]
                pictures = _as_they_are(data) if model is None else model.restore_picture(data)
                self._keep_thumbnails(fingerprint, test_set, index, pictures)
            except StoreError:
                raise
            except Exception as error:  # a damaged picture, or one that is too large for the memory
                line['errors']['picture'] = _one_line(error)
            else:
                self._add_figures(line, method, pictures)
            for what, error in line['errors'].items():
                print(f'basicsr: warning: {title}: {line["picture"]}: {what}: {error}', file=sys.stderr)
            yield {**line, 'network_seconds': clock.take(), 'seconds': time.perf_counter() - begin}

    def _add_figures(self, line: dict, method: Method, pictures: Mapping[str, np.ndarray]) -> None:
        for key, block in self.plan.available_metrics.items():
            if method.network is None and 'lq' in inspect.signature(METRIC_REGISTRY.get(block['type'])).parameters:
                continue  # the hazy picture, held against itself
            found = figures_of(pictures, {key: block})
            line['figures'] |= found.values
            line['errors'] |= {metric: reason[:300] for metric, reason in found.reasons.items()}

    def _keep_thumbnails(
        self, fingerprint: str, test_set: TestSet, index: int, pictures: Mapping[str, np.ndarray]
    ) -> None:
        kinds = {'lq': f'hazy-{test_set.content}', 'gt': f'clear-{test_set.content}', 'result': fingerprint}
        for key, img in pictures.items():
            path = self.thumbnail(kinds[key], index)
            if key != 'result' and osp.exists(path):
                continue
            os.makedirs(osp.dirname(path), exist_ok=True)
            height = max(1, round(img.shape[0] * _WIDTH / img.shape[1]))
            small = cv2.resize(img, (_WIDTH, height), interpolation=cv2.INTER_AREA) if img.shape[1] > _WIDTH else img
            checkpoints.write(cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].data, path)


class _Clock:
    """Seconds that a network has taken since it was last asked."""

    def __init__(self, model: RestorationModel | None):
        self._seconds = self._begin = 0.0
        if model is not None:
            net = model.get_bare_model(model.net_g)
            net.register_forward_pre_hook(self._start)
            net.register_forward_hook(self._stop)

    def take(self) -> float:
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _start(self, *_: object) -> None:
        self._begin = _now()

    def _stop(self, *_: object) -> None:
        self._seconds += _now() - self._begin


def _one_line(error: Exception) -> str:
    return ' '.join(message_of(error).split())[:300]


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def _as_they_are(data: Mapping) -> dict[str, np.ndarray]:
    pictures = {key: tensor2img(data[key]) for key in ('lq', 'gt') if key in data}
    return pictures | {'result': pictures['lq']}
