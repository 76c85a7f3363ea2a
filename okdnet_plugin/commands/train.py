"""The arguments of `basicsr train` and `basicsr test`, which BasicSR's own pipelines run."""

import argparse

_EPILOG = """\
Runs go to experiments/<name>/, results to results/<name>/ of the current folder.

on several devices:
  torchrun --nproc_per_node=N -m okdnet_plugin {command} -opt FILE --launcher pytorch
"""


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """The parser of one of the two commands; BasicSR's own accepts the same, but for `--set`.

    Args:
        command: train or test.
        description: what it does, in a line.
    """
    made = argparse.ArgumentParser(
        prog=f'basicsr {command}',
        description=description,
        epilog=_EPILOG.format(command=command),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument('-opt', required=True, metavar='FILE', help='option file')
    made.add_argument(
        '--set',
        nargs='+',
        metavar='KEY.KEY=VALUE',
        help='change values of the option file, for example train.optim_g.lr=5e-4; KEY=null empties a key, '
        'KEY=_delete_ removes it',
    )
    made.add_argument('--force_yml', nargs='+', metavar='KEY:KEY=VALUE', help="the same, in BasicSR's form")
    made.add_argument(
        '--auto_resume', action='store_true', help='resume from the newest state of the run, if there is one'
    )
    made.add_argument('--debug', action='store_true', help='short intervals, to try an option file out')
    made.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm'),
        default='none',
        help='how the processes were started (default: none)',
    )
    made.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return made
