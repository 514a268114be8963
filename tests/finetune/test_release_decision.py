"""What becomes of a candidate."""

import pytest

from finetune.release import CANARY_WEIGHT, AutoPromote, Release, Verdict, released, system_alias

ALIAS = "ft:demo-small:acme:bot:1"


def decided(wish: AutoPromote, *, passed: bool = True, has_live: bool = True, weight: float | None = None) -> Release:
    return released(Verdict(passed, {}), alias=ALIAS, wish=wish, canary_weight=weight, has_live=has_live)


@pytest.mark.parametrize("wish", ["none", "canary", "promote"])
def test_what_did_not_pass_is_kept_and_not_served(wish: AutoPromote) -> None:
    found = decided(wish, passed=False)
    assert (found.system_alias, found.act) == (None, "none")


def test_what_passed_is_served_and_released_as_the_job_wishes() -> None:
    assert [decided(wish).act for wish in ("none", "canary", "promote")] == ["none", "canary", "promote"]
    assert all(decided(wish).system_alias == ALIAS for wish in ("none", "canary", "promote"))
    assert decided("canary").canary_weight == CANARY_WEIGHT
    assert decided("canary", weight=20).canary_weight == 20


def test_a_canary_needs_something_live() -> None:
    found = decided("canary", has_live=False)
    assert (found.act, found.system_alias) == ("none", ALIAS)
    assert "Nothing is live yet" in found.sentence


def test_the_name_of_a_model_tells_base_org_suffix_and_job() -> None:
    assert system_alias("demo-small", "acme", suffix="bot", job="ftjob-0a1b") == "ft:demo-small:acme:bot:0a1b"
    assert system_alias("demo-small", "acme", suffix=None, job="ftjob-0a1b") == "ft:demo-small:acme::0a1b"
