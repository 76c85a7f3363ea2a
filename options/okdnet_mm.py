# options/okdnet.yml for MMEngine: OKDNet on RESIDE ITS, as in the paper.
#   python -m okdnet_plugin.mm train options/okdnet_mm.py
#   torchrun --nproc_per_node=8 -m okdnet_plugin.mm train options/okdnet_mm.py --launcher pytorch
# Source of the numbers: Lan et al. 2022, "Implementation details" and Eq. 3. EMA and validation are this file's.
custom_imports = dict(imports=['okdnet_plugin.mm'], allow_failed_imports=False)
default_scope = 'mmengine'
work_dir = 'work_dirs/OKDNet_ITS'

total_iter = (
    104940  # 30 epochs of 3,498 iterations; on a command line it is train_cfg.max_iters and param_scheduler.end
)

model = dict(
    type='OKDNetRestorer',
    generator=dict(type='OKDNet'),
    # L = L1 - SSIM + 0.5 L_diss (Eq. 3); a loss that is left out is a term that is left out
    pixel_loss=dict(type='BasicSRL1Loss', loss_weight=1.0, reduction='mean'),
    ssim_loss=dict(type='SSIMLoss', loss_weight=1.0),
    distill_loss=dict(type='OnlineDistillationLoss', loss_weight=0.5),
    channels_last=True,  # faster on a GPU and on a CPU with AVX512
)

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='PairedDehazeDataset',
        opt=dict(
            phase='train',
            name='ITS',
            dataroot_lq='datasets/ITS/hazy',
            dataroot_gt='datasets/ITS/clear',
            layout='its',  # 1_1_0.90179.png -> 1.png
            io_backend=dict(type='disk'),
            resize=256,  # the paper resizes; for crops of the full-size images take this line out and give gt_size
            use_hflip=True,
            use_rot=False,
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PairedDehazeDataset',
        opt=dict(
            phase='val',
            name='SOTS-indoor',
            dataroot_lq='datasets/SOTS/indoor/hazy',
            dataroot_gt='datasets/SOTS/indoor/clear',
            layout='sots_indoor',  # 1400_1.png -> 1400.png; a white frame around the clear image is cropped
            io_backend=dict(type='disk'),
        ),
    ),
)
val_evaluator = [
    dict(type='RestorationMetric', function='calculate_psnr', crop_border=0, test_y_channel=False),
    dict(type='RestorationMetric', function='calculate_fast_ssim', name='ssim', crop_border=0, test_y_channel=False),
]
test_dataloader = val_dataloader
test_evaluator = val_evaluator

# For bfloat16: type='AmpOptimWrapper', dtype='bfloat16'. Losses stay in float32.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3, weight_decay=0, betas=(0.9, 0.999), fused=True)
)
param_scheduler = dict(
    type='MultiStepLR',
    by_epoch=False,
    milestones=[17490, 34980, 52470, 69960, 87450],  # halved every five epochs
    gamma=0.5,
    end=total_iter,  # of the whole run, as it is saved: a run that goes on does not see a new one
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=total_iter, val_interval=3498)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(
        type='CheckpointHook', by_epoch=False, interval=3498, max_keep_ckpts=5, save_best='psnr', rule='greater'
    ),
)
custom_hooks = [
    dict(type='ShareBuffersHook'),  # of several processes, before a validation
    # BatchNorm's statistics belong to the average; momentum is 1 - ema_decay, and gamma lets it warm up alike.
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.001, gamma=9, update_buffers=True),
    dict(type='BranchVisualizationHook', pictures=4),
]
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
log_processor = dict(by_epoch=False)
env_cfg = dict(dist_cfg=dict(backend='nccl'))  # gloo where there is no GPU
randomness = dict(seed=0)
resume = False
