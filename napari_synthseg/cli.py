"""The command `napari-synthseg`: one sub-command a job, options made from each job's dataclass by tyro.

No logic of its own: a sub-command imports its job, follows it with a progress bar and turns its end into an exit code
(0 done, 1 some scans failed, 2 the input or an option cannot be used, 130 stopped).
"""

# No `from __future__ import annotations` here: tyro reads the annotations of functions made inside functions.

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from napari_synthseg import __version__
from napari_synthseg.progress import Progress, Stopped, run

PROGRAM, PACKAGE = "napari-synthseg", "napari_synthseg"
DONE, SOME_FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130

LOOKS = (tyro.conf.DisallowNone, tyro.conf.OmitArgPrefixes)
"""No word for "nothing", and no prefixes: --threads, not --segmentation.threads."""

Job = Generator[Progress, None, Any]
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command.

    Args:
        arguments: what stands after the program's name; by default the process's own.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--version"]:
        print(f"{PROGRAM} {__version__}")
        return DONE
    name = next((name for name in COMMANDS if words[: len(name.split())] == name.split()), None)
    if name is None:
        return explain(words)
    try:
        command = COMMANDS[name]()
        return tyro.cli(command, prog=f"{PROGRAM} {name}", args=words[len(name.split()) :], config=LOOKS)
    except (Stopped, KeyboardInterrupt):
        print(f"{PROGRAM}: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        return DONE
    except (ValueError, OSError) as error:
        return complain(error, BAD_INPUT)
    except Exception as error:
        return complain(error, SOME_FAILED)


def explain(words: list[str]) -> int:
    """Print what there is to choose from; an error unless help was asked for."""
    summaries = "\n".join(f"  {name:17} {(make.__doc__ or '').splitlines()[0]}" for name, make in COMMANDS.items())
    text = f"usage: {PROGRAM} COMMAND ...\n\n{summaries}\n\n{PROGRAM} COMMAND --help says more about one; --version."
    if not words or words[0] in ("-h", "--help"):
        print(text)
        return DONE if words else BAD_INPUT
    print(text, file=sys.stderr)
    print(f"{PROGRAM}: error: there is no command {' '.join(words[:1])!r}.", file=sys.stderr)
    return BAD_INPUT


def complain(error: Exception, code: int) -> int:
    """Print an error as one sentence (and the traceback where NAPARI_SYNTHSEG_DEBUG is set); returns `code`."""
    if os.environ.get("NAPARI_SYNTHSEG_DEBUG"):
        traceback.print_exception(error)
    sentence = " ".join(str(error).split()) or "no reason was given"
    if not isinstance(error, ValueError):
        sentence = f"{type(error).__name__}: {sentence} (NAPARI_SYNTHSEG_DEBUG=1 shows where)"
    print(f"{PROGRAM}: error: {sentence}", file=sys.stderr)
    return code


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


# Following a job


def follow(job: Job) -> Any:
    """Drive a job to its result with a progress bar; the first Ctrl+C asks it to stop, the second one insists."""
    ours = [logging.getLogger(PACKAGE)]
    with stop_requests() as should_stop, progress_bar() as show, logging_redirect_tqdm(ours):  # warnings above the bar
        return run(job, show, should_stop)


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """Gives a function that shows reports: a bar for every stage on a terminal, nothing elsewhere."""
    bar: tqdm | None = None

    def show(report: Progress) -> None:
        nonlocal bar
        if bar is None or bar.desc != report.stage or bar.total != (report.total or None):
            if bar is not None:
                bar.close()
            bar = tqdm(total=report.total or None, desc=report.stage, disable=None, leave=False, dynamic_ncols=True)
            bar.desc = report.stage
        bar.set_postfix(figures_for_a_bar(report), refresh=False)
        bar.update(report.done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def figures_for_a_bar(report: Progress) -> dict[str, str]:
    """The figures of a report, short."""
    return {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in report.figures.items()}


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether SIGINT or SIGTERM came; a second SIGINT raises KeyboardInterrupt."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        print(f"\n{PROGRAM}: stopping; press Ctrl+C again to stop at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may listen to signals
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# The sub-commands. Each is made when it is asked for, so that `--help` of another one does not load torch.


def make_segment() -> Callable[..., int]:
    """Label the structures of a brain in a scan, a folder of scans, or a list."""
    from napari_synthseg.segmentation.pipeline import SegmentOptions, segment_files

    def segment(
        inputs: Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="IN ...")],
        out: Out,
        segmentation: SegmentOptions,
        volumes: Path | None = None,
        preview: bool = False,
    ) -> int:
        """Label the structures of a brain in scans of any contrast and resolution.

        Args:
            inputs: scans (NIfTI, MGZ, NRRD), folders of scans, or text files (.txt) with one path a line.
            out: the label file to write for one scan (its name ends like a scan's), else a folder.
            segmentation: how to segment.
            volumes: write the volumes of all scans (mm^3) into this CSV or TSV table.
            preview: write a PNG picture beside every label file.
        """
        report = follow(segment_files(inputs, out, segmentation, volumes_csv=volumes, preview=preview))
        for written in report.done.values():
            print(written)
        return report.exit_code

    return segment


