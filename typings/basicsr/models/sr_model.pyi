from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from torch.utils.data import DataLoader

class SRModel(BaseModel):
    # Any: a network, bare or wrapped for several processes
    net_g: Any
    net_g_ema: Any
    lq: torch.Tensor
    gt: torch.Tensor
    output: torch.Tensor
    cri_pix: Any
    cri_perceptual: Any
    optimizer_g: torch.optim.Optimizer
    ema_decay: float
    metric_results: dict[str, float]
    def init_training_settings(self) -> None: ...
    def setup_optimizers(self) -> None: ...
    def optimize_parameters(self, current_iter: int) -> None: ...
    # Any: it is called with stand-ins that have the attributes it uses
    def test(self: Any) -> None: ...
    def dist_validation(
        self, dataloader: DataLoader[Any], current_iter: int | str, tb_logger: Any, save_img: bool
    ) -> None: ...
    def nondist_validation(
        self, dataloader: DataLoader[Any], current_iter: int | str, tb_logger: Any, save_img: bool
    ) -> None: ...
    def _log_validation_metric_values(self, current_iter: int | str, dataset_name: str, tb_logger: Any) -> None: ...
