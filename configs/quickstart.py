"""The quick start: a small ResNet learns streets by night from 64 labelled images.

It was pretrained on streets by day (configs/pretrain_synthetic.py); `:scratch` begins
the same run from random weights instead. All images are rendered on the way.
"""

from jaxseg import config as config_lib


def get_config(variant: str = "pretrained") -> config_lib.Config:
    """The recipe; `variant` is where the backbone's weights come from."""
    config = config_lib.Config()
    config.model.head = "deeplabv3plus"
    config.model.backbone = "resnet18"
    config.model.width = 12
    config.model.output_stride = 16
    config.model.head_channels = 48
    config.model.low_level_channels = 16
    config.model.dropout = 0.1
    config_lib.check_variant(variant, ("pretrained", "scratch"))
    if variant == "pretrained":
        config.pretrained.path = "jaxseg/synthetic_day"
        config.pretrained.skip = ("classifier",)  # its head; the classes get a new one
    config.data.name = "synthetic"
    config.data.domain = "night"
    config.data.train_images = 64
    config.data.eval_images = 100
    config.data.brightness = config.data.contrast = 0.3
    config.data.saturation = 0.3
    config.data.scale = (0.75, 1.5)
    config.train.steps = 240
    config.train.batch_size = 8
    config.optim.name = "adamw"
    config.optim.lr = 1e-3
    config.optim.weight_decay = 0.01
    config.optim.decay_exclude = ("*.bias", "*.scale")
    config.optim.warmup_steps = 20
    config.eval.every = 120
    return config
