"""Settings of the whole process: each in a process of its own, since they outlive a test."""

from __future__ import annotations

import subprocess
import sys

TF32 = """
import warnings
import torch
from fastpath.torch_settings import use_tf32
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    use_tf32()
    use_tf32()
assert not told, told
assert torch.get_float32_matmul_precision() == "high"
assert torch.backends.cuda.matmul.allow_tf32
assert torch.backends.cudnn.allow_tf32
if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
    found = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    assert found == ("tf32", "tf32"), found
"""


def test_products_and_convolutions_use_tf32_alike_by_every_name_that_torch_has_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", TF32], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
