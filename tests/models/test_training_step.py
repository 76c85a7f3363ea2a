"""A training step: equal to the plain one, which losses it computes, and how it ends when it cannot go on."""

import copy
import logging
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from basicsr.losses import build_loss
from basicsr.models import build_model
from basicsr.utils import get_root_logger, set_random_seed
from basicsr.utils.registry import MODEL_REGISTRY
from torch import nn

from okdnet_plugin.engine import precision
from okdnet_plugin.engine.average import decay_after
from okdnet_plugin.errors import BadUpdatesError, InputError
from okdnet_plugin.losses.ssim_loss import SSIMLoss, _laid_out
from okdnet_plugin.models.restoration_model import RestorationModel

NAN = float('nan')


@pytest.fixture
def options(model_options, tmp_path):
    """Options of a small OKDNet without a schedule, saving into `tmp_path`."""
    model_options['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [], 'gamma': 0.5}
    model_options['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path)}
    return model_options


@pytest.fixture
def plain(options):
    """Options of a model whose steps a test may take apart: one loss, one convolution after the other."""
    del options['train']['distill_opt'], options['train']['ssim_opt']
    network = {'type': 'RIDNet', 'in_channels': 3, 'mid_channels': 16, 'out_channels': 3, 'num_block': 1}
    return options | {'model_type': 'RestorationModel', 'network_g': network}


def build(options):
    set_random_seed(0)
    return build_model(copy.deepcopy(options))


def batch(seed=0, size=32):
    numbers = torch.Generator().manual_seed(seed)
    return {key: torch.rand(2, 3, size, size, generator=numbers) for key in ('lq', 'gt')} | {'lq_path': ['a', 'b']}


def step(model, iteration=1, data=None):
    model.update_learning_rate(iteration)
    model.feed_data(data or batch(iteration))
    model.optimize_parameters(iteration)


def equal(first, second):
    return all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.fixture
def log():
    """Messages of BasicSR's logger with their levels."""
    messages = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: messages.append((record.levelname, record.getMessage()))
    logger = get_root_logger()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


# ----------------------------------------------------------------------------------------------------- the same numbers


@pytest.mark.parametrize('amp', ['off', 'bf16'])
def test_steps_are_those_of_the_plain_formulas_to_the_last_bit(options, amp):
    """Network, BatchNorm's statistics and averaged weights, with tensors taken one by one."""
    model = build(options | {'amp': amp, 'channels_last': True})
    net, average = copy.deepcopy(model.net_g), copy.deepcopy(model.net_g_ema)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.999))
    train = options['train']
    pixel, ssim, distill = (build_loss(dict(train[key])) for key in ('pixel_opt', 'ssim_opt', 'distill_opt'))

    set_random_seed(1)
    for iteration in range(1, 5):
        step(model, iteration)
    set_random_seed(1)
    for iteration in range(1, 5):
        data = batch(iteration)
        lq, gt = (data[key].contiguous(memory_format=torch.channels_last) for key in ('lq', 'gt'))
        with torch.autocast('cpu', torch.bfloat16, enabled=amp == 'bf16'):
            branches = net(lq, return_branches=True)
        output, *others = (image.float() for image in branches[:4])
        optimizer.zero_grad()
        (pixel(output, gt) + ssim(output, gt) + distill(output, dict(zip(NAMES, others, strict=True)))).backward()
        optimizer.step()
        decay = decay_after(iteration - 1, 0.9)
        for mine, source in zip(average.parameters(), net.parameters(), strict=True):
            mine.data.mul_(decay).add_(source.data, alpha=1 - decay)
    assert equal(net.state_dict(), model.net_g.state_dict())
    assert equal(dict(average.named_parameters()), dict(model.net_g_ema.named_parameters()))


NAMES = ('model_free', 'model_based', 'shared')


def test_average_of_a_short_training_is_that_of_the_training(options):
    options['train']['ema_decay'] = 0.999
    model = build(options)
    first = {key: value.clone() for key, value in model.net_g.named_parameters()}
    for iteration in range(1, 11):
        step(model, iteration)
    now, average = dict(model.net_g.named_parameters()), dict(model.net_g_ema.named_parameters())
    far = sum((average[key] - first[key]).norm() ** 2 for key in now).sqrt()
    whole = sum((now[key] - first[key]).norm() ** 2 for key in now).sqrt()
    assert far > 0.4 * whole  # at a fixed decay it would be 0.005


