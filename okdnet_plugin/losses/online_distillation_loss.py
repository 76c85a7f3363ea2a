"""The loss by which the branches of a network learn from their own aggregate."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from annotated_types import Len
from basicsr.losses.basic_loss import l1_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

Student = Literal['model_free', 'model_based', 'shared']


@LOSS_REGISTRY.register()
class OnlineDistillationLoss(nn.Module):
    """Sum of the L1 distances between a teacher's image and those of its students, trained together.

    Source: OKDNet (Lan et al. 2022), Eq. 6; its students are `model_free`, `model_based` and `shared`. Variants D and E
    of Table 4 set the weight of `model_based` and of `model_free` to 0.

    Args:
        loss_weight: factor of the whole loss; lambda in Eq. 3, 0.5 in the paper.
        reduction: `mean` or `sum` over the pixels.
        student_weights: factor of each student by name, 1 for a student that is not named; or a list in their order.
        detach_teacher: keep the gradient of this loss from the teacher. The paper's equation does not.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        reduction: Literal['mean', 'sum'] = 'mean',
        student_weights: Mapping[Student, float] | Annotated[Sequence[float], Len(3, 3)] | None = None,
        detach_teacher: bool = False,
    ):
        super().__init__()
        if reduction not in ('mean', 'sum'):
            raise ValueError(f'OnlineDistillationLoss: reduction is {reduction!r}, but must be one of mean, sum')
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.student_weights = student_weights or {}
        self.detach_teacher = detach_teacher

    def forward(self, teacher: Tensor, students: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """
        Args:
            teacher: shape (N, C, H, W).
            students: images of the teacher's shape, by name or in a sequence.

        Returns:
            A scalar.

        Raises:
            ValueError: `student_weights` names a student that there is not, or is a list of another length.
        """
        if not isinstance(students, Mapping):
            students = {str(i): student for i, student in enumerate(students)}
        weights = self._weights_of(students)
        if self.detach_teacher:
            teacher = teacher.detach()
        distances = (
            weights.get(name, 1.0) * l1_loss(student, teacher, reduction=self.reduction)
            for name, student in students.items()
            if weights.get(name, 1.0) != 0
        )
        return self.loss_weight * sum(distances, teacher.new_zeros(()))

    def _weights_of(self, students: Mapping[str, Tensor]) -> Mapping[str, float]:
        names, weights = list(students), self.student_weights
        if not isinstance(weights, Mapping):
            if len(weights) != len(names):
                raise ValueError(
                    f'OnlineDistillationLoss: student_weights has {len(weights)} values, but there are {len(names)} '
                    f'students: {", ".join(names)}'
                )
            return dict(zip(names, weights, strict=True))
        unknown = sorted(weights.keys() - students.keys())
        if unknown:
            raise ValueError(
                f'OnlineDistillationLoss: student_weights names {", ".join(unknown)}, but the students are '
                f'{", ".join(names)}'
            )
        return {str(name): weight for name, weight in weights.items()}
