from typing import Any

import numpy as np

def augment(
    imgs: np.ndarray | list[np.ndarray],
    hflip: bool = True,
    rotation: bool = True,
    flows: Any = None,
    return_status: bool = False,
) -> Any: ...
def paired_random_crop(
    img_gts: np.ndarray | list[np.ndarray],
    img_lqs: np.ndarray | list[np.ndarray],
    gt_patch_size: int,
    scale: int,
    gt_path: str | None = None,
) -> tuple[Any, Any]: ...
