"""Any classification network of torchvision as a backbone, tapped at four nodes of its graph."""

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import StochasticDepth

from panvision.model.backbones.base import Backbone, convolve, in_pixels

LEVELS = ("C2", "C3", "C4", "C5")


class TorchvisionNetwork(Backbone):
    """A network up to its last tapped node; parameters have torchvision's names below `network`.

    Args:
        name: torchvision's name of it.
        nodes: names of the nodes whose outputs are C2, C3, C4 and C5, as `get_graph_node_names` lists them.

    Raises:
        ValueError: torchvision has no such network or node, or a node does not have its stride.
    """

    def __init__(self, name: str, nodes: Sequence[str]) -> None:
        super().__init__()
        whole = get_model(name, weights=None)
        _drop_randomness(whole)
        levels = dict(zip(nodes, LEVELS, strict=True))
        tapped = create_feature_extractor(whole, return_nodes=levels).eval()
        # Again, because the extractor does not look into `Conv2dNormActivation`: a convolution and its BatchNorm.
        self.network = _joined(fx.symbolic_trace(tapped))
        kept = self.network.state_dict()
        self.ignored = tuple(name for name in whole.state_dict() if name not in kept)
        self.channels = self._measure_channels(name)
        statistics = get_model_weights(name)["DEFAULT"].transforms()
        self.pixel_mean, self.pixel_std = in_pixels(statistics.mean), in_pixels(statistics.std)
        self.train()

    @property
    def published(self) -> nn.Module:
        """The network, whose parameters have torchvision's names."""
        return self.network

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, S, S) normalised → [C2 (N, ·, S/4, S/4), C3 (S/8), C4 (S/16), C5 (S/32)]."""
        features = self.network(x)
        return [features[level] for level in LEVELS]

    @torch.no_grad()
    def _measure_channels(self, name: str) -> tuple[int, ...]:
        """Channels of the four levels; a pass of one tiny image also shows the strides."""
        shapes = [level.shape for level in self.eval()(torch.zeros(1, 3, 64, 64))]
        if [tuple(shape[2:]) for shape in shapes] != [(side, side) for side in (16, 8, 4, 2)]:
            raise ValueError(f"{name}: its nodes must have the strides 4, 8, 16 and 32")
        return tuple(shape[1] for shape in shapes)


def _drop_randomness(network: nn.Module) -> None:
    """Replace stochastic depth by nothing: of several processes each would drop other samples."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, StochasticDepth):
                setattr(module, name, nn.Identity())


def _joined(network: fx.GraphModule) -> fx.GraphModule:
    """Make each convolution and its BatchNorm one call of `convolve`, which folds frozen ones."""
    graph = network.graph
    for norm in list(graph.nodes):
        if not _calls(network, norm, nn.BatchNorm2d):
            continue
        conv = norm.all_input_nodes[0]
        if not _calls(network, conv, nn.Conv2d) or len(conv.users) > 1:
            continue
        with graph.inserting_before(norm):
            layers = [graph.get_attr(str(node.target)) for node in (conv, norm)]
            joined = graph.call_function(convolve, (conv.args[0], *layers))
        norm.replace_all_uses_with(joined)
        graph.erase_node(norm)
        graph.erase_node(conv)
    network.recompile()
    return network


def _calls(network: fx.GraphModule, node: fx.Node, kind: type[nn.Module]) -> bool:
    """True if a node calls a module of a kind."""
    return node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), kind)
