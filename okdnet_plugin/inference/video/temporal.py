"""What makes a restored video calm: one airlight for a scene instead of one for each frame; and a measure of it."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_THUMBNAIL = 16


class SceneCuts:
    """Tells where a video goes on with another image.

    Frames are compared as thumbnails of 16x16 averages, in which noise and small motion vanish. A cut is a change that
    is large in itself and a multiple of what the scene has changed by lately, so that pans and shakes are none.

    Args:
        least: smallest mean absolute change of the thumbnails that can be a cut, on the scale [0, 1].
        times: how many times the recent change, an average over about ten frames.
    """

    def __init__(self, least: float = 0.05, times: float = 4.0):
        self._least, self._times = least, times
        self._before: Tensor | None = None
        self._usual = 0.0

    def __call__(self, hazy: Tensor) -> bool:
        """Whether a frame, RGB in [0, 1] of shape (1, 3, H, W), begins a scene; the first does not."""
        thumbnail = F.adaptive_avg_pool2d(hazy.float(), _THUMBNAIL)
        before, self._before = self._before, thumbnail
        if before is None:
            return False
        change = float((thumbnail - before).abs().mean())
        is_cut = change > max(self._least, self._times * self._usual)
        self._usual += 0.1 * (change - self._usual)  # after cuts too, so that wild motion is soon no cut any more
        return is_cut


class AirlightSmoother:
    """A running average of the airlight that fades with time, not with frames.

    An estimate that is t seconds old weighs exp(-t / time_constant), and each is weighed by the time since the one
    before it, so that the frame rate does not matter, not even one that varies. The weights are normalised: the first
    frames of a scene are averaged evenly, instead of leaning on the very first.

    Args:
        time_constant: in seconds; 0 leaves the estimates as they are.
    """

    def __init__(self, time_constant: float):
        if not (math.isfinite(time_constant) and time_constant >= 0):
            raise ValueError(f'time_constant is {time_constant}; write a number of seconds from 0')
        self._time_constant = time_constant
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: the next estimate begins a scene."""
        self._mean: Tensor | None = None
        self._weight: float | None = None
        self._time = 0.0

    def __call__(self, airlight: Tensor, time: float) -> Tensor:
        """The smoothed airlight.

        Args:
            airlight: that of the frame, of any shape.
            time: of the frame, in seconds. One that does not grow counts as no time at all.
        """
        if self._mean is None or self._time_constant == 0:
            self._mean, self._time = airlight, time
            return airlight
        faded = math.exp(-max(time - self._time, 0.0) / self._time_constant)
        gain = 1 - faded
        self._time = max(time, self._time)
        if self._weight is None:  # only now is it known for how long the first estimate stood
            self._weight = gain
        self._weight = faded * self._weight + gain
        if self._weight > 0:
            self._mean = torch.lerp(self._mean, airlight, gain / self._weight)
        return self._mean


def flicker(brightness: Tensor) -> float:
    """Mean absolute change of the brightness from one frame to the next.

    Args:
        brightness: mean of the restored frames of a scene that stands still (or of what stands still in it), (T,).

    Returns:
        On the scale of `brightness`; 0 is perfectly calm.
    """
    return float(brightness.diff().abs().mean()) if len(brightness) > 1 else 0.0
