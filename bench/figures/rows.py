"""What of a table goes into figures: models, the converted among them, and the parts that belong together."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pandas as pd

from bench.comparing.tables import IDENTITY, canonical_chain, known
from bench.figures.look import plain_name
from bench.files import file_name
from bench.quality.keyword import Curve
from bench.quality.measures import Measure, measures_in

# A parameter of a model as it was trained; nothing is saved in fewer unless it was converted.
FLOAT_BYTES = 4
FOLDER_NAME_BYTES = 200


def tokens(chain: str) -> tuple[str, ...]:
    """The compressors in a chain or a label, without options and without the study's numbering.

    Examples:
        >>> tokens("dq+kd:hidden=12"), tokens("SP+KD2(hidden=12)"), tokens("B"), tokens("")
        (('dq', 'kd'), ('sp', 'kd'), (), ())
    """
    names = [re.sub(r"([:(].*|\d+)$", "", re.sub(r"\(.*\)", "", piece)).lower() for piece in chain.split("+")]
    return tuple(name for name in names if name not in ("", "b"))


def converters(table: pd.DataFrame) -> pd.Series[str]:
    """What each row's chain converts its model with; empty where the model is as it was trained.

    No list of compressors is asked, so those of plugins count too. The first part of a chain is a converter
    where the rest of it is another row's chain, with as many MACs and parameters but another size; and,
    should that row not be there, where the weights are saved in fewer than 4 bytes a parameter.

    Args:
        table: Results of one corpus and keyword, with ``chain``.

    Examples:
        >>> rows = {"chain": ["", "kd", "dq+kd"], "macs": [9, 5, 5], "size_kb": [8.0, 4.0, 2.0]}
        >>> converters(pd.DataFrame(rows)).tolist()
        ['', '', 'dq']
    """
    chains = table["chain"].map(_plain)
    first, rest = chains.map(lambda chain: chain.partition("+")[0]), chains.map(_rest)
    cost = {name: table.get(name, np.nan) for name in ("macs", "params", "size_kb")}
    rows = pd.DataFrame({"chain": chains, **cost}, table.index).astype(dict.fromkeys(cost, float))
    on = ["chain", "macs", "params"]
    # Older tables have no parameters: there MACs decide alone.
    rows["params"] = rows["params"].fillna(-1)
    sizes = rows.dropna(subset=["macs", "size_kb"]).groupby(on)["size_kb"].agg(["min", "max"])
    sources = rows.assign(chain=rest).join(sizes, on=on)
    differs = sources["min"].ne(rows["size_kb"]) | sources["max"].ne(rows["size_kb"])
    paired = sources["min"].notna() & rows["size_kb"].notna() & differs
    saved = rows["size_kb"] * 1024
    if {"payload_bytes", "scale_bytes"} <= set(table):
        saved = (table["payload_bytes"] + table["scale_bytes"]).astype(float).fillna(saved)
    light = saved < FLOAT_BYTES * rows["params"]
    converted = set(chains[(paired | light) & first.ne("")])
    return first.where(chains.isin(converted), "")


def _plain(chain: object) -> str:
    """A chain to compare: the base is empty, also where a label such as ``DQ+B`` stands for a chain."""
    return re.sub(r"(^|\+)(b|base)$", "", canonical_chain(chain).lower())


def _rest(chain: str) -> str:
    """A chain without its first part."""
    return chain.partition("+")[2]


def by_label(table: pd.DataFrame) -> pd.DataFrame:
    """One row a model, in order of appearance: repeated runs are averaged, failed ones left out.

    Args:
        table: Results of one corpus, keyword, model and recipe (see ``groups``).

    Returns:
        The means of all numbers (of an interval's ends the means of the runs'), and ``converter``,
        ``quantized``, ``kilo_macs``, ``tokens`` and ``source``: the chain without its converter, by which a
        converted model finds its float form, and the compressors in it.
    """
    done = table[table["status"] == "ok"] if "status" in table else table
    done = done.assign(chain=done["chain"].astype(object).fillna("") if "chain" in done else done["label"])
    done = done.assign(converter=converters(done))
    means = done.groupby(["label", "chain", "converter"], sort=False).mean(numeric_only=True).reset_index()
    means["quantized"] = means["converter"] != ""
    means["kilo_macs"] = means["macs"] / 1000 if "macs" in means else np.nan
    chains = means["chain"].map(_plain)
    means["source"] = chains.map(_rest).where(means["quantized"], chains)
    means["tokens"] = means["source"].map(tokens)
    return means


def title_of(table: pd.DataFrame) -> str:
    """The corpus and the task, where the table says both."""
    data, keyword, task = (
        known(table[name].iloc[0]) if name in table else "" for name in ("data", "keyword", "task")
    )
    said = f"keyword {plain_name(keyword)!r}" if keyword else plain_name(task)
    return f"{plain_name(data)}, {said}" if data and said else ""


def of_words(table: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are of a task without a keyword; those that say no task are of none."""
    task, keyword = (
        table[name].map(known).ne("") if name in table else pd.Series(False, table.index)
        for name in ("task", "keyword")
    )
    return task & ~keyword


def drawn_measures(table: pd.DataFrame) -> list[Measure]:
    """What figures of quality are drawn of: the headlines that a table has figures of.

    The areas of a keyword's curves are views of the same scores, which figures would show twice: of those
    the first is drawn.
    """
    found = measures_in([str(name) for name in table.columns[table.notna().any()]])
    headlines = [each for each in found if each.headline]
    views = [each for each in headlines if isinstance(each, Curve)]
    return [each for each in headlines if each not in views[1:]]


def groups(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The parts of a table that each make a set of figures, by the name of their folder.

    Rows on other data or another task, of another model or recipe, never share a figure. Where all
    rows belong together there is one part, without a name.

    Examples:
        >>> list(groups(pd.DataFrame({"data": ["tones", "tones"], "keyword": ["left", "stop"]})))
        ['tones-left', 'tones-stop']
    """
    texts = pd.DataFrame(
        {column: table[column].map(known) if column in table else "" for column in IDENTITY}, table.index
    )
    texts["corpus_hash"] = texts["corpus_hash"].str[:8]
    # The folder of a keyword is called after the word alone.
    texts["task"] = texts.pop("keyword").where(lambda words: words.ne(""), texts["task"])
    if len(texts.drop_duplicates()) < 2:
        return {"": table}
    within = texts.groupby(["data", "task"]).nunique().max()
    told = ["data", "task", *(column for column in within.index if within[column] > 1)]
    found: dict[str, pd.DataFrame] = {}
    count: Counter[str] = Counter()
    for values, rows in texts.groupby(told, sort=False):
        name = _folder_name("-".join(str(value)[:24] for value in values if value))
        count[name] += 1
        found[name if count[name] == 1 else f"{name}~{count[name]}"] = table.loc[rows.index]
    return found


def _folder_name(text: str) -> str:
    """A folder's name that is neither hidden, nor a way out, nor longer than file systems take."""
    name = file_name(text).lstrip(".").encode()[:FOLDER_NAME_BYTES].decode(errors="ignore")
    return name or "other"