def make_prompt() -> Callable[..., int]:
    """Segment one object by pointing at it: points, boxes, a mask; through the slices."""
    from napari_synthseg.prompting.one_object import prompt_file
    from napari_synthseg.prompting.options import PromptOptions, PropagateOptions

    def prompt(
        scan: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCAN")],
        out: Out,
        prompts: Annotated[PromptOptions, tyro.conf.UseAppendAction],
        following: PropagateOptions,
        preview: bool = False,
    ) -> int:
        """Segment the object that is pointed at in a scan, on one slice or through all of them, or in a picture.

        Args:
            scan: a scan (NIfTI, MGZ, NRRD), or a picture (PNG, JPEG, TIFF, BMP).
            out: the label file to write (a PNG for a picture), else a folder.
            prompts: what to segment.
            following: how far to follow it.
            preview: write a PNG picture beside the label file.
        """
        done = follow(prompt_file(scan, out, prompts, following, preview=preview))
        print(f"{done.file}\t{done.size}")
        return DONE

    return prompt


def make_evaluate() -> Callable[..., int]:
    """Compare labels with the truth: Dice and surface distances."""
    from napari_synthseg.evaluation.scans import EvaluateOptions, evaluate_steps, table

    def evaluate(
        pred: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PRED")],
        truth: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TRUTH")],
        scoring: EvaluateOptions,
        json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    ) -> int:
        """Compare label files with true ones: Dice and SD95 (symmetric surface distance) per structure.

        Args:
            pred: a label file, or a folder of them.
            truth: the true label file, or a folder of them, matched by the beginnings of their names.
            scoring: what to score.
            json_file: write all figures into this JSON file.
        """
        scores = follow(evaluate_steps(pred, truth, scoring))
        if json_file is not None:
            write_json(json_file, scores)
        print(table(scores))
        return DONE

    return evaluate


def make_evaluate_prompts() -> Callable[..., int]:
    """Measure how well a model segments what it is pointed at."""
    from napari_synthseg.prompting.evaluate import EvaluatePromptsOptions, evaluate_steps, table

    def evaluate_prompts(
        manifest: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MANIFEST")],
        measuring: EvaluatePromptsOptions,
        json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    ) -> int:
        """Measure how well a model segments what it is pointed at: Dice with 1 and 3 points, points outside, and a box.

        Args:
            manifest: a CSV table with the columns modality, dataset, image and mask; paths are relative to it.
            measuring: how to measure.
            json_file: write a row for each mask and setting into this JSON file.
        """
        rows = follow(evaluate_steps(manifest, measuring))
        print(table(rows))
        if json_file is not None:
            write_json(json_file, rows)
        return DONE

    return evaluate_prompts


def make_synthesize() -> Callable[..., int]:
    """Make random images, with their labels, from a label map."""
    from napari_synthseg.synthesis.sample import SynthesizeOptions, synthesize_files

    def synthesize(
        label_map: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="LABELMAP")],
        out: Out,
        synthesis: SynthesizeOptions,
        count: Annotated[int, tyro.conf.arg(aliases=["-n"], metavar="N")] = 1,
    ) -> int:
        """Make random images, with their labels and records, from a label map.

        Args:
            label_map: a label map (NIfTI, MGZ, NRRD), or a folder of them to choose from at random.
            out: the folder to write into.
            synthesis: how to draw.
            count: how many samples to make.
        """
        for written in follow(synthesize_files(label_map, out, synthesis, count)):
            print(written)
        return DONE

    return synthesize


def make_synthesize_shapes() -> Callable[..., int]:
    """Make random scenes of shapes, with their objects, from nothing."""
    from napari_synthseg.synthesis.shape_files import synthesize_shapes as write
    from napari_synthseg.synthesis.shape_options import SynthesizeShapesOptions

    def synthesize_shapes(
        out: Out,
        synthesis: SynthesizeShapesOptions,
        count: Annotated[int, tyro.conf.arg(aliases=["-n"], metavar="N")] = 1,
    ) -> int:
        """Make random scenes of shapes, with their objects and records, from nothing (SynthFM).

        Args:
            out: the folder to write into; nothing in it is replaced.
            synthesis: how to draw.
            count: how many scenes to make.
        """
        for written in follow(write(out, synthesis, count)):
            print(written)
        return DONE

    return synthesize_shapes


