"""What a test leaves."""

import functools
import importlib
from collections.abc import Iterator
from typing import Any

from okdnet_plugin.compat.patches import patch, source_of


class _Watched:
    """A loader that notes down the paths of the images that it gives."""

    def __init__(self, loader: Any):
        self.loader, self.dataset, self.paths = loader, loader.dataset, []

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            self.paths.append(batch['lq_path'][0])
            yield batch


@patch(lambda: 'results.write' not in source_of('basicsr.models.sr_model:SRModel.nondist_validation'))
def keep_the_results_of_a_test() -> None:
    """The metric values of a test are lines of a log alone, which name a best iteration that a test does not have.

    They now go to `metrics.json` and a CSV for each test set beside the log, see `okdnet_plugin.engine.results`. Can go
    when BasicSR writes such files.
    """
    sr_model: Any = importlib.import_module('basicsr.models.sr_model')
    model = sr_model.SRModel
    original, original_log = model.nondist_validation, model._log_validation_metric_values

    @functools.wraps(original)
    def nondist_validation(self, dataloader, current_iter, tb_logger, save_img):
        if self.opt['is_train'] or 'results_root' not in self.opt['path']:
            original(self, dataloader, current_iter, tb_logger, save_img)
            return
        from okdnet_plugin.engine import results

        watched, values, calculate = _Watched(dataloader), [], sr_model.calculate_metric

        def noted(data, block):
            values.append(calculate(data, block))
            return values[-1]

        sr_model.calculate_metric = noted
        try:
            original(self, watched, current_iter, tb_logger, save_img)
        finally:
            sr_model.calculate_metric = calculate
        names = list(self.opt['val'].get('metrics') or {})
        rows = [values[place : place + len(names)] for place in range(0, len(values), len(names) or 1)]
        rows = [dict(zip(names, row, strict=True)) for row in rows] or [{} for _ in watched.paths]
        means = {name: {'mean': self.metric_results[name]} for name in names}
        results.write(self.opt, dataloader.dataset.opt, list(zip(watched.paths, rows, strict=True)), means)

    @functools.wraps(original_log)
    def log_metric_values(self, current_iter, dataset_name, tb_logger):
        best = vars(self).pop('best_metric_results', None) if not self.opt['is_train'] else None
        original_log(self, current_iter, dataset_name, tb_logger)
        if best is not None:
            self.best_metric_results = best

    model.nondist_validation = nondist_validation
    model._log_validation_metric_values = log_metric_values
