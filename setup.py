from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = None
for line in (here / 'okdnet_plugin' / 'version.py').read_text(encoding='utf-8').splitlines():
    if line.startswith('__version__'):
        version = line.split("'")[1]

# What adds a feature; `all` is for those who want every one, as the test suite does.
extras = {
    'demo': ['gradio>=5'],  # the page of `basicsr demo`
    'detection': ['onnxruntime', 'pycocotools'],
    'heif': ['pillow-heif>=0.16'],
    'mm': ['mmengine>=0.10.7', 'mmcv-lite>=2.1,<2.2'],
    'nyu': ['h5py'],  # scripts/prepare_nyu.py reads the original .mat file
    'onnx': ['onnx', 'onnxruntime>=1.18', 'onnxscript'],
    'openvino': ['openvino'],
    'spandrel': ['spandrel>=0.4.2,<0.5'],
    'video': ['av>=18; python_version >= "3.11"'],  # 3.10 has no PyAV 18
}
extras['all'] = sorted({package for packages in extras.values() for package in packages})

setup(
    name='okdnet_plugin',
    version=version,
    description='Single-image dehazing for BasicSR and MMEngine: OKDNet, its losses, and the hazy/clear data sets',
    long_description=(here / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['okdnet_plugin', 'okdnet_plugin.*']),
    package_data={'okdnet_plugin.report': ['report.*'], 'okdnet_plugin.weights': ['*.safetensors']},
    python_requires='>=3.10',
    install_requires=[
        'torch>=2.1',
        'torchvision>=0.16',
        'basicsr==1.4.2',
        'lmdb>=1.4.1',
        'filelock>=3.12',
        'jinja2>=3',  # torch needs it too
        'opencv-python>=4.11',  # older ones do not turn TIFF as EXIF asks
        'numpy>=1.26',
        'packaging',
        'pillow>=11.1',  # older ones lose EXIF and XMP, and read 16-bit grey PNG as 32 bits
        'pydantic>=2.6',
        'pyyaml>=6.0.1',
        'safetensors>=0.4',
        'tqdm>=4.64',
    ],
    extras_require={
        'dev': [
            'pytest',
            'pytest-xdist',
            'hypothesis',
            'dask[distributed]',  # an example of docs/dehazing.md
            'jsonschema',
            'playwright',
            'ruff',
            'pyright[nodejs]',
            'scikit-image',
        ],
        'brisque': ['brisque>=0.2,<0.3', 'scipy<2'],
        **extras,
    },
    entry_points={
        'console_scripts': ['basicsr = okdnet_plugin.cli:main'],
        'basicsr.plugins': ['okdnet = okdnet_plugin:register'],
        'basicsr.commands': [
            'check = okdnet_plugin.commands.check:main',
            'demo = okdnet_plugin.commands.demo:main',
            'dehaze = okdnet_plugin.commands.dehaze:main',
            'doctor = okdnet_plugin.commands.doctor:main',
            'export = okdnet_plugin.commands.export:main',
            'list = okdnet_plugin.commands.list:main',
            'lmdb = okdnet_plugin.commands.lmdb:main',
            'options = okdnet_plugin.commands.options:main',
            'report = okdnet_plugin.commands.report:main',
            'weights = okdnet_plugin.commands.weights:main',
        ],
    },
)
