"""Eq. 6 and what the option file can change of it."""

import pytest
import torch
from basicsr.losses import build_loss

from okdnet_plugin.losses.online_distillation_loss import OnlineDistillationLoss

NAMES = ('model_free', 'model_based', 'shared')


@pytest.fixture
def teacher():
    return torch.rand(2, 3, 8, 8, requires_grad=True)


@pytest.fixture
def students():
    return {name: torch.rand(2, 3, 8, 8, requires_grad=True) for name in NAMES}


def distance(a, b):
    return (a - b).abs().mean()


def test_it_is_the_sum_of_the_distances(teacher, students):
    expected = 0.5 * sum(distance(student, teacher) for student in students.values())
    torch.testing.assert_close(OnlineDistillationLoss(loss_weight=0.5)(teacher, students), expected)


@pytest.mark.parametrize('left_out', ['model_based', 'model_free'], ids=['variant D', 'variant E'])
def test_weight_zero_leaves_a_student_out(teacher, students, left_out):
    loss = OnlineDistillationLoss(student_weights={left_out: 0})(teacher, students)
    torch.testing.assert_close(loss, sum(distance(students[n], teacher) for n in NAMES if n != left_out))
    loss.backward()
    assert students[left_out].grad is None


def test_students_and_weights_may_be_lists(teacher, students):
    by_name = OnlineDistillationLoss(student_weights={'model_free': 0.5, 'model_based': 0})(teacher, students)
    torch.testing.assert_close(
        OnlineDistillationLoss(student_weights=[0.5, 0, 1])(teacher, list(students.values())), by_name
    )


def test_list_of_weights_of_another_length_is_refused(teacher, students):
    with pytest.raises(ValueError, match='2 values, but there are 3 students'):
        OnlineDistillationLoss(student_weights=[1, 1])(teacher, students)


def test_teacher_learns_from_it_as_in_the_paper(teacher, students):
    OnlineDistillationLoss()(teacher, students).backward()
    assert teacher.grad.any()


def test_detached_teacher_does_not_learn_from_it(teacher, students):
    OnlineDistillationLoss(detach_teacher=True)(teacher, students).backward()
    assert teacher.grad is None
    assert all(student.grad.any() for student in students.values())


def test_misspelt_student_is_named(teacher, students):
    with pytest.raises(ValueError, match='names model_bassed, but the students are model_free, model_based, shared'):
        OnlineDistillationLoss(student_weights={'model_bassed': 0})(teacher, students)


def test_wrong_reduction_is_named():
    with pytest.raises(ValueError, match='reduction'):
        OnlineDistillationLoss(reduction='none')


def test_basicsr_builds_it_from_an_option_block():
    block = {'type': 'OnlineDistillationLoss', 'loss_weight': 0.5, 'student_weights': {'shared': 0.1}}
    assert build_loss(block).student_weights == {'shared': 0.1}
