"""Measuring promptable models: what is asked of them, rows, means, the table, stopping, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from napari_synthseg import cli
from napari_synthseg.jobs import Stopped, run
from napari_synthseg.prompting import Session
from napari_synthseg.prompting.evaluate import (
    EvaluatePromptsOptions,
    dataset_means,
    evaluate,
    evaluate_steps,
    modality_means,
    table,
)
from tests.prompting.manifests import SHAPE, square, write_manifest, write_picture
from tests.prompting.small import promptable_weights, small_model
from tests.shared_data import shared

KEYS = {"dataset", "modality", "image", "mask", "n_pos", "n_neg", "prompt", "dsc", "encode_s", "decode_s"}


class FakeSession:
    """Answers with what `answer(image, prompts)` gives; remembers what it was asked."""

    device = torch.device("cpu")

    def __init__(self, answer):
        self.answer, self.images, self.asked, self.open = answer, [], [], True

    def set_image(self, image):
        self.images.append(image)
        self.reset()

    def reset(self):
        self.points, self.box = [], None

    def add_point(self, position, positive=True):
        self.points.append((position, positive))

    def add_box(self, box):
        self.box = box

    def predict(self):
        self.asked.append((tuple(self.points), self.box))
        return self.answer(self)

    def close(self):
        self.open = False


def always(mask):
    return FakeSession(lambda session: mask)


def name_of(row):
    return "box" if row["prompt"] == "box" else f"({row['n_pos']},{row['n_neg']})"


def test_a_perfect_model_scores_1_and_an_empty_answer_0(tmp_path):
    path = write_manifest(tmp_path)
    session = always(square())
    assert [row["dsc"] for row in evaluate(path, session=session)] == [1.0] * 5 and session.open
    assert [row["dsc"] for row in evaluate(path, session=always(np.zeros(SHAPE, bool)))] == [0.0] * 5


def test_there_is_a_row_for_each_mask_and_setting_in_the_manifests_order(tmp_path):
    rows = evaluate(write_manifest(tmp_path, images=2, masks=2), session=always(square()))
    assert all(set(row) == KEYS for row in rows)
    assert [row["mask"] for row in rows[::5]] == ["0_0.png", "0_1.png", "1_0.png", "1_1.png"]
    assert [name_of(row) for row in rows[:5]] == ["(1,0)", "(1,2)", "(3,0)", "(3,2)", "box"]
    assert rows[0]["modality"] == "CT" and rows[0]["dataset"] == "A" and rows[0]["image"] == "0.png"
    assert all(row["encode_s"] > 0 and row["decode_s"] > 0 for row in rows)
    assert len({row["encode_s"] for row in rows[:10]}) == 1


def test_the_model_is_asked_with_the_protocols_prompts(tmp_path):
    session = always(square())
    evaluate(write_manifest(tmp_path), session=session)
    signs = [[positive for _, positive in points] for points, _ in session.asked]
    assert signs == [[True], [True, False, False], [True] * 3, [True] * 3 + [False] * 2, []]
    for points, _ in session.asked:
        assert all(square()[int(r), int(c)] == positive for (r, c), positive in points)
    assert [box for _, box in session.asked] == [None] * 4 + [(8, 10, 19, 21)]


def test_each_image_is_encoded_once_wherever_its_lines_stand(tmp_path):
    path = write_manifest(tmp_path, images=2, masks=2)
    header, a, b, c, d = path.read_text().splitlines()
    path.write_text("\n".join([header, a, c, b, d]))
    session = always(square())
    rows = evaluate(path, session=session)
    assert len(session.images) == 2
    assert [row["mask"] for row in rows[::5]] == ["0_0.png", "1_0.png", "0_1.png", "1_1.png"]


def test_prompts_do_not_depend_on_the_order_of_lines_or_on_other_lines(tmp_path):
    path = write_manifest(tmp_path, images=2, masks=2)
    session = always(square())
    evaluate(path, session=session)
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *lines[:0:-1]]))
    other = always(square())
    evaluate(path, session=other)
    assert set(other.asked) < set(session.asked)


def test_prompts_depend_on_the_seed_and_the_sampling(tmp_path):
    path = write_manifest(tmp_path)

    def asked(**options):
        session = always(square())
        evaluate(path, EvaluatePromptsOptions(**options), session)
        return session.asked

    assert asked() == asked(seed=0)
    assert asked()[:4] != asked(seed=1)[:4]
    near, far = asked()[1][0], asked(sampling="far")[1][0]
    assert near[0] == far[0] and near[1:] != far[1:]


def test_several_draws_are_averaged_in_the_same_rows(tmp_path):
    answers = iter([square(), np.zeros(SHAPE, bool)] * 4 + [square()])
    session = FakeSession(lambda _: next(answers))
    rows = evaluate(write_manifest(tmp_path), EvaluatePromptsOptions(draws=2), session)
    assert [row["dsc"] for row in rows] == [0.5] * 4 + [1]
    assert session.asked[0] != session.asked[1]


def test_threads_are_as_many_as_asked_for_and_put_back(tmp_path):
    seen = []
    before = torch.get_num_threads()
    session = FakeSession(lambda _: seen.append(torch.get_num_threads()) or square())
    evaluate(write_manifest(tmp_path), EvaluatePromptsOptions(threads=before + 1), session)
    assert set(seen) == {before + 1} and torch.get_num_threads() == before


@pytest.mark.parametrize("mask", [square(size=1), np.ones(SHAPE, bool), square(0, 0, 1)])
def test_a_real_session_answers_tiny_and_filling_structures(tmp_path, mask):
    path = write_manifest(tmp_path)
    write_picture(tmp_path / "0_0.png", mask)
    rows = evaluate(path, session=Session(small_model()))
    assert len(rows) == 5 and all(0 <= row["dsc"] <= 1 for row in rows)


def test_it_reports_and_stops(tmp_path):
    path = write_manifest(tmp_path, images=3)
    reports = []
    run(evaluate_steps(path, session=always(square())), reports.append)
    assert [(r.done, r.total) for r in reports if r.stage == "segmenting"] == [(n, 3) for n in range(4)]
    assert reports[-1].figures["dsc"] == 1
    session = always(square())
    with pytest.raises(Stopped):
        run(evaluate_steps(path, session=session), should_stop=lambda: len(session.asked) >= 2)
    assert len(session.asked) == 2


def row(modality, dataset, dsc):
    return {"modality": modality, "dataset": dataset, "dsc": dsc, "n_pos": 1, "n_neg": 0, "prompt": "points"}


def test_datasets_count_the_same_in_a_modality_whatever_their_size():
    rows = [row("CT", "A", 0.2), row("CT", "A", 0.4), row("CT", "B", 0.9), row("MRI", "C", 0.1)]
    assert dataset_means(rows)["CT", "A"] == pytest.approx({"(1,0)": 0.3})
    assert modality_means(rows) == {"CT": pytest.approx({"(1,0)": 0.6}), "MRI": {"(1,0)": 0.1}}


def test_the_table_has_a_line_for_each_dataset_and_modality(tmp_path):
    write_manifest(tmp_path, images=2)
    write_manifest(tmp_path, dataset="B", append=True)
    path = write_manifest(tmp_path, modality="US", dataset="C", append=True)
    lines = table(evaluate(path, session=always(square()))).splitlines()
    assert lines[0].split() == ["modality", "dataset", "masks", "(1,0)", "(1,2)", "(3,0)", "(3,2)", "box"]
    ones = ["1.000"] * 5
    assert lines[1].split() == ["CT", "A", "2", *ones]
    assert lines[3].split() == ["CT", "mean", "of", "2", "datasets", "3", *ones]
    assert lines[4].split() == ["US", "C", "1", *ones]
    assert "median seconds" in lines[-1]


# The command


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A promptable model that has learned nothing, as a file."""
    return promptable_weights(tmp_path_factory.mktemp("model") / "untrained.safetensors")


