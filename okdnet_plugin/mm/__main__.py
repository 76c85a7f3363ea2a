"""python -m okdnet_plugin.mm: training and testing a config of MMEngine or MMagic, and its weights for BasicSR."""

import argparse
import os
import re
import signal
import sys
from os import path as osp
from typing import TYPE_CHECKING

from okdnet_plugin.errors import InputError, message_of
from okdnet_plugin.files import open_text

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command.

    Args:
        argv: what follows `python -m okdnet_plugin.mm`.

    Returns:
        0 done; 2 wrong input, with one line on the standard error; 130 after Ctrl-C.
    """
    try:
        args = _parser().parse_args(argv)
        if args.command == 'convert':
            _convert(args.checkpoint, args.out)
        else:
            _run(args)
    except KeyboardInterrupt:
        sys.stderr.write('\ninterrupted: train --resume goes on from the newest checkpoint\n')
        return 128 + signal.SIGINT
    except InputError as error:
        sys.stderr.write(f'okdnet_plugin.mm: error: {message_of(error)}\n')
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(prog='python -m okdnet_plugin.mm', description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest='command', required=True)
    for name, purpose in (('train', 'train what a config describes'), ('test', 'test a checkpoint')):
        command = commands.add_parser(name, help=purpose, allow_abbrev=False)
        command.add_argument('config', help='a config file, as options/okdnet_mm.py')
        if name == 'train':
            command.add_argument('--resume', action='store_true', help='go on from the newest checkpoint of the run')
        else:
            command.add_argument('checkpoint', help='of MMEngine, or net_g_*.pth of BasicSR')
        command.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/<config>)')
        command.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='changed values')
        command.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), default='none')
        command.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    convert = commands.add_parser('convert', help='make net_g.pth of BasicSR of a checkpoint', allow_abbrev=False)
    convert.add_argument('checkpoint', help='of MMEngine')
    convert.add_argument('out', help='a new file, for path:pretrain_network_g')
    return parser


def _run(args: argparse.Namespace) -> None:
    from mmengine.config import Config

    import okdnet_plugin.mm  # noqa: F401 - patches, before the config imports what has to be patched

    if not osp.isfile(args.config):
        raise InputError(f'there is no config {args.config}; options/okdnet_mm.py is one to start from')
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise InputError('--launcher pytorch: start with torchrun --nproc_per_node=N -m okdnet_plugin.mm …')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        config = Config.fromfile(args.config)
    except Exception as error:
        raise InputError(
            f'config {args.config} cannot be read: {type(error).__name__}: {_line(error)}{_of_environment(args.config)}'
        ) from error
    if 'model' not in config:
        raise InputError(f'config {args.config} has no model; it is none of MMEngine (basicsr train runs option files)')
    if args.cfg_options:
        config.merge_from_dict(args.cfg_options)
    config.launcher = args.launcher
    if args.work_dir or not config.get('work_dir'):
        config.work_dir = args.work_dir or osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    if args.command == 'train':
        config.resume = args.resume or config.get('resume', False)
        _runner(config, args.config).train()
    else:
        config.load_from = args.checkpoint
        _runner(config, args.config).test()


def _of_environment(config: str) -> str:
    """Which variables of the environment may have spoilt a config: MMEngine puts their values into its code."""
    with open_text(config, 'utf-8', errors='replace') as file:
        asked = dict.fromkeys(re.findall(r'\{\{\s*\$\s*(\w+)', file.read()))
    names = [name for name in asked if set('\\\'"\n') & set(os.environ.get(name, ''))]
    return (
        f'; its environment variable {names[0]} has a backslash or a quotation mark: write / instead' if names else ''
    )


def _runner(config: 'Config', path: str) -> 'Runner':
    from mmengine.runner import Runner

    try:
        return Runner.from_cfg(config)
    except KeyError as error:  # of a registry, with a page of advice
        raise InputError(f'config {path}: {_line(error)}') from error


def _line(error: Exception) -> str:
    return ' '.join(str(error.args[0] if error.args else error).split())[:300]


def _convert(source: str, target: str) -> None:
    from okdnet_plugin.mm.checkpoint import convert

    written = convert(source, target)
    print(f'{target}: {", ".join(f"{key} ({count} tensors)" for key, count in written.items())}')


if __name__ == '__main__':
    sys.exit(main())
