"""The typed configuration: what `params.yaml` may hold, with units and the paper's values.

Every key is checked before anything runs (`extra="forbid"`); an error names the file, the key and
what is allowed. Stages receive one section of `Params`; none of them reads the file itself.
"""

from rca.config.cam import Head, InferCam, TrainCam
from rca.config.data import IndexSection, View
from rca.config.download import ArchiveSource, Coco14Source, Download, FolderSource, Voc12AugSource
from rca.config.labels import Crf, PseudoLabels
from rca.config.method import Aggregation, Attention, Contrast, Memory
from rca.config.params import Params, check_supply, json_schema, load, saliency_keys
from rca.config.readout import Readout
from rca.config.results import Evaluate, Report, Track
from rca.config.section import IGNORE, ConfigError, Section, not_installed
from rca.config.segmentation import ROUNDS, SUPERVISIONS, InferSeg, Relabel, TrainSeg
from rca.config.training import BACKBONES, TIMM, Backbone, Compute, Optimiser

__all__ = [
    "BACKBONES",
    "IGNORE",
    "ROUNDS",
    "SUPERVISIONS",
    "TIMM",
    "Aggregation",
    "ArchiveSource",
    "Attention",
    "Backbone",
    "Coco14Source",
    "Compute",
    "ConfigError",
    "Contrast",
    "Crf",
    "Download",
    "Evaluate",
    "FolderSource",
    "Head",
    "IndexSection",
    "InferCam",
    "InferSeg",
    "Memory",
    "Optimiser",
    "Params",
    "PseudoLabels",
    "Readout",
    "Relabel",
    "Report",
    "Section",
    "Track",
    "TrainCam",
    "TrainSeg",
    "View",
    "Voc12AugSource",
    "check_supply",
    "json_schema",
    "load",
    "not_installed",
    "saliency_keys",
]
