"""Each patch: the released BasicSR needs it, and with it BasicSR works."""

import io
import json
import logging
import os
import re
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from basicsr.archs import build_network
from basicsr.models.base_model import BaseModel
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

from conftest import in_two_processes, run, write_options
from okdnet_plugin import compat
from okdnet_plugin.errors import InputError, UnknownNameError

# torchvision has made the module private in 0.17.
_NEEDS_NO_STAND_IN = tuple(map(int, torchvision.__version__.split('.')[:2])) < (0, 17)
NAMES = [
    pytest.param(
        patch.name,
        marks=pytest.mark.skipif(
            _NEEDS_NO_STAND_IN and patch.name == 'provide_functional_tensor',
            reason='torchvision 0.16 has it',
        ),
    )
    for patch in compat.PATCHES
]


@pytest.fixture(scope='module')
def unpatched():
    result = run(sys.executable, Path(__file__).with_name('unpatched_basicsr.py'), cwd=Path(__file__).parent)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize('name', NAMES)
def test_released_basicsr_still_has_the_defect(unpatched, name):
    """When this fails, BasicSR has been corrected and the patch can go."""
    assert unpatched[name], f'{name} is no longer needed'


@pytest.mark.parametrize('name', NAMES)
def test_patch_was_applied_and_says_why(name):
    patch = next(patch for patch in compat.APPLIED if patch.name == name)
    assert 'Can go' in patch.reason


@pytest.mark.parametrize('name', NAMES)
def test_patched_basicsr_no_longer_asks_for_the_patch(name):
    patch = next(patch for patch in compat.PATCHES if patch.name == name)
    assert not patch.is_needed()


def test_applying_twice_changes_nothing():
    before = BaseModel.model_ema, BaseModel.model_to_device
    compat.apply()
    assert (BaseModel.model_ema, BaseModel.model_to_device) == before


