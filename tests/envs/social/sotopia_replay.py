"""SOTOPIA's official episodes, replayed in ours: what is contract must agree, up to where a quirk decides."""

from __future__ import annotations

from typing import Any

from agentgym.envs.social.sotopia.acts import ACTION, GESTURE, LEAVE, NONE, line_of, read_act
from agentgym.envs.social.sotopia.scenarios import Character, Scenario, Task
from agentgym.envs.social.sotopia.sight import background, first_observation
from agentgym.envs.social.sotopia_v0 import Sotopia

LETTERS = {"s": "I say so", "n": "", "l": "leave", "a": "do: waves a flag", "v": "gesture: nods"}


def character(profile: dict[str, Any]) -> Character:
    """A character of the golden files."""
    return Character(
        profile["first_name"],
        f"{profile['first_name']} {profile['last_name']}",
        *(profile[key] for key in ("age", "occupation", "gender", "gender_pronoun", "public_info")),
        profile["personality_and_values"],
        profile["secret"],
    )


def game(characters: list[Character], *, order: str, max_turns: int, level: int = 0, **text: Any) -> Sotopia:
    """A game of one scenario and one cast. `max_turns`: of all seats together."""
    seats = len(characters)
    made = Sotopia(goals="judged", seats=seats, order=order, max_turns=max_turns)
    if order == "round-robin":
        made.max_turns = -(-max_turns // seats)
    scenario = Scenario("s", text.get("scenario", "x"), tuple(text.get("goals", ["g"] * seats)), level, None)
    made.tasks = [[Task(scenario, tuple(characters))]]
    made.reset(seed=0)
    return made


def as_words(kind: str, argument: str) -> str:
    """The response that is such an act in our grammar."""
    marks = {ACTION: f"do: {argument}", GESTURE: f"gesture: {argument}", LEAVE: "leave", NONE: ""}
    return marks.get(kind, argument)


def check_episode(case: dict[str, Any], report: Any) -> None:
    """First observations by 0.1.4's table, lines, who is in turn, and ends."""
    texts = {"level": case["relationship_level"], "scenario": case["scenario"], "goals": case["goals"]}
    characters = [character(profile) for profile in case["profiles"]]
    env = game(characters, order=case["order"], max_turns=case["max_turns"], **texts)
    seat_of = {env.names[seat]: seat for seat in env.possible_agents}
    first = [env.observe(seat) for seat in env.possible_agents]
    check_sight(case, first, report, case["first_observation"], own_only=case["sotopia"] != "0.1.4")
    for turn in case["turns"]:
        seats = [seat_of[name] for name in turn["in_turn"]]
        if any(seat not in env.present for seat in seats):  # whoever left stays away: a quirk of theirs
            return
        if case["order"] == "random":
            env._round = list(seats)
            env._select()
        place = f"turn {turn['turn']}"
        report.same(f"{place}: in turn", list(env.to_act), seats)
        for seat in seats:
            env.step(as_words(*turn["asked"][env.names[seat]]))
        for name, heard in turn["heard"].items():
            seat = seat_of[name]
            if seat not in env.present or seats == [seat]:  # ours is not told what it did itself
                continue
            lines = env.observe(seat).split(f"Turn #{turn['label']}:")[-1].split("\n")
            got = [line for line in lines if line.strip() not in ("", "silence")]
            own = line_of(name, read_act(as_words(*turn["asked"][name]))) if seat in seats else ""
            place_of_own = (
                sum(bool(turn["asked"][env.names[each]][0] != NONE) for each in seats[: seats.index(seat)])
                if own
                else 0
            )
            whole = [*got[:place_of_own], own, *got[place_of_own:]] if own else got
            report.same(f"{place}: heard by {name}", ";".join(whole), heard)
        if env.is_over:
            stale = all(env._silent[seat] for seat in env.present) and len(env.present) > 1
            ended = env.terminations["agent_1"], env.truncations["agent_1"]
            report.same(f"{place}: ended (terminated, truncated)", ended, (turn["too_few"], stale or turn["too_long"]))
            return
        if not turn["stale"] and case["order"] != "random":
            report.same(f"{place}: ended", any(turn["terminated"].values()), False)


def check_visibility(case: dict[str, Any], report: Any, *, own_only: bool = False) -> None:
    """One pair of characters at one level: backgrounds, each one's part of the scenario, hints in goals.

    `own_only`: what is seen of others is a quirk of that version (0.1.5 hides them at all levels).
    """
    characters = [character(profile) for profile in case["profiles"]]
    parts = "".join(f"<p viewer='agent_{i}'>{part}</p>" for i, part in enumerate(case["scenario_for"]))
    tags = ("extra_info", "strategy_hint")
    goals = [
        f"{goal} " + " ".join(f"<{tag}>{hint}</{tag}>" for tag, hint in zip(tags, hints, strict=False))
        for goal, hints in zip(case["goals"], case["hints"], strict=True)
    ]
    seen = [first_observation(f"Here. {parts}", goals, characters, case["level"], i, "relationship") for i in (0, 1)]
    check_sight(case, seen, report, case["sees"], own_only=own_only)
    for i, viewer in enumerate(characters):
        for j, owner in enumerate(characters):
            expected = case["sees_scenario_part"][viewer.name][owner.name]
            report.same(f"{viewer.name} sees the part of {owner.name}", case["scenario_for"][j] in seen[i], expected)
            for hint in case["hints"][j]:
                report.same(f"{viewer.name} sees {hint}", hint in seen[i], case["sees_hints"][viewer.name][owner.name])
        report.same(f"marks are left for {viewer.name}", "<" in seen[i], case["marks_left"][viewer.name])


def check_sight(
    case: dict[str, Any], seen: list[str], report: Any, sees: dict[str, Any], *, own_only: bool = False
) -> None:
    """What each character's first observation shows of each."""
    characters = [character(profile) for profile in case["profiles"]]
    for text, viewer in zip(seen, characters, strict=True):
        listed = text.split("Participants: ")[1].split("\n")[0]
        for other, goal in zip(characters, case["goals"], strict=True):
            if own_only and other is not viewer:
                continue
            facts = sees[viewer.name].get("sees", sees[viewer.name])[other.name]
            shown = text.split(f"Background of {other.name}: ")[1].split("\n")[0]
            got = {
                "name_among_participants": other.name in listed,
                "background_unknown": shown == "Unknown",
                "name": other.name in shown,
                "age": str(other.age) in shown,
                "gender": other.gender.lower() in shown.lower(),
                "occupation": other.occupation.lower() in shown,
                "gender_pronoun": other.pronouns in shown,
                "public_info": other.public in shown,
                "personality_and_values": other.personality in shown,
                "secret": other.secret in text,
                "goal": f"Goal of {other.name}: {goal}" in text,
                "goal_unknown": f"Goal of {other.name}: Unknown" in text,
            }
            own = other.name == viewer.name
            report.same(f"what {viewer.name} sees of {other.name}", got, {key: facts[key] for key in got})
            report.same(
                "the background alone",
                background(other, case.get("level", case.get("relationship_level")), own=own),
                shown,
            )


def check_ends(case: dict[str, Any], report: Any) -> None:
    """A script of two seats: where somebody leaves or time is up, and that silence ends by our rule alone."""
    seats = case["seats"]
    people = [Character(str(i), f"N{i} M", 30, "x", "Man", "He/him", "p", "v", "s") for i in range(seats)]
    env = game(people, order=case["order"], max_turns=case["max_turns"])
    for number, (acts, result) in enumerate(zip(case["script"], case["result"], strict=True)):
        for seat in env.to_act:
            env.step(LETTERS[acts[env.possible_agents.index(seat)]])
        gone = seats - len(env.present)
        if seats == 2:
            report.same(f"turn {number}: too few", env.is_over and env.terminations["agent_1"], result["too_few"])
        report.same(f"turn {number}: fewer than two", env.is_over and env.terminations["agent_1"], seats - gone < 2)
        if env.is_over:
            stale = all(env._silent[seat] for seat in env.present)
            if not gone:
                report.same(f"turn {number}: cut off", env.truncations["agent_1"], stale or result["too_long"])
            return


def check_utterance(case: dict[str, Any], report: Any) -> None:
    """Words pass whole, whatever marks they have: the other's line reads back to exactly what was said."""
    people = [Character(name, name, 30, "x", "Man", "He/him", "p", "v", "s") for name in ("A", "B")]
    env = game(people, order="round-robin", max_turns=6)
    env.step(case["said"])
    line = env.observe("agent_2").split("Turn #0:\n")[1]
    heard = line[len('A said: "') : -1].replace("\n    ", "\n")
    report.same("heard", heard, "\n".join(case["said"].splitlines()))
    if case["whole"] and "\n" not in case["said"]:
        report.same("the line", line, case["heard_by_other"])
    report.same("lines that begin a turn", [each for each in line.split("\n")[1:] if not each.startswith("    ")], [])
