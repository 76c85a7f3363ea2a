"""Option files and the command line that changes them."""

import functools
import importlib
import sys

from okdnet_plugin.compat.patches import patch, replace_function, source_of


@patch(lambda: 'CLoader as Loader' in source_of('basicsr.utils.options:ordered_yaml'))
def build_option_files_on_others() -> None:
    """An option file repeats what others say, and its YAML may make objects of any class.

    With it a file may say `_base_` and `${key}`, see `okdnet_plugin.option_file`; the copy that a run keeps says all,
    overrides too, and plain BasicSR runs it; of several processes the first makes it, and the others wait. Can go when
    the toolbox has inheritance and the safe loader.
    """
    options = importlib.import_module('basicsr.utils.options')
    original, copy, get_dist_info = options.ordered_yaml, options.copy_opt_file, options.get_dist_info

    @functools.wraps(original)
    def ordered_yaml():
        from okdnet_plugin.option_file.toolbox import OptionLoader

        return OptionLoader, original()[1]

    @functools.wraps(copy)
    def copy_opt_file(opt_file, experiments_root):
        import torch.distributed

        rank, processes = get_dist_info()
        if rank == 0:
            write_copy(opt_file, experiments_root)
        if processes > 1:
            torch.distributed.barrier()  # the folder is there, and an earlier run has its other name

    def write_copy(opt_file, experiments_root):
        from okdnet_plugin.option_file.toolbox import parse, resolved_copy

        given = sys.argv
        # The copy begins with the command in a comment, which an argument of several lines would end.
        sys.argv = [' '.join(argument.splitlines()) for argument in given]
        try:
            with resolved_copy(opt_file, parse(given[1:]).overrides) as file:
                copy(file, experiments_root)
        finally:
            sys.argv = given

    replace_function('basicsr.utils.options:ordered_yaml', ordered_yaml)
    replace_function('basicsr.utils.options:copy_opt_file', copy_opt_file)


@patch(lambda: 'exec(' in source_of('basicsr.utils.options:parse_options'))
def override_without_running_code() -> None:
    """`--force_yml` makes Python of its argument and runs it, reads lists by `eval`, and takes 1e-4 for a text.

    It is now read like `--set`, as the type that the key expects, and before the seed is chosen; nothing of it reaches
    the toolbox's parser. Can go when the toolbox assigns without exec and eval.
    """
    options = importlib.import_module('basicsr.utils.options')
    original = options.parse_options

    @functools.wraps(original)
    def parse_options(root_path, is_train=True):
        from okdnet_plugin.option_file.toolbox import overriding, parse

        given = sys.argv
        _, overrides, rest = parse(given[1:])
        sys.argv = [given[0], *rest]
        try:
            with overriding(overrides):
                return original(root_path, is_train)
        finally:
            sys.argv = given

    replace_function('basicsr.utils.options:parse_options', parse_options)
