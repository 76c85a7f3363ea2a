"""Patches: each is named with its reason, and one without effect is found."""

from dataclasses import replace

import pytest

from okdnet_plugin import compat
from okdnet_plugin.doctor import patches


def keyed(findings):
    return {finding.key: finding for finding in findings}


def test_each_patch_is_named_with_its_reason():
    found = keyed(patches.check())
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
    (finding,) = patches.check()
    assert finding.status == status
    assert words in finding.text
