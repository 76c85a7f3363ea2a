# options/progressive/griddehazenet.yml for MMEngine: GridDehazeNet as the restorer of the progressive framework.
#   python -m okdnet_plugin.mm train options/progressive/griddehazenet_mm.py
_base_ = '../okdnet_mm.py'
work_dir = 'work_dirs/GridDehazeNet_progressive_ITS'

total_iter = 77800  # 100 epochs
find_unused_parameters = True  # for several processes: in the first stage the pre-restore module alone has gradients

model = dict(
    _delete_=True,
    type='ProgressiveRestorer',
    generator=dict(type='ProgressiveDehazer', restorer=dict(type='GridDehazeNet')),
    pixel_loss=dict(type='BasicSRMSELoss', loss_weight=0.5, reduction='mean'),
    # with the weights of VGG16 that torchvision fetches; without them take this loss out, and give extractor_path below
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
    pre_restore_loss=dict(type='BasicSRL1Loss', loss_weight=0.5, reduction='mean'),
    inter_contrast_loss=dict(type='InterContrastiveLoss', loss_weight=0.1, extractor='vgg19'),
    intra_contrast_loss=dict(type='IntraContrastiveLoss', loss_weight=0.1, extractor='vgg19'),
    pre_restore_iter=7780,  # a tenth, for the pre-restore module alone
    channels_last=True,
)

train_dataloader = dict(batch_size=18, dataset=dict(opt=dict(resize=None, gt_size=240)))
# At the beginning the hazy image itself is a result, whose inter-contrastive loss is 1 / eps.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='Adam', lr=1e-3, betas=(0.9, 0.999), fused=True), clip_grad=dict(max_norm=0.1)
)
param_scheduler = dict(milestones=[15560, 31120, 46680, 62240], end=total_iter)
train_cfg = dict(max_iters=total_iter)
custom_hooks = [dict(type='ShareBuffersHook')]
