"""Cityscapes, 19 classes: DeepLabV3 on ResNet-50 at output stride 8.

`:512x1024` (default) and `:769` are the two published 40,000-step recipes of
mmsegmentation (configs/deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-*.py), which
reach 79.1 and 78.6 mIoU there, with its ASPP of 512 channels, auxiliary head of weight
0.4, SGD at 0.01, a polynomial schedule down to 1e-4 and its augmentation. Left out: the
deep stem's weights (ResNetV1c; these are torchvision's), and for `:769` its test at a
resized 2049x1025 in sliding windows; images are evaluated whole.

config.data.root holds leftImg8bit/ and gtFine/.
"""

from jaxseg import config as config_lib


def get_config(variant: str = "512x1024") -> config_lib.Config:
    """The recipe; `variant` is the crop."""
    config = config_lib.Config()
    config.model.head = "deeplabv3"
    config.model.backbone = "resnet50"
    config.model.output_stride = 8
    config.model.head_channels = 512
    config.model.aux_head = True
    config.model.dropout = 0.1
    config.pretrained.path = "torchvision/resnet50"
    config.data.name = "cityscapes"
    config.data.root = "data/cityscapes"
    crops = {"512x1024": (512, 1024), "769": (769, 769)}
    config.data.crop = crops[config_lib.check_variant(variant, crops)]
    config.model.align_corners = variant == "769"
    config.data.scale = (0.5, 2.0)
    if variant == "769":
        config.data.resize, config.data.keep_ratio = (1025, 2049), True
    config.data.cat_max_ratio = 0.75
    config.data.photometric = True
    config.data.workers = 8
    config.train.steps = 40_000
    config.train.batch_size = 8
    config.train.log_every = 50
    config.optim.name = "sgd"
    config.optim.lr = 0.01
    config.optim.weight_decay = 5e-4
    config.optim.schedule = "polynomial"
    config.optim.end_lr = 1e-4
    config.loss.aux_weight = 0.4
    config.eval.every = 4000
    config.checkpoint.every = 500
    config.eval.batch_size = 1
    return config
