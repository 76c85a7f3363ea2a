"""What a report is to measure: the methods, test sets and metrics of its option file, and which of them are missing."""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from os import path as osp

import numpy as np
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY
from torch import nn
from torch.utils.data import Dataset

from okdnet_plugin.engine.validation import figures_of
from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.report.published import TABLES

_KEYS = ('name', 'scale', 'num_gpu', 'channels_last', 'methods', 'datasets', 'metrics', 'protocol', 'report')
_METHOD_KEYS = ('network_g', 'path', 'missing')
_REPORT_KEYS = ('tables', 'cost_size', 'cost_rounds', 'examples', 'num_worker')
_DEFAULTS = {'tables': [1, 2, 3], 'cost_size': [460, 620], 'cost_rounds': 5, 'examples': 2, 'num_worker': 1}
PROTOCOLS = {
    'rgb': 'RGB, whole picture',
    'y': 'luma (Y of YCbCr), whole picture',
    'resize256': 'RGB, hazy and clear picture resized to 256x256',
}
INPUT = 'hazy input'


@dataclass
class Method:
    """One network with its weights.

    Args:
        label: its name in tables.
        network: block `network_g`; None for the hazy input itself.
        path: block `path` of the weights.
        missing: why it cannot be measured.
    """

    label: str
    network: Mapping | None
    path: Mapping
    missing: str | None = None

    @property
    def weights(self) -> str | None:
        return self.path.get('pretrain_network_g')

    def build(self) -> nn.Module:
        return build_network(deepcopy(dict(self.network)))


@dataclass
class TestSet:
    """One test set.

    Args:
        label: its name in tables.
        block: block of the option file.
        dataset: None if it is missing.
        missing: why it cannot be read.
    """

    label: str
    block: Mapping
    dataset: Dataset | None = None
    missing: str | None = None

    @property
    def has_clear(self) -> bool:
        return 'dataroot_gt' in self.block


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
    """

    opt: Mapping
    methods: list[Method]
    sets: list[TestSet]
    metrics: list[Metric]
    settings: Mapping

    @property
    def available_metrics(self) -> dict[str, Mapping]:
        return {metric.key: metric.block for metric in self.metrics if metric.missing is None}

    def fingerprint(self, method: Method, test_set: TestSet) -> str:
        """What the figures of a method on a test set depend on; figures of another one are measured again."""
        weights = method.weights and _digest(method.weights)
        parts = (method.label, method.network, weights, method.path.get('param_key_g'), test_set.label, test_set.block)
        parts += (self.available_metrics,)
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read(opt: Mapping) -> Plan:
    """The plan of an option file.

    A method, a test set or a metric that is not there is no error: the report says what is missing.

    Args:
        opt: the option file. `methods`: a block for each, with `network_g` and `path` as in any option file, or
            `missing`, a text that says why there are no figures. `datasets`: a block for each. `metrics`: as under
            `val`. `protocol`: rgb, y or resize256. `report`: tables of the paper to be set beside, cost_size
            [height, width] and cost_rounds of the cost, examples (best and worst pictures), num_worker.

    Raises:
        InputError: a key or a value is wrong, or a registered name unknown.
    """
    _check_keys('', opt, _KEYS)
    for key in ('name', 'methods', 'datasets', 'metrics'):
        if not opt.get(key):
            raise InputError(f"option '{key}' is missing or empty; see options/benchmark.yml")
    protocol = opt.get('protocol', 'rgb')
    if protocol not in PROTOCOLS:
        raise InputError(f"option protocol is '{protocol}'; write {', '.join(PROTOCOLS)}")
    settings = {**_DEFAULTS, **(opt.get('report') or {})}
    _check_keys('report:', settings, _REPORT_KEYS)
    unknown = [number for number in settings['tables'] if number not in TABLES]
    if unknown:
        raise InputError(f'option report:tables: there is no table {unknown[0]}; write some of {list(TABLES)}')
    methods = [_method(label, block or {}) for label, block in opt['methods'].items()]
    sets = [_test_set(label, block, opt, protocol) for label, block in opt['datasets'].items()]
    metrics = [_metric(key, block, protocol) for key, block in opt['metrics'].items()]
    return Plan(opt, methods, sets, metrics, settings)


@cache
def _digest(path: str) -> str:
    with open(path, 'rb') as file:
        return hashlib.sha256(file.read()).hexdigest()


def _check_keys(place: str, block: Mapping, known: tuple[str, ...]) -> None:
    for key in block:
        if key not in known:
            raise InputError(f'option {place}{key} is not known{did_you_mean(key, known)}; remove or correct it')


def _method(label: str, block: Mapping) -> Method:
    _check_keys(f'methods:{label}:', block, _METHOD_KEYS)
    network, path = block.get('network_g'), block.get('path') or {}
    if network is None:
        return Method(label, None, path, block.get('missing') or (None if label == INPUT else 'there is no network_g'))
    if 'type' not in network:
        raise InputError(f"option methods:{label}:network_g: 'type' is missing; add the name of a network")
    ARCH_REGISTRY.get(network['type'])
    method = Method(label, network, path, block.get('missing'))
    weights = method.weights
    if method.missing is None and weights is None and any(True for _ in method.build().parameters()):
        method.missing = 'no weights are given (path: pretrain_network_g)'
    elif method.missing is None and weights is not None and not osp.isfile(weights):
        method.missing = f'the weights {weights} do not exist'
    return method


def _test_set(label: str, block: Mapping, opt: Mapping, protocol: str) -> TestSet:
    if not isinstance(block, Mapping) or 'type' not in block:
        raise InputError(f"option datasets:{label}: 'type' is missing; add the name of a data set")
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
    return TestSet(label, block, dataset)


def _metric(key: str, block: Mapping, protocol: str) -> Metric:
    if not isinstance(block, Mapping) or 'type' not in block:
        raise InputError(f"option metrics:{key}: 'type' is missing; add the name of a metric")
    METRIC_REGISTRY.get(block['type'])
    if block['type'] in ('calculate_psnr', 'calculate_ssim', 'calculate_fast_ssim'):
        block = {'crop_border': 0, **block, 'test_y_channel': protocol == 'y'}
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    try:
        figures_of({'result': noise, 'gt': noise[::-1].copy(), 'lq': noise}, {key: block})
    except InputError as error:
        return Metric(key, block, str(error))
    return Metric(key, block)
