from bench.config import Repeats, RunConfig
from models.task import KeywordTask


def test_repeats_keep_a_keywords_seeds_together_and_a_seeds_chains() -> None:
    asked = [
        RunConfig(chain, task=KeywordTask(word), seed=5)
        for word in ("go", "stop")
        for chain in ("kd", "dq+kd")
    ]
    found = [(each.task.text, each.seed, each.chain, each.teacher_seed) for each in Repeats(2).of(asked)]
    assert found == [
        ("keyword go", 5, "kd", None),
        ("keyword go", 5, "dq+kd", None),
        ("keyword go", 6, "kd", None),
        ("keyword go", 6, "dq+kd", None),
        ("keyword stop", 5, "kd", None),
        ("keyword stop", 5, "dq+kd", None),
        ("keyword stop", 6, "kd", None),
        ("keyword stop", 6, "dq+kd", None),
    ]
    teachers = [(each.seed, each.teacher_seed) for each in Repeats(3, fixed_teacher=True).of(asked[:1])]
    # The seed of the base itself is one run, under whichever name.
    assert teachers == [(5, None), (6, 5), (7, 5)]
