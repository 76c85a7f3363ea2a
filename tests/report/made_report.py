"""Reports made up for the tests: one with everything in it, one that means harm, one with nothing."""

import base64
import functools
import math

import cv2
import numpy as np

METHODS = {
    # label: parameters, GMACs, milliseconds, memory, PSNR and SSIM on the first set
    'DCP': (0, None, 310.0, 42.0, 16.61, 0.8546),
    'AOD-Net': (1761, 0.114, 41.0, 61.3, 19.06, 0.8504),
    'GCANet': (702818, 18.41, 604.0, 233.0, 30.06, 0.9596),
    'GridDehazeNet': (955749, 21.49, 845.0, 301.0, 32.14, 0.9836),
    'FFA-Net': (4455913, 287.5, 9120.0, 1210.0, 36.36, 0.9886),
    'OKDNet': (2581227, 46.1, 812.0, 310.5, 30.92, 0.9777),
    'OKDNet small': (660000, 17.2, 212.0, 110.5, 28.33, 0.9612),
}
SETS = {'SOTS indoor': 500, 'SOTS outdoor': 492, 'O-HAZE': 45}


@functools.cache
def strip(seed: int, tiles: int = 3, width: int = 320, height: int = 240) -> str:
    """A scene under less and less haze, side by side, as a JPEG's data URI."""
    rng = np.random.default_rng(seed)
    clear = cv2.resize(rng.integers(0, 256, (5, 7, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    parts = [clear * t + 225 * (1 - t) for t in np.linspace(0.3, 1, tiles)]
    data = cv2.imencode('.jpg', np.hstack(parts).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return f'data:image/jpeg;base64,{base64.b64encode(data).decode()}'


def full() -> dict:
    """A benchmark of seven methods on three sets; one method has no weights, one set is not there."""
    metrics = [
        ('psnr', 'PSNR', 'dB', 'higher', 'RGB, whole image, border 0; OpenCV 4.12.0', None),
        ('ssim', 'SSIM', '', 'higher', 'RGB, whole image, Gaussian window 11, border 0', None),
        ('niqe', 'NIQE', '', 'lower', 'Y of YCbCr, border 0', None),
        ('pi', 'PI', '', 'lower', None, 'PI: not available (install pyiqa)'),
    ]
    keys = ('key', 'label', 'unit', 'better', 'protocol', 'missing')
    report = {
        'name': 'benchmark',
        'made': '2026-11-21 19:10 UTC',
        'command': 'basicsr report -opt options/benchmark.yml',
        'machine': 'CPU, 2 threads',
        'versions': {'okdnet_plugin': '0.1.0', 'basicsr': '1.4.2', 'torch': '2.11.0', 'opencv': '4.12.0'},
        'metrics': [dict(zip(keys, metric, strict=True)) for metric in metrics],
        'methods': [_method(name) for name in METHODS],
        'sets': [
            {'key': _key(n), 'label': n, 'pictures': count, 'has_clear': True, 'missing': None}
            for n, count in SETS.items()
        ],
        'results': [],
        'tables': [_table()],
        'curves': [_curve('OKDNet', 0.2), _curve('OKDNet small', 0.3)],
        'detection': _detection(),
        'images': [_compared('0001'), _compared('0002')],
        'notes': ['The JPEG decoder moves PSNR on SOTS outdoor by up to 1 dB.', 'Indoor images are cropped by 10.'],
    }
    report['sets'].append(
        {
            'key': 'hsts',
            'label': 'HSTS',
            'pictures': None,
            'has_clear': False,
            'missing': 'datasets/HSTS does not exist',
        }
    )
    report['methods'].append(
        {'key': 'dcpdn', 'label': 'DCPDN', 'network': 'DCPDN', 'missing': 'weights models/dcpdn.pth do not exist'}
    )
    for i, (name, (*_, psnr, ssim)) in enumerate(METHODS.items()):
        for k, (dataset, count) in enumerate(SETS.items()):
            report['results'].append(_result(i, name, dataset, count, psnr - 3 * k, ssim - 0.05 * k))
    report['results'][5]['figures']['psnr']['count'] = 40
    return report


def _key(name: str) -> str:
    return name.lower().replace(' ', '_')


def _method(name: str) -> dict:
    parameters, gmacs, milliseconds, memory, *_ = METHODS[name]
    return {
        'key': _key(name),
        'label': name,
        'network': name.replace(' small', ''),
        'weights': f'experiments/{_key(name)}_its_300k/models/net_g_latest.pth' if parameters else None,
        'missing': None,
        'parameters': parameters,
        'gmacs': gmacs,
        'milliseconds': milliseconds,
        'memory_mb': memory,
        'cost_size': [460, 620],
    }


def _result(index: int, name: str, dataset: str, count: int, psnr: float, ssim: float) -> dict:
    def image(rank: int, sign: int) -> dict:
        figures = {'psnr': psnr + sign * (6 - rank), 'ssim': min(1.0, ssim + sign * 0.02)}
        return {'picture': f'{1400 + rank}_{index}', 'figures': figures, 'strip': strip(10 * index + rank + sign)}

    return {
        'method': _key(name),
        'set': _key(dataset),
        'figures': {
            'psnr': {'mean': psnr, 'count': count, 'infinite': 0},
            'ssim': {'mean': ssim, 'count': count, 'infinite': 0},
            'niqe': {'mean': 6 - psnr / 10, 'count': count, 'infinite': 0},
        },
        'seconds': {'network': 0.8 * count, 'all': 0.9 * count},
        'best': [image(rank, 1) for rank in (1, 2)] if index in (2, 5) else [],
        'worst': [image(rank, -1) for rank in (1, 2)] if index in (2, 5) else [],
    }


def _table() -> dict:
    names = ['DCP', 'AOD-Net', 'DCPDN', 'GCANet', 'FFA-Net', 'OKDNet']
    published = {
        ('SOTS indoor', 'PSNR'): (16.62, 19.06, 15.85, 30.23, 36.39, 30.92),
        ('SOTS indoor', 'SSIM'): (0.8179, 0.8504, 0.8175, 0.98, 0.9886, None),
        ('SOTS outdoor', 'PSNR'): (19.13, 20.29, 19.93, None, 33.57, 30.1),
    }
    measured = {name: (METHODS[name][4], METHODS[name][5], METHODS[name][4] - 3) for name in names if name in METHODS}
    rows = []
    for i, ((dataset, metric), values) in enumerate(published.items()):
        cells = [
            {'published': value, 'measured': measured[n][i], 'remark': None}
            if n in measured
            else {'published': value, 'measured': None, 'remark': 'no weights'}
            for n, value in zip(names, values, strict=True)
        ]
        rows.append({'set': dataset, 'metric': metric, 'better': 'higher', 'cells': cells})
    return {
        'title': 'Table 1: SOTS',
        'note': 'The text of the paper gives 30.10 dB where the table gives 30.92 dB.',
        'columns': names,
        'rows': rows,
    }


def _compared(name: str) -> dict:
    columns = [
        {'label': 'hazy', 'figures': {'psnr': 12.5}, 'strip': strip(7, 1, 960)},
        {'label': 'OKDNet', 'figures': {'psnr': 30.5}, 'strip': strip(8, 1, 960)},
    ]
    return {'set': 'O-HAZE', 'picture': name, 'columns': columns}


def _detection() -> dict:
    rows = [
        {'method': name, 'pictures': 25, 'scores': [0.9, 0.4, 0.1], 'ap50': ap50, 'ap': ap50 and ap50 / 2}
        for name, ap50 in (('hazy input', 0.5), ('OKDNet', 0.75), ('AOD-Net', None))
    ]
    strips = [{'picture': '0001', 'strip': strip(5), 'counts': {'hazy input': 2, 'OKDNet': 3}}]
    parts = {'pictures': 25, 'objects': 40, 'rows': rows, 'strips': strips}
    return {
        'model': 'nanodet_m.onnx',
        'format': 'nanodet',
        'classes': 80,
        'score': 0.35,
        'sets': [
            {'set': 'RTTS', 'reference': 'annotations', **parts},
            {'set': 'SOTS-outdoor', 'reference': 'clear images', **parts},
            {'set': 'photographs', 'reference': None, **parts},
        ],
    }


def _curve(name: str, start: float) -> dict:
    rng = np.random.default_rng(0)
    steps = np.arange(100, 100_001, 100)
    loss = start * np.exp(-steps / 30_000) + 0.02 + 0.005 * rng.standard_normal(len(steps))
    psnr = [[int(step), 30 - 12 * math.exp(-step / 25_000)] for step in range(5000, 100_001, 5000)]
    return {
        'label': name,
        'series': {
            'l_pix': [[int(step), float(value)] for step, value in zip(steps, loss, strict=True)],
            'lr': [[int(step), 1e-4 * 0.5 ** (step // 40_000)] for step in steps],
            'SOTS-indoor/psnr': psnr,
        },
    }


HOSTILE = '<script>alert("x")</script> & \'|` *_[a](b) \N{RIGHT-TO-LEFT OVERRIDE} 霧除去 \x00 \udcff --> ]]>'


def hostile() -> dict:
    """The full report with something that means harm at the end of every text, and two strips that do."""
    report = _spoiled(full())
    report['results'][15]['worst'][0]['strip'] = 'javascript:alert(1)'
    report['results'][15]['worst'][1]['strip'] = 'data:image/svg+xml;base64,PHN2Zy8+'
    return report


def _spoiled(value):
    if isinstance(value, dict):
        return {
            key + HOSTILE if key in ('l_pix', 'torch', 'psnr', 'ssim', 'niqe') else key: entry
            if key in ('better', 'strip')
            else _spoiled(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [_spoiled(entry) for entry in value]
    return value + HOSTILE if isinstance(value, str) else value
