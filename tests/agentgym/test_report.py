"""The report: what it says, that it cannot be broken by what it shows, and that a browser renders it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from agentgym.agents.evaluation import SuccessRate, summarise, wilson_interval
from agentgym.agents.trajectory import StopReason, Trajectory, Turn, write_trajectories
from agentgym.report import write_report
from agentgym.report.comparison import comparisons, newcombe
from agentgym.report.curves import MAX_POINTS, metric_curve, success_curve
from agentgym.report.formatting import duration, number, percent, points, signed
from agentgym.report.page import MAX_BYTES
from agentgym.report.run_data import Metrics, read_run
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import compute
from agentgym.trainers.experience import usable_trajectories

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\" {{ 7 * 7 }} $x_1$"
CONFIG = {
    "env_id": "agentgym/Sokoban-v0",
    "model": "tiny",
    "credit": "gigpo",
    "credit_kwargs": {"gamma": 0.9},
}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def episode(group: str, moves: str, *, success: bool, text: str = "", **fields: Any) -> Trajectory:
    """An episode of one-letter actions; the board shows how many were taken."""
    turns = [
        Turn(
            f"####\n#P{t}#\n####{text}",
            f"state {t}",
            move + text,
            1.0 if success and t == len(moves) - 1 else -0.1,
        )
        for t, move in enumerate(moves)
    ]
    for turn in turns:
        turn.response_ids = [1, 2]
    reason = StopReason.SUCCESS if success else StopReason.MAX_TURNS
    fields = {"task_type": "4x3, 1 box" + text, "stop_reason": reason, **fields}
    return Trajectory("agentgym/Sokoban-v0", 1, group, f"task {group}{text}", turns=turns, **fields)


def step_metrics(step: int, **values: float) -> dict[str, float]:
    ended = {"stop_reason/success": 4, "stop_reason/max_turns": 4, "stop_reason/env_error": 0}
    tokens = {"tokens/sampled": 100, "tokens/trained": 100, "tokens/retokenized": 0}
    difference = {"sampler_logp_difference/mean": 1e-6, "sampler_logp_difference/max": 1e-5}
    times = {"time/rollout": 2.0, "time/signals": 0.1, "time/update": 3.0, "step_time": 5.1}
    learning = {"reward": 0.5, "turns/mean": 7.5, "entropy": 0.7, "grad_norm": 0.3, "loss": 0.01}
    rates = {"success_rate": 0.5, "frac_reward_zero_std": 0.25, "invalid_action_rate": 0.1}
    return {
        "step": step,
        "episodes": 8,
        **rates,
        **learning,
        **ended,
        **tokens,
        **difference,
        **times,
        **values,
    }


def evaluation(stage: str, successes: int, episodes: int = 40, *, task_type: str = "1 box") -> dict[str, Any]:
    played = [episode(str(i), "u", success=i < successes, task_type=task_type) for i in range(episodes)]
    result = summarise(played, env="agentgym/Sokoban-v0", agent="tiny", split="valid", seed=0).to_dict()
    return {"stage": stage, "step": 0 if stage == "before" else 30, **result}


def make_run(
    run_dir: Path,
    *,
    config: dict[str, Any] | None = None,
    metrics: list[dict[str, float]] | None = None,
    results: list[dict[str, Any]] | None = None,
    trajectories: dict[str, list[Trajectory]] | None = None,
    versions: dict[str, str] | None = None,
    with_credit: bool = True,
) -> Path:
    """A run directory of the parts given."""
    run_dir.mkdir(exist_ok=True)
    (run_dir / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **(config or {})}))
    if metrics is not None:
        (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    if results is not None:
        (run_dir / "eval.json").write_text(json.dumps({"results": results, "versions": versions or {}}))
    for name, played in (trajectories or {}).items():
        (run_dir / "trajectories").mkdir(exist_ok=True)
        write_trajectories(run_dir / "trajectories" / f"{name}.jsonl", played)
        if with_credit:
            write_credit(run_dir, name, played, {**CONFIG, **(config or {})})
    return run_dir


def write_credit(run_dir: Path, name: str, played: list[Trajectory], config: dict[str, Any]) -> None:
    """What training would have computed and written."""
    batch = TurnBatch.from_trajectories(usable := usable_trajectories(played, requires_groups=True))
    credit = compute(config["credit"], batch, **config["credit_kwargs"])
    places = {"place_N": np.array([next(i for i, t in enumerate(played) if t is u) for u in usable], dtype=int)}
    (run_dir / "credit").mkdir(exist_ok=True)
    batch.with_columns(credit.columns(batch) | places).save(run_dir / "credit" / f"{name}.npz")


def full_run(run_dir: Path, text: str = "") -> Path:
    group = [
        episode("29/0", "ul", success=True, text=text),
        episode("29/0", "rrr", success=False, text=text),
        episode("29/0", "uu", success=True, text=text),
    ]
    return make_run(
        run_dir,
        config={"env_kwargs": {"data": text}} if text else None,
        metrics=[step_metrics(s, success_rate=0.3 + 0.01 * s) for s in range(1, 31)],
        results=[evaluation("before", 12), evaluation("after", 30)],
        trajectories={"step-000000.process-0": group[:2], "step-000029.process-0": group},
        versions={"torch": "2.6.0" + text},
    )


def report(run_dir: Path) -> str:
    """The report's HTML, with ordinary spaces."""
    return write_report(run_dir).read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ").replace("&nbsp;", " ")


