"""Every metric of BasicSR and the plugin, as a metric of MMEngine and MMagic."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from basicsr.utils.registry import METRIC_REGISTRY
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from okdnet_plugin.config.registered import GIVEN_TO_METRICS
from okdnet_plugin.engine import validation
from okdnet_plugin.errors import InputError, did_you_mean
from okdnet_plugin.mm.restorer import to_bgr


class RestorationMetric(BaseMetric):
    """Mean of a registered metric over a data set, with the figures of the BasicSR side.

    Works in MMEngine's loops and in MMagic's MultiValLoop, on what our restorers or any of MMagic's restoration models
    predicts. A metric that needs a clear image leaves out samples without one; infinite values (PSNR of an image
    that equals its clear one) and images that the function has no value for are left out of the mean and counted.

    Args:
        function: registered name, as `calculate_psnr`, `calculate_loe`.
        name: of the figure; by default the function's without `calculate_`.
        prefix, collect_device, collect_dir: as for BaseMetric.
        options: of the function, as `crop_border=0, test_y_channel=False`.

    Raises:
        InputError: the function is not registered (UnknownNameError), lacks an option or has no such option, or has no
            value for any image.
    """

    # What MMagic's evaluator asks of a metric.
    SAMPLER_MODE = 'normal'
    sample_model = 'orig'
    default_prefix = ''

    def __init__(
        self,
        function: str,
        name: str | None = None,
        prefix: str | None = None,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        **options: Any,
    ):
        super().__init__(collect_device, prefix, collect_dir)
        _check_arguments(function, METRIC_REGISTRY.get(function), options)
        self.name = name or function.removeprefix('calculate_')
        self.block = {'type': function, **options}
        self.size: int | None = None

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Note the figures of a batch.

        Args:
            data_batch: not used.
            data_samples: each with `output` that holds `pred_img`, and perhaps `gt_img` and `input`, (3, H, W) in
                [0, 255], in the order of `img_channel_order`, BGR unless it says `rgb`; `depth` and `depth_gt`, (H, W),
                for metrics of depth.
        """
        for sample in data_samples:
            order = sample.get('img_channel_order') or 'bgr'
            found = {'result': sample['output']['pred_img'], 'gt': sample.get('gt_img'), 'lq': sample.get('input')}
            orders = {'gt': sample.get('gt_channel_order') or order}
            images = {key: to_bgr(image, orders.get(key, order)) for key, image in found.items() if image is not None}
            images |= {key: sample[key] for key in ('depth', 'depth_gt') if key in sample}
            self.results.append(validation.metric_values_of(images, {self.name: dict(self.block)}))

    def compute_metrics(self, results: list[tuple[dict[str, float], dict[str, str]]]) -> dict[str, float]:
        """The mean over a data set, by name; MMEngine makes plain tuples of `validation.Values`."""
        reasons = [why[self.name] for _, why in results if why]
        figures = [validation.MetricValues(number, values) for number, (values, _) in enumerate(results) if values]
        if not figures:
            why = reasons[0] if reasons else 'it needs clear images (gt)'
            raise InputError(f'{self.block["type"]} has no value for any image: {why}')
        if reasons:
            MMLogger.get_current_instance().warning(
                f'{self.name} has no value for {len(reasons)} of {len(results)} images, which the mean leaves out; '
                f'the first: {reasons[0]}'
            )
        mean = validation.means_of(figures)[self.name]
        if mean.infinite:
            MMLogger.get_current_instance().warning(
                f'{self.name} of {mean.infinite} images is infinite, as they equal their clear ones; the mean is '
                'that of the others'
            )
        return {self.name: mean.value}

    # -------------------------------------------------------------------------------------------- MMagic's evaluator

    def prepare(self, module: Any, dataloader: Any) -> None:
        """Note how many images there are, as MMagic's evaluator asks before a validation."""
        self.size = len(dataloader.dataset)

    def get_metric_sampler(self, model: Any, dataloader: Any, metrics: Any) -> Any:
        """The data loader itself: nothing has to be sampled from the model."""
        return dataloader

    def evaluate(self, size: int | None = None) -> dict[str, float]:
        """The mean over all processes.

        Args:
            size: images of the data set; by default those that `prepare` counted.
        """
        size = self.size if size is None else size
        if size is None:
            raise ValueError('RestorationMetric: the size of the data set is not known; call prepare, or give it')
        return super().evaluate(size)


def _check_arguments(name: str, function: Callable, options: Mapping) -> None:
    parameters = inspect.signature(function).parameters
    named = {key: one for key, one in parameters.items() if key not in GIVEN_TO_METRICS}
    # Those of BasicSR and the plugin take any keyword, as they are handed images that they do not look at.
    is_known = function.__module__.startswith(('basicsr.', 'okdnet_plugin.'))
    takes_any = any(one.kind is one.VAR_KEYWORD for one in named.values()) and not is_known
    for key in options:
        if key not in named and not takes_any:
            raise InputError(f'RestorationMetric: {name} has no option {key}{did_you_mean(key, named)}')
    for key, one in named.items():
        if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL) and key not in options:
            raise InputError(f'RestorationMetric: {name} needs {key}; add it, as in {key}=0')
