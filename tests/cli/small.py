"""Settings that train a small network in seconds."""

SMALL = [
    "data.image_size=64", "split.val=0.25", "split.test=0.25", "split.method=balanced", "split.copy_difference=0",
    "model.backbone=resnet10", "model.weights=none", "model.fpn_channels=32", "model.head_convs=0",
    "model.seg_channels=8", "model.cls_hidden=8", "train.batch_size=2", "train.epoch_steps=1",
    "train.phase1.epochs=1", "train.phase2.epochs=1", "train.batch_norm=train", "train.workers=0",
]  # fmt: skip
