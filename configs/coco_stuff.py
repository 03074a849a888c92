"""COCO-Stuff 164k, 171 classes: DeepLabV3 on ResNet-50.

`:80k` (default), `:160k` and `:320k` are mmsegmentation's recipes of that many steps
(configs/deeplabv3/deeplabv3_r50-d8_4xb4-*_coco-stuff164k-512x512.py), which reach
39.38, 41.09 and 41.37 mIoU there. Left out, as in configs/cityscapes.py: the deep
stem's weights, and that test images are resized to a short side of 512; not yet run
here.

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
    config.pretrained.path = "torchvision/resnet50"
    config.data.name = "coco_stuff"
    config.data.root = "data/coco"
    config.data.crop = (512, 512)
    config.data.resize, config.data.keep_ratio = (512, 2048), True
    config.data.scale = (0.5, 2.0)
    config.data.cat_max_ratio = 0.75
    config.data.photometric = True
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
