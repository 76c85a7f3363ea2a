# options/feature_affinity/distilled.yml for MMEngine: FFALiteNet that learns from the super-resolver of teacher.yml.
#   basicsr train -opt options/feature_affinity/teacher.yml
#   python -m okdnet_plugin.mm train options/feature_affinity/distilled_mm.py
_base_ = '../okdnet_mm.py'
work_dir = 'work_dirs/FFALiteNet_affinity_ITS'

total_iter = 1399000  # 200 epochs

model = dict(
    _delete_=True,
    type='DistillationRestorer',
    generator=dict(type='FFALiteNet'),
    pixel_loss=dict(type='BasicSRMSELoss', loss_weight=1.0, reduction='mean'),
    teachers={
        'super-resolver': dict(
            network_t=dict(type='DSCFSRCNN'),
            pretrain_network_t='experiments/DSCFSRCNN_ITS/models/net_g_best.pth',  # of teacher.yml
        )
    },
    # 'n2', of the released code, is tiny beside the pixel loss; 'mean' gives it weight
    distillation=dict(affinity=dict(loss=dict(type='FeatureAffinityLoss', loss_weight=0.25, reduction='n2'))),
    channels_last=True,
)

train_dataloader = dict(batch_size=2, dataset=dict(opt=dict(resize=None, gt_size=460, use_rot=True)))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='Adam', lr=1e-4, betas=(0.9, 0.999)), clip_grad=dict(max_norm=0.1)
)
param_scheduler = dict(milestones=[], gamma=1, end=total_iter)
train_cfg = dict(max_iters=total_iter)
custom_hooks = [dict(type='ShareBuffersHook')]
