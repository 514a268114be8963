from benchmarks.schedule import (
    ARMS,
    BARE,
    BARE_AGAIN,
    BARE_SHIPPED,
    PENSTOCK,
    SERVE_LLM,
    SERVE_LLM_SHIPPED,
    prompts_for,
    schedule,
)

CLIENTS = (1, 16, 64)


def test_every_arm_is_measured_once_per_round_and_client_count() -> None:
    blocks = list(schedule(5, CLIENTS, seed=1))
    assert len(blocks) == 5 * 3 * 6
    assert len({(block.round, block.clients, block.arm) for block in blocks}) == len(blocks)


def test_the_arms_take_turns() -> None:
    arms = [block.arm for block in schedule(2, (16,), seed=1)]
    assert arms[:6] == [BARE, PENSTOCK, SERVE_LLM, BARE_AGAIN, BARE_SHIPPED, SERVE_LLM_SHIPPED]
    assert arms[6:] == [*arms[1:6], BARE]


def test_all_arms_of_a_round_get_the_same_prompts_but_the_null_arm() -> None:
    blocks = list(schedule(1, (16,), seed=1))
    assert len({block.seed for block in blocks if block.arm != BARE_AGAIN}) == 1
    assert len({block.seed for block in blocks}) == 2


def test_no_engine_is_asked_the_same_prompts_twice() -> None:
    blocks = list(schedule(20, CLIENTS, seed=1))
    for engine in ({BARE, BARE_AGAIN}, {PENSTOCK}, {SERVE_LLM}, {BARE_SHIPPED}, {SERVE_LLM_SHIPPED}):
        seeds = [block.seed for block in blocks if block.arm in engine]
        assert len(seeds) >= 60
        assert len(set(seeds)) == len(seeds)


def test_a_block_has_several_waves_of_every_client() -> None:
    assert [prompts_for(clients) for clients in CLIENTS] == [32, 192, 384]
    assert len(ARMS) == 6
