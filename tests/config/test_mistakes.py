"""Mistakes in an option file that are found before a folder is made, all at once and each with its place."""

import copy

import pytest

from conftest import write_options
from okdnet_plugin import config
from okdnet_plugin.compat.checking import prepare
from okdnet_plugin.config import check
from okdnet_plugin.engine import trial
from okdnet_plugin.errors import InputError, UnknownNameError


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


def told(options, phase='train', look=False):
    return [str(mistake) for mistake in check.check(options, phase=phase, look=look)]


def test_right_options_pass_and_stay_as_they_are(model_options):
    before = copy.deepcopy(model_options)
    prepare(model_options)
    assert model_options == before


@pytest.mark.parametrize(
    ('keys', 'value', 'message'),
    [
        ('train:optim_g:lr', '1e-4', "option train:optim_g:lr is the text '1e-4' to YAML; write 0.0001, or a point"),
        ('train:optim_g:betas', ['9e-1', 0.999], "option train:optim_g:betas:0 is the text '9e-1' to YAML"),
        ('train:optim_g:betas', 0.9, 'option train:optim_g:betas is 0.9; write a list'),
        ('train:optim_g:lr', True, 'option train:optim_g:lr is true; write a number from 0'),
        ('train:optim_g:lr', -1, 'option train:optim_g:lr is -1; write a number from 0'),
        ('train:optim_g:lr', None, 'option train:optim_g:lr is missing; add the learning rate'),
        ('train:optim_g:momentum', 0.9, 'option train:optim_g:momentum: Adam has no such argument; it has lr'),
        ('train:optim_g:beta', [0.9, 0.9], 'option train:optim_g:beta: Adam has no such argument (did you mean betas'),
        ('train:optim_g:type', 'adamw', "train:optim_g:type: there is no optimiser 'adamw' (did you mean AdamW"),
        ('train:optim_g:type', 'LBFGS', "option train:optim_g:type: there is no optimiser 'LBFGS'"),
        ('train:scheduler:type', 'MultiStep', "no schedule 'MultiStep' (did you mean MultiStepLR"),
        ('train:scheduler:milestone', [3], 'train:scheduler:milestone: MultiStepLR has no such argument (did you mean'),
        ('train:scheduler:milestones', [3, 'x'], "option train:scheduler:milestones:1 is 'x'; write a whole number"),
        ('train:scheduler', 'MultiStepLR', "option train:scheduler is 'MultiStepLR'; write a block of keys and values"),
        ('train:total_iter', 4.5, 'option train:total_iter is 4.5; write a whole number from 1'),
        ('train:total_iter', None, 'option train:total_iter is missing; add iterations of the training'),
        ('train:ema_decay', 1.5, 'option train:ema_decay is 1.5; write a number from 0 below 1'),
        ('train:emadecay', 0.9, 'option train:emadecay: nothing reads it (did you mean ema_decay?)'),
        ('channel_last', True, 'option channel_last: nothing reads it (did you mean channels_last?)'),
        ('logger:save_bset', 'Held/psnr', 'option logger:save_bset: nothing reads it (did you mean save_best?)'),
        ('name', 123, 'option name is 123; write a string (quote numbers)'),
        ('num_gpu', -1, 'option num_gpu is -1; write auto, or a whole number from 0'),
        ('manual_seed', 2**32, 'option manual_seed is 4294967296; write a whole number from 0 to 4294901760'),
        ('dist_params', {'port': 65536}, 'option dist_params:port is 65536; write a whole number from 1 to 65535'),
        ('manual_seed', '0', "option manual_seed is '0'; write a whole number from 0"),
        ('model_type', 'OKDNetModle', "option model_type: no object named 'OKDNetModle' found in 'model' registry"),
        ('network_g:type', 'OKDNett', "option network_g:type: no object named 'OKDNett' found in 'arch' registry"),
        ('network_g:numblocks', [1, 1, 1], 'option network_g:numblocks: OKDNet has no such argument (did you mean num'),
        ('network_g:num_blocks', [1, 1], 'option network_g:num_blocks is [1, 1]; write a list of 3'),
        ('network_g:growth', 4.5, 'option network_g:growth is 4.5; write a whole number from 1'),
        ('network_g:down', 'cov', "option network_g:down is 'cov' (did you mean conv?); write one of conv, grid"),
        ('network_g:t_min', 1, 'option network_g:t_min is 1; write a number above 0 and below 1'),
        ('network_g', {'type': 'RIDNet'}, 'option network_g:in_channels is missing; RIDNet has no default for it'),
        ('train:ssim_opt:loss_wieght', 1, 'train:ssim_opt:loss_wieght: SSIMLoss has no such argument (did you mean'),
        ('train:distill_opt:reduction', 'none', "option train:distill_opt:reduction is 'none'; write one of mean, sum"),
        ('train:distill_opt:type', None, 'option train:distill_opt:type is missing; add registered name of the loss'),
        (
            'train:distill_opt:student_weights',
            {'model_base': 0},
            'option train:distill_opt:student_weights:model_base: there is no such key (did you mean model_based',
        ),
        ('train:perceptual_opt', {'type': 'PerceptualLoss', 'layer_weights': {'conv1_2': 'x'}}, "conv1_2 is 'x'"),
        ('train:distil_opt', {'type': 'SSIMLoss'}, 'train:distil_opt: OKDNetModel knows no such loss (did you mean'),
        ('train:ssim_loss', {'type': 'SSIMLoss'}, 'train:ssim_loss: OKDNetModel knows no such loss'),
        ('val:metrics:psnr:type', 'calculate_pnsr', "'calculate_pnsr' found in 'metric' registry (did you mean calcul"),
        ('val:metrics:psnr:test_y_chanel', True, 'psnr:test_y_chanel: nothing is known to read it (did'),
        ('val:metrics:psnr:better', 'more', "option val:metrics:psnr:better is 'more'; write one of higher, lower"),
        ('val:metrics:psnr', 'calculate_psnr', "option val:metrics:psnr is 'calculate_psnr'; write a block of keys"),
        ('val:save_img', 1, 'option val:save_img is 1; write true or false'),
        ('datasets:train:batch_size_per_gpu', None, 'option datasets:train:batch_size_per_gpu is missing; add'),
        ('datasets:train:layout', 'itss', "option datasets:train:layout is 'itss' (did you mean its?); write"),
        ('datasets:train:layuot', 'its', 'datasets:train:layuot: PairedDehazeDataset does not read it (did'),
        ('datasets:train:gt_size', '32', "option datasets:train:gt_size is '32'; write a whole number from 1"),
        ('datasets:train:io_backend:type', 'disc', "io_backend:type is 'disc' (did you mean disk?); write one of disk"),
        ('datasets:val:name', None, 'option datasets:val:name is missing; add name, by which results'),
        ('datasets:val:name', 7, 'option datasets:val:name is 7; write a string (quote numbers)'),
        ('datasets:val:type', 'PairedDehazeDatset', "found in 'data' registry (did you mean PairedDehazeDataset"),
        ('datasets:vla', {'type': 'SingleDehazeDataset'}, 'datasets:vla: a training has the data sets train, val'),
        # what BasicSR's parser would stumble over
        ('datasets:val:dataroot_lq', ['a'], 'option datasets:val:dataroot_lq is [a]; write one path (quote numbers)'),
        ('datasets:train:dataroot_gt', 7, 'option datasets:train:dataroot_gt is 7; write one path (quote numbers)'),
        ('datasets:val', 'x', "option datasets:val is 'x'; write a block of keys and values"),
        ('datasets', ['x'], 'option datasets is [x]; write a block of keys and values'),
        ('path:pretrain_network_g', ['x'], 'option path:pretrain_network_g is [x]; write one path'),
        ('path', None, 'option path is missing; add weights to begin with'),
    ],
)  # fmt: skip
def test_mistake_is_named_with_its_key(train_options, keys, value, message):
    lines = told(spoiled(train_options, keys, value))
    assert any(message in line for line in lines), lines


