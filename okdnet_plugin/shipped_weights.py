"""Weights that come with the package, NAME.safetensors each in `weights/`: their names, files and metadata.

Nothing here needs torch.
"""

import json
import os
from collections.abc import Mapping
from os import path as osp

from okdnet_plugin.errors import InputError
from okdnet_plugin.files import open_regular_file

FOLDER = osp.join(osp.dirname(__file__), 'weights')
DEFAULT = 'okdnet'
"""What is used where no weights are named."""
_ENDING = '.safetensors'
_LENGTH = 8  # bytes of a safetensors file before its header, which say how long that is
_LARGEST_HEADER = 100_000_000  # bytes


def names() -> list[str]:
    """Names of the weights, each of which may stand where a file of weights is asked for."""
    return sorted(name.removesuffix(_ENDING) for name in os.listdir(FOLDER) if name.endswith(_ENDING))


def path_of(name: str) -> str:
    """The file of weights that come with the package.

    Raises:
        InputError: there are none of that name.
    """
    if name not in names():
        raise InputError(f'no weights named {name} come with this package; there are: {", ".join(names()) or "none"}')
    return osp.join(FOLDER, f'{name}{_ENDING}')


def resolve(path: str) -> str:
    """The file that is meant: the path itself, or, where nothing has that path, weights of the package by name."""
    return path_of(path) if not osp.exists(path) and path in names() else path


def metadata_of(path: str) -> Mapping[str, str]:
    """What a safetensors file tells of its weights, texts by name.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    try:
        with open_regular_file(path) as file:
            length = int.from_bytes(file.read(_LENGTH), 'little')
            header = json.loads(file.read(min(length, _LARGEST_HEADER)))
        metadata = header.get('__metadata__') or {}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f'weights {path} cannot be read: {error.strerror}') from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f'weights {path} are no whole safetensors file; install the package again') from error
    return {str(name): str(text) for name, text in metadata.items()}
