"""What the README shows, runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_an_environment_of_ones_own_in_25_lines(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "TextEnv" in block]
    assert len([line for line in code.splitlines() if line]) <= 25
    quick = code.replace("max_steps=30", "max_steps=2, eval_episodes=8")
    assert quick != code
    done = subprocess.run([sys.executable, "-c", quick], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "my/Corridor-v0" in done.stdout
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "report.html").is_file()
