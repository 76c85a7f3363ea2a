"""Frozen teachers: what they see, which features are compared, and what is never changed or saved."""

import copy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model

from okdnet_plugin.config import check
from okdnet_plugin.errors import InputError

TEACHER = {'type': 'DSCFSRCNN', 'd': 4, 's': 2, 'm': 1}


@pytest.fixture
def options(model_options, tmp_path):
    """A small FFALiteNet that learns from a super-resolver."""
    torch.manual_seed(1)
    torch.save({'params': build_network(TEACHER).state_dict()}, tmp_path / 'teacher.pth')
    for block in ('distill_opt', 'ssim_opt'):
        del model_options['train'][block]
    affinity = {'loss': {'type': 'FeatureAffinityLoss', 'reduction': 'mean'}}
    model_options['train'] |= {'ema_decay': 0, 'distillation': {'affinity': affinity}}
    model_options['path'] |= {'models': str(tmp_path), 'training_states': str(tmp_path)}
    return model_options | {
        'model_type': 'DistillationModel',
        'network_g': {'type': 'FFALiteNet', 'dim': 8, 'blocks': 1},
        'teachers': {'sr': {'network_t': TEACHER, 'pretrain_network_t': str(tmp_path / 'teacher.pth')}},
    }


def batch_of(options):
    dataset = build_dataset(options['datasets']['train'])
    return {key: torch.stack([dataset[i][key] for i in range(2)]) for key in ('lq', 'gt')}


def trained(options, steps=1):
    model, batch = build_model(copy.deepcopy(options)), batch_of(options)
    for step in range(1, steps + 1):
        model.update_learning_rate(step)
        model.feed_data(batch)
        model.optimize_parameters(step)
    return model, batch


