"""A validation: threads measure and save beside the network, with the values and files of one image after another."""

import copy
import logging
import math
import threading

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.utils import get_root_logger
from basicsr.utils.registry import METRIC_REGISTRY

from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.inference.dehazer import Dehazer
from okdnet_plugin.models.validation import Validation

PATIENCE = 20  # seconds, for what comes at once unless it never comes


@pytest.fixture
def warnings():
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    get_root_logger().addHandler(handler)
    yield messages
    get_root_logger().removeHandler(handler)


@pytest.fixture
def made(model_options, tmp_path):
    """A function that gives a model of a training or a test, its loader and where its images go."""

    def make(is_train=True, metrics=None, name='images', **block):
        options = copy.deepcopy(model_options) | {'is_train': is_train, 'name': 'x'}
        options['path']['visualization'] = str(tmp_path / name)
        if metrics is not None:
            options['val']['metrics'] = metrics
        options['datasets']['val'] |= {'num_worker_per_gpu': 0, **block}
        if not is_train:
            options['datasets'] = {'test': options['datasets']['val'] | {'phase': 'test'}}
        torch.manual_seed(0)
        model = build_model(options)
        dataset = options['datasets']['val' if is_train else 'test']
        return model, build_dataloader(build_dataset(dataset), dataset), tmp_path / name

    return make


@pytest.fixture
def metric(monkeypatch):
    def register(function, name='calculate_own'):
        monkeypatch.setitem(METRIC_REGISTRY._obj_map, name, function)
        return {'own': {'type': name}}

    return register


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob('*.png'))}


@pytest.mark.parametrize('is_train', [True, False])
def test_threads_give_the_means_and_files_of_one_image_after_another(made, is_train, monkeypatch):
    outcomes = []
    for threads in (0, 3):
        monkeypatch.setattr(Validation, 'metric_threads', threads)
        model, loader, folder = made(is_train, name=f'with {threads}')
        model.validation(loader, 1, None, save_img=True)
        outcomes.append((model.metric_results, files(folder)))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][1]) == 8


def test_the_next_image_is_restored_while_the_one_before_is_measured(made, metric, monkeypatch):
    second_is_begun, begun = threading.Event(), []

    def own(img, **_):
        return float(second_is_begun.wait(PATIENCE))

    monkeypatch.setattr(Validation, 'metric_threads', 1)
    model, loader, _ = made(metrics=metric(own))
    test = model.test

    def noted():
        begun.append(1)
        if len(begun) == 2:
            second_is_begun.set()
        test()

    monkeypatch.setattr(model, 'test', noted)
    model.validation(loader, 1, None)
    assert model.metric_results == {'own': 1.0}


def test_a_metric_runs_in_a_thread_of_its_own(made, metric):
    threads = set()
    model, loader, _ = made(metrics=metric(lambda img, **_: threads.add(threading.get_ident()) or 1.0))
    model.validation(loader, 1, None)
    assert threads
    assert threading.get_ident() not in threads


def test_images_that_go_to_one_file_are_saved_in_their_order(made, monkeypatch):
    saved = []
    monkeypatch.setattr(Validation, 'metric_threads', 4)
    model, loader, folder = made(is_train=False, metrics={})
    monkeypatch.setattr(model, '_image_path', lambda *_: str(folder / 'one.png'))
    save = model._save_image

    def noted(images, path):
        save(images, path)
        saved.append(cv2.imread(path))
        np.testing.assert_array_equal(saved[-1], images['result'])

    monkeypatch.setattr(model, '_save_image', noted)
    model.validation(loader, 'x', None, save_img=True)
    assert len(saved) == 8
    assert not list(folder.glob('.*'))


def test_an_image_that_cannot_be_saved_ends_the_training_with_its_name(made, monkeypatch):
    def full(source, target):
        raise OSError(28, 'No space left on device')

    model, loader, _ = made()
    monkeypatch.setattr('os.replace', full)
    with pytest.raises(SaveError, match=r'1_1_0\.8_0\.png cannot be written: No space left on device'):
        model.validation(loader, 1, None, save_img=True)


# ------------------------------------------------------------------------------------------- metrics that have no value

BORDER = {'psnr': {'type': 'calculate_psnr', 'crop_border': 24, 'test_y_channel': False}}  # of images of 48x64
NO_WINDOW = {'ssim': {'type': 'calculate_ssim', 'crop_border': 20, 'test_y_channel': False}}
NO_FAST_WINDOW = {'ssim': {'type': 'calculate_fast_ssim', 'crop_border': 20}}
SMALL = {'niqe': {'type': 'calculate_niqe', 'crop_border': 0}}


@pytest.mark.parametrize(
    ('metrics', 'reason'),
    [
        (BORDER, 'crop_border 24 leaves nothing of 48x64'),
        (NO_WINDOW, 'calculate_ssim gives nan for 48x64'),
        (NO_FAST_WINDOW, 'takes at least 11x11'),
        (SMALL, 'calculate_niqe fails: '),
    ],
)
@pytest.mark.filterwarnings('ignore:Mean of empty slice', 'ignore:invalid value')
def test_a_metric_without_a_value_is_named_and_counted_and_no_number_comes_of_it(made, warnings, metrics, reason):
    others = {'ciede': {'type': 'calculate_ciede2000'}}
    model, loader, _ = made(metrics=metrics | others)
    model.validation(loader, 1, None)
    assert model.metric_results.keys() == {'ciede'}
    assert math.isfinite(model.metric_results['ciede'])
    [said] = [message for message in warnings if 'has no value for 8 of 8 images' in message]
    assert '1_1_0.8.png' in said
    assert reason in said
    assert model.best_metric_results['Held'].keys() >= {'ciede'}

    tested, loader, folder = made(is_train=False, metrics=metrics | others)
    with pytest.raises(InputError, match=r'phase test, data set Held: .*1_1_0\.8\.png: .*8 such images'):
        tested.validation(loader, 'x', None, save_img=True)
    assert tested.metric_results.keys() == {'ciede'}
    assert len(files(folder)) == 8


