"""What is killed: each command that writes, what it starts from, and the names that it leaves.

A command runs in a folder that holds `given/`, which it only reads, and `work/`, which it writes. Both are made by
commands, too; one that begins with `!` is the nursery's own (`nursery.PREPARE`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PACK = ("--workers", "1", "--shard-mb", "1")
MODEL = ("model.name=baseline_cnn", "model.pretrained=false", "model.trainable=all")
SMALL = (*MODEL, "data.image_size_px=16", "data.batch_size=16", "data.limit=32", "data.val_limit=16")
TRAIN = (
    *("--device", "cpu", "--threads", "1", "--epochs", "2"),
    *(argument for setting in SMALL for argument in ("--set", setting)),
)
EMBED = ("embed", "given/store", "-o", "work/features", "--model", "local-dir:given/vit", "--device", "cpu")
Steps = tuple[tuple[str, ...], ...]

GIVEN: dict[str, Steps] = {
    "patches": (("!patches", "given/patches", "48"), ("!patches", "given/others", "40")),
    "parts": tuple(("pack", "given/patches", "-o", f"given/part{n}", "--part", f"{n}/2", *PACK) for n in (1, 2)),
    "store": (("pack", "given/patches", "-o", "given/store", *PACK),),
    "run": (("train", "given/store", "-o", "given/run", *TRAIN),),
    "second run": (("train", "given/store", "-o", "given/second", "--seed", "7", *TRAIN),),
    "timm's run": (("train", "given/store", "-o", "given/small", *TRAIN, "--set", "model.name=test_resnet"),),
    "slide": (("!slide", "given/slide.png"),),
    "encoder": (("!encoder", "given/vit"),),
    "features": ((*EMBED[:3], "given/features", *EMBED[4:]),),
    "other slide": (("!slide", "given/other.png"),),
}


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table.

    Attributes:
        arguments: Of `fastpath`.
        given: Keys of `GIVEN` that it reads, each after what it needs itself.
        start: What makes `work/`; nothing leaves it empty.
        store: A directory of `work/` that is the old one or the new one, whole, at any moment.
        files: Files of `work/` that are, each, the old or the new one at any moment.
        closing: The one of `files` whose presence says that they are all old or all new; empty where each is alone.
        resume: What is added to `arguments` to run it again, where the file `resume_if` is there.
        resume_if: See there.
        refuses: Whether running it again, once all is there, is refused.
        varies: Files that tell times or machines, and so need not have the same bytes when made anew.
        ready: Whether all this holds; others are left out.
        slow: Whether its kills take seconds each: in the slow set a share of them is tried.
    """

    arguments: tuple[str, ...]
    given: tuple[str, ...] = ("patches",)
    start: Steps = ()
    store: str = ""
    files: tuple[str, ...] = ()
    closing: str = ""
    resume: tuple[str, ...] = ()
    resume_if: str = ""
    refuses: bool = False
    varies: tuple[str, ...] = ()
    ready: bool = True
    slow: bool = False


PACKED = ("pack", "given/patches", "-o", "work/store", *PACK)
OTHERS = ("pack", "given/others", "-o", "work/store", *PACK)
MERGED = ("merge", "given/part1", "given/part2", "-o", "work/store")
SLIDE = (
    "heatmap.png",
    "top_tiles.png",
    "viewer.html",
    "tiles.parquet",
    "tiles.geojson",
    "tumour.geojson",
    "slide.json",
)
RUN_VARIES = ("run.json", "timings.jsonl", "curves.png")


def over(command: Command, option: str, value: str) -> Command:
    """Return a command whose outputs are there already, from a run with another value of an option."""
    arguments = list(command.arguments)
    if option in arguments:
        arguments[arguments.index(option) + 1] = value
    else:
        arguments += [option, value]
    return replace(command, start=(*command.start, tuple(arguments)))


def of_run(*arguments: str, files: tuple[str, ...], varies: tuple[str, ...] = ()) -> Command:
    """Return a command that judges a trained run and leaves a set of files, the last of which closes it."""
    paths = tuple(f"work/out/{name}" for name in files)
    words = (*arguments, "-o", "work/out", "--device", "cpu")
    kept = ("patches", "store", "run", "second run")
    return Command(words, kept, files=paths, closing=paths[-1], varies=varies, slow=True)


_EVALUATE = replace(
    of_run("evaluate", "work/run", files=("predictions.parquet", "report.html", "metrics.json")),
    start=(("!copy", "work/run", "given/run"),),  # it leaves a calibration there
)
_EXPLAIN = of_run(
    *("explain", "given/run", "--sample", "4", "--method", "gradcam", "--no-audit"),
    files=("attributions.csv", "explain.png", "explain.json"),
)
_COMPARE = of_run(
    *("compare", "given/run", "given/second"), files=("predictions.parquet", "comparison.png", "comparison.json")
)

_MINE = Command(
    ("mine", "given/run", "-o", "work/mined.csv", "--hard", "0.2", "--device", "cpu"),
    ("patches", "store", "run"),
    files=("work/mined.csv", "work/mined-review/pictures/patch-00001.png", "work/mined-review/review.html"),
    closing="work/mined-review/review.html",
    slow=True,
)

