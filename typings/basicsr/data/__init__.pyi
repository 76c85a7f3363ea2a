from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

def build_dataset(dataset_opt: Mapping[str, Any]) -> Any: ...
def build_dataloader(
    dataset: Dataset[Any],
    dataset_opt: Mapping[str, Any],
    num_gpu: int = 1,
    dist: bool = False,
    sampler: Sampler[Any] | None = None,
    seed: int | None = None,
) -> DataLoader[Any]: ...
