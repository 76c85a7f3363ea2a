"""The report as a dictionary: figures, cost, the paper's tables, example images and training curves."""

import csv
import io
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from os import path as osp
from typing import Any, cast

import basicsr
import cv2
import numpy as np
import torch

from okdnet_plugin import files
from okdnet_plugin.engine.journal import NAME as JOURNAL
from okdnet_plugin.engine.validation import MetricValues, means_of, strip
from okdnet_plugin.redaction import redacted
from okdnet_plugin.report import cost
from okdnet_plugin.report.detected import collect_detection
from okdnet_plugin.report.evaluate import Evaluation
from okdnet_plugin.report.figures import plain
from okdnet_plugin.report.images import collect_images, data_uri, read, versions_of
from okdnet_plugin.report.plan import KINDS, PROTOCOLS, Kind, Method, Metric, Plan, arguments_of
from okdnet_plugin.report.published import TABLES
from okdnet_plugin.version import __version__

_POINTS = 300  # of a training curve


def collect(plan: Plan, evaluation: Evaluation, command: str) -> dict:
    """All that a report says, in the types of JSON.

    Args:
        plan: what it measures.
        evaluation: what has been measured.
        command: how it was started.
    """
    groups = measured(plan, evaluation)
    metrics = {metric.key: _describe(metric, plan) for metric in plan.metrics}
    results = [_result(plan, evaluation, *place, group, metrics) for place, group in groups.items()]
    results = [result for result in results if result is not None]
    order = {method.label: number for number, method in enumerate(plan.methods)}
    sets = {test_set.label: number for number, test_set in enumerate(plan.sets)}
    results.sort(key=lambda result: (sets[result['set']], order[result['method']]))
    costs = _costs(plan)
    return {
        'name': plan.opt['name'],
        'made': datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
        'command': command,
        'machine': _machine(plan),
        'versions': _versions(),
        'metrics': list(metrics.values()),
        'methods': [
            {
                'key': method.label,
                'label': method.label,
                'network': method.network and method.network['type'],
                'weights': _weights(method),
                'missing': method.missing,
                'cost_size': list(plan.settings['cost_size']),
                **costs.get(method.label, dict.fromkeys(('parameters', 'gmacs', 'milliseconds', 'memory_mb'))),
            }
            for method in plan.methods
        ],
        'sets': [
            {
                'key': test_set.label,
                'label': test_set.label,
                'pictures': len(plan.places(test_set)) if test_set.dataset else None,
                'has_clear': test_set.has_clear,
                'missing': test_set.missing,
            }
            for test_set in plan.sets
        ],
        'results': results,
        'tables': [table for number in plan.settings['tables'] if (table := _table(number, plan, results, costs))],
        'images': list(collect_images(plan, evaluation)),
        'detection': collect_detection(plan, evaluation, groups),
        'curves': [curve for method in plan.methods for curve in _curves(method)],
        'notes': [*_tiled(groups), *failures_of(plan, evaluation)],
    }


def measured(plan: Plan, evaluation: Evaluation) -> dict[tuple[str, str], list[dict]]:
    """Lines of each method and set, by labels, as the plan is now; one an image, the newest."""
    lines = {(line['fingerprint'], line['index']): line for line in evaluation.lines()}
    groups = {}
    for method in plan.methods:
        for test_set in plan.sets:
            if not method.missing and not test_set.missing:
                fingerprint = plan.fingerprint(method, test_set)
                places = [(fingerprint, index) for index in plan.places(test_set)]
                groups[method.label, test_set.label] = [lines[place] for place in places if place in lines]
    return groups


def _tiled(groups: Mapping[tuple[str, str], Sequence[Mapping]]) -> list[str]:
    """Which images were restored in tiles, a line for each method and set."""
    notes = []
    for (method, test_set), lines in groups.items():
        sides = [line['tile'] for line in lines if line.get('tile')]
        if sides:
            notes.append(
                f'{method} on {test_set}: {len(sides)} of {len(lines)} images were restored in tiles of up to '
                f'{max(sides)} px that overlap and share one airlight'
            )
    return notes


def failures_of(plan: Plan, evaluation: Evaluation) -> list[str]:
    """What could not be restored or measured, a line each."""
    return [
        f'{method} on {test_set}: {line["picture"]}: {"" if what == "picture" else f"{what}: "}{error}'
        for (method, test_set), lines in measured(plan, evaluation).items()
        for line in lines
        for what, error in line['errors'].items()
    ]


