from benchmarks.schedule import Block, Plan, Point

ARMS = ("penstock", "bare-vllm", "ray-serve-llm", "litellm", "null")
GUESTS = {"litellm": "bare-vllm", "null": "bare-vllm"}
POINTS = {Point(clients=clients): ARMS for clients in (1, 16, 64)}


def blocks(repetitions: int) -> list[Block]:
    return list(Plan(repetitions, POINTS, GUESTS, seed=1).blocks())


def test_every_arm_is_measured_once_per_round_and_point() -> None:
    found = blocks(5)
    assert len(found) == 5 * 3 * 5
    assert len({(block.round, block.point, block.arm) for block in found}) == len(found)


def test_a_point_may_have_arms_of_its_own() -> None:
    points = {Point(clients=1): ARMS, Point(rate=8.5): ("bare-vllm", "penstock")}
    found = list(Plan(2, points, GUESTS, seed=1).blocks())
    assert [block.arm for block in found if block.point.rate] == ["bare-vllm", "penstock", "penstock", "bare-vllm"]


def test_the_arms_take_turns() -> None:
    arms = [block.arm for block in blocks(2) if block.point.clients == 16]
    assert arms == [*ARMS, *ARMS[1:], ARMS[0]]


def test_all_arms_of_a_round_get_the_same_prompts_but_those_that_share_an_engine() -> None:
    found = [block for block in blocks(1) if block.point.clients == 16]
    assert len({block.seed for block in found if block.arm not in GUESTS}) == 1
    assert len({block.seed for block in found}) == 3


def test_no_engine_is_asked_the_same_prompts_twice() -> None:
    for engine in ({"bare-vllm", *GUESTS}, {"penstock"}, {"ray-serve-llm"}):
        seeds = [block.seed for block in blocks(20) if block.arm in engine]
        assert len(seeds) >= 60
        assert len(set(seeds)) == len(seeds)


def test_a_block_has_several_waves_of_every_client_and_seconds_of_a_rate() -> None:
    assert [point.requests for point in POINTS] == [32, 192, 384]
    assert [Point(rate=rate).requests for rate in (0.1, 20.0)] == [32, 240]
    assert [Point(clients=1).name, Point(clients=16).name, Point(rate=8.5).name] == [
        "1 client",
        "16 clients",
        "8.5 requests/s",
    ]
