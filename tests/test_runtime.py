"""Device and precision are decided once; what is not needed is disabled, not absent."""

from __future__ import annotations

import inspect
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_up_cards import MadeUpCards

from fastpath import runtime
from fastpath.errors import UsageError

NO_CUDA = not torch.cuda.is_available()


@pytest.mark.skipif(not NO_CUDA, reason="there is a CUDA device here")
def test_cuda_asked_for_where_there_is_none_is_refused_with_a_remedy() -> None:
    with pytest.raises(UsageError, match="--device cpu") as caught:
        runtime.resolve("cuda")
    assert caught.value.exit_status == 2


def test_amp_takes_bfloat16_where_the_cpu_has_it_and_says_so_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cpu_has_bfloat16", lambda: True)
    candidate = runtime.resolve("cpu", amp=True)
    assert (candidate.precision, candidate.tentative) == ("bfloat16", True)
    assert "bfloat16 if faster than float32" in candidate.describe()
    monkeypatch.setattr(runtime, "cpu_has_bfloat16", lambda: False)
    resolved = runtime.resolve("cpu", amp=True)
    assert resolved.precision == "float32"
    assert "bfloat16" in resolved.notice
    assert runtime.resolve("cpu").notice == ""


def test_the_suite_answers_here(cpu_bfloat16: bool) -> None:
    assert runtime.cpu_has_bfloat16() is cpu_bfloat16


