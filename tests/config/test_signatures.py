"""Classes and functions of other plugins: what their signatures, hints and docstrings say becomes their block."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Len
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
from pydantic import BaseModel, Field
from torch import Tensor, nn

from okdnet_plugin.config import check
from okdnet_plugin.config.docstrings import arguments_of, summary_of
from okdnet_plugin.config.keys import block_of
from okdnet_plugin.config.signatures import block_of_arguments
from okdnet_plugin.config.types import described


class Hinted(nn.Module):
    """A network. It is made for this test.

    Args:
        width: channels at full size; doubled below.
        depths: blocks of each stage.
        mode: how it is done.
        scales: factor by name.
        size: height and width.
    """

    def __init__(
        self,
        width: int,
        depths: Sequence[int] = (1, 2),
        mode: Literal['a', 'b'] = 'a',
        scales: Mapping[str, float] | None = None,
        size: tuple[int, int] = (1, 1),
        rate: float | Tensor = 0.1,
        path: str | None = None,
        bias: bool = True,
        act: type[nn.Module] = nn.ReLU,
    ):
        super().__init__()


class Documented(nn.Module):
    """A network without hints.

    Args:
        num_feat (int): Channels. Default: 64.
        res_scale (float): Scale of residuals,
            as in the paper. More.
        names (list[str]): Names.
        kernel (int | tuple): Size.
        path (str, optional): File.
    """

    def __init__(self, num_feat=64, res_scale=1, names=('a',), kernel=3, mode='x', path=None, bias=True, **kwargs):
        super().__init__()


def expected(block):
    return {name: described(key.annotation) for name, key in block.keys.items()}


def test_hints_become_types():
    block = block_of_arguments('Hinted', Hinted, 'network')
    assert expected(block) == {
        'width': 'a whole number',
        'depths': 'a list, each a whole number',
        'mode': 'one of a, b',
        'scales': 'a block of keys and values',
        'size': 'a list of 2, each a whole number',
        'rate': 'a number',
        'path': 'a string (quote numbers)',
        'bias': 'true or false',
        'act': 'a value',
    }
    assert [name for name, key in block.keys.items() if key.needed] == ['width']
    assert block.keys['width'].says == 'channels at full size; doubled below'
    assert not block.is_open


def test_defaults_stand_for_hints():
    block = block_of_arguments('Documented', Documented, 'network')
    assert expected(block) == {
        'num_feat': 'a number or a list',
        'res_scale': 'a number or a list',
        'names': 'a list',
        'kernel': 'a number or a list',
        'mode': 'a string (quote numbers)',
        'path': 'a value',
        'bias': 'true or false',
    }
    assert block.is_open
    assert block.keys['res_scale'].says == 'Scale of residuals, as in the paper'


class Heir(Documented):
    """What its parent is, by another name."""


def test_arguments_that_a_class_says_nothing_of_are_as_its_parent_says():
    assert arguments_of(Heir)['kernel'] == arguments_of(Documented)['kernel']
    assert summary_of(Heir) == 'What its parent is, by another name'


def test_docstrings_are_read_by_their_first_sentence():
    assert summary_of(Hinted) == 'A network'
    assert arguments_of(Documented)['res_scale'] == 'Scale of residuals, as in the paper'
    assert summary_of(type('Bare', (Hinted,), {})) == ''


@pytest.fixture
def registered(monkeypatch):
    def put(registry, thing):
        monkeypatch.setitem(registry._obj_map, thing.__name__, thing)
        thing.__module__ = 'another_plugin'

    return put


def told(options):
    return [str(mistake) for mistake in check.check(options, phase='train', look=False)]


def test_network_of_another_plugin_is_held_against_its_signature(train_options, registered):
    registered(ARCH_REGISTRY, Hinted)
    train_options['network_g'] = {'type': 'Hinted', 'widht': 8, 'depths': [1, 'x'], 'bias': 1, 'act': None}
    assert told(train_options) == [
        'option network_g:widht: Hinted has no such argument (did you mean width?); it has width, depths, mode, '
        'scales, size, rate, path, bias, act',
        "option network_g:depths:1 is 'x'; write a whole number",
        'option network_g:bias is 1; write true or false',
        'option network_g:width is missing; Hinted has no default for it',
    ]
    train_options['network_g'] = {'type': 'Hinted', 'width': 8, 'scales': {'a': 1}, 'size': [1, 2], 'rate': 1}
    assert told(train_options) == []


def test_a_limit_outside_a_union_is_told(train_options, registered):
    class Limited(nn.Module):
        def __init__(self, sizes: Annotated[list[int] | None, Len(2, 2)] = None):
            super().__init__()

    registered(ARCH_REGISTRY, Limited)
    train_options['network_g'] = {'type': 'Limited', 'sizes': [1, 2, 3]}
    (line,) = told(train_options)
    assert line.startswith('option network_g:sizes is [1, 2, 3]; write a list')


def test_what_a_loss_declares_goes_before_what_is_known_of_losses(train_options, registered):
    class Layered(nn.Module):
        def __init__(self, layer_weights: list[float] = (1.0, 0.5), gan_type: Literal['a', 'b'] = 'a'):
            super().__init__()

    registered(LOSS_REGISTRY, Layered)
    train_options['train']['pixel_opt'] = {'type': 'Layered', 'layer_weights': [1.0, 0.2], 'gan_type': 'c'}
    assert told(train_options) == ["option train:pixel_opt:gan_type is 'c'; write one of a, b"]


def test_options_may_have_other_metadata_of_pydantic():
    class Options(BaseModel):
        width: int = Field(3, json_schema_extra={'examples': [4]})
        depth: int = Field(json_schema_extra=lambda schema: None)

    keys = block_of(Options).keys
    assert [bool(keys[name].needed) for name in ('width', 'depth')] == [False, True]


def test_unknown_keys_of_what_takes_any_are_accepted_unless_they_are_near_a_known_one(train_options, registered):
    registered(ARCH_REGISTRY, Documented)
    train_options['network_g'] = {'type': 'Documented', 'anything': 1, 'num_feat2': 3, 'lots': {'x': '1e-4'}}
    assert told(train_options) == [
        "option network_g:lots:x is the text '1e-4' to YAML; write 0.0001, or a point before the exponent"
    ]
    train_options['network_g'] = {'type': 'Documented', 'res_scael': 1}
    (line,) = told(train_options)
    assert line.startswith('warning: option network_g:res_scael: nothing is known to read it (did you mean res_scale?)')


def test_data_set_of_another_plugin_may_read_any_key(train_options, registered):
    class OwnDataset:
        def __init__(self, opt):
            self.opt = opt

    registered(DATASET_REGISTRY, OwnDataset)
    train_options['datasets']['train'] |= {'type': 'OwnDataset', 'anything': [1], 'secret': 'x'}
    assert told(train_options) == []
    train_options['datasets']['train'] |= {'batch_size_per_gpu': 'two', 'pin_memroy': True}
    lines = told(train_options)
    assert lines == [
        "option datasets:train:batch_size_per_gpu is 'two'; write a whole number from 1 to 65536",
        'warning: option datasets:train:pin_memroy: nothing is known to read it (did you mean pin_memory?); '
        'correct it, if so',
    ]


def test_metric_of_another_plugin_with_keywords_may_read_any_key(train_options, registered):
    def calculate_own(img: Any, img2: Any, strength: float = 1.0, **kwargs: object) -> float:
        return strength

    registered(METRIC_REGISTRY, calculate_own)
    train_options['val']['metrics'] = {'own': {'type': 'calculate_own', 'extra': 'x', 'strength': 2}}
    assert told(train_options) == []
    train_options['val']['metrics']['own']['strength'] = 'x'
    assert told(train_options) == ["option val:metrics:own:strength is 'x'; write a number"]


def test_model_of_another_plugin_may_read_any_key_beside_those_of_its_parents(train_options, registered):
    class OwnModel(SRModel):
        pass

    registered(MODEL_REGISTRY, OwnModel)
    train = train_options['train']
    del train['ssim_opt'], train['distill_opt']
    train_options |= {'model_type': 'OwnModel', 'own_key': 1, 'network_x': {'type': 'AODNet'}}
    train |= {'own_loss': {'type': 'Own', 'weight': 1}, 'pixel_opt2': {'type': 'L1Loss'}}
    train_options['path'] |= {'pretrain_network_x': None}
    assert told(train_options) == []
    train['ema_decya'] = train.pop('ema_decay')
    train_options['network_x']['biass'] = 2
    lines = told(train_options)
    assert len(lines) == 2
    assert 'option network_x:biass: AODNet has no such argument (did you mean bias?); it has num_feat, bias' in lines
    assert (
        'warning: option train:ema_decya: nothing is known to read it (did you mean ema_decay?); correct it, if so'
        in lines
    )
