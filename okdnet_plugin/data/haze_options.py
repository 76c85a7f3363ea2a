"""What the options of a data set say about the haze that is made, and what is drawn from them for an image."""

import math
from collections.abc import Mapping
from itertools import product
from numbers import Real
from typing import Annotated, Any, NamedTuple

import numpy as np

from okdnet_plugin.config.messages import shown
from okdnet_plugin.config.types import Range, Says
from okdnet_plugin.data.options import require
from okdnet_plugin.errors import did_you_mean

Drawn = Annotated[float | Range | dict, Says('a number, a range [low, high], or {choices: [...]}')]
# Source: Li et al., "Benchmarking Single-Image Dehazing and Beyond", TIP 2019, and the names of the published files.
PRESETS = {
    'reside_its': {'beta': [0.6, 1.8], 'airlight': [0.7, 1.0]},
    'reside_ots': {
        'beta': {'choices': [0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2]},
        'airlight': {'choices': [0.8, 0.85, 0.9, 0.95, 1.0]},
    },
    'sots_indoor': {
        'beta': {'choices': [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5]},
        'airlight': 1.0,
        'grid': True,
    },
}
# The fields of haze, and the options that only one of them reads.
FIELDS = {'homogeneous': (), 'height': ('falloff', 'fov'), 'patchy': ('patchiness',)}
_LIMITS = {
    'beta': (0, math.inf),
    'airlight': (0, 1),
    'falloff': (0, math.inf),
    'patchiness': (0, 1),
    'noise': (0, 1),
    'jpeg': (1, 100),
}


class Values(NamedTuple):
    """Numbers that an option stands for.

    Args:
        numbers: the choices, or the two ends of a range.
        is_range: whether all between the ends are meant.
    """

    numbers: tuple[float, ...]
    is_range: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        if self.is_range:
            low, high = self.numbers
            return rng.uniform(low, high)
        return self.numbers[rng.integers(len(self.numbers))]


class Haze(NamedTuple):
    """Haze of one image.

    Args:
        field: how it is spread.
        beta: scattering coefficient per unit of depth; at the height of the camera, or the mean, if it is not the
            same everywhere.
        airlight: RGB, in [0, 1].
        falloff, patchiness: of the field, if it has them.
        noise: standard deviation, on the scale of [0, 1].
        jpeg: quality from 1 to 100.
    """

    field: str
    beta: float
    airlight: tuple[float, float, float]
    falloff: float | None
    patchiness: float | None
    noise: float | None
    jpeg: int | None


