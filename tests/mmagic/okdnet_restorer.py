# OKDNetRestorer with distillation, on samples of MMagic's pipeline: its data set, its transforms.
_base_ = 'base.py'
model = dict(
    type='OKDNetRestorer',
    generator=dict(type='OKDNet', num_feat=8, num_blocks=[1, 1, 1]),
    pixel_loss=dict(type='BasicSRL1Loss', loss_weight=1.0),
    ssim_loss=dict(type='SSIMLoss', loss_weight=1.0),
    distill_loss=dict(type='OnlineDistillationLoss', loss_weight=0.5),
)
held_pipeline = [
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
    dict(type='PackInputs'),
]
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='BasicImageDataset',
        metainfo=dict(dataset_type='dehazing', task_name='dehaze'),
        data_root='datasets/equal_names',
        data_prefix=dict(img='hazy', gt='clear'),
        pipeline=held_pipeline,
    )
)
test_dataloader = val_dataloader
custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.1, update_buffers=True),
    dict(type='BranchVisualizationHook', images=1),
]
