# options/depth_guidance/folder.yml for MMEngine: depth guidance with depth from a folder, which also makes the haze.
#   python -m okdnet_plugin.mm train options/depth_guidance/folder_mm.py
# For the depth of a frozen network, as in joint.yml: a ClearImageDataset, and in the model
# clear_depth=dict(network_d=..., pretrain_network_d=...) and haze=dict(beta=[0.5, 5.0], airlight=[0.1, 1.0]).
_base_ = '../okdnet_mm.py'
work_dir = 'work_dirs/DGDNet_folder'

total_iter = 50000
find_unused_parameters = True  # for several processes: in the first stage the depth network alone has gradients

model = dict(
    _delete_=True,
    type='DepthGuidanceRestorer',
    generator=dict(type='DGDNet', depth=dict(bound='softplus')),
    pixel_loss=dict(type='BasicSRMSELoss', loss_weight=0.5, reduction='mean'),
    # with the weights of VGG16 that torchvision fetches; without them take this loss out
    perceptual_loss=dict(
        type='BasicSRPerceptualLoss',
        layer_weights=dict(relu1_2=1, relu2_2=1, relu3_3=1),
        vgg_type='vgg16',
        use_input_norm=True,
        range_norm=False,
        perceptual_weight=0.04,
        style_weight=0,
        criterion='l2',
    ),
    depth_loss=dict(type='BasicSRL1Loss', loss_weight=1.0, reduction='mean'),
    depth_iter=5000,
    channels_last=True,
)

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type='SyntheticHazeDataset',
        opt=dict(
            _delete_=True,
            phase='train',
            name='NYU',
            dataroot_gt='datasets/NYU/train/clear',
            dataroot_depth='datasets/NYU/train/depth',
            depth_norm='max',
            return_depth=True,
            preset='reside_its',
            io_backend=dict(type='disk'),
            resize=256,
            use_hflip=True,
            use_rot=False,
        ),
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='SyntheticHazeDataset',
        opt=dict(
            _delete_=True,
            phase='val',
            name='NYU-test',
            dataroot_gt='datasets/NYU/test/clear',
            dataroot_depth='datasets/NYU/test/depth',
            depth_norm='max',
            return_depth=True,
            beta=1.2,
            airlight=0.9,
            io_backend=dict(type='disk'),
        ),
    )
)
val_evaluator = [
    dict(type='RestorationMetric', function='calculate_psnr', crop_border=0, test_y_channel=False),
    dict(type='RestorationMetric', function='calculate_fast_ssim', name='ssim', crop_border=0, test_y_channel=False),
    dict(type='RestorationMetric', function='calculate_abs_rel'),
    dict(type='RestorationMetric', function='calculate_delta'),
]
test_dataloader = val_dataloader
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='Adam', lr=2e-4, betas=(0.9, 0.999)), clip_grad=dict(max_norm=1.0)
)
param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', by_epoch=False, T_max=total_iter, eta_min=1e-7, end=total_iter
)
train_cfg = dict(max_iters=total_iter, val_interval=5000)
default_hooks = dict(checkpoint=dict(interval=5000, max_keep_ckpts=3))
custom_hooks = [dict(type='ShareBuffersHook')]
