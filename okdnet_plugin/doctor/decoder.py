"""What reads pictures: the decoder of JPEG moves the PSNR of outdoor sets by up to a decibel."""

import io
import re
from collections.abc import Iterator

from okdnet_plugin.doctor.finding import Finding, ok, one_line, warning, wrong

_FORMATS = {'.jpg': 'JPEG', '.png': 'PNG', '.webp': 'WebP', '.tiff': 'TIFF', '.bmp': 'BMP'}
_LOSSLESS = ('.png', '.tiff', '.bmp')
_SIZE = 64  # px


def check() -> Iterator[Finding]:
    """OpenCV's decoder, which reads all pictures here, and Pillow's, with which other projects read theirs."""
    import cv2

    library = opencv_jpeg(cv2.getBuildInformation())
    yield ok('decoder', f'OpenCV {cv2.__version__} reads JPEG by {library}', opencv=cv2.__version__, jpeg=library)
    yield _formats()
    yield from _pillow()


def opencv_jpeg(build_information: str) -> str:
    """Name and version of the library by which OpenCV reads JPEG files."""
    found = re.search(r'^\s*JPEG:\s*(.+?)\s*$', build_information, re.MULTILINE)
    return re.sub(r'^build-', '', found[1]) if found else 'an unknown library'


def _formats() -> Finding:
    import cv2
    import numpy as np

    picture, failures = _picture(), []
    for extension, name in _FORMATS.items():
        try:
            _, content = cv2.imencode(extension, picture)
            decoded = cv2.imdecode(content, cv2.IMREAD_COLOR)
            if decoded is None or decoded.shape != picture.shape:
                failures.append(name)
            elif extension in _LOSSLESS and not np.array_equal(decoded, picture):
                failures.append(f'{name} (other values)')
        except cv2.error:
            failures.append(name)
    if failures:
        cure = 'pip install --force-reinstall --no-deps opencv-python'
        return wrong('decoder.formats', f'OpenCV cannot write and read {", ".join(failures)}', cure, failures=failures)
    return ok('decoder.formats', f'it writes and reads {", ".join(_FORMATS.values())}')


def _pillow() -> Iterator[Finding]:
    import cv2
    import numpy as np

    try:
        import PIL
        from PIL import Image, features
    except ImportError as error:
        yield warning('decoder.pillow', f'Pillow is not compared: {one_line(error)}', 'pip install Pillow')
        return
    turbo = features.version('libjpeg_turbo')
    library = f'libjpeg-turbo {turbo}' if turbo else f'libjpeg {features.version("jpg")}'
    _, content = cv2.imencode('.jpg', _picture(), [cv2.IMWRITE_JPEG_QUALITY, 90])
    by_pillow = np.asarray(Image.open(io.BytesIO(content.tobytes())).convert('RGB'))[..., ::-1].astype(int)
    difference = int(np.abs(by_pillow - cv2.imdecode(content, cv2.IMREAD_COLOR)).max())
    text = f'Pillow {PIL.__version__} reads JPEG by {library}; on a test picture it '
    values = {'pillow': PIL.__version__, 'jpeg': library, 'difference': difference}
    if difference:
        text += f'differs from OpenCV by up to {difference} of 255'
        cure = 'compare figures of JPEG sets only with those of the same decoder; reports name it'
        yield warning('decoder.pillow', text, cure, **values)
    else:
        yield ok('decoder.pillow', f'{text}gives the values of OpenCV', **values)


def _picture():
    import cv2
    import numpy as np

    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.resize(coarse, (_SIZE, _SIZE), interpolation=cv2.INTER_CUBIC)
