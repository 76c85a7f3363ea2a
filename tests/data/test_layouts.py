"""Naming rules of public data sets."""

import pytest

from okdnet_plugin.data.layouts import (
    LAYOUTS,
    Layout,
    get_layout,
    layout_from_regex,
    layout_from_template,
    match_names,
    pair_listed,
    pair_names,
)
from okdnet_plugin.errors import InputError


@pytest.mark.parametrize(
    ('name', 'hazy', 'clear'),
    [
        ('its', '1_1_0.90179.png', '1.png'),
        ('its', '1399_10_1.png', '1399.png'),
        ('ots', '0025_0.8_0.04.jpg', '0025.jpg'),
        ('ots', 'part1/8970_1_0.2.jpg', '8970.jpg'),
        ('sots_indoor', '1400_10.png', '1400.png'),
        ('sots_outdoor', '0001_0.8_0.2.jpg', '0001.png'),
        ('i_haze', '01_indoor_hazy.jpg', '01_indoor_GT.jpg'),
        ('o_haze', '45_outdoor_hazy.JPG', '45_outdoor_GT.jpg'),
        ('nh_haze', '01_hazy.png', '01_GT.png'),
        ('dense_haze', '55_hazy.png', '55_gt.png'),
        ('dense_haze', '55_hazy.png', '55.png'),
        ('reside_6k', '1_1_0.90179.png', '1_1_0.90179.png'),
        ('reside_6k', '0025_0.8_0.04.jpg', '0025_0.8_0.04.png'),
        ('haze4k', '1_0.75_1.24.png', '1.png'),
        ('haze4k', '3000_1_0.66.png', '3000.png'),
    ],
)
def test_every_public_name_finds_its_clear_image(name, hazy, clear):
    decoys = ['2.png', '0026.jpg', '1401.png', '0002.png', '02_indoor_GT.jpg', '02_outdoor_GT.jpg', '02_GT.png']
    assert pair_names([hazy], [*decoys, clear], get_layout(name)) == [(hazy, clear)]


def test_every_layout_knows_the_example_in_its_own_rule():
    for layout in LAYOUTS.values():
        hazy, clear = layout.rule.split(' -> ')
        assert pair_names([hazy], [clear], layout) == [(hazy, clear)]


def test_all_ots_names_pair():
    airlights, betas = (0.8, 0.85, 0.9, 0.95, 1), (0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2)
    hazy = [f'{scene:04d}_{a}_{beta}.jpg' for scene in range(1, 2062) for a in airlights for beta in betas]
    clear = [f'{scene:04d}.jpg' for scene in range(1, 2062)]
    pairs = pair_names(hazy, clear, get_layout('ots'))
    assert len(pairs) == 72135
    assert all(lq[:4] == gt[:4] for lq, gt in pairs)


def test_each_name_is_matched_once(monkeypatch):
    matched = []
    for side in ('hazy_scene', 'clear_scene'):
        scene_of = getattr(Layout, side)
        monkeypatch.setattr(Layout, side, lambda self, name, f=scene_of: matched.append(name) or f(self, name))
    hazy = [f'{scene}_{variant}_1.png' for scene in range(100) for variant in range(10)]
    clear = [f'{scene}.png' for scene in range(100)]
    assert len(pair_names(hazy, clear, get_layout('its'))) == 1000
    assert sorted(matched) == sorted([*hazy, *clear])


def test_all_that_does_not_match_is_told_at_once():
    hazy = ['9_1.png', 'cover.png', '2_1.png', '1_2.png', '1_1.png', '1_1.png', '8_1.png']
    matches = match_names(hazy, ['1.png', '2.png', '2.jpg', '3.png'], SOTS)
    assert matches.pairs == [('1_1.png', '1.png'), ('1_2.png', '1.png')]
    assert matches.misfits == ['cover.png']
    assert matches.lonely == ['8_1.png', '9_1.png']
    assert matches.ambiguous == {'2_1.png': ['2.png', '2.jpg']}


def test_pairs_are_sorted_by_hazy_stem():
    assert [lq for lq, _ in pair_names(['b.png', 'a-1.png', 'a.png'], ['a.jpg', 'a-1.jpg', 'b.jpg'], SAME)] == [
        'a.png',
        'a-1.png',
        'b.png',
    ]


