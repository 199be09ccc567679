"""The one configuration of a run: nested, frozen, unknown keys refused.

Sources, later ones winning: the defaults, a recipe, TOML file or earlier run, `--set a.b=value` overrides.
"""

from __future__ import annotations

from fastpath.config.augment import POLICIES as POLICIES
from fastpath.config.augment import AugmentConfig as AugmentConfig
from fastpath.config.augment import MixConfig as MixConfig
from fastpath.config.core import Config as Config
from fastpath.config.core import keys as keys
from fastpath.config.core import parse as parse
from fastpath.config.sources import load as load
from fastpath.config.sources import recipe as recipe
from fastpath.config.train import DataConfig as DataConfig
from fastpath.config.train import ModelConfig as ModelConfig
from fastpath.config.train import OptimConfig as OptimConfig
from fastpath.config.train import ScheduleConfig as ScheduleConfig
from fastpath.config.train import StageConfig as StageConfig
from fastpath.config.train import TrainConfig as TrainConfig
