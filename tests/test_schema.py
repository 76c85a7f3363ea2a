"""Mistakes in an option file that are found before a folder is made."""

import copy

import pytest

from okdnet_plugin.errors import InputError
from okdnet_plugin.schema import check_options, check_paths


def spoiled(options, keys, value):
    *path, last = keys.split(':')
    block = options
    for key in path:
        block = block[key]
    if value is None:
        del block[last]
    else:
        block[last] = value
    return options


def test_right_options_pass_and_stay_as_they_are(model_options):
    before = copy.deepcopy(model_options)
    check_options(model_options)
    assert model_options == before


@pytest.mark.parametrize(
    ('keys', 'value', 'message'),
    [
        ('train:optim_g:lr', '1e-4', "option train:optim_g:lr is the text '1e-4' to YAML; write 0.0001"),
        ('train:optim_g:betas', ['9e-1', 0.999], 'option train:optim_g:betas:0 is the text'),
        ('train:scheduler:type', 'MultiStep', 'no schedule .MultiStep. .did you mean MultiStepLR'),
        ('train:scheduler:milestone', [3], 'train:scheduler:milestone: .*did you mean milestones'),
        ('channel_last', True, 'option channel_last: nothing reads it .did you mean channels_last'),
        ('logger:save_bset', 'Held/psnr', 'option logger:save_bset: nothing reads it .did you mean logger:save_best'),
        ('model_type', 'OKDNetModle', 'did you mean OKDNetModel'),
        ('network_g:type', 'OKDNett', 'did you mean OKDNet'),
        ('network_g:numblocks', [1, 1, 1], 'option network_g:numblocks: .*did you mean num_blocks'),
        ('network_g', {'type': 'RIDNet'}, 'network_g:in_channels is missing'),
        ('train:ssim_opt:loss_wieght', 1, 'train:ssim_opt:loss_wieght: .*did you mean loss_weight'),
        ('train:distill_opt:type', None, "train:distill_opt: 'type' is missing"),
        ('train:distil_opt', {'type': 'SSIMLoss'}, 'train:distil_opt: .*did you mean distill_opt'),
        ('train:ssim_loss', {'type': 'SSIMLoss'}, 'train:ssim_loss: .* knows no such loss'),
        ('val:metrics:psnr:type', 'calculate_pnsr', 'did you mean calculate_psnr'),
        ('path:pretrain_network_g', 'nowhere.pth', 'path:pretrain_network_g: there is no file nowhere.pth'),
        ('datasets:train:batch_size_per_gpu', 1, 'batch_size_per_gpu is 1'),
        ('datasets:train:layout', 'itss', 'phase train, data set Pairs: .*did you mean its'),
        ('datasets:val:name', None, "phase val, data set without name: option 'name' is missing; add it"),
        (
            'datasets:val',
            {'type': 'PairedImageDataset', 'phase': 'val'},
            "phase val, .*option 'name' is missing; add it",
        ),
        ('datasets:val:name', 7, 'phase val, data set 7: name is 7; write a text'),
        ('datasets:val:type', 'PairedDehazeDatset', 'did you mean PairedDehazeDataset'),
    ],
)
def test_mistake_is_named_with_its_key(model_options, keys, value, message):
    with pytest.raises(InputError, match=message.replace('(', r'\(')):
        check_options(spoiled(model_options, keys, value))


@pytest.mark.parametrize(
    ('keys', 'value', 'message'),
    [
        ('datasets:val:dataroot_lq', ['a'], 'phase val, data set Held: dataroot_lq is [a]; write one path'),
        (
            'datasets:train:dataroot_gt',
            7,
            'phase train, data set Pairs: dataroot_gt is 7; write one path, a number in q',
        ),
        ('datasets:val', 'x', "option datasets:val is 'x'; write the block of a data set"),
        ('datasets', ['x'], 'option datasets is [x]; write a block'),
        ('path', None, 'option path is null; write a block'),
        ('path:pretrain_network_g', ['x'], 'option path: pretrain_network_g is [x]; write one path'),
    ],
)
def test_what_the_parser_would_stumble_over_is_named(train_options, keys, value, message):
    check_paths(train_options)
    with pytest.raises(InputError, match='^' + message.replace('[', r'\[')):
        check_paths(spoiled(train_options, keys, value))


@pytest.mark.parametrize('keys', ['amp', 'train:accumulate', 'logger:keep_last'])
def test_option_of_the_engine_at_a_model_that_would_not_read_it_is_refused(model_options, keys):
    options = spoiled(model_options, keys, 'bf16' if keys == 'amp' else 2) | {'model_type': 'SRModel'}
    for block in ('ssim_opt', 'distill_opt'):
        del options['train'][block]
    with pytest.raises(InputError, match=rf'option {keys}: SRModel does not read it; use model_type: RestorationModel'):
        check_options(options)
