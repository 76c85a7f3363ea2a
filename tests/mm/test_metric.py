"""RestorationMetric: the figures of BasicSR, in MMEngine's form and in MMagic's."""

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS

import okdnet_plugin.mm  # noqa: F401
from okdnet_plugin.errors import InputError, UnknownNameError


def sample(seed: int, order: str = 'rgb', dtype=torch.uint8) -> dict:
    """A sample with images of their own; in `bgr` it shows the same as in `rgb`."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randint(0, 256, (3, 24, 32), generator=generator, dtype=torch.uint8) for _ in range(3)]
    result, clear, hazy = (img.flip(0).to(dtype) if order == 'bgr' else img.to(dtype) for img in images)
    orders = {'img_channel_order': order, 'gt_channel_order': order}
    return {'output': {'pred_img': result}, 'gt_img': clear, 'input': hazy, **orders}


def bgr(image: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.numpy().transpose(1, 2, 0)[..., ::-1])


def mean_of(samples, **config) -> dict:
    metric = METRICS.build({'type': 'RestorationMetric', **config})
    metric.process(None, samples)
    return metric.evaluate(len(samples))


@pytest.mark.parametrize(
    'block',
    [
        {'type': 'calculate_psnr', 'crop_border': 2, 'test_y_channel': True},
        {'type': 'calculate_ssim', 'crop_border': 0},
        {'type': 'calculate_ciede2000'},
    ],
)
def test_figures_are_those_of_the_basicsr_side(block):
    samples = [sample(seed) for seed in range(3)]
    expected = np.mean([calculate_metric({'img': bgr(s['output']['pred_img']), 'img2': bgr(s['gt_img'])}, dict(block))
                        for s in samples])  # fmt: skip
    name = block['type'].removeprefix('calculate_')
    options = {key: value for key, value in block.items() if key != 'type'}
    assert mean_of(samples, function=block['type'], **options) == {name: pytest.approx(expected, rel=1e-12)}


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_bgr_samples_of_mmagic_have_the_same_figures(dtype):
    config = {'function': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': True}
    assert mean_of([sample(0, 'bgr', dtype)], **config) == mean_of([sample(0)], **config)


def test_a_metric_of_the_hazy_image_gets_it():
    samples = [sample(0)]
    for found in samples:
        found |= {'output': {'pred_img': torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)}}
        found['input'] = found['gt_img'] = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    images = {'img': bgr(samples[0]['output']['pred_img']), 'lq': bgr(samples[0]['input'])}
    assert mean_of(samples, function='calculate_loe')['loe'] == calculate_metric(images, {'type': 'calculate_loe'})


def test_an_infinite_value_is_left_out_of_the_mean():
    equal = sample(1)
    equal['gt_img'] = equal['output']['pred_img']
    config = {'function': 'calculate_psnr', 'crop_border': 0}
    assert mean_of([sample(0), equal], **config) == mean_of([sample(0)], **config)


def test_an_image_that_has_no_value_is_left_out_of_the_mean_and_a_set_of_them_is_refused():
    config = {'function': 'calculate_fast_ssim', 'crop_border': 7}  # the window needs 11 of the 24 - 14 that are left
    large = sample(2)
    for found in (large, large['output']):
        for key in found.keys() & {'gt_img', 'pred_img'}:
            found[key] = found[key].repeat(1, 2, 2)
    assert mean_of([sample(0), large], **config) == mean_of([large], **config)
    with pytest.raises(InputError, match=r'calculate_fast_ssim has no value for any image: .*at least 11x11'):
        mean_of([sample(0)], **config)


def test_samples_without_a_clear_image_are_left_out_and_a_set_of_them_is_refused():
    alone = {key: value for key, value in sample(1).items() if key != 'gt_img'}
    config = {'function': 'calculate_psnr', 'crop_border': 0}
    assert mean_of([sample(0), alone], **config) == mean_of([sample(0)], **config)
    with pytest.raises(InputError, match='calculate_psnr has no value for any image'):
        mean_of([alone], **config)


def test_an_unknown_function_is_refused_with_a_hint():
    with pytest.raises(UnknownNameError, match='calculate_psnr'):
        METRICS.build({'type': 'RestorationMetric', 'function': 'calculate_psnrr'})


def test_it_stands_beside_others_under_names_of_its_own():
    config = {'type': 'RestorationMetric', 'function': 'calculate_psnr', 'crop_border': 0}
    evaluator = Evaluator([config, config | {'name': 'psnr_y', 'test_y_channel': True}])
    evaluator.process([sample(0)], None)
    assert list(evaluator.evaluate(1)) == ['psnr', 'psnr_y']


def test_it_has_what_mmagics_evaluator_asks_for():
    class Loader:
        dataset = range(1)

    metric = METRICS.build({'type': 'RestorationMetric', 'function': 'calculate_psnr', 'crop_border': 0})
    loader = Loader()
    metric.prepare(None, loader)
    assert metric.get_metric_sampler(None, loader, [metric]) is loader
    assert (metric.SAMPLER_MODE, metric.sample_model) == ('normal', 'orig')
    metric.process(None, [sample(0)])
    assert metric.evaluate()['psnr'] > 0


@pytest.mark.parametrize(
    ('options', 'message'), [({}, 'needs crop_border'), ({'crop_border': 0, 'crop_bordr': 1}, 'no option crop_bordr')]
)
def test_options_are_checked_before_a_training_begins(options, message):
    with pytest.raises(InputError, match=message):
        METRICS.build({'type': 'RestorationMetric', 'function': 'calculate_psnr', **options})
