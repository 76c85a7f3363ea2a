"""Parameters of every network of the comparison: as published, as counted in what was released, and here.

  parameter_table.py             prints the table of docs/comparison.md

Networks are built without memory (on the meta device), which takes seconds and needs no GPU.
"""

import argparse
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

import okdnet_plugin  # goes first: it patches BasicSR

# isort: split
from basicsr.utils.registry import ARCH_REGISTRY


class Method(NamedTuple):
    """One line of the table.

    Args:
        label: name of the method.
        type: name of the network.
        options: its arguments beside the defaults.
        published: what its paper, or Table 1 of OKDNet's, says.
        counted: parameters of the released network, or None if there is none to be read.
    """

    label: str
    type: str
    options: Mapping[str, Any]
    published: str
    counted: int | None


METHODS = (
    Method('DCP', 'DCP', {}, '-', None),
    Method('DCPDN', 'DCPDN', {}, '0.94 M', 12_439_766),
    Method('DCPDN with its unused generator', 'DCPDN', {'unused': 'all'}, '-', 66_889_917),
    Method('EPDN', 'EPDN', {}, '35.86 M', 17_379_249),
    Method('AOD-Net', 'AODNet', {}, '0.09 M', 1_761),
    Method('GridDehazeNet', 'GridDehazeNet', {}, '0.96 M', 958_051),
    Method('DA, one network', 'DADehazer', {}, '54.59 M', 54_591_388),
    Method('MSBDN', 'MSBDN', {}, '28.71 M', 28_712_861),
    Method('MSBDN-DFF', 'MSBDN', {'dense_branch': False}, '-', 31_353_061),
    Method('PSD-FFA', 'PSD', {}, '6.2 M', 6_204_857),
    Method('PSD-GCANet', 'PSD', {'backbone': 'gca'}, '-', 2_412_594),
    Method('PSD-MSBDN', 'PSD', {'backbone': 'msbdn'}, '-', 33_110_786),
    Method('OKDNet', 'OKDNet', {}, '2.58 M', None),
    Method('FFA-Net', 'FFANet', {}, '-', 4_455_913),
    Method('GCANet', 'GCANet', {}, '-', 702_818),
    Method('gUNet-T', 'gUNet', {}, '0.805 M', 844_899),
    Method('gUNet-S', 'gUNet', {'num_blocks': [4, 4, 4, 8, 4, 4, 4]}, '1.413 M', 1_477_059),
    Method('DehazeFormer-T', 'DehazeFormer', {}, '0.686 M', 687_404),
    Method(
        'DehazeFormer-S',
        'DehazeFormer',
        {'num_blocks': [8, 8, 8, 4, 4], 'attention': [0.25, 0.5, 0.75, 0, 0]},
        '1.283 M',
        1_284_884,
    ),
)


def count(method: Method) -> tuple[int, int]:
    """All parameters of a network, and those that are trained."""
    with torch.device('meta'):
        net = ARCH_REGISTRY.get(method.type)(**method.options)
    parameters = list(net.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def table() -> str:
    """The table as Markdown."""
    lines = [
        '| method | `network_g` | published | counted in the release | here | of them trained |',
        '|---|---|---|---|---|---|',
    ]
    for method in METHODS:
        block = ', '.join(f'{key}: {value}' for key, value in {'type': method.type, **method.options}.items())
        counted = '-' if method.counted is None else f'{method.counted:,}'
        here, trained = (f'{number:,}' for number in count(method))
        lines.append(f'| {method.label} | `{{{block}}}` | {method.published} | {counted} | {here} | {trained} |')
    return '\n'.join(lines)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    okdnet_plugin.register()
    print(table())


if __name__ == '__main__':
    main()