def test_basicsr_is_patched_when_somebody_imports_it_and_not_before(tmp_path):
    code = """
import sys, okdnet_plugin
assert not {'basicsr', 'torch', 'torchvision', 'cv2'} & set(sys.modules)
import basicsr.train
names = [{patch.name for patch in some} for some in (okdnet_plugin.compat.PATCHES, okdnet_plugin.compat.APPLIED)]
assert len(names[1]) > 15
assert names[0] - names[1] <= {'provide_functional_tensor'}  # which torchvision 0.16 has
assert not any(patch.is_needed() for patch in okdnet_plugin.compat.PATCHES)
okdnet_plugin.register()
okdnet_plugin.register()
"""
    result = run(sys.executable, '-c', code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_importing_after_basicsr_patches_what_other_modules_have_taken(tmp_path):
    code = """
import sys, torchvision.transforms._functional_tensor as patched_by_the_user
sys.modules['torchvision.transforms.functional_tensor'] = patched_by_the_user
import basicsr.train, basicsr.test
taken = basicsr.train.parse_options
import okdnet_plugin, basicsr.utils.options
assert basicsr.train.parse_options is basicsr.test.parse_options is basicsr.utils.options.parse_options is not taken
"""
    result = run(sys.executable, '-c', code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(
    'is_compile_supported' not in vars(sys.modules['torchvision.ops.roi_align']),
    reason='torchvision takes nothing of the compiler',
)
def test_the_compiler_comes_when_something_of_it_is_used(tmp_path):
    code = """
import sys, okdnet_plugin
okdnet_plugin.register()
print('torch._dynamo' in sys.modules)
import torch
from torchvision.ops import roi_align
print(sys.modules['torchvision.ops.roi_align'].is_compile_supported('cpu'), type(sys.modules['torch._dynamo']).__name__)
from torch._dynamo.utils import is_compile_supported
"""
    result = run(sys.executable, '-c', code, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, '')
    assert re.fullmatch(r'False\n(True|False) module\n', result.stdout)


@pytest.mark.skipif('is_compile_supported' not in vars(sys.modules['torchvision.ops.roi_align']), reason='as above')
@pytest.mark.parametrize(
    'use', ['early.config.verbose', pytest.param('import torch._dynamo.external_utils', marks=pytest.mark.long)]
)
def test_a_stand_in_of_the_compiler_gives_way_to_the_compiler(tmp_path, use):
    code = """
import sys
from okdnet_plugin.compat.importing import _compiler_when_needed
with _compiler_when_needed():
    import torch, torch._dynamo as early
    print(type(early).__name__, torch._dynamo is early)
    USE
    print(type(sys.modules['torch._dynamo']).__name__, type(torch._dynamo).__name__)
"""
    result = run(sys.executable, '-c', code.replace('USE', use), cwd=tmp_path)
    assert (result.stdout, result.stderr) == ('_StandIn True\nmodule module\n', '')


def test_importing_after_a_stand_in_without_a_spec_works(tmp_path):
    code = """
import sys, types, torchvision.transforms.functional as functional
stand_in = types.ModuleType('torchvision.transforms.functional_tensor')
stand_in.rgb_to_grayscale = functional.rgb_to_grayscale
sys.modules['torchvision.transforms.functional_tensor'] = stand_in
import basicsr, okdnet_plugin
"""
    result = run(sys.executable, '-c', code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


class TinyNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(2)
        self.register_buffer('mask', torch.tensor([-100.0, 0.0]))
        self.register_buffer('index', torch.tensor([0, 1]))


def ema_of(net, net_ema, decay):
    BaseModel.model_ema(SimpleNamespace(net_g=net, net_g_ema=net_ema, get_bare_model=lambda net: net), decay)


def test_ema_averages_statistics_and_copies_other_buffers():
    net, net_ema = TinyNet(), TinyNet()
    net.norm.running_mean.fill_(1)
    net.norm.running_var.fill_(3)
    net.norm.num_batches_tracked.fill_(1000)
    net.mask.fill_(-50)
    net.index.fill_(5)
    ema_of(net, net_ema, 0.75)
    assert net_ema.norm.running_mean.tolist() == [0.25, 0.25]
    assert net_ema.norm.running_var.tolist() == [1.5, 1.5]
    assert net_ema.norm.num_batches_tracked == 1000
    assert net_ema.mask.tolist() == [-50, -50]
    assert net_ema.index.tolist() == [5, 5]


def test_ema_of_statistics_forgets_the_initial_ones_within_few_batches():
    net, net_ema = TinyNet(), TinyNet()
    net.norm.running_var.fill_(0.01)
    for batch in range(1, 101):
        net.norm.num_batches_tracked.fill_(batch)
        ema_of(net, net_ema, 0.999)
    assert net_ema.norm.running_var.max() < 0.011


def test_ema_with_decay_zero_is_an_exact_copy():
    net, net_ema = TinyNet(), TinyNet()
    net.norm.running_mean.uniform_()
    net.norm.weight.data.uniform_()
    ema_of(net, net_ema, 0)
    for key, value in net.state_dict().items():
        assert torch.equal(net_ema.state_dict()[key], value)


@pytest.mark.parametrize(('criterion', 'expected'), [('l1', 0.5), ('l2', 0.25)])
def test_perceptual_loss_measures_features_as_it_is_asked(criterion, expected, monkeypatch):
    class Features(torch.nn.Module):
        def forward(self, x):
            return {'conv1_1': x}

    monkeypatch.setattr('basicsr.losses.basic_loss.VGGFeatureExtractor', lambda **_: Features())
    loss = LOSS_REGISTRY.get('PerceptualLoss')(layer_weights={'conv1_1': 1}, criterion=criterion)
    assert loss(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5))[0] == pytest.approx(expected)


def test_near_name_is_suggested():
    with pytest.raises(UnknownNameError) as raised:
        ARCH_REGISTRY.get('OKDNett')
    assert str(raised.value) == "No object named 'OKDNett' found in 'arch' registry (did you mean OKDNet or AODNet?)"


def test_name_in_other_case_is_suggested():
    with pytest.raises(KeyError, match='did you mean SwinIR'):
        ARCH_REGISTRY.get('swinir')


def test_suffix_of_basicsr_is_still_tried(capsys):
    registry = type(ARCH_REGISTRY)('probe')
    registry.register(TinyNet, suffix='basicsr')
    assert registry.get('TinyNet') is TinyNet
    assert capsys.readouterr().out == ''


def test_launching_without_a_launcher_says_how(monkeypatch):
    from basicsr.utils.dist_util import init_dist

    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.setattr(sys, 'argv', ['basicsr train'])
    monkeypatch.setattr(torch.multiprocessing, 'set_start_method', lambda method: None)
    with pytest.raises(InputError, match='torchrun --nproc_per_node'):
        init_dist('pytorch')


@pytest.mark.parametrize(
    ('options', 'gpu', 'expected'),
    [
        ({'dist_params': {'backend': 'mpi', 'port': 1}}, True, 'mpi'),
        ({'dist_params': {'backend': 'mpi', 'port': 1}}, False, 'gloo'),
        ({}, True, 'nccl'),
        ({'num_gpu': 0, 'dist_params': {'backend': 'nccl'}}, True, 'gloo'),
    ],
)
def test_launcher_starts_the_backend_of_the_option_file(options, gpu, expected, tmp_path, monkeypatch):
    from basicsr.utils.dist_util import init_dist

    path = write_options(tmp_path / 'o.yml', options)
    started = []
    monkeypatch.setattr(sys, 'argv', ['basicsr train', '-opt', path, '--launcher', 'pytorch'])
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: int(gpu))
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: None)
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend, timeout: started.append(backend))
    monkeypatch.setattr(torch.multiprocessing, 'set_start_method', lambda method: None)
    init_dist('pytorch')
    assert started == [expected]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A scontrol that notes its arguments, variables of a job of two tasks, and what they would start."""
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/arguments\nprintf "first\\nsecond\\n"\n')
    scontrol.chmod(0o755)
    started = {}
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    for name, value in {'PROCID': '1', 'NTASKS': '2', 'LOCALID': '1', 'NODELIST': 'first,second'}.items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'WORLD_SIZE', 'RANK', 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.multiprocessing, 'set_start_method', lambda method: None)
    monkeypatch.setattr(
        torch.distributed, 'init_process_group', lambda backend, timeout: started.update(os.environ, backend=backend)
    )
    return started


def test_slurm_starts_on_the_cpu_with_the_first_node_as_master(slurm, tmp_path):
    from basicsr.utils.dist_util import init_dist

    init_dist('slurm', backend='nccl', port=1234)
    names = ('backend', 'MASTER_ADDR', 'MASTER_PORT', 'WORLD_SIZE', 'RANK', 'LOCAL_RANK')
    assert [slurm[name] for name in names] == ['gloo', 'first', '1234', '2', '1', '1']


def test_slurm_passes_nothing_to_a_shell(slurm, tmp_path, monkeypatch):
    from basicsr.utils.dist_util import init_dist

    nodes = f'first; touch {tmp_path}/run-by-the-shell'
    monkeypatch.setenv('SLURM_NODELIST', nodes)
    init_dist('slurm')
    assert (tmp_path / 'arguments').read_text() == f'show|hostnames|{nodes}|'
    assert not (tmp_path / 'run-by-the-shell').exists()


def test_slurm_outside_a_job_says_how_to_launch(monkeypatch):
    from basicsr.utils.dist_util import init_dist

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.multiprocessing, 'set_start_method', lambda method: None)
    with pytest.raises(InputError, match=r'SLURM_PROCID is not set.*srun --ntasks=N'):
        init_dist('slurm', backend='nccl', port=1)


def test_local_rank_of_slurm_or_torchrun_decides_the_gpu(slurm, monkeypatch):
    from basicsr.utils.dist_util import init_dist

    taken = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    monkeypatch.setattr(torch.cuda, 'set_device', taken.append)
    monkeypatch.setenv('SLURM_PROCID', '6')
    monkeypatch.setenv('SLURM_LOCALID', '2')
    init_dist('slurm')
    assert (slurm['backend'], slurm['RANK']) == ('nccl', '6')
    monkeypatch.setenv('LOCAL_RANK', '3')
    init_dist('pytorch', backend='nccl')
    assert taken == [2, 3]


@pytest.fixture
def saved_run(train_options, tmp_path):
    """Options as BasicSR's trainer has them, and states of iterations 900 and 1000 with their networks."""
    folders = {'models': str(tmp_path), 'training_states': str(tmp_path)}
    train_options['train']['total_iter'] = 2000
    options = train_options | {'auto_resume': True, 'is_train': True, 'path': folders}
    for phase, dataset in options['datasets'].items():
        dataset.update(phase=phase, scale=1)
    optimizer = torch.optim.Adam(build_network(options['network_g']).parameters()).state_dict()
    for iteration in (900, 1000):
        schedules = [{'milestones': Counter([3])}]
        state = {'epoch': 1, 'iter': iteration, 'optimizers': [optimizer], 'schedulers': schedules}
        torch.save(state, tmp_path / f'{iteration}.state')
        torch.save({'params': {}}, tmp_path / f'net_g_{iteration}.pth')
    return options


