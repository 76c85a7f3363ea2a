"""Re-make genuine hazy images of RESIDE from clear images and depth, and say how near they come.

  check_sots.py CLEAR_DIR DEPTH_DIR HAZY_DIR                    SOTS-indoor
  check_sots.py CLEAR_DIR DEPTH_DIR HAZY_DIR --layout its       ITS

A clear image is 1400.png, cropped to 620x460 or with the white frame of the original files; its depth has the same
stem, and a hazy image is 1400_3.png, the third of ten. Only scenes that all three folders hold are compared. The
images are made by SyntheticHazeDataset with the preset sots_indoor; PSNR is BasicSR's, in dB, of RGB.

A hazy image of ITS is 1_2_0.97842.png, whose last number is the airlight; its beta, which no name tells, is fitted.
Depth is divided by its largest value, may be named 0001.png, and may be that of the middle of the image.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

import okdnet_plugin  # noqa: F401  goes first: it patches BasicSR

# isort: split
from basicsr.metrics import calculate_psnr
from basicsr.utils import tensor2img

from okdnet_plugin.data.depth import DEPTH_EXTENSIONS, DepthRule, decode_depth, distances
from okdnet_plugin.data.haze import add_haze, transmission
from okdnet_plugin.data.image_sources import IMAGE_EXTENSIONS
from okdnet_plugin.data.images import decode
from okdnet_plugin.data.layouts import get_layout
from okdnet_plugin.data.synthetic_haze_dataset import SyntheticHazeDataset
from okdnet_plugin.errors import InputError

BETAS = (0.4, 2.0)  # of ITS: 0.6 to 1.8


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        figures = check_its(args) if args.layout == 'its' else check(args)
    except (InputError, OSError) as error:
        print(f'{Path(__file__).name}: error: {error}', file=sys.stderr)
        return 2
    print(f'{len(figures)} images: minimum {min(figures):.2f} dB, mean {sum(figures) / len(figures):.2f} dB')
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('clear', type=Path, metavar='CLEAR_DIR', help='folder of clear images')
    parser.add_argument('depth', type=Path, metavar='DEPTH_DIR', help='folder of their depth')
    parser.add_argument('hazy', type=Path, metavar='HAZY_DIR', help='folder of genuine hazy images')
    parser.add_argument('--layout', choices=('sots_indoor', 'its'), default='sots_indoor', help='default: %(default)s')
    parser.add_argument(
        '--depth-smooth', type=int, default=0, metavar='PX', help='radius, as the option depth_smooth (default: 0)'
    )
    parser.add_argument(
        '--depth-scale', type=float, default=6553.5, help='depth = value / scale (default: %(default)s)'
    )
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> list[float]:
    """Print and return the PSNR of each hazy image.

    Raises:
        InputError: the folders have no scene in common, or an image of one cannot be used.
    """
    clear, depth = files(args.clear, IMAGE_EXTENSIONS), files(args.depth, DEPTH_EXTENSIONS)
    hazy = files(args.hazy, IMAGE_EXTENSIONS)
    scenes = {get_layout('sots_indoor').hazy_scene(file.name) for file in hazy.values()}
    common = sorted(scene for scene in clear.keys() & depth.keys() if scene in scenes)
    if not common:
        raise InputError(
            f'{args.clear}, {args.depth} and {args.hazy} have no scene in common; a scene has files such as 1400.png, '
            '1400.png and 1400_3.png in them'
        )
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / 'list.txt'
        listed.write_text(''.join(f'{clear[scene].name}\n' for scene in common), encoding='utf-8')
        remade = SyntheticHazeDataset(
            {
                'name': 'SOTS-indoor',
                'phase': 'test',
                'preset': 'sots_indoor',
                'dataroot_gt': str(args.clear),
                'meta_info_file': str(listed),
                'dataroot_depth': str(args.depth),
                'depth_scale': args.depth_scale,
                'depth_smooth': args.depth_smooth,
            }
        )
    figures = []
    for index in range(len(remade)):
        stem = Path(remade.lq_path(index)).stem
        if stem in hazy:
            figures.append(psnr(tensor2img(remade[index]['lq']), hazy[stem]))
            print(f'{stem} {figures[-1]:.2f} dB')
    return figures


def check_its(args: argparse.Namespace) -> list[float]:
    """Print and return the PSNR of each hazy image of ITS.

    Raises:
        InputError: the folders have no scene in common, or an image of one cannot be used.
    """
    clear = {_scene(stem): file for stem, file in files(args.clear, IMAGE_EXTENSIONS).items()}
    depth = {_scene(stem): file for stem, file in files(args.depth, DEPTH_EXTENSIONS).items()}
    hazy = files(args.hazy, IMAGE_EXTENSIONS)
    figures = []
    for stem, file in hazy.items():
        scene, _, airlight = [*stem.split('_'), '', ''][:3]
        if _scene(scene) not in clear or _scene(scene) not in depth:
            continue
        label = str(depth[_scene(scene)])
        values = decode_depth(Path(label).read_bytes(), label)
        away = distances(values, DepthRule(norm='max', smooth=args.depth_smooth), label)
        img, genuine = (
            _middle(decode(path.read_bytes(), str(path)), away.shape, path) for path in (clear[_scene(scene)], file)
        )
        try:
            light = 255 * float(airlight)
        except ValueError as error:
            raise InputError(f'{file}: its name is none of ITS, as 1_2_0.97842.png') from error

        def fit(beta: float, img=img, genuine=genuine, away=away, light=light) -> float:
            remade = np.rint(add_haze(img.astype(np.float32), transmission(away, beta), light)).astype(np.uint8)
            return calculate_psnr(remade, genuine, crop_border=0)

        beta = max(np.linspace(*BETAS, 25), key=fit)
        for step in (0.02, 0.005, 0.001):
            beta = max((beta + step * k for k in range(-3, 4)), key=fit)
        figures.append(fit(beta))
        print(f'{stem} {figures[-1]:.2f} dB')
    if not figures:
        raise InputError(f'{args.clear}, {args.depth} and {args.hazy} have no scene in common')
    return figures


def _scene(stem: str) -> str:
    return stem.lstrip('0')


def _middle(img: np.ndarray, size: tuple[int, ...], file: Path) -> np.ndarray:
    """The middle of an image, of a size."""
    top, left = ((img.shape[axis] - size[axis]) // 2 for axis in (0, 1))
    if min(top, left) < 0:
        raise InputError(
            f'{file} is {img.shape[0]}x{img.shape[1]}, smaller than its depth, {size[0]}x{size[1]} (height x width); '
            'give the original files'
        )
    return img[top : top + size[0], left : left + size[1]]


def files(folder: Path, extensions: tuple[str, ...]) -> dict[str, Path]:
    """Files of a folder by their stems."""
    return {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in extensions}


def psnr(remade, file: Path) -> float:
    genuine = cv2.imread(str(file))
    if genuine is None or genuine.shape != remade.shape:
        found = 'cannot be read' if genuine is None else f'is {genuine.shape[0]}x{genuine.shape[1]}'
        raise InputError(
            f'{file} {found}, and the remade image is {remade.shape[0]}x{remade.shape[1]} (height x width); give '
            'the original files'
        )
    return calculate_psnr(remade, genuine, crop_border=0)


if __name__ == '__main__':
    sys.exit(main())
