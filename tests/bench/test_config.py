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


def test_a_run_folder_says_of_a_base_only_where_one_is_given() -> None:
    plain, given = RunConfig("kd"), RunConfig("kd", base="my.pt", base_hash="0")
    assert given.values() == plain.values() | {"base": "my.pt", "base_hash": "0"}
    assert not {"base", "base_hash"} & set(plain.values())


def test_repeats_have_the_one_base_that_is_given() -> None:
    found = list(Repeats(3).of([RunConfig("kd", seed=4, base="my.pt")]))
    assert [(each.seed, each.teacher_seed) for each in found] == [(4, None), (5, 4), (6, 4)]
