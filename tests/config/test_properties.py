"""What holds for any option file: of merging, overrides, places and the copy that a run keeps."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from okdnet_plugin.compat.command_line import resolved_copy
from okdnet_plugin.config import load, load_with_places
from okdnet_plugin.config.items import item_of
from okdnet_plugin.config.read import merge

# The examples are the same in every run; the folder may be used by all of them.
settings.register_profile(
    'fixed',
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile('fixed')

TEXTS = st.text(
    st.characters(blacklist_categories=('Cs', 'Cc', 'Cn'), blacklist_characters='$\u2028\u2029\ufeff'), max_size=8
)
LEAVES = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | TEXTS
KEYS = st.text('abcdefgh', min_size=1, max_size=2)
LISTS = st.lists(LEAVES, max_size=3)
OPTIONS = st.dictionaries(
    KEYS, st.recursive(LEAVES | LISTS, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=6), max_size=4
)
# Files that agree on what is a block: its key has a capital.
_BLOCKS = st.text('ABC', min_size=1, max_size=1)


def _alike(depth):
    leaves = st.dictionaries(KEYS, LEAVES | LISTS, max_size=3)
    if not depth:
        return leaves
    return st.builds(lambda own, blocks: own | blocks, leaves, st.dictionaries(_BLOCKS, _alike(depth - 1), max_size=2))


ALIKE = _alike(2)


def merged(*values):
    result = item_of({}, 'nowhere')
    for value in values:
        result = merge(result, item_of(value, 'somewhere'))
    return result.plain()


def leaves_of(value, path=()):
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from leaves_of(child, (*path, key))
    else:
        yield path, value


@given(OPTIONS)
def test_merging_with_itself_or_with_nothing_changes_nothing(options):
    assert merged(options, options) == merged(options, {}) == merged({}, options) == options


@given(OPTIONS, OPTIONS)
def test_the_change_wins_and_nothing_else_is_touched(base, change):
    below, above = item_of(base, 'below'), item_of(change, 'above')
    result = merge(below, above)
    assert (below.plain(), above.plain()) == (base, change)
    assert merge(result, above).plain() == result.plain()
    said = dict(leaves_of(result.plain()))
    for path, value in leaves_of(change):
        if value != {}:
            assert said[path] == value
    for key in base.keys() - change.keys():
        assert result.plain()[key] == base[key]


@given(ALIKE, ALIKE, ALIKE)
def test_files_that_agree_on_their_blocks_merge_in_any_grouping(first, second, third):
    assert merged(merged(first, second), third) == merged(first, merged(second, third))


@given(OPTIONS)
def test_a_file_reads_as_it_was_written_and_every_key_has_its_line(write, options):
    text = yaml.safe_dump(options | {'last': 1}, sort_keys=False, allow_unicode=True)
    opt, places = load_with_places(write('a.yml', text))
    assert opt == options | {'last': 1}
    lines = text.split('\n')
    for path, _ in leaves_of(opt):
        file, _, line = places.of(path).rpartition(':')
        assert file == 'a.yml'
        assert lines[int(line) - 1].lstrip(' -').startswith((f'{path[-1]}:', f"'{path[-1]}':"))


@given(OPTIONS, LEAVES | LISTS, st.data())
def test_an_override_is_read_back_and_nothing_else_changes(write, options, value, data):
    before = {'block': options, 'other': 1}
    write('a.yml', yaml.safe_dump(before, allow_unicode=True))
    path = data.draw(st.sampled_from([path for path, _ in leaves_of(options, ('block',)) if len(path) > 1] or [('x',)]))
    written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix('...\n')
    opt, places = load_with_places('a.yml', [f'{".".join(path)}={written}'])
    now = dict(leaves_of(opt))
    assert now.pop(path, {}) == value
    assert places.of(path) == f'--set {".".join(path)}'
    then = dict(leaves_of(before))
    then.pop(path, None)
    assert now == then


@given(OPTIONS, ALIKE)
def test_plain_yaml_reads_the_copy_of_a_run_as_the_run_did(write, base, own):
    write('base.yml', yaml.safe_dump(base, allow_unicode=True))
    path = write('own.yml', yaml.safe_dump({'_base_': 'base.yml', 'copy': '${copied}', 'copied': own}))
    with resolved_copy(path) as copy:
        content = Path(copy).read_text(encoding='utf-8')
    assert yaml.safe_load(content) == load(path) == merged(base, {'copy': own, 'copied': own})


@pytest.mark.parametrize('path', sorted(Path(__file__).parents[2].glob('options/**/*.yml')), ids=lambda path: path.stem)
def test_every_key_of_a_shipped_file_has_a_line_that_names_it(path):
    opt, places = load_with_places(str(path))
    for keys, _ in leaves_of(opt):
        file, _, line = places.of(keys).rpartition(':')
        assert keys[-1] in Path(file).read_text(encoding='utf-8').splitlines()[int(line) - 1]
