from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = None
for line in (here / 'okdnet_plugin' / '__init__.py').read_text(encoding='utf-8').splitlines():
    if line.startswith('__version__'):
        version = line.split("'")[1]

setup(
    name='okdnet_plugin',
    version=version,
    description='Single-image dehazing for BasicSR: OKDNet, its losses, and the paired hazy/clear data sets',
    long_description=(here / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['okdnet_plugin', 'okdnet_plugin.*']),
    python_requires='>=3.10,<3.13',
    install_requires=[
        'torch>=2.11',
        'torchvision>=0.26',
        'basicsr==1.4.2',
        'lmdb',
        'filelock',
        'opencv-python',
        'numpy',
        'pyyaml',
        'tqdm',
    ],
    extras_require={
        'dev': ['pytest', 'pytest-xdist', 'ruff', 'scikit-image'],
        'brisque': ['brisque>=0.2,<0.3', 'scipy<2'],
        'mm': ['mmengine>=0.10.7', 'mmcv-lite>=2.1,<2.2'],
    },
    entry_points={
        'console_scripts': ['basicsr = okdnet_plugin.cli:main'],
        'basicsr.plugins': ['okdnet = okdnet_plugin:register'],
        'basicsr.commands': [
            'lmdb = okdnet_plugin.commands.lmdb:main',
            'report = okdnet_plugin.commands.report:main',
        ],
    },
)
