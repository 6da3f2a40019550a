"""Pixel masks from image tags: Regional Semantic Contrast and Aggregation.

    import rca

    model = rca.load("results/demo/train_seg/pseudo")
    result = model.predict("photograph.jpg")

docs/guides/predict.md says what a model and a result hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rca.inference.loading import load
    from rca.inference.model import SegmentationModel
    from rca.inference.prototype_model import PrototypeModel
    from rca.inference.result import Result

__all__ = ["PrototypeModel", "Result", "SegmentationModel", "load"]


def __getattr__(name: str) -> Any:
    # On first use: torch takes seconds to import, and most of the package does without it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rca.inference import loading, model, prototype_model, result

    homes = {
        "PrototypeModel": prototype_model,
        "Result": result,
        "SegmentationModel": model,
        "load": loading,
    }
    return getattr(homes[name], name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
