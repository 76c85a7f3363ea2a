"""The mean over the eight orientations of an image."""

import numpy as np
import pytest
import torch
from basicsr.models import build_model
from torch import nn

from okdnet_plugin import Dehazer
from okdnet_plugin.engine.ensemble import of_eight


class LooksToTheLeft(nn.Module):
    """Not the same for an image and its mirror image: adds a part of the pixel to the left."""

    def forward(self, x):
        return x + 0.5 * nn.functional.pad(x, (1, 0))[..., :-1]


def expected_of(net, image):
    """By turns and mirror images, as the paper has it."""
    results = []
    for mirrored in (False, True):
        for turns in range(4):
            one = torch.rot90(image.flip(-1) if mirrored else image, turns, (-2, -1))
            back = torch.rot90(net(one), -turns, (-2, -1))
            results.append(back.flip(-1) if mirrored else back)
    return torch.stack(results).mean(0)


def test_all_eight_orientations_count_once():
    image = torch.rand(2, 3, 20, 31)
    (found,) = of_eight(lambda x: [LooksToTheLeft()(x)], image)
    assert torch.allclose(found, expected_of(LooksToTheLeft(), image), atol=1e-6)


def test_dehazer_gives_their_mean():
    net, image = LooksToTheLeft(), torch.rand(1, 3, 20, 31) / 2
    dehazer = Dehazer(net, backend='eager', self_ensemble=True)
    assert torch.allclose(dehazer(image), expected_of(net, image), atol=1e-6)
    assert 'self-ensemble' in repr(dehazer)
    plain = Dehazer(net, backend='eager')
    assert not np.allclose(plain(image), dehazer(image), atol=1e-3)


@pytest.mark.parametrize('wanted', [True, False])
def test_model_tests_with_their_mean_where_it_is_asked_for(wanted, model_options):
    model_options['val']['self_ensemble'] = wanted
    model, image = build_model(model_options), torch.rand(1, 3, 20, 31)
    model.feed_data({'lq': image})
    model.test()
    with torch.no_grad():
        expected = expected_of(model.net_g_ema, image) if wanted else model.net_g_ema(image)
    assert torch.allclose(model.output, expected, atol=1e-5)