class HazeRule:
    """What the haze of a data set's images is drawn from.

    Args:
        opt: a data set's block of an option file; see SyntheticHazeDataset.

    Raises:
        InputError: an option cannot be used, or contradicts another.
    """

    def __init__(self, opt: Mapping):
        opt = {**_preset(opt.get('preset')), **{key: value for key, value in opt.items() if value is not None}}
        for key in ('beta', 'airlight'):
            require(key in opt, f"option '{key}' is missing; add it, or a preset: {', '.join(PRESETS)}")
        self._weights = _weights(opt.get('field', 'homogeneous'))
        _check_fields(opt, self._weights)
        if 'patchy' in self._weights:
            opt.setdefault('patchiness', 0.5)
        self.fov = opt.get('fov', 60)
        require(
            _is_number(self.fov) and 0 < self.fov < 180,
            f'fov is {shown(self.fov)}; write the vertical field of view in degrees, between 0 and 180',
        )
        self._values = {key: _values(key, opt[key], limits) for key, limits in _LIMITS.items() if key in opt}
        self._per_channel = opt.get('airlight_per_channel', False)
        self.grid = self._combinations() if opt.get('grid') else []

    def draw(self, rng: np.random.Generator, variant: int) -> Haze:
        """Haze of an image.

        Args:
            rng: draws all that the grid does not determine.
            variant: from 0; place in the grid, if there is one.
        """
        fields, weights = zip(*self._weights.items(), strict=True)
        if self.grid:
            beta, *airlight = self.grid[variant]
        else:
            beta = self._values['beta'].draw(rng)
            airlight = [self._values['airlight'].draw(rng) for _ in range(3 if self._per_channel else 1)]
        red, green, blue = airlight * (3 // len(airlight))
        jpeg = self._draw('jpeg', rng)
        return Haze(
            field=fields[rng.choice(len(fields), p=weights)],
            beta=beta,
            airlight=(red, green, blue),
            falloff=self._draw('falloff', rng),
            patchiness=self._draw('patchiness', rng),
            noise=self._draw('noise', rng),
            jpeg=None if jpeg is None else round(jpeg),
        )

    def _draw(self, key: str, rng: np.random.Generator) -> float | None:
        return self._values[key].draw(rng) if key in self._values else None

    def _combinations(self) -> list[tuple[float, float]]:
        betas, airlights = self._values['beta'], self._values['airlight']
        for key, values in {'beta': betas, 'airlight': airlights}.items():
            require(
                not values.is_range,
                f'grid needs choices, but {key} is the range {list(values.numbers)}; write {key}: {{choices: [...]}}, '
                'or grid: false',
            )
        require(
            not self._per_channel,
            'grid and airlight_per_channel contradict each other: a grid draws nothing; remove one of them',
        )
        return [(beta, airlight) for airlight, beta in product(airlights.numbers, betas.numbers)]


def _preset(name: object) -> Mapping:
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    require(
        name is None,
        f'preset: {shown(name)} is not known{did_you_mean(name, PRESETS)}; known are {", ".join(PRESETS)}',
    )
    return {}


def _weights(field: object) -> dict[str, float]:
    """Probability of each field that is asked for."""
    weights = dict(field) if isinstance(field, Mapping) else {field: 1} if isinstance(field, str) else {}
    require(
        len(weights) > 0,
        f'field is {shown(field)}; write one of {", ".join(FIELDS)}, or weights: {{homogeneous: 0.7, patchy: 0.3}}',
    )
    for name, weight in weights.items():
        require(
            name in FIELDS,
            f'field: {shown(name)} is not known{did_you_mean(name, FIELDS)}; known are {", ".join(FIELDS)}',
        )
        require(
            _is_within(weight, 0, math.inf), f'field: the weight of {name} is {shown(weight)}; write a number from 0'
        )
    total = sum(weights.values())
    require(total > 0, f'field is {shown(field)}; one of the weights has to be above 0')
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def _check_fields(opt: Mapping, weights: Mapping) -> None:
    for field, keys in FIELDS.items():
        for key in keys:
            require(
                key not in opt or field in weights,
                f'{key} belongs to field {field}, which is not asked for; add the field or remove {key}',
            )
    require(
        'height' not in weights or 'falloff' in opt,
        "option 'falloff' is missing; field height needs it, per unit of depth: add a number or [low, high]",
    )


def _values(key: str, written: object, limits: tuple[float, float]) -> Values:
    is_range = isinstance(written, list | tuple)
    numbers = _numbers(written)
    low, high = limits
    allowed = f'from {low}' if math.isinf(high) else f'from {low} to {high}'
    require(
        len(numbers) > 0 and all(_is_number(number) for number in numbers) and (not is_range or len(numbers) == 2),
        f'{key} is {shown(written)}; write a number, a range [low, high], or {{choices: [...]}}',
    )
    require(
        all(_is_within(number, low, high) for number in numbers), f'{key} is {shown(written)}; write numbers {allowed}'
    )
    require(
        not is_range or tuple(numbers) == tuple(sorted(numbers)),
        f'{key} is the range {list(numbers)}, whose low end is above the high one; swap them',
    )
    return Values(tuple(float(number) for number in numbers), is_range)


def _numbers(written: object) -> tuple[Any, ...]:
    if isinstance(written, Mapping):
        choices = written.get('choices') if set(written) == {'choices'} else None
        return tuple(choices) if isinstance(choices, list | tuple) else ()
    return tuple(written) if isinstance(written, list | tuple) else (written,)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)  # to Python true and false are some


def _is_within(number: Any, low: float, high: float) -> bool:
    return _is_number(number) and math.isfinite(number) and low <= number <= high
