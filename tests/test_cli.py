"""The command line: choosing a sub-command, following a job, exit codes and one-sentence errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from napari_synthseg import __version__, cli
from napari_synthseg.errors import InputError
from napari_synthseg.progress import Progress, Stopped


def job(steps=3, result="done", failure=None, at_step=None):
    """A job of `steps` reports; raises `failure` at the end, or calls `at_step` after every report."""
    for step in range(steps):
        yield Progress("counting", step + 1, steps, {"loss": 0.5})
        if at_step is not None:
            at_step(step)
    if failure is not None:
        raise failure
    return result


def command(function):
    """What stands in `COMMANDS`: a function that makes the sub-command."""
    return lambda: function


def failing(error):
    def fail() -> int:
        raise error

    return command(fail)


# Choosing


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == cli.DONE
    printed = capsys.readouterr().out
    assert all(name in printed for name in cli.COMMANDS)


def test_version(capsys):
    assert cli.main(["--version"]) == cli.DONE
    assert capsys.readouterr().out == f"napari-synthseg {__version__}\n"


@pytest.mark.parametrize("words", [[], ["segmint"], ["train"], ["train", "nothing"]])
def test_unknown_command(words, capsys):
    assert cli.main(words) == cli.BAD_INPUT
    assert "Traceback" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_each_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*name.split(), "--help"])
    assert end.value.code in (0, None)
    assert "usage" in capsys.readouterr().out.lower()


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


def test_following_a_job_gives_its_result(capsys):
    assert cli.follow(job()) == "done"
    assert capsys.readouterr().out == ""


def test_ctrl_c_stops_the_job_at_its_next_report():
    seen = []

    def press(step):
        seen.append(step)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        cli.follow(job(at_step=press))
    assert seen == [0]


def test_a_second_ctrl_c_does_not_wait():
    def press_twice(step):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        cli.follow(job(at_step=press_twice))


def test_signal_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    cli.follow(job())
    assert signal.getsignal(signal.SIGINT) is before


# The real commands, where they end before any work


def test_segment_names_a_file_that_is_not_there(tmp_path, capsys):
    missing = tmp_path / "nothing.nii.gz"
    assert cli.main(["segment", str(missing), "-o", str(tmp_path / "out")]) == cli.BAD_INPUT
    printed = capsys.readouterr().err
    assert "nothing.nii.gz" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()


def test_evaluate_names_a_file_that_is_not_there(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")]) == cli.BAD_INPUT
    assert "a.nii.gz" in capsys.readouterr().err


def test_models_can_be_read_by_a_program(capsys):
    assert cli.main(["models", "--json"]) == cli.DONE
    cards = json.loads(capsys.readouterr().out)
    assert all("name" in card for card in cards)
