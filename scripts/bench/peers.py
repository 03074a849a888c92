"""The same networks in PyTorch, trained and run as its users would for speed.

CPU: float32, contiguous and channels_last. GPU: bfloat16 by autocast, channels_last,
fused SGD, torch.compile(mode="max-autotune").
"""

import importlib
from collections.abc import Callable
from typing import Any

import timing

torch = timing.import_torch()


def make_network(name: str, num_classes: int) -> Any:
    """`deeplabv3_resnet50` and the like; see networks.NETWORKS for ours."""
    torchvision = timing.import_torchvision()
    if name == "deeplabv3_resnet18":
        return _dilated_resnet18(torchvision, num_classes)
    if name == "deeplabv3plus_mobilenet_v2":
        smp = importlib.import_module("segmentation_models_pytorch")
        return smp.DeepLabV3Plus(
            "mobilenet_v2", encoder_weights=None, classes=num_classes
        )
    return torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=num_classes
    )


def _dilated_resnet18(torchvision: Any, num_classes: int) -> Any:
    """Torchvision's DeepLabV3 on a ResNet-18 of output stride 8, which it lacks."""
    resnet = torchvision.models.resnet18()
    for stage, dilation in ((resnet.layer3, 2), (resnet.layer4, 4)):
        for conv in stage.modules():
            if isinstance(conv, torch.nn.Conv2d):
                conv.stride = 1, 1
                conv.dilation = dilation, dilation
                conv.padding = tuple(k // 2 * dilation for k in conv.kernel_size)
    getter = torchvision.models._utils.IntermediateLayerGetter
    deeplabv3 = torchvision.models.segmentation.deeplabv3
    head = deeplabv3.DeepLabHead(512, num_classes)
    return deeplabv3.DeepLabV3(getter(resnet, {"layer4": "out"}), head)


class Peer:
    """A network on its device in one memory format."""

    def __init__(self, name: str, num_classes: int, *, channels_last: bool):
        self.gpu = torch.cuda.is_available()
        self.device = "cuda" if self.gpu else "cpu"
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        network = make_network(name, num_classes)
        self.network = network.to(self.device, memory_format=self.format)
        if self.gpu:
            torch.backends.cudnn.benchmark = True

    def train_step(self, images, labels) -> Callable[[], object]:
        """A step of SGD on a batch: normalized float32 [B H W 3], labels [B H W]."""
        images, labels = self._put(images), torch.tensor(labels).long().to(self.device)
        self.network.train()
        optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=0.01,
            momentum=0.9,
            weight_decay=1e-4,
            fused=self.gpu,
        )
        loss_of = self._compiled(
            lambda images, labels: torch.nn.functional.cross_entropy(
                self._logits(images).float(), labels, ignore_index=255
            )
        )

        def step():
            optimizer.zero_grad(set_to_none=True)
            with self._autocast():
                loss = loss_of(images, labels)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    def forward(self, images, *, argmax: bool) -> Callable[[], object]:
        """Logits of the images' size, or the class of the largest."""
        images = self._put(images)
        self.network.eval()

        def infer(images):
            logits = self._logits(images)
            return logits.argmax(1) if argmax else logits

        infer = self._compiled(infer)

        def run():
            with torch.inference_mode(), self._autocast():
                result = infer(images)
            if self.gpu:
                torch.cuda.synchronize()
            return result

        return run

    def flops(self, images) -> int:
        """Of one forward pass, twice the multiply-adds."""
        from torch.utils import flop_counter  # pyright: ignore

        self.network.eval()
        with torch.inference_mode(), flop_counter.FlopCounterMode(display=False) as f:
            self.network(self._put(images))
        return f.get_total_flops()

    def _put(self, images) -> Any:
        images = torch.tensor(images).permute(0, 3, 1, 2)
        return images.to(self.device).contiguous(memory_format=self.format)

    def _logits(self, images) -> Any:
        out = self.network(images)
        return out["out"] if isinstance(out, dict) else out

    def _autocast(self) -> Any:
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.gpu)

    def _compiled(self, function: Callable) -> Callable:
        return torch.compile(function, mode="max-autotune") if self.gpu else function
