"""A training loop of one's own, the one in the README: play → experience → compute → update."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_loop_of_the_readme_learns(tmp_path, monkeypatch, capsys) -> None:
    (loop,) = [code for code in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "update(" in code]
    assert len(loop.splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    exec(compile(loop, "README.md", "exec"), {})
    rates = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert sum(rates[-5:]) > sum(rates[:5]) + 0.25