def make_degrade() -> Callable[..., int]:
    """Make real scans as bad as can be met: SynthSeg+'s degradation model."""
    from napari_synthseg.synthesis.degrade_files import DegradeOptions, degrade_files

    def degrade(
        inputs: Annotated[tyro.conf.Positional[list[Path]], tyro.conf.arg(metavar="IN ...")],
        out: Out,
        degradation: DegradeOptions,
        count: Annotated[int, tyro.conf.arg(aliases=["-n"], metavar="N")] = 1,
    ) -> int:
        """Make real scans as bad as can be met: moved, bent, biased, sliced and noisy (SynthSeg+).

        Args:
            inputs: scans (NIfTI, MGZ, NRRD), or folders of them.
            out: the folder to write into.
            degradation: how to degrade.
            count: how many to make of each scan.
        """
        for written in follow(degrade_files(inputs, out, degradation, count)):
            print(written)
        return DONE

    return degrade


def make_presets() -> Callable[..., int]:
    """List the presets of synthesize and synthesize-shapes, and their priors."""
    from napari_synthseg.synthesis.prior_settings import describe_preset, describe_presets

    def presets(name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[NAME]")] = "") -> int:
        """List the presets of synthesize and synthesize-shapes by what they change, or every prior of one of them.

        Args:
            name: the preset to show in full.
        """
        print(describe_preset(name) if name else describe_presets())
        return DONE

    return presets


def make_train_synthseg() -> Callable[..., int]:
    """Train a segmentation network on images made from label maps."""
    from napari_synthseg.training.synthseg import TrainSynthSegOptions, train

    def train_synthseg(training: TrainSynthSegOptions) -> int:
        """Train a segmentation network on images made from label maps."""
        follow(train(training))
        return DONE

    return train_synthseg


def make_train_synthfm() -> Callable[..., int]:
    """Train a network that answers clicks, on synthetic scenes alone."""
    from napari_synthseg.training.synthfm import TrainSynthFMOptions, train

    def train_synthfm(training: TrainSynthFMOptions) -> int:
        """Train a network that answers clicks, on synthetic scenes alone (SynthFM)."""
        follow(train(training))
        return DONE

    return train_synthfm


def make_export() -> Callable[..., int]:
    """Turn a training run's checkpoints into weights that can be used."""
    from napari_synthseg.training import synthfm, synthseg

    def export(
        run: tyro.conf.Positional[Path],
        out: Out,
        best: bool = False,
        scores: Path | None = None,
        confident_score: float | None = None,
    ) -> int:
        """Turn the checkpoints of a fast training run, finished or not, into weights that can be used.

        Runs of train synthseg and of train synthfm are told apart by their files.

        Args:
            run: the run's folder.
            out: the weights to write (.safetensors); their card is written beside them.
            best: the checkpoints with the best validation scores instead of the newest.
            scores: figures of `evaluate --json` on scans segmented with these weights, or of `evaluate-prompts --json`,
                for their card.
            confident_score: how sure the first stage is on ordinary scans; below, other orientations are looked at.
        """
        if any(run.glob(f"{synthfm.STAGE}*.pt")):
            print(synthfm.export(run, out, best=best, scores=scores))
        else:
            print(synthseg.export(run, out, best=best, scores=scores, confident_score=confident_score))
        return DONE

    return export


def make_models() -> Callable[..., int]:
    """List the weights that are at hand."""
    from napari_synthseg import promptable_weights, weights

    def models(as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> int:
        """List the weights that are at hand.

        Args:
            as_json: print their cards as JSON.
        """
        cards = [*weights.available(), *promptable_weights.available()]
        if as_json:
            print(json.dumps(cards, indent=1))
        else:
            for card in cards:
                what = f"{len(card['labels'])} labels" if "labels" in card else "clicks"
                print(f"{card['name']:20} {card['network']:14} {what:>10}  {card['path']}")
            if not cards:
                print("There are no weights; the README says where they are looked for.", file=sys.stderr)
        return DONE

    return models


COMMANDS: dict[str, Callable[[], Callable[..., int]]] = {
    "segment": make_segment,
    "prompt": make_prompt,
    "evaluate": make_evaluate,
    "evaluate-prompts": make_evaluate_prompts,
    "synthesize": make_synthesize,
    "synthesize-shapes": make_synthesize_shapes,
    "presets": make_presets,
    "degrade": make_degrade,
    "train synthseg": make_train_synthseg,
    "train synthfm": make_train_synthfm,
    "export": make_export,
    "models": make_models,
}


if __name__ == "__main__":
    sys.exit(main())
