"""The dark channel prior against its definitions, and on haze that is known."""

import numpy as np
import pytest
import torch

from okdnet_plugin.archs.dcp_arch import DCP, box_mean, dark_channel, guided_filter


def windows(height: int, width: int, radius: int):
    """Each place of an image, and the square around it as far as it lies in the image."""
    for row in range(height):
        for column in range(width):
            yield (
                (row, column),
                np.s_[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1],
            )


def test_dark_channel_is_the_minimum_of_the_square_and_the_channels():
    hazy = torch.rand(2, 3, 17, 20)
    expected = np.empty((2, 1, 17, 20), np.float32)
    for darkest, result in zip(hazy.numpy().min(1), expected, strict=True):
        for place, square in windows(17, 20, 2):
            result[0][place] = darkest[square].min()
    np.testing.assert_array_equal(dark_channel(hazy, 5).numpy(), expected)


@pytest.mark.parametrize('radius', [1, 4, 60])
def test_box_mean_is_the_mean_of_the_square(radius):
    x = torch.rand(1, 1, 18, 21, dtype=torch.float64)
    expected = np.empty((18, 21))
    for place, square in windows(18, 21, radius):
        expected[place] = x[0, 0].numpy()[square].mean()
    np.testing.assert_allclose(box_mean(x, radius)[0, 0].numpy(), expected, rtol=1e-12)


def test_guided_filter_is_the_mean_of_the_local_linear_fits():
    """Each square's least squares fit of x to the guide, ridge eps on the slope; then the mean of the fits."""
    eps, radius, size = 1e-2, 3, (16, 19)
    guide, x = torch.rand(2, *size, dtype=torch.float64).numpy()
    slope, offset, expected = np.empty(size), np.empty(size), np.empty(size)
    for place, square in windows(*size, radius):
        g, p = guide[square].ravel(), x[square].ravel()
        # The fit minimises sum (a g + b - p)^2 + eps a^2 over the square's pixels.
        normal = np.array([[(g * g).sum() + eps * g.size, g.sum()], [g.sum(), g.size]])
        slope[place], offset[place] = np.linalg.solve(normal, [(g * p).sum(), p.sum()])
    for place, square in windows(*size, radius):
        expected[place] = slope[square].mean() * guide[place] + offset[square].mean()
    filtered = guided_filter(torch.from_numpy(guide)[None, None], torch.from_numpy(x)[None, None], radius, eps)
    np.testing.assert_allclose(filtered[0, 0].numpy(), expected, rtol=1e-9)


def test_guided_filter_keeps_an_edge_of_the_guide_and_smooths_what_the_guide_does_not_show():
    guide = torch.zeros(1, 1, 40, 40)
    guide[..., 20:] = 1
    noisy = guide + 0.1 * torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    filtered = guided_filter(guide, noisy, 8, 1e-4)
    torch.testing.assert_close(filtered, guide, atol=0.06, rtol=0)


def hazy_scene(airlight: tuple[float, ...], t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A scene each of whose pixels lacks one colour, below a sky: hazy and clear, shapes (1, 3, 60, 64)."""
    generator = torch.Generator().manual_seed(0)
    clear = torch.rand(1, 3, 60, 64, generator=generator)
    missing = torch.randint(3, (1, 1, 60, 64), generator=generator)
    clear.scatter_(1, missing, 0)
    transmission = torch.full((60, 1), t)
    transmission[:20] = 0
    a = torch.tensor(airlight)[:, None, None]
    return clear * transmission + a * (1 - transmission), clear


@pytest.mark.parametrize('t', [0.3, 0.7])
def test_known_haze_is_removed(t):
    """Where the dark channel of the clear image is 0, as the prior says, the solution is exact."""
    airlight = (0.9, 0.8, 0.85)
    hazy, clear = hazy_scene(airlight, t)
    net = DCP(omega=1, radius=4).eval()
    torch.testing.assert_close(net.estimate_airlight(hazy).flatten(), torch.tensor(airlight))
    scene = np.s_[..., 20 + 7 + 2 * 4 :, :]  # beyond the reach of the sky: square, and the filter's windows twice
    transmission = net.estimate_transmission(hazy, net.estimate_airlight(hazy))
    torch.testing.assert_close(transmission[scene], torch.full((1, 1, 25, 64), t), atol=1e-4, rtol=0)
    torch.testing.assert_close(net(hazy)[scene], clear[scene], atol=1e-3, rtol=0)


def test_omega_leaves_a_part_of_the_haze():
    """Eq. 12 on a constant image, whose own colour is the airlight: t = 1 - omega."""
    hazy = torch.full((1, 3, 20, 20), 0.5)
    net = DCP(omega=0.8)
    t = net.estimate_transmission(hazy, net.estimate_airlight(hazy))
    torch.testing.assert_close(t, torch.full_like(t, 0.2))


def test_small_transmission_is_bounded():
    """A dark pixel in thick haze is divided by t_min and no less."""
    hazy = torch.full((1, 3, 32, 32), 0.8)
    hazy[..., 16, 16] = 0.79
    output = DCP(omega=1, radius=2, t_min=0.1, patch_size=1)(hazy)
    assert output.min() >= 0.8 - 0.01 / 0.1 - 1e-6


def test_airlight_is_the_brightest_pixel_or_the_mean_of_those_with_the_brightest_dark_channel():
    hazy = torch.rand(2, 3, 20, 24)
    pixels = hazy.flatten(2)
    brightest = torch.stack([image[:, image.sum(0).argmax()] for image in pixels])
    assert torch.equal(DCP(top=1).estimate_airlight(hazy), brightest[..., None, None])
    mean = DCP(top=1, airlight='mean').estimate_airlight(hazy)
    torch.testing.assert_close(mean, hazy.mean((2, 3), keepdim=True))


def test_airlight_ignores_a_white_object_that_is_smaller_than_the_square():
    hazy = torch.full((1, 3, 64, 64), 0.4)
    hazy[..., :24, :] = torch.tensor([0.8, 0.7, 0.75])[:, None, None]
    hazy[..., 50:55, 30:35] = 1
    torch.testing.assert_close(DCP().estimate_airlight(hazy).flatten(), torch.tensor([0.8, 0.7, 0.75]))


@pytest.mark.parametrize(
    'wrong',
    [
        {'patch_size': 14},
        {'omega': 0},
        {'t_min': 0},
        {'top': 1.5},
        {'radius': 0},
        {'eps': 0},
        {'airlight': 'median'},
    ],
    ids=str,
)
def test_wrong_argument_is_named(wrong):
    with pytest.raises(ValueError, match=f'DCP: .*{next(iter(wrong))}'):
        DCP(**wrong)