def test_teacher_is_frozen_and_sees_the_clear_image(options):
    model = build_model(copy.deepcopy(options))
    seen, teacher = [], model.teachers['sr']
    before = copy.deepcopy(teacher.state_dict())
    teacher.register_forward_pre_hook(lambda _, given: seen.append((given[0], teacher.training)))
    batch = batch_of(options)
    for step in (1, 2):
        model.feed_data(batch)
        model.optimize_parameters(step)
    assert all(torch.equal(image, batch['gt']) and not in_training for image, in_training in seen)
    assert len(seen) == 2
    assert all(not one.requires_grad and one.grad is None for one in teacher.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    student = {id(one) for one in model.net_g.parameters()}
    assert {id(one) for group in model.optimizer_g.param_groups for one in group['params']} == student


def test_loss_is_that_of_the_two_images_and_adds_to_the_others(options):
    model, batch = trained(options)
    with torch.no_grad():
        enlarged = model.teachers['sr'](batch['gt'])
        expected = model.distillers['affinity'](model.output, enlarged)
    log = model.get_current_log()
    assert list(log) == ['l_pix', 'l_affinity']
    assert log['l_affinity'] == pytest.approx(expected.item())
    assert log['l_affinity'] > 0


def test_student_learns_from_the_teacher_alone(options):
    options['train']['pixel_opt']['loss_weight'] = 0.0
    options['train']['scheduler']['milestones'] = []
    model, batch = trained(options, steps=1)
    first = model.get_current_log()['l_affinity']
    for step in range(2, 30):
        model.feed_data(batch)
        model.optimize_parameters(step)
    assert model.get_current_log()['l_affinity'] < first


def test_teacher_is_saved_with_no_network(options, tmp_path):
    model, _ = trained(options)
    model.save(0, 1)
    saved = torch.load(tmp_path / 'net_g_1.pth', weights_only=True)
    assert saved['params'].keys() == build_network(options['network_g']).state_dict().keys()
    assert not list(tmp_path.glob('net_t*'))


def test_modules_are_compared_by_patterns_of_their_names(options, tmp_path):
    teacher = {'type': 'FFALiteNet', 'dim': 8, 'blocks': 2}
    torch.save(build_network(teacher).state_dict(), tmp_path / 'ffa.pth')
    options['teachers'] = {'ffa': {'network_t': teacher, 'pretrain_network_t': str(tmp_path / 'ffa.pth')}}
    names = [name for name, _ in build_network(teacher).named_modules() if name.count('.') == 1]
    pattern = f'{names[0].split(".")[0]}.*'
    count = len([name for name in names if name.startswith(pattern[:-1])])
    loss = {'type': 'L1Loss', 'loss_weight': 0.1}
    options['train']['distillation'] = {'hidden': {'loss': loss, 'student': pattern, 'teacher': pattern}}
    model, _ = trained(options)
    calls = []
    model.distillers['hidden'].register_forward_hook(lambda *given: calls.append(given[2]))
    model.compute_losses()
    assert len(calls) == count >= 2
    assert model.compute_losses()['l_hidden'].item() == pytest.approx(sum(calls[:count]).item())


def test_features_come_by_keyword_and_branches_keep_their_own_distillation(options):
    options['model_type'] = 'OKDNetDistillationModel'
    options['network_g'] = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
    options['train']['distill_opt'] = {'type': 'OnlineDistillationLoss'}
    options['train']['distillation']['affinity']['student'] = 'return_branches.model_free'
    model, _ = trained(options)
    assert list(model.get_current_log()) == ['l_pix', 'l_distill', 'l_affinity']
    ours = model.restore(return_branches=True).model_free
    theirs = model.teachers['sr'](model.gt)
    expected = model.distillers['affinity'](ours, theirs)
    assert model.compute_losses()['l_affinity'].item() == pytest.approx(expected.item())


def test_features_are_compared_also_where_the_airlight_has_the_only_loss_beside_them(options):
    options['model_type'] = 'OKDNetDistillationModel'
    options['network_g'] = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
    options['train']['airlight_opt'] = options['train'].pop('pixel_opt')
    options['train']['distillation']['affinity']['student'] = 'return_branches.model_free'
    model = build_model(options)
    model.feed_data(batch_of(options) | {'airlight': torch.full((2, 3, 1, 1), 0.9)})
    losses = model.compute_losses()
    assert list(losses) == ['l_air', 'l_affinity']
    ours, theirs = model.restore(return_branches=True).model_free, model.teachers['sr'](model.gt)
    assert losses['l_affinity'].item() == pytest.approx(model.distillers['affinity'](ours, theirs).item())


def test_keyword_of_the_student_does_not_change_what_the_losses_of_images_see(options):
    options['network_g'] = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
    options['train']['distillation']['affinity']['student'] = 'return_branches.shared'
    model, _ = trained(options)
    assert list(model.get_current_log()) == ['l_pix', 'l_affinity']


def test_teachers_of_single_channels_are_joined(options, tmp_path):
    one = {**TEACHER, 'num_channels': 1}
    teachers = {}
    for number, name in enumerate(('red', 'green', 'blue')):
        torch.save(build_network(one).state_dict(), tmp_path / f'{name}.pth')
        weights = {'network_t': one, 'pretrain_network_t': str(tmp_path / f'{name}.pth')}
        teachers[name] = {**weights, 'channels': [number]}
    options['teachers'] = teachers
    model, batch = trained(options)
    seen = []
    model.distillers['affinity'].register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    model.compute_losses()
    expected = [model.teachers[name](batch['gt'][:, [i]]) for i, name in enumerate(teachers)]
    assert torch.equal(seen[0], torch.cat(expected, 1))
    assert not torch.allclose(expected[0], expected[1])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'teachers': {}}, 'option teachers is empty'),
        ({'student': 'groups.9'}, 'option train:distillation:…:student is groups.9, but FFALiteNet has no such module'),
        ({'student': 'return_branches.shared'}, 'FFALiteNet has no such keyword with a field'),
        ({'teacher_names': ['srs']}, r'there is no teacher srs \(did you mean sr\?\)'),
        ({'loss': {'type': 'L1Loss'}}, r'L1Loss does not take features of \(2, 3, 32, 32\) and \(2, 3, 64, 64\)'),
        ({'channels': [3]}, r'option teachers:sr:channels is \[3\], but the images have 3'),
        ({'network_t': {'type': 'DSCFSRCNN'}}, 'option teachers:sr: weights .* are not of DSCFSRCNN'),
        ({'pretrain_network_t': None}, 'option teachers:sr: DSCFSRCNN has weights to load'),
    ],
)  # fmt: skip
def test_mistake_is_told_in_one_line(options, change, message):
    block = options['train']['distillation']['affinity']
    if 'teachers' in change:
        options['teachers'] = {}
    block |= {key: change[key] for key in ('student', 'loss') if key in change}
    if 'teacher_names' in change:
        block['teachers'] = change['teacher_names']
    if options['teachers']:
        keys = ('channels', 'network_t', 'pretrain_network_t')
        options['teachers']['sr'] |= {key: change[key] for key in keys if key in change}
    with pytest.raises(InputError, match=message) as caught:
        trained(options)
    assert '\n' not in str(caught.value)


def test_check_looks_into_teachers_and_losses_of_features(options):
    options['teachers']['sr']['network_t'] = {**TEACHER, 'scael': 2}
    options['train']['distillation']['affinity']['loss'] = {'type': 'FeatureAffinityLos'}
    messages = [str(one) for one in check.check(check.as_written(options), look=False)]
    assert any('teachers:sr:network_t:scael' in text and 'did you mean scale?' in text for text in messages)
    assert any('train:distillation:affinity:loss:type' in text for text in messages)
