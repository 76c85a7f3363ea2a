"""Every key of every shipped option file misspelt, mistyped and removed: the check finds each, and its line."""

import pytest

from conftest import REPOSITORY, load_script


@pytest.fixture(scope='module')
def script():
    return load_script('tests/harness/planted_mistakes.py')


@pytest.mark.parametrize(
    ('file', 'least'),
    [('okdnet_quickstart.yml', 60), pytest.param('**/*.yml', 1000, marks=pytest.mark.long)],
    ids=['one file and its bases', 'all files'],
)
def test_planted_mistakes_are_found_and_located(script, file, least, tmp_path):
    """`-s` prints the table; the script plants every kind of misspelling and mistyping."""
    root = REPOSITORY / 'options'
    files = sorted(set(root.glob(file)) & set(script.files_of(root)))
    counts = script.plant_all(files, root, tmp_path / 'options', is_thorough=False)
    print('\n' + script.table(counts))
    missed = [line for count in counts.values() for line in count.missed]
    assert [line for line in missed if 'perceptual_opt:layer_weights' not in line] == []  # BasicSR checks none of them
    planted, located = (sum(getattr(count, name) for count in counts.values()) for name in ('planted', 'located'))
    assert planted > least
    assert located > 0.97 * planted
    assert {kind.partition(':')[0] for kind in counts} == {'misspelt', 'mistyped', 'emptied block', 'removed'}


def test_what_the_check_does_not_see_is_counted_as_missed(script, tmp_path, monkeypatch):
    (tmp_path / 'options').mkdir()
    (tmp_path / 'options' / 'o.yml').write_text((REPOSITORY / 'tests/config/stock/test_msrresnet.yml').read_text())
    monkeypatch.setattr(script.check, 'check', lambda *_, **__: [])
    root = tmp_path / 'options'
    counts = script.plant_all(script.files_of(root), root, tmp_path / 'copy', is_thorough=False)
    assert all(count.caught == 0 for count in counts.values())
    assert len(counts['removed'].missed) == counts['removed'].planted > 0