def test_processes_that_a_test_starts_get_its_answer() -> None:
    code = """
import os
from fastpath import runtime
print(os.environ["FASTPATH_TEST_BFLOAT16"])
for told in ("no", "yes"):
    os.environ["FASTPATH_TEST_BFLOAT16"] = told
    print(runtime.cpu_has_bfloat16())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [os.environ["FASTPATH_TEST_BFLOAT16"], "False", "True"]


@pytest.mark.parametrize(
    ("line", "has_bfloat16"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 rdpid", True),  # Zen 4
        ("flags\t\t: fpu avx2 avx512f amx_bf16 amx_tile", True),  # Sapphire Rapids
        ("Features\t: fp asimd sve svebf16 bf16", True),  # Graviton 3
        ("flags\t\t: fpu avx2 clwb", False),  # Zen 3
        ("flags\t\t: fpu avx2 avx512_bf16_of_another_name", False),
        ("model name\t: bf16", False),
        ("", False),
    ],
)
def test_bfloat16_is_read_from_the_flags_of_the_cpu(
    line: str, has_bfloat16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(runtime, "_CPUINFO", cpuinfo)
    asked = inspect.unwrap(runtime.cpu_has_bfloat16)  # the suite has an answer of its own in its place
    assert not asked()  # no such file: not Linux
    cpuinfo.write_text(f"processor\t: 0\n{line}\nbugs\t: none\n", encoding="utf-8")
    assert asked() is has_bfloat16


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_a_precision_that_is_named_is_taken_and_emulation_is_told(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool
) -> None:
    monkeypatch.setattr(runtime, "cpu_has_bfloat16", lambda: has_bfloat16)
    named = {each: runtime.resolve("cpu", precision=each) for each in ("float32", "bfloat16", "float16")}
    assert all(resolved.precision == each and not resolved.tentative for each, resolved in named.items())
    assert named["float32"].notice == ""
    assert ("emulates" in named["bfloat16"].notice) == (not has_bfloat16)
    assert "emulates" in named["float16"].notice
    assert runtime.resumed("bfloat16", "cpu") == ("bfloat16" if has_bfloat16 else "auto")
    assert runtime.resumed("float32", "cpu") == "float32"
    assert runtime.resumed("float16", "cpu") == "auto"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_autocast_computes_in_the_stated_precision(precision: runtime.Precision, dtype: torch.dtype) -> None:
    here = runtime.Runtime(torch.device("cpu"), precision)
    layer = torch.nn.Linear(4, 4)
    with here.autocast():
        assert layer(torch.ones(1, 4)).dtype == dtype
    assert here.grad_scaler().is_enabled() == (precision == "float16")


def test_placement_follows_the_device() -> None:
    cpu, cuda = runtime.Runtime(torch.device("cpu")), runtime.Runtime(torch.device("cuda", 1))
    assert (cpu.placement, cpu.dali_device_id) == ("cpu", None)
    assert (cuda.placement, cuda.dali_device_id) == ("gpu", 1)


def test_models_are_prepared_channels_last() -> None:
    model = runtime.Runtime(torch.device("cpu")).prepare(torch.nn.Conv2d(3, 8, 3))
    weight = next(model.parameters())
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_a_seed_is_a_function_of_its_position_only() -> None:
    here = runtime.Runtime(torch.device("cpu"))

    def draw(*position: int) -> float:
        here.seed(3, *position)
        return float(torch.rand(()))

    first = draw(0, 1)
    assert draw(1, 0) != first
    assert draw(0, 1) == first
    assert len({draw(epoch, step) for epoch in range(5) for step in range(5)}) == 25


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_on_the_cpu_freed_activations_are_kept_for_the_next_step() -> None:
    runtime.resolve("cpu")

    def faults_of_a_large_block() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.zeros(12 << 20)  # 48 MiB: 12,288 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    # The first ones may lie among smaller blocks that are a few bytes short; given back, every one would fault.
    assert min(faults_of_a_large_block() for _ in range(10)) < 1000


def test_a_rank_is_taken_from_torchrun_only_by_those_that_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "RANK": "5",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "6",
        "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_RESTART_COUNT": "3",
    }
    assert runtime.attempt() == 0
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = torch.get_num_threads()
    try:
        alone, ranked = runtime.resolve("cpu"), runtime.resolve("cpu", ranked=True)
    finally:
        torch.set_num_threads(before)
    assert (alone.rank, alone.world_size) == (0, 1)
    assert (ranked.rank, ranked.world_size) == (5, 6)
    assert ranked.num_threads == max(1, alone.num_threads // 2)  # two ranks share this machine
    assert runtime.attempt() == 3


def test_alone_nothing_is_asked_of_other_ranks() -> None:
    here, model, values = runtime.Runtime(torch.device("cpu")), torch.nn.Linear(2, 1), torch.ones(2)
    with here.group(), here.unsynchronised(model):
        assert here.distribute(model) is model
        assert here.gather("mine") == ["mine"]
        assert here.rank_zero_first(lambda: 7) == 7
        here.broadcast_buffers(model)
        total = here.all_reduce_sum(values)
    assert torch.equal(total, values)
    assert total.data_ptr() != values.data_ptr()


def test_on_the_cpu_there_are_no_streams() -> None:
    here = runtime.Runtime(torch.device("cpu"))
    assert here.loader_stream is None
    assert here.training_stream is None
    with here.on_loader_stream():
        here.record_event()()
    assert runtime.Runtime(torch.device("cuda", 0)).loader_stream is not None  # made when used: no driver is needed


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> MadeUpCards:
    """Two cards that are not there."""
    cards = MadeUpCards(["a card", "a card"], [(9, 0), (9, 0)], ["sm_80", "sm_90"])
    monkeypatch.setattr(torch, "cuda", cards)
    monkeypatch.setattr(runtime.torch_settings, "use_tf32", lambda: None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    return cards


@pytest.mark.parametrize(("device", "number"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_card_is_named_by_its_number(two_cards: MadeUpCards, device: str, number: int) -> None:
    resolved = runtime.resolve(device)
    assert (resolved.device, resolved.dali_device_id) == (torch.device("cuda", number), number)
    assert two_cards.chosen[-1] == number
    assert resolved.describe().startswith("a card, float32 as TF32")


def test_a_card_that_is_not_there_or_is_not_this_ranks_is_refused(
    two_cards: MadeUpCards, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"--device cuda:2: found cuda:0, cuda:1; name one"):
        runtime.resolve("cuda:2")
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    before = torch.get_num_threads()
    try:
        assert runtime.resolve("cuda", ranked=True).device == torch.device("cuda", 1)
        with pytest.raises(UsageError, match="each process takes a card of its own"):
            runtime.resolve("cuda:0", ranked=True)
        del two_cards.names[1]
        with pytest.raises(UsageError, match="found 1 CUDA devices for 2 processes"):
            runtime.resolve("cuda", ranked=True)
    finally:
        torch.set_num_threads(before)


def test_a_card_that_torch_has_no_kernels_for_is_refused_or_left_alone(two_cards: MadeUpCards) -> None:
    two_cards.capabilities = [(6, 0), (9, 0)]
    assert runtime.resolve("cuda:1").device == torch.device("cuda", 1)
    for device in ("cuda", "cuda:0"):
        with pytest.raises(
            UsageError, match=f"--device {device}: this torch has no kernels for a card; use --device cpu"
        ):
            runtime.resolve(device)
    resolved = runtime.resolve("auto")
    assert resolved.device == torch.device("cpu")
    assert "no kernels for a card" in resolved.notice
    assert two_cards.chosen == [0, 1]


def test_blocks_that_torch_keeps_count_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (10 << 30, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 60 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 5 << 30)
    assert runtime.Runtime(torch.device("cuda", 0)).free_bytes == 65 << 30


def test_what_earlier_runs_left_is_released_on_a_card_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("released"))
    runtime.Runtime(torch.device("cpu")).release()
    assert calls == []
    runtime.Runtime(torch.device("cuda", 0)).release()
    assert calls == ["released"]


def test_the_first_rank_decides_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks, one after the other: what rank 0 sends is what rank 1 receives."""
    sent: list[list[object]] = []

    def broadcast(objects: list[object]) -> None:
        if ranks[-1].rank == 0:
            sent.append(list(objects))
        else:
            objects[:] = sent.pop()

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    ranks = [runtime.Runtime(torch.device("cpu"), world_size=2)]
    other = runtime.Runtime(torch.device("cpu"), rank=1, world_size=2)

    def refuse() -> int:
        raise UsageError("there", "found this, wanted that", "change it")

    assert ranks[0].rank_zero_first(lambda: 7) == 7
    ranks.append(other)
    assert other.rank_zero_first(lambda: pytest.fail("rank 1 was asked")) == 7
    ranks.pop()
    with pytest.raises(UsageError):
        ranks[0].rank_zero_first(refuse)
    ranks.append(other)
    with pytest.raises(SystemExit) as ended:
        other.rank_zero_first(refuse)
    assert ended.value.code == 2
