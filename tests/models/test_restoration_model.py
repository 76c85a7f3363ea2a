"""What the engine adds to BasicSR's SRModel, in one process and without the trainer's loop."""

import copy
import logging
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.utils import get_root_logger, set_random_seed
from basicsr.utils.registry import METRIC_REGISTRY
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import in_two_processes
from okdnet_plugin.data.single_dehaze_dataset import SingleDehazeDataset
from okdnet_plugin.engine.optimizers import OPTIMIZERS
from okdnet_plugin.engine.torch_versions import allow_counters
from okdnet_plugin.errors import BadUpdatesError, InputError, SaveError, StoreError, UnknownNameError

RIDNET = {'type': 'RIDNet', 'in_channels': 3, 'mid_channels': 16, 'out_channels': 3, 'num_block': 1}  # no BatchNorm


@pytest.fixture
def ridnet(model_options):
    """Options of a network without BatchNorm, trained by SGD, whose steps are plain sums of gradients."""
    del model_options['train']['distill_opt']
    model_options['train']['optim_g'] = {'type': 'SGD', 'lr': 0.1}
    return model_options | {'network_g': RIDNET, 'model_type': 'RestorationModel'}


def build(options):
    set_random_seed(0)
    return build_model(copy.deepcopy(options))


def batch_of(options, count=4):
    set_random_seed(0)
    dataset = build_dataset(options['datasets']['train'])
    images = [dataset[i] for i in range(count)]
    batch = {key: torch.stack([image[key] for image in images]) for key in ('lq', 'gt')}
    return batch | {key: [image[key] for image in images] for key in ('lq_path', 'gt_path')}


def step(model, batch, iteration=1):
    model.update_learning_rate(iteration, warmup_iter=model.opt['train']['warmup_iter'])
    model.feed_data(batch)
    model.optimize_parameters(iteration)
    return model.get_current_log()


def weights_of(model):
    return {key: value.clone() for key, value in model.get_bare_model(model.net_g).state_dict().items()}


def equal(first, second):
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture
def warnings():
    """Messages of BasicSR's logger."""
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    get_root_logger().addHandler(handler)
    yield messages
    get_root_logger().removeHandler(handler)


needs_fused_kernels_of_the_cpu = pytest.mark.skipif(
    not hasattr(torch.serialization, 'add_safe_globals'), reason='torch before 2.4 has fused optimisers for GPUs only'
)

needs_float16_of_the_cpu = pytest.mark.skipif(
    not hasattr(torch.amp, 'GradScaler'), reason='torch before 2.3 has float16 on GPUs only'
)


@pytest.mark.skipif(hasattr(torch.serialization, 'add_safe_globals'), reason='torch since 2.4 has them')
def test_fused_is_left_out_with_a_word_where_there_are_no_kernels(model_options, warnings):
    model_options['train']['optim_g'] |= {'fused': True}
    model = build(model_options)
    step(model, batch_of(model_options))
    assert 'fused is left out' in warnings[0]


# ----------------------------------------------------------------------------------------------------------- precision


def test_bf16_computes_in_bf16_and_keeps_weights_losses_and_division_in_float32(model_options):
    losses = {}
    for amp in ('off', 'bf16'):
        model = build(model_options | {'amp': amp})
        dtypes = []
        model.net_g.preprocess[0].register_forward_hook(lambda *args, seen=dtypes: seen.append(args[2].dtype))
        losses[amp] = step(model, batch_of(model_options))
        assert dtypes == [torch.bfloat16 if amp == 'bf16' else torch.float32]
        assert {value.dtype for value in model.net_g.parameters()} == {torch.float32}
        assert model.output.dtype == torch.float32
    assert losses['bf16'] == pytest.approx(losses['off'], rel=0.05, abs=0.01)
    assert losses['bf16'] != losses['off']


def test_scattering_model_divides_in_float32_under_autocast(model_options):
    model = build(model_options)
    with torch.autocast('cpu', torch.bfloat16):
        branches = model.net_g(torch.rand(2, 3, 32, 32), return_branches=True)
    assert branches.model_based.dtype == branches.transmission.dtype == branches.airlight.dtype == torch.float32