def test_the_mean_of_a_metric_is_that_of_the_images_that_have_a_value(made, metric, warnings):
    values = iter([1.0, math.nan, 3.0, math.inf, -math.inf, 5.0, 7.0, 9.0])
    model, loader, _ = made(metrics=metric(lambda img, **_: next(values)))
    model.metric_threads = 0
    model.validation(loader, 1, None)
    assert model.metric_results == {'own': 5.0}
    assert any('own has no value for 3 of 8 images' in message for message in warnings)


def test_a_metric_of_anybody_that_fails_takes_no_other_with_it(made, metric, warnings):
    def fails(img, **_):
        raise IndexError('its mistake')

    psnr = {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}
    model, loader, _ = made(metrics=metric(fails) | psnr)
    model.validation(loader, 1, None)
    assert model.metric_results.keys() == {'psnr'}
    assert 'calculate_own fails: IndexError: its mistake; the image is 48x64' in warnings[-1]


# ------------------------------------------------------------------------------------------------- searches for kernels


@pytest.mark.parametrize('before', [True, False])
def test_cudnn_searches_no_kernels_for_the_sizes_of_a_validation_and_does_as_before_after_it(made, monkeypatch, before):
    seen = []
    model, loader, _ = made()
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', before)
    model.net_g_ema.register_forward_hook(
        lambda *_: seen.append((torch.backends.cudnn.benchmark, torch.backends.cudnn.enabled))
    )
    enabled = torch.backends.cudnn.enabled
    model.validation(loader, 1, None)
    assert set(seen) == {(False, enabled)}
    assert torch.backends.cudnn.benchmark is before


def test_an_error_in_a_validation_leaves_the_search_as_it_was(made, monkeypatch):
    model, loader, _ = made()
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', True)

    def fails():
        raise KeyError

    monkeypatch.setattr(model, 'test', fails)
    with pytest.raises(KeyError):
        model.validation(loader, 1, None)
    assert torch.backends.cudnn.benchmark


# -------------------------------------------------------------------------------------------------- images in tiles


@pytest.fixture
def large(tmp_path):
    """A pair of 200x300."""
    rng = np.random.default_rng(1)
    for folder in ('hazy', 'clear'):
        (tmp_path / 'large' / folder).mkdir(parents=True)
        image = cv2.resize(rng.integers(0, 256, (5, 7, 3), np.uint8), (300, 200))
        cv2.imwrite(str(tmp_path / 'large' / folder / '1.png'), image)
    root = str(tmp_path / 'large')
    return {'dataroot_lq': f'{root}/hazy', 'dataroot_gt': f'{root}/clear', 'layout': 'reside_6k'}


@pytest.fixture
def said(caplog):
    logger = get_root_logger()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger.name):
        yield lambda: caplog.messages
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize('is_train', [True, False])
def test_large_images_are_restored_in_tiles_as_by_dehaze_and_the_log_says_so(made, large, said, is_train):
    model, loader, folder = made(is_train, **large)
    model.opt['val']['tile'] = 128
    model.validation(loader, 'x', None, save_img=not is_train)
    (line,) = (message for message in said() if 'tiles' in message)
    assert '1 images' in line
    assert '200x300 (height x width), of up to 128 px' in line
    assert 0 < model.metric_results['psnr'] < 30
    if not is_train:
        (result,) = files(folder)
        dehazer = Dehazer(model.get_bare_model(model.net_g), tile=128, backend='eager', device='cpu')
        expected = dehazer(large['dataroot_lq'] + '/1.png')[..., ::-1]
        assert np.abs(cv2.imread(str(folder / result)).astype(int) - expected).max() <= 1  # of rounding


def test_auto_takes_tiles_for_what_does_not_fit_and_else_changes_nothing(made, large, said, monkeypatch):
    outcomes = []
    for tile, free in ((0, 2**40), ('auto', 2**40), ('auto', 2**26)):
        monkeypatch.setattr('okdnet_plugin.inference.memory.available', lambda device, free=free: free)
        model, loader, _ = made(**large)
        model.opt['val']['tile'] = tile
        model.validation(loader, 1, None)
        outcomes.append((model.metric_results, any('tiles' in message for message in said())))
    whole, fits, tiled = outcomes
    assert whole == fits
    assert not fits[1]
    assert tiled[1]
    assert tiled[0]['psnr'] == pytest.approx(whole[0]['psnr'], abs=3)
    assert tiled[0] != whole[0]


def test_auto_takes_tiles_where_the_memory_was_less_than_it_seemed(made, large, said, monkeypatch):
    model, loader, _ = made(**large)
    model.opt['val']['tile'] = 'auto'

    def short(self):
        raise RuntimeError('[enforce fail] DefaultCPUAllocator: not enough memory')

    monkeypatch.setattr(Validation, 'test', short)
    model.validation(loader, 1, None)
    assert model.metric_results['psnr'] > 0
    assert any('tiles' in message for message in said())


def test_tiles_are_of_the_weights_as_they_are_now(made, large):
    model, loader, _ = made(**large)
    model.opt['val']['tile'] = 128
    values = []
    for iteration in (1, 2):
        model.current_iter = iteration
        model.validation(loader, iteration, None)
        values.append(model.metric_results['psnr'])
        with torch.no_grad():
            for parameter in model.net_g_ema.parameters():
                parameter += 0.05
    assert values[0] != values[1]
