"""What a report is to measure: the methods, test sets and metrics of its option file, and which of them are missing."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from os import path as osp
from typing import Any, NamedTuple

import cv2
import numpy as np
from basicsr.archs import build_network
from basicsr.utils.registry import DATASET_REGISTRY
from torch import nn

from okdnet_plugin import shipped_weights
from okdnet_plugin.config.check import refuse
from okdnet_plugin.config.registered import needs_clear_image
from okdnet_plugin.data.options import require
from okdnet_plugin.engine.validation import metric_values_of
from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.files import open_regular_file
from okdnet_plugin.map_dataset import MapDataset
from okdnet_plugin.report.detection import Detection
from okdnet_plugin.version import __version__
from okdnet_plugin.weights import reading

_DEFAULTS = {
    'tables': [1, 2, 3],
    'cost_size': [460, 620],
    'cost_rounds': 5,
    'examples': 2,
    'images': {},
    'num_worker': 1,
    'limit': None,
    'tile': 0,
}
# What is measured of an image; PSNR and SSIM are of the luma with y, else of RGB.
PROTOCOLS = {
    'rgb': 'whole image',
    'y': 'whole image',
    'resize256': 'hazy and clear image resized to 256x256',
}
INPUT = 'hazy input'
_LUMA_OR_COLOURS = ('calculate_psnr', 'calculate_ssim', 'calculate_fast_ssim')


class Kind(NamedTuple):
    """What is known of a type of metric.

    Args:
        label: its name.
        unit: of its values.
        better: higher or lower.
        colours: what it looks at; None if the protocol says so.
    """

    label: str
    unit: str
    better: str
    colours: str | None


KINDS = {
    'calculate_psnr': Kind('PSNR', 'dB', 'higher', None),
    'calculate_ssim': Kind('SSIM', '', 'higher', None),
    'calculate_fast_ssim': Kind('SSIM', '', 'higher', None),
    'calculate_loe': Kind('LOE', '', 'lower', 'largest of R, G and B'),
    'calculate_niqe': Kind('NIQE', '', 'lower', 'luma, or as convert_to says'),
    'calculate_fast_niqe': Kind('NIQE', '', 'lower', 'luma, or as convert_to says'),
    'calculate_ciede2000': Kind('CIEDE2000', '', 'lower', 'CIELAB of RGB'),
    'calculate_brisque': Kind('BRISQUE', '', 'lower', 'grey'),
    'calculate_pi': Kind('PI', '', 'lower', 'luma, 4 px less at each edge'),
}


@dataclass
class Method:
    """One network with its weights.

    Args:
        label: its name in tables.
        network: block `network_g`; None for the hazy input itself.
        path: block `path` of the weights.
        missing: why it cannot be measured.
        self_ensemble: give the mean over the eight orientations of an image.
    """

    label: str
    network: Mapping | None
    path: Mapping
    missing: str | None = None
    self_ensemble: bool = False

    @property
    def weights(self) -> str | None:
        """The file of weights, also of those that come with the package and are given by name."""
        given = self.path.get('pretrain_network_g')
        return given and shipped_weights.resolve(given)

    @property
    def param_key(self) -> str | None:
        """What of the file of weights is taken: what the option file says, else the average, else the weights."""
        if 'param_key_g' in self.path or not self.weights:
            return self.path.get('param_key_g')
        return _key_of(self.weights, None)

    def build(self) -> nn.Module:
        return build_network(deepcopy(dict(self.network or {})))


@dataclass
class TestSet:
    """One test set.

    Args:
        label: its name in tables.
        block: block of the option file.
        dataset: None if it is missing.
        missing: why it cannot be read.
        content: digest of its block and of the names, sizes and times of its files.
        chosen: crops [x, y, width, height] of the images that all methods are shown of, by their place.
    """

    label: str
    block: Mapping
    dataset: MapDataset | None = None
    missing: str | None = None
    content: str = ''
    chosen: Mapping[int, Sequence[Sequence[int]]] = field(default_factory=dict)

    @property
    def has_clear(self) -> bool:
        return 'dataroot_gt' in self.block

    def read(self) -> MapDataset:
        """The data set of one that is not missing."""
        assert self.dataset is not None, self.label
        return self.dataset


@dataclass
class Metric:
    """One metric.

    Args:
        key: its name in the option file.
        block: type and arguments.
        missing: why it is not available.
    """

    key: str
    block: Mapping
    missing: str | None = None


@dataclass
class Plan:
    """All that a report measures.

    Args:
        opt: the option file.
        methods, sets, metrics: of it.
        settings: its block `report`, with defaults.
        detection: its block `detection`, if it has one.
    """

    opt: Mapping
    methods: list[Method]
    sets: list[TestSet]
    metrics: list[Metric]
    settings: Mapping
    detection: Detection | None = None

    @property
    def available_metrics(self) -> dict[str, Mapping]:
        return {metric.key: arguments_of(metric.block) for metric in self.metrics if metric.missing is None}

    def places(self, test_set: TestSet) -> list[int]:
        """Which samples of a test set are measured: all, or `limit` of them, spread evenly.

        One of each of `limit` equal parts, at a place in it that moves by the golden ratio: at equal distances all
        would be of one haze, where a test set has ten of each scene.
        """
        count, limit = len(test_set.read()), self.settings['limit']
        if limit is None or limit >= count:
            return list(range(count))
        starts = [part * count // limit for part in range(limit + 1)]
        golden = (5**0.5 - 1) / 2
        return [
            start + int((part + 0.5) * golden % 1 * (end - start)) for part, (start, end) in enumerate(pairwise(starts))
        ]

    def fingerprint(self, method: Method, test_set: TestSet) -> str:
        """What the figures of a method on a test set depend on; figures of another one are measured again."""
        weights = method.weights and _digest(method.weights)
        parts = (method.label, method.network, weights, method.param_key, method.self_ensemble)
        parts += (test_set.label,)
        parts += (self.settings['tile'],) if self.settings['tile'] and method.network else ()
        parts += (self.detection.fingerprint,) if self.detection else ()
        parts += (test_set.content, self.available_metrics, __version__, cv2.__version__)
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read(opt: Mapping) -> Plan:
    """The plan of an option file.

    A method, a test set or a metric that is not there is no error: the report says what is missing.

    Args:
        opt: the option file. `methods`: a block for each, with `network_g` and `path` as in any option file, or
            `missing`, a text that says why there are no figures. `datasets`: a block for each. `metrics`: as under
            `val`. `protocol`: rgb, y or resize256. `report`: tables of the paper to be set beside, cost_size
            [height, width] and cost_rounds of the cost, examples (best and worst images), images (that all methods are
            shown of, by test set and name, with crops), num_worker, limit (samples of a test set that are measured at
            most, spread evenly), tile (0, auto or px).

    Raises:
        InputError: a key or a value is wrong, or a registered name unknown.
    """
    refuse(opt, phase='report')
    protocol = opt.get('protocol') or 'rgb'
    settings = {**_DEFAULTS, **{key: value for key, value in (opt.get('report') or {}).items() if value is not None}}
    methods = [_method(label, block or {}) for label, block in opt['methods'].items()]
    sets = [_test_set(label, block, opt, protocol) for label, block in opt['datasets'].items()]
    metrics = [_metric(key, block, protocol) for key, block in opt['metrics'].items()]
    block = opt.get('detection')
    detection = Detection(block, [test_set.label for test_set in sets]) if block else None
    plan = Plan(opt, methods, sets, metrics, settings, detection)
    for label in settings['images']:
        hint = did_you_mean(label, opt['datasets'])
        require(label in opt['datasets'], f'option report:images:{label}: there is no such test set{hint}; rename it')
    for test_set in sets:
        if not test_set.missing:
            test_set.chosen = _chosen(plan, test_set)
    return plan


def _digest(path: str) -> str:
    return _digest_once(path, os.stat(path).st_mtime_ns)


@cache
def _digest_once(path: str, time: int) -> str:
    with open_regular_file(path) as file:
        return hashlib.sha256(file.read()).hexdigest()


def _key_of(path: str, wanted: str | None) -> str | None:
    return _read_once(path, os.stat(path).st_mtime_ns, wanted)


@cache
def _read_once(path: str, time: int, wanted: str | None) -> str | None:
    """The key of the weights that are taken from a file."""
    return reading.read(path, wanted).key


def _content_of(block: Mapping) -> str:
    files = []
    for key, root in sorted(block.items()):
        if key.startswith('dataroot') and isinstance(root, str):
            for folder, folders, names in os.walk(root, followlinks=True):
                folders.sort()
                for name in sorted(names):
                    status = os.stat(osp.join(folder, name))
                    files.append((key, osp.relpath(folder, root), name, status.st_size, status.st_mtime_ns))
    return hashlib.sha256(json.dumps([block, files], sort_keys=True, default=str).encode()).hexdigest()[:16]


def _method(label: str, block: Mapping) -> Method:
    network, path = block.get('network_g'), block.get('path') or {}
    if network is None:
        return Method(label, None, path, block.get('missing') or (None if label == INPUT else 'there is no network_g'))
    method = Method(label, network, path, block.get('missing'), bool(block.get('self_ensemble')))
    weights = method.weights
    try:
        net = method.build()
    except Exception as error:  # a network may refuse its arguments as it likes
        raise InputError(
            f'option methods:{label}:network_g: {network["type"]} cannot be built: {" ".join(str(error).split())}; see '
            'its docstring'
        ) from error
    if method.missing is None and weights is None and any(True for _ in net.parameters()):
        method.missing = 'no weights are given (path: pretrain_network_g)'
    elif method.missing is None and weights is not None and not osp.isfile(weights):
        method.missing = f'the weights {weights} do not exist'
    elif method.missing is None and weights is not None:
        try:
            _key_of(weights, path.get('param_key_g'))
        except InputError as error:
            method.missing = str(error)
    return method


def _test_set(label: str, block: Mapping, opt: Mapping, protocol: str) -> TestSet:
    cls = DATASET_REGISTRY.get(block['type'])
    block = {'name': label, 'phase': 'test', 'scale': opt.get('scale', 1), **block}
    if protocol == 'resize256':
        block['resize'] = 256
    for key in ('dataroot_lq', 'dataroot_gt'):
        if block.get(key) is not None:
            block[key] = osp.expanduser(block[key])
    try:
        dataset = cls(deepcopy(block))
    except InputError as error:
        if any(block.get(key) and osp.exists(block[key]) for key in ('dataroot_lq', 'dataroot_gt')):
            raise  # it is there, and something is wrong with it
        return TestSet(label, block, None, str(error))
    return TestSet(label, block, dataset, content=_content_of(block))


def _chosen(plan: Plan, test_set: TestSet) -> dict[int, Sequence[Sequence[int]]]:
    """The images that the option file names; else some of a set that would be without any, as nothing measures it."""
    where = f'option report:images:{test_set.label}'
    if test_set.label not in plan.settings['images']:
        types = [block['type'] for block in plan.available_metrics.values()]
        is_measured = test_set.has_clear or not all(map(needs_clear_image, types))
        places, most = plan.places(test_set), 2 * plan.settings['examples']
        return {} if is_measured else {places[k * len(places) // most]: () for k in range(most)}
    dataset: Any = test_set.read()
    require(hasattr(dataset, 'lq_path'), f'{where}: {type(dataset).__name__} does not tell its names; take it out')
    names = {osp.splitext(osp.basename(dataset.lq_path(index)))[0]: index for index in range(len(dataset))}
    chosen = {}
    for name, crops in (plan.settings['images'][test_set.label] or {}).items():
        cure = 'write a name as in pictures.csv' if isinstance(name, str) else 'write the name in quotes'
        require(name in names, f'{where}:{name}: there is no such image{did_you_mean(name, names)}; {cure}')
        crops = crops or []
        chosen[names[name]] = crops = crops if not crops or isinstance(crops[0], Sequence) else [crops]
        height, width = dataset[names[name]]['lq'].shape[-2:] if crops else (0, 0)
        for crop in crops:
            x, y, w, h = crop
            fits = w and h and x + w <= width and y + h <= height
            require(fits, f'{where}:{name}: {crop} is no part of the image, which is {width} px wide and {height} high')
    return chosen


def _metric(key: str, block: Mapping, protocol: str) -> Metric:
    if block['type'] not in KINDS and block.get('better') not in ('higher', 'lower'):
        raise InputError(f"option metrics:{key}: 'better' is missing; write which end is better, higher or lower")
    if block['type'] in _LUMA_OR_COLOURS:
        is_luma = protocol == 'y'
        require(
            block.get('test_y_channel') in (None, is_luma),
            f'option metrics:{key}:test_y_channel contradicts protocol {protocol}; take it out',
        )
        block = {'crop_border': 0, **block, 'test_y_channel': is_luma}
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    images = {'result': noise, 'gt': noise[::-1].copy(), 'lq': noise}
    reason = metric_values_of(images, {key: arguments_of(block)}).reasons.get(key)
    if reason is not None and 'not available' not in reason:
        raise InputError(f'option metrics:{key}: {reason}')
    return Metric(key, block, reason)


def arguments_of(block: Mapping) -> dict:
    """What of a metric's block the metric is called with."""
    return {key: value for key, value in block.items() if key != 'better'}
