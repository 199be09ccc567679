"""What the engine's tests share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

# These read a tensor's memory, or copy it to the host, without an operation that torch dispatches on the CPU.
_UNSEEN = ("tolist", "numpy", "cpu", "__array__")


class HostReads(TorchDispatchMode):
    """Counts operations that bring a value to the host, and so wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> "HostReads":
        for name in _UNSEEN:
            self._patch.setattr(torch.Tensor, name, self._counted(getattr(torch.Tensor, name)))
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self._patch.undo()
        super().__exit__(*error)

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def read(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return method(*args, **kwargs)

        return read

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        if func.overloadpacket in {
            torch.ops.aten._local_scalar_dense,
            torch.ops.aten.nonzero,
            torch.ops.aten.is_nonzero,
        }:
            self.count += 1
        return func(*args, **kwargs or {})


@pytest.fixture
def host_reads() -> type[HostReads]:
    """A context that counts reads by the host, in `count`."""
    return HostReads


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run these tiny networks on one thread: handing work to a second costs more than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