@pytest.mark.parametrize(('total', 'is_told'), [(29, True), (30, False)])
def test_a_training_too_short_for_its_average_is_told(options, log, total, is_told):
    options['train'] |= {'ema_decay': 0.9, 'total_iter': total}
    build(options)
    assert sum('ema_decay 0.9 takes full effect after about 30 updates' in message for _, message in log) == is_told


# --------------------------------------------------------------------------------------------------------------- losses


class CountingLoss(nn.Module):
    calls: ClassVar[list] = []

    def forward(self, pred, target):
        self.calls.append(pred.shape)
        return (pred - target).square().mean()


@pytest.fixture
def subclass(monkeypatch):
    """Registers a model under the name `Ours`, with a loss block `edge_opt`, until the test ends."""
    CountingLoss.calls.clear()

    def register(**members):
        blocks = {**RestorationModel.loss_blocks, 'edge_opt': 'l_edge'}
        ours = type('Ours', (RestorationModel,), {'loss_blocks': blocks, **members})
        monkeypatch.setitem(MODEL_REGISTRY._obj_map, 'Ours', ours)
        monkeypatch.setattr('okdnet_plugin.models.restoration_model.refuse_of_model', lambda opt: None)
        monkeypatch.setattr(
            'okdnet_plugin.models.restoration_model.build_loss',
            lambda block: CountingLoss() if block['type'] == 'CountingLoss' else build_loss(dict(block)),
        )

    return register


def test_a_loss_block_that_a_subclass_declares_is_computed_and_minimised(plain, subclass):
    subclass()
    plain['train']['edge_opt'] = {'type': 'CountingLoss'}
    model = build(plain | {'model_type': 'Ours'})
    step(model)
    assert list(model.get_current_log()) == ['l_pix', 'l_edge']
    assert len(CountingLoss.calls) == 1
    del plain['train']['pixel_opt']
    alone = build(plain | {'model_type': 'Ours'})
    before = copy.deepcopy(alone.net_g.state_dict())
    step(alone)
    assert not equal(before, alone.net_g.state_dict())


def test_a_loss_that_is_built_and_not_computed_is_an_error(plain, subclass):
    subclass(other_loss_blocks=('edge_opt',))
    plain['train']['edge_opt'] = {'type': 'CountingLoss'}
    with pytest.raises(InputError, match='train:edge_opt: Ours declares this loss in loss_blocks and does not compute'):
        step(build(plain | {'model_type': 'Ours'}))


def test_variances_of_ssim_are_laid_out_for_the_device():
    class OnCuda(torch.Tensor):
        @property
        def device(self):
            return torch.device('cuda', 0)

    moments = torch.rand(2, 15, 16, 16)
    assert _laid_out(moments).is_contiguous(memory_format=torch.channels_last)
    innermost = moments.contiguous(memory_format=torch.channels_last).as_subclass(OnCuda)
    assert _laid_out(innermost).is_contiguous()
    first, second = batch()['lq'], batch()['gt']
    expected = SSIMLoss()(first, second)
    laid_out = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (first, second))
    assert torch.equal(SSIMLoss()(*laid_out), expected)


# ----------------------------------------------------------------------------------------------- what cannot be trained


def out_of_memory(message='CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of …'):
    return getattr(torch, 'OutOfMemoryError', torch.cuda.OutOfMemoryError)(message)


def test_too_little_memory_is_one_line_and_the_network_is_saved(options, tmp_path, monkeypatch):
    model = build(options)
    step(model, 1)
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    backward = torch.Tensor.backward

    def fails(self):
        backward(self)
        raise out_of_memory()

    monkeypatch.setattr(torch.Tensor, 'backward', fails)
    with pytest.raises(InputError) as caught:
        step(model, 2)
    message = str(caught.value)
    assert '\n' not in message
    assert message.startswith(
        'iteration 2: the memory of cpu is too small for 2 images of 32x32 px at once; the network'
    )
    for cure in ('batch_size_per_gpu', 'accumulate', 'amp: bf16', 'gt_size'):
        assert cure in message
    saved = torch.load(tmp_path / 'net_g_1.pth', weights_only=True)
    assert equal(before, saved['params'])  # BatchNorm's statistics too, though the forward pass was done
    assert {'params', 'params_ema'} == saved.keys()


