"""The page itself, by Gradio: a file in, hazy and restored under a slider, the result to keep."""

import os
from collections.abc import Sequence
from os import path as osp
from typing import Any

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # before the import: nothing is told to anybody
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import gradio
from gradio.themes import Default

from okdnet_plugin.demo.worker import Worker
from okdnet_plugin.errors import InputError, SaveError
from okdnet_plugin.inference.images import kinds
from okdnet_plugin.inference.video import SUFFIXES as VIDEO_SUFFIXES

_INTRODUCTION = '# Dehazing\nDrop an image or a clip. Everything is computed on the machine that serves this page.'
# Gradio's own fonts come from elsewhere.
_FONT, _FONT_OF_CODE = ['ui-sans-serif', 'system-ui', 'sans-serif'], ['ui-monospace', 'monospace']
_WEIGHTS_KINDS = ['.safetensors', '.pth', '.pt', '.ckpt']


def build(worker: Worker, weights: Sequence[str]) -> gradio.Blocks:
    """The page.

    Args:
        worker: does the work.
        weights: paths and names that can be chosen; the first one is chosen.
    """
    choices = [(osp.basename(path), path) for path in weights]
    with gradio.Blocks(title='Dehazing', analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gradio.Markdown(_INTRODUCTION)
        with gradio.Row():
            with gradio.Column(scale=1):
                given = gradio.File(
                    label='Image or clip',
                    file_types=[*kinds.endings(), *VIDEO_SUFFIXES],
                    type='filepath',
                    elem_id='given',
                )
                chosen = gradio.Dropdown(choices, value=weights[0], label='Weights', elem_id='weights')
                own = gradio.File(
                    label='Or weights of your own',
                    file_types=_WEIGHTS_KINDS,
                    type='filepath',
                    height=120,
                    elem_id='own',
                )
                strength = gradio.Slider(0, 1, 1, step=0.05, label='Strength', elem_id='strength')
                maps = gradio.Checkbox(label='Show transmission and airlight', elem_id='maps')
                start = gradio.Button('Dehaze', variant='primary', elem_id='start')
            with gradio.Column(scale=3):
                slider = gradio.ImageSlider(label='Hazy | dehazed', interactive=False, max_height=800, elem_id='slider')
                clip = gradio.Video(label='Dehazed', visible=False, interactive=False, elem_id='clip')
                result = gradio.DownloadButton('Download the result', visible=False, elem_id='result')
                notes = gradio.Markdown(elem_id='notes')
                with gradio.Row():
                    transmission = gradio.Image(
                        label='Transmission', visible=False, interactive=False, elem_id='transmission'
                    )
                    airlight = gradio.Image(label='Airlight', visible=False, interactive=False, elem_id='airlight')

        def dehaze(
            source: str | None,
            listed: str,
            uploaded: str | None,
            share: float,
            with_maps: bool,
            progress: Any = gradio.Progress(),  # noqa: B008  so Gradio finds it
        ) -> tuple:
            if source is None:
                raise gradio.Error('There is no image yet; drop one first.', print_exception=False)
            progress(0, 'dehazing')
            try:
                made = worker.restore(source, uploaded or listed, share, with_maps, progress)
            except (InputError, SaveError) as error:
                # What is uploaded lies in a folder of the server that says nothing to the user.
                line = ' '.join(str(error).split())
                for path in filter(None, (source, uploaded)):
                    line = line.replace(path, osp.basename(path))
                raise gradio.Error(line, duration=None, print_exception=False) from None
            is_clip = made.views is None
            return (
                gradio.ImageSlider(value=made.views, visible=not is_clip),
                gradio.Video(value=made.path if is_clip else None, visible=is_clip),
                gradio.DownloadButton(value=made.path, visible=True),
                '\n'.join(f'- {note}' for note in made.notes),
                gradio.Image(value=made.maps.get('transmission'), visible='transmission' in made.maps),
                gradio.Image(value=made.maps.get('airlight'), visible='airlight' in made.maps),
            )

        start.click(
            dehaze,
            [given, chosen, own, strength, maps],
            [slider, clip, result, notes, transmission, airlight],
            concurrency_limit=1,  # users wait for one another
            api_visibility='private',
        )
    return page


def serve(page: gradio.Blocks, host: str, port: int | None, max_file_size: int) -> str:
    """Serve a page until `page.close()`.

    Args:
        page: what `build` has made.
        host: address to which it is bound.
        port: by default the first free one from 7860.
        max_file_size: of an upload, in bytes.

    Returns:
        Its address.

    Raises:
        InputError: the address cannot be used.
    """
    try:
        _, address, _ = page.queue(default_concurrency_limit=1, max_size=100).launch(
            server_name=host,
            server_port=port,
            max_file_size=max_file_size,
            share=False,
            inline=False,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=[],
            ssr_mode=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
            theme=Default(font=_FONT, font_mono=_FONT_OF_CODE),
        )
    except (OSError, ValueError) as error:
        place = f'{host}:{port}' if port else host
        raise InputError(f'--host, --port: {place} cannot be used ({error}); give another one') from error
    return address