@needs_float16_of_the_cpu
def test_fp16_lowers_the_scale_of_the_loss_until_the_gradient_is_finite(ridnet, warnings):
    ridnet['train']['optim_g']['lr'] = 1e-5
    model, batch = build(ridnet | {'amp': 'fp16'}), batch_of(ridnet)
    before = weights_of(model)
    for iteration in range(1, 13):
        losses = step(model, batch, iteration)
    assert model.scaler.get_scale() == 65536 / 2**model.guard.skipped
    assert 0 < model.guard.skipped < 12
    assert warnings == []  # it is how the scale finds its size, and no image's fault
    assert not equal(before, weights_of(model))
    plain = build(ridnet)
    for iteration in range(1, 13 - model.guard.skipped):
        expected = step(plain, batch, iteration)
    assert losses == pytest.approx(expected, rel=0.05, abs=0.02)
    assert model.more_of_training_state()['scaler']['scale'] == model.scaler.get_scale()


@pytest.mark.parametrize('amp', [False, None, 'off'])
def test_amp_may_be_switched_off_in_any_way_of_yaml(model_options, amp):
    assert build(model_options | {'amp': amp}).amp_dtype is None


def test_compiled_network_trains_alike_and_keeps_its_names(model_options, monkeypatch):
    """Without compiling anything, which takes minutes: the benchmark does."""
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, 'compile', lambda self, mode=None: compiled.append((type(self).__name__, mode))
    )
    model = build(model_options | {'compile': 'max-autotune'})
    assert compiled == [('OKDNet', 'max-autotune')]
    assert not any(key.startswith('_orig_mod') for key in model.net_g.state_dict())
    build(model_options | {'compile': True})
    assert compiled[1] == ('OKDNet', None)


def test_tf32_is_switched_for_products_and_convolutions(model_options, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, 'matmul', SimpleNamespace(allow_tf32=False))
    monkeypatch.setattr(torch.backends, 'cudnn', SimpleNamespace(allow_tf32=False))
    for options, expected in (({'tf32': True}, True), ({}, False), ({'tf32': False}, False)):
        build(model_options | options)
        assert torch.backends.cuda.matmul.allow_tf32 is expected
        assert torch.backends.cudnn.allow_tf32 is expected


# -------------------------------------------------------------------------------------------------------------- updates


def test_accumulated_parts_make_the_update_of_the_whole_batch(ridnet):
    whole = build(ridnet)
    parts = build(ridnet | {'train': ridnet['train'] | {'accumulate': 2}})
    batch = batch_of(ridnet)
    assert step(whole, batch) == pytest.approx(step(parts, batch), rel=1e-5)
    for first, second in zip(whole.net_g.parameters(), parts.net_g.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
    assert parts.lq.shape[0] == 4


def test_gradient_is_clipped_to_its_largest_norm(ridnet):
    free, clipped = build(ridnet), build(ridnet | {'train': ridnet['train'] | {'grad_clip': 1e-3}})
    norms = []
    for model in (free, clipped):
        step(model, batch_of(ridnet))
        norms.append(float(torch.stack([p.grad.norm() for p in model.net_g.parameters()]).norm()))
    assert norms[0] > 1e-2
    assert norms[1] == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize('name', ['AdamW', 'SGD', 'RAdam'])
def test_optimizer_is_any_of_torch_with_its_arguments(model_options, name):
    model_options['train']['optim_g'] = {'type': name, 'lr': 0.01, 'weight_decay': 0.1}
    model = build(model_options)
    assert type(model.optimizer_g) is OPTIMIZERS[name]
    assert model.optimizer_g.defaults['weight_decay'] == 0.1


def test_warm_up_reaches_the_full_rate(model_options):
    schedule = {'type': 'MultiStepLR', 'milestones': [6], 'gamma': 0.5}
    model_options['train'] |= {'total_iter': 8, 'warmup_iter': 4, 'scheduler': schedule}
    model, rates = build(model_options), []
    for iteration in range(1, 9):
        step(model, batch_of(model_options, 2), iteration)
        rates += model.get_current_learning_rate()
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3, 0.5e-3, 0.5e-3])


