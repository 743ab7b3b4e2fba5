"""Recipes: values with sources, other values refused with a hint, the commands that list and show them."""

import pytest

from synthorax.cli import run
from synthorax.diffusion.recipes import shipped_recipes
from synthorax.errors import InputError
from synthorax.proof.downstream import TASKS
from synthorax.proof.recipe import read_given, read_recipe, recipe_names
from synthorax.proof.trainings import PROTOCOLS


@pytest.mark.parametrize("name", recipe_names())
def test_every_value_has_its_source_and_a_tiny_form(name):
    recipe = read_recipe(name)
    assert recipe.protocol in (*PROTOCOLS, *TASKS, "chexgen-small") and recipe.open
    assert all(value.source.strip() for _, _, value in recipe.rows())
    tiny = recipe.at_scale("tiny")
    assert {value.source for _, _, value in tiny.rows()} - {
        value.source for _, _, value in recipe.rows()
    } == {"scale tiny"}
    assert recipe.protocol == "chexgen-small" or (
        tiny.values("grid")["keep_weights"] is False and recipe.values("grid")["keep_weights"] is True
    )


def test_the_paper_s_values():
    values = {f"{section}.{key}": value.value for section, key, value in read_recipe("cars-paper").rows()}
    stated = {
        "training.epochs": 30, "training.batch_size": 32, "training.learning_rate": 3e-4, "training.pretrained": True,
        "head.epochs": 5, "films.n_synthetic": 10000, "films.synthetic_train_fraction": 0.8, "films.normal_ratio": 2,
    }  # fmt: skip
    assert stated.items() <= values.items() and len(values["grid.backbones"]) == 7
    fractions = read_recipe("chexgen-pretrain").values("films")["fractions"]
    assert fractions == [0.01, 0.1, 0.3, 0.5, 0.7, 1.0]
    assert read_recipe("few-shot").values("films")["shots"] == [1, 5, 10]
    assert read_recipe("chexgen-classify").values("films")["multiples"] == [0, 1, 2]
    assert read_recipe("chexgen-pretrain").values("films")["multiples"] == [1, 2, 3, 5]
    chexgen = {
        "chexgen-segment": {"encoder": "resnet34", "image_size_px": 512, "batch_size": 32, "epochs": 40, "learning_rate": 1e-3},
        "chexgen-detect": {"network": "resnet50", "image_size_px": 1000, "batch_size": 8, "steps": 70000, "learning_rate": 1e-3},
        "chexgen-severity": {"backbone": "resnet50", "image_size_px": 224, "batch_size": 32, "epochs": 50, "learning_rate": 1e-3},
    }  # fmt: skip
    for (name, given), section in zip(
        chexgen.items(), ("segmentation", "detection", "severity"), strict=True
    ):
        assert given.items() <= read_recipe(name).values(section).items()
    small = read_recipe("chexgen-small")
    for name in ("classify", "segment", "detect", "severity", "pretrain"):
        read_recipe(f"chexgen-{name}").with_values(small.values(f"chexgen-{name}"), "chexgen-small")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("training.epoch=3", "the key of 'training.epoch' is 'epoch'; expected one of "),
        ("trainig.epochs=3", "the section of 'trainig.epochs' is 'trainig'; expected one of "),
        ("films.shots=[1]", "the key of 'films.shots' is 'shots'; expected one of "),
        ("training.epochs=many", "training.epochs is 'many'; expected something like 30."),
        (
            "training.epochs",
            "--set is 'training.epochs'; expected section.key=value, e.g. training.epochs=3.",
        ),
    ],
)
def test_a_wrong_value_is_refused(word, said):
    with pytest.raises(InputError) as error:
        read_recipe("cars-paper").with_values(read_given([word]), "--set")
    assert str(error.value).startswith(said)


def test_a_file_that_is_no_recipe(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("epochs: 3\n")
    with pytest.raises(
        InputError, match=r"own.yaml is no recipe \(KeyError: 'sections'\); take a shipped one"
    ):
        read_recipe(str(path))
    with pytest.raises(InputError, match="recipe is 'cars'; expected one of cars-paper, chexgen-classify"):
        read_recipe("cars")


def test_list_and_show(capsys):
    assert run(["recipes", "list"]) == 0
    listed = capsys.readouterr().out
    for name in recipe_names():
        assert f"synthorax recipes run {name}\n" in listed
    for name, (command, _) in shipped_recipes().items():
        assert f"synthorax {command} {name}\n" in listed
    assert run(["recipes", "show", "cars-paper"]) == 0
    shown = capsys.readouterr().out
    assert "Open in the paper:\n- Edit masks: none are named." in shown
    line = next(line for line in shown.splitlines() if line.startswith("training.epochs "))
    assert line.split() == ["training.epochs", "30", "CARS,", "section", "2"]
    assert run(["recipes", "show", "tiny-diffusion"]) == 0
    assert "steps: 6" in capsys.readouterr().out
    assert run(["recipes", "run", "chexgen-classify", "--out", "x"]) == 2
    assert capsys.readouterr().err == (
        "error: --studies is missing; give --studies, --concepts and --synthetic, or --scale tiny.\n"
    )
