"""Reading images, and the next batches meanwhile."""

import functools
import importlib

import torch

from okdnet_plugin.compat.patches import patch, replace_function, source_of, sources_of


@patch(lambda: 'open_regular_file' not in source_of('basicsr.utils.file_client:HardDiskBackend.get'))
def read_files_alone() -> None:
    """An image or a list that is a named pipe or a device is waited for, or read, without end.

    It is now refused in one line. Can go when BasicSR looks at what it opens.
    """
    from basicsr.utils.file_client import HardDiskBackend

    from okdnet_plugin.files import open_regular_file

    def get(self, filepath):
        with open_regular_file(str(filepath)) as file:
            return file.read()

    HardDiskBackend.get = get


@patch(
    lambda: 'except' not in source_of('basicsr.data.prefetch_dataloader:PrefetchGenerator.run'),
)
def end_prefetching_with_its_error() -> None:
    """With `prefetch_mode: cpu` an error in a data set ends the thread that reads, and the training waits for ever.

    The error is now raised where the batch is asked for. Can go when BasicSR hands it on.
    """
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    def run(self):
        try:
            for item in self.generator:
                self.queue.put(item)
            self.queue.put(None)
        except BaseException as error:
            self.queue.put(error)

    def get_next(self):
        item = self.queue.get()
        if item is None:
            raise StopIteration
        if isinstance(item, BaseException):
            raise item
        return item

    PrefetchGenerator.run = run
    PrefetchGenerator.__next__ = get_next


@patch(lambda: 'prefetch_mode' not in sources_of('basicsr.utils.options:parse_options'))
def prefetch_without_gpu() -> None:
    """`prefetch_mode: cuda` fails on a machine without a GPU, so that an option file fits one kind of machine only.

    There is nothing to prefetch to then, and batches are handed on as they are. Can go when BasicSR does so.
    """
    original = importlib.import_module('basicsr.utils.options').parse_options

    @functools.wraps(original)
    def parse_options(root_path, is_train=True):
        opt, args = original(root_path, is_train)
        train = opt['datasets'].get('train') or {}
        if train.get('prefetch_mode') == 'cuda' and not (torch.cuda.is_available() and opt['num_gpu'] != 0):
            train['prefetch_mode'] = None
        return opt, args

    replace_function('basicsr.utils.options:parse_options', parse_options)
