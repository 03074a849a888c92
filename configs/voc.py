"""PASCAL VOC 2012 with SBD's labels, 21 classes: DeepLabV3 on ResNet-50.

`:40k` (default) and `:20k` are mmsegmentation's recipes of that many steps
(configs/deeplabv3/deeplabv3_r50-d8_4xb4-*_voc12aug-512x512.py), which reach 77.68 and
76.17 mIoU there. Left out, as in configs/cityscapes.py: the deep stem's weights, and
that test images are resized to a short side of 512; not yet run here.

config.data.root holds VOCtrainval_11-May-2012.tar or VOCdevkit/, and SBD's
benchmark_RELEASE/ or VOC2012/SegmentationClassAug/.
"""

from jaxseg import config as config_lib


def get_config(variant: str = "40k") -> config_lib.Config:
    """The recipe; `variant` is the number of steps."""
    config = config_lib.Config()
    config.model.head = "deeplabv3"
    config.model.backbone = "resnet50"
    config.model.output_stride = 8
    config.model.head_channels = 512
    config.model.aux_head = True
    config.model.dropout = 0.1
    config.pretrained.path = "torchvision/resnet50"
    config.data.name = "voc"
    config.data.root = "data/voc"
    config.data.train_split = "train_aug"
    config.data.crop = (512, 512)
    config.data.resize, config.data.keep_ratio = (512, 2048), True
    config.data.scale = (0.5, 2.0)
    config.data.cat_max_ratio = 0.75
    config.data.photometric = True
    config.data.workers = 8
    steps = {"40k": 40_000, "20k": 20_000}
    config.train.steps = steps[config_lib.check_variant(variant, steps)]
    config.train.batch_size = 16
    config.train.log_every = 50
    config.optim.name = "sgd"
    config.optim.lr = 0.01
    config.optim.weight_decay = 5e-4
    config.optim.schedule = "polynomial"
    config.optim.end_lr = 1e-4
    config.loss.aux_weight = 0.4
    config.eval.every = 4000
    config.eval.batch_size = 1
    config.checkpoint.every = 500
    return config