def test_block_that_is_empty_is_named(train_options):
    assert told(train_options | {'path': None}) == ['option path is null; write a block of keys and values']


@pytest.mark.parametrize(('key', 'phase'), [('train', 'train'), ('logger', 'train'), ('val', 'test')])
def test_block_that_is_needed_and_emptied_is_refused(train_options, key, phase):
    (line,) = told(train_options | {key: None}, phase)
    assert line.startswith(f'option {key} is empty; write a block: ')


@pytest.mark.parametrize('keys', ['name', 'datasets:val:name', 'val:suffix'])
@pytest.mark.parametrize('value', ['/tmp/x', '../x', 'a/b', 'a\\b', 'a\0b', '.', '..'])
def test_name_that_leads_to_another_folder_is_refused(train_options, keys, value):
    (line,) = (line for line in told(spoiled(train_options, keys, value)) if 'save_best' not in line)
    assert line.startswith(f'option {keys} is ')
    assert line.endswith('it names a folder or file: no / or \\, not . or ..')


@pytest.mark.parametrize(
    ('keys', 'value'),
    [
        ('datasets:train:batch_size_per_gpu', 4.0),
        ('val:metrics:psnr:crop_border', 4.0),
        ('network_g:num_feat', 32.0),
        ('scale', 1.0),
    ],
)
def test_whole_number_with_a_point_is_refused_where_no_iterations_are_counted(train_options, keys, value):
    lines = told(spoiled(train_options, keys, value))
    assert lines == [f'option {keys} is {value}; write {value:.0f}, without a point']