class Looks(TorchDispatchMode):
    """Counts how often a value is taken from its device, which waits for all that is queued there."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@needs_fused_kernels_of_the_cpu
@pytest.mark.parametrize('value', [0.5, float('nan')])
def test_step_on_a_gpu_looks_at_no_value_and_still_leaves_out_what_is_not_finite(model_options, value, warnings):
    """The way of a GPU, on the CPU: the fused optimiser heeds the flag itself, and reports wait until a log is due."""
    model_options['train']['optim_g'] |= {'fused': True}
    model, batch = build(model_options), batch_of(model_options)
    model.feed_data(batch | {'lq': batch['lq'] * 0 + value})
    model.device = SimpleNamespace(type='cuda')
    before = weights_of(model)
    with Looks() as looks:
        model.optimize_parameters(1)
    assert looks.count == 0
    is_bad = value != value
    assert equal(before, weights_of(model)) == is_bad
    assert {float(state['step']) for state in model.optimizer_g.state.values()} == {0.0 if is_bad else 1.0}
    assert warnings == []
    model.get_current_log()
    assert len(warnings) == is_bad


# ----------------------------------------------------------------------------------------------------------- bad values


def test_bad_image_changes_neither_weights_nor_statistics_and_is_named(model_options, warnings):
    model, batch = build(model_options), batch_of(model_options)
    step(model, batch, 1)
    before = weights_of(model)
    bad = batch | {'lq': batch['lq'].clone()}
    bad['lq'][1, 0, 0, 0] = float('inf')
    step(model, bad, 2)
    assert equal(before, weights_of(model))
    assert 'iteration 2: loss or gradient is not finite' in warnings[0]
    assert batch['lq_path'][1] in warnings[0]
    step(model, batch, 3)
    assert not equal(before, weights_of(model))
    assert len(warnings) == 1


def test_too_many_bad_updates_end_the_run_with_the_last_good_state_saved(model_options, tmp_path):
    model_options['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path)}
    model_options['train']['max_bad_steps'] = 2
    model, batch = build(model_options), batch_of(model_options)
    step(model, batch, 1)
    before = weights_of(model)
    batch['gt'] = batch['gt'] * float('nan')
    for iteration in (2, 3):
        step(model, batch, iteration)
    with pytest.raises(BadUpdatesError, match=r'3 updates in a row .*max_bad_steps \(2\).*grad_clip'):
        step(model, batch, 4)
    saved = torch.load(tmp_path / 'net_g_4.pth', weights_only=True)['params']
    assert equal(before, saved)
    allow_counters()  # which torch before 2.4 does not do by itself
    assert torch.load(tmp_path / '4.state', weights_only=True)['guard'] == {'skipped': 3, 'in_a_row': 3}


# --------------------------------------------------------------------------------------------------------------- saving


@pytest.fixture
def saving(model_options, tmp_path):
    model_options['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path)}
    return model_options


def test_old_checkpoints_go_and_the_latest_stays_loadable(saving, tmp_path):
    saving['logger']['keep_last'] = 2
    model, batch = build(saving), batch_of(saving)
    for iteration in (9, 10, 11):
        step(model, batch, iteration)
        model.save(0, iteration)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {'net_g_10.pth', 'net_g_11.pth', 'net_g_latest.pth', '10.state', '11.state'}
    latest = torch.load(tmp_path / 'net_g_latest.pth', weights_only=True)
    assert equal(weights_of(model), latest['params'])


def test_end_of_the_training_leaves_a_state_to_go_on_from(saving, tmp_path):
    model = build(saving)
    step(model, batch_of(saving), 7)
    model.save(epoch=-1, current_iter=-1)
    assert {path.name for path in tmp_path.iterdir()} == {'net_g_7.pth', 'net_g_latest.pth', '7.state'}


def test_failed_write_stops_and_leaves_what_was_saved(saving, tmp_path, monkeypatch):
    model = build(saving)
    step(model, batch_of(saving), 1)
    model.save(0, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    step(model, batch_of(saving), 2)

    def fails(source, target):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.replace', fails)
    with pytest.raises(SaveError, match=r'net_g_2\.pth cannot be written: No space left on device'):
        model.save(0, 2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_run_that_bad_updates_end_removes_no_earlier_network(saving, tmp_path):
    """The update before the bad ones was finite, and may yet have been the ruinous one."""
    saving['logger']['keep_last'], saving['train']['max_bad_steps'] = 1, 0
    model, batch = build(saving), batch_of(saving)
    step(model, batch, 1)
    model.save(0, 1)
    latest = (tmp_path / 'net_g_latest.pth').read_bytes()
    with pytest.raises(BadUpdatesError, match='no earlier one is removed'):
        step(model, batch | {'gt': batch['gt'] * float('nan')}, 2)
    assert {'net_g_1.pth', '1.state', 'net_g_2.pth', '2.state'} < {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / 'net_g_latest.pth').read_bytes() == latest


@pytest.fixture
def state(saving, tmp_path):
    """A state of the option file after one iteration."""
    model = build(saving)
    step(model, batch_of(saving), 1)
    model.save(0, 1)
    allow_counters()
    return torch.load(tmp_path / '1.state', weights_only=True)


def test_state_of_another_optimizer_is_refused(saving, state):
    saving['train']['optim_g'] = {'type': 'SGD', 'lr': 0.1}
    with pytest.raises(InputError, match='optim_g:type is SGD, but the state is of Adam'):
        build(saving).resume_training(state)


def test_optimizer_settings_that_the_state_decides_are_said(saving, state, warnings):
    saving['train']['optim_g'] |= {'lr': 5e-4, 'weight_decay': 0.1}
    build(saving).resume_training(state)
    assert [message.split(',')[0] for message in warnings] == [
        'option train:optim_g:lr is 0.0005',
        'option train:optim_g:weight_decay is 0.1',
    ]


@needs_fused_kernels_of_the_cpu
def test_run_goes_on_with_a_fused_optimizer(saving, state, warnings):
    saving['train']['optim_g'] |= {'fused': True}
    model = build(saving)
    model.resume_training(state)
    assert {group['fused'] for group in model.optimizer_g.param_groups} == {True}
    step(model, batch_of(saving), 2)
    assert {float(values['step']) for values in model.optimizer_g.state.values()} == {2.0}
    assert warnings == []


@needs_float16_of_the_cpu
def test_run_goes_on_with_another_precision_and_another_metric(saving, state):
    saving['val']['metrics']['niqe'] = {'type': 'calculate_niqe', 'crop_border': 0, 'better': 'lower'}
    state['best_metric_results'] = {'Held': {'psnr': {'better': 'higher', 'val': 12.0, 'iter': 1}}}
    model = build(saving | {'amp': 'fp16'})
    model.resume_training(state)
    assert model.best_metric_results['Held']['psnr']['val'] == 12
    assert model.best_metric_results['Held']['niqe']['iter'] == -1
    assert model.scaler.get_scale() == 65536


@pytest.mark.parametrize('key', ['amp', 'compile', 'sync_bn'])
def test_several_gpus_without_a_launcher_are_refused_what_they_would_do_wrongly(model_options, key):
    with pytest.raises(InputError, match=f'option {key} needs a process for each of the 2 GPUs'):
        build(model_options | {'num_gpu': 2, key: 'bf16' if key == 'amp' else True})


def test_weights_with_code_in_them_are_refused(saving, tmp_path):
    torch.save({'params': {'weight': SimpleNamespace()}}, tmp_path / 'foreign.pth')
    saving['path']['pretrain_network_g'] = str(tmp_path / 'foreign.pth')
    with pytest.raises(InputError, match=r'foreign\.pth is refused: it holds types\.SimpleNamespace'):
        build(saving)


def test_state_of_another_model_goes_on_with_a_warning(saving, tmp_path, warnings):
    model = build(saving)
    step(model, batch_of(saving), 1)
    state = {'epoch': 0, 'iter': 1, 'optimizers': [model.optimizer_g.state_dict()]}
    state['schedulers'] = [model.schedulers[0].state_dict()]
    build(saving).resume_training(state)
    assert 'holds no random numbers' in warnings[0]


def test_weights_that_do_not_fit_are_one_line(saving, tmp_path):
    weights = str(tmp_path / 'other.pth')
    saving['path']['pretrain_network_g'] = weights
    torch.save({'something': {}, 'other': {}}, weights)
    with pytest.raises(InputError, match=r'other\.pth: it holds no weights, but something'):
        build(saving)
    torch.save({'params': {'conv.weight': torch.zeros(1)}, 'params_ema': {}}, weights)
    with pytest.raises(InputError, match=r'other\.pth are not of the OKDNet of the option file: .*missing: ') as caught:
        build(saving)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('content', 'key'),
    [
        (lambda state: {'state_dict': {f'net.{name}': value for name, value in state.items()}, 'epoch': 3}, None),
        (lambda state: {'model': {'state_dict': {f'_orig_mod.{name}': value for name, value in state.items()}}}, None),
        (lambda state: {f'net_g.{name}': value for name, value in state.items()} | {'net_d.w': torch.ones(3)}, None),
        (lambda state: {'generator': state, 'other': {'w': torch.ones(1)}}, 'generator'),
    ],
)
def test_training_reads_weights_of_other_trainers(saving, tmp_path, content, key):
    weights = str(tmp_path / 'other.pth')
    state = {name: value + 1 for name, value in build_network(saving['network_g']).state_dict().items()}
    torch.save(content(state), weights)
    saving['path'] |= {'pretrain_network_g': weights} | ({} if key is None else {'param_key_g': key})
    model = build(saving)
    assert all(torch.equal(value, state[name]) for name, value in model.net_g.state_dict().items())


def test_weights_without_params_are_not_taken_for_those_of_a_key_that_is_not_there(saving, tmp_path):
    weights = str(tmp_path / 'net.pth')
    torch.save({'params': build_network(saving['network_g']).state_dict()}, weights)
    saving['path'] |= {'pretrain_network_g': weights, 'param_key_g': 'params_em'}
    with pytest.raises(InputError, match=r"there is no 'params_em'.*it has params"):
        build(saving)


def test_weights_that_are_not_finite_or_of_which_none_fits_are_refused(saving, tmp_path):
    weights = str(tmp_path / 'net.pth')
    state = build_network(saving['network_g']).state_dict()
    saving['path'] |= {'pretrain_network_g': weights, 'strict_load_g': False}
    torch.save({'params': {name: value * float('nan') for name, value in state.items()}}, weights)
    with pytest.raises(InputError, match='not finite'):
        build(saving)
    torch.save({'params': {'another.weight': torch.ones(3)}}, weights)
    with pytest.raises(InputError, match='not one of them fits'):
        build(saving)


def test_training_goes_on_from_published_weights_with_ema(saving, tmp_path, warnings):
    saving |= {'model_type': 'RestorationModel', 'network_g': {'type': 'AODNet'}}
    for block in ('distill_opt',):
        saving['train'].pop(block, None)
    weights = {f'module.{key}': value for key, value in build_network({'type': 'AODNet'}).state_dict().items()}
    torch.save(weights, tmp_path / 'published.pth')
    saving['path'] |= {'pretrain_network_g': str(tmp_path / 'published.pth'), 'param_key_g': None}
    model = build(saving)
    assert not any('loaded net' in warning for warning in warnings)
    for net in (model.net_g, model.net_g_ema):
        for key, value in net.state_dict().items():
            assert torch.equal(value, weights[f'module.{key}'])


def test_a_network_without_parameters_is_tested_but_not_trained(saving):
    saving |= {'model_type': 'RestorationModel', 'network_g': {'type': 'DCP'}}
    saving['train'].pop('distill_opt', None)
    with pytest.raises(InputError, match='DCP has nothing to train; use it with basicsr test'):
        build(saving)
    model = build(saving | {'is_train': False, 'dist': False})
    assert list(model.net_g.parameters()) == []


def test_a_test_without_weights_warns_unless_there_is_nothing_to_load(saving, warnings):
    saving |= {'is_train': False, 'dist': False}
    build(saving)
    assert any('OKDNet is tested with random weights' in line for line in warnings)
    warnings.clear()
    saving['train'].pop('distill_opt', None)
    build(saving | {'model_type': 'RestorationModel', 'network_g': {'type': 'DCP'}})
    assert warnings == []


# ----------------------------------------------------------------------------------------------------------- validation


@pytest.fixture
def validated(saving, tmp_path):
    """A model and the loader of its validation, images going to `tmp_path/images`."""
    saving['path']['visualization'] = str(tmp_path / 'images')
    model = build(saving)
    step(model, batch_of(saving), 1)
    block = saving['datasets']['val'] | {'num_worker_per_gpu': 0}
    return model, build_dataloader(build_dataset(block), block)


def test_validation_images_are_strips_of_hazy_result_and_clear(validated, tmp_path):
    model, loader = validated
    model.validation(loader, 1, None, save_img=True)
    strips = sorted((tmp_path / 'images').glob('*/*_1.png'))
    assert len(strips) == 8
    strip, hazy = cv2.imread(str(strips[0])), cv2.imread(loader.dataset[0]['lq_path'])
    assert strip.shape == (48, 3 * 64 + 2 * 2, 3)
    assert (strip[20:, :64] == hazy[20:]).all()


def test_equal_images_are_counted_and_left_out_of_the_mean(validated, monkeypatch, warnings):
    model, loader = validated
    model.validation(loader, 1, None)
    one = dict(model.metric_results)
    restore, paths = type(model).test, iter(range(8))

    def perfect_at_the_first(self):
        restore(self)
        if next(paths) == 0:
            self.output = self.gt

    monkeypatch.setattr(type(model), 'test', perfect_at_the_first)
    model.current_iter = 2
    model.validation(loader, 2, None)
    assert model.metric_results['psnr'] == pytest.approx(one['psnr'], abs=2)
    assert 'Held: psnr of 1 images is infinite' in warnings[-1]


def test_metrics_that_need_a_clear_image_are_left_out_where_there_is_none(validated, monkeypatch, caplog):
    model, loader = validated
    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'brightness', lambda img, **_: img.mean())
    model.opt['val']['metrics']['brightness'] = {'type': 'brightness'}
    root = loader.dataset.opt['dataroot_lq']
    block = {'name': 'Photos', 'phase': 'val', 'dataroot_lq': root, 'num_worker_per_gpu': 0}
    photos = SingleDehazeDataset(block)
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)  # whatever a test before this one has set up
    with caplog.at_level('INFO', 'basicsr'):
        model.validation(build_dataloader(photos, block), 1, None)
    assert model.metric_results.keys() == {'brightness'}
    assert 'Photos has no clear images, or no depth, which psnr, ssim would need.' in caplog.messages


def test_best_network_is_kept(validated, tmp_path):
    model, loader = validated
    model.opt['logger']['save_best'] = 'Held/psnr'
    model.validation(loader, 1, None)
    best = weights_of(model)
    for parameter in model.net_g_ema.parameters():
        parameter.data += 100  # spoilt
    model.current_iter = 2
    model.validation(loader, 2, None)
    saved = torch.load(tmp_path / 'net_g_best.pth', weights_only=True)
    assert equal(best, saved['params'])
    assert not equal(dict(model.net_g_ema.state_dict()), saved['params_ema'])


def test_validation_leaves_the_random_numbers_of_the_training_alone(validated):
    model, loader = validated
    before = torch.get_rng_state()
    model.validation(loader, 1, None)
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture
def tested(saving, pairs, tmp_path):
    """A function that gives a model for tests of folders, and their loaders; images go to `tmp_path/images`."""
    saving['path']['visualization'] = str(tmp_path / 'images')
    saving |= {'is_train': False, 'name': 'x'}

    def build_for(*blocks):
        saving['datasets'] = dict(enumerate(blocks))
        return build(saving), [build_dataloader(build_dataset(block), block) for block in blocks]

    return build_for


def folder_of(root, good, sizes=()):
    """Block of a data set with a good image for each name, and further ones of (height, width) named by these."""
    root.mkdir()
    for name in good:
        cv2.imwrite(str(root / f'{name}.png'), np.full((32, 40, 3), 100, np.uint8))
    for height, width in sizes:
        cv2.imwrite(str(root / f'{height}x{width}.png'), np.full((height, width, 3), 100, np.uint8))
    return {'name': root.name, 'type': 'SingleDehazeDataset', 'phase': 'test', 'dataroot_lq': str(root)}


@pytest.mark.parametrize('workers', [0, 1])
def test_bad_images_of_a_test_are_named_when_all_others_are_done(tested, tmp_path, warnings, workers):
    first = folder_of(tmp_path / 'one', 'az', [(1, 1), (3, 200)]) | {'num_worker_per_gpu': workers}
    (tmp_path / 'one' / 'damaged.png').write_bytes(b'?')
    second = folder_of(tmp_path / 'two', 'b')
    model, loaders = tested(first, second)
    model.validation(loaders[0], 'x', None, save_img=True)
    with pytest.raises(InputError) as caught:
        model.validation(loaders[1], 'x', None, save_img=True)
    assert str(caught.value) == (
        f'phase test, data set one: {tmp_path}/one/1x1.png is 1x1 (height x width), which OKDNet cannot restore: '
        'OKDNet: an image of 1x1 is too small; each side must be 16 or more; bring it to another size, or take it out '
        '(3 such images, named in the log, are left out; the others are done)'
    )
    assert sorted(path.name for path in (tmp_path / 'images').glob('*/*')) == ['a_x.png', 'b_x.png', 'z_x.png']
    assert [name for name in ('1x1.png', '3x200.png', 'damaged.png') if name not in ''.join(warnings)] == []
    assert all('\n' not in warning for warning in warnings)


def complaint_of_a_test(options, block, rank):
    model = build(options | {'dist': True, 'rank': rank, 'world_size': 2, 'datasets': {'test': block}})
    try:
        model.validation(build_dataloader(build_dataset(block), block), 'x', None, save_img=True)
    except InputError as error:
        return str(error)


def test_two_processes_name_the_bad_images_of_both(saving, tmp_path):
    saving['path']['visualization'] = str(tmp_path / 'images')
    saving |= {'is_train': False, 'name': 'x'}
    block = folder_of(tmp_path / 'one', 'az', [(1, 1), (3, 200)]) | {'num_worker_per_gpu': 0}
    first, second = in_two_processes(partial(complaint_of_a_test, saving, block), tmp_path)
    assert first == second
    assert '1x1.png is 1x1' in first
    assert '2 such images' in first
    assert len(list((tmp_path / 'images').glob('*/*'))) == 2


SWINIR = {
    'type': 'SwinIR', 'upscale': 1, 'img_size': 32, 'window_size': 8, 'depths': [2], 'embed_dim': 12, 'num_heads': [2],
    'mlp_ratio': 2, 'upsampler': '', 'in_chans': 3,
}  # fmt: skip


@pytest.mark.parametrize('is_train', [False, True])
def test_a_network_of_windows_restores_images_of_any_size(is_train, saving, tmp_path):
    del saving['train']['distill_opt']
    model = build(saving | {'model_type': 'RestorationModel', 'network_g': SWINIR, 'is_train': is_train})
    image = torch.rand(1, 3, 37, 50)
    model.feed_data({'lq': image})
    model.test()
    net = (model.net_g_ema if is_train else model.net_g).eval()
    rows = torch.cat([image, image[..., -3:, :].flip(2)], 2)
    with torch.no_grad():
        expected = net(torch.cat([rows, rows[..., -6:].flip(3)], 3))[..., :37, :50]
    assert torch.equal(model.output, expected)
    assert model.lq is image


def test_means_of_a_test_are_those_of_the_images_that_are_done(tested, tmp_path, monkeypatch):
    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'brightness', brightness_of_large_images)
    model, [loader] = tested(folder_of(tmp_path / 'one', 'abc', [(20, 20)]))
    model.opt['val']['metrics'] = {'brightness': {'type': 'brightness'}}
    with pytest.raises(
        InputError, match=r'^phase test, data set one: .*/20x20\.png: brightness: too small; .*the others are done'
    ):
        model.validation(loader, 'x', None)
    assert 0 < model.metric_results['brightness'] < 255


def brightness_of_large_images(img, **_):
    if img.shape[0] < 32:
        raise InputError('too small; give another')
    return img.mean()


def test_an_error_that_is_not_of_the_size_stays_what_it_is(tested, tmp_path, monkeypatch):
    model, [loader] = tested(folder_of(tmp_path / 'one', 'a'))

    def fails(*_, **__):
        raise RuntimeError('a mistake in the network')

    monkeypatch.setattr(model.net_g, 'forward', fails)
    with pytest.raises(RuntimeError, match='a mistake in the network'):
        model.validation(loader, 'x', None)


def test_a_store_that_cannot_be_read_ends_a_test(tested, tmp_path, monkeypatch):
    model, [loader] = tested(folder_of(tmp_path / 'one', 'ab') | {'num_worker_per_gpu': 0})
    reads = []

    def refuse(self, index):
        reads.append(index)
        raise StoreError('data.mdb is cut short; copy it again')

    monkeypatch.setattr(SingleDehazeDataset, '_sample', refuse)
    with pytest.raises(StoreError, match=r'data\.mdb is cut short'):
        model.validation(loader, 'x', None)
    assert len(reads) == 1


def test_a_training_ends_at_an_image_that_its_validation_cannot_restore(validated, tmp_path):
    model, _ = validated
    block = folder_of(tmp_path / 'one', 'a', [(3, 200)]) | {'phase': 'val', 'num_worker_per_gpu': 0}
    with pytest.raises(
        InputError, match=r'^phase val, data set one: .*/3x200\.png is 3x200 .height x width.*take it out$'
    ):
        model.validation(build_dataloader(build_dataset(block), block), 1, None)


# -------------------------------------------------------------------------------------------------------------- options


def test_best_network_is_not_looked_for_where_there_are_no_clear_images(model_options, tmp_path):
    photos = folder_of(tmp_path / 'photos', 'a') | {'phase': 'val'}
    options = model_options | {'logger': model_options['logger'] | {'save_best': 'photos/psnr'}}
    options['datasets'] = model_options['datasets'] | {'val_2': photos}
    message = 'save_best is photos/psnr, but photos has no clear images, which psnr needs; write one of Held/psnr, Held'
    with pytest.raises(InputError, match=message):
        build(options)
    options['val'] = options['val'] | {'metrics': options['val']['metrics'] | {'niqe': {'type': 'calculate_niqe'}}}
    options['logger'] = options['logger'] | {'save_best': 'photos/niqe'}
    build(options)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'amp': 'bf61'}, "option amp is 'bf61' .did you mean bf16.*write one of bf16, fp16, off"),
        ({'channels_last': 'yes'}, "option channels_last is 'yes'; write true or false"),
        ({'compile': 'max'}, "option compile is 'max'.*; write one of true, false, default"),
        ({'train': {'accumulate': 0}}, 'option train:accumulate is 0; write a whole number from 1'),
        ({'train': {'max_bad_steps': -1}}, 'option train:max_bad_steps is -1'),
        ({'train': {'grad_clip': 0}}, 'option train:grad_clip is 0; write the largest L2 norm'),
        ({'logger': {'keep_last': True}}, 'option logger:keep_last is true'),
        ({'logger': {'save_best': 'Held/psrn'}}, r'option logger:save_best is Held/psrn \(did you mean Held/psnr'),
        ({'train': {'optim_g': {'type': 'AdmaW', 'lr': 1}}}, r"no optimiser 'AdmaW' \(did you mean AdamW"),
        ({'train': {'optim_g': {'type': 'Adam', 'lr': 1, 'beta': 1}}}, r'beta: Adam has no such argument \(did you me'),
        ({'train': {'optim_g': {'type': 'Adam'}}}, 'option train:optim_g:lr is missing'),
        ({'train': {'accumulate': 2, 'pixel_opt': {'type': 'L1Loss', 'reduction': 'sum'}}}, 'reduction is sum'),
    ],
)  # fmt: skip
def test_wrong_value_is_refused_before_anything_is_built(model_options, change, message):
    for key, value in change.items():
        model_options[key] = model_options[key] | value if isinstance(value, dict) else value
    with pytest.raises(InputError, match=message):
        build(model_options)


def test_unknown_optimizer_is_an_unknown_name(model_options):
    model_options['train']['optim_g']['type'] = 'LBFGS'
    with pytest.raises(UnknownNameError, match="no optimiser 'LBFGS'"):
        build(model_options)
