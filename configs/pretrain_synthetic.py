"""Trains the small ResNet that the quick start begins from, on scenes by day.

Its weights ship as jaxseg/pretrained/weights/synthetic_day.safetensors.
"""

from jaxseg import config as config_lib


def get_config() -> config_lib.Config:
    """The recipe."""
    config = config_lib.Config()
    config.model.head = "deeplabv3plus"
    config.model.backbone = "resnet18"
    config.model.width = 12
    config.model.output_stride = 16
    config.model.head_channels = 48
    config.model.low_level_channels = 16
    config.model.dropout = 0.1
    config.data.name = "synthetic"
    config.data.domain = "day"
    config.data.train_images = 8000
    config.data.brightness = config.data.contrast = 0.3
    config.data.saturation = 0.3
    config.data.scale = (0.75, 1.5)
    config.train.steps = 2500
    config.train.batch_size = 16
    config.optim.name = "adamw"
    config.optim.lr = 2e-3
    config.optim.weight_decay = 0.01
    config.optim.decay_exclude = ("*.bias", "*.scale")
    config.optim.warmup_steps = 100
    config.eval.every = 500
    return config