def test_number_of_iterations_may_have_a_point(train_options):
    train_options['train'] |= {'total_iter': 1e5, 'warmup_iter': -1.0}
    train_options['train']['scheduler']['milestones'] = [5e4]
    train_options['val']['val_freq'] = 5e3
    train_options['logger'] |= {'save_checkpoint_freq': 5e3, 'print_freq': 1e2}
    assert told(train_options) == []


def test_misspelt_argument_of_a_network_of_basicsr_that_takes_any_is_a_warning(train_options):
    options = train_options | {'network_g': {'type': 'SwinIR', 'upscale': 1, 'embed_dmi': 60}}
    assert any(
        'warning: option network_g:embed_dmi: nothing is known to read it (did you mean embed_dim' in x
        for x in told(options)
    )


def test_metric_in_place_of_the_basicsrs_need_not_cut_borders(train_options, monkeypatch):
    from basicsr.utils.registry import METRIC_REGISTRY

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_psnr', lambda img, img2, **kwargs: 0.0)
    train_options['val']['metrics']['psnr'] = {'type': 'calculate_psnr'}
    assert told(train_options) == []


def test_data_set_of_basicsr_that_cannot_be_made_is_told_in_a_line(model_options):
    block = model_options['datasets']['train']
    with pytest.raises(InputError) as caught:  # it asserts that both folders have as many images
        trial.construct(
            {
                'type': 'PairedImageDataset',
                'name': 'Few',
                'phase': 'train',
                'scale': 1,
                'dataroot_gt': block['dataroot_gt'],
                'dataroot_lq': '/nowhere',
                'io_backend': {'type': 'disk'},
            }
        )
    assert str(caught.value).startswith('phase train, data set Few: PairedImageDataset cannot be made: ')
    assert '\n' not in str(caught.value)


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines(tmp_path):
    text = (
        '_base_: base.yml\nname: 3\nnetwork_g: {type: OKDNet, growht: 2, gate: sofmax}\n'
        'train:\n  optim_g:\n    lr: 1e-3\n'
    )  # fmt: skip
    (tmp_path / 'o.yml').write_text(text)
    write_options(tmp_path / 'base.yml', {'datasets': {}, 'path': {}, 'model_type': 'OKDNetModel', 'num_gpu': 'auto'})
    opt, places = config.load_with_places(str(tmp_path / 'o.yml'))
    mistakes = check.check(opt, places, 'train')
    lines = [line.removeprefix(f'{tmp_path}/') for line in map(str, mistakes)]
    expected = [
        'base.yml:1: option datasets:train is missing; add the data set of the training',
        'o.yml:1: option logger is missing; add what is logged and saved, and how often',
        'o.yml:2: option name is 3; write a string (quote numbers) of at most 100 characters',
        'o.yml:3: option network_g:growht: OKDNet has no such argument (did you mean growth?); it has num_feat, num_bl',
        "o.yml:3: option network_g:gate is 'sofmax' (did you mean softmax?); write one of none, softmax, sigmoid",
        'o.yml:4: option train:total_iter is missing; add iterations of the training',
        'o.yml:4: option train:scheduler is missing; add schedule of the learning rate',
        'o.yml:4: option train: no loss is given; add one of pixel_opt, ssim_opt, perceptual_opt, ',
        'o.yml:5: option train:optim_g:type is missing; add registered name of the optimiser',
        "o.yml:6: option train:optim_g:lr is the text '1e-3' to YAML; write 0.001, or a point before the exponent",
    ]
    assert len(lines) == len(expected), lines
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)
    with pytest.raises(InputError) as caught:
        check.refuse(opt, places, 'train')
    assert str(caught.value).splitlines() == [
        'the options have 10 mistakes:',
        *(f'  {line}' for line in map(str, mistakes)),
    ]


def test_one_mistake_is_one_line_and_an_unknown_name_has_its_class(train_options):
    with pytest.raises(InputError) as caught:
        check.refuse(spoiled(train_options, 'val:save_img', 'no'))
    assert str(caught.value) == "option val:save_img is 'no'; write true or false"
    assert not isinstance(caught.value, UnknownNameError)
    with pytest.raises(UnknownNameError, match='OKDNett'):
        check.refuse(spoiled(train_options, 'network_g:type', 'OKDNett'))


def test_place_of_an_override_is_the_command_line(tmp_path, train_options):
    file = write_options(tmp_path / 'o.yml', train_options)
    opt, places = config.load_with_places(file, ['train.emma=0.9'])
    (mistake,) = check.check(opt, places, 'train')
    assert str(mistake).startswith('--set train.emma: option train:emma: nothing reads it')


