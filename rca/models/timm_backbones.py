"""timm's networks as backbones: `backbone.name: timm/MODEL`, with the extra `timm`.

timm's `features_only` networks that are sequences of convolutional stages become sequences of
blocks. The blocks are the stem and then each stage (EfficientNets, MobileNetV3), or the modules up
to each of timm's features (all others: ResNets, ConvNeXts, RegNets …). Transformers with one stride
and networks with parallel branches are refused, since they are no such sequence.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rca.config import TIMM, ConfigError, not_installed
from rca.config import Backbone as BackboneConfig
from rca.data.views import MEAN, STD

OWN_STRIDE = 32  # of nearly all of timm's networks, including those without `output_stride`
PROBE = (64, 96)  # pixels; multiples of every stride, and not square
# What timm's networks raise where they do not support a stride, or cannot give features.
REFUSALS = (
    AssertionError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Renormalise(nn.Module):
    """A conversion from RCA's normalisation of images to the one that a network's weights need."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        ours, wanted = torch.tensor((MEAN, STD)), torch.tensor((mean, std))
        scale = ours[1] / wanted[1]
        shift = (ours[0] - wanted[0]) / wanted[1]
        # Not persistent: the configuration determines them, so weights files need not hold them.
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("shift", shift[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Convert images, (B, 3, H, W), to the other normalisation."""
        return images * self.scale + self.shift


def timm_blocks(cfg: BackboneConfig) -> list[nn.Module]:
    """Build all blocks of the configured network, with its weights.

    Raises:
        ConfigError: timm is missing or has no such network, the network is no sequence of blocks
            or cannot have the requested stride, or the weights are unavailable or belong to
            another network.
    """
    if find_spec("timm") is None:
        raise not_installed(f"backbone.name: {cfg.name}", "timm", "timm")
    model = cfg.name.removeprefix(TIMM)
    _check_name(model, cfg.weights)
    network = _network(model, cfg)
    if isinstance(cfg.weights, Path):
        _load(network, cfg.weights)
    blocks = _row(network, cfg.name)
    _check_stride(blocks, cfg)
    mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    if [*mean, *std] != [*MEAN, *STD]:
        blocks[0] = nn.Sequential(Renormalise(mean, std), blocks[0])
    return blocks


def _check_name(model: str, weights: Path | str) -> None:
    """Refuse names that timm does not know, and ImageNet's weights where timm has none."""
    import timm  # here, since it takes seconds and may not be installed

    known = [*timm.list_models(), *timm.list_models(pretrained=True)]
    if model not in known:
        close = get_close_matches(model, known, 1, cutoff=0.5)
        hint = f"; did you mean {TIMM}{close[0]}?" if close else ""
        raise ConfigError(f"backbone.name: timm {timm.__version__} has no model {model}{hint}")
    if weights == "imagenet" and not timm.is_model_pretrained(model):
        raise ConfigError(
            f"backbone.weights: timm has no weights of {model}; name a file of them, or none"
        )


def _network(model: str, cfg: BackboneConfig) -> Any:
    """Build the `features_only` network at the requested stride."""
    import timm

    options: dict[str, Any] = {} if cfg.stride == OWN_STRIDE else {"output_stride": cfg.stride}
    pretrained = cfg.weights == "imagenet"
    try:
        return timm.create_model(model, pretrained=pretrained, features_only=True, **options)
    except OSError as error:  # the base class of the Hugging Face Hub's errors
        reason = str(error).partition("\n")[0]
        known = timm.get_pretrained_cfg(model)
        raise ConfigError(
            f"backbone.weights: the weights of {cfg.name} could not be fetched ({reason}); "
            f"fetch model.safetensors of huggingface.co/{known and known.hf_hub_id} on a machine "
            "with internet, and name that file"
        ) from None
    except REFUSALS as error:
        refusal = error
    try:
        plain: Any = timm.create_model(model, features_only=True)
    except REFUSALS:
        raise ConfigError(f"backbone.name: {cfg.name} gives no features: {refusal}") from None
    _row(plain, cfg.name)
    raise _wrong_stride(cfg, plain.feature_info.reduction()[-1])


def _row(network: Any, name: str) -> list[nn.Module]:
    """Arrange the network's modules as blocks, each of which takes the output of the one before."""
    from timm.models import FeatureListNet

    if isinstance(network, FeatureListNet) and network.output_fmt == "NCHW":
        return _up_to_each(network, set(network.return_layers))
    if hasattr(network, "conv_stem") and getattr(network, "feature_hooks", 0) is None:
        *stem, stages = network.children()
        return [nn.Sequential(*stem), *stages]
    raise ConfigError(
        f"backbone.name: {name} is not a sequence of convolutional stages, which RCA needs; "
        f"take one that is, such as {TIMM}convnext_tiny or {TIMM}resnet50"
    )


def _up_to_each(network: nn.Module, ends: set[str]) -> list[nn.Module]:
    """Group the modules into blocks that end at each of `ends`; drop those after the last."""
    blocks: list[nn.Module] = []
    modules: list[nn.Module] = []
    for name, module in network.named_children():
        modules.append(module)
        if name in ends:
            blocks.append(nn.Sequential(*modules))
            modules = []
    return blocks


def _check_stride(blocks: list[nn.Module], cfg: BackboneConfig) -> None:
    """Run the blocks once to measure their stride, whatever timm says of it."""
    row = nn.Sequential(*blocks).eval()
    try:
        with torch.no_grad():
            found = row(torch.zeros(1, 3, *PROBE)).shape[-2:]
    except REFUSALS:
        raise ConfigError(
            f"backbone.name: {cfg.name} does not take photographs of any size "
            f"({PROBE[0]} × {PROBE[1]} pixels, for one), which RCA needs"
        ) from None
    row.train()
    if found != tuple(side // cfg.stride for side in PROBE):
        raise _wrong_stride(cfg, PROBE[0] // found[0])


def _wrong_stride(cfg: BackboneConfig, own: int) -> ConfigError:
    return ConfigError(
        f"backbone.stride: {cfg.name} has features of stride {own} and cannot be brought to "
        f"{cfg.stride}; set {own}, or take another network"
    )


def _load(network: nn.Module, path: Path) -> None:
    """Load the weights of timm's complete network, such as the Hub's `model.safetensors`.

    The classifier, and all else that the features do not need, is left out.
    """
    if not path.is_file():
        raise ConfigError(f"backbone.weights: {path}: no such file")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ConfigError(f"backbone.weights: {path}: not a safetensors file ({error})") from None
    parts = dict(network.named_children())
    found: dict[str, Tensor] = {}
    for key, value in state.items():  # `stages.0` is `stages_0` in a `features_only` network
        flat = re.sub(r"^(\w+)\.(\w+)\.", r"\1_\2.", key)
        found[flat if flat.partition(".")[0] in parts else key] = value
    wanted = network.state_dict()
    for key, value in wanted.items():
        if key not in found:
            reason = f"{key} is missing"
        elif found[key].shape != value.shape:
            reason = f"{key} is {tuple(found[key].shape)}, not {tuple(value.shape)}"
        else:
            continue
        raise ConfigError(f"backbone.weights: {path} is not of this backbone: {reason}")
    network.load_state_dict({key: found[key] for key in wanted})