class Outline(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full_run(tmp_path_factory.mktemp("runs") / "sokoban")


@pytest.fixture(scope="module")
def html(run_dir: Path) -> str:
    return report(run_dir)


@pytest.fixture(scope="module")
def page(html: str) -> Outline:
    return Outline(html)


# What it says -------------------------------------------------------------------------------------------------


def test_the_headline_gives_rates_intervals_and_the_panel(page: Outline, run_dir: Path) -> None:
    before, after = read_run(run_dir).evaluations
    assert "tiny trained in agentgym/Sokoban-v0 with gigpo" in page.text
    assert "before 30.0 % 18.1 – 45.4 % → after 75.0 % 59.8 – 85.8 %" in page.text
    assert "+45.0 points (95 % interval +23.3 to +61.1)." in page.text
    assert f"Same panel: hash {before.panel_hash} , 40 tasks, split valid, seeds from 0" in page.text
    assert before.panel_hash == after.panel_hash


def test_the_interval_of_a_difference_is_newcombes() -> None:
    after, before = (SuccessRate(n, k / n, wilson_interval(k, n)) for k, n in ((56, 70), (48, 80)))
    found = newcombe(before, after)  # the paper's example (a), method 10
    assert (found.value, *found.ci95) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_a_small_change_is_said_to_be_possibly_chance(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", results=[evaluation("before", 20), evaluation("after", 22)])
    assert "zero is inside, so this may be chance" in report(run)


def test_different_panels_are_warned_of_and_not_compared(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", results=[evaluation("before", 12), evaluation("after", 30, 41)])
    text = Outline(report(run)).text
    assert "These two numbers must not be compared." in text
    assert "(40 tasks, split valid); after" in text
    assert "Same panel" not in text
    assert "points (95 %" not in text


def test_each_environment_is_compared_with_itself_by_its_latest_evaluation(tmp_path: Path) -> None:
    other = {**evaluation("before", 10), "env": "agentgym/Other-v0"}
    early = {**evaluation("after", 1), "step": 10}
    make_run(tmp_path / "run", results=[evaluation("before", 12), other, evaluation("after", 30), early])
    sokoban, second = comparisons(read_run(tmp_path / "run").evaluations)
    assert (sokoban.env, second.env) == ("agentgym/Sokoban-v0", "agentgym/Other-v0")
    assert sokoban.after is not None
    assert sokoban.after.step == 30
    assert second.after is None


def test_task_types_are_listed_with_a_total(tmp_path: Path) -> None:
    before = summarise(
        [episode("1", "u", success=True, task_type="easy"), episode("2", "u", success=False, task_type="hard")],
        env="e", agent="a", split="valid", seed=0,
    )  # fmt: skip
    run = make_run(tmp_path / "run", results=[{"stage": "before", "step": 0, **before.to_dict()}])
    text = Outline(report(run)).text
    assert re.search(r"easy 1 100\.0 % .* hard 1 0\.0 % .* all tasks 2 50\.0 %", text)


def test_every_turn_shows_the_advantage_that_the_scheme_gives(run_dir: Path, html: str) -> None:
    (played,) = read_run(run_dir).trajectory_files[-1].read()
    batch = TurnBatch.from_trajectories(played)
    advantages = batch.nest_turns(compute("gigpo", batch, gamma=0.9).turn_advantages(batch))
    last_step = html[html.index('<div class="panel') : html.index("Step 1 ·")]
    for i, of_episode in enumerate(advantages, start=1):
        for t, advantage in enumerate(of_episode, start=1):
            card = last_step[last_step.index(f'data-card="{i}-{t}" data-state') :]
            shown = re.search(r"advantage </span>([^<]+)<", card)
            assert shown is not None
            assert shown[1] == signed(advantage)


def test_excluded_episodes_are_shown_and_take_no_part(tmp_path: Path) -> None:
    failed = episode("0/0", "u", success=False, stop_reason=StopReason.ENV_ERROR, error=f"OSError: {HOSTILE}")
    group = [episode("0/0", "ul", success=True), episode("0/0", "rr", success=False), failed]
    metrics = [step_metrics(1, **{"stop_reason/env_error": 1})]
    text = Outline(
        report(make_run(tmp_path / "run", metrics=metrics, trajectories={"step-000000.process-0": group}))
    ).text
    assert text.count("takes no part in the credit") == 1
    assert f"1 × OSError: {HOSTILE}" in text
    assert "excluded episodes 1 of 8: the environment failed twice" in text


def test_groups_of_all_processes_are_shown_and_the_command_counts_them(tmp_path: Path) -> None:
    files = {
        f"step-000004.process-{p}": [
            episode(f"4/{p}", "ul", success=True),
            episode(f"4/{p}", "r", success=False),
        ]
        for p in (0, 1)
    }
    text = Outline(report(make_run(tmp_path / "run", trajectories=files))).text
    assert "2 of the 2 groups of step 5" in text
    assert f"accelerate launch --num_processes 2 -m agentgym.train {tmp_path}/run/config.yaml" in text


def of_seat(seat: str, episode: str, words: list[str], order: list[int], reward: float) -> Trajectory:
    """A seat's part of a game; ben is a partner. What each was told before says for whom it was."""
    turns = [
        Turn(f"for {seat} before turn {place}", f"{seat}/{i}", word, reward * (i == len(words) - 1), order=place)
        for i, (word, place) in enumerate(zip(words, order, strict=True))
    ]
    for turn in turns:
        turn.response_ids = [1]
    player, partner = ("learner", "greedy") if seat == "ann" else ("greedy", "learner")
    return Trajectory(
        "agentgym/Bargaining-v0", 1, "0/0", "table", "mixed", turns,
        StopReason.SUCCESS if reward > 0 else StopReason.TERMINATED,
        episode=episode, seat=seat, player=player, partner=partner, outcome={"joint": 0.5},
        final_observation=f"the end for {seat}",
    )  # fmt: skip


def test_a_game_is_shown_as_a_dialogue_of_its_seats(tmp_path: Path) -> None:
    learners = [of_seat("ann", e, ["hats?" + HOSTILE, "deal"], [1, 3], r) for e, r in (("x", -2.0), ("y", 3.0))]
    partners = [of_seat("ben", e, ["books", "no", "fine"], [0, 2, 4], 1.0) for e in "xy"]
    run_dir = make_run(tmp_path, config={"credit": "grpo", "credit_kwargs": {}})
    (run_dir / "trajectories").mkdir()
    write_trajectories(run_dir / "trajectories" / "step-000000.process-0.jsonl", [*learners, *partners])
    batch = TurnBatch.from_trajectories(learners)
    columns = compute("grpo", batch).columns(batch) | {"place_N": np.array([0, 1])}
    (run_dir / "credit").mkdir()
    batch.with_columns(columns).save(run_dir / "credit" / "step-000000.process-0.npz")
    html = report(run_dir)
    page = Outline(html)
    assert "ann (learner)" in page.text and "ben (greedy)" in page.text and "joint 0.500" in page.text
    assert page.text.index("episode 2") < page.text.index("episode 1"), "the one that earned most first"
    best = re.sub(r"<[^>]*>", " ", html[html.index('aria-label="episode 2"') : html.index('aria-label="episode 1"')])
    told = [best.index(f"for {'ann' if place % 2 else 'ben'} before turn {place}") for place in range(5)]
    assert told == sorted(told), "in the order in which they were played"
    for place, said in enumerate(["books", "hats?", "no", "deal", "fine"]):
        assert best.index(said, told[place]) < [*told, len(best)][place + 1], "each says it after what it was told"
    advantage = float(columns["advantage_T"][2])
    assert best.count(signed(advantage)) == 2, "of the learner's turns alone"
    assert "1 of 2 episodes solved it, counted for each seat that is learned in" in re.sub(r"\s+", " ", page.text)
    assert "<script>alert" not in html


def test_seats_are_compared_each_with_itself(tmp_path: Path) -> None:
    results = [evaluation(stage, n) | {"seat": seat, "partner": "greedy"}
               for stage, n in (("before", 10), ("after", 30)) for seat in ("ann", "ben")]  # fmt: skip
    page = Outline(report(make_run(tmp_path, results=results)))
    for seat in ("ann", "ben"):
        assert f"agentgym/Sokoban-v0 as {seat} against greedy" in page.text
    assert page.text.count("+50.0 points") == 2


def test_a_run_without_its_credit_is_shown_without(tmp_path: Path) -> None:
    group = [episode("0/0", "u", success=True), episode("0/0", "d", success=False)]
    make_run(tmp_path, metrics=[step_metrics(1)], trajectories={"step-000000.process-0": group}, with_credit=False)
    text = Outline(report(tmp_path)).text
    assert "No advantages for step 1. There is no credit/step-000000.process-0.npz: an earlier agentgym wrote" in text


def test_a_file_that_has_lost_trajectories_is_named(tmp_path: Path) -> None:
    group = [episode("0/0", "u", success=True), episode("0/0", "d", success=False)]
    make_run(tmp_path, metrics=[step_metrics(1)], trajectories={"step-000000.process-0": group})
    (played,) = (tmp_path / "trajectories").iterdir()
    played.write_bytes(b"")
    with pytest.raises(ValueError, match=f"^{re.escape(str(played))} holds 0 trajectories, and .*npz is of 2$"):
        report(tmp_path)


def test_health_warns_of_reencoded_tokens_and_numbers_that_are_not_finite(tmp_path: Path) -> None:
    bad = step_metrics(2, loss=float("nan"), grad_norm=float("inf"), **{"tokens/retokenized": 3})
    html = report(make_run(tmp_path / "run", metrics=[step_metrics(1), bad]))
    assert '<dt class="warn">re-encoded tokens</dt><dd class="value">3</dd>' in html
    assert '<dt class="warn">steps not finite</dt><dd class="value">1</dd>' in html


def test_numbers_are_written_for_people() -> None:
    spaced = [s.replace("\N{NO-BREAK SPACE}", " ") for s in (percent(0.375), duration(580), duration(7500))]
    assert spaced == ["37.5 %", "9 min 40 s", "2 h 05 min"]
    assert [signed(x) for x in (-1.5, 0.0, 0.004, 2)] == ["−1.50", "0", "+0.004", "+2.00"]
    assert [number(x) for x in (12800, 10.01, 0.5, 1e-5, 8)] == ["12,800", "10.0", "0.500", "1.00e-05", "8"]
    assert points(-0.125) == "−12.5"
    assert {percent(np.nan), signed(np.inf), number(np.nan), duration(np.nan), points(np.nan)} == {"–"}


# Curves -------------------------------------------------------------------------------------------------------


def test_the_success_band_is_wilsons_of_the_pooled_episodes() -> None:
    metrics = Metrics([step_metrics(s, success_rate=s % 2 / 2) for s in range(1, 37)])
    curve = success_curve(metrics)  # 36 points, pooled by 3
    assert curve.low is not None
    assert curve.high is not None
    assert curve.raw[:2].tolist() == [0.5, 0.0]
    assert curve.smooth[1] == pytest.approx(8 / 24)
    assert (curve.low[1], curve.high[1]) == pytest.approx(wilson_interval(8, 24))


def test_a_step_without_a_value_is_left_out_of_the_means() -> None:
    metrics = Metrics([step_metrics(s, reward=float("nan") if s == 2 else s) for s in range(1, 37)])
    curve = metric_curve(metrics, "reward")
    assert np.isnan(curve.raw[1])
    assert curve.smooth[1] == 2
    assert metric_curve(metrics, "kl").is_empty


def test_long_runs_are_pooled() -> None:
    metrics = Metrics([step_metrics(s) for s in range(1, 2501)])
    assert len(success_curve(metrics).step) == 278 <= MAX_POINTS


def test_long_episodes_are_cut_and_the_report_says_so(tmp_path: Path) -> None:
    played = [episode(f"0/{i // 8}", "u" * 60, success=i % 2 == 0, text="<&" * 400) for i in range(24)]
    run = make_run(tmp_path / "run", trajectories={"step-000000.process-0": played})
    html = report(run)
    assert (run / "report.html").stat().st_size <= MAX_BYTES
    assert "2 of the 3 groups of step 1" in html
    assert "At most 6 episodes a group, 20 turns an episode and 600 characters a text" in html
    assert "… 40 turns …" in html


# What is missing, wrong or hostile ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"config": {"credit": None, "model": None, "credit_kwargs": None}},
        {"metrics": []},
        {"metrics": [step_metrics(1)]},
        {"metrics": [{"step": 1}]},
        {"metrics": [{name: float("nan") for name in step_metrics(1)} | {"step": 1}]},
        {"metrics": [step_metrics(1, kl=0.1), step_metrics(2)], "results": [evaluation("before", 3)]},
        {"results": []},
        {"results": [evaluation("after", 3)]},
        {"trajectories": {"step-000000.process-0": []}},
        {"trajectories": {"step-000000.process-0": [Trajectory("e", 0, "0/0", "t", "type")]}},
    ],
)
def test_a_report_is_made_of_whatever_is_there(tmp_path: Path, parts: dict[str, Any]) -> None:
    html = report(make_run(tmp_path / "run", **parts))
    assert html.endswith("</html>")
    assert "nan" not in Outline(html).text.lower().split()


def test_text_is_shown_as_it_is_and_never_interpreted(tmp_path: Path) -> None:
    html = report(full_run(tmp_path / "run", HOSTILE))
    outline = Outline(html)
    assert outline.count("script") == 1
    assert outline.count("img") == 0
    assert outline.text.count(HOSTILE) > 20


def test_lone_surrogates_do_not_stop_the_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", trajectories={"step-000000.process-0": [episode("0/0", "u", success=True)]})
    path = run / "trajectories" / "step-000000.process-0.jsonl"
    path.write_text(path.read_text().replace('"action": "u"', r'"action": "\ud800"'))
    assert report(run).endswith("</html>")


def test_the_page_asks_for_nothing_from_elsewhere(page: Outline, html: str) -> None:
    links = [value for _, attrs in page.elements for name, value in attrs.items() if name in ("src", "href")]
    assert links
    assert all(value is not None and value.startswith("#") for value in links)
    assert "default-src 'none'" in html


def test_ids_are_not_used_twice(page: Outline) -> None:
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_same_run_gives_the_same_bytes(run_dir: Path, html: str) -> None:
    assert report(run_dir) == html


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", None, r"cannot read the configuration .*config\.yaml: No such file or directory"),
        ("config.yaml", "a: [1\nb: 2\n", r"config\.yaml, line 2 is not YAML"),
        ("config.yaml", "- a\n", r"config\.yaml must hold keys and values, not a list"),
        ("config.yaml", b"\xff\xfe", r"cannot read the configuration .*config\.yaml: it is not UTF-8 text"),
        ("config.yaml", "database: mysql\n", r"config\.yaml is not the configuration of a run"),
        ("metrics.jsonl", '{"step": 1}\n{"step": \n', "metrics.jsonl, line 2: not JSON"),
        ("metrics.jsonl", "[1]\n", "metrics.jsonl, line 1: expected an object"),
        ("metrics.jsonl", '{"reward": 1}\n', "metrics.jsonl, line 1: 'step' is missing"),
        (
            "metrics.jsonl",
            '{"step": 1, "loss": "low"}\n',
            "metrics.jsonl, line 1: loss is 'low', not a number",
        ),
        ("eval.json", '{"results": [}', "eval.json, line 1: not JSON"),
        ("eval.json", "[]", "eval.json: expected an object"),
        ("eval.json", '{"results": [{"stage": "during"}]}', "eval.json: 0.*not"),
        ("trajectories/step-000000.process-0.jsonl", "{}\n", "process-0.jsonl, line 1: not a trajectory"),
        ("trajectories/step-000000.process-0.jsonl", b"\xff\n", "process-0.jsonl, line 1: .utf-8. codec"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    run = make_run(tmp_path / "run", trajectories={"step-000000.process-0": []})
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=message) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: not a directory"):
        write_report(tmp_path / "nowhere")


def test_a_last_line_cut_short_by_a_kill_is_left_out_and_a_repeated_step_replaced(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", metrics=[step_metrics(1), step_metrics(2), step_metrics(2, reward=9)])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "rew')
    assert read_run(run).metrics.column("reward").tolist() == [0.5, 9]


# A real browser -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(BROWSER is None, reason="no chromium on the PATH")
def test_a_browser_renders_it_without_a_complaint(tmp_path: Path) -> None:
    path = write_report(full_run(tmp_path / "run", HOSTILE))
    assert BROWSER is not None
    quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
    ]
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *quiet]
    command += [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--dump-dom",
        path.as_uri(),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    dom = Outline(result.stdout.replace("\N{NO-BREAK SPACE}", " "))
    assert "before 30.0 % 18.1 – 45.4 % → after 75.0 % 59.8 – 85.8 %" in dom.text
    assert [attrs["class"] for tag, attrs in dom.elements if tag == "html"] == ["js"]
    assert sum(attrs.get("class") == "panel prose on" for _, attrs in dom.elements) == 1
    assert "CONSOLE" not in result.stderr
