"""`python -m okdnet_plugin …` and `torchrun -m okdnet_plugin …`: the same as the command `basicsr …`."""

import sys

from okdnet_plugin.cli import main

if __name__ == '__main__':
    # multiprocessing does not import a `__main__` of a package again in a spawned worker, but it does run a file again.
    # Without a spec this is a file, so workers get the import above, and with it the patches, before they unpickle a
    # data set of BasicSR.
    __spec__ = None
    sys.exit(main())
