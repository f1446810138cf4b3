"""Official and compact files are read by the official rules, and what is wrong with them is said in one line."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest

from agentgym.envs import json_files
from agentgym.envs.webshop import cache
from agentgym.envs.webshop.data import read_data
from agentgym.envs.webshop.index import Postings, build
from agentgym.envs.webshop.shop import shop_of
from tests.envs.webshop.small_shop import ROWS, compact, official, row, write


def test_the_official_layout(tmp_path: Path) -> None:
    data = read_data(official(tmp_path), "synthetic")
    first, second, third = data.products
    assert [each.asin for each in data.products] == ["B000000001", "B000000002", "B000000003"]
    assert first.options == {"color": ("dark red", "black"), "size": ("1 | 2 l", "black")}
    assert (first.price_tag, second.price_tag, third.price_tag) == ("$19.99", "$5.0 to $9.5", "$100.0")
    assert first.query == "tea cups" and third.features == ("Soap",) and third.attributes == ("DUMMY_ATTR",)
    assert 5.0 <= data.prices[1] <= 9.5 and data.prices[2] == 100.0
    assert len(data.goals) == 2 * 2 + 1
    goal = next(goal for goal in data.goals if goal.options == {"color": "dark red", "size": "black"})
    limit = f"{goal.price_upper:.2f}"
    wanted = f"Find me hand made tea cups with color: dark red, and size: black, and price lower than {limit} dollars"
    assert goal.instruction == wanted and goal.price_upper > 19.99
    [human] = read_data(tmp_path, "human").goals
    assert human.instruction.startswith("a red cup, and price lower than ") and human.options == ("dark red",)


def test_the_full_set_and_the_compact_files_are_the_same_shop(tmp_path: Path) -> None:
    files = official(tmp_path / "full", size=""), compact(tmp_path / "a"), compact(tmp_path / "b", suffix=".jsonl")
    goals = [list(read_data(folder, "synthetic").goals) for folder in (official(tmp_path / "small"), *files)]
    assert goals[0] == goals[1] == goals[2] == goals[3]
    both = official(official(tmp_path / "both", size="", rows=ROWS[:1]))
    assert len(read_data(both, "synthetic").products) == 3
    assert len(read_data(both / "items_shuffle.json", "synthetic").products) == 1


def test_a_shop_in_another_process_is_the_same_one_here(tmp_path: Path) -> None:
    shop = shop_of(official(tmp_path), "synthetic")
    assert pickle.loads(pickle.dumps(shop)) is shop


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("products_3.jsonl.gz", "{}\n", "products_3.jsonl.gz, line 1: no 'asin'"),
        ("products_3.jsonl.gz", json.dumps(ROWS[0]) + '\n\n{"asin": \n', "products_3.jsonl.gz, line 3: invalid JSON"),
        ("products_3.jsonl.gz", "[]\n", "products_3.jsonl.gz, line 1: expected a JSON object, not list"),
        ("products_3.jsonl.gz", "", "products_3.jsonl.gz: no product in it"),
        (
            "products_3.jsonl.gz",
            json.dumps(row("B1", "Cup", pricing="free")),
            "line 1: product B1 has no price in 'free'",
        ),
        ("products_3.jsonl.gz", json.dumps(row("B1", "Cup", query=None)), "line 1: no 'query' of product B1"),
        ("products_3.jsonl.gz", json.dumps(row("B1", "Cup", customization_options={"Size": 3})), "bad customization"),
        ("items_ins_v2_3.json", '{\n"B000000001": {]', "items_ins_v2_3.json, line 2: invalid JSON"),
        ("items_ins_v2_3.json", "[]", "items_ins_v2_3.json: expected a JSON object, not list"),
        ("items_ins_v2_3.json", "{}", "none of its 3 products has a synthetic goal"),
        (
            "goals_synthetic.jsonl",
            '{"asin": "B9"}\n',
            "goals_synthetic.jsonl, line 1: a goal for the unknown product B9",
        ),
        (
            "goals_synthetic.jsonl",
            '{"asin": "B000000001"}\n',
            "goals_synthetic.jsonl, line 1: the goal has no 'goal_op",
        ),
        ("lucene_postings.txt", "#ids a\n#norms 1\n#stats sumTTF 1\n", "are not the 3 products in their order"),
        ("lucene_postings.txt", "hello\n", "not a list of Lucene postings"),
        (
            "lucene_postings.txt",
            "#ids B000000001 B000000002 B000000003\n#norms 1 1 1\n#stats sumTTF 1\ncup\t3:1\n",
            "lucene_postings.txt: a document's number is not in 0 to 2",
        ),
        ("products_3.jsonl.gz", json.dumps(row("b1", "Cup")), "line 1: the ASIN 'b1' is not in upper case"),
        ("items_ins_v2_3.json", '{"B000000001": null}', "items_ins_v2_3.json: 'B000000001' is no JSON object: None"),
        (
            "items_ins_v2_3.json",
            '{"B000000001": {"attributes": "safe"}}',
            "items_ins_v2_3.json: 'attributes' of product B000000001 is no list of texts: 'safe'",
        ),
        ("items_ins_v2_3.json", f'{{"a": {"9" * 5000}}}', "items_ins_v2_3.json: invalid JSON: Exceeds the limit"),
        ("title_nouns_3.json", '{"B000000001": [1]}', "title_nouns_3.json: 'B000000001' is no list of texts: [1]"),
        ("prices_seed1.json", '{"B000000001": "x"}', "prices_seed1.json: 'B000000001' is no number: 'x'"),
        ("prices_seed1.json", '{"B000000001": null}', "prices_seed1.json: no 'B000000001'"),
        (
            "goals_synthetic.jsonl",
            '{"asin": "B000000001", "goal_options": [5]}\n',
            "line 1: 'goal_options' of product B000000001 is no list of texts: [5]",
        ),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, said: str) -> None:
    write(compact(tmp_path) / name, text)
    with pytest.raises(ValueError) as error:
        shop_of(tmp_path, "synthetic")
    assert said in str(error.value) and str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_bad_official_files_and_missing_ones(tmp_path: Path) -> None:
    file = official(tmp_path / "cut") / "items_shuffle_1000.json"
    file.write_text(file.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    official(tmp_path / "object", rows={"asin": "B1"})
    official(tmp_path / "row", rows=[ROWS[0], 7])
    (tmp_path / "empty").mkdir()
    for name, said in {
        "cut": "items_shuffle_1000.json, element 6: invalid JSON",
        "object": "expected a JSON array of objects",
        "row": "element 2: expected a JSON object, not int",
        "empty": "no WebShop products here",
        "missing": "no such file or directory",
        "x" * 300: "x: cannot be read: File name too long",
    }.items():
        with pytest.raises(ValueError, match=said):
            read_data(tmp_path / name, "synthetic")
    (official(tmp_path / "alone") / "items_ins_v2_1000.json").unlink()
    with pytest.raises(ValueError, match="attributes are missing"):
        read_data(tmp_path / "alone", "synthetic")
    with pytest.raises(ValueError, match="there are no human goals"):
        read_data(compact(tmp_path / "compact"), "human")
    for text, said in {
        "[]": "expected a JSON object, not list",
        '{"B000000001": 5}': "'B000000001' is no list of JSON objects: 5",
        '{"B000000001": [{}]}': "no 'instruction' of product B000000001",
    }.items():
        write(tmp_path / "alone" / "items_ins_v2_1000.json", "{}")
        write(tmp_path / "alone" / "items_human_ins.json", text)
        with pytest.raises(ValueError) as error:
            read_data(tmp_path / "alone", "human")
        assert str(error.value) == f"{tmp_path / 'alone' / 'items_human_ins.json'}: {said}"


def test_damaged_gzip(tmp_path: Path) -> None:
    file = compact(tmp_path) / "products_3.jsonl.gz"
    whole = file.read_bytes()
    for damaged in (whole[:-20], whole[:12] + bytes(byte ^ 255 for byte in whole[12:20]) + whole[20:]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(f"{file}: cannot be read: ")):
            read_data(tmp_path, "synthetic")


def test_lone_surrogates_are_replaced(tmp_path: Path) -> None:
    names = {"name": "Cup \ud800", "customization_options": {"Size\udfff": [{"value": "L\ud800"}]}}
    product = read_data(compact(tmp_path, rows=[ROWS[0] | names]), "synthetic").products[0]
    assert (product.title, product.options) == ("Cup ?", {"size?": ("l?",)})


@pytest.mark.parametrize("chunk", [7, 50, 1000])
def test_an_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(json_files, "_CHUNK", chunk)
    values = [{"asin": 'é[}]\\"'}, {}, {"a": [1, {"b": [2]}]}]
    for number, text in enumerate((json.dumps(values, indent=1), json.dumps(values, ensure_ascii=False))):
        write(tmp_path / f"{number}.json", f" {text} ")
        assert [value for _, value in json_files.objects_of(tmp_path / f"{number}.json")] == values
    write(tmp_path / "cut.json", json.dumps(values)[:-1])
    with pytest.raises(ValueError, match=r"cut\.json, element 4: invalid JSON"):
        list(json_files.objects_of(tmp_path / "cut.json"))


def test_a_damaged_cache_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path))
    calls: list[int] = []

    def make() -> Postings:
        calls.append(1)
        return build(["red cup"])

    for _ in range(2):
        assert cache.cached_postings(["red cup"], make).terms == ["red", "cup"]
    assert len(calls) == 1
    [folder] = tmp_path.iterdir()
    (folder / "start.npy").write_bytes(b"")
    assert cache.cached_postings(["red cup"], make).terms == ["red", "cup"] and len(calls) == 2
    assert cache.cached_postings(["red cup"], make).terms == ["red", "cup"] and len(calls) == 2


def test_without_a_cache_the_index_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path / "file"))
    assert cache.cached_postings(["red cup"], lambda: build(["red cup"])).terms == ["red", "cup"]
