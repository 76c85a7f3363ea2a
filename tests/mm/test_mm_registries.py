"""What `custom_imports = dict(imports=['okdnet_plugin.mm'])` puts into MMEngine's root registries."""

import sys

import pytest
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS

import okdnet_plugin.mm
from conftest import run
from okdnet_plugin.mm import registries


@pytest.mark.parametrize(
    ('ours', 'theirs'), [(ARCH_REGISTRY, MODELS), (DATASET_REGISTRY, DATASETS), (LOSS_REGISTRY, MODELS)]
)
def test_every_class_of_the_plugin_is_registered_and_is_the_same_object(ours, theirs):
    names = [name for name, found in ours if found.__module__.startswith('okdnet_plugin.')]
    assert names
    assert all(theirs.get(name) is ours.get(name) for name in names)


def test_losses_of_basicsr_have_names_that_mmagic_does_not_use():
    assert MODELS.get('BasicSRL1Loss') is LOSS_REGISTRY.get('L1Loss')
    assert MODELS.get('BasicSRCharbonnierLoss') is LOSS_REGISTRY.get('CharbonnierLoss')


@pytest.mark.parametrize(
    ('registry', 'names'),
    [
        (MODELS, ['OKDNetRestorer', 'DehazeDataPreprocessor']),
        (DATASETS, ['PackedDehazeDataset']),
        (TRANSFORMS, ['LoadHazePair', 'PackHazePair']),
        (METRICS, ['RestorationMetric']),
        (HOOKS, ['BranchVisualizationHook']),
    ],
)
def test_what_only_mmengine_needs_is_registered(registry, names):
    assert all(registry.get(name) for name in names)


def test_registering_twice_changes_nothing():
    before = dict(MODELS.module_dict)
    registries.register()
    okdnet_plugin.mm.compat.apply()
    assert dict(MODELS.module_dict) == before


def test_another_object_of_the_same_name_is_refused(monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, 'OKDNet', object)
    with pytest.raises(KeyError, match='OKDNet is already registered'):
        registries.register()


def test_importing_it_imports_neither_mmagic_nor_compiled_operators_and_the_core_does_not_import_it(tmp_path):
    code = (
        'import sys, okdnet_plugin, okdnet_plugin.cli; okdnet_plugin.register()\n'
        "assert not [m for m in sys.modules if m.startswith(('mmengine', 'mmcv', 'okdnet_plugin.mm'))]\n"
        'import okdnet_plugin.mm\n'
        "assert not [m for m in sys.modules if m.startswith(('mmagic', 'mmcv.ops', 'mmcv._ext'))]\n"
    )
    result = run(sys.executable, '-c', code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