def write_csv(path: str, lines: Iterable[Mapping]) -> None:
    """One line a method and image, with its figures.

    Args:
        path: file to write.
        lines: as `measured` gives them.
    """
    lines = list(lines)
    keys = list(dict.fromkeys(key for line in lines for key in line['figures']))
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(['set', 'picture', 'method', *keys, 'network_seconds', 'errors'])
    for line in sorted(lines, key=lambda line: (line['set'], line['picture'], line['method'])):
        figures = [line['figures'].get(key) for key in keys]
        errors = '; '.join(f'{what}: {error}' for what, error in line['errors'].items())
        table.writerow([line['set'], line['picture'], line['method'], *figures, line['network_seconds'], errors])
    files.write(path, redacted(text.getvalue()).encode())


def _weights(method: Method) -> str | None:
    given = method.path.get('pretrain_network_g')
    if method.missing or not given or not method.param_key:
        return given
    return f'{given} ({method.param_key})'


def _describe(metric: Metric, plan: Plan) -> dict:
    protocol, block = plan.opt.get('protocol', 'rgb'), metric.block
    kind = KINDS.get(block['type']) or Kind(metric.key, '', block['better'], 'as the metric has it')
    arguments = {key: value for key, value in arguments_of(block).items() if key not in ('type', 'crop_border')}
    arguments.pop('test_y_channel', None)
    variant = ', '.join(f'{key} {value}' for key, value in arguments.items())
    colours = kind.colours or ('luma (Y of YCbCr)' if protocol == 'y' else 'RGB')
    parts = [
        block['type'].removeprefix('calculate_'),
        variant,
        colours,
        PROTOCOLS[protocol],
        f'border {block.get("crop_border", 0)}',
        f'read by OpenCV {cv2.__version__}',
    ]
    return {
        'key': metric.key,
        'label': f'{kind.label} ({variant})' if variant and kind.label == 'LOE' else kind.label,
        'unit': kind.unit,
        'better': kind.better,
        'protocol': '; '.join(part for part in parts if part),
        'missing': metric.missing,
    }


def _result(
    plan: Plan, evaluation: Evaluation, method: str, test_set: str, lines: Sequence[Mapping], metrics: Mapping
) -> dict | None:
    """What a method does on a set; None if no image has been restored."""
    lines = [line for line in lines if 'picture' not in line['errors']]
    if not lines:
        return None
    figures = {}
    for key in metrics:
        rows = [MetricValues(line['index'], {key: line['figures'][key]}) for line in lines if key in line['figures']]
        for mean in means_of(rows).values():
            figures[key] = {'mean': plain(mean.value), 'count': len(rows), 'infinite': mean.infinite}
    ranked = _ranked(lines, metrics)
    examples = plan.settings['examples']
    best, worst = ranked[:examples], ranked[max(examples, len(ranked) - examples) :][::-1]
    return {
        'method': method,
        'set': test_set,
        'figures': figures,
        'seconds': {
            'network': sum(line['network_seconds'] for line in lines),
            'all': sum(line['seconds'] for line in lines),
        },
        'best': [_example(plan, evaluation, test_set, line) for line in best],
        'worst': [_example(plan, evaluation, test_set, line) for line in worst],
    }


def _ranked(lines: Sequence[Mapping], metrics: Mapping) -> list[Mapping]:
    """Images from the best to the worst by the first metric that they have."""
    key = next((key for key in metrics if any(key in line['figures'] for line in lines)), None)
    lines = [line for line in lines if key in line['figures']]
    if not lines:
        return []
    sign = -1 if metrics[key]['better'] == 'higher' else 1
    return sorted(lines, key=lambda line: (sign * line['figures'][key], line['index']))


def _example(plan: Plan, evaluation: Evaluation, test_set: str, line: Mapping) -> dict:
    [this] = [one for one in plan.sets if one.label == test_set]
    images = {
        label: read(evaluation.thumbnail(fingerprint, line['index']))
        for label, fingerprint in versions_of(plan, this).items()
    }
    images = {label: image for label, image in images.items() if image is not None}
    return {
        'picture': line['picture'],
        'figures': {key: plain(value) for key, value in line['figures'].items()},
        'strip': data_uri(strip(images), 'jpeg') if images else None,
    }


