"""What the plugin and BasicSR register, registered in MMEngine's root registries as well."""

from collections.abc import Callable
from typing import Any

from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS, Registry

import okdnet_plugin


def register() -> None:
    """Register all classes; may run twice.

    Networks, data sets and losses of the plugin have their own names. BasicSR's losses are called `BasicSR` and
    their name (`BasicSRL1Loss`), because MMagic has losses of the same names, which would be found first.

    Raises:
        KeyError: another package has put something else under one of the names.
    """
    okdnet_plugin.register()
    from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY

    from okdnet_plugin.mm import restorer
    from okdnet_plugin.mm.hooks import BranchVisualizationHook, ShareBuffersHook
    from okdnet_plugin.mm.metric import RestorationMetric
    from okdnet_plugin.mm.packed_dataset import PackedDehazeDataset
    from okdnet_plugin.mm.transforms import AugmentHazePair, LoadHazePair, PackHazePair

    for source, target in ((ARCH_REGISTRY, MODELS), (DATASET_REGISTRY, DATASETS), (LOSS_REGISTRY, MODELS)):
        for name, found in source:
            if _is_ours(found):
                _add(target, name, found)
            elif source is LOSS_REGISTRY and found.__module__.startswith('basicsr.'):
                _add(target, f'BasicSR{name}', found)
    own = {
        MODELS: (
            restorer.DehazeDataPreprocessor,
            restorer.OKDNetRestorer,
            restorer.DistillationRestorer,
            restorer.DepthGuidanceRestorer,
            restorer.ProgressiveRestorer,
        ),
        DATASETS: (PackedDehazeDataset,),
        TRANSFORMS: (LoadHazePair, AugmentHazePair, PackHazePair),
        METRICS: (RestorationMetric,),
        HOOKS: (BranchVisualizationHook, ShareBuffersHook),
    }
    for registry, classes in own.items():
        for cls in classes:
            _add(registry, cls.__name__, cls)


def _is_ours(found: Callable) -> bool:
    return found.__module__.startswith('okdnet_plugin.')


def _add(registry: Registry, name: str, found: Any) -> None:
    if registry.module_dict.get(name) is not found:
        registry.register_module(name=name, module=found)