@pytest.mark.parametrize('keys', ['amp', 'train:accumulate', 'logger:keep_last'])
def test_option_of_the_engine_at_a_model_that_would_not_read_it_is_a_warning(train_options, keys):
    options = spoiled(train_options, keys, 'bf16' if keys == 'amp' else 2) | {'model_type': 'SRModel'}
    for block in ('ssim_opt', 'distill_opt'):
        del options['train'][block]
    warning = f'warning: option {keys}: SRModel does not read it; take it out, or use model_type: RestorationModel'
    assert told(options) == [warning]


def test_option_of_the_engine_that_is_off_may_stay_at_any_model(train_options):
    options = train_options | {'model_type': 'SRModel', 'amp': False, 'channels_last': False}
    for block in ('ssim_opt', 'distill_opt'):
        del options['train'][block]
    assert told(options) == []


def test_option_of_another_model_is_named_with_it(train_options):
    lines = told(train_options | {'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 64}})
    assert len(lines) == 1
    assert 'option network_d: nothing reads it (' in lines[0]


def test_part_of_a_mixture_has_its_keys_and_those_that_are_shared(train_options):
    train_set = train_options['datasets']['train']
    shared = {key: train_set.pop(key) for key in ('type', 'layout', 'dataroot_lq', 'dataroot_gt')}
    part = {'type': shared['type'], 'layout': shared['layout'], 'weight': 1}
    roots = {key: shared[key] for key in ('dataroot_lq', 'dataroot_gt')}
    train_set |= {'type': 'MixedDataset', 'epoch_length': 8, **roots, 'parts': {'one': part}}
    assert told(train_options) == []
    del train_set['dataroot_gt']
    (line,) = told(train_options)
    assert line.startswith('option datasets:train:parts:one:dataroot_gt is missing; add ')
    train_set['dataroot_gt'] = roots['dataroot_gt']
    part |= {'wieght': 1, 'batch_size_per_gpu': 4}
    train_set['gtsize'] = 32
    lines = told(train_options)
    assert len(lines) == 3
    assert any('datasets:train:parts:one:wieght: PairedDehazeDataset does not read it (did you' in x for x in lines)
    assert any('datasets:train:parts:one:batch_size_per_gpu: PairedDehazeDataset does not read it' in x for x in lines)
    assert any('datasets:train:gtsize: MixedDataset does not read it (did you mean gt_size' in x for x in lines)
    part['type'], train_set['epoch_lenght'] = 'PairedImageDataset', 8  # which may read any key
    part['weigth'] = part.pop('wieght')
    del part['weight'], train_set['epoch_length']
    lines = [line for line in told(train_options) if 'nothing is known' in line]
    assert any('warning: option datasets:train:parts:one:weigth: ' in x and 'did you mean weight' in x for x in lines)
    assert any('warning: option datasets:train:epoch_lenght: ' in x and 'did you mean epoch_length' in x for x in lines)


def test_data_set_is_constructed_when_all_else_is_right(model_options):
    block = model_options['datasets']['train']
    block['dataroot_lq'] = block['dataroot_gt']
    with pytest.raises(InputError, match='phase train, data set Pairs: '):
        prepare(model_options)


def test_rules_of_names_and_empty_folders_are_told_with_the_other_mistakes(train_options, tmp_path):
    (tmp_path / 'empty').mkdir()
    val = train_options['datasets']['val']
    train_options['datasets']['train'] |= {'layout': 'itz', 'dataroot_lq': str(tmp_path / 'empty')}
    train_options['datasets']['val'] = {**val, 'layout': None, 'pairing': '(a)(b)', 'dataroot_gt': str(tmp_path)}
    train_options['datasets']['val_2'] = val | {'pairing': '(.*)'}
    found = told(train_options, look=True)
    assert [line.split(' ')[1] for line in found] == [
        'datasets:train:layout',
        'datasets:train:dataroot_lq:',
        'datasets:val:pairing:',
        'datasets:val:dataroot_gt:',
        'datasets:val_2:layout:',
    ]
    assert 'empty holds no image' in found[1]
    assert 'layout and pairing are given' in found[4]


def test_data_sets_that_cannot_be_made_are_told_together(model_options, tmp_path):
    for phase, block in model_options['datasets'].items():
        (tmp_path / phase).mkdir()
        (tmp_path / phase / 'strange.png').touch()
        block['dataroot_lq'] = str(tmp_path / phase)
    with pytest.raises(InputError, match=r'(?s)2 mistakes.*data set Pairs: .*data set Held: '):
        prepare(model_options)


def test_check_is_quick_once_all_is_imported(train_options):
    import time

    told(train_options)
    begin = time.process_time()
    told(train_options)
    assert time.process_time() - begin < 0.3