def test_the_command_prints_a_table_and_writes_rows(tmp_path, model_file, capsys):
    path, out = write_manifest(tmp_path, masks=2), tmp_path / "made" / "rows.json"
    words = [str(path), "--model", str(model_file), "--json", str(out), "--device", "cpu", "--sampling", "far"]
    assert cli.main(["evaluate-prompts", *words]) == cli.DONE
    printed = capsys.readouterr().out
    rows = json.loads(out.read_text())
    assert len(rows) == 10 and set(rows[0]) == KEYS
    assert printed.startswith("modality") and f"{np.mean([r['dsc'] for r in rows[::5]]):.3f}" in printed


@pytest.mark.parametrize(
    "words",
    [["--draws", "0"], ["--threads", "0"], ["--sampling", "near"], ["--device", "abacus"], ["--model", "nothing.pt"]],
)
def test_options_that_cannot_be_are_refused(tmp_path, model_file, capsys, words):
    path, out = write_manifest(tmp_path), tmp_path / "rows.json"
    try:
        code = cli.main(["evaluate-prompts", str(path), "--model", str(model_file), "--json", str(out), *words])
    except SystemExit as end:  # what tyro itself refuses
        code = end.code
    assert code == cli.BAD_INPUT
    assert words[1] in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_mobilesam_scores_what_it_is_known_to_score(tmp_path):
    manifest = shared("data/prompts_dev/manifest.csv")
    header, *lines = manifest.read_text().splitlines()
    nuclei = [line for line in lines if "DSB2018" in line][:3]
    for line in nuclei:
        for name in line.split(",")[3:5]:
            Image.open(manifest.parent / name).save(tmp_path / name)
    (tmp_path / "manifest.csv").write_text("\n".join([header, *nuclei]))
    rows = evaluate(
        tmp_path / "manifest.csv", EvaluatePromptsOptions(str(shared("weights/mobile_sam.pt")), device="cpu")
    )
    assert modality_means(rows)["micro"]["box"] > 0.9
