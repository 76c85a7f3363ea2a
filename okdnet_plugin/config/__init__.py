"""Option files: how they are read, and what they may say.

Reading (`read`): YAML that can do nothing but hold values, `_base_`, `${}` and `--set`. Checking (`check`): every key
against the class that reads it, `consistency/` between keys, `on_disk`. An option lives in that class and nowhere else:

- a data set or a model: a field of its inner `class Options(BaseModel)`: type, default, range, `description`;
- a network, a loss, a metric, an optimiser: an argument with a type hint (`Literal`, `Annotated[int, Ge(1)]`) and a
  line in the docstring;
- what BasicSR itself or `basicsr report` reads: `blocks.py`.

To add one, write it there, then `basicsr options --write-docs`. A class that declares nothing is open: its keys are
accepted, and what is nearly a known one is a warning.
"""

from okdnet_plugin.config.items import Places
from okdnet_plugin.config.overrides import Override
from okdnet_plugin.config.read import load, load_with_places
from okdnet_plugin.config.yaml_values import read_value

__all__ = ['Override', 'Places', 'load', 'load_with_places', 'read_value']
