"""The atmospheric scattering model: how haze lays itself over a clear picture."""

import numpy as np


def transmission(depth: np.ndarray, beta: float) -> np.ndarray:
    """Share of a scene's light that reaches the camera through homogeneous haze, t = exp(-beta d).

    Source: Narasimhan and Nayar, "Vision and the Atmosphere", IJCV 2002; it is the t of OKDNet's Eq. (1).

    Args:
        depth: distance from the camera, (H, W), finite and >= 0; ITS scales it to at most 1.
        beta: scattering coefficient per unit of depth, >= 0; ITS draws it from [0.6, 1.8].

    Returns:
        Transmission, (H, W), in (0, 1] and of depth's dtype.

    Raises:
        ValueError: a depth is negative or not finite, or beta is negative.
    """
    if beta < 0:
        raise ValueError(f'beta must not be negative, but is {beta}')
    if not (np.isfinite(depth).all() and (depth >= 0).all()):
        raise ValueError('depth must be finite and not negative')
    return np.exp(-beta * depth)


def add_haze(clear: np.ndarray, transmission: np.ndarray, airlight: float | np.ndarray) -> np.ndarray:
    """Hazy picture of a clear one, I = J t + A (1 - t).

    Source: OKDNet, Eq. (1).

    Args:
        clear: the picture J, (H, W, C), in [0, 1].
        transmission: t, (H, W), in (0, 1].
        airlight: A, the colour of infinitely thick haze: one number, or one for each channel, in [0, 1];
            ITS draws one number from [0.7, 1.0].

    Returns:
        The picture I, (H, W, C), in [0, 1].

    Raises:
        ValueError: the picture and the transmission differ in size.
    """
    if clear.shape[:2] != transmission.shape:
        raise ValueError(f'picture of {clear.shape[:2]} and transmission of {transmission.shape} differ in size')
    t = transmission[..., None]
    return clear * t + airlight * (1 - t)
