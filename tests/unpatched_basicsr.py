"""Tries BasicSR as it was released, without the plugin, and prints as JSON which defects are there.

Run by test_compat.py in a process of its own. Keys are the names of the patches in okdnet_plugin.compat.
"""

import contextlib
import importlib
import io
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import yaml

FOLDER = Path(tempfile.mkdtemp())


def raises(expected, function, *arguments):
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            function(*arguments)
        except expected as error:
            return str(error) or True
    return False


defects = {'provide_functional_tensor': raises(ModuleNotFoundError, importlib.import_module, 'basicsr')}
for name in [name for name in sys.modules if name.split('.')[0] == 'basicsr']:
    del sys.modules[name]
sys.modules['torchvision.transforms.functional_tensor'] = importlib.import_module(
    'torchvision.transforms._functional_tensor'
)

from basicsr.data.data_sampler import EnlargedSampler  # noqa: E402
from basicsr.data.prefetch_dataloader import CUDAPrefetcher, PrefetchGenerator  # noqa: E402
from basicsr.models import build_model  # noqa: E402
from basicsr.models.base_model import BaseModel  # noqa: E402
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR  # noqa: E402
from basicsr.models.sr_model import SRModel  # noqa: E402
from basicsr.train import create_train_val_dataloader, load_resume_state  # noqa: E402
from basicsr.utils import FileClient, MessageLogger  # noqa: E402
from basicsr.utils.dist_util import init_dist  # noqa: E402
from basicsr.utils.misc import make_exp_dirs, mkdir_and_rename, set_random_seed  # noqa: E402
from basicsr.utils.options import ordered_yaml, parse_options  # noqa: E402
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY, Registry  # noqa: E402

