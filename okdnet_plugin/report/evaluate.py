"""The figures of every method on every image, kept as they come, so that a report that is interrupted goes on."""

import contextlib
import glob
import inspect
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from os import path as osp

import cv2
import numpy as np
import torch
from basicsr.utils import tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from tqdm import tqdm

from okdnet_plugin import files
from okdnet_plugin.engine.validation import loader_of, metric_values_of
from okdnet_plugin.errors import InputError, SaveError, StoreError, one_line
from okdnet_plugin.inference.dehazer import Dehazer
from okdnet_plugin.progress import fitting
from okdnet_plugin.redaction import redacted
from okdnet_plugin.report.plan import Method, Plan, TestSet
from okdnet_plugin.weights.loading import load_for

_WIDTH = 360  # px of a thumbnail
_QUALITY = 85


class Evaluation:
    """What a plan measures, in a folder.

    The folder gets `figures-RANK.jsonl`, a line for each method and image, small images for the page, and chosen ones
    as they are. A figure belongs to the fingerprint of what it was measured with, and is never taken for that of
    another.

    Args:
        plan: what is to be measured.
        folder: of the report.
        rank, world_size: this process and how many there are; each takes its share of the images.
    """

    def __init__(self, plan: Plan, folder: str, rank: int = 0, world_size: int = 1):
        self.plan, self.folder = plan, folder
        self.rank, self.world_size = rank, world_size

    def run(self) -> None:
        """Measure what is not measured yet; what fails is noted with its image, and the rest goes on.

        Raises:
            StoreError: the images of a set cannot be read at all.
            SaveError: the folder cannot be written.
        """
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise SaveError(f'{self.folder} cannot be made ({error.strerror}); choose another folder') from error
        self._clear_seen = {
            (line['detector'], line['content'], line['index']) for line in self.lines() if 'clear_boxes' in line
        }
        done = {(line['fingerprint'], line['index']) for line in self.lines() if not line['errors']}
        with open(osp.join(self.folder, f'figures-{self.rank}.jsonl'), 'a', encoding='utf-8') as file:
            file.write('\n' if file.tell() else '')  # ends what a killed process has left
            for method in self.plan.methods:
                tasks = [] if method.missing else list(self._tasks(method, done))
                if not tasks:
                    continue
                try:
                    dehazer = self._dehazer(method)
                except InputError as error:  # weights of another network, say
                    method.missing = str(error)
                    continue
                for test_set, fingerprint, places in tasks:
                    for line in self._measure(method, dehazer, test_set, fingerprint, places):
                        file.write(json.dumps(redacted(line), ensure_ascii=False) + '\n')
                        file.flush()

    def lines(self) -> list[dict]:
        """All that has been measured in the folder, by any process; half a line of one that was killed is left out."""
        found = []
        for path in sorted(glob.glob(osp.join(glob.escape(self.folder), 'figures-*.jsonl'))):
            with files.open_text(path) as file:
                for line in file:
                    with contextlib.suppress(json.JSONDecodeError):
                        found.append(json.loads(line))
        return found

    def thumbnail(self, fingerprint: str, index: int) -> str:
        """Path of a small image.

        Args:
            fingerprint: of the method on the set, or `hazy` or `clear` with the content of the set.
            index: place of the image in the set.
        """
        return osp.join(self.folder, 'pictures', fingerprint, f'{index}.jpg')

    def whole(self, fingerprint: str, index: int) -> str:
        """Path of a chosen image, as it is; arguments as those of `thumbnail`."""
        return osp.join(self.folder, 'pictures', fingerprint, f'{index}.png')

    def _tasks(self, method: Method, done: set) -> Iterator[tuple[TestSet, str, list[int]]]:
        for test_set in self.plan.sets:
            if test_set.missing:
                continue
            fingerprint = self.plan.fingerprint(method, test_set)
            share = sorted({*self.plan.places(test_set), *test_set.chosen})[self.rank :: self.world_size]
            lost = {place for place in test_set.chosen if not osp.exists(self.whole(fingerprint, place))}
            places = [place for place in share if (fingerprint, place) not in done or place in lost]
            if places:
                yield test_set, fingerprint, places

    def _dehazer(self, method: Method) -> Dehazer | None:
        """What runs the network, as `basicsr dehaze` does, layer by layer, whole images or tiles; None for hazy input.

        Raises:
            InputError: the weights cannot be read, or are of another network.
        """
        if method.network is None:
            return None
        weights = load_for(method.network, method.weights, method.path.get('param_key_g'))
        device = 'cpu' if self.plan.opt.get('num_gpu') == 0 else 'auto'
        tile = self.plan.settings['tile']
        return Dehazer(
            weights,
            backend='eager',
            device=device,
            tile=None if tile == 'auto' else tile,
            self_ensemble=method.self_ensemble,
            notify=_warn,
        )

    def _measure(
        self, method: Method, dehazer: Dehazer | None, test_set: TestSet, fingerprint: str, places: list[int]
    ) -> Iterator[dict]:
        batches = iter(loader_of(test_set.read(), places, self.plan.settings['num_worker']))
        title, is_shown = f'{method.label} on {test_set.label}', self.rank == 0
        for index in tqdm(places, title, unit='picture', **fitting(), disable=None if is_shown else True):
            begin, seconds = time.perf_counter(), 0.0
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
                started = _now()
                restored = data['lq'] if dehazer is None else dehazer.restore(data['lq']).output
                seconds = 0.0 if dehazer is None else _now() - started
                line['tile'] = 0 if dehazer is None else dehazer.tile_of(1, *restored.shape[-2:])
                images = {key: tensor2img(data[key]) for key in ('lq', 'gt') if key in data}
                images['result'] = tensor2img(restored)
                self._keep_images(fingerprint, test_set, index, images)
            except StoreError:
                raise
            except Exception as error:  # a damaged image, or one that is too large for the memory
                line['errors']['picture'] = one_line(error)
            else:
                self._add_figures(line, method, images)
                self._add_boxes(line, test_set, index, images, data)
            for what, error in line['errors'].items():
                print(f'basicsr: warning: {title}: {line["picture"]}: {what}: {error}', file=sys.stderr)
            yield {**line, 'network_seconds': seconds, 'seconds': time.perf_counter() - begin}

    def _add_figures(self, line: dict, method: Method, images: Mapping[str, np.ndarray]) -> None:
        for key, block in self.plan.available_metrics.items():
            if method.network is None and 'lq' in inspect.signature(METRIC_REGISTRY.get(block['type'])).parameters:
                continue  # the hazy image, held against itself
            found = metric_values_of(images, {key: block})
            line['figures'] |= found.values
            line['errors'] |= {metric: reason[:300] for metric, reason in found.reasons.items()}

    def _add_boxes(
        self, line: dict, test_set: TestSet, index: int, images: Mapping[str, np.ndarray], data: Mapping
    ) -> None:
        """What the detector of the plan, if there is one, finds in the result, and once in the clear image."""
        detection = self.plan.detection
        if detection is None:
            return
        result = images['result']
        line |= {'detector': detection.fingerprint, 'content': test_set.content, 'size': list(result.shape[:2])}
        line['clear'] = osp.splitext(osp.basename(data['gt_path'][0]))[0] if 'gt_path' in data else line['picture']
        seen = detection.fingerprint, test_set.content, index
        try:
            detection.annotated(test_set.label, [line['picture'], line['clear']], result.shape[:2])
            line['boxes'] = detection.detector(result)
            if 'gt' in images and seen not in self._clear_seen:
                line['clear_boxes'] = detection.detector(images['gt'])
                self._clear_seen.add(seen)
        except InputError as error:
            line['errors']['detection'] = one_line(error)

    def _keep_images(self, fingerprint: str, test_set: TestSet, index: int, images: Mapping[str, np.ndarray]) -> None:
        kinds = {'lq': f'hazy-{test_set.content}', 'gt': f'clear-{test_set.content}', 'result': fingerprint}
        for key, img in images.items():
            path, whole = self.thumbnail(kinds[key], index), self.whole(kinds[key], index)
            os.makedirs(osp.dirname(path), exist_ok=True)
            if key == 'result' or not osp.exists(path):
                height = max(1, round(img.shape[0] * _WIDTH / img.shape[1]))
                is_large = img.shape[1] > _WIDTH
                small = cv2.resize(img, (_WIDTH, height), interpolation=cv2.INTER_AREA) if is_large else img
                files.write(path, cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].data)
            if index in test_set.chosen and (key == 'result' or not osp.exists(whole)):
                files.write(whole, cv2.imencode('.png', img)[1].data)


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def _warn(line: str) -> None:
    print(f'basicsr: warning: {line}', file=sys.stderr)