@pytest.mark.parametrize(
    ('pairing', 'hazy', 'clear'),
    [
        (r'(.+)_hazy', 'a.b_hazy.png', 'a.b.png'),
        (r'(\d+)_(?:hazy|clear)', '7_hazy.png', '7_clear.png'),
        (r'scene(\d+)_\d', 'scene12_3.png', '12.png'),
        (r'(.+)_\w+', 'a_1_x.png', 'a_1.png'),
    ],
)
def test_the_group_of_a_pairing_is_the_scene(pairing, hazy, clear):
    assert pair_names([hazy], [clear], layout_from_regex(pairing)) == [(hazy, clear)]


@pytest.mark.parametrize(
    ('template', 'hazy', 'clear'),
    [('{}', 'a.1.png', 'a.1.jpg'), ('{}x2', 'ax2.png', 'a.png'), ('hazy_{}', 'hazy_a b.png', 'a b.tif')],
)
def test_a_template_makes_the_hazy_stem_from_the_clear_one(template, hazy, clear):
    assert pair_names([hazy], [clear], layout_from_template(template)) == [(hazy, clear)]


def test_listed_clear_images_keep_their_order_and_bring_all_their_hazy_ones():
    hazy = ['1_2.png', '1_1.png', '2_1.png', '3_1.png', 'cover.png']
    assert pair_listed(hazy, ['2.png', '1.png'], get_layout('sots_indoor')) == [
        ('2_1.png', '2.png'),
        ('1_1.png', '1.png'),
        ('1_2.png', '1.png'),
    ]


@pytest.mark.parametrize(
    ('hazy', 'clear', 'near', 'rule'),
    [
        (['12_rain.png', '7_fog.png'], ['7.png', '12.png'], '12.png', r"`pairing: '(\d+)_.*'` pairs all 2"),
        (['a hazy.jpg', 'b hazy.jpg'], ['a GT.jpg', 'b GT.jpg'], 'a GT.jpg', r"`pairing: '(.+)(?:hazy|GT)'` pairs all"),
        (['hazy-a.png', 'hazy-b.png'], ['b.png', 'a.png'], 'a.png', "`pairing: '(?:hazy\\-)(.+)'` pairs all 2"),
    ],
)
def test_names_that_do_not_pair_come_with_the_nearest_and_a_rule_that_works(hazy, clear, near, rule):
    with pytest.raises(InputError) as caught:
        pair_names(hazy, clear, SAME)
    assert f'nearest name is {near};' in str(caught.value)
    assert rule in str(caught.value)


def test_no_rule_is_made_up_where_none_pairs_all():
    with pytest.raises(InputError) as caught:
        pair_names(['1_a.png', 'unlike.png'], ['1.png'], SAME)
    assert 'pairs all' not in str(caught.value)


def test_accents_pair_however_they_are_written():
    template = layout_from_template('{}_1')
    assert pair_names(['Bu\u0308hne_1.png'], ['B\u00fchne.png'], template) == [('Bu\u0308hne_1.png', 'B\u00fchne.png')]


SAME = layout_from_template('{}')
SOTS = LAYOUTS['sots_indoor']


@pytest.mark.parametrize(
    ('action', 'parts'),
    [
        (
            lambda: pair_names(['1_1.png', 'z.png', 'x.png'], ['1.png'], SOTS),
            ['x.png is not', '2 of 3', SOTS.rule, 'layout'],
        ),
        (
            lambda: pair_names(['2_1.png', '1_1.png'], ['1.png'], SOTS),
            ["2_1.png has no clear image of the scene '2'", '1 of 2', SOTS.rule, 'add'],
        ),
        (lambda: pair_names(['a.png'], ['a.png', 'a.jpg'], SAME), ['a.png has several', 'a.png, a.jpg', 'equal stems']),
        (lambda: pair_listed(['1_1.png'], ['2.png'], SOTS), ['2.png is listed', 'no hazy', SOTS.rule]),
        (lambda: get_layout('SOTS-indor'), ["'SOTS-indor'", 'did you mean sots_indoor', 'nh_haze', 'pairing']),
        (lambda: get_layout(['its']), ['its', 'known']),
        (lambda: layout_from_regex(r'\d+_hazy'), ['0 groups', 'parentheses']),
        (lambda: layout_from_regex(r'(\d+)_(hazy)'), ['2 groups', '(?:']),
        (lambda: layout_from_regex(r'(\d+'), ['not a regular expression']),
        (lambda: layout_from_template('hazy'), ["'hazy'", '{}']),
        (lambda: layout_from_template('{}_{}'), ["'{}_{}'", '{}']),
    ],
)
def test_a_mistake_is_named_with_its_rule_and_cure(action, parts):
    with pytest.raises(InputError) as caught:
        action()
    assert [part for part in parts if part not in str(caught.value)] == []
    assert '\n' not in str(caught.value)
