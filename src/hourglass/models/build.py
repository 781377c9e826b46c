"""A recipe's words become a network."""

from torch import nn

from hourglass.core.skeleton import Skeleton
from hourglass.models.ablations import hg, hg_int, hg_stacked, hg_stacked_add, hg_stacked_int
from hourglass.models.chained import ChainedPrediction, default_order, order_from_names
from hourglass.models.cornernet_hourglass import CornerNetStackedHourglass
from hourglass.models.deeppose import DeepPose
from hourglass.models.layers import with_group_norms
from hourglass.models.multi_scale import MultiScaleStackedHourglass, default_strides
from hourglass.models.people_finder import people_finder
from hourglass.models.residual_stacked import ResidualStackedHourglass
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.models.workshop import WorkshopStackedHourglass
from hourglass.recipe.network import NetworkRecipe


def build_network(
    network: NetworkRecipe,
    skeleton: Skeleton,
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    std: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> nn.Module:
    """A freshly initialised network for these joints; raises ValueError for numbers that make none."""
    n, joints = network, len(skeleton)
    if n.build == "eccv":
        plain = StackedHourglass(joints, n.stacks, n.features, n.depth, n.blocks, mean, std, n.stem)
        return with_group_norms(plain) if n.norm == "group" else plain
    if n.build == "workshop":
        return WorkshopStackedHourglass(joints, n.stacks, n.features, n.depth, mean, std)
    if n.build == "people_finder":
        return people_finder(n.stacks, n.features, n.depth, n.blocks, mean, std)
    if n.build == "residual_stacked":
        return ResidualStackedHourglass(
            joints, n.stacks, n.features, n.depth, n.blocks, n.highways, mean, std
        )
    if n.build == "cornernet":
        return CornerNetStackedHourglass(joints, n.stacks, n.features, n.depth, mean, std)
    if n.build == "mssh":
        return MultiScaleStackedHourglass(
            joints,
            strides=n.strides or default_strides(n.stacks),
            features=n.features,
            depth=n.depth,
            unit=n.unit,
            lateral=n.lateral,
            fusion=n.fusion,
            dispatch=n.dispatch,
            mean=mean,
            std=std,
        )
    if n.build == "deeppose":
        return DeepPose(
            joints,
            skeleton.torso_indices,
            stages=n.stacks,
            backbone=n.backbone,
            width=n.width,
            view_px=n.view_px,
            box_sigma=n.box_sigma,
            dropout=n.dropout,
            batch_norm=n.batch_norm,
            pool=n.pool,
            spread=n.spread,
            mean=mean,
            std=std,
        )
    if n.build == "chained":
        return ChainedPrediction(
            joints,
            order_from_names(skeleton.joints, n.order) if n.order else default_order(skeleton.joints),
            depth=int(n.backbone.removeprefix("resnet")),
            width=n.width,
            hidden=n.hidden,
            hidden_kernel=n.hidden_kernel,
            output_kernel=n.output_kernel,
            feedback=n.feedback,  # type: ignore[arg-type]
            mean=mean,
            std=std,
        )
    designs = {
        "hg": hg,
        "hg_int": hg_int,
        "hg_stacked": hg_stacked,
        "hg_stacked_int": hg_stacked_int,
        "hg_stacked_add": hg_stacked_add,
    }
    return designs[n.build](joints, n.features, n.depth, mean, std)


def channels_last(network: nn.Module) -> nn.Module:
    """The same network with its weights laid out for fast convolutions."""
    import torch

    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
