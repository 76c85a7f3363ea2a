"""What a test has measured, as files: `metrics.json` of all test sets, and a CSV of the images of each."""

import csv
import importlib.metadata
import io
import json
import os
from collections.abc import Mapping, Sequence
from os import path as osp
from typing import Any

import cv2

from okdnet_plugin import files
from okdnet_plugin.engine.journal import plain
from okdnet_plugin.redaction import redacted

NAME = 'metrics.json'
_OF_THE_PROTOCOL = (
    *('type', 'layout', 'pairing', 'filename_tmpl', 'pairs', 'recursive', 'filter_lq', 'filter_gt', 'meta_info_file'),
    *('resize', 'color', 'scale', 'dataroot_lq', 'dataroot_gt'),
)
_OF_THE_RESTORING = ('tile', 'self_ensemble')  # by which the same weights have other values


def write(
    opt: Mapping,
    block: Mapping,
    images: Sequence[tuple[str, Mapping[str, float]]],
    means: Mapping[str, Mapping],
    failed: int = 0,
) -> None:
    """Add a test set to the files of a test.

    Args:
        opt: the option file; `path: results_root` is where the files go.
        block: that of the test set.
        images: path of each image, and its metric values by name.
        means: by metric `mean`, and what else there is to say.
        failed: images that could not be read or restored, which are none of these.

    Raises:
        SaveError: a file cannot be written.
    """
    folder, name = opt['path']['results_root'], block['name']
    os.makedirs(folder, exist_ok=True)
    told = _read(osp.join(folder, NAME)) or _head(opt)
    metrics = opt['val'].get('metrics') or {}
    entry: dict[str, Any] = {
        'images': len(images),
        'failed': failed,
        'protocol': {
            **{key: block[key] for key in _OF_THE_PROTOCOL if block.get(key) not in (None, False)},
            **{key: opt['val'][key] for key in _OF_THE_RESTORING if opt['val'].get(key)},
        },
        'metrics': {metric: {**mean, **metrics[metric]} for metric, mean in means.items()},
    }
    if means:
        entry['file'] = f'{name}.csv'
        text = io.StringIO()
        table = csv.writer(text, lineterminator='\n')
        table.writerow(['image', *means])
        for path, values in images:
            table.writerow([_below(path, block.get('dataroot_lq')), *(values.get(metric, '') for metric in means)])
        files.write(osp.join(folder, entry['file']), text.getvalue().encode())
    told['datasets'][name] = entry
    files.write(
        osp.join(folder, NAME), json.dumps(redacted(plain(told)), indent=1, ensure_ascii=False).encode() + b'\n'
    )


def decoder() -> str:
    """What has decoded the images: JPEG files have other values, by 1 or 2 of 255, with other libraries."""
    lines = (line.strip() for line in cv2.getBuildInformation().splitlines())
    jpeg = next((line.partition(':')[2].strip() for line in lines if line.startswith('JPEG:')), '?')
    return f'OpenCV {cv2.__version__}, JPEG by {jpeg}'


def _head(opt: Mapping) -> dict[str, Any]:
    paths = opt['path']
    return {
        'name': opt['name'],
        'model_type': opt['model_type'],
        'network_g': opt.get('network_g'),
        'weights': paths.get('pretrain_network_g'),
        'param_key': paths.get('param_key_g'),
        'decoder': decoder(),
        'versions': {name: importlib.metadata.version(name) for name in ('okdnet_plugin', 'basicsr', 'torch')},
        'datasets': {},
    }


def _read(path: str) -> dict[str, Any] | None:
    """What the test sets before have left."""
    if not osp.exists(path):
        return None
    with open(path, encoding='utf-8') as file:
        return json.load(file)


def _below(path: str, root: Any) -> str:
    """A path below the folder of the images, by which other machines know it too."""
    if not isinstance(root, str) or (not osp.isabs(path) and not path.startswith(root)):
        return path
    relative = osp.relpath(path, root)
    return path if relative.startswith(os.pardir) else relative
