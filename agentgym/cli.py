"""The command line. Results go to standard output, messages and progress to standard error.

Exit status: 0 on success, 2 for a wrong call, 1 for a failure, 130 after Ctrl-C. What a command needs is imported
when it runs, so that `agentgym --help` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from agentgym.terminal import plain_console, say_error

if TYPE_CHECKING:
    from agentgym.agents.agent import InstantAgent
    from agentgym.agents.evaluation import Evaluation
    from agentgym.envs import TextEnv

app = typer.Typer(
    name="agentgym",
    help="A gym for agentic multi-turn reinforcement learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # texts of ours and of users have brackets
    context_settings={"max_content_width": 120},
)
_messages = plain_console(stderr=True)
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class Player(StrEnum):
    """Who plays in `agentgym play`."""

    human = "human"
    random = "random"
    expert = "expert"


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn a `ValueError`, which the library raises for what its user gave it, into one line and status 2."""
    try:
        yield
    except ValueError as error:
        say_error(_messages, error)
        raise typer.Exit(2) from error


@app.command(context_settings=_PASS_ON, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train an agent: agentgym train CONFIG [--key.sub value …].

    The same as `accelerate launch -m agentgym.train CONFIG …` with one process.
    """
    if not context.args or {"-h", "--help"} & set(context.args):
        from agentgym.config_help import describe_config

        typer.echo(describe_config(), err=not context.args)
        raise typer.Exit(0 if context.args else 2)
    from agentgym.config import check_choices, load_config

    with _clear_errors():  # before torch is imported, which takes seconds
        check_choices(load_config(Path(context.args[0]), context.args[1:]))
    from agentgym.train import main as train_main

    raise typer.Exit(train_main(context.args))


@app.command(name="eval")
def evaluate(
    env: Annotated[list[str], typer.Option(help="Environment id; give it several times for several.")],
    agent: Annotated[
        list[str],
        typer.Option(help="random, expert, or a directory of a run, a model or an adapter; several times for several."),
    ],
    partner: Annotated[
        list[str] | None,
        typer.Option(
            help="In a game of several seats, who holds the other ones: a partner's name, mixture, or whatever --agent "
            "takes; or '{NAME: WEIGHT, …}'. Several times for several."
        ),
    ] = None,
    seat: Annotated[
        list[str] | None, typer.Option(help="With --partner: the agent's seat; by default each in turn.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, max=10**7, help="Tasks: those of the seeds from --seed on.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The first task's seed.")] = 0,
    split: Annotated[str, typer.Option(help="Which tasks.")] = "valid",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
    env_kwargs: Annotated[str, typer.Option(help="The environments' constructor arguments, as YAML.")] = "{}",
    env_timeout: Annotated[
        float | None,
        typer.Option(min=1e-3, help="Seconds for a reset or a step, of environments in processes of their own."),
    ] = None,
) -> None:
    """Success rates with 95 % intervals, per environment and per task type.

    In a game of several seats with --partner: per seat too, and what several agents earn of several partners as a
    matrix.
    """
    from agentgym.evaluate import Agents, Panel, evaluate_agent, evaluate_in_game
    from agentgym.tables import evaluation_tables

    with _clear_errors():
        if json_file is not None and not json_file.parent.is_dir():
            raise ValueError(f"--json {json_file}: the directory {json_file.parent} does not exist")
        if seat and not partner:
            raise ValueError("--seat is given, but no --partner to hold the others")
        if partner and env_timeout is not None:
            raise ValueError("--env-timeout is for worlds of which one seat is played, and a --partner is given")
        agents, panel, kwargs = Agents(), Panel(episodes, seed, split, _messages), _mapping(env_kwargs)
        found: list[Evaluation] = []
        for env_id in env:
            for name in agent:
                if not partner:
                    found.append(evaluate_agent(agents[name], env_id, kwargs, panel, env_timeout=env_timeout))
                for each in partner or ():
                    spec = _mapping(each, "--partner") if each.startswith("{") else each
                    found += evaluate_in_game(
                        agents[name], spec, env_id, kwargs, panel, seats=seat or (), agents=agents
                    )
        results = [evaluation.to_dict() for evaluation in found]
    if json_file is not None:
        from agentgym.run_directory import write_evaluations  # which needs torch

        write_evaluations(json_file, results)
    plain_console().print(*evaluation_tables(results, label="agent"))


def _mapping(text: str, option: str = "--env-kwargs") -> dict[str, Any]:
    from agentgym.overrides import parse_yaml

    values = parse_yaml(text)
    if not isinstance(values, dict):
        raise ValueError(f"{option} {text!r} is not a mapping such as '{{size: 7}}'")
    return values


@app.command()
def play(
    env: Annotated[str, typer.Argument(help="Environment id.")],
    agent: Annotated[Player, typer.Option(help="Who plays.")] = Player.human,
    seed: Annotated[int, typer.Option(min=0, help="The task.")] = 0,
    split: str = "train",
    env_kwargs: Annotated[str, typer.Option(help="The environment's constructor arguments, as YAML.")] = "{}",
    seat: Annotated[
        str | None, typer.Option(help="In a game of several seats, where --agent sits; by default in the first.")
    ] = None,
    partner: Annotated[
        str | None,
        typer.Option(
            help="Who holds the other seats, as in `agentgym eval`; human: people, in turn, at this terminal."
        ),
    ] = None,
) -> None:
    """Play an episode in the terminal."""
    from agentgym.agents.agent import ExpertAgent, HumanAgent, RandomAgent

    players: dict[Player, Callable[[], InstantAgent]] = {
        Player.human: HumanAgent,
        Player.random: RandomAgent,
        Player.expert: ExpertAgent,
    }
    from agentgym.play import Table, play_episode

    with _clear_errors():
        table = Table.of(env, players[agent](), split, _mapping(env_kwargs), seat, partner)
    try:
        trajectory = play_episode(table, seed, plain_console())
    except (EOFError, KeyboardInterrupt):
        _messages.print("\nstopped")
        raise typer.Exit(130) from None
    if not trajectory.counts:  # a search server that is down, say
        say_error(_messages, f"the environment failed: {trajectory.error}")
        raise typer.Exit(1)


@app.command()
def envs(json_output: Json = False) -> None:
    """Every registered environment: id, task types, splits, turn limit, source of its data."""
    from agentgym.envs import registered

    rows = [_describe_env(env_id) for env_id in registered()]
    if json_output:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table("environment", Column("task types", overflow="fold"), box=SIMPLE_HEAD, padding=(0, 1, 1, 1))
    for row in rows:
        facts = [row["id"], row["data"]]
        facts += [", ".join(row["splits"]), f"{row['max_turns']} turns"] if row["splits"] else []
        facts += [f"seats: {', '.join(row['seats'])}"] if "seats" in row else []
        facts += [f"partners: {', '.join(row['partners'])}"] if row.get("partners") else []
        table.add_row("\n".join(facts), ", ".join(row["task_types"]))
    plain_console().print(table)


def _describe_env(env_id: str) -> dict[str, Any]:
    from agentgym.envs import NotInstalledError, make

    try:
        world = make(env_id)
    except Exception as error:  # whatever is wrong with one must not take away the others
        cause = error.__cause__ or error
        what = "not installed" if isinstance(error, NotInstalledError) else f"cannot be made: {type(cause).__name__}"
        data = f"{what}: {str(cause).partition(chr(10))[0]}"
        return {"id": env_id, "task_types": [], "splits": [], "max_turns": None, "data": data}
    try:
        return {
            "id": env_id,
            "task_types": list(world.task_types),
            "splits": list(world.splits),
            "max_turns": world.max_turns,
            "data": world.data_source,
            **_describe_seats(world),
        }
    finally:
        world.close()


def _describe_seats(world: TextEnv) -> dict[str, list[str]]:
    """The seats of a game of several, and the partners that know it."""
    from agentgym.envs import OneSeat

    if not isinstance(world, OneSeat):
        return {}
    return {"seats": list(world.game.possible_agents), "partners": list(world.game.partners)}


@app.command()
def schemes(json_output: Json = False) -> None:
    """Every credit scheme: name, granularity, paper, needs, parameters with defaults; and every loss."""
    from agentgym.trainers.credit import schemes as registered_schemes

    if json_output:
        typer.echo(json.dumps([scheme.describe() for scheme in registered_schemes()], indent=1))
        return
    from agentgym.credit_tables import loss_table, scheme_tables
    from agentgym.trainers.losses import losses

    plain_console().print(*scheme_tables(registered_schemes()), loss_table(losses()))


@app.command(context_settings=_PASS_ON | {"help_option_names": ["--help"]})
def credit(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[SCHEME...] FILE_OR_RUN",
            help="`agentgym schemes` lists the schemes. FILE holds trajectories: JSON with params and trajectories, "
            "or JSONL of a run. RUN is a run directory: without a scheme its own credit is shown.",
        ),
    ],
    compare: Annotated[
        bool, typer.Option("--compare", help="Print what each of several schemes gives to each turn, as a table.")
    ] = False,
    step: Annotated[int | None, typer.Option(min=1, help="Which step of a run; by default the last.")] = None,
) -> None:
    """The advantages that a scheme gives to trajectories.

    As JSON: agentgym credit SCHEME FILE [--param value ...]

    As a table: agentgym credit --compare SCHEME SCHEME ... FILE [--param value ...]

    What training gave in a step of a run: agentgym credit RUN [--step N]

    A row of the table is headed trajectory/turn, both from 0. A scheme with advantages for tokens is shown by their
    mean in each turn. A parameter goes to every scheme that has it.
    """
    from agentgym.credit_command import compare_file, credit_file, recorded_credit
    from agentgym.overrides import parse_overrides
    from agentgym.trainers.credit import schemes

    names, params = _split_words(words)
    with _clear_errors():
        if len(names) == 1 and Path(names[0]).is_dir() and not params:
            typer.echo(json.dumps(recorded_credit(Path(names[0]), step)))
            return
        if len(names) < 2 or (len(names) > 2 and not compare):
            if len(names) == 1 and not Path(names[0]).exists() and names[0] not in {each.name for each in schemes()}:
                raise ValueError(
                    f"there is no run {names[0]}: expected agentgym credit RUN, or agentgym credit SCHEME FILE"
                )
            several = "agentgym credit --compare SCHEME SCHEME ... FILE [--param value ...]"
            raise ValueError(f"expected agentgym credit SCHEME FILE [--param value ...], or {several}")
        *chosen, file = names
        overrides = parse_overrides(params)
        if not compare:
            typer.echo(json.dumps(credit_file(chosen[0], Path(file), overrides, step)))
            return
        comparison = compare_file(chosen, Path(file), overrides, step)
    from agentgym.credit_tables import comparison_tables

    console = plain_console()
    console.print(*comparison_tables(comparison, console.width))
    for note in comparison.notes:
        _messages.print(f"left out: {note}", soft_wrap=True)


def _split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """The words that stand for themselves; and the options, each with the word after it unless it has a `=`."""
    names, options = [], []
    rest = iter(words)
    for word in rest:
        if not word.startswith("--"):
            names.append(word)
            continue
        options.append(word)
        if "=" not in word:
            options += islice(rest, 1)
    return names, options


@app.command(name="serve-retriever")
def serve_retriever(
    data: Annotated[str | None, typer.Option(help="Questions whose passages are searched: builtin, or PATH.")] = None,
    corpus: Annotated[Path | None, typer.Option(help="A file of passages (JSONL): searched too, or alone.")] = None,
    retriever: Annotated[str, typer.Option(help="bm25, or a sentence-transformers model directory.")] = "bm25",
    host: Annotated[str, typer.Option(help="Where to listen; anybody who reaches it may search.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
) -> None:
    """Serve a retriever for agentgym/SearchQA-v0 in Search-R1's protocol, until Ctrl-C."""
    from agentgym.envs.search_qa.retrievers import LocalRetriever
    from agentgym.envs.search_qa.server import open_passages, serve

    with _clear_errors():
        found = LocalRetriever(retriever, open_passages(data, corpus))
        try:
            serve(found, host, port, on_ready=lambda url: _messages.print(f"serving {url} (Ctrl-C ends it)"))
        except KeyboardInterrupt:
            _messages.print("\nstopped")
            raise typer.Exit(130) from None


def main() -> None:
    """The console script."""
    sys.exit(app())
