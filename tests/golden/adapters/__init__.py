"""What to do with the golden files of each folder: from a file to the cases in it.

A new folder costs one function from a case to comparisons and one line in `ADAPTERS`.
"""

from __future__ import annotations

from .alfworld import alfworld
from .algorithm_cases import Adapter, algorithm
from .critics import check_verl_critic
from .deals import bargaining
from .gigpo import check_gigpo
from .graphgpo import check_graphgpo
from .hiper import check_hiper, check_hiper_training
from .known_values import check_known_values
from .kuhn import kuhn
from .losses import check_epo, check_verl_losses
from .off_policy import check_archer_training
from .offline import check_oreo
from .outcome import check_stratified_grpo, check_verl_agent_estimators, check_verl_estimators
from .process import check_istar, check_prime, check_pure, check_spa
from .replay import check_arpo
from .retries import check_r3l
from .rewards import check_istar_training, check_prime_training, check_sotopia_rl_training, check_spa_training
from .self_play import check_spiral
from .signals import check_a2tgpo, check_empg, check_hgpo, check_igpo
from .sokoban import sokoban
from .sotopia import sotopia
from .textarena import textarena
from .values import check_archer, check_bi_level_gae, check_ma_rlhf, check_poad, check_turn_gae
from .webshop import webshop

ADAPTERS: dict[str, Adapter] = {
    "alfworld": alfworld,
    "a2tgpo": algorithm(check_a2tgpo),
    "arpo_training": algorithm(check_arpo),
    "archer": algorithm(check_archer),
    "archer_training": algorithm(check_archer_training),
    "bargaining": bargaining,
    "empg": algorithm(check_empg),
    "epo": algorithm(check_epo),
    "gigpo": algorithm(check_gigpo),
    "graphgpo": algorithm(check_graphgpo),
    "hgpo": algorithm(check_hgpo),
    "hiper_hae": algorithm(check_hiper),
    "hiper_training": algorithm(check_hiper_training),
    "igpo": algorithm(check_igpo),
    "istar": algorithm(check_istar),
    "istar_training": algorithm(check_istar_training),
    "known_values_training": algorithm(check_known_values),
    "kuhn_exploitability": kuhn,
    "ma_rlhf": algorithm(check_ma_rlhf),
    "oreo_training": algorithm(check_oreo),
    "poad": algorithm(check_poad),
    "prime": algorithm(check_prime),
    "prime_training": algorithm(check_prime_training),
    "pure_minform": algorithm(check_pure),
    "r3l_training": algorithm(check_r3l),
    "ragen_bilevel_gae": algorithm(check_bi_level_gae),
    "sokoban": sokoban,
    "sotopia": sotopia,
    "sotopia_rl_training": algorithm(check_sotopia_rl_training),
    "spa": algorithm(check_spa),
    "spiral_training": algorithm(check_spiral),
    "spa_training": algorithm(check_spa_training),
    "stratified_grpo": algorithm(check_stratified_grpo),
    "textarena": textarena,
    "turn_gae": algorithm(check_turn_gae),
    "verl_agent_estimators": algorithm(check_verl_agent_estimators),
    "verl_critic_training": algorithm(check_verl_critic),
    "verl_estimators": algorithm(check_verl_estimators),
    "verl_losses": algorithm(check_verl_losses),
    "webshop": webshop,
}
