# A short training on the demo pairs with MMEngine, for two cores: options/okdnet_quickstart.yml for MMEngine.
#   python scripts/make_demo_pairs.py datasets/demo
#   python -m okdnet_plugin.mm train options/okdnet_mm_demo.py
_base_ = 'okdnet_mm.py'
work_dir = 'work_dirs/OKDNet_demo'

total_iter = 160

train_dataloader = dict(
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        opt=dict(
            _delete_=True,
            phase='train',
            name='demo_train',
            dataroot_lq='datasets/demo/train/hazy',
            dataroot_gt='datasets/demo/train/clear',
            layout='its',  # 7_3_0.90179.png -> 7.png
            io_backend=dict(type='disk'),
            gt_size=128,
            use_hflip=True,
            use_rot=True,
        )
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        opt=dict(
            name='demo_val',
            dataroot_lq='datasets/demo/val/hazy',
            dataroot_gt='datasets/demo/val/clear',
            layout='its',
        )
    ),
)
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(fused=False))
param_scheduler = dict(milestones=[80, 120, 140], end=total_iter)
train_cfg = dict(max_iters=total_iter, val_interval=total_iter)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=80))
custom_hooks = [
    dict(type='ShareBuffersHook'),
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.02, gamma=9, update_buffers=True),
    dict(type='BranchVisualizationHook', pictures=4),
]
