"""Results as JSON that any reader takes: JSON has no numbers that are not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np


def plain(value: Any) -> Any:  # noqa: ANN401 (any nesting of values)
    """Return JSON values: what is undefined becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dumps(value: Any) -> str:  # noqa: ANN401 (any nesting of values)
    """Return a result as JSON text; paths and the like as strings."""
    return json.dumps(plain(value), indent=2, allow_nan=False, default=str)