os.environ.update(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0')
defects['launch_without_gpu'] = raises(ZeroDivisionError, init_dist, 'pytorch', 'gloo')

torch.distributed.init_process_group('gloo', init_method=f'file://{FOLDER}/store', rank=0, world_size=1)
model = SimpleNamespace(device=torch.device('cpu'), opt={'dist': True, 'num_gpu': 0})
defects['distribute_on_cpu'] = raises(Exception, BaseModel.model_to_device, model, torch.nn.Linear(1, 1))

torch.save({'params': torch.nn.Linear(1, 1).state_dict()}, FOLDER / 'net.pth')
model = SimpleNamespace(get_bare_model=lambda net: net, _print_different_keys_loading=lambda *_: None)
defects['read_weights_of_any_file'] = not raises(
    KeyError, BaseModel.load_network, model, torch.nn.Linear(1, 1), FOLDER / 'net.pth', True, 'params_em'
)

model = SimpleNamespace(net_g=torch.nn.parallel.DistributedDataParallel(torch.nn.BatchNorm1d(1)), lq=torch.rand(2, 1))
forwards = []
model.net_g.register_forward_pre_hook(lambda *_: forwards.append(1))
SRModel.test(model)
defects['evaluate_the_bare_network'] = bool(forwards)
torch.distributed.destroy_process_group()

sys.argv = ['basicsr', '--local-rank=0', '-opt', 'options.yml']
defects['accept_local_rank_with_a_dash'] = raises(SystemExit, parse_options, str(FOLDER))

torch.save({'epoch': 0, 'iter': 1, 'optimizers': [], 'schedulers': []}, FOLDER / '1.state')
options = {'auto_resume': False, 'path': {'resume_state': str(FOLDER / '1.state'), 'models': str(FOLDER)}}
defects['resume_without_gpu'] = raises(Exception, load_resume_state, options)

two = [
    (optimizer := torch.optim.Adam(torch.nn.Linear(1, 1).parameters()), CosineAnnealingRestartLR(optimizer, [periods]))
    for periods in (2, 4)
]
state = {'optimizers': [two[0][0].state_dict()], 'schedulers': [two[0][1].state_dict()]}
longer = SimpleNamespace(optimizers=[two[1][0]], schedulers=[two[1][1]])
BaseModel.resume_training(longer, state)
defects['hold_a_state_against_the_option_file'] = raises(TypeError, lambda: [two[1][1].step() for _ in range(4)])

net, net_ema = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
net.running_mean.fill_(1)
BaseModel.model_ema(SimpleNamespace(net_g=net, net_g_ema=net_ema, get_bare_model=lambda net: net), 0.5)
defects['average_buffers_in_ema'] = net_ema.running_mean.tolist() == [0, 0]

registry = Registry('arch')
registry.register(type('OKDNet', (), {}))
defects['suggest_registered_names'] = 'OKDNet' not in str(raises(KeyError, registry.get, 'OKDNett')).replace(
    'OKDNett', ''
)

(FOLDER / 'run').mkdir()
wrong = {'is_train': True, 'model_type': 'Missing', 'path': {'experiments_root': str(FOLDER / 'run')}}
defects['look_before_moving_an_earlier_run'] = not raises(KeyError, make_exp_dirs, wrong)

time_of_day, time.strftime = time.strftime, lambda *_: '20220830_120000'
paths = {'experiments_root': str(FOLDER / 'same'), 'models': str(FOLDER / 'same' / 'models')}
starts = [raises(Exception, make_exp_dirs, {'is_train': True, 'path': dict(paths)}) for _ in range(2)]
defects['keep_two_runs_apart'] = not any(starts) and (FOLDER / 'same_archived_20220830_120000').exists()
defects['give_each_earlier_run_its_own_name'] = raises(OSError, mkdir_and_rename, str(FOLDER / 'same'))
time.strftime = time_of_day


class Three(torch.utils.data.Dataset):
    def __init__(self, opt):
        self.opt = opt

    def __len__(self):
        return 3


DATASET_REGISTRY.register(Three)
block = {'name': 'three', 'type': 'Three', 'phase': 'train', 'batch_size_per_gpu': 4, 'num_worker_per_gpu': 0}
options = {'datasets': {'train': block}, 'train': {'total_iter': 8}, 'num_gpu': 0, 'dist': False, 'manual_seed': 0}
loader = create_train_val_dataloader(options | {'rank': 0, 'world_size': 1}, logging.getLogger('probe'))[0]
defects['count_the_iterations_of_an_epoch'] = len(loader) == 0


orders = []
for seed in (1, 2):
    set_random_seed(seed)
    orders.append(list(EnlargedSampler(range(10), 1, 0)))
defects['draw_images_by_the_seed'] = orders[0] == orders[1]

in_the_way = FOLDER / 'models'
in_the_way.mkdir()
(in_the_way / 'net_g_1.pth').write_bytes(b'what was saved before')
model = SimpleNamespace(opt={'rank': 0, 'path': {'models': str(in_the_way)}}, get_bare_model=lambda net: net)


def stops_half_way(content, path):
    Path(path).write_bytes(b'half')
    raise OSError('No space left on device')


torch_save, torch.save, time.sleep = torch.save, stops_half_way, lambda seconds: None
failed = raises(OSError, BaseModel.save_network, model, torch.nn.Linear(1, 1), 'net_g', 1)
torch.save = torch_save
defects['save_whole_files'] = not failed and (in_the_way / 'net_g_1.pth').read_bytes() == b'half'

options = {'name': 'probe', 'logger': {'print_freq': 1, 'use_tb_logger': False}, 'train': {'total_iter': 1}}
os.chdir(FOLDER)
MessageLogger(options | {'path': {'log': str(FOLDER)}, 'rank': 0})({'epoch': 0, 'iter': 1, 'lrs': [1e-3], 'l_pix': 1.0})
defects['keep_a_journal'] = not list(FOLDER.glob('**/*.jsonl'))


def fails():
    yield 1
    raise ValueError('an image that cannot be read')


reader = PrefetchGenerator(fails(), 2)
with contextlib.redirect_stderr(io.StringIO()):
    next(reader)
    reader.join()
defects['end_prefetching_with_its_error'] = reader.queue.empty()

defects['read_files_alone'] = FileClient('disk').get('/dev/null') == b''
defects['prefetch_without_gpu'] = raises(Exception, CUDAPrefetcher, [], {'num_gpu': 0})

yaml.load(f'!!python/object/apply:os.mkdir ["{FOLDER}/made-by-yaml"]', Loader=ordered_yaml()[0])
made_by_yaml = (FOLDER / 'made-by-yaml').is_dir()

made = FOLDER / 'made-by-an-override'
(FOLDER / 'o.yml').write_text(yaml.safe_dump({'name': 'x', 'num_gpu': 0, 'datasets': {}, 'path': {}}))
code = f'name"]; __import__("pathlib").Path("{made}").touch(); opt["name=x'
sys.argv = ['basicsr', '-opt', str(FOLDER / 'o.yml'), '--force_yml', code]
raises(Exception, parse_options, str(FOLDER))
defects['read_option_files_once'] = made_by_yaml and made.exists()

(FOLDER / 'gpu.yml').write_text(yaml.safe_dump({'name': 'x', 'num_gpu': 1, 'datasets': {}, 'path': {}}))
sys.argv = ['basicsr', '-opt', str(FOLDER / 'gpu.yml')]
with contextlib.redirect_stdout(io.StringIO()):
    parsed = parse_options(str(FOLDER))[0]
defects['take_the_gpus_that_there_are'] = parsed['num_gpu'] == 1


class NoImages(list):
    dataset = SimpleNamespace(opt={'name': 'none'})


options = {'is_train': False, 'path': {'results_root': str(FOLDER / 'results')}, 'val': {'metrics': None}}
SRModel.nondist_validation(SimpleNamespace(opt=options), NoImages(), 'x', None, False)
defects['keep_the_results_of_a_test'] = not (FOLDER / 'results').exists()


@MODEL_REGISTRY.register()
class OnCPU:
    def __init__(self, opt):
        self.device = torch.device('cpu')


said = []
logging.getLogger('basicsr').info = said.append
build_model({'model_type': 'OnCPU'})
defects['say_which_device'] = bool(said) and not any('Device' in line for line in said)


BaseModel.print_network(SimpleNamespace(get_bare_model=lambda net: net), torch.nn.ReLU())
defects['print_layers_to_the_file_alone'] = 'ReLU()' in said

basic_loss = importlib.import_module('basicsr.losses.basic_loss')
basic_loss.VGGFeatureExtractor = lambda **_: torch.nn.Identity()  # instead of a download
defects['measure_features_by_squares'] = raises(
    AttributeError, lambda: basic_loss.PerceptualLoss({'conv1_1': 1}, criterion='l2')
)


class RunsCode:
    def __reduce__(self):
        return Path.touch, (FOLDER / 'made-by-weights',)


torch.save({'params': RunsCode()}, FOLDER / 'weights.pth')
os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = '1'  # as torch before 2.6 does by itself
model = SimpleNamespace(get_bare_model=lambda net: net)
raises(Exception, BaseModel.load_network, model, torch.nn.Linear(1, 1), str(FOLDER / 'weights.pth'))
defects['load_weights_without_running_code'] = (FOLDER / 'made-by-weights').exists()

os.environ.update(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_NODELIST=f'node; touch {FOLDER}/run-by-the-shell')
raises(Exception, init_dist, 'slurm', 'gloo')
torch.cuda.device_count, torch.cuda.set_device = (lambda: 1), (lambda device: None)
torch.distributed.init_process_group = lambda **_: None
raises(Exception, init_dist, 'slurm', 'gloo')
defects['launch_slurm_without_a_shell'] = (FOLDER / 'run-by-the-shell').exists()

print(json.dumps(defects))
