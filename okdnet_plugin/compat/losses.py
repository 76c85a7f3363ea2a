"""Losses."""

import functools
import inspect

import torch

from okdnet_plugin.compat.patches import patch, source_of


@patch(lambda: 'L2loss' in source_of('basicsr.losses.basic_loss:PerceptualLoss.__init__'))
def measure_features_by_squares() -> None:
    """`PerceptualLoss` with `criterion: l2` asks for torch.nn.L2loss, which there has never been.

    The mean of squares is what it stands for. Can go when
    BasicSR says MSELoss.
    """
    from basicsr.losses.basic_loss import PerceptualLoss

    original = PerceptualLoss.__init__
    signature = inspect.signature(original)

    @functools.wraps(original)
    def init(*args, **kwargs):
        given = signature.bind(*args, **kwargs)
        is_of_squares = given.arguments.get('criterion') == 'l2'
        if is_of_squares:
            given.arguments['criterion'] = 'l1'
        original(*given.args, **given.kwargs)
        if is_of_squares:
            loss = given.arguments['self']
            loss.criterion_type, loss.criterion = 'l2', torch.nn.MSELoss()

    PerceptualLoss.__init__ = init
