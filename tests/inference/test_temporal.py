import math

import pytest
import torch

from okdnet_plugin.inference.video.temporal import AirlightSmoother, SceneCuts, flicker


def airlight(value: float) -> torch.Tensor:
    return torch.full((1, 3, 1, 1), value)


def smoothed(values, stamps, time_constant=1.0):
    smoother = AirlightSmoother(time_constant)
    return [float(smoother(airlight(value), time)[0, 0]) for value, time in zip(values, stamps, strict=True)]


def test_what_does_not_change_stays():
    assert smoothed([0.8] * 20, [0.04 * number for number in range(20)]) == pytest.approx([0.8] * 20)


def test_noise_shrinks_as_the_weights_say():
    torch.manual_seed(0)
    noise = (0.5 + 0.1 * torch.randn(4000)).tolist()
    calm = torch.tensor(smoothed(noise, [0.04 * number for number in range(4000)])[500:])
    gain = 1 - math.exp(-0.04)
    assert float(calm.std()) == pytest.approx(0.1 * math.sqrt(gain / (2 - gain)), rel=0.25)
    assert float(calm.mean()) == pytest.approx(0.5, abs=0.01)


def test_after_a_step_the_time_constant_passes_until_63_percent_whatever_the_frame_rate():
    for rate in (10, 25, 120):
        stamps = [number / rate for number in range(12 * rate + 1)]
        values = [0.0 if time < 10 else 1.0 for time in stamps]
        values_at = dict(zip(stamps, smoothed(values, stamps), strict=True))
        assert values_at[11.0] == pytest.approx(1 - math.exp(-1), abs=0.04 if rate == 10 else 0.02)


def test_frames_that_come_in_bursts_weigh_no_more_than_the_time_they_cover():
    pairs = [(0.2, float(number)) for number in range(50)]
    bursts = [(0.8, number + 0.01 * part) for number in range(50) for part in range(1, 20)]
    stamps = sorted(pairs + bursts, key=lambda pair: pair[1])
    last = smoothed([value for value, _ in stamps], [time for _, time in stamps], time_constant=5)[-1]
    assert 0.2 < last < 0.4  # an average over frames would be near 0.8


def test_the_first_frames_are_averaged_evenly():
    assert smoothed([0.4, 0.6], [0.0, 0.04], time_constant=5)[1] == pytest.approx(0.5, abs=0.005)


def test_zero_leaves_the_estimates_as_they_are():
    assert smoothed([0.1, 0.9, 0.3], [0, 1, 2], time_constant=0) == pytest.approx([0.1, 0.9, 0.3])


def test_a_clock_that_stands_or_goes_back_does_no_harm():
    assert all(map(math.isfinite, smoothed([0.1, 0.9, 0.3, 0.2], [0, 0, -1, 1])))


def test_a_reset_forgets():
    smoother = AirlightSmoother(10)
    for number in range(100):
        smoother(airlight(0.9), 0.04 * number)
    smoother.reset()
    assert float(smoother(airlight(0.2), 4.0)[0, 0]) == pytest.approx(0.2)


@pytest.mark.parametrize('wrong', [-1, float('nan'), float('inf')])
def test_a_time_constant_is_a_number_of_seconds(wrong):
    with pytest.raises(ValueError, match='seconds'):
        AirlightSmoother(wrong)


def scene(seed: int) -> torch.Tensor:
    """A hazy scene of low contrast, larger than what is seen of it."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 12, generator=generator)
    return 0.5 + 0.4 * torch.nn.functional.interpolate(coarse, (96, 192), mode='bicubic')


def cuts(images) -> list[int]:
    detector = SceneCuts()
    return [number for number, one in enumerate(images) if detector(one)]


def test_a_cut_is_found_where_it_is():
    first, second = scene(0)[..., :96], scene(1)[..., :96]
    assert cuts([first] * 5 + [second] * 5 + [first] * 5) == [5, 10]


def test_noise_a_pan_a_shake_and_a_slow_change_of_light_are_no_cuts():
    wide = scene(0)
    torch.manual_seed(0)
    assert cuts([wide[..., :96] + 0.05 * torch.randn(1, 3, 96, 96) for _ in range(20)]) == []
    assert cuts([wide[..., 2 * step : 96 + 2 * step] for step in range(48)]) == []
    assert cuts([wide[..., 4 * (step % 2) : 96 + 4 * (step % 2)] for step in range(20)]) == []
    assert cuts([wide[..., :96] * (1 - 0.01 * step) for step in range(40)]) == []


def test_wild_motion_is_a_cut_for_a_few_frames_at_most():
    torch.manual_seed(0)
    assert len(cuts([torch.rand(1, 3, 16, 16) for _ in range(50)])) <= 4


def test_flicker_is_the_mean_step_from_frame_to_frame():
    assert flicker(torch.tensor([0.5, 0.5, 0.5])) == 0
    assert flicker(torch.tensor([0.5, 0.6, 0.4])) == pytest.approx(0.15)
    assert flicker(torch.tensor([0.5])) == 0