@pytest.mark.parametrize(
    'message', ['CUDNN_STATUS_ALLOC_FAILED', 'CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate']
)
def test_libraries_of_a_gpu_say_it_in_their_own_words(plain, monkeypatch, message):
    model = build(plain)

    def fails():
        raise RuntimeError(message)

    monkeypatch.setattr(model, 'restore', fails)
    with pytest.raises(InputError, match='is too small for 2 images'):
        step(model)


def test_another_error_stays_what_it_is(plain, monkeypatch):
    model = build(plain)

    def fails():
        raise RuntimeError('a mistake in the network')

    monkeypatch.setattr(model, 'restore', fails)
    with pytest.raises(RuntimeError, match='a mistake in the network'):
        step(model)


def test_what_cannot_be_deterministic_is_named(plain, monkeypatch):
    asked = []
    monkeypatch.setattr(precision, 'be_deterministic', lambda: asked.append(True))
    model = build(plain | {'deterministic': True})
    assert asked == [True]

    def fails():
        raise RuntimeError('upsample_bilinear2d_backward_out_cuda does not have a deterministic implementation, but …')

    monkeypatch.setattr(model, 'restore', fails)
    with pytest.raises(InputError, match='option deterministic: upsample_bilinear2d_backward_out_cuda does not'):
        step(model)


def test_determinism_is_not_asked_for_by_itself(plain, monkeypatch):
    monkeypatch.setattr(precision, 'be_deterministic', lambda: pytest.fail('nobody wanted it'))
    build(plain)
    build(plain | {'deterministic': False})


def test_bf16_without_instructions_for_it_is_said(plain, monkeypatch, log):
    monkeypatch.setattr(precision, 'complaint_about_bf16', lambda device: f'slow on {device}')
    build(plain | {'amp': 'bf16'})
    build(plain)
    assert [message for level, message in log if level == 'WARNING'] == ['slow on cpu']


# -------------------------------------------------------------------------------------------------------------- float16


class UnfilledSGD(torch.optim.SGD):
    """SGD whose fused kernel fills its momentum only where it makes its step, as on a GPU."""

    _step_supports_amp_scaling = True

    def step(self, closure=None):
        for parameter in self.param_groups[0]['params']:
            state = self.state[parameter]
            if state.get('momentum_buffer') is None:
                state['momentum_buffer'] = torch.full_like(parameter, 1e6)  # what lay in memory
                is_first = True
            else:
                is_first = False
            if not bool(getattr(self, 'found_inf', torch.tensor(0.0))):
                momentum = state['momentum_buffer']
                momentum.copy_(parameter.grad if is_first else 0.9 * momentum + parameter.grad)
                parameter.data.add_(momentum, alpha=-0.01)


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='torch before 2.3 has float16 on GPUs only')
@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_a_first_step_that_is_left_out_leaves_no_unfilled_momentum(plain, device):
    """float16 begins with a scale that is too large, so its first update is left out as a rule."""
    plain['train']['optim_g'] = {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9}
    model = build(plain | {'amp': 'fp16'})
    optimizer = UnfilledSGD(model.net_g.parameters(), lr=0.01, momentum=0.9)
    optimizer.param_groups[0]['fused'] = True
    model.optimizer_g, model.optimizers, model.schedulers = optimizer, [optimizer], []
    model.scaler = torch.amp.GradScaler('cpu', init_scale=1e30)  # whose gradients are beyond float16
    model.feed_data(batch())
    weights = next(model.net_g.parameters()).clone()
    losses = model._accumulate_gradients()
    model.device = SimpleNamespace(type=device)
    model._update(losses)
    assert torch.equal(next(model.net_g.parameters()), weights)
    assert all(state.get('momentum_buffer') is None for state in optimizer.state.values())


