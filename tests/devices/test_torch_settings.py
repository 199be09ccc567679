"""Settings of the whole process: each in a process of its own, since they outlive a test."""

from __future__ import annotations

import os
import subprocess
import sys

TF32 = """
import warnings
import torch
from fastpath.devices.torch_settings import use_tf32
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


DETERMINISTIC = """
import os
import torch
from fastpath.runtime import Runtime
card, cpu = (Runtime(torch.device(name)) for name in ("cuda", "cpu"))
cudnn = torch.backends.cudnn
cudnn.benchmark = True
for context in (cpu.repeatable(True), card.repeatable(False)):
    with context:
        assert cudnn.benchmark
        assert not torch.are_deterministic_algorithms_enabled()
assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
with card.repeatable(True):
    assert not cudnn.benchmark
    assert cudnn.deterministic
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
assert cudnn.benchmark
assert not cudnn.deterministic
assert not torch.are_deterministic_algorithms_enabled()
"""


def test_cuda_is_made_deterministic_where_it_is_asked_for_and_only_for_the_run() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    command = [sys.executable, "-c", DETERMINISTIC]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
