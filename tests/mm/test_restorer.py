"""OKDNetRestorer: its three modes, its losses, and the batches that it takes."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.runner import load_state_dict

import okdnet_plugin.mm  # noqa: F401
from okdnet_plugin.errors import InputError
from okdnet_plugin.mm.restorer import DehazeDataPreprocessor


@pytest.fixture
def model(model_config):
    return MODELS.build(model_config)


@pytest.fixture
def batch() -> dict:
    return {'lq': torch.rand(2, 3, 24, 36), 'gt': torch.rand(2, 3, 24, 36), 'lq_path': ['a.png', 'b.png']}


def test_losses_have_names_and_their_sum_is_minimised(model, batch):
    losses = model(**batch, mode='loss')
    assert list(losses) == ['loss_pix', 'loss_ssim', 'loss_distill']
    total, log = model.parse_losses(losses)
    torch.testing.assert_close(total, sum(losses.values()))
    assert log['loss_distill'] > 0


@pytest.mark.parametrize('left_out', ['pixel_loss', 'ssim_loss', 'distill_loss'])
def test_each_loss_can_be_left_out(model_config, batch, left_out):
    del model_config[left_out]
    assert len(MODELS.build(model_config)(**batch, mode='loss')) == 2


def test_a_model_without_losses_says_so(model_config, batch):
    model = MODELS.build({key: model_config[key] for key in ('type', 'generator')})
    with pytest.raises(InputError, match='no loss is given'):
        model(**batch, mode='loss')


def test_distillation_needs_a_network_with_branches(model_config):
    with pytest.raises(InputError, match='AODNet has no branches'):
        MODELS.build(model_config | {'generator': {'type': 'AODNet'}})


def test_any_other_network_is_trained_without_distillation(model_config, batch):
    del model_config['distill_loss']
    model = MODELS.build(model_config | {'generator': {'type': 'AODNet'}})
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = [parameter.clone() for parameter in model.generator.parameters()]
    log = model.train_step(batch, wrapper)
    assert list(log) == ['loss', 'loss_pix', 'loss_ssim']
    assert not all(map(torch.equal, before, model.generator.parameters()))


def test_predictions_are_what_is_saved_and_carry_what_metrics_need(model, batch):
    model.eval()
    with torch.inference_mode():
        samples = model.val_step(batch)
        restored = model(batch['lq'], mode='tensor')
    assert [sample['img_path'] for sample in samples] == ['a.png', 'b.png']
    for sample, image, clear in zip(samples, restored, batch['gt'], strict=True):
        assert sample['output']['pred_img'].dtype == torch.uint8
        assert torch.equal(sample['output']['pred_img'], image.mul(255).round().byte())
        assert torch.equal(sample['gt_img'], clear.mul(255).round().byte())


def test_images_without_clear_ones_are_predicted_too(model, batch):
    del batch['gt']
    model.eval()
    assert 'gt_img' not in model.val_step(batch)[0]


def test_an_unknown_mode_is_refused(model, batch):
    with pytest.raises(ValueError, match='must be one of loss, predict, tensor'):
        model(**batch, mode='lossy')


def test_losses_are_float32_under_autocast(model, batch):
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(**batch, mode='loss')
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


@pytest.mark.parametrize('stacked', [True, False])
def test_batches_come_as_lists_or_as_tensors(batch, stacked):
    given = batch if stacked else {key: list(value) for key, value in batch.items()}
    got = DehazeDataPreprocessor()(given)
    assert torch.equal(got['lq'], batch['lq'])
    assert got['lq_path'] == batch['lq_path']


def test_maps_of_a_data_set_are_stacked_and_what_is_no_map_stays_as_it_is(batch):
    depth = [torch.rand(1, 24, 36) for _ in range(2)]
    got = DehazeDataPreprocessor(channels_last=True)(batch | {'depth': depth, 'airlight': [0.8, 0.9]})
    assert torch.equal(got['depth'], torch.stack(depth))
    assert got['airlight'] == [0.8, 0.9]


def test_channels_last_lays_images_and_network_out(model_config, batch):
    model = MODELS.build(model_config | {'channels_last': True})
    assert model.data_preprocessor(batch)['lq'].is_contiguous(memory_format=torch.channels_last)
    assert next(model.generator.parameters()).is_contiguous(memory_format=torch.channels_last)


def test_samples_of_mmagic_are_taken(batch):
    class Sample:
        img_channel_order = 'bgr'
        img_path = 'a.png'

        def __init__(self, gt_img):
            self.gt_img = gt_img

    hazy, clear = (batch[key].mul(255).round().byte() for key in ('lq', 'gt'))
    samples = [Sample(img.flip(0)) for img in clear]
    got = DehazeDataPreprocessor()({'inputs': [img.flip(0) for img in hazy], 'data_samples': samples})
    torch.testing.assert_close(got['lq'], hazy.float() / 255)
    torch.testing.assert_close(got['gt'], clear.float() / 255)


def test_images_of_several_sizes_in_a_batch_are_refused():
    with pytest.raises(InputError, match='differ in size: 16x16, 16x20'):
        DehazeDataPreprocessor()({'lq': [torch.rand(3, 16, 16), torch.rand(3, 16, 20)]})


def test_a_batch_without_hazy_images_is_refused():
    with pytest.raises(InputError, match='no hazy images'):
        DehazeDataPreprocessor()({'gt': [torch.rand(3, 16, 16)]})


def test_inputs_of_mmagic_without_samples_are_predicted(model):
    model.eval()
    samples = model.val_step({'inputs': [torch.zeros(3, 16, 20, dtype=torch.uint8)]})
    assert 'img_path' not in samples[0]


@pytest.mark.parametrize('prefix', ['', 'generator.'])
def test_weights_of_another_network_are_refused(model_config, prefix):
    other = MODELS.build({'type': 'OKDNet', 'num_feat': 4, 'num_blocks': [1, 1, 1], 'growth': 4})
    weights = {f'{prefix}{key}': value for key, value in other.state_dict().items()}
    with pytest.raises(InputError, match=r'preprocess\.0\.weight is \(4, 3, 3, 3\) instead of \(8, 3, 3, 3\)'):
        load_state_dict(MODELS.build(model_config), weights)
    load_state_dict(MODELS.build(model_config | {'strict_load': False}), {})


def test_images_go_to_the_device_without_waiting(batch):
    asked = []

    class Pinned(torch.Tensor):
        def to(self, *arguments, **keywords):
            asked.append(keywords.get('non_blocking', False))
            return super().to(*arguments, **keywords)

    images = {key: batch[key].as_subclass(Pinned) for key in ('lq', 'gt')}
    DehazeDataPreprocessor()(images)
    assert asked == [True, True]
