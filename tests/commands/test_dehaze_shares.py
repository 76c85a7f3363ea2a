"""`basicsr dehaze` in several processes: each file is done once, and one summary is that of all."""

import socket

import numpy as np
import pytest
from PIL import Image

from conftest import basicsr_of_ranks
from okdnet_plugin.errors import InputError
from okdnet_plugin.inference import shares
from okdnet_plugin.inference.jobs import Job
from okdnet_plugin.inference.shares import Share

DEHAZE = ['dehaze', '-i', 'hazy', '-o', 'clear', '--network', 'DCP']


@pytest.fixture
def hazy(tmp_path):
    """Ten images, of which one is none."""
    (tmp_path / 'hazy' / 'more').mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(120, 250, (24, 32, 3), np.uint8)
    for number in range(9):
        Image.fromarray(pixels).save(tmp_path / 'hazy' / f'{"more/" * (number % 2)}{number}.png')
    return tmp_path / 'hazy'


def torchrun(count: int) -> list[dict]:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    common = {'WORLD_SIZE': str(count), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    return [common | {'RANK': str(rank), 'LOCAL_RANK': str(rank)} for rank in range(count)]


def test_processes_of_torchrun_share_the_files_and_the_first_says_the_summary_of_all(hazy, tmp_path):
    (hazy / 'none.png').write_text('no image')
    result = basicsr_of_ranks(*DEHAZE, '--launcher', 'pytorch', cwd=tmp_path, environments=torchrun(2))
    assert result.returncode == 1, result.stderr
    assert result.stdout.count(' dehazed in ') == 1
    assert '9 of 10 files dehazed in ' in result.stdout
    assert '; 1 failed' in result.stdout
    assert len(list((tmp_path / 'clear').rglob('*.png'))) == 9


def test_tasks_of_an_array_do_their_own_shares_and_the_same_command_does_the_rest(hazy, tmp_path):
    tasks = [
        {'SLURM_ARRAY_TASK_ID': str(4 + 2 * task), 'SLURM_ARRAY_TASK_MIN': '4', 'SLURM_ARRAY_TASK_STEP': '2'}
        | {'SLURM_ARRAY_TASK_COUNT': '3'}
        for task in range(3)
    ]
    command = [*DEHAZE, '--launcher', 'slurm']
    first = basicsr_of_ranks(*command, cwd=tmp_path, environments=tasks[:2])  # the third task was killed
    assert first.returncode == 0, first.stderr
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'clear').rglob('*.png')}
    assert 0 < len(before) < 9
    again = basicsr_of_ranks(*command, cwd=tmp_path, environments=tasks)
    assert again.returncode == 0, again.stderr
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / 'clear').rglob('*.png')}
    assert len(after) == 9
    assert before.items() <= after.items()


@pytest.mark.parametrize('count', [1, 2, 7])
def test_each_file_belongs_to_one_process_wherever_the_folder_is(count):
    def shared(root):
        jobs = [Job(f'{root}/in/{name}.png', f'{root}/out/{name}.png') for name in range(100)]
        return [
            [job.source.rpartition('/')[2] for job in Share(i, count).of(jobs, f'{root}/out')] for i in range(count)
        ]

    assert shared('/a') == shared('/somewhere/else')
    assert sorted(name for share in shared('/a') for name in share) == sorted(f'{name}.png' for name in range(100))
    assert min(map(len, shared('/a'))) >= 100 // count // 2


def test_a_task_of_srun_in_an_array_has_a_number_of_its_own(monkeypatch):
    variables = {'SLURM_ARRAY_TASK_ID': 2, 'SLURM_ARRAY_TASK_MIN': 1, 'SLURM_ARRAY_TASK_COUNT': 3}
    variables |= {'SLURM_PROCID': 1, 'SLURM_NTASKS': 4, 'SLURM_LOCALID': 1}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    assert shares.launched('slurm') == Share(5, 12, 1)


def test_each_process_takes_the_next_gpu_of_its_machine(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 4)
    assert [Share(local, 8, local).device('auto') for local in (0, 3, 5)] == ['cuda:0', 'cuda:3', 'cuda:1']
    assert Share(1, 8, 1).device('cpu') == 'cpu'
    assert Share().device('auto') == 'auto'


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm'])
def test_a_process_that_no_launcher_has_started_is_one_line(launcher):
    with pytest.raises(InputError, match='is not set'):
        shares.launched(launcher)


def test_several_processes_that_do_not_know_of_one_another_are_refused(hazy, tmp_path):
    result = basicsr_of_ranks(*DEHAZE, cwd=tmp_path, environments=torchrun(2)[:1])
    assert result.returncode == 2
    assert 'dehaze -i INPUT -o OUTPUT --launcher pytorch' in result.stderr
    assert not (tmp_path / 'clear').exists()
