"""Any of torchvision's image classifiers, by name, from random weights."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.models.shapes import image_shape
from lrbench.spec import Count
from lrbench.typos import did_you_mean

# Their training mode would return auxiliary outputs besides the logits, and without an explicit choice of
# initialisation they warn that it will change.
_WITH_AUXILIARY_OUTPUTS = ("googlenet", "inception_v3")


class TorchvisionClassifier(nn.Module):
    """A classifier of `torchvision.models`, adapted to the dataset's channels and image size.

    Maps (batch, 1 or 3, height, width) to (batch, num_outputs). Grey images are repeated to three channels.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_outputs: int, architecture: str, resize: Count | None
    ) -> None:
        """Build the network and try it on one empty image.

        Args:
            input_shape: (channels, height, width).
            num_outputs: classes.
            architecture: a name of `torchvision.models.list_models`, e.g. resnet18.
            resize: pixels to which height and width are scaled, bilinearly, >= 1; None leaves the images
                alone.

        Raises:
            ValueError: there is no such architecture, or it cannot take the dataset's inputs.
        """
        super().__init__()
        # Imported here because it costs seconds that the other models need not pay.
        from torchvision import models

        names: list[str] = models.list_models(module=models)
        if architecture not in names:
            hint = did_you_mean(architecture, names)
            raise ValueError(
                f"model.architecture must be a classifier of torchvision, got {architecture!r}{hint} there are "
                f"{', '.join(names)}"
            )
        channels, _, _ = image_shape(f"torchvision model.architecture={architecture}", input_shape)
        if channels not in (1, 3):
            raise ValueError(
                f"model=torchvision needs images of 1 or 3 channels, got dataset inputs of shape {input_shape}"
            )
        options: dict[str, Any] = {}
        if architecture in _WITH_AUXILIARY_OUTPUTS:
            options = {"aux_logits": False, "init_weights": True}
        self.resize = resize
        self.network: nn.Module = models.get_model(architecture, weights=None, num_classes=num_outputs, **options)
        self._try_on(input_shape, architecture)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of shape (batch, num_outputs)."""
        images = inputs.expand(-1, 3, -1, -1)
        if self.resize is not None:
            images = F.interpolate(
                images, size=(self.resize, self.resize), mode="bilinear", align_corners=False, antialias=True
            )
        logits: Tensor = self.network(images)
        return logits

    def _try_on(self, input_shape: tuple[int, ...], architecture: str) -> None:
        """Find out what sizes a network takes the only way that holds for all of them."""
        self.eval()  # leaves BatchNorm statistics and the random stream as they are
        try:
            with torch.no_grad():
                self(torch.zeros(1, *input_shape))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"model.architecture={architecture} cannot take dataset inputs of shape {input_shape} with "
                f"model.resize={self.resize or 'null'}: {reason}; most architectures take model.resize=224"
            ) from error
        self.train()
