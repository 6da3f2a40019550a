"""The method's functions with the paper's values, as the typed configuration has them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from rca.config import Aggregation, Attention, Contrast, Memory, TrainCam
from rca.method import accumulation, aggregation, contrast, memory, mixup, regions
from rca.method.objective import ObjectiveSettings
from rca.training.cam_training import objective_settings as settings_of


def with_values(function: Callable[..., Any], **values: Any) -> Callable[..., Any]:
    """Give some arguments of a function values, for calls that leave them out."""
    signature = inspect.signature(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs).arguments
        return function(*args, **kwargs, **{k: v for k, v in values.items() if k not in given})

    return call


RSC, MEMORY, RSA, OAA = Contrast(), Memory(), Aggregation(), Attention()

info_nce = with_values(contrast.info_nce, temperature=RSC.temperature, form=RSC.form)
region_contrast = with_values(
    contrast.region_contrast,
    temperature=RSC.temperature,
    beta=RSC.beta,
    partner=RSC.partner,
    form=RSC.form,
)
mix_regions = with_values(mixup.mix_regions, beta=RSC.beta, partner=RSC.partner)
sample_partners = with_values(mixup.sample_partners, partner=RSC.partner)
class_regions = with_values(
    regions.class_regions, rule=RSC.region_rule, fraction=RSC.region_fraction
)
pool_regions = with_values(regions.pool_regions, pooling=MEMORY.pooling)
memory_bank = with_values(memory.MemoryBank, update=MEMORY.update, momentum=MEMORY.momentum)
admitted = with_values(memory.admitted, gate=MEMORY.gate)
prototype_affinity = with_values(
    aggregation.prototype_affinity, scale=RSA.scale, temperature=RSA.temperature
)
aggregate = with_values(aggregation.aggregate, scale=RSA.scale, temperature=RSA.temperature)
linear_maps = with_values(aggregation.linear_maps, scale=RSA.scale, temperature=RSA.temperature)
attention_drop = with_values(
    accumulation.attention_drop,
    threshold=OAA.drop_threshold,
    probability=OAA.drop_probability,
)


def objective_settings(**changes: Any) -> ObjectiveSettings:
    """Make the paper's settings with some changed."""
    return dataclasses.replace(settings_of(TrainCam()), **changes)
