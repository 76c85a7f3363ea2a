"""Reading images, and the next batches meanwhile."""

import importlib
import inspect

import torch

from okdnet_plugin.compat.patches import patch, replace_function, source_of


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


@patch(lambda: inspect.isclass(importlib.import_module('basicsr.data.prefetch_dataloader').CUDAPrefetcher))
def prefetch_without_gpu() -> None:
    """`prefetch_mode: cuda` fails on a machine without a GPU, so that an option file fits one kind of machine only.

    There is nothing to prefetch to then, and batches are handed on as they are. Can go when BasicSR does so.
    """
    prefetch = importlib.import_module('basicsr.data.prefetch_dataloader')
    original = prefetch.CUDAPrefetcher

    def prefetcher(loader, opt):
        on_gpu = torch.cuda.is_available() and opt['num_gpu'] != 0
        return original(loader, opt) if on_gpu else prefetch.CPUPrefetcher(loader)

    replace_function('basicsr.data.prefetch_dataloader:CUDAPrefetcher', prefetcher)
