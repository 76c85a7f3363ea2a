"""The toolbox: plugins and commands that fail are a line each, and patches without effect are found."""

from dataclasses import replace

import pytest

from okdnet_plugin import compat
from okdnet_plugin.doctor import toolbox

pytest_plugins = ['made_distribution']


def keyed(findings):
    return {finding.key: finding for finding in findings}


def test_plugins_are_named_with_what_they_register():
    found = keyed(toolbox.check_plugins())
    assert found['plugin.okdnet'].status == 'ok'
    assert 'OKDNet' in found['plugin.okdnet'].values['registered']['arch']
    assert found['registered.basicsr'].text.startswith('the toolbox (1.4.2) registers ')
    assert found['command.doctor'].status == 'ok'


def test_broken_plugin_and_broken_command_are_wrong_and_the_rest_goes_on(distribution):
    distribution('broken_plugin', 'import not_there\n', '[basicsr.plugins]\na_broken = broken_plugin:register\n')
    distribution('leaving_command', 'raise SystemExit(1)\n', '[basicsr.commands]\na_leaving = leaving_command:main\n')
    distribution('no_function', 'main = 3\n', '[basicsr.commands]\nno_function = no_function:main\n')
    found = keyed(toolbox.check_plugins())
    assert found['plugin.a_broken'].status == 'wrong'
    assert "No module named 'not_there'" in found['plugin.a_broken'].text
    assert 'pip uninstall broken_plugin' in found['plugin.a_broken'].cure
    assert found['command.a_leaving'].status == found['command.no_function'].status == 'wrong'
    assert found['plugin.okdnet'].status == found['command.doctor'].status == 'ok'


def test_each_patch_is_named_with_its_reason():
    found = keyed(toolbox.check_patches())
    assert set(found) == {f'patch.{patch.name}' for patch in compat.PATCHES}
    assert all(finding.status == 'ok' and finding.values == {'applied': True} for finding in found.values())
    assert 'made private' in found['patch.provide_functional_tensor'].text


@pytest.mark.parametrize(
    ('is_applied', 'is_needed', 'status', 'words'),
    [
        (True, lambda: True, 'wrong', 'without effect'),
        (False, lambda: True, 'wrong', 'without effect'),
        (False, lambda: False, 'ok', 'not needed'),
        (True, lambda: 1 / 0, 'wrong', 'ZeroDivisionError'),
    ],
    ids=['undone', 'not applied', 'not needed', 'cannot be looked at'],
)
def test_patch_that_has_no_effect_is_wrong(is_applied, is_needed, status, words, monkeypatch):
    patch = replace(compat.PATCHES[0], is_needed=is_needed)
    monkeypatch.setattr(compat, 'PATCHES', [patch])
    monkeypatch.setattr(compat, 'APPLIED', [patch] if is_applied else [])
    (finding,) = toolbox.check_patches()
    assert finding.status == status
    assert words in finding.text
