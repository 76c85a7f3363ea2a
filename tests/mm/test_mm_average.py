"""MMEngine's average in the shipped configs warms up as that of the BasicSR side does."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from okdnet_plugin.engine.average import decay_after

OPTIONS = Path(__file__).parents[2] / 'options'


@pytest.mark.parametrize('name', ['okdnet_mm.py', 'okdnet_mm_demo.py'])
def test_average_warms_up_and_goes_on_from_a_checkpoint(name):
    (hook,) = (hook for hook in Config.fromfile(str(OPTIONS / name)).custom_hooks if hook.type == 'EMAHook')
    config = {key: value for key, value in hook.items() if key not in ('type', 'ema_type')}

    def built(net):
        return MODELS.build({'type': hook.ema_type, 'model': net, **config})

    net = nn.Linear(2, 2, bias=False)
    average, expected = built(net), None
    for updates in range(12):
        nn.init.uniform_(net.weight)
        # MMEngine's first update copies the network; those after it are counted from 0.
        decay = decay_after(updates - 1, 1 - hook.momentum) if updates else 0
        expected = net.weight.detach().clone() if expected is None else expected * decay + net.weight * (1 - decay)
        average.update_parameters(net)
        if updates == 5:
            state = copy.deepcopy(average.state_dict())
            average = built(nn.Linear(2, 2, bias=False))
            average.load_state_dict(state)
        torch.testing.assert_close(average.module.weight, expected.detach())
