"""What an option file may say: of the toolbox, of the plugin, and of every registered class and function.

`blocks`, `toolbox_models` and `data_sets` are pydantic models of what is written down; `signatures` reads the rest.
`tree` tells which block governs which mapping, `check` holds a file against them, `rules` finds contradictions and
`files` what is not on the disk. `typed` reads a value of the command line, `json_schema` is for editors.
"""

from okdnet_plugin.schema.check import check, with_places
from okdnet_plugin.schema.mistakes import Mistake, Places, error_of
from okdnet_plugin.schema.run import check_options, refuse, refuse_of_model, unmade
from okdnet_plugin.schema.tree import Phase, phase_of
from okdnet_plugin.schema.typed import typed

__all__ = [
    'Mistake',
    'Phase',
    'Places',
    'check',
    'check_options',
    'error_of',
    'phase_of',
    'refuse',
    'refuse_of_model',
    'typed',
    'unmade',
    'with_places',
]
