"""The report as a dictionary: figures, cost, the paper's tables, example pictures and training curves."""

import base64
import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from os import path as osp

import basicsr
import cv2
import numpy as np
import torch

import okdnet_plugin
from okdnet_plugin.engine.journal import NAME as JOURNAL
from okdnet_plugin.engine.validation import Figures, means_of, strip
from okdnet_plugin.report import cost
from okdnet_plugin.report.evaluate import Evaluation
from okdnet_plugin.report.plan import PROTOCOLS, Method, Metric, Plan
from okdnet_plugin.report.published import TABLES

# Label, unit, and which end is better.
_KNOWN = {
    'psnr': ('PSNR', 'dB', 'higher'),
    'ssim': ('SSIM', '', 'higher'),
    'loe': ('LOE', '', 'lower'),
    'niqe': ('NIQE', '', 'lower'),
    'brisque': ('BRISQUE', '', 'lower'),
    'pi': ('PI', '', 'lower'),
    'ciede2000': ('CIEDE2000', '', 'lower'),
}
_POINTS = 300  # of a training curve


def collect(plan: Plan, evaluation: Evaluation, command: str) -> dict:
    """All that a report says, in the types of JSON.

    Args:
        plan: what it measures.
        evaluation: what has been measured.
        command: how it was started.
    """
    fingerprints = {
        plan.fingerprint(method, test_set): (method.label, test_set.label)
        for method in plan.methods
        for test_set in plan.sets
        if not method.missing and not test_set.missing
    }
    lines = {(line['fingerprint'], line['index']): line for line in evaluation.lines()}
    groups = defaultdict(list)
    for (fingerprint, _), line in sorted(lines.items()):
        if fingerprint in fingerprints:
            groups[fingerprints[fingerprint]].append(line)
    lengths = {test_set.label: len(test_set.dataset) for test_set in plan.sets if test_set.dataset}
    unfinished = [place for place, group in groups.items() if len(group) < lengths[place[1]]]
    notes = [f'{method} on {test_set}: not finished, so that it has no figures.' for method, test_set in unfinished]
    groups = {place: group for place, group in groups.items() if place not in unfinished}
    metrics = {metric.key: _describe(metric, plan) for metric in plan.metrics}
    results = [_result(plan, evaluation, *place, group, metrics) for place, group in groups.items()]
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
                'weights': method.weights,
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
                'pictures': len(test_set.dataset) if test_set.dataset else None,
                'has_clear': test_set.has_clear,
                'missing': test_set.missing,
            }
            for test_set in plan.sets
        ],
        'results': results,
        'tables': [_table(number, plan, results, costs) for number in plan.settings['tables']],
        'curves': [curve for method in plan.methods for curve in _curves(method)],
        'notes': [*evaluation.failures, *notes],
    }


def write_csv(path: str, lines: Iterable[Mapping]) -> None:
    """One line a method and picture, with its figures.

    Args:
        path: file to write.
        lines: as `Evaluation.lines` gives them.
    """
    lines = list(lines)
    keys = list(dict.fromkeys(key for line in lines for key in line['figures']))
    with open(path, 'w', encoding='utf-8', newline='') as file:
        table = csv.writer(file)
        table.writerow(['set', 'picture', 'method', *keys, 'network_seconds'])
        for line in sorted(lines, key=lambda line: (line['set'], line['picture'], line['method'])):
            figures = [line['figures'].get(key) for key in keys]
            table.writerow([line['set'], line['picture'], line['method'], *figures, line['network_seconds']])


def _describe(metric: Metric, plan: Plan) -> dict:
    label, unit, better = _KNOWN.get(metric.key, (metric.key, '', metric.block.get('better', 'higher')))
    arguments = {key: value for key, value in metric.block.items() if key not in ('type', 'crop_border', 'better')}
    arguments.pop('test_y_channel', None)
    variant = ', '.join(f'{key} {value}' for key, value in arguments.items())
    parts = [
        metric.block['type'].removeprefix('calculate_'),
        variant,
        PROTOCOLS[plan.opt.get('protocol', 'rgb')],
        f'border {metric.block.get("crop_border", 0)}',
        f'read by OpenCV {cv2.__version__}',
    ]
    return {
        'key': metric.key,
        'label': f'{label} ({variant})' if variant and metric.key == 'loe' else label,
        'unit': unit,
        'better': better,
        'protocol': '; '.join(part for part in parts if part),
        'missing': metric.missing,
    }


