"""What a reader has already: a schedule of one's own."""

from torch.optim.lr_scheduler import ExponentialLR


class MyLR(ExponentialLR):
    """Decay by gamma every hundred updates."""

    def __init__(self, optimizer, gamma=0.5):
        super().__init__(optimizer, gamma ** (1 / 100))
