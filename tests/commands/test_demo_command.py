"""`basicsr demo` says at once what keeps it from serving a page."""

import importlib.util
import socket

import pytest

from okdnet_plugin.commands import demo
from okdnet_plugin.errors import InputError


def test_without_gradio_it_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match=r'okdnet_plugin\[demo\]'):
        demo.main([])


def test_weights_that_cannot_be_used_are_told_before_anybody_comes(tmp_path):
    pytest.importorskip('gradio', reason='no Gradio')
    with pytest.raises(InputError, match=r'none\.pth'):
        demo.main(['-w', str(tmp_path / 'none.pth')])


def test_a_port_that_is_taken_is_one_line():
    pytest.importorskip('gradio', reason='no Gradio')
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        with pytest.raises(InputError, match='--port'):
            demo.main(['--port', str(taken.getsockname()[1]), '--backend', 'eager'])
