"""Your own images: set config.data.root to a folder of this layout.

    ROOT/{train,val}/images/*.{jpg,png}
    ROOT/{train,val}/labels/*.png      same name; 8-bit or palette class indices
    ROOT/classes.json                  {"names": [...], "palette": [[r, g, b], ...],
                                        "ignore": [raw values]}

`:deeplabv3` (default), `:deeplabv3plus` and `:fcn` choose the head. The ResNet-50 is
fetched once; set config.pretrained.path to a file where there is no network.
"""

from jaxseg import config as config_lib


def get_config(variant: str = "deeplabv3") -> config_lib.Config:
    """The recipe; `variant` is the head."""
    config = config_lib.Config()
    config.model.head = config_lib.check_variant(variant, config_lib.HEADS)
    config.model.backbone = "resnet50"
    config.model.output_stride = 16
    config.pretrained.path = "torchvision/resnet50"
    config.data.name = "folder"
    config.data.crop = (512, 512)
    config.train.steps = 4000
    config.train.batch_size = 8
    config.optim.lr = 0.01
    config.optim.head_lr_multiplier = 10.0
    config.optim.warmup_steps = 100
    config.eval.every = 500
    return config