# -------------------------------------------------------------------------------------------------- what is never saved


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize('spoilt', ['the network', 'the averaged network', 'the optimiser'])
def test_what_is_not_finite_is_neither_saved_nor_pushes_out_what_is(options, tmp_path, spoilt):
    options['logger']['keep_last'] = 1
    model = build(options)
    step(model, 1)
    model.save(0, 1)
    before = files(tmp_path)
    step(model, 2)
    owner = {
        'the network': next(model.net_g.parameters()),
        'the averaged network': next(model.net_g_ema.parameters()),
        'the optimiser': next(iter(model.optimizer_g.state.values()))['exp_avg'],
    }[spoilt]
    owner.data.view(-1)[0] = NAN
    with pytest.raises(BadUpdatesError, match=f'^{spoilt} of iteration 2 hold values that are not finite'):
        model.save(0, 2)
    assert files(tmp_path) == before


def test_moments_that_are_not_finite_end_in_an_error_and_not_in_lost_networks(options, tmp_path):
    """A gradient is finite and the update is not: the guard does not see it."""
    options['logger']['keep_last'] = 1
    model = build(options)
    step(model, 1)
    model.save(0, 1)
    before = files(tmp_path)
    next(iter(model.optimizer_g.state.values()))['exp_avg_sq'].fill_(NAN)
    step(model, 2)
    with pytest.raises(BadUpdatesError, match=r'the network .*and the optimiser of iteration 2'):
        model.save(-1, -1)
    assert files(tmp_path) == before


def test_a_best_network_that_is_not_finite_is_not_kept(options, tmp_path):
    model = build(options)
    next(model.net_g.parameters()).data.fill_(NAN)
    with pytest.raises(BadUpdatesError, match='not finite'):
        model.save_network([model.net_g], 'net_g', 'best', param_key=['params'])
    assert files(tmp_path) == {}


def test_while_updates_are_left_out_nothing_is_removed_or_renamed(options, tmp_path):
    options['logger']['keep_last'] = 1
    model = build(options)
    step(model, 1)
    model.save(0, 1)
    latest = (tmp_path / 'net_g_latest.pth').read_bytes()
    step(model, 2, batch(2) | {'gt': torch.full((2, 3, 32, 32), NAN)})
    model.save(0, 2)
    assert {'net_g_1.pth', '1.state', 'net_g_2.pth', '2.state'} < files(tmp_path).keys()
    assert (tmp_path / 'net_g_latest.pth').read_bytes() == latest
    step(model, 3)
    model.save(0, 3)
    assert 'net_g_1.pth' not in files(tmp_path)


def test_a_training_without_one_update_ends_with_an_error(options, tmp_path):
    model = build(options)
    for iteration in (1, 2, 3):
        step(model, iteration, batch() | {'lq': torch.full((2, 3, 32, 32), NAN)})
    with pytest.raises(BadUpdatesError, match='none of the 3 updates of this training was made'):
        model.save(-1, -1)
    assert files(tmp_path) == {}


def test_a_training_with_one_update_is_saved(options, tmp_path):
    model = build(options)
    step(model, 1)
    step(model, 2, batch() | {'lq': torch.full((2, 3, 32, 32), NAN)})
    model.save(-1, -1)
    assert (tmp_path / 'net_g_latest.pth').exists()


# ------------------------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize('before', [False, True])
def test_a_run_goes_on_in_the_other_layout_with_its_own_moments(options, tmp_path, before):
    options['train']['optim_g'] |= {'fused': hasattr(torch.serialization, 'add_safe_globals')}
    model = build(options | {'channels_last': before})
    step(model, 1)
    model.save(0, 1)
    state = torch.load(tmp_path / '1.state', weights_only=True)
    gradients = {name: torch.rand_like(parameter) for name, parameter in model.net_g.named_parameters()}
    ended = []
    for channels_last in (before, not before):
        again = build(
            options
            | {'channels_last': channels_last}
            | {'path': options['path'] | {'pretrain_network_g': str(tmp_path / 'net_g_1.pth')}}
        )
        again.resume_training(copy.deepcopy(state))
        for name, parameter in again.net_g.named_parameters():
            parameter.grad = torch.empty_like(parameter).copy_(gradients[name])
            moment = again.optimizer_g.state[parameter]['exp_avg']
            assert moment.stride() == parameter.stride()
        again.optimizer_g.step()
        ended.append({name: parameter.detach() for name, parameter in again.net_g.named_parameters()})
    assert equal(*ended)
