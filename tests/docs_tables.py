"""Rewrite the tables of docs/credit.md: `python -m tests.docs_tables`, in the root of the repository.

What is in them comes from the code: the registers of schemes and losses, the paragraph "Paper and code:" of their
docstrings, and the golden cases that ship, which are run here and counted for every scheme and loss that a case
that agrees has used. A test fails where the page is not what this would write.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeAlias

from agentgym.credit_tables import families
from agentgym.trainers import segments
from agentgym.trainers.credit import Scheme, blocks, schemes
from agentgym.trainers.credit import registry as credit_registry
from agentgym.trainers.credit.blocks import comparison, earnings, gathering
from agentgym.trainers.losses import Loss, losses
from agentgym.trainers.losses import registry as loss_registry
from agentgym.trainers.signal_names import SIGNALS

from .golden.__main__ import case_files
from .golden.adapters import ADAPTERS
from .golden.compare import Report

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "credit.md"
GOLDEN = ROOT / "tests" / "golden"
BEGIN, END = "<!-- {} begin: written by `python -m tests.docs_tables` -->", "<!-- {} end -->"

Proofs: TypeAlias = dict[str, Counter[str]]
""""Scheme …" or "Loss …" → golden folder → how many cases of it agree."""


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), count_proofs()), encoding="utf-8")
    print(f"written: {PAGE}", file=sys.stderr)


def rewritten(page: str, proofs: Proofs) -> str:
    """The page with its tables made anew. Raises `ValueError` where a mark is missing."""
    tables = {
        "signals": signal_table(),
        "blocks": block_table(),
        "schemes": scheme_table(proofs),
        "losses": loss_table(proofs),
    }
    for name, table in tables.items():
        before, begin, rest = page.partition(BEGIN.format(name))
        _, end, after = rest.partition(END.format(name))
        if not begin or not end:
            raise ValueError(f"{PAGE} has no place for the table of {name}: {BEGIN.format(name)} … {END.format(name)}")
        page = f"{before}{begin}\n{table}\n{end}{after}"
    return page


# Which golden cases prove what ----------------------------------------------------------------------------


def algorithm_folders() -> list[Path]:
    """The golden folders that ship and hold cases of algorithms; the others hold episodes of worlds."""
    folders = sorted(path for path in GOLDEN.iterdir() if path.is_dir() and any(path.glob("case_*.json")))
    return [path for path in folders if "expected" in json.loads(case_files(path)[0].read_text(encoding="utf-8"))]


def count_proofs() -> Proofs:
    """Run the golden cases of algorithms that ship."""
    proofs: Proofs = defaultdict(Counter)
    for folder in algorithm_folders():
        for file in case_files(folder):
            for case in ADAPTERS[folder.name](file):
                with used() as names:
                    case.check(report := Report())
                if not report.mismatches:
                    for name in names:
                        proofs[name][folder.name] += 1
    return proofs


@contextmanager
def used() -> Iterator[set[str]]:
    """Which schemes and losses are called inside, through their registers: "Scheme grpo", "Loss ppo"."""
    names: set[str] = set()
    registers: list[MutableMapping[str, Any]] = [credit_registry._SCHEMES, loss_registry._LOSSES]
    originals = [dict(register) for register in registers]
    for register in registers:
        for name, entry in register.items():
            register[name] = replace(entry, function=_noting(entry.function, _key(entry), names))
    try:
        yield names
    finally:
        for register, original in zip(registers, originals, strict=True):
            register.update(original)


def _key(entry: Scheme | Loss) -> str:
    """A loss may have the name of a scheme."""
    return f"{type(entry).__name__} {entry.name}"


def _noting(function: Callable[..., Any], name: str, names: set[str]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **params: Any) -> Any:
        names.add(name)
        return function(*arguments, **params)

    return call


# The tables -----------------------------------------------------------------------------------------------


def signal_table() -> str:
    """The names of signals."""
    return _table(["signal", "meaning"], [[f"`{name}`", meaning] for name, meaning in SIGNALS.items()])


def block_table() -> str:
    """The functions of the algebra, module by module, with the first lines of their docstrings."""
    modules = (segments, earnings, gathering, comparison)
    rows = [
        [f"`{block.__name__}`", module.__name__.rpartition(".")[2], (inspect.getdoc(block) or "").partition("\n")[0]]
        for module in modules
        for _, block in inspect.getmembers(module, inspect.isfunction)
        if block.__module__ == module.__name__ and (module is segments or block.__name__ in blocks.__all__)
    ]
    return _table(["block", "of", "what it gives"], rows)


def is_ours(entry: Scheme | Loss) -> bool:
    """Whether a scheme or a loss is agentgym's: tests register some of their own."""
    return entry.function.__module__.startswith("agentgym.")


def scheme_table(proofs: Proofs) -> str:
    """All schemes, by what they work from."""
    heading = ["scheme", "paper", "granularity", "needs", "parameters", "golden cases", "paper and official code"]
    rows = []
    ours = [scheme for scheme in schemes() if is_ours(scheme)]
    for family in families(ours):
        of_kind = [scheme for scheme in ours if scheme.family == family]
        rows.append([f"**{family}**", *[""] * (len(heading) - 1)])
        rows += [_row(scheme, [scheme.granularity, _codes(scheme.needs)], proofs) for scheme in of_kind]
    return _table(heading, rows)


def loss_table(proofs: Proofs) -> str:
    """All losses, and the terms that are added to them."""
    heading = ["loss", "paper", "kind", "ratio", "mean", "parameters", "golden cases", "paper and official code"]
    rows = [
        _row(loss, [loss.kind, *([loss.ratio, loss.aggregation] if loss.kind == "policy" else ["", ""])], proofs)
        for loss in losses()
        if is_ours(loss)
    ]
    return _table(heading, rows)


def _row(entry: Scheme | Loss, middle: list[str], proofs: Proofs) -> list[str]:
    parameters = _codes(f"{p.name}={p.default}" for p in entry.parameters.values())
    of_entry = proofs.get(_key(entry), Counter())
    cases = ", ".join(f"{folder}: {count}" for folder, count in sorted(of_entry.items())) or "none"
    return [f"`{entry.name}`", _link(entry.paper), *middle, parameters, cases, _sentence(entry.differences)]


def _link(paper: str) -> str:
    scheme, _, number = paper.partition(":")
    addresses = {"arXiv": f"https://arxiv.org/abs/{number}", "doi": f"https://doi.org/{number}"}
    return f"[{number}]({addresses[scheme]})" if scheme in addresses else paper


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _sentence(text: str) -> str:
    return text if text.startswith("verl") else text[:1].upper() + text[1:]  # a name that is written small


def _table(heading: list[str], rows: list[list[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    main()
