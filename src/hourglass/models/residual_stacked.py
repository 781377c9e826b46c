"""Residual Stacked Hourglass (Yoo, Peng, Aggarwal: slides, 2019): identity highways between hourglasses.

The network is the stacked hourglass of ECCV 2016, deeper, with paths without parameters between
hourglasses that lie symmetric about the middle one: what enters hourglass 1 of five also reaches
hourglass 5, and what enters 2 also reaches 4. Inputs and outputs are those of `stacked_hourglass`.
"""

from torch import Tensor

from hourglass.models.stacked_hourglass import (
    NO_MEAN,
    RGB,
    UNIT_STD,
    StackedHourglass,
    Stages,
    check_input_size,
    remaining_rows,
)

HIGHWAYS = ("input", "merged", "output", "none")
"""Where a highway starts and ends; `ResidualStackedHourglass` says what each word means."""


class ResidualStackedHourglass(StackedHourglass):
    """Stacked hourglasses with identity highways from stack i to stack n - 1 - i, counted from 0.

    The slides draw the highways in a figure and say no more, so where they end is an option (ours); the
    parameter count that they print fits plain additions.

    Args:
        joints, features, depth, mean, std: as in `StackedHourglass`.
        stacks: hourglasses, n; the slides have 5.
        blocks: residuals at each position of an hourglass; the slides' count needs 2.
        highways: "input": the features that enter stack i are added to those that enter stack n - 1 - i,
            and so take part in that stack's own skip to the next one, too.
            "merged": what leaves stack i, merged, is added there instead. For the two middle stacks of an
            even n that already is the partner's input, so no highway joins them.
            "output": the features that enter stack i are added to the output of hourglass n - 1 - i.
            "none": no highway, which is `StackedHourglass`.

    Weights are named as in `StackedHourglass` and fit it. Raises ValueError for numbers that make no
    network, and where `highways` would join nothing: 1 stack, or 2 with "merged".
    """

    def __init__(
        self,
        joints: int,
        stacks: int = 5,
        features: int = 256,
        depth: int = 4,
        blocks: int = 2,
        highways: str = "input",
        mean: RGB = NO_MEAN,
        std: RGB = UNIT_STD,
    ) -> None:
        super().__init__(joints, stacks, features, depth, blocks, mean, std)
        if highways not in HIGHWAYS:
            raise ValueError(f"highways must be one of {', '.join(HIGHWAYS)}, not {highways!r}")
        self.highways = highways
        # What leaves stack i, merged, is what enters stack i + 1.
        shift = 1 if highways == "merged" else 0
        mirrored = [stacks - 1 - i + shift for i in range(stacks)]
        self.sources = [s if s < i and highways != "none" else None for i, s in enumerate(mirrored)]
        if highways != "none" and not any(s is not None for s in self.sources):
            raise ValueError(
                f"highways={highways!r} needs more stacks, got {stacks}; take more, or highways 'none'"
            )

    def stages(self, image: Tensor) -> Stages:
        """Each stage's heatmaps in turn, see `Stages`."""
        check_input_size(image.shape[-2], image.shape[-1], self.depth)
        x = self.stem(self.normalise(image))
        entered: list[Tensor] = []
        for i, hourglass in enumerate(self.hourglasses):
            source = self.sources[i]
            if source is not None and self.highways != "output":
                x = x + entered[source]
            entered.append(x)
            features = hourglass(x)
            if source is not None and self.highways == "output":
                features = features + entered[source]
            y = self.necks[i](features)
            heatmaps = self.heads[i](y)
            rows = yield heatmaps
            if i < len(self.merge_features):
                x = remaining_rows(x + self.merge_features[i](y) + self.merge_heatmaps[i](heatmaps), rows)
                entered = [remaining_rows(earlier, rows) for earlier in entered]


def residual_stacked(joints: int = 17, mean: RGB = NO_MEAN, std: RGB = UNIT_STD) -> ResidualStackedHourglass:
    """The slides' network: 5 stacks, 31.022 M parameters for 17 joints, 30.97 GMAC at 256 x 256.

    The slides print 31.1 M and a PCK of 81.1 on COCO, below the 84.7 of their baseline, `hg_slides`. The code
    that their counts fit keeps two merge convolutions after the last stack that nothing reads, 0.070 M.
    """
    return ResidualStackedHourglass(joints, mean=mean, std=std)