def _costs(plan: Plan) -> dict[str, dict]:
    """Cost of each method whose network can be built; weights do not matter."""
    size, rounds = plan.settings['cost_size'], plan.settings['cost_rounds']
    device = 'cuda' if torch.cuda.is_available() and plan.opt.get('num_gpu') != 0 else 'cpu'
    networks = {method.label: method for method in plan.methods if method.network}
    layout = torch.channels_last if plan.opt.get('channels_last') else torch.contiguous_format
    nets = {
        label: cast('Any', method.build().eval()).to(device, memory_format=layout) for label, method in networks.items()
    }
    if nets:  # minutes in which a large network on a CPU gives no other sign
        height, width = size
        what = f'time, operations and memory of {", ".join(nets)} are measured at {width}x{height} px'
        print(f'basicsr: note: {what} on the {device} (report: cost_size, cost_rounds)', file=sys.stderr)
    times = cost.milliseconds(nets, size, rounds, device)
    return {
        label: {
            'parameters': cost.parameters(net),
            'gmacs': cost.gmacs(net, size),
            'milliseconds': times[label],
            'memory_mb': cost.memory_mb(networks[label].network or {}, size, device),
        }
        for label, net in nets.items()
    }


def _table(number: int, plan: Plan, results: Sequence[Mapping], costs: Mapping) -> dict | None:
    """What a table of the paper says of the test sets of the plan, with what was measured; None if nothing."""
    table = TABLES[number]
    asked = [row for row in table.rows if row.set in {'', *(test_set.label for test_set in plan.sets)}]
    if not any(row.set for row in asked):
        return None
    found = {(result['set'], result['method']): result['figures'] for result in results}
    without = {m.label: ('no weights' if m.network else m.missing) if m.missing else None for m in plan.methods}
    without_sets = {test_set.label: test_set.missing and 'no images' for test_set in plan.sets}
    without_metrics = {metric.key: metric.missing and 'metric not available' for metric in plan.metrics}

    def cell(row, method, published):
        if row.metric == 'parameters':
            count = costs.get(method, {}).get('parameters')
            if count is None:
                return {'published': published, 'measured': None, 'remark': without.get(method) or 'method not here'}
            return {'published': published, 'measured': count / 1e6, 'remark': None}
        figure = found.get((row.set, method), {}).get(row.metric)
        if figure:
            return {'published': published, 'measured': figure['mean'], 'remark': None}
        reasons = [without_metrics.get(row.metric, 'not asked for'), without_sets[row.set]]
        reasons.append(without.get(method, 'method not here'))
        return {'published': published, 'measured': None, 'remark': next(filter(None, reasons), 'not measured')}

    rows = [
        {
            'set': row.set,
            'metric': 'parameters, M' if row.metric == 'parameters' else row.metric.upper(),
            'better': 'higher' if row.metric in ('psnr', 'ssim') else 'lower',
            'cells': [cell(row, method, value) for method, value in zip(table.methods, row.values, strict=True)],
        }
        for row in asked
    ]
    lengths = {test_set.label: len(plan.places(test_set)) for test_set in plan.sets if test_set.dataset}
    own = [f'{name} {lengths[name]}' for name in dict.fromkeys(row.set for row in asked) if name in lengths]
    note = table.note + (f' Images measured here: {", ".join(own)}.' if own else '')
    return {'title': table.title, 'note': note, 'columns': list(table.methods), 'rows': rows}


def _curves(method: Method) -> list[dict]:
    """Losses and validations of the training that the weights come from, if its journal lies beside them."""
    if not method.weights:
        return []
    path = osp.join(osp.dirname(osp.dirname(osp.abspath(method.weights))), JOURNAL)
    if not osp.isfile(path):
        return []
    series = defaultdict(list)
    with open(path, encoding='utf-8') as file:
        for line in file:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if not line.endswith('}\n') or 'iter' not in entry:
                continue
            prefix = f'{entry["dataset"]}/' if 'dataset' in entry else ''
            for key, value in entry.items():
                is_figure = isinstance(value, int | float) and not isinstance(value, bool)
                if is_figure and key not in ('iter', 'epoch', 'lr', 'time', 'data_time'):
                    series[prefix + key].append([entry['iter'], value])
    thinned = {key: points[:: -math.ceil(len(points) / _POINTS)][::-1] for key, points in series.items()}
    return [{'label': method.label, 'series': thinned}] if thinned else []


def _machine(plan: Plan) -> str:
    if torch.cuda.is_available() and plan.opt.get('num_gpu') != 0:
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f'CPU, {threads} thread{"s" * (threads > 1)}'


def _versions() -> dict[str, str]:
    return {
        'okdnet_plugin': __version__,
        'basicsr': basicsr.__version__,
        'torch': torch.__version__,
        'numpy': np.__version__,
        'opencv': cv2.__version__,
    }
