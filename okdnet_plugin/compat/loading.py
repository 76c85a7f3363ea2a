"""Which weights are taken."""

import functools

from okdnet_plugin.compat.patches import patch, source_of
from okdnet_plugin.errors import InputError


@patch(lambda: 'check_finite' not in source_of('basicsr.models.base_model:BaseModel.load_network'))
def refuse_weights_that_are_none() -> None:
    """Weights of NaN are tested and trained from, and with `strict_load: false` a file of which no tensor fits.

    Both give numbers of a network that nobody has trained. They are refused here for every model, in training, test and
    report. Can go when the toolbox refuses them.
    """
    from basicsr.models.base_model import BaseModel

    original = BaseModel.load_network

    @functools.wraps(original)
    def load_network(self, net, load_path, strict=True, param_key: str | None = 'params'):
        from okdnet_plugin.engine.state_checks import check_finite

        bare, missing = self.get_bare_model(net), set()
        handle = bare.register_load_state_dict_post_hook(lambda _, keys: missing.update(keys.missing_keys))
        try:
            original(self, net, load_path, strict, param_key)
        finally:
            handle.remove()
        state = bare.state_dict()
        # BatchNorm's counters are never missing: torch makes them up for files that are older than they.
        wanted = {name for name in state if not name.endswith('num_batches_tracked')}
        if wanted and missing >= wanted:
            raise InputError(
                f'{load_path}: none of the {len(wanted)} tensors of {type(bare).__name__} is in it with that name and '
                'size, which strict_load_g: false does not make up for; give the weights of this network, or another '
                'param_key_g'
            )
        check_finite(state, load_path)

    BaseModel.load_network = load_network
