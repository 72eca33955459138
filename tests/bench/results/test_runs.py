"""The run folder of a model that no family builds as it stands: its factors follow from the configuration."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.results.runs import RunFolder
from compressors.chain import parse
from models import registry
from models.errors import ResultsError
from models.shipped import shipped
from models.task import KeywordTask
from tests import zoo

BASE = zoo.CausalSpec(12, 9, 15)
TEXT = "lr:rank=0.2,layers=2+sp:keep=0.5"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    registry.register("causal", BASE)(zoo.Causal)
    yield RunFolder(tmp_path)
    del registry._FAMILIES["causal"]


def test_a_factored_and_pruned_model_is_read_back(folder: RunFolder) -> None:
    chain = parse(TEXT, BASE)
    model = chain.surgery(chain.prepare(zoo.model_of(chain.student(BASE))))
    folder.save_config("causal", chain, model.spec, {"keyword": "start"})
    folder.save_model(model, shipped(model, converted=False, task=KeywordTask()))
    spec = json.loads(folder.config_file.read_text())["spec"]
    ranks = {"input_rank": 3, "recurrent_rank": 3, "layer_ranks": [2, 0, 0]}
    assert spec == ranks | {"width": 6, "side": 4, "hidden": 8}
    log_mel = torch.randn(2, 40, 101)
    with torch.no_grad():
        assert torch.equal(folder.load_model()(log_mel).logits, model(log_mel).logits)


@pytest.mark.parametrize(
    ("ranks", "says"),
    [
        ({"layer_ranks": [2, 0]}, "2 numbers, and Causal 3"),
        ({"layer_ranks": [2.5, 0, 0]}, "cannot be built"),
        ({"layer_ranks": [10**12, 0, 0]}, "layer_ranks=1000000000000 makes mix no smaller; 1 to 10 do"),
        ({"input_rank": "3"}, "not supported between"),
        ({"sparsity": 0.5}, "needs a factored GRU"),
    ],
    ids=str,
)
def test_ranks_that_no_run_writes_are_one_line(
    folder: RunFolder, ranks: dict[str, object], says: str
) -> None:
    folder.save_config("causal", parse("lr", BASE), BASE, {"keyword": "start"})
    about = json.loads(folder.config_file.read_text())
    folder.config_file.write_text(json.dumps(about | {"spec": about["spec"] | ranks}))
    with pytest.raises(ResultsError, match=says):
        folder.load_model()
