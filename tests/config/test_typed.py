"""Values of the command line read as the types that are expected."""

import pytest

from conftest import write_options
from okdnet_plugin import config
from okdnet_plugin.config import check
from okdnet_plugin.config.typed import typed
from okdnet_plugin.errors import InputError


@pytest.mark.parametrize(
    ('keys', 'text', 'value'),
    [
        ('train.optim_g.lr', '5e-4', 5e-4),
        ('train.optim_g.lr', '1', 1),
        ('train.optim_g.betas', '[0.9, 0.99]', [0.9, 0.99]),
        ('train.optim_g', '{type: SGD, lr: 1e-2}', {'type': 'SGD', 'lr': 0.01}),
        ('train.total_iter', '1e4', 1e4),
        ('train.grad_clip', '~', None),
        ('name', '123', '123'),
        ('name', '007', '007'),
        ('name', '1e3', '1e3'),
        ('name', 'true', 'true'),
        ('name', '[x', '[x'),
        ('val.suffix', '~', None),
        ('val.suffix', '5', '5'),
        ('val.suffix', 'null', None),
        ('path.pretrain_network_g', '/a/b #c.pth', '/a/b #c.pth'),
        ('path.pretrain_network_g', '#c.pth', '#c.pth'),
        ('path.pretrain_network_g', '"/a/b" #c', '/a/b'),
        ('val.save_img', 'false', False),
        ('amp', 'off', False),
        ('amp', 'bf16', 'bf16'),
        ('num_gpu', 'auto', 'auto'),
        ('num_gpu', '2', 2),
        ('network_g.gate', 'none', 'none'),
        ('datasets.train.dataroot_lq', '/data/1', '/data/1'),
        ('logger.wandb.resume_id', '77', '77'),
        ('dist_params.port', '29501', 29501),
        ('nothing.knows.this', '5e-4', 5e-4),
        ('nothing.knows.this', '[1, x]', [1, 'x']),
    ],
)
def test_text_becomes_what_is_expected(train_options, keys, text, value):
    path = keys.split('.')
    block = train_options
    for key in path[:-1]:
        block = block.setdefault(key, {})
    block[path[-1]] = text
    found = typed(train_options, path, text)
    assert found == value
    assert type(found) is type(value)


def test_item_of_a_list_has_the_type_of_items(train_options):
    assert typed(train_options, ['train', 'scheduler', 'milestones', 0], '2') == 2


def test_text_that_does_not_fit_is_left_to_the_check(tmp_path, train_options):
    wrong = {
        'train.optim_g.lr=fast': "is 'fast'; write a number from 0",
        'train.optim_g.betas=0.9': 'is 0.9; write a list',
        'train.scheduler.milestones.0=x': "is 'x'; write a whole number from 0",
        'train.total_iter=2.5': 'is 2.5; write a whole number from 1',
        'val.save_img=1': 'is 1; write true or false',
        'network_g.gate=sofmax': "is 'sofmax' (did you mean softmax?); write one of none, softmax",
        'logger=3': 'is 3; write a block of keys and values',
    }
    opt, places = config.load_with_places(write_options(tmp_path / 'o.yml', train_options), list(wrong))
    lines = [str(mistake) for mistake in check.check(opt, places, look=False)]
    for override, message in wrong.items():
        key = override.partition('=')[0]
        assert any(line.startswith(f'--set {key}: option {key.replace(".", ":")} {message}') for line in lines), lines
    assert len(lines) == len(wrong)


def test_what_is_no_yaml_is_refused(train_options):
    with pytest.raises(InputError, match='the value'):
        typed(train_options, ['train', 'optim_g', 'betas'], '[0.9')


def test_option_file_reads_overrides_by_type(tmp_path):
    (tmp_path / 'o.yml').write_text('name: a\ntrain: {total_iter: 4, optim_g: {type: Adam, lr: 0.1}}\n')
    opt = config.load(str(tmp_path / 'o.yml'), ['name=5', 'train.optim_g.lr=5e-4'])
    assert opt['name'] == '5'
    assert opt['train']['optim_g']['lr'] == 5e-4