def resume(options):
    from basicsr.train import load_resume_state

    return load_resume_state(options)


def test_auto_resume_takes_the_newest_state_of_the_folder_where_the_run_writes(saved_run, tmp_path):
    (tmp_path / 'notes.txt').touch()
    assert resume(saved_run)['iter'] == 1000
    assert saved_run['path']['resume_state'] == str(tmp_path / '1000.state')


@pytest.mark.parametrize('name', ['1000.state', 'net_g_1000.pth'])
@pytest.mark.parametrize('content', [b'', b'PK half a file'], ids=['empty', 'cut short'])
def test_auto_resume_passes_over_what_cannot_be_read(name, content, saved_run, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    assert resume(saved_run)['iter'] == 900
    warning = capsys.readouterr().out
    assert f'{tmp_path / name} is damaged' in warning
    assert 'takes the state before it' in warning


@pytest.mark.parametrize('name', ['1000.state', 'net_g_1000.pth'])
def test_auto_resume_passes_over_what_is_not_finite(name, saved_run, tmp_path, capsys):
    bad = {'exp_avg': torch.tensor([0.0, float('nan')])}
    moments = {'state': {0: bad}, 'param_groups': [{'params': [0], 'lr': 0.1}]}
    state = {'epoch': 1, 'iter': 1000, 'optimizers': [moments], 'schedulers': []}
    torch.save(state if name.endswith('state') else {'params': {'conv.weight': bad['exp_avg']}}, tmp_path / name)
    assert resume(saved_run)['iter'] == 900
    assert f'{tmp_path / name} holds values that are not finite' in capsys.readouterr().out


def test_auto_resume_passes_over_a_foreign_file(saved_run, tmp_path, capsys):
    torch.save({'params': {}}, tmp_path / '2000.state')
    assert resume(saved_run)['iter'] == 1000
    assert '2000.state is no training state' in capsys.readouterr().out


def test_a_state_behind_the_end_of_the_training_is_refused(saved_run):
    saved_run['train']['total_iter'] = 999
    with pytest.raises(InputError, match=r'total_iter is 999, but .*1000\.state.* is of iteration 1000'):
        resume(saved_run)


def test_auto_resume_with_nothing_but_ruins_does_not_start_anew(saved_run, tmp_path):
    for iteration in (900, 1000):
        (tmp_path / f'{iteration}.state').write_bytes(b'')
    with pytest.raises(InputError, match=r'none of the states in .* can be used'):
        resume(saved_run)


class RunsCode:
    def __reduce__(self):
        return Path.touch, (Path('run-by-the-state'),)


def test_state_with_code_in_it_is_refused(saved_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / '3.state'
    torch.save({'epoch': 0, 'iter': 3, 'optimizers': [RunsCode()], 'schedulers': []}, path)
    with pytest.raises(InputError, match=r'3\.state is refused: .*can run code'):
        resume(saved_run | {'auto_resume': False, 'path': saved_run['path'] | {'resume_state': str(path)}})
    assert not Path('run-by-the-state').exists()


@pytest.mark.parametrize('forced', ['0', '1'])
def test_weights_with_code_in_them_are_refused_to_any_module_of_basicsr(forced, tmp_path, monkeypatch):
    from basicsr.archs.spynet_arch import SpyNet

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', forced)
    torch.save({'params': RunsCode()}, 'weights.pth')
    model = SimpleNamespace(get_bare_model=lambda net: net)
    for load in (lambda: SpyNet('weights.pth'), lambda: BaseModel.load_network(model, TinyNet(), 'weights.pth')):
        with pytest.raises(InputError, match=r'weights\.pth is refused: .*can run code'):
            load()
    assert not Path('run-by-the-state').exists()


def test_others_read_their_files_as_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(RunsCode(), 'trusted.pth')
    torch.load('trusted.pth', weights_only=False)
    assert Path('run-by-the-state').exists()


def test_options_are_checked_when_a_run_goes_on_too(saved_run):
    saved_run['train']['pixel_opt']['type'] = 'L1Los'
    with pytest.raises(UnknownNameError, match='did you mean L1Loss'):
        resume(saved_run)


@pytest.mark.parametrize('type_', ['MixedDataset', 'PairedDehazeDataset'])
def test_too_few_samples_for_a_batch_are_raised_by_the_key_that_does_so(saved_run, type_):
    from basicsr.train import create_train_val_dataloader

    block = saved_run['datasets']['train'] | {'batch_size_per_gpu': 100}
    if type_ == 'MixedDataset':
        part = {key: block.pop(key) for key in ('type', 'dataroot_lq', 'dataroot_gt', 'layout')}
        block |= {'type': type_, 'epoch_length': 1, 'parts': {'one': part}}
    saved_run |= {'dist': False, 'world_size': 1, 'rank': 0, 'num_gpu': 0}
    saved_run['datasets'] = {'train': block}
    key = 'epoch_length' if type_ == 'MixedDataset' else 'dataset_enlarge_ratio, which repeats them'
    with pytest.raises(
        InputError, match=f'do not fill a batch of 100 .* processes; raise {key}, or lower batch_size_per_gpu'
    ):
        create_train_val_dataloader(saved_run, logging.getLogger('probe'))


def test_auto_resume_of_a_run_that_has_not_begun_starts_it(saved_run, tmp_path):
    saved_run['path']['training_states'] = str(tmp_path / 'none')
    assert resume(saved_run) is None


@pytest.fixture
def parsed(train_options, tmp_path, monkeypatch):
    """A function that reads an option file as `basicsr train` does, on a machine with so many GPUs."""

    def parse(gpus, *arguments, **changed):
        from basicsr.utils.options import parse_options

        path = write_options(tmp_path / 'o.yml', train_options | changed)
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
        monkeypatch.setattr(sys, 'argv', ['basicsr train', '-opt', path, *arguments])
        return parse_options(str(tmp_path), is_train=True)[0]

    return parse


@pytest.mark.parametrize(
    ('gpus', 'num_gpu', 'taken'), [(0, 1, 0), (0, 'auto', 0), (4, 'auto', 1), (4, 4, 4), (1, 1, 1)]
)
def test_a_run_takes_the_gpus_that_there_are_and_says_what_is_not_as_asked(parsed, gpus, num_gpu, taken, capsys):
    assert parsed(gpus, num_gpu=num_gpu)['num_gpu'] == taken
    assert ('WARNING: num_gpu' in capsys.readouterr().out) == ((gpus, num_gpu) in ((0, 1), (4, 'auto'), (4, 4)))


@pytest.mark.parametrize(('gpus', 'num_gpu', 'mode'), [(0, 'auto', None), (1, 0, None), (1, 'auto', 'cuda')])
def test_batches_are_not_fetched_to_a_gpu_that_there_is_not(parsed, train_options, gpus, num_gpu, mode):
    train_options['datasets']['train'] |= {'prefetch_mode': 'cuda', 'pin_memory': True}
    assert parsed(gpus, num_gpu=num_gpu)['datasets']['train']['prefetch_mode'] == mode


def test_layers_of_a_network_go_to_the_log_file_and_their_number_to_the_terminal_too(tmp_path, monkeypatch):
    logger, terminal = logging.Logger('run'), io.StringIO()
    logger.addHandler(logging.StreamHandler(terminal))
    logger.addHandler(logging.FileHandler(tmp_path / 'run.log'))
    monkeypatch.setattr('basicsr.utils.get_root_logger', lambda: logger)
    net = torch.nn.Sequential(torch.nn.Linear(100, 99), torch.nn.ReLU())
    BaseModel.print_network(SimpleNamespace(get_bare_model=lambda net: net), net)
    assert terminal.getvalue() == 'Network: Sequential, with parameters: 9,999\n'
    assert (tmp_path / 'run.log').read_text() == f'{terminal.getvalue()}{net}\n'


def test_a_training_ends_in_no_time(tmp_path, caplog):
    from basicsr.train import MessageLogger

    options = {'name': 'x', 'logger': {'print_freq': 1, 'use_tb_logger': False}, 'train': {'total_iter': 3}, 'rank': 0}
    say = MessageLogger(options | {'path': {'log': str(tmp_path)}}, 0)
    say.start_time, say.logger = say.start_time - 40, logging.Logger('run')
    say.logger.addHandler(caplog.handler)
    for iteration in (2, 3):
        say({'epoch': 0, 'iter': iteration, 'lrs': [0.1], 'time': 1.0, 'data_time': 0.0})
    assert [line.split('eta: ')[1][:7] for line in caplog.messages] == ['0:00:13', '0:00:00']


def test_a_number_of_gpus_on_the_command_line_counts(parsed):
    assert parsed(4, '--set', 'num_gpu=4', num_gpu='auto')['num_gpu'] == 4


@pytest.mark.parametrize(
    ('variables', 'words'),
    [
        (
            {'WORLD_SIZE': '8', 'RANK': '3'},
            'torchrun --nproc_per_node=8 -m okdnet_plugin train -opt FILE --launcher py',
        ),
        (
            {'SLURM_STEP_NUM_TASKS': '2', 'SLURM_PROCID': '0'},
            'srun --ntasks=2 basicsr train -opt FILE',
        ),
    ],
)
def test_processes_that_do_not_know_of_one_another_are_refused_with_the_right_command(
    parsed, variables, words, monkeypatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for arguments in ((), ('--launcher', 'none'), ('--launcher=none',)):
        with pytest.raises(InputError, match='--launcher is missing') as refused:
            parsed(0, *arguments)
        assert words in str(refused.value)


@pytest.mark.parametrize('variables', [{'WORLD_SIZE': '1', 'RANK': '0'}, {'WORLD_SIZE': '8'}, {'SLURM_NTASKS': '8'}])
def test_one_process_in_the_midst_of_such_variables_is_none_of_several(parsed, variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert parsed(0)['dist'] is False


def test_the_log_names_the_device_of_a_model(model_options, monkeypatch):
    from basicsr.models import build_model
    from basicsr.utils import get_root_logger

    said = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: said.append((record.levelname, record.getMessage()))
    logger = get_root_logger()
    monkeypatch.setattr(logger, 'handlers', [handler])
    level = logger.level
    logger.setLevel('INFO')
    build_model(model_options)
    monkeypatch.setattr('okdnet_plugin.engine.devices.describe', lambda device: ('CPU, as the driver is old', True))
    build_model(model_options)
    logger.setLevel(level)
    first, second = [one for one in said if one[1].startswith('Device')]
    assert first[0] == 'INFO'
    assert first[1].startswith('Device: CPU')
    assert second == ('WARNING', 'Device: CPU, as the driver is old.')


@pytest.fixture
def gpus(monkeypatch):
    """A machine with so many GPUs that notes which one a process takes; to take one that is not there raises."""
    taken = []

    def make(count):
        def set_device(number):
            if number >= count:
                raise RuntimeError('CUDA error: invalid device ordinal')
            taken.append(number)

        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
        monkeypatch.setattr(torch.cuda, 'set_device', set_device)
        monkeypatch.setattr(torch.multiprocessing, 'set_start_method', lambda method: None)
        return taken

    return make


def test_more_processes_than_gpus_are_one_clear_line(gpus, monkeypatch):
    from basicsr.utils.dist_util import init_dist

    gpus(1)
    monkeypatch.setattr(sys, 'argv', ['basicsr train'])
    monkeypatch.setenv('RANK', '3')
    monkeypatch.setenv('LOCAL_RANK', '3')
    with pytest.raises(
        InputError, match=r'LOCAL_RANK is 3, but this machine shows 1 GPU;.*nproc_per_node=1'
    ) as refused:
        init_dist('pytorch', backend='nccl')
    assert '\n' not in str(refused.value)


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm'])
def test_processes_that_keep_to_the_cpu_take_no_gpu_and_meet_through_gloo(slurm, gpus, launcher, tmp_path, monkeypatch):
    from basicsr.utils.dist_util import init_dist

    taken = gpus(1)
    options = {'num_gpu': 0, 'dist_params': {'backend': 'nccl', 'port': 29500}}
    path = write_options(tmp_path / 'o.yml', options)
    monkeypatch.setattr(sys, 'argv', ['basicsr train', '-opt', path, '--launcher', launcher])
    monkeypatch.setenv('RANK', '3')
    monkeypatch.setenv('LOCAL_RANK', '3')
    init_dist(launcher, **(options['dist_params'] if launcher == 'slurm' else {}))
    assert slurm['backend'] == 'gloo'
    assert taken == []


def copy_in_two_processes(folder, rank):
    """As the trainer does: the first process makes the folder, late, and all copy the option file."""
    from basicsr.utils.options import copy_opt_file

    experiment = Path(folder) / 'experiment'
    sys.argv = ['basicsr train', '-opt', f'{folder}/o.yml', '--launcher', 'pytorch']
    if rank == 0:
        time.sleep(0.3)
        experiment.mkdir()
    copy_opt_file(f'{folder}/o.yml', str(experiment))
    return sorted(path.name for path in experiment.iterdir())


def test_the_first_process_copies_the_option_file_and_the_others_wait_for_it(train_options, tmp_path):
    write_options(tmp_path / 'o.yml', train_options)
    assert in_two_processes(partial(copy_in_two_processes, str(tmp_path)), tmp_path) == [['o.yml'], ['o.yml']]


def resume_in_two_processes(options, folder, rank):
    if rank == 1:  # a node that sees another disk
        options = options | {'path': options['path'] | {'training_states': f'{folder}/elsewhere'}}
    try:
        return resume(options)['iter']
    except InputError as error:
        return str(error)


def test_processes_that_would_go_on_from_different_iterations_say_so(saved_run, tmp_path):
    first, second = in_two_processes(partial(resume_in_two_processes, saved_run, str(tmp_path)), tmp_path)
    assert first == second
    assert 'process 0 goes on from iteration 1000, process 1 from 0' in first
    assert 'a disk that all nodes share' in first


def test_processes_that_see_one_disk_go_on_together(saved_run, tmp_path):
    (tmp_path / 'elsewhere').symlink_to(tmp_path)
    assert in_two_processes(partial(resume_in_two_processes, saved_run, str(tmp_path)), tmp_path) == [1000, 1000]


@pytest.mark.parametrize('spoilt', [float('nan'), float('inf'), float('-inf')])
def test_weights_that_are_not_finite_are_refused_to_every_model(spoilt, tmp_path):
    net = TinyNet()
    torch.nn.init.constant_(net.norm.weight, spoilt)
    torch.save({'params': net.state_dict()}, tmp_path / 'nan.pth')
    with pytest.raises(InputError, match=r'nan\.pth: 1 of \d tensors are not finite .*norm\.weight first'):
        load_into(TinyNet(), tmp_path / 'nan.pth')


def load_into(net, path, strict=True):
    model = BaseModel.__new__(BaseModel)
    model.load_network(net, str(path), strict)


def test_a_file_of_which_no_tensor_fits_is_refused_although_nothing_has_to_fit(tmp_path):
    state = TinyNet().state_dict()
    for content in ({f'other.{name}': value for name, value in state.items()},
                    {name: torch.zeros(9, 9) for name in state}):  # fmt: skip
        torch.save({'params': content}, tmp_path / 'foreign.pth')
        with pytest.raises(InputError, match=r'foreign\.pth: not one of them fits the TinyNet'):
            load_into(TinyNet(), tmp_path / 'foreign.pth', strict=False)


def test_a_file_of_which_one_tensor_fits_is_taken_if_no_more_has_to(tmp_path):
    torch.save({'params': {'mask': torch.tensor([7.0, 7.0])}}, tmp_path / 'part.pth')
    net = TinyNet()
    load_into(net, tmp_path / 'part.pth', strict=False)
    assert net.mask.tolist() == [7, 7]
