"""A network that reads its own heatmaps, so that a program without ours gets joints."""

from torch import Tensor, nn

from hourglass.inference.forward import merge_views, read_stage
from hourglass.weights.checkpoint import WeightFacts

NAMES = ("keypoints", "scores")
"""What the answers before the stages are called in an exported file."""


class Decoded(nn.Module):
    """Crops (B, 3, S, S) uint8 to joints (B, J, 2) in the crop's pixels, scores (B, J), and every stage.

    The joints are read as `inference.forward` reads them: with the weights' own decoding, offset and signs.
    """

    def __init__(self, network: nn.Module, facts: WeightFacts) -> None:
        super().__init__()
        self.network, self.facts, self.output = network, facts, str(network.output)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        stages: list[Tensor] = self.network(image)
        last = merge_views(stages[-1], self.output, self.facts, flip_test=False)
        answer = read_stage(last, self.facts, image.shape[-1])
        return answer.keypoints, answer.scores, *stages
