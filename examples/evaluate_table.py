"""Judge a table of predictions, whatever made it: `python examples/evaluate_table.py TABLE`.

The table, CSV or Parquet, has columns `label` (0 or 1) and `logit`, and `group` where slides are known. Neither torch
nor DALI is loaded.
"""

from __future__ import annotations

import sys

import pandas as pd

import fastpath


def main(path: str) -> None:
    """Print every measure with its 95 % interval, by slide where slides are known."""
    table = pd.read_csv(path) if path.endswith(".csv") else pd.read_parquet(path)
    groups = table["group"].to_numpy() if "group" in table else None
    print(fastpath.evaluate(table["label"].to_numpy(), table["logit"].to_numpy(), groups))


if __name__ == "__main__":
    main(sys.argv[1])
