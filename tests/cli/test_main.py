"""The command line: choosing a sub-command, following a job, exit codes and one-sentence errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_synthseg import __version__, cli
from napari_synthseg.cli.segment import translate
from napari_synthseg.cli.terminal import Command, put, say
from napari_synthseg.errors import InputError
from napari_synthseg.io import read_labels, write_labels, write_volume
from napari_synthseg.jobs import Progress, Stopped
from napari_synthseg.volume import Volume
from tests.conftest import full_disk
from tests.training.builders import fast_weights


def job(at_step=lambda step: None):
    """A job of three reports; calls `at_step` after every one."""
    for step in range(3):
        yield Progress("counting", step + 1, 3, {"loss": 0.5})
        at_step(step)
    return "done"


def failing(error):
    """An entry of `COMMANDS` that raises an error."""

    def fail() -> int:
        raise error

    return Command(lambda words: fail, "")


# Choosing


def test_help_lists_every_command_and_the_common_ones_first(capsys):
    assert cli.main(["--help"]) == cli.DONE
    printed = capsys.readouterr().out
    lines = [line.split("  ")[1] for line in printed.splitlines() if line.startswith("  ")]
    assert lines[:5] == ["segment", "batch", "evaluate", "prompt", "models"]
    assert all(name in lines or name.split()[1] in printed for name in cli.COMMANDS)
    assert set(lines) <= {*cli.COMMANDS, "train ...", "runs ..."} and max(map(len, printed.splitlines())) <= 120


@pytest.mark.parametrize("group", ["train", "runs"])
@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_help_of_a_group_lists_its_commands(group, asked, capsys):
    assert cli.main([group, asked]) == cli.DONE
    printed = capsys.readouterr()
    assert f"usage: napari-synthseg {group} COMMAND" in printed.out and not printed.err
    listed = [line.split("  ")[1].strip() for line in printed.out.splitlines() if line.startswith("  ")]
    assert [" ".join(one.split()[:2]) for one in listed] == [n for n in cli.COMMANDS if n.startswith(f"{group} ")]


@pytest.mark.parametrize(
    ("words", "near"),
    [("segmnet", "segment"), ("synthseg", "train synthseg"), ("trian synthseg", "train"), ("runs shwo", "runs show"),
     ("train synthsge", "train synthseg"), ("Segment", "segment")],
)  # fmt: skip
def test_of_a_typing_error_the_nearest_command_is_told(words, near, capsys):
    assert cli.main(words.split()) == cli.BAD_INPUT
    printed = capsys.readouterr()
    assert f"(did you mean {near!r}?)" in printed.err and len(printed.err.splitlines()) == 1 and not printed.out


def test_a_list_that_nobody_reads_to_its_end_is_no_error(monkeypatch):
    def closed(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    assert cli.main(["--help"]) == cli.DONE


@pytest.mark.parametrize("words", [[], ["segmint"], ["train"], ["train", "nothing"], ["runs", "xyzzy"]])
def test_what_is_like_no_command_gets_the_list(words, capsys):
    assert cli.main(words) == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if words[:1] == ["runs"]:
        assert "runs list" in said and "import-weights" not in said and "there is no command 'runs xyzzy'." in said


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_each_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*name.split(), "--help"])
    assert end.value.code in (0, None)
    assert "usage" in capsys.readouterr().out.lower()


def test_help_shows_limits_units_and_kinds_of_paths_from_the_annotations(capsys):
    with pytest.raises(SystemExit):
        cli.main(["segment", "--help"])
    printed = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "--weights FILE" in printed and "[64 to 256 mm] (default: 128)" in printed
    assert "(default: None)" not in printed and "(default: )" not in printed


def test_the_program_starts_as_a_module():
    done = subprocess.run([sys.executable, "-m", "napari_synthseg.cli", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, f"napari-synthseg {__version__}")


# Ends


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("scan.nii is empty: give another file."), cli.BAD_INPUT),
        (ValueError("threads must be positive"), cli.BAD_INPUT),
        (FileNotFoundError(2, "No such file", "scan.nii"), cli.BAD_INPUT),
        (RuntimeError("something\nbroke"), cli.SOME_FAILED),
        (Stopped("stopped"), cli.STOPPED),
        (KeyboardInterrupt(), cli.STOPPED),
    ],
)
def test_every_end_is_one_sentence_and_a_code(monkeypatch, capsys, error, code):
    monkeypatch.setitem(cli.COMMANDS, "models", failing(error))
    assert cli.main(["models"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


def test_tracebacks_are_shown_on_request(monkeypatch, capsys):
    monkeypatch.setenv("NAPARI_SYNTHSEG_DEBUG", "1")
    monkeypatch.setitem(cli.COMMANDS, "models", failing(RuntimeError("something broke")))
    cli.main(["models"])
    assert "Traceback" in capsys.readouterr().err


# Following


def test_following_a_job_gives_its_result_and_puts_the_signal_handlers_back(capsys):
    before = signal.getsignal(signal.SIGINT)
    assert cli.follow(job()) == "done"
    assert capsys.readouterr().out == "" and signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("presses", "end"), [(1, Stopped), (2, KeyboardInterrupt)])
def test_ctrl_c_stops_the_job_at_its_next_report_and_a_second_one_at_once(presses, end):
    seen = []

    def press(step):
        seen.append(step)
        for _ in range(presses):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(end):
        cli.follow(job(press))
    assert seen == [0]


# The real commands, where they end before any work


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["--i", "a b.nii", "--o", "out.nii", "--fast"], "napari-synthseg segment 'a b.nii' -o out.nii --fast"),
        (["--i=a.nii", "--o=out", "--vol", "v.csv"], "napari-synthseg segment a.nii -o out --volumes v.csv"),
    ],
)
def test_a_call_as_of_freesurfer_gets_the_right_one(words, call, capsys):
    assert cli.main(["segment", *words]) == cli.BAD_INPUT
    assert capsys.readouterr().err.strip().endswith(f"Type: {call}")


def test_flags_of_mri_synthseg_are_understood(tmp_path, monkeypatch, capsys):
    from napari_synthseg.weights import catalogue

    card = {"network": "parcellation", "path": str(tmp_path / "parc.safetensors")}
    monkeypatch.setattr(catalogue, "available", lambda roles: [card])
    words = ["a.nii", "--vol=v.csv", "--post", "--parc", "-o", "out", "--robust", "--fast", "--ct", "--threads", "2"]
    assert translate(words) == [
        "a.nii", "--volumes=v.csv", "--posteriors", "--parcellation", card["path"], *words[4:]
    ]  # fmt: skip
    assert translate(["--parc", "mine.h5"]) == ["--parcellation", "mine.h5"]
    assert translate(["a.nii", "--post", "post.nii.gz"]) == ["a.nii", "--posteriors"]
    assert "beside the labels, not to post.nii.gz" in capsys.readouterr().err
    monkeypatch.setattr(catalogue, "available", lambda roles: [])
    with pytest.raises(InputError, match="import-weights"):
        translate(["--parc"])


# The real commands, on small things

GRID = np.array([[2.0, 0, 0, -40], [0, 2, 0, -30], [0, 0, 3, -50], [0, 0, 0, 1]])


@pytest.fixture
def scan(tmp_path):
    """A blurry box off the 1 mm grid, as a file."""
    data = np.random.default_rng(0).normal(20, 2, (40, 36, 24)).astype(np.float32)
    data[8:32, 8:28, 6:18] += 60
    path = tmp_path / "scan.nii.gz"
    write_volume(path, Volume(data, GRID))
    return path


@pytest.fixture
def label_map(tmp_path):
    """Two structures in a box, as a file."""
    data = np.zeros((32, 32, 32), np.int16)
    data[4:28, 4:28, 4:28] = 3
    data[10:22, 10:22, 10:22] = 2
    path = tmp_path / "truth_labels.nii.gz"
    write_labels(path, Volume(data, np.eye(4)))
    return path


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory):
    """A network of the shipped kind that has learned nothing, as a file."""
    return Path(fast_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


def test_segment_writes_everything_asked_for(scan, tiny_weights, tmp_path, capsys):
    out = tmp_path / "out" / "labels.nii.gz"
    table = tmp_path / "volumes.csv"
    words = [str(scan), "-o", str(out), "--volumes", str(table), "--preview", "--weights", str(tiny_weights)]
    assert cli.main(["segment", *words, "--no-flip", "--threads", "1"]) == cli.DONE
    printed = capsys.readouterr()
    assert (printed.out, f"made the folder {out.parent}" in printed.err) == (f"{out}\n", True)
    assert {path.name for path in out.parent.iterdir()} == {f"labels.{e}" for e in ("nii.gz", "tsv", "json", "png")}
    assert json.loads((out.parent / "labels.json").read_text())["made_from"]["weights"]  # a batch makes no second one
    labels = read_labels(out)
    assert labels.shape == (40, 36, 24)
    assert np.allclose(labels.affine, GRID)
    assert table.read_text().startswith("scan,intracranial,")


def test_ctrl_c_while_the_program_is_loaded_shows_no_traceback(tmp_path):
    (tmp_path / "tyro.py").write_text("raise KeyboardInterrupt")
    words = [sys.executable, "-m", "napari_synthseg.cli", "models"]
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(words, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "napari-synthseg: stopped\n")


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("segment SCAN -o OUT/l.nii.gz --weights WEIGHTS --preview --posteriors", "l.nii.gz"),
        ("degrade SCAN -o OUT", "out"),
        ("synthesize MAP -o OUT", "out"),
        ("synthesize-shapes -o OUT --side 64", "out"),
        ("evaluate MAP MAP --json OUT/e.json", "e.json"),
        ("evaluate MAP MAP --tsv OUT/e.tsv", "e.tsv"),
        ("evaluate MAP MAP --markdown OUT/e.md", "e.md"),
        ("evaluate MAP MAP --plot OUT/e.png", "e.png"),
    ],
)
def test_on_a_full_disk_the_users_path_is_named_and_nothing_left(
    scan, label_map, tiny_weights, tmp_path, capsys, command, named
):
    out = tmp_path / "out"
    known = {"SCAN": scan, "MAP": label_map, "WEIGHTS": tiny_weights}
    words = [str(known.get(word, word)).replace("OUT", str(out)) for word in command.split()]
    with full_disk():
        assert cli.main(words) == cli.BAD_INPUT
    said = capsys.readouterr().err
    path = out if named == "out" else out / named
    assert f"error: {path} cannot be written (File too large)" in said and ".part" not in said
    assert not list(out.iterdir())


def test_json_that_is_nested_too_deeply_is_named(tmp_path, capsys):
    (tmp_path / "a_record.json").write_text("[" * 200_000 + "]" * 200_000)
    words = ["synthesize-shapes", "-o", str(tmp_path / "out"), "--record", str(tmp_path / "a_record.json")]
    assert cli.main(words) == cli.BAD_INPUT
    assert "a_record.json is no record" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.txt", "labels.CSV", "labels.png", "report.html", "labels.img", "labels.gz"])
def test_labels_are_not_called_like_another_kind_of_file(scan, tiny_weights, tmp_path, capsys, name):
    words = ["segment", str(scan), "-o", str(tmp_path / name), "--weights", str(tiny_weights)]
    assert cli.main(words) == cli.BAD_INPUT
    printed = capsys.readouterr().err
    assert f"{name} is no name for labels" in printed and len(printed.splitlines()) == 1
    assert not (tmp_path / name).exists()


def test_one_bad_scan_among_many_is_exit_code_1(scan, tiny_weights, tmp_path, capsys):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(scan.read_bytes()[:200])
    words = [str(broken), str(scan), "-o", str(tmp_path / "out"), "--weights", str(tiny_weights), "--no-flip"]
    assert cli.main(["segment", *words]) == cli.SOME_FAILED
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'out' / 'scan_dseg.nii.gz'}\n"
    assert "broken.nii.gz" in printed.err
    assert "Traceback" not in printed.err and not list((tmp_path / "out").glob("broken*"))


REFUSED = {
    "segment SCAN -o": "--threads 0|--grid 3mm|--model nothing|--device abacus",
    "synthesize MAP -o": "--device abacus|--shape 0 9 9|--prior class_means=1,2|--prior std=a",
    "degrade SCAN -o": "--prior skull_strip=1|--device abacus|-n 0",
    "batch SCAN -o": "--jobs 0|--part 3",
    "synthesize-shapes -o": "--preset synthseg|--prior objects=a|--prior mean=0,255|--device abacus|--record no.json|"
    "-n 0|--side 9",
    "train synthseg --label-maps MAPS --out": "--steps -1|--threads 0|--locate-fraction 2|--device abacus",
}


@pytest.mark.parametrize(("command", "option"), [(c, one) for c, some in REFUSED.items() for one in some.split("|")])
def test_options_out_of_range_are_refused_before_anything_is_written(
    scan, label_map, tiny_weights, tmp_path, capsys, monkeypatch, command, option
):
    monkeypatch.setenv("NAPARI_SYNTHSEG_WEIGHTS", str(tiny_weights.parent))
    files = {"SCAN": str(scan), "MAP": str(label_map), "MAPS": str(tmp_path)}
    words = [files.get(word, word) for word in command.split()] + [str(tmp_path / "out"), *option.split()]
    if command.startswith("segment") and "--model" not in words:
        words += ["--model", "tiny"]
    try:
        code = cli.main(words)
    except SystemExit as end:  # what tyro itself refuses
        code = end.code
    assert code == cli.BAD_INPUT
    assert option.split()[1].split("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_evaluate_prints_a_table_and_writes_json(label_map, tmp_path, capsys):
    figures = tmp_path / "made" / "scores.json"
    assert cli.main(["evaluate", str(label_map), str(label_map), "--json", str(figures)]) == cli.DONE
    assert "mean of 1 scan" in capsys.readouterr().out
    assert json.loads(figures.read_text())["structures"]["2"]["dice"] == 1


def test_presets_are_listed_and_shown(capsys):
    from napari_synthseg.generator.presets import PRESETS, SHAPE_PRESETS

    assert cli.main(["presets"]) == cli.DONE
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*PRESETS, *SHAPE_PRESETS]
    for name, shown in (("no-bias", "bias_std=0,0 "), ("mr", "mr=1 ")):
        assert cli.main(["presets", name]) == cli.DONE and shown in capsys.readouterr().out
    assert cli.main(["presets", "nonsense"]) == cli.BAD_INPUT


def test_names_of_files_control_no_terminal(capsys, monkeypatch):
    name = "a\x1b[2J.nii"
    put(name)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    put(name)
    say(name)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [name, "a\\x1b[2J.nii"]  # programs get it as it is
    assert printed.err == "napari-synthseg: a\\x1b[2J.nii\n"
