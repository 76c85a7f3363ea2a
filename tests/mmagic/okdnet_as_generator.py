# The bare network as generator of MMagic's BaseEditModel.
_base_ = 'base.py'
model = dict(
    type='BaseEditModel',
    generator=dict(type='OKDNet', num_feat=8, num_blocks=[1, 1, 1]),
    pixel_loss=dict(type='CharbonnierLoss', loss_weight=1.0, reduction='mean'),  # MMagic's
    data_preprocessor=dict(
        type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], input_view=(-1, 1, 1)
    ),
)
