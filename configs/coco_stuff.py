"""COCO-Stuff 164k, 171 classes: DeepLabV3 on ResNet-50.

`:80k` (default), `:160k` and `:320k` are mmsegmentation's recipes of that many steps
(configs/deeplabv3/deeplabv3_r50-d8_4xb4-*_coco-stuff164k-512x512.py), which reach
39.38, 41.09 and 41.37 mIoU there. As in configs/cityscapes.py, its deep stem, its limit
on a class's share of a crop and its resized test images are left out; not yet run here.

config.data.root holds train2017.zip, val2017.zip and stuffthingmaps_trainval2017.zip,
or the folders in them.
"""

from jaxseg import config as config_lib


def get_config(variant: str = "80k") -> config_lib.Config:
    """The recipe; `variant` is the number of steps."""
    config = config_lib.Config()
    config.model.head = "deeplabv3"
    config.model.backbone = "resnet50"
    config.model.output_stride = 8
    config.model.head_channels = 512
    config.model.aux_head = True
    config.model.dropout = 0.1
    config.model.dtype = "bfloat16"
    config.pretrained.path = "torchvision/resnet50"
    config.data.name = "coco_stuff"
    config.data.root = "data/coco"
    config.data.crop = (512, 512)
    config.data.scale = (0.6, 2.4)  # about 0.5 to 2 of a short side of 512
    config.data.brightness = 0.125
    config.data.contrast = config.data.saturation = 0.5
    config.data.hue = 0.05
    config.data.workers = 8
    steps = {"80k": 80_000, "160k": 160_000, "320k": 320_000}
    config.train.steps = steps[config_lib.check_variant(variant, steps)]
    config.train.batch_size = 16
    config.train.log_every = 50
    config.optim.name = "sgd"
    config.optim.lr = 0.01
    config.optim.weight_decay = 5e-4
    config.optim.schedule = "polynomial"
    config.optim.end_lr = 1e-4
    config.loss.aux_weight = 0.4
    config.eval.every = 8000
    config.eval.batch_size = 1
    config.checkpoint.every = 500
    return config
