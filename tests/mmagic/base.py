# What the configs of scripts/test_mmagic.sh share: pairs in the current folder, eight iterations on a CPU.
custom_imports = dict(imports=['okdnet_plugin.mm'], allow_failed_imports=False)
default_scope = 'mmagic'

total_iter = 8
pairs = dict(layout='its', dataroot_lq='datasets/demo/train/hazy', dataroot_gt='datasets/demo/train/clear')
held = dict(layout='its', dataroot_lq='datasets/held/hazy', dataroot_gt='datasets/held/clear')

train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='PackedDehazeDataset',
        dataset=dict(type='PairedDehazeDataset', opt=dict(phase='train', name='demo', gt_size=64, **pairs)),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PackedDehazeDataset', dataset=dict(type='PairedDehazeDataset', opt=dict(phase='val', name='held', **held))
    ),
)
val_evaluator = dict(
    type='Evaluator',
    metrics=[
        dict(type='RestorationMetric', function='calculate_psnr', name='psnr_basicsr', crop_border=0),
        dict(type='RestorationMetric', function='calculate_loe'),
        dict(type='PSNR', crop_border=0),  # MMagic's
    ],
)
test_dataloader = val_dataloader
test_evaluator = val_evaluator

optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor', type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3)
)
param_scheduler = dict(type='MultiStepLR', by_epoch=False, milestones=[6], gamma=0.5, end=total_iter)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=total_iter, val_interval=4)
val_cfg = dict(type='MultiValLoop')
test_cfg = dict(type='MultiTestLoop')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=2),
    checkpoint=dict(
        type='CheckpointHook', by_epoch=False, interval=4, save_best='psnr_basicsr', rule='greater', out_dir=None
    ),
)
custom_hooks = [
    dict(type='ShareBuffersHook'),
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.1, update_buffers=True),
]
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(type='LogProcessor', by_epoch=False)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
launcher = 'none'