def _result(
    plan: Plan, evaluation: Evaluation, method: str, test_set: str, lines: Sequence[Mapping], metrics: Mapping
) -> dict:
    rows = [Figures(line['index'], line['figures']) for line in lines]
    figures = {
        key: {'mean': _plain(mean.value), 'count': len(rows), 'infinite': mean.infinite}
        for key, mean in means_of(rows).items()
    }
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
    """Pictures from the best to the worst by the first metric that they have."""
    key = next((key for key in metrics if key in lines[0]['figures']), None)
    if key is None:
        return []
    sign = -1 if metrics[key]['better'] == 'higher' else 1
    return sorted(lines, key=lambda line: (sign * line['figures'][key], line['index']))


def _example(plan: Plan, evaluation: Evaluation, test_set: str, line: Mapping) -> dict:
    kinds = ['hazy', *(method.label for method in plan.methods if method.network), 'clear']
    paths = {kind: evaluation.thumbnail(test_set, line['picture'], kind) for kind in kinds}
    pictures = {kind: cv2.imdecode(np.fromfile(path, np.uint8), 1) for kind, path in paths.items() if osp.exists(path)}
    content = cv2.imencode('.jpg', strip(pictures), [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    return {
        'picture': line['picture'],
        'figures': {key: _plain(value) for key, value in line['figures'].items()},
        'strip': 'data:image/jpeg;base64,' + base64.b64encode(content).decode(),
    }


def _costs(plan: Plan) -> dict[str, dict]:
    """Cost of each method whose network can be built; weights do not matter."""
    size, rounds = plan.settings['cost_size'], plan.settings['cost_rounds']
    device = 'cuda' if torch.cuda.is_available() and plan.opt.get('num_gpu') != 0 else 'cpu'
    networks = {method.label: method for method in plan.methods if method.network}
    nets = {label: method.build().eval().to(device) for label, method in networks.items()}
    times = cost.milliseconds(nets, size, rounds, device)
    return {
        label: {
            'parameters': cost.parameters(net),
            'gmacs': cost.gmacs(net, size),
            'milliseconds': times[label],
            'memory_mb': cost.memory_mb(networks[label].network, size, device),
        }
        for label, net in nets.items()
    }


def _table(number: int, plan: Plan, results: Sequence[Mapping], costs: Mapping) -> dict:
    """A table of the paper, with what was measured beside it."""
    table = TABLES[number]
    measured = {(result['set'], result['method']): result['figures'] for result in results}
    missing = {method.label: method.missing for method in plan.methods}
    missing_sets = {test_set.label: test_set.missing or '' for test_set in plan.sets}
    missing_metrics = {metric.key: metric.missing for metric in plan.metrics}

    def cell(row, method, published):
        if row.metric == 'parameters':
            count = costs.get(method, {}).get('parameters')
            return {'published': published, 'measured': count and count / 1e6, 'remark': None if count else 'not here'}
        figure = measured.get((row.set, method), {}).get(row.metric)
        if figure:
            return {'published': published, 'measured': figure['mean'], 'remark': None}
        reasons = [missing_metrics.get(row.metric, 'not asked for'), missing_sets.get(row.set, 'set not asked for')]
        reasons.append(missing.get(method, 'method not here'))
        return {'published': published, 'measured': None, 'remark': next(filter(None, reasons), 'not measured')}

    rows = [
        {
            'set': row.set,
            'metric': 'parameters, M' if row.metric == 'parameters' else _KNOWN[row.metric][0],
            'better': 'lower' if row.metric == 'parameters' else _KNOWN[row.metric][2],
            'cells': [cell(row, method, value) for method, value in zip(table.methods, row.values, strict=True)],
        }
        for row in table.rows
    ]
    return {'title': table.title, 'note': table.note, 'columns': list(table.methods), 'rows': rows}


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
            if not line.endswith('}\n'):
                continue
            entry = json.loads(line)
            prefix = f'{entry["dataset"]}/' if 'dataset' in entry else ''
            for key, value in entry.items():
                is_figure = isinstance(value, int | float) and not isinstance(value, bool)
                if is_figure and key not in ('iter', 'epoch', 'lr', 'time', 'data_time'):
                    series[prefix + key].append([entry['iter'], value])
    thinned = {key: points[:: math.ceil(len(points) / _POINTS)] for key, points in series.items()}
    return [{'label': method.label, 'series': thinned}] if thinned else []


def _machine(plan: Plan) -> str:
    if torch.cuda.is_available() and plan.opt.get('num_gpu') != 0:
        return torch.cuda.get_device_name()
    return f'CPU, {torch.get_num_threads()} threads'


def _versions() -> dict[str, str]:
    return {
        'okdnet_plugin': okdnet_plugin.__version__,
        'basicsr': basicsr.__version__,
        'torch': torch.__version__,
        'numpy': np.__version__,
        'opencv': cv2.__version__,
    }


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
