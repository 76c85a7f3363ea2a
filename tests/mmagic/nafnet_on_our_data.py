# MMagic's NAFNet on the plugin's data set and with its metrics.
_base_ = 'base.py'
model = dict(
    type='BaseEditModel',
    generator=dict(
        type='NAFNet', img_channels=3, mid_channels=8, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]
    ),
    pixel_loss=dict(type='L1Loss', loss_weight=1.0, reduction='mean'),
    data_preprocessor=dict(
        type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], input_view=(-1, 1, 1)
    ),
)
