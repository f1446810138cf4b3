"""Twenty questions: the knowledge base, the greedy halving tree, and the rule that answers."""

from __future__ import annotations

import math

import pytest

from agentgym.envs import make
from agentgym.envs.social.knowledge import KnowledgeBase, built_in, parse
from agentgym.envs.social.twenty_questions_v0 import TwentyQuestions

SMALL = """
# comment
animal = an animal
flies = able to fly
sweet = sweet
[animal]
crow: flies
dog:
[]
cake: sweet
plum: sweet flies
kite: flies
"""


def started(thing: str) -> TwentyQuestions:
    game = TwentyQuestions()
    game.reset(seed=0, options={"thing": thing})
    return game


def said(game: TwentyQuestions, action: str) -> str:
    game.step(action)
    return game.observe("guesser")


def test_the_built_in_things_are_many_and_no_two_alike() -> None:
    base = built_in()
    assert len(base.things) >= 200 and len(base.attributes) >= 30
    assert len(set(base.true_of)) == len(set(base.things)) == len(base.things)
    for which in range(len(base.attributes)):
        assert 3 <= sum(which in true for true in base.true_of) < len(base.things) - 2, base.attributes[which]


def test_a_small_tree_by_hand() -> None:
    base = parse(SMALL)
    assert base.things == ("crow", "dog", "cake", "plum", "kite") and base.attributes[1] == "able to fly"
    # Two of five are animals, as even as any: they are guessed in 2 and 3 turns. Two of the three others fly (3 and
    # 4 turns), and the cake is guessed in the third.
    assert base.turns == (2, 3, 3, 3, 4) and base.expected_turns == 3


def test_the_expert_takes_the_turns_of_the_tree_for_every_thing() -> None:
    base = built_in()
    assert math.log2(len(base.things)) <= base.expected_turns < 10 and max(base.turns) < 20
    for number in range(0, len(base.things), 3):
        game = started(base.things[number])
        while not game.is_over:
            game.step(game.expert("guesser"))
        assert game.rewards == {"guesser": 1.0} and game.turns == {"guesser": base.turns[number]}


def test_answers_are_the_rules() -> None:
    game = started("penguin")
    assert said(game, "Hm.\nASK: Is it a BIRD ?") == "Yes, it is a bird."
    assert said(game, "ask: able to fly") == "No, it is not able to fly."
    key = game.infos["guesser"]["state_key"]
    assert said(game, "guess: the ostrich.") == "No, it is not the ostrich." and not game.is_over
    assert said(game, "guess: unicorn") == "That is none of the things."
    assert not game.infos["guesser"]["is_action_valid"]
    assert said(game, "ask: is it nice?").startswith("That cannot be asked.")
    assert said(game, "Is it a bird?").startswith("Not understood.")
    assert said(game, "ask: is it a fish?\nguess: penguin") == "Yes, it is the penguin."
    assert game.infos["guesser"]["success"] and game.infos["guesser"]["score"] == 1.0
    other = started("penguin")
    said(other, "ask: is it able to fly?")
    said(other, "ask: is it a bird?")
    assert other.infos["guesser"]["state_key"] == key, "in whatever order it was asked"


def test_twenty_turns() -> None:
    game = started("dog")
    for _ in range(20):
        assert not game.is_over
        said(game, "guess: cat")
    assert game.truncations == {"guesser": True} and game.infos["guesser"]["score"] == 0.0


def test_one_seat_and_its_answers() -> None:
    env = make("agentgym/TwentyQuestions-v0")
    _, info = env.reset(seed=2)
    assert env.answer_form == "guess: {answer}" and info["task_type"] in env.task_types
    assert env.step(env.answer_form.format(answer=info["answers"][0]))[1:3] == (1.0, True)
    assert info["answers"][0] not in env.instructions


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dog: sweet", r"line 13 \(dog: sweet\) is no thing of its own"),
        ("owl: hoots", "is no thing of its own with known attributes"),
        ("fig: -animal sweet", "is no thing of its own"),
        ("fig: sweet", r"line 13 \(fig: sweet\) has the same attributes as cake"),
    ],
)
def test_a_knowledge_base_with_a_fault(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(SMALL + line)


def test_a_thing_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="'unicorn' is none of the 320 things"):
        started("unicorn")


def test_two_things_are_guessed() -> None:
    base = KnowledgeBase(("a", "b"), ("x",), (frozenset({0}), frozenset()))
    assert base.best_question([0, 1]) is None and base.turns == (1, 2)
