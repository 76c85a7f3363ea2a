"""What the paper's tables say, to be set beside what is measured.

Source: Lan et al., "Online knowledge distillation network for single image dehazing", Scientific Reports 12, 2022,
Tables 1 to 4.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """One line of a table.

    Args:
        set: name of the data set, as in the option file of a report.
        metric: key of the metric, or `parameters` (in millions).
        values: in the order of the table's methods; None where the paper has a dash.
    """

    set: str
    metric: str
    values: tuple[float | None, ...]


class Table(NamedTuple):
    """One table of the paper.

    Args:
        title: number and subject.
        methods: names of its columns, as in the option file of a report.
        rows: its lines.
        note: what to know of its figures.
    """

    title: str
    methods: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str


_METHODS = ('DCP', 'DCPDN', 'EPDN', 'AOD-Net', 'GridDehazeNet', 'DA', 'MSBDN', 'PSD', 'OKDNet')
_VARIANTS = ('A', 'B', 'C', 'D', 'E', 'F')

TABLES = {
    1: Table(
        'Table 1: SOTS',
        _METHODS,
        (
            Row('SOTS-indoor', 'psnr', (19.95, 20.85, 25.09, 19.12, 32.16, 30.32, 32.67, 16.32, 30.92)),
            Row('SOTS-indoor', 'ssim', (0.872, 0.875, 0.932, 0.845, 0.984, 0.981, 0.983, 0.729, 0.988)),
            Row('SOTS-indoor', 'loe', (227.94, 331.51, 258.30, 266.54, 188.55, 247.55, 168.34, 320.59, 131.10)),
            Row('SOTS-indoor', 'niqe', (4.385, 4.801, 4.618, 4.106, 4.231, 4.830, 4.839, 3.8310, 3.319)),
            Row('SOTS-outdoor', 'psnr', (20.44, 20.08, 20.31, 21.47, 16.21, 22.59, 23.16, 15.15, 23.38)),
            Row('SOTS-outdoor', 'ssim', (0.898, 0.896, 0.902, 0.922, 0.783, 0.927, 0.936, 0.771, 0.938)),
            Row('SOTS-outdoor', 'loe', (205.45, 148.121, 338.77, 277.79, 337.83, 116.72, 72.19, 314.94, 53.60)),
            Row('SOTS-outdoor', 'niqe', (3.1242, 2.984, 3.206, 3.586, 3.158, 2.897, 3.702, 3.388, 2.849)),
            Row('', 'parameters', (None, 0.94, 35.86, 0.09, 0.96, 54.59, 28.71, 6.2, 2.58)),
        ),
        'The caption says outdoor, but the table has both. DCP, AOD-Net and DCPDN differ from the figures that RESIDE '
        'itself reports. The parameters of DCPDN, EPDN and AOD-Net are not those of their public networks (AOD-Net has '
        '1,761). Neither the reference image nor the variant of LOE is stated, nor the protocol of PSNR and SSIM.',
    ),
    2: Table(
        'Table 2: I-HAZE and O-HAZE',
        _METHODS,
        (
            Row('I-HAZE', 'psnr', (12.31, 14.27, 15.86, 15.06, 13.01, 17.10, 16.73, 12.92, 17.16)),
            Row('I-HAZE', 'ssim', (0.676, 0.826, 0.751, 0.772, 0.634, 0.807, 0.798, 0.712, 0.814)),
            Row('I-HAZE', 'loe', (453.87, 422.31, 397.41, 534.94, 462.81, 303.67, 309.10, 388.65, 275.75)),
            Row('I-HAZE', 'niqe', (4.738, 4.683, 4.517, 3.993, 4.841, 6.734, 5.868, 4.335, 3.743)),
            Row('O-HAZE', 'psnr', (14.94, 13.79, 16.23, 16.61, 13.83, 18.37, 18.08, 14.46, 18.96)),
            Row('O-HAZE', 'ssim', (0.672, 0.726, 0.716, 0.696, 0.707, 0.712, 0.765, 0.677, 0.837)),
            Row('O-HAZE', 'loe', (560.00, 337.03, 260.21, 464.47, 538.58, 203.86, 332.23, 453.27, 180.33)),
            Row('O-HAZE', 'niqe', (3.132, 3.330, 2.777, 2.670, 2.798, 6.056, 4.524, 3.813, 2.789)),
        ),
        'The size at which the images were tested is not stated; full-size ones have ten and more megapixels.',
    ),
    3: Table(
        'Table 3: photographs without clear ones',
        ('hazy input', *_METHODS),
        (
            Row('real photographs', 'niqe', (3.783, 3.521, 4.201, 3.392, 3.299, 3.938, 4.499, 4.003, 3.835, 3.088)),
            Row('real photographs', 'brisque', (18.96, 13.74, 18.97, 14.62, 15.49, 17.59, 14.47, 15.36, 16.59, 13.05)),
            Row('real photographs', 'pi', (2.665, 2.323, 2.683, 2.264, 2.242, 2.561, 3.697, 2.592, 3.2048, 2.015)),
            Row('URHI', 'niqe', (4.715, 3.982, 4.058, 3.942, 3.902, 6.128, 4.388, 4.605, 3.822, 3.539)),
            Row('URHI', 'brisque', (33.73, 27.62, 27.89, 22.22, 31.65, 23.23, 21.79, 27.36, 24.26, 19.36)),
            Row('URHI', 'pi', (4.544, 3.198, 3.975, 3.224, 4.058, 4.929, 4.326, 3.381, 3.194, 3.038)),
        ),
        'Which photographs the paper took is not stated. Figures of NIQE, BRISQUE and PI differ between programs; here '
        'the protocol list says which one measured.',
    ),
    4: Table(
        'Table 4: ablation',
        _VARIANTS,
        (
            Row('SOTS-outdoor', 'psnr', (22.18, 23.06, 20.64, 22.67, 23.21, 23.38)),
            Row('SOTS-outdoor', 'ssim', (0.902, 0.924, 0.765, 0.912, 0.925, 0.938)),
            Row('I-HAZE', 'psnr', (15.66, 16.85, 14.38, 17.06, 16.71, 17.16)),
            Row('I-HAZE', 'ssim', (0.696, 0.774, 0.702, 0.801, 0.749, 0.814)),
            Row('O-HAZE', 'psnr', (17.04, 18.23, 16.25, 17.73, 18.54, 18.96)),
            Row('O-HAZE', 'ssim', (0.738, 0.811, 0.742, 0.784, 0.803, 0.837)),
        ),
        'A: residual dense blocks without attention; B: feature aggregation unit in place of the block; C: one scale; '
        'D, E: without the distillation of the model-based, the model-free branch; F: all.',
    ),
}
