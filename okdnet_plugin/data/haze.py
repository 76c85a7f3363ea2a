"""The atmospheric scattering model: how haze lays itself over a clear image, evenly or not.

`window` is a part of an image, its rows and its columns: what is computed for it alone is what the whole image has
there.
"""

from functools import lru_cache, reduce
from operator import add

import numpy as np

Window = tuple[slice, slice]
WHOLE = np.s_[:, :]

_THICKEST = 80  # optical depth: e^-80 is still above zero in float32, and far below what an image can show
_LOWEST = -30  # of falloff * depth * sine: e^30 is thick enough for any beta, and leaves float32 room to multiply
_OCTAVES = 4


def transmission(depth: np.ndarray, beta: float | np.ndarray) -> np.ndarray:
    """Share of a scene's light that reaches the camera through haze, t = exp(-beta d).

    Source: Narasimhan and Nayar, "Vision and the Atmosphere", IJCV 2002; it is the t of OKDNet's Eq. (1).

    Args:
        depth: distance from the camera, (H, W), finite and >= 0; ITS scales it to at most 1.
        beta: scattering coefficient per unit of depth, >= 0: one number for homogeneous haze, or one for each pixel,
            (H, W); ITS draws one from [0.6, 1.8].

    Returns:
        Transmission, (H, W), in (0, 1] and of depth's dtype.

    Raises:
        ValueError: a depth is negative or not finite, or beta is negative.
    """
    if np.min(beta) < 0:
        raise ValueError(f'beta must not be negative, but is {np.min(beta)}')
    if not (np.isfinite(depth).all() and (depth >= 0).all()):
        raise ValueError('depth must be finite and not negative')
    return np.exp(-np.minimum(beta * depth, _THICKEST))


def add_haze(clear: np.ndarray, transmission: np.ndarray, airlight: float | np.ndarray) -> np.ndarray:
    """Hazy image of a clear one, I = J t + A (1 - t).

    Source: OKDNet, Eq. (1).

    Args:
        clear: the image J, (H, W, C), in [0, 1]; or in [0, 255], with the airlight likewise.
        transmission: t, (H, W), in (0, 1].
        airlight: A, the colour of infinitely thick haze: one number, or one for each channel, in [0, 1];
            ITS draws one number from [0.7, 1.0].

    Returns:
        The image I, (H, W, C), between clear image and airlight; of transmission's dtype, or clear's if that is
        wider.

    Raises:
        ValueError: the image and the transmission differ in size.
    """
    if clear.shape[:2] != transmission.shape:
        raise ValueError(f'image of {clear.shape[:2]} and transmission of {transmission.shape} differ in size')
    t = np.stack([transmission] * clear.shape[2], axis=-1)  # broadcast along so short an axis, it would be slow
    hazy, veil = clear * t, 1 - t
    veil *= airlight
    hazy += veil
    return hazy


def sine_of_elevation(height: int, fov: float) -> np.ndarray:
    """Sine of the angle by which the rays of an image's rows rise; the camera looks level, at the middle row.

    A ray beside the middle column is taken to rise like the one at the middle of its row.

    Args:
        height: of the whole image, in px.
        fov: vertical field of view, in degrees, within (0, 180).

    Returns:
        (H, 1), float32, falling from the top row to the bottom one, and antisymmetric about the middle.
    """
    focal_length = height / 2 / np.tan(np.radians(fov) / 2)
    slope = (height / 2 - np.arange(height) - 0.5) / focal_length
    return (slope / np.hypot(1, slope))[:, None].astype(np.float32)


def equivalent_distance(depth: np.ndarray, sine: np.ndarray, falloff: float) -> np.ndarray:
    """Distance in homogeneous haze that veils as much as `depth` in haze which thins out with height.

    Where extinction is beta exp(-falloff h) at the height h above the camera, the optical depth of a ray is the
    integral of beta exp(-falloff s sine) over its points s from 0 to d, which is beta times
    d (1 - exp(-u)) / u with u = falloff d sine. A level ray, u = 0, has beta d. Below the camera haze is thicker.

    Args:
        depth: length of the ray of each pixel, (H, W), finite and >= 0.
        sine: of the ray's elevation, (H, W) or (H, 1), in (-1, 1).
        falloff: of the extinction, per unit of depth, >= 0; 0 is homogeneous haze, and the inverse is the height over
            which it falls to 1/e.

    Returns:
        Distance, (H, W), >= 0, of depth's dtype.
    """
    u = np.maximum(falloff * depth * sine, _LOWEST)
    # expm1: 1 - exp(-u) would lose all its digits near the horizon.
    return depth * np.divide(-np.expm1(-u), u, out=np.ones_like(u), where=u != 0)


def patches(height: int, width: int, patchiness: float, rng: np.random.Generator, window: Window = WHOLE) -> np.ndarray:
    """What the scattering coefficient of patchy haze is multiplied by: a random smooth field of mean 1.

    It sums octaves of random grids, each with cells of half the size and weights of half the amplitude of the one
    before, from half of the longer edge on. Cubic B-splines make each of them smooth.

    Source: the sum of octaves is that of Perlin, "An Image Synthesizer", SIGGRAPH 1985.

    Args:
        height, width: of the whole image, in px.
        patchiness: in [0, 1]; 0 is homogeneous haze, with 1 the thinnest place of the image has none.
        rng: draws the field; how much it draws depends on the size of the whole image alone.
        window: part of the image to give the field of.

    Returns:
        The field, float32, of the window's size, >= 0; its mean over the whole image is 1.
    """
    longer = max(height, width)
    octaves = []
    for octave in range(_OCTAVES):
        cell = longer / 2 ** (octave + 1)
        rows, columns = _spline(height, cell), _spline(width, cell)
        grid = rng.random((rows.shape[1], columns.shape[1]), dtype=np.float32) / 2**octave
        octaves.append((rows, grid, columns.T))

    mean = sum(rows.mean(0) @ grid @ columns.mean(1) for rows, grid, columns in octaves)
    step = max(1, longer // 128)  # an eighth of the smallest cell: no valley between them is much deeper
    lowest = _field(octaves, np.s_[::step, ::step]).min()
    field = (_field(octaves, window) - mean) * (patchiness / max(mean - lowest, 1e-6)) + 1
    return np.maximum(field, 0, dtype=np.float32)


def _field(octaves: list[tuple[np.ndarray, ...]], window: Window) -> np.ndarray:
    return reduce(add, (rows[window[0]] @ grid @ columns[:, window[1]] for rows, grid, columns in octaves))


@lru_cache(maxsize=256)
def _spline(length: int, cell: float) -> np.ndarray:
    """Weights that spread the knots of a uniform cubic B-spline over pixels, (length, knots); each row sums to 1."""
    place = (np.arange(length) + 0.5) / cell
    knot = place.astype(int)
    x = place - knot
    weights = np.zeros((length, knot[-1] + 4), np.float32)
    blends = ((1 - x) ** 3, 3 * x**3 - 6 * x**2 + 4, -3 * x**3 + 3 * x**2 + 3 * x + 1, x**3)
    for offset, blend in enumerate(blends):
        weights[np.arange(length), knot + offset] = blend / 6
    weights.flags.writeable = False
    return weights
