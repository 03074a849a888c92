"""CamVid, 11 classes at 360x480, in the folder layout: DeepLabV3+, pretrained.

`:mobilenet_v2` (default), `:mobilenet_v2_tf` (for weights trained with TensorFlow's
padding and RGB / 127.5 - 1) and `:resnet18` choose the backbone. Set config.data.root
to the data; config.pretrained.path may also be a file, or empty for random weights.
Brostow et al., Pattern Recognition Letters 2009; classes as SegNet groups them.
"""

from jaxseg import config as config_lib

# 1 / sqrt(share of the training pixels), of mean 1 over the pixels. In order: sky,
# building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist.
CLASS_WEIGHTS = (0.88, 0.75, 3.63, 0.64, 1.7, 1.15, 3.32, 3.39, 1.49, 4.5, 6.66)


PRETRAINED = {
    "mobilenet_v2": "torchvision/mobilenet_v2",
    "mobilenet_v2_tf": "weights/mobilenet_v2_tf.safetensors",  # yours; no hub has it
    "resnet18": "torchvision/resnet18",
}


def get_config(variant: str = "mobilenet_v2") -> config_lib.Config:
    """The recipe; `variant` is the backbone and how its weights were trained."""
    config = config_lib.Config()
    config.pretrained.path = PRETRAINED[config_lib.check_variant(variant, PRETRAINED)]
    config.model.head = "deeplabv3plus"
    config.model.backbone = variant.removesuffix("_tf")
    if variant.endswith("_tf"):
        config.model.padding = "same"
        config.data.mean = config.data.std = (127.5, 127.5, 127.5)
    config.model.output_stride = 16
    config.data.name = "folder"
    config.data.root = "data/camvid"
    config.data.crop = (256, 320)
    config.data.scale = (0.6, 1.4)
    config.data.brightness = config.data.contrast = config.data.saturation = 0.3
    config.train.steps = 400
    config.train.batch_size = 8
    config.loss.class_weights = CLASS_WEIGHTS
    config.optim.name = "adamw"
    config.optim.lr = 6e-4
    config.optim.weight_decay = 0.01
    config.optim.decay_exclude = ("*.bias", "*.scale")
    config.optim.warmup_steps = 20
    config.optim.head_lr_multiplier = 2.0
    config.eval.every = 200
    return config
