"""Option files: YAML that may build on other files and refer to its own values, and can do nothing but hold values.

A file with `_base_: FILE`, or a list of files, paths relative to it, is merged over these: mappings key by key, all
else as a whole. A mapping with `_delete_: true` stands alone, whatever the bases have in its place. Then come the
overrides of the command line, then `${key.path}` and `${env:NAME}`, see `okdnet_plugin.option_file.references`.
"""

from collections.abc import Sequence

from okdnet_plugin.option_file import overrides as _overrides
from okdnet_plugin.option_file.bases import read_with_bases
from okdnet_plugin.option_file.overrides import Override
from okdnet_plugin.option_file.reading import read_value
from okdnet_plugin.option_file.references import resolve
from okdnet_plugin.option_file.tree import Item, KeyPath, Places

__all__ = ['Override', 'Places', 'load', 'load_with_places', 'read_value']


def load(path: str, overrides: Sequence[Override | str] = ()) -> dict:
    """What an option file says, with what it builds on; see `load_with_places`."""
    return load_with_places(path, overrides)[0]


def load_with_places(path: str, overrides: Sequence[Override | str] = ()) -> tuple[dict, Places]:
    """What an option file says, and where.

    Args:
        path: the file.
        overrides: `KEY=VALUE` of the command line, as of `--set`; the last one of a key counts.

    Returns:
        The options, with bases, overrides and references resolved, and the places of their keys.

    Raises:
        InputError: a file cannot be read, is no YAML mapping, builds on itself or refers to what is not there, or an
            override does not fit; the message is one line that names file and line, or the override.
    """
    root = _overrides.apply(read_with_bases(path), overrides, _typed)
    root = resolve(root, _typed)
    return root.plain(), Places(root)


def _typed(root: Item, key_path: KeyPath, text: str) -> object:
    """A text as the type that the schema expects at its key."""
    from okdnet_plugin import schema

    return schema.typed(root.plain(), key_path, text)
