"""The table of parameters: it is that of the docs, and what was counted in a release is what the network has."""

import importlib.util

import pytest

import okdnet_plugin
from conftest import REPOSITORY

okdnet_plugin.register()
SPEC = importlib.util.spec_from_file_location('parameter_table', REPOSITORY / 'scripts/parameter_table.py')
parameter_table = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(parameter_table)


@pytest.mark.parametrize('method', parameter_table.METHODS, ids=lambda method: method.label)
def test_network_has_what_was_counted_in_its_release(method):
    here, trained = parameter_table.count(method)
    assert method.counted in (None, here)
    assert 0 <= trained <= here


def test_docs_show_the_table_that_is_printed(capsys, monkeypatch):
    monkeypatch.setattr('sys.argv', ['parameter_table.py'])
    parameter_table.main()
    assert capsys.readouterr().out.strip() in (REPOSITORY / 'docs/comparison.md').read_text(encoding='utf-8')


def test_every_learned_network_of_the_plugin_is_in_the_table_or_on_the_page_of_other_methods():
    from basicsr.utils.registry import ARCH_REGISTRY

    own = {name for name, network in ARCH_REGISTRY if network.__module__.startswith('okdnet_plugin.archs')}
    listed = {method.type for method in parameter_table.METHODS}
    page = (REPOSITORY / 'docs/methods.md').read_text(encoding='utf-8')
    assert listed <= own
    assert [name for name in own - listed if f'`{name}' not in page] == []
