"""What is listed: whose each object is, what it takes, and what is said of a name that is not there."""

import inspect

import pytest
from basicsr.utils.registry import LOSS_REGISTRY

from okdnet_plugin import __version__, listing
from okdnet_plugin.config.registered import KINDS
from okdnet_plugin.errors import InputError

pytest_plugins = ['made_distribution']

PLUGIN = '''
from basicsr.utils.registry import LOSS_REGISTRY

def register():
    if 'MadeLoss' not in LOSS_REGISTRY:
        @LOSS_REGISTRY.register()
        class MadeLoss:
            """A made loss, for nothing.

            Args:
                weight: of it.
            """
            def __init__(self, weight=1.5, *, power: int = 2):
                pass
'''


@pytest.fixture
def _clean():
    yield
    LOSS_REGISTRY._obj_map.pop('MadeLoss', None)


@pytest.fixture(scope='module')
def entries():
    return listing.load()[0]


def test_each_registered_object_is_listed_with_its_plugin(entries):
    by_name = {(entry.kind, entry.name): entry for entry in entries}
    for kind, registry in KINDS.items():
        assert {name for name, _ in registry} == {name for of_kind, name in by_name if of_kind == kind}
    assert str(by_name['arch', 'OKDNet'].plugin) == f'okdnet (okdnet_plugin {__version__})'
    assert by_name['arch', 'EDSR'].plugin.name == 'basicsr'
    assert by_name['loss', 'SSIMLoss'].plugin.name == 'okdnet'


def test_arguments_come_from_the_signature_and_the_summary_is_its_own(entries):
    entry = listing.entry_of(entries, 'arch', 'OKDNet')
    assert [parameter.name for parameter in entry.parameters] == list(inspect.signature(entry.object).parameters)
    assert entry.summary == 'Online knowledge distillation network for single image dehazing'
    without = listing.entry_of(entries, 'model', 'SwinIRModel')
    assert without.object.__doc__ is None
    assert without.summary == ''


def test_metric_is_listed_without_the_images_that_basicsr_gives_it(entries):
    names = [parameter.name for parameter in listing.entry_of(entries, 'metric', 'calculate_loe').parameters]
    assert 'variant' in names
    assert not {'img', 'img2', 'lq'} & set(names)


@pytest.mark.parametrize(
    ('name', 'some'),
    [
        ('PairedDehazeDataset', {'dataroot_lq', 'layout', 'gt_size', 'on_error', 'mean'}),
        ('SingleDehazeDataset', {'recursive', 'resize'}),
        ('MixedDataset', {'parts', 'epoch_length'}),
    ],
)
def test_keys_of_a_data_set_have_a_meaning(entries, name, some):
    keys = listing.entry_of(entries, 'data', name).option_keys
    assert some <= keys.keys()
    assert all(keys.values())


def test_name_may_be_written_as_option_files_write_it(entries):
    assert listing.entry_of(entries, 'arch', 'SRVGGNetCompact').name == 'SRVGGNetCompact_basicsr'


@pytest.mark.parametrize(
    ('kind', 'name', 'message'),
    [
        ('arch', 'OKDNett', "no arch 'OKDNett' (did you mean OKDNet"),
        ('loss', 'OKDNet', 'basicsr list arch OKDNet'),
    ],
)
def test_unknown_name_gets_the_near_one_or_its_kind(entries, kind, name, message):
    with pytest.raises(InputError) as raised:
        listing.entry_of(entries, kind, name)
    assert message in str(raised.value)


def test_unknown_plugin_gets_the_near_one(entries):
    with pytest.raises(InputError, match='did you mean okdnet'):
        listing.of_plugin(entries, 'okdent')
    assert {entry.plugin.name for entry in listing.of_plugin(entries, 'okdnet_plugin')} == {'okdnet'}


@pytest.mark.usefixtures('_clean')
def test_other_plugin_owns_what_it_registers_and_a_broken_one_does_not_keep_it_from_that(distribution):
    distribution('made_plugin', PLUGIN, '[basicsr.plugins]\nmade = made_plugin:register\n')
    distribution('broken_plugin', 'import not_there\n', '[basicsr.plugins]\nbroken = broken_plugin:register\n')
    distribution('leaving_plugin', 'raise SystemExit(3)\n', '[basicsr.plugins]\nleaving = leaving_plugin:register\n')
    entries, broken = listing.load()
    made = listing.entry_of(entries, 'loss', 'MadeLoss')
    assert str(made.plugin) == 'made (made_plugin 2.5)'
    assert made.summary == 'A made loss, for nothing'
    assert [str(parameter) for parameter in made.parameters] == ['weight=1.5', 'power: int = 2']
    by_name = {plugin.name: error for plugin, error in broken.items()}
    assert by_name.keys() == {'broken', 'leaving'}
    assert isinstance(by_name['broken'], ModuleNotFoundError)
    assert isinstance(by_name['leaving'], SystemExit)