COMMANDS: dict[str, Command] = {
    "pack": Command(PACKED, store="work/store", refuses=True),
    "pack --overwrite": Command((*PACKED, "--overwrite"), start=(OTHERS,), store="work/store"),
    "pack --overwrite of the same": Command((*PACKED, "--overwrite"), start=(PACKED,), store="work/store"),
    "pack --resume": Command(
        (*PACKED, "--resume"), start=(("!kill", "20", *PACKED),), store="work/store", refuses=True
    ),
    "pack over another's remains": Command(PACKED, start=(("!kill", "20", *OTHERS),), store="work/store", refuses=True),
    "merge": Command(MERGED, ("patches", "parts"), store="work/store", refuses=True),
    "merge over remains": Command(
        MERGED, ("patches", "parts"), (("!kill", "25", *MERGED),), store="work/store", refuses=True
    ),
    "split": Command(("split", "work/store", "--seed", "7"), start=(PACKED,), files=("work/store/split.json",)),
    "split elsewhere": Command(
        ("split", "given/store", "-o", "work/mine.json", "--seed", "7"),
        ("patches", "store"),
        start=(("split", "given/store", "-o", "work/mine.json"),),
        files=("work/mine.json",),
    ),
    "repair": Command(
        ("repair", "work/store", "--source", "given/patches", "--workers", "1"),
        start=(PACKED, ("!flip", "work/store/shard-00000.npy"), ("!flip", "work/store/shard-00001.npy")),
        files=("work/store/shard-00000.npy", "work/store/shard-00001.npy"),
    ),
    "train": Command(
        ("train", "given/store", "-o", "work/run", *TRAIN),
        ("patches", "store"),
        resume=("--resume",),
        resume_if="work/run/config.json",
        varies=RUN_VARIES,
        slow=True,
    ),
    "train --resume": Command(
        ("train", "given/store", "-o", "work/run", *TRAIN, "--resume"),
        ("patches", "store"),
        start=(("!kill", "60", "train", "given/store", "-o", "work/run", *TRAIN),),
        varies=RUN_VARIES,
        slow=True,
    ),
    "evaluate": _EVALUATE,
    "evaluate again": over(_EVALUATE, "--checkpoint", "last"),
    "inspect": Command(
        ("inspect", "given/store", "-o", "work/out"),
        ("patches", "store"),
        files=("work/out/report.html", "work/out/balance.png", "work/out/inspect.json"),
        closing="work/out/inspect.json",
        slow=True,
    ),
    "audit": Command(
        ("audit", "given/store", "-o", "work/out"),
        ("patches", "store"),
        files=("work/out/neighbours.csv", "work/out/neighbours.png", "work/out/audit.json"),
        closing="work/out/audit.json",
        slow=True,
    ),
    "mine": _MINE,
    "mine again": over(_MINE, "--hard", "0.5"),
    "explain": _EXPLAIN,
    "explain again": over(_EXPLAIN, "--sample", "3"),
    "compare": _COMPARE,
    "export": Command(
        ("export", "given/run", "-o", "work/model.ts"),
        ("patches", "store", "run"),
        files=("work/model.ts", "work/model.ts.card.md", "work/model.ts.card.json"),
        closing="work/model.ts.card.json",
        slow=True,
    ),
    "export timm": Command(
        ("export", "given/small", "-o", "work/model", "--format", "timm"),
        ("patches", "store", "timm's run"),
        files=tuple(f"work/model/{name}" for name in ("model.safetensors", "README.md", "card.json", "config.json")),
        closing="work/model/config.json",
        slow=True,
    ),
    "predict": Command(
        ("predict", "given/run", "--store", "given/store", "-o", "work/submission.csv", "--device", "cpu"),
        ("patches", "store", "run"),
        files=("work/submission.csv",),
        slow=True,
    ),
    "embed": Command(
        EMBED,
        ("patches", "store", "encoder"),
        files=tuple(f"work/features/{name}" for name in ("features-00000.npy", "rows.parquet", "features.json")),
        closing="work/features/features.json",
        slow=True,
    ),
    "probe": Command(
        ("probe", "given/features", "-o", "work/out", "--device", "cpu"),
        ("patches", "store", "encoder", "features"),
        files=tuple(
            f"work/out/{name}"
            for name in ("predictions.parquet", "report.html", "head.safetensors", "probe.json", "metrics.json")
        ),
        closing="work/out/metrics.json",
        slow=True,
    ),
    "show": Command(
        ("show", "given/store", "-o", "work/out", "--epoch", "0", "--position", "0", "--count", "2"),
        ("patches", "store"),
        files=("work/out/overview.png", "work/out/show.json"),
        closing="work/out/show.json",
        slow=True,
    ),
    "slide": Command(
        ("slide", "given/run", "given/slide.png", "-o", "work/out", "--mpp", "1", "--device", "cpu"),
        ("patches", "store", "run", "slide"),
        files=tuple(f"work/out/{name}" for name in SLIDE),
        closing="work/out/slide.json",
        slow=True,
    ),
    "slide of several": Command(
        ("slide", "given/run", "given/slide.png", "given/other.png", "-o", "work/out", "--mpp", "1", "--device", "cpu"),
        ("patches", "store", "run", "slide", "other slide"),
        files=(
            *(f"work/out/{folder}/{name}" for folder in ("slide", "other") for name in SLIDE),
            "work/out/scored.csv",
        ),
        varies=("scored.csv", "scored.json"),  # a slide that was scored before the kill is told as kept
        slow=True,
    ),
}
