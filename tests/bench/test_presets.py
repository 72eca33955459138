from pathlib import Path

import pytest

from bench.config import recipe_named
from bench.presets import Preset, Row, load_preset, preset_names
from bench.results.table import load_results
from compressors.chain import parse
from models.crnn import CrnnSpec
from models.errors import KwsError

PUBLISHED = load_results(Path(__file__).parents[2] / "results" / "kws_hw_published.csv")


def test_the_study_is_ten_rows_with_the_published_labels() -> None:
    preset = load_preset("kws-hw")
    assert sorted(row.label for row in preset.rows) == sorted(PUBLISHED["label"])
    assert preset.target_metric == 5.5e-5
    assert recipe_named(preset.recipe).epochs == 400


def test_float_rows_come_before_their_quantized_form() -> None:
    labels = [row.label for row in load_preset("kws-hw").rows]
    for label in labels:
        if label.startswith("DQ+"):
            assert labels.index(label.removeprefix("DQ+")) < labels.index(label)


def test_every_built_in_preset_parses() -> None:
    for name in preset_names():
        preset = load_preset(name)
        recipe_named(preset.recipe)
        for row in preset.rows:
            parse(row.chain, CrnnSpec())


def test_ones_own_file(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text('epochs = 3\n[[rows]]\nchain = "kd:hidden=9"\nlabel = "tiny"\n[[rows]]\nchain = "dq"\n')
    assert load_preset(str(path)) == Preset(rows=(Row("kd:hidden=9", "tiny"), Row("dq")), epochs=3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs = ", "cannot be read"),
        ("epochs = 3", r"has no \[\[rows\]\]"),
        ("rows = []", r"has no \[\[rows\]\]"),
        ('[[rows]]\nlabel = "x"', "a row without a chain"),
        ('[[rows]]\nchain = ""', 'a row without a chain; write chain = "kd", or chain = "base"'),
        ('[[rows]]\nchain = "kd"\n[[rows]]\nchain = "  "', 'a row without a chain; .* chain = "base"'),
        ('target_metric = inf\n[[rows]]\nchain = "kd"', "target_metric = inf must be a number, 0 or more"),
        ('target_metric = nan\n[[rows]]\nchain = "kd"', "target_metric = nan must be a number, 0 or more"),
        ("rows = [1]", "rows are tables"),
        ('epochs = "ten"\n[[rows]]\nchain = "kd"', "epochs = 'ten' must be a whole number, 1 or more"),
        ('epochs = 0\n[[rows]]\nchain = "kd"', "epochs = 0 must be a whole number, 1 or more"),
        ('target_metric = "x"\n[[rows]]\nchain = "kd"', "target_metric = 'x' must be a number, 0 or more"),
        ('recipe = ["x"]\n[[rows]]\nchain = "kd"', "must be a text"),
        ('[[rows]]\nchain = "kd"\nlabel = 3', "label = 3 must be a text"),
        ('[[rows]]\nchain = "kd"\ncolour = "red"', "unknown entry 'colour'"),
        ('target = 1\n[[rows]]\nchain = "kd"', "unknown entry 'target'.*target_metric"),
    ],
)
def test_a_broken_file_says_where(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(KwsError, match=says) as refused:
        load_preset(str(path))
    assert "\n" not in str(refused.value)


def test_an_unknown_name_lists_the_built_in_ones() -> None:
    with pytest.raises(KwsError, match=r"no preset 'kws'.*kws-hw"):
        load_preset("kws")
