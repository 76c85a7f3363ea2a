"""Types for hints that torch does not have; nothing is made of them."""

from typing import Any

from torch.utils.data import Dataset


class MapDataset(Dataset):
    """A data set as BasicSR's registry builds it: it knows its length, and the options that it was built from."""

    opt: dict[str, Any]

    def __getitem__(self, index: Any) -> dict[str, Any]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError
