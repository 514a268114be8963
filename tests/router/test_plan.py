from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidRequest, NotFound, PenstockError, Unavailable
from models.types import TIERS, GenerationRequest, Principal, Route, Tier
from router.plan import make_plan, pinned
from router.types import Fleet

Ask = Callable[..., GenerationRequest]

BEST_LARGE = Route(ranking=("large", "small"), policy="test", reason="because")


def key(*models: str) -> Principal:
    return Principal(key_id="k", org="o", user="u", role="inference", models=frozenset(models))


def test_auto_tries_the_tiers_in_the_order_of_the_ranking(ask: Ask, fleet: Fleet, caller: Principal) -> None:
    plan = make_plan(ask(), BEST_LARGE, fleet=fleet, caller=caller)
    assert [attempt.card for attempt in plan.attempts] == ["maxi", "mini"]
    assert [attempt.tier for attempt in plan.attempts] == ["large", "small"]


def test_a_card_that_stands_for_no_tier_is_dropped_from_auto(ask: Ask, fleet: Fleet, caller: Principal) -> None:
    plan = make_plan(ask(), BEST_LARGE, fleet=fleet, caller=caller)
    assert [(item.card, "by its name only" in item.reason) for item in plan.dropped] == [("extra", True)]


@pytest.mark.parametrize("card", ["mini", "maxi", "extra"])
def test_a_named_card_is_tried_alone(ask: Ask, fleet: Fleet, caller: Principal, card: str) -> None:
    request = ask(model=card)
    route = pinned(request, fleet)
    assert route is not None
    assert route.policy == "model"
    plan = make_plan(request, route, fleet=fleet, caller=caller)
    assert [attempt.card for attempt in plan.attempts] == [card]
    assert len(plan.dropped) == 2


def test_a_tier_in_the_request_leaves_no_fallback_to_the_other(ask: Ask, fleet: Fleet, caller: Principal) -> None:
    request = ask(tier="small")
    route = pinned(request, fleet)
    assert route is not None
    plan = make_plan(request, route, fleet=fleet, caller=caller)
    assert [attempt.card for attempt in plan.attempts] == ["mini"]
    assert ("maxi", "the request asks for tier small") in [(item.card, item.reason) for item in plan.dropped]


def test_a_card_asked_for_with_the_other_tier_is_refused(ask: Ask, fleet: Fleet, caller: Principal) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_plan(ask(model="mini", tier="large"), BEST_LARGE, fleet=fleet, caller=caller)
    assert caught.value.param == "penstock.tier"


def test_a_tier_the_key_does_not_admit_is_dropped_with_that_reason(ask: Ask, fleet: Fleet) -> None:
    plan = make_plan(ask(), BEST_LARGE, fleet=fleet, caller=key("mini"))
    assert [attempt.card for attempt in plan.attempts] == ["mini"]
    assert any(item.card == "maxi" and "key's model list" in item.reason for item in plan.dropped)


def test_a_key_that_lists_auto_reaches_every_tier_but_no_card_by_name(ask: Ask, fleet: Fleet) -> None:
    assert len(make_plan(ask(), BEST_LARGE, fleet=fleet, caller=key("auto")).attempts) == 2
    with pytest.raises(NotFound):
        make_plan(ask(model="mini"), BEST_LARGE, fleet=fleet, caller=key("auto"))


def test_a_card_the_key_may_not_use_answers_like_one_that_does_not_exist(ask: Ask, fleet: Fleet) -> None:
    texts = []
    for model, cards in (("mini", fleet), ("mini", Fleet(cards={}, tiers={}))):
        with pytest.raises(NotFound) as caught:
            make_plan(ask(model=model), BEST_LARGE, fleet=cards, caller=key("maxi"))
        texts.append((caught.value.public, caught.value.code, caught.value.param))
    assert texts[0] == texts[1]
    assert texts[0][1:] == ("model_not_found", "model")


@pytest.mark.parametrize("name", ["Mini", "mini ", " mini", "mini\0", "./mini", "mіni", "auto ", "AUTO", "", "mini@1"])
def test_names_are_compared_exactly(ask: Ask, fleet: Fleet, caller: Principal, name: str) -> None:
    with pytest.raises(NotFound):
        make_plan(ask(model=name), BEST_LARGE, fleet=fleet, caller=caller)


@given(name=st.text(max_size=300))
def test_an_unknown_name_is_echoed_short_and_in_plain_ascii(name: str) -> None:
    request = GenerationRequest("r", "chat", name, {}, stream=False, include_usage=False, text="", received=0)
    nobody = Principal(key_id="k", org="o", user="u", role="inference")
    with pytest.raises(PenstockError) as caught:
        make_plan(request, BEST_LARGE, fleet=Fleet(cards={}, tiers={}), caller=nobody)
    text = caught.value.public
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= 64 + len("The model '' does not exist or this key may not use it.")


def test_tiers_without_a_deployed_card_are_unavailable_and_say_when_to_come_back(ask: Ask, caller: Principal) -> None:
    empty = Fleet(cards={}, tiers={"small": "mini", "large": "maxi"})
    with pytest.raises(Unavailable) as caught:
        make_plan(ask(), BEST_LARGE, fleet=empty, caller=caller)
    assert caught.value.code == "no_capacity"
    assert caught.value.retry_after_s


def test_one_card_may_stand_for_both_tiers_and_is_tried_once(ask: Ask, caller: Principal) -> None:
    single = Fleet(cards={"only": "large"}, tiers={"small": "only", "large": "only"})
    plan = make_plan(ask(), BEST_LARGE, fleet=single, caller=caller)
    assert [attempt.card for attempt in plan.attempts] == ["only"]
    assert plan.dropped == ()


names = st.sampled_from(["a", "b", "c", "d", "auto"])
tiers = st.sampled_from(TIERS)


@given(
    cards=st.dictionaries(names, tiers, max_size=4),
    standing=st.dictionaries(tiers, names, max_size=2),
    ranking=st.lists(tiers, unique=True, max_size=2),
    allowed=st.none() | st.frozensets(names),
    model=names,
    tier=st.none() | tiers,
)
def test_every_candidate_is_in_the_plan_or_dropped_with_a_reason(
    cards: dict[str, Tier],
    standing: dict[Tier, str],
    ranking: list[Tier],
    allowed: frozenset[str] | None,
    model: str,
    tier: Tier | None,
) -> None:
    fleet = Fleet(cards=cards, tiers=standing)
    request = GenerationRequest(
        "r", "chat", model, {}, stream=False, include_usage=False, text="", received=0, tier=tier
    )
    caller = Principal(key_id="k", org="o", user="u", role="inference", models=allowed)
    try:
        plan = make_plan(request, Route(tuple(ranking), "test", "because"), fleet=fleet, caller=caller)
    except (NotFound, InvalidRequest, Unavailable):
        return
    tried = [attempt.card for attempt in plan.attempts]
    dropped = [item.card for item in plan.dropped]
    assert tried
    assert sorted(tried + dropped) == sorted(fleet.candidates)
    assert all(item.reason for item in plan.dropped)
    assert all(card in cards for card in tried)
    assert all(caller.may_use(card) or caller.may_use("auto") for card in tried)
