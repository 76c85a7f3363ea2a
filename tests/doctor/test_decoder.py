"""The picture decoder: which library reads JPEG, and whether the formats come back."""

import cv2
import numpy as np
import pytest

from okdnet_plugin.doctor import decoder


@pytest.mark.parametrize(
    ('line', 'library'),
    [
        ('    JPEG:                        build-libjpeg-turbo (ver 3.1.0-70)', 'libjpeg-turbo (ver 3.1.0-70)'),
        ('    JPEG:   /usr/lib/libjpeg.so (ver 80)', '/usr/lib/libjpeg.so (ver 80)'),
        ('    JPEG 2000:                   build (ver 2.5.3)', 'an unknown library'),
    ],
)
def test_library_is_read_from_the_build(line, library):
    assert decoder.opencv_jpeg(f'  Media I/O:\n{line}\n    PNG: x\n') == library


def test_decoders_here_are_named_and_read_all_formats():
    found = {finding.key: finding for finding in decoder.check()}
    assert found['decoder'].values['opencv'] == cv2.__version__
    assert 'libjpeg' in found['decoder'].text
    assert found['decoder.formats'].status == 'ok'
    assert 'difference' in found['decoder.pillow'].values


def test_decoders_that_differ_are_a_warning_with_the_difference(monkeypatch):
    imdecode = cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: np.asarray(imdecode(*args), np.uint8) // 2 * 2)
    *_, finding = decoder.check()
    assert (finding.status, finding.values['difference']) == ('warning', 1)


def test_format_that_fails_or_comes_back_changed_is_wrong(monkeypatch):
    imencode = cv2.imencode

    def without_webp(extension, picture, *args):
        if extension == '.webp':
            raise cv2.error('no encoder')
        return imencode(extension, np.zeros_like(picture) if extension == '.png' else picture, *args)

    monkeypatch.setattr(cv2, 'imencode', without_webp)
    finding = decoder._formats()
    assert finding.status == 'wrong'
    assert finding.values == {'failures': ['PNG (other values)', 'WebP']}
