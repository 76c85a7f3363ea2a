"""Updates that are left out because they are not finite."""

import logging

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import in_two_processes
from okdnet_plugin.engine.guard import Statistics, UpdateGuard
from okdnet_plugin.engine.sync_batch_norm import CpuSyncBatchNorm
from okdnet_plugin.errors import BadUpdatesError


@pytest.fixture
def guard(caplog):
    return UpdateGuard(2, logging.getLogger('guard'))


def note(guard, *flags, loss=float('nan')):
    for iteration, is_bad in enumerate(flags, 1):
        guard.note(iteration, torch.tensor(is_bad), torch.tensor(loss), [f'{iteration}_a.png', f'{iteration}_b.png'])


# ------------------------------------------------------------------------------------------------------------- counting


def test_bad_updates_are_counted_and_their_images_named(guard, caplog):
    note(guard, False, True, False, True)
    guard.look()
    assert guard.skipped == 2
    second, fourth = caplog.messages
    assert second.startswith('iteration 2:')
    assert '(1 so far); images: 2_a.png, 2_b.png' in second
    assert fourth.startswith('iteration 4:')
    assert '(2 so far); images: 4_a.png, 4_b.png' in fourth


def test_good_updates_are_not_mentioned(guard, caplog):
    note(guard, False, False)
    guard.look()
    guard.look()
    assert (guard.skipped, caplog.messages) == (0, [])


def test_nothing_is_counted_twice(guard):
    note(guard, True)
    guard.look()
    guard.look()
    assert guard.skipped == 1


def test_more_than_the_most_in_a_row_end_the_run(guard):
    note(guard, True, True, True)
    with pytest.raises(BadUpdatesError) as caught:
        guard.look()
    message = str(caught.value)
    assert '3 updates in a row' in message
    assert 'up to iteration 3' in message
    assert 'train:max_bad_steps (2)' in message
    assert message.endswith('3_a.png, 3_b.png')
    assert '\n' not in message


def test_as_many_as_the_most_in_a_row_are_borne(guard):
    note(guard, True, True)
    guard.look()


def test_looks_between_do_not_interrupt_a_row(guard):
    for _ in range(2):
        note(guard, True)
        guard.look()
    note(guard, True)
    with pytest.raises(BadUpdatesError):
        guard.look()


@pytest.mark.parametrize('looks_after_each', [True, False])
def test_good_update_in_between_begins_a_new_row(guard, looks_after_each):
    for is_bad in (True, True, False, True, True):
        note(guard, is_bad)
        if looks_after_each:
            guard.look()
    guard.look()
    assert guard.skipped == 4


def test_none_at_all_is_borne_where_zero_are_allowed():
    guard = UpdateGuard(0, logging.getLogger('guard'))
    note(guard, True)
    with pytest.raises(BadUpdatesError):
        guard.look()


def test_counts_go_on_from_a_state(guard):
    note(guard, True, True)
    guard.look()
    again = UpdateGuard(2, logging.getLogger('guard'))
    again.load_state_dict(guard.state_dict())
    note(again, True)
    with pytest.raises(BadUpdatesError):
        again.look()
    assert again.skipped == 3


class Collected(logging.Handler):
    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def report_of(rank):
    logger, collected = logging.Logger('guard'), Collected()
    logger.addHandler(collected)
    guard = UpdateGuard(2, logger)
    bad = torch.tensor(True)
    guard.note(1, bad, torch.tensor([1.0, float('nan')][rank]), [f'{rank}.png'])
    guard.note(2, bad, torch.tensor(1.0), [f'{rank}.png'])  # a gradient alone
    guard.look()
    return [message.rpartition(': ')[2] for message in collected.messages]


def test_images_are_those_of_the_process_whose_loss_is_not_finite(tmp_path):
    assert in_two_processes(report_of, tmp_path) == [['1.png', '0.png, 1.png']] * 2


# ------------------------------------------------------------------------------------------------ the scale of float16


def test_lowering_the_scale_is_no_bad_update_and_blames_no_image(guard, caplog):
    with caplog.at_level(logging.INFO):
        note(guard, *[True] * 5, loss=1.0)
        guard.look(scale=2048.0)
    assert guard.skipped == 5
    assert not guard.is_leaving_out
    assert [record.levelname for record in caplog.records] == ['INFO'] * 5
    assert not any('.png' in message for message in caplog.messages)


def test_a_gradient_that_no_scale_makes_finite_ends_the_run(guard):
    note(guard, True, True, True, loss=1.0)
    with pytest.raises(BadUpdatesError, match='3 updates in a row'):
        guard.look(scale=0.5)


def test_a_loss_that_is_not_finite_is_bad_at_any_scale(guard, caplog):
    note(guard, True, loss=float('nan'))
    guard.look(scale=65536.0)
    assert guard.is_leaving_out
    assert '1_a.png' in caplog.text


# ----------------------------------------------------------------------------------------------------------- statistics


@pytest.fixture(params=[nn.BatchNorm2d, CpuSyncBatchNorm])
def net(request):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), request.param(4))
    net(torch.rand(2, 3, 5, 5))
    return net


def buffers(net):
    return {name: buffer.clone() for name, buffer in net.named_buffers()}


def after_a_bad_pass(net, is_bad):
    statistics = Statistics(net)
    statistics.note()
    net(torch.full((2, 3, 5, 5), float('nan')))
    statistics.take_back_if(torch.tensor(is_bad))
    return buffers(net)


def test_statistics_are_taken_back_after_a_bad_pass(net):
    before = buffers(net)
    after = after_a_bad_pass(net, is_bad=True)
    assert len(before) == 3
    for name, buffer in before.items():
        assert torch.equal(after[name], buffer), name


def test_statistics_stay_after_a_good_pass(net):
    after = after_a_bad_pass(net, is_bad=False)
    assert after['1.running_mean'].isnan().all()
    assert after['1.num_batches_tracked'] == 2


def test_statistics_are_those_of_the_moment(net):
    statistics = Statistics(net)
    statistics.note()
    expected = buffers(net)
    for _ in range(3):
        net(torch.rand(2, 3, 5, 5))
    statistics.take_back_if(torch.tensor(True))
    assert all(torch.equal(buffer, expected[name]) for name, buffer in net.named_buffers())


def test_choosing_takes_a_few_operations_however_many_there_are():
    counts = []
    for norms in (1, 20):
        net = nn.Sequential(*(nn.BatchNorm2d(3) for _ in range(norms)))
        statistics = Statistics(net)
        is_bad = torch.tensor(False)
        with Operations() as operations:
            statistics.note()
            statistics.take_back_if(is_bad)
        counts.append(operations.count)
    assert counts[0] == counts[1] <= 8


class Operations(TorchDispatchMode):
    """Counts what is dispatched."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_network_without_statistics_is_left_alone():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False), nn.GroupNorm(1, 2))
    statistics = Statistics(net)
    statistics.note()
    statistics.take_back_if(torch.tensor(True))
