"""`basicsr dehaze` as it is typed: what goes where, what is kept, and what happens when something is wrong."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from PIL import Image, PngImagePlugin
from torch import nn

from conftest import basicsr_of_ranks
from okdnet_plugin import cli
from okdnet_plugin import files as result_files
from okdnet_plugin.inference import run_jobs as run
from okdnet_plugin.inference.dehazer import Dehazer
from okdnet_plugin.inference.images import kinds, pipeline
from okdnet_plugin.inference.images.reading import OpenedImage
from okdnet_plugin.inference.jobs import Job

OKDNET = {'type': 'OKDNet', 'num_feat': 8, 'num_blocks': [1, 1, 1], 'growth': 4}
DCP = ['--network', 'DCP']


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def okdnet(tmp_path):
    """Options that name a small network with weights."""
    torch.save({'params': build_network(OKDNET).state_dict()}, tmp_path / 'net.pth')
    (tmp_path / 'net.yml').write_text(yaml.safe_dump({'name': 'small', 'network_g': OKDNET}))
    return ['-w', 'net.pth', '--opt', 'net.yml', '--backend', 'eager']


def random(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def image(path, *shape, **options):
    """Noise behind haze."""
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    Image.fromarray(random(*(shape or (24, 32, 3))) // 2 + 120).save(path, **options)


def content_of(path):
    with open(path, 'rb') as file:
        return file.read()


def read(path):
    return OpenedImage(path, path, 100).load().pixels


def files(folder='out'):
    return sorted(
        os.path.relpath(os.path.join(root, name), folder) for root, _, names in os.walk(folder) for name in names
    )


def dehaze(*arguments):
    return cli.main(['dehaze', *arguments])


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_files_folders_and_patterns_go_below_the_output_folder(capsys):
    for path in ('in/a.png', 'in/deep/er/b.jpg', 'in/notes.txt.png', 'c[1].bmp', 'x1.webp', 'x2.webp'):
        image(path)
    (open('in/readme.txt', 'w')).close()
    assert dehaze('-i', 'in', 'c[1].bmp', '-i', 'x?.webp', '-o', 'out', *DCP) == 0
    assert files() == ['a.png', 'c[1].bmp', 'deep/er/b.jpg', 'notes.txt.png', 'x1.webp', 'x2.webp']
    assert capsys.readouterr().out.startswith('6 of 6 files dehazed')
    assert not np.array_equal(read('out/a.png'), read('in/a.png'))


def test_an_output_inside_the_input_is_not_an_input():
    image('in/a.png')
    assert dehaze('-i', 'in', '-o', 'in/out', *DCP) == 0
    assert dehaze('-i', 'in', '-o', 'in/out', *DCP, '--overwrite') == 0
    assert files('in') == ['a.png', 'out/a.png']


def test_one_input_may_go_to_one_file():
    image('a.png')
    assert dehaze('-i', 'a.png', '-o', 'new/b.jpg', *DCP) == 0
    assert Image.open('new/b.jpg').format == 'JPEG'


def test_suffix_and_format_name_the_results():
    image('a.png')
    image('b.gif')
    assert dehaze('-i', 'a.png', '-o', 'out', *DCP, '--suffix', '_clear', '--format', 'webp') == 0
    assert dehaze('-i', 'b.gif', '-o', 'out', *DCP) == 0
    assert files() == ['a_clear.webp', 'b.png']


def test_what_is_there_is_passed_over_unless_it_is_to_be_replaced(capsys):
    image('in/a.png')
    image('in/b.png')
    assert dehaze('-i', 'in/a.png', '-o', 'out', *DCP) == 0
    made = os.stat('out/a.png').st_ino
    assert dehaze('-i', 'in', '-o', 'out', *DCP) == 0
    assert '1 were there already' in capsys.readouterr().out
    assert (os.stat('out/a.png').st_ino, files()) == (made, ['a.png', 'b.png'])
    assert dehaze('-i', 'in', '-o', 'out', *DCP, '--overwrite') == 0
    assert os.stat('out/a.png').st_ino != made


def test_a_result_is_not_replaced_for_what_is_missing_beside_it():
    image('a.png')
    assert dehaze('-i', 'a.png', '-o', 'out', *DCP) == 0
    made = content_of('out/a.png')
    assert dehaze('-i', 'a.png', '-o', 'out', *DCP, '--strength', '0.3', '--compare') == 0
    assert (content_of('out/a.png'), files()) == (made, ['a.png'])


def test_results_in_the_folder_of_the_inputs_are_no_inputs_when_it_goes_on(capsys):
    image('in/a.png')
    image('in/a_x_x.png')  # somebody's own, in spite of its name
    command = ['-i', 'in', '-o', 'in', *DCP, '--suffix', '_x', '--compare']
    assert dehaze(*command) == 0
    made = files('in')
    assert made == ['a.png', 'a_x.png', 'a_x_compare.png', 'a_x_x.png', 'a_x_x_x.png', 'a_x_x_x_compare.png']
    image('in/b.png')
    capsys.readouterr()
    assert dehaze(*command) == 0
    assert files('in') == sorted([*made, 'b.png', 'b_x.png', 'b_x_compare.png'])
    out = capsys.readouterr().out
    assert out.startswith('1 of 3 files dehazed')
    assert '2 were there already' in out
    before = {name: content_of(f'in/{name}') for name in files('in')}
    assert dehaze(*command, '--overwrite') == 2  # any of them may be somebody's own
    assert {name: content_of(f'in/{name}') for name in files('in')} == before


def test_an_unforeseen_error_in_a_video_lets_the_others_go_on(monkeypatch, capsys):
    for name in ('in/a.mp4', 'in/b.mp4'):
        os.makedirs('in', exist_ok=True)
        (open(name, 'w')).close()
    seen = []

    def fail_first(source, *_, **__):
        seen.append(source)
        if len(seen) == 1:
            raise RuntimeError('a decoder\nhas failed')

    monkeypatch.setattr(run, 'dehaze_video', fail_first)
    assert dehaze('-i', 'in', '-o', 'out', *DCP) == 1
    assert seen == ['in/a.mp4', 'in/b.mp4']
    assert 'basicsr: error: in/a.mp4: RuntimeError: a decoder has failed' in lines(capsys)


def test_maps_of_a_video_are_refused_and_beside_images_told_of(monkeypatch, capsys):
    image('in/a.png')
    open('in/b.mp4', 'w').close()
    done = []
    monkeypatch.setattr(run, 'dehaze_video', lambda source, *_, **__: done.append(source))
    assert dehaze('-i', 'in/b.mp4', '-o', 'b.mp4', '--save-transmission', '--save-airlight') == 2
    assert lines(capsys) == [
        'basicsr: error: --save-transmission, --save-airlight: maps are of images, not of videos; leave that out'
    ]
    assert not done
    weights = {'params': build_network(dict(OKDNET)).state_dict()}
    torch.save(weights, 'net.pth')
    assert dehaze('-i', 'in', '-o', 'out', '-w', 'net.pth', '--backend', 'eager', '--save-airlight') == 0
    assert 'note: --save-airlight: maps are of images, not of videos as in/b.mp4' in capsys.readouterr().err
    assert done == ['in/b.mp4']


@pytest.mark.parametrize('name', ['same', 'symlink', 'hardlink', 'folder'])
def test_an_input_is_never_written_over_whatever_it_is_called(name, capsys):
    image('in/a.png')
    content = content_of('in/a.png')
    output = 'in'
    if name != 'same':
        output = 'out'
        if name == 'folder':
            os.symlink('in', 'out')
        else:
            os.mkdir('out')
            (os.symlink if name == 'symlink' else os.link)(os.path.abspath('in/a.png'), 'out/a.png')
    assert dehaze('-i', 'in/a.png', '-o', output, *DCP, '--overwrite') == 2
    assert 'would be written over the input' in lines(capsys)[-1]
    assert content_of('in/a.png') == content


def test_an_input_among_several_is_not_written_over_by_the_result_of_another(capsys):
    image('in/a.png')
    image('in/a_compare.png')
    assert dehaze('-i', 'in', '-o', 'in', *DCP, '--suffix', '_x', '--compare', '--overwrite') == 0
    image('in/b.png')
    image('in/b_x.png')
    assert dehaze('-i', 'in/b.png', 'in/b_x.png', '-o', 'in', *DCP, '--suffix', '_x', '--overwrite') == 2
    assert 'in/b_x.png would be written over the input in/b_x.png' in lines(capsys)[-1]


@pytest.mark.parametrize(
    ('inputs', 'options', 'wanted'),
    [
        (['a/x.png', 'b/x.png'], [], ['x_png.png', 'x_png_2.png']),
        (['a', 'b'], [], ['x.jpg', 'x_png.png', 'x_png_2.png']),
        (['a/x.png', 'a/x.jpg'], ['--format', 'png'], ['x_jpg.png', 'x_png.png']),
        (['a', 'a/x_jpg.png'], ['--format', 'png'], ['x_jpg.png', 'x_jpg_2.png', 'x_png.png']),
    ],
)
def test_two_results_of_one_name_get_names_of_their_own(inputs, options, wanted):
    for path in ('a/x.png', 'b/x.png', 'a/x.jpg', *inputs[1:]):
        if path.endswith(('png', 'jpg')):
            image(path)
    assert dehaze('-i', *inputs, '-o', 'out', *DCP, *options) == 0
    assert files() == wanted
    before = {name: os.stat(f'out/{name}').st_mtime_ns for name in wanted}
    assert dehaze('-i', *inputs, '-o', 'out', *DCP, *options) == 0  # they are found again
    assert {name: os.stat(f'out/{name}').st_mtime_ns for name in files()} == before


def test_patterns_below_a_folder_with_brackets_find_its_files():
    image('d[1-3]/a.png')
    assert dehaze('-i', 'd[1-3]/*.png', '-o', 'out', *DCP) == 0
    assert files() == ['a.png']


@pytest.mark.parametrize('ending', ['gif', 'ppm', 'pgm', 'tga', 'avif', 'jp2'])
def test_kinds_that_are_read_alone_are_read_in_folders_too(ending):
    if f'.{ending}' not in kinds.endings():
        pytest.skip('this Pillow is built without it')
    image('in/a.png')
    Image.open('in/a.png').convert('L' if ending == 'pgm' else 'RGB').save(f'in/b.{ending}')
    assert dehaze('-i', 'in', '-o', 'out', *DCP) == 0
    assert files() == ['a.png', 'b.png']


def test_images_that_nothing_reads_are_counted_and_named(capsys, monkeypatch):
    image('in/a.png')
    for name in ('b.cr2', 'c.cr2', 'd.heic', 'notes.txt'):
        (open(f'in/{name}', 'w')).close()
    monkeypatch.setattr(kinds, 'readable', lambda: {'PNG': ('.png',)})
    assert dehaze('-i', 'in', '-o', 'out', *DCP) == 0
    (line,) = [line for line in lines(capsys) if 'left out' in line]
    assert '3 files left out: 2 .cr2 (save it as' in line
    assert '1 .heic (pip install okdnet_plugin[heif]' in line
    os.remove('in/a.png')
    assert dehaze('-i', 'in', '-o', 'out', *DCP) == 2
    assert '3 files left out' in lines(capsys)[-1]
    with open('in/d.heic', 'wb') as file:
        file.write(b'\0\0\0\x18ftypheic')
    assert dehaze('-i', 'in/d.heic', '-o', 'out', *DCP) == 1
    assert '.heic is not read here; pip install okdnet_plugin[heif]' in '\n'.join(lines(capsys))


def test_png_with_large_texts_and_profiles_is_no_damaged_one():
    texts = PngImagePlugin.PngInfo()
    texts.add_text('Comment', 'x' * 3_000_000, zip=True)
    texts.add_itxt('Other', 'y' * 3_000_000, zip=True)
    Image.fromarray(random(20, 30, 3)).save('a.png', pnginfo=texts, icc_profile=bytes(3_000_000))
    before = PngImagePlugin.MAX_TEXT_CHUNK
    assert dehaze('-i', 'a.png', '-o', 'out', *DCP) == 0
    assert cv2.imread('out/a.png').shape == (20, 30, 3)
    assert before == PngImagePlugin.MAX_TEXT_CHUNK


@pytest.mark.parametrize('name', ['a.png', 'a.mp4'])
def test_a_pipe_or_device_is_refused_and_not_waited_for(name, capsys):
    if name.endswith('mp4'):
        pytest.importorskip('av', '18', reason='no PyAV 18')
    os.mkfifo(name)
    os.symlink('/dev/zero', f'link_{name}')
    assert dehaze('-i', name, f'link_{name}', '-o', 'out', *DCP) == 1
    said = '\n'.join(lines(capsys))
    assert f'{name} is a named pipe' in said
    assert f'link_{name} is a device' in said


@pytest.mark.parametrize(
    ('arguments', 'complaint'),
    [
        (['-i', 'none.png', '-o', 'out', *DCP], 'there is no none.png'),
        (['-i', '*.tif', '-o', 'out', *DCP], 'no file matches *.tif'),
        (['-i', 'empty', '-o', 'out', *DCP], 'there are no images in empty'),
        (['-i', 'a.png', '-o', 'file', *DCP], 'output file is a file; give a folder'),
        (['-i', 'a.png', 'b.png', '-o', 'c.png', *DCP], 'output c.png names one file, but there are 2 inputs'),
        (['-i', 'a.png', '-o', 'c.png', '--format', 'jpg', *DCP], 'contradict each other'),
        (['-i', 'a.png', '-o', 'c.gif', *DCP], 'output c.gif: .gif is not written'),
        (['-i', 'a.png', '-o', 'clear.avi', *DCP], 'output clear.avi: .avi is not written'),
        (['-i', 'a.png', '-o', 'out', *DCP, '--device', 'xpu'], "device is 'xpu'"),
        (['-i', 'a.png', 'b.png', '-o', '-', *DCP], 'the standard output takes one image'),
        (['-i', 'a.png', '-o', 'out', '--network', 'OKDNet'], 'OKDNet has weights to load'),
        (['-i', 'a.png', '-o', 'out', '--network', 'DPC'], 'DPC'),
        (['-i', 'a.png', '-o', 'out', *DCP, '--strength', '2'], 'strength is 2.0'),
        (['-i', 'a.png', '-o', 'out', *DCP, '--save-transmission'], 'DCP gives no transmission'),
        (['-i', 'a.png', '-o', 'out', *DCP, '--save-depth'], 'DCP gives no depth'),
        (['-i', 'a.png', '-o', 'out', '-w', 'none.pth'], 'none.pth'),
        (['-i', 'a.png', '-o', 'out', '-w', 'a.png'], 'a.png'),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, complaint, capsys):
    os.mkdir('empty')
    (open('file', 'w')).close()
    image('a.png')
    image('b.png')
    assert dehaze(*arguments) == 2
    (line,) = lines(capsys)
    assert line.startswith('basicsr: error: ')
    assert complaint in line
    assert not os.path.exists('out')


@pytest.mark.parametrize(
    'option', [['--tile', '64'], ['--tile', 'x'], ['--quality', '0'], ['--max-megapixels', '-1'], ['--suffix', 'a/b']]
)
def test_values_out_of_range_are_refused(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        dehaze('-i', 'a.png', '-o', 'out', *DCP, *option)
    assert stopped.value.code == 2
    assert f'argument {option[0]}' in capsys.readouterr().err


def test_files_that_fail_are_told_of_and_the_others_are_done(capsys):
    image('in/good.png')
    image('in/zoo.png')
    (open('in/empty.png', 'w')).close()
    with open('in/te\nxt.png', 'w') as file:
        file.write('hello')
    assert dehaze('-i', 'in', '-o', 'out', *DCP) == 1
    assert files() == ['good.png', 'zoo.png']
    said = lines(capsys)
    assert 'basicsr: error: in/empty.png is empty (0 bytes)' in said
    assert sum(line.startswith("basicsr: error: 'in/te\\nxt.png' cannot be decoded") for line in said) == 1
    assert said[-3] == 'failed:'
    assert said[-2] == '  in/empty.png is empty (0 bytes)'


@pytest.mark.parametrize(
    'name', ['a [b] (1) *.png', 'снимок 写真 📷.png', ' -x.png', 'new\nline.png', 'n' * 240 + '.png']
)
def test_names_may_be_anything(name):
    image(os.path.join('in', name))
    assert dehaze('-i', os.path.join('in', name), '-o', 'out', *DCP) == 0
    assert files() == [name]


def test_a_name_that_becomes_too_long_is_told_of_and_nothing_is_left(capsys):
    image('in/' + 'n' * 250 + '.png')
    image('in/z.png')
    assert dehaze('-i', 'in', '-o', 'out', *DCP, '--suffix', '_clear') == 1
    assert files() == ['z_clear.png']
    assert 'cannot be written: File name too long' in capsys.readouterr().err


def test_alpha_depth_grey_orientation_and_profile_are_kept(okdnet):
    os.mkdir('in')
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, 'Maker'
    image('in/turned.jpg', 24, 40, 3, exif=exif, dpi=(300, 300))
    image('in/alpha.png', 24, 40, 4)
    image('in/grey.png', 24, 40)
    cv2.imwrite('in/deep.png', random(24, 40, 3, dtype=np.uint16))
    cv2.imwrite('in/deep.tif', random(24, 40, 3, dtype=np.uint16))
    assert dehaze('-i', 'in', '-o', 'out', *okdnet) == 0
    with Image.open('out/turned.jpg') as turned:
        assert (turned.size, turned.getexif()[0x0112], turned.getexif()[0x010F]) == ((40, 24), 6, 'Maker')
        assert turned.info['dpi'] == (300, 300)
    assert np.array_equal(read('out/alpha.png')[..., 3], read('in/alpha.png')[..., 3])
    assert read('out/grey.png').shape == (24, 40)
    for name in ('deep.png', 'deep.tif'):
        result = read(f'out/{name}')
        assert (result.dtype, result.shape) == (np.uint16, (24, 40, 3))
        assert len(np.unique(result)) > 256


def test_the_network_sees_a_turned_image_upright(okdnet):
    upright, exif = random(24, 40, 3), Image.Exif()
    exif[0x0112] = 6
    os.mkdir('in')
    Image.fromarray(upright).save('in/upright.png')
    Image.fromarray(np.rot90(upright)).save('in/turned.png', exif=exif)
    assert dehaze('-i', 'in', '-o', 'out', *okdnet) == 0
    assert np.array_equal(read('out/turned.png'), read('out/upright.png'))


def test_depth_is_written_beside_the_result_in_one_piece_and_in_tiles(tmp_path):
    depth = {'num_feat': 4, 'growth': 4, 'num_blocks': [1, 1, 1, 1], 'bound': 'softplus'}
    network = {'type': 'DGDNet', 'depth': depth, 'fuse': {'dim': 4, 'depths': [1, 1]}}
    net = build_network(network).eval()
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    (tmp_path / 'net.yml').write_text(yaml.safe_dump({'name': 'small', 'network_g': network}))
    image('a.png', 130, 140, 3)
    given = ['-w', 'net.pth', '--opt', 'net.yml', '--backend', 'eager', '--save-depth']
    assert dehaze('-i', 'a.png', '-o', 'out', *given) == 0
    assert files() == ['a.png', 'a_depth.png', 'a_depth_raw.png']
    raw = read('out/a_depth_raw.png')
    assert (raw.dtype, raw.shape) == (np.uint16, (130, 140))
    hazy = torch.from_numpy(read('a.png').copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = net.depth_net(hazy)[0, 0].numpy()
    assert np.abs(raw / 65535 - expected).max() < 1e-4
    assert read('out/a_depth.png').shape == (130, 140, 3)
    assert dehaze('-i', 'a.png', '-o', 'tiles', *given, '--tile', '128') == 0
    assert read('tiles/a_depth_raw.png').shape == (130, 140)


def test_strength_0_gives_the_pixels_of_the_input():
    image('a.png', 24, 32, 4)
    assert dehaze('-i', 'a.png', '-o', 'out', *DCP, '--strength', '0') == 0
    assert np.array_equal(read('out/a.png'), read('a.png'))


def test_comparison_and_maps_are_written_beside_the_result(okdnet):
    image('a.png')
    options = ['--compare', '--save-transmission', '--save-airlight']
    assert dehaze('-i', 'a.png', '-o', 'out', *okdnet, *options) == 0
    assert files() == [
        'a.png', 'a_airlight.json', 'a_airlight.png', 'a_compare.png', 'a_transmission.png', 'a_transmission_raw.png',
    ]  # fmt: skip
    raw = read('out/a_transmission_raw.png')
    assert (raw.dtype, raw.shape) == (np.uint16, (24, 32))
    assert raw.min() >= 0.1 * 65535 - 1  # the network's t_min
    assert read('out/a_transmission.png').shape == (24, 32, 3)
    colour = json.loads(content_of('out/a_airlight.json'))['airlight']
    assert np.abs(read('out/a_airlight.png')[0, 0] - np.clip(colour, 0, 1) * 255).max() <= 1
    both = read('out/a_compare.png')
    assert np.array_equal(both[:, :32], read('a.png'))
    assert np.array_equal(both[:, -32:], read('out/a.png'))
    assert (both[:, 32:-32] == 255).all()
    assert both.shape[1] > 64


def test_weights_of_an_option_file_s_run_are_found(capsys, okdnet):
    os.makedirs('experiments/small/models')
    os.rename('net.pth', 'experiments/small/models/net_g_latest.pth')
    image('a.png')
    assert dehaze('-i', 'a.png', '-o', 'out', '--opt', 'net.yml', '--backend', 'eager') == 0
    assert os.path.join('experiments', 'small', 'models', 'net_g_latest.pth') in capsys.readouterr().err


def test_weights_that_would_run_code_do_not(tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'sprung'),)

    torch.save({'params': Trap()}, 'evil.pth')
    image('a.png')
    assert dehaze('-i', 'a.png', '-o', 'out', '-w', 'evil.pth') == 2
    (line,) = lines(capsys)
    assert 'evil.pth' in line
    assert not os.path.exists('sprung')


def test_weights_of_another_network_are_refused(okdnet, capsys):
    torch.save({'params': build_network({'type': 'AODNet'}).state_dict()}, 'net.pth')
    image('a.png')
    assert dehaze('-i', 'a.png', '-o', 'out', *okdnet) == 2
    (line,) = lines(capsys)
    assert 'AODNet' in line


def test_a_full_disk_is_told_of_and_nothing_half_is_left(monkeypatch, capsys):
    image('in/a.png')
    image('in/b.png')
    replace = os.replace

    def full(source, target):
        if target.endswith('a.png'):
            raise OSError(errno.ENOSPC, 'No space left on device')
        replace(source, target)

    monkeypatch.setattr(result_files.os, 'replace', full)
    assert dehaze('-i', 'in', '-o', 'out', *DCP) == 1
    assert files() == ['b.png']
    assert 'basicsr: error: out/a.png cannot be written: No space left on device' in lines(capsys)


def test_a_disk_that_takes_nothing_more_ends_the_work_after_some_files(monkeypatch, capsys):
    for number in range(60):
        image(f'in/{number:02}.png')
    replace = os.replace

    def full(source, target):
        if int(os.path.basename(target)[:2]) > 1:
            raise OSError(errno.EDQUOT, 'Disk quota exceeded')
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(result_files.os, 'replace', full)
        assert dehaze('-i', 'in', '-o', 'out', *DCP) == 1
    assert files() == ['00.png', '01.png']
    said = lines(capsys)
    assert 3 <= sum(line.startswith('basicsr: error: out/') for line in said) < 58
    assert any('the disk takes no more' in line and 'the same command goes on' in line for line in said)
    assert dehaze('-i', 'in', '-o', 'out', *DCP) == 0
    assert files() == files('in')


def test_an_image_that_memory_cannot_hold_is_refused_and_the_others_go_on(monkeypatch, capsys):
    Image.new('1', (8000, 5000)).save('large.png')
    image('small.png')
    monkeypatch.setattr(pipeline.memory, 'available', lambda device: 10**8)
    assert dehaze('-i', 'large.png', 'small.png', '-o', 'out', *DCP) == 1
    assert files() == ['small.png']
    assert any(
        'large.png is 8000x5000, which takes 0.2 GB of memory, and 0.1 GB are free' in line for line in lines(capsys)
    )


def test_part_of_the_work_that_fails_does_not_leave_the_others_waiting():
    for number in range(50):
        image(f'{number}.png')
        with open(f'{number}.png', 'rb+') as file:
            file.truncate(1000)  # the header is whole

    def tell(message, is_failure):
        raise RuntimeError('nobody listens')

    jobs = [Job(f'{number}.png', f'out/{number}.png') for number in range(50)]
    work = pipeline.Pipeline(Dehazer(nn.Identity(), backend='eager'), pipeline.Writing(), tell, lambda share: None)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work.run, jobs)
        try:
            assert str(done.exception(timeout=60)) == 'nobody listens'
        finally:
            work.stop()


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_that_may_not_be_written_to_is_told_of(capsys):
    image('a.png')
    os.mkdir('out', 0o500)
    assert dehaze('-i', 'a.png', '-o', 'out', *DCP) == 1
    assert 'Permission denied' in capsys.readouterr().err


def test_a_place_that_cannot_be_written_to_is_told_of(capsys):
    image('a.png')
    assert dehaze('-i', 'a.png', '-o', '/proc/none', *DCP) == 1
    assert '/proc/none/a.png cannot be written: ' in capsys.readouterr().err


@pytest.mark.parametrize(('shape', 'format'), [((1, 1, 3), 'png'), ((1, 5000, 3), 'png'), ((20_000, 2, 3), 'webp')])
def test_strange_sizes_are_kept_or_told_of(shape, format, capsys):
    image('a.png', *shape)
    code = dehaze('-i', 'a.png', '-o', 'out', *DCP, '--format', format)
    if format == 'webp':
        assert code == 1
        assert (
            'a.png becomes 2x20000, but WEBP holds at most 16383 px a side; use --format png' in capsys.readouterr().err
        )
    else:
        assert code == 0
        assert read('out/a.png').shape == shape


def test_a_larger_image_than_allowed_is_refused_until_the_limit_is_raised(capsys):
    image('a.png', 400, 500, 3)
    assert dehaze('-i', 'a.png', '-o', 'out', *DCP, '--max-megapixels', '0.1') == 1
    assert 'raise --max-megapixels' in capsys.readouterr().err
    assert dehaze('-i', 'a.png', '-o', 'out', *DCP, '--max-megapixels', '0.3', '--tile', '128') == 0
    assert read('out/a.png').shape == (400, 500, 3)


def test_standard_input_and_output_take_an_image(monkeypatch, capsysbinary):
    image('a.png')
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(content_of('a.png'))))
    assert dehaze('-i', '-', '-o', '-', *DCP) == 0
    said = capsysbinary.readouterr()
    assert Image.open(io.BytesIO(said.out)).size == (32, 24)
    assert b'1 of 1 file dehazed' in said.err
    assert b'\r' not in said.err  # no bar where there is no terminal


def test_what_is_no_image_may_come_from_the_standard_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(b'hello')))
    assert dehaze('-i', '-', '-o', 'out', *DCP) == 1
    assert 'the standard input cannot be decoded' in capsys.readouterr().err
    assert not os.path.exists('out')


def test_ctrl_c_leaves_whole_files_only_and_the_same_command_goes_on(capsys):
    for number in range(30):
        image(f'in/{number:02}.png', 300, 300, 3)
    process = subprocess.Popen(
        [sys.executable, '-m', 'okdnet_plugin', 'dehaze', '-i', 'in', '-o', 'out', *DCP],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {'OMP_NUM_THREADS': '1'},
    )
    until = time.monotonic() + 120
    while not (os.path.isdir('out') and any(name.endswith('.png') for name in os.listdir('out'))):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert b'Traceback' not in error
    assert b'the same command goes on' in error
    done = files()
    assert 0 < len(done) < 30
    for name in done:
        assert read(f'out/{name}').shape == (300, 300, 3)

    for number in range(len(done) + 1, 30):
        os.remove(f'in/{number:02}.png')
    assert dehaze('-i', 'in', '-o', 'out', *DCP) == 0
    assert files() == files('in')
    assert f'{len(done)} were there already' in capsys.readouterr().out


def test_four_processes_may_write_to_one_folder(tmp_path):
    for number in range(6):
        image(f'in/{number}.png')
    assert cli.main(['dehaze', '-i', 'in', '-o', 'alone', *DCP]) == 0
    everyone = [{} for _ in range(4)]
    done = basicsr_of_ranks('dehaze', '-i', 'in', '-o', 'out', *DCP, '--compare', cwd=tmp_path, environments=everyone)
    assert done.returncode == 0, done.stderr
    assert len(os.listdir('out')) == 12
    assert all(content_of(f'out/{name}') == content_of(f'alone/{name}') for name in os.listdir('alone'))
