"""/v1/fine_tuning/jobs against a whole gateway: what is refused, what is another org's, and two wishes at once."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.serving.adapters.stand import SMALL, Stand, opened_stand
from tests.serving.api.fakes import assert_error
from tests.serving.tuning.rows import move, put_file

JOBS = "/v1/fine_tuning/jobs"
MISSING = f"{JOBS}/ftjob-{'0' * 24}"
ASKED = {"model": SMALL, "training_file": "file-train"}


async def create(desk: Stand, key: str = "engineer", **fields: Any) -> httpx2.Response:
    return await desk.ask("POST", JOBS, key=key, json={**ASKED, **fields})


async def created(desk: Stand, **fields: Any) -> str:
    answer = await create(desk, **fields)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def test_a_new_job_waits_for_its_files_and_tells_so(desk: Stand) -> None:
    told = (await create(desk, suffix="support", metadata={"team": "a"}, seed=7)).json()
    assert (told["status"], told["model"], told["seed"], told["suffix"]) == ("validating_files", SMALL, 7, "support")
    assert (told["error"], told["fine_tuned_model"], told["integrations"]) == (None, None, [])
    assert told["hyperparameters"] == dict.fromkeys(told["hyperparameters"], "auto")
    assert told["penstock"]["adapter"] == "support"
    events = (await desk.ask("GET", f"{JOBS}/{told['id']}/events")).json()["data"]
    assert [event["message"] for event in events] == ["The job is created; its files are checked next."]
    row = await desk.store.jobs.find(told["id"])
    assert row is not None
    assert (row.org, row.user, row.asked["seed"]) == ("acme", "engineer", 7)


async def test_a_job_without_a_seed_gets_one_that_it_keeps(desk: Stand) -> None:
    told = (await create(desk)).json()
    again = (await desk.ask("GET", f"{JOBS}/{told['id']}")).json()
    assert told["seed"] == again["seed"]
    assert 0 <= told["seed"] < 2**31


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"model": None}, "missing_required_parameter", "model"),
    ({"training_file": None}, "missing_required_parameter", "training_file"),
    ({"model": "auto"}, "invalid_value", "model"),
    ({"model": "ft:demo-small:acme:x:1"}, "invalid_value", "model"),
    ({"model": 1}, "invalid_value", "model"),
    ({"suffix": "../../x"}, "invalid_value", "suffix"),
    ({"suffix": "Support"}, "invalid_value", "suffix"),
    ({"suffix": "a" * 64}, "invalid_value", "suffix"),
    ({"suffix": SMALL}, "already_exists", "suffix"),
    ({"seed": -1}, "invalid_value", "seed"),
    ({"seed": 2**31}, "invalid_value", "seed"),
    ({"seed": "1"}, "invalid_value", "seed"),
    ({"metadata": {"a" * 65: "x"}}, "invalid_value", "metadata"),
    ({"metadata": {"a": {}}}, "invalid_value", "metadata"),
    ({"metadata": {str(at): "x" for at in range(17)}}, "invalid_value", "metadata"),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "invalid_value", "integrations"),
    ({"integrations": [{"type": "webhook", "url": "http://127.0.0.1/x"}]}, "invalid_value", "integrations"),
    ({"webhook": "http://127.0.0.1/"}, "unknown_parameter", "webhook"),
    ({"method": {"type": "reinforcement"}}, "invalid_value", "method.type"),
    ({"method": {"supervised": {}}}, "missing_required_parameter", "method.type"),
    ({"method": {"type": "dpo"}}, "invalid_value", "training_file"),
    ({"penstock": {"x": 1}}, "unknown_parameter", "penstock.x"),
    ({"penstock": {"recipe": "dpo"}}, "invalid_value", "penstock.recipe"),
    ({"penstock": {"auto_promote": True}}, "invalid_value", "penstock.auto_promote"),
    ({"penstock": {"canary_weight": 5}}, "invalid_value", "penstock.canary_weight"),
    ({"penstock": {"auto_promote": "canary", "canary_weight": 0}}, "invalid_value", "penstock.canary_weight"),
    ({"penstock": {"max_cost_usd": 0}}, "invalid_value", "penstock.max_cost_usd"),
    ({"penstock": {"max_hours": -1}}, "invalid_value", "penstock.max_hours"),
    ({"penstock": {"gate": 1}}, "invalid_value", "penstock.gate"),
    ({"penstock": {"gate": {"margin": "0.1"}}}, "invalid_value", "penstock.gate.margin"),
    ({"penstock": {"gate": {"margin": 2}}}, "invalid_value", "penstock.gate.margin"),
    ({"penstock": {"gate": {"mercy": 1}}}, "unknown_parameter", "penstock.gate.mercy"),
    ({"hyperparameters": {"n_epochs": 10**9}}, "invalid_value", "hyperparameters.n_epochs"),
    ({"hyperparameters": {"learning_rate": -1}}, "invalid_value", "hyperparameters.learning_rate"),
    ({"hyperparameters": {"batch_size": 0}}, "invalid_value", "hyperparameters.batch_size"),
    ({"hyperparameters": {"lora_rank": 0}}, "invalid_value", "hyperparameters.lora_rank"),
    ({"hyperparameters": {"lora_rank": 512}}, "invalid_value", "hyperparameters.lora_rank"),
    ({"hyperparameters": {"target_modules": ["lm_head"]}}, "invalid_value", "hyperparameters.target_modules"),
    ({"hyperparameters": {"x": 0}}, "unknown_parameter", "hyperparameters.x"),
]


async def test_a_job_that_cannot_be_is_refused_and_leaves_no_row(desk: Stand) -> None:
    for fields, code, param in REFUSED:
        assert_error(await create(desk, **fields), 400, code, param)
    assert await desk.store.jobs.in_status("validating_files") == []


async def test_hyperparameters_within_the_method_are_named_where_they_stand(desk: Stand) -> None:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 0}}}
    assert_error(await create(desk, method=method), 400, "invalid_value", "method.supervised.hyperparameters.n_epochs")


async def test_a_gate_that_is_laxer_than_the_operators_floor_is_refused_by_name(tmp_path: Path) -> None:
    async with opened_stand(tmp_path, gateways=1, replicas=1, fine_tuning={"gate_floor": {"margin": 0.05}}) as desk:
        await put_file(desk.store)
        refused = await create(desk, penstock={"gate": {"margin": 0.06}})
        assert_error(refused, 400, "invalid_value", "penstock.gate.margin")
        assert "0.05" in refused.json()["error"]["message"]
        assert (await create(desk, penstock={"gate": {"margin": 0.05}})).status_code == 200


async def test_a_judge_that_there_is_not_or_that_the_operator_did_not_choose_is_refused_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    async with opened_stand(tmp_path, gateways=1, replicas=1, fine_tuning={"gate_floor": {"judge": SMALL}}) as desk:
        await put_file(desk.store)
        assert (await create(desk, penstock={"gate": {"judge": SMALL}})).status_code == 200
        other = await create(desk, penstock={"gate": {"judge": "auto"}})
        assert_error(other, 400, "invalid_value", "penstock.gate.judge")
        assert "not the judge of this stack" in other.json()["error"]["message"]


async def test_a_judge_is_a_model_of_the_stack_or_an_adapter_of_the_org(desk: Stand) -> None:
    unknown = await create(desk, penstock={"gate": {"judge": "gtp-4"}})
    assert_error(unknown, 400, "invalid_value", "penstock.gate.judge")
    assert "There is no model 'gtp-4' to judge with." in unknown.json()["error"]["message"]
    assert (await create(desk, penstock={"gate": {"judge": SMALL}})).status_code == 200


async def test_another_orgs_file_is_as_good_as_none(desk: Stand) -> None:
    await put_file(desk.store, "file-rival", org="rival")
    theirs = await create(desk, training_file="file-rival")
    missing = await create(desk, training_file="file-missing")
    assert_error(theirs, 404, "not_found", "training_file")
    assert theirs.content == missing.content
    assert_error(await create(desk, validation_file="file-rival"), 404, "not_found", "validation_file")
    golden = await create(desk, penstock={"golden_file": "file-rival"})
    assert_error(golden, 404, "not_found", "penstock.golden_file")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, 12),
        ({"validation_file": "file-few"}, 15),
        ({"validation_file": "file-train"}, None),
        ({"penstock": {"golden_file": "file-few"}}, 15),
    ],
)
async def test_a_job_whose_gate_has_few_questions_is_warned(
    desk: Stand, fields: dict[str, Any], told: int | None
) -> None:
    await put_file(desk.store, "file-small", examples=48)
    await put_file(desk.store, "file-few", examples=15)
    job = await created(desk, training_file="file-small", **fields)
    events = (await desk.ask("GET", f"{JOBS}/{job}/events")).json()["data"]
    warned = [event["message"] for event in events if event["level"] == "warn"]
    assert [message.split(":")[0] for message in warned] == ([] if told is None else [f"The gate has {told} questions"])


async def test_preferences_are_for_dpo_alone(desk: Stand) -> None:
    await put_file(desk.store, "file-pairs", format="preference")
    assert_error(await create(desk, training_file="file-pairs"), 400, "invalid_value", "training_file")
    assert (await create(desk, training_file="file-pairs", method={"type": "dpo"})).status_code == 200


async def test_a_name_on_another_base_is_taken_by_an_adapter_and_by_a_job(desk: Stand) -> None:
    await created(desk, suffix="first")
    assert_error(await create(desk, suffix="first", model="demo-large"), 400, "already_exists", "suffix")
    await created(desk, suffix="first")
    await desk.push(1, "bot")
    assert_error(await create(desk, suffix="bot", model="demo-large"), 400, "already_exists", "suffix")
    assert_error(await create(desk, model="bot"), 400, "invalid_value", "model")


async def test_the_name_of_an_open_job_is_kept_for_its_base(desk: Stand) -> None:
    job = await created(desk, suffix="support", model="demo-large")
    pushed = await desk.push(1, "support")
    assert_error(pushed, 400, "already_exists", "name")
    assert "trains 'support' on 'demo-large'" in pushed.json()["error"]["message"]
    assert (await desk.push(1, "support", key="rival")).status_code == 201
    await desk.ask("POST", f"{JOBS}/{job}/cancel")
    assert (await desk.push(1, "support")).status_code == 201
    await created(desk, suffix="support")
    assert (await desk.push(2, "support")).status_code == 201


async def test_many_new_adapters_at_once_wait_for_one_another_and_for_no_connection(desk: Stand) -> None:
    names = [f"bot-{at}" for at in range(16)]
    made = await asyncio.gather(*(desk.ask("POST", "/v1/adapters", json={"name": one, "base": SMALL}) for one in names))
    assert [one.status_code for one in made] == [201] * 16


async def test_an_org_has_no_more_open_jobs_than_it_may(desk: Stand) -> None:
    first = await created(desk)
    row = await desk.store.jobs.find(first)
    assert row is not None
    async with desk.store.jobs.changing() as change:
        for at in range(99):
            await change.put(replace(row, id=f"ftjob-{at:024x}", adapter=f"a{at}"))
    assert_error(await create(desk), 400, "invalid_value")
    await desk.ask("POST", f"{JOBS}/{first}/cancel")
    await created(desk)


async def test_another_orgs_job_answers_with_the_bytes_of_a_missing_one(desk: Stand) -> None:
    job = f"{JOBS}/{await created(desk)}"
    for method, tail in (
        *(("GET", tail) for tail in ("", "/events", "/checkpoints", "/report")),
        *(("POST", tail) for tail in ("/cancel", "/pause", "/resume")),
    ):
        theirs = await desk.ask(method, f"{job}{tail}", key="rival")
        missing = await desk.ask(method, f"{MISSING}{tail}", key="rival")
        assert_error(theirs, 404, "not_found")
        assert theirs.content == missing.content
    theirs = await desk.ask("GET", JOBS, key="rival", params={"after": job.rpartition("/")[2]})
    missing = await desk.ask("GET", JOBS, key="rival", params={"after": MISSING.rpartition("/")[2]})
    assert_error(theirs, 404, "not_found", "after")
    assert theirs.content == missing.content
    assert (await desk.ask("GET", JOBS, key="rival")).json()["data"] == []


async def test_only_engineers_and_admins_tune(desk: Stand) -> None:
    assert_error(await create(desk, key="user"), 403, "insufficient_permissions")
    async with httpx2.AsyncClient(base_url=desk.urls[0]) as client:
        assert_error(await client.post(f"{MISSING}/cancel"), 401, "invalid_api_key")


LISTS: list[tuple[str, dict[str, Any], str]] = [
    ("", {"limit": 10**9}, "limit"),
    ("", {"limit": 0}, "limit"),
    ("", {"limit": "1.0"}, "limit"),
    ("", {"after": "../x"}, "after"),
    ("", {"x": "1"}, "x"),
    ("", {"metadata[a]": "x" * 513}, "metadata"),
    ("", {'metadata[a"]': "x"}, 'metadata[a"]'),
    ("/events", {"limit": 1001}, "limit"),
    ("/events", {"after": "../x"}, "after"),
    ("/events", {"order": "up"}, "order"),
    ("/checkpoints", {"after": "ftckpt-" + "0" * 24 + "-1"}, "after"),
    ("/report", {"format": "html"}, "format"),
]


async def test_a_list_is_asked_for_within_its_bounds(desk: Stand) -> None:
    job = await created(desk)
    for tail, query, param in LISTS:
        path = f"{JOBS}/{job}{tail}" if tail else JOBS
        code = "unknown_parameter" if param == "x" or '"' in param else "invalid_value"
        assert_error(await desk.ask("GET", path, params=query), 400, code, param)


async def test_lists_go_from_page_to_page_and_are_filtered_by_metadata(desk: Stand) -> None:
    ids = [await created(desk, metadata={"team": "ab"[at % 2]}) for at in range(5)]
    first = (await desk.ask("GET", JOBS, params={"limit": 2})).json()
    assert ([job["id"] for job in first["data"]], first["has_more"]) == (ids[:-3:-1], True)
    rest = (await desk.ask("GET", JOBS, params={"after": first["last_id"]})).json()
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (ids[2::-1], False)
    found = (await desk.ask("GET", JOBS, params={"metadata[team]": "b"})).json()["data"]
    assert [job["id"] for job in found] == [ids[3], ids[1]]


async def test_two_cancels_are_one_and_a_finished_job_is_not_cancelled(desk: Stand) -> None:
    job = await created(desk)
    answers = [await desk.ask("POST", f"{JOBS}/{job}/cancel") for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "cancelled")] * 2
    assert answers[0].content == answers[1].content
    done = await created(desk)
    await move(desk.store, done, status="succeeded", phase="done", finished_at=5.0)
    for wish in ("cancel", "pause", "resume"):
        assert_error(await desk.ask("POST", f"{JOBS}/{done}/{wish}"), 400, "invalid_value")


async def test_cancels_at_once_tell_one_event(desk: Stand) -> None:
    job = await created(desk)
    await move(desk.store, job, status="running", phase="training", attempt=1)
    answers = await asyncio.gather(*(desk.ask("POST", f"{JOBS}/{job}/cancel") for _ in range(8)))
    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "running")}
    row = await desk.store.jobs.find(job)
    assert row is not None
    assert row.wanted == "cancel"
    assert len(await desk.store.jobs.events(job, limit=99)) == 2


async def test_a_cancel_and_the_end_of_a_job_do_not_overwrite_each_other(desk: Stand) -> None:
    for _ in range(5):
        job = await created(desk)
        await move(desk.store, job, status="running", phase="releasing", attempt=1)
        over = {"status": "succeeded", "phase": "done", "finished_at": 5.0, "wanted": None}
        answer, _ = await asyncio.gather(
            desk.ask("POST", f"{JOBS}/{job}/cancel"), move(desk.store, job, say="done", **over)
        )
        row = await desk.store.jobs.find(job)
        assert row is not None
        assert (row.status, row.wanted, row.finished_at) == ("succeeded", None, 5.0)
        assert answer.status_code in (200, 400)
        assert len(await desk.store.jobs.events(job, limit=99)) == (3 if answer.status_code == 200 else 2)


async def test_a_failed_job_is_resumed_while_its_files_are_there(desk: Stand) -> None:
    job = await created(desk)
    error = {"code": "worker_lost", "message": "Its workers were lost.", "param": None}
    await move(desk.store, job, status="failed", phase="done", finished_at=5.0, error=error, step=3, attempt=3)
    assert (await desk.ask("GET", f"{JOBS}/{job}")).json()["error"] == error
    told = (await desk.ask("POST", f"{JOBS}/{job}/resume")).json()
    assert (told["status"], told["error"], told["penstock"]["queue_position"]) == ("queued", None, 1)
    await move(desk.store, job, status="failed", phase="done", finished_at=6.0, error=error)
    await desk.store.files.drop("file-train")
    assert_error(await desk.ask("POST", f"{JOBS}/{job}/resume"), 404, "not_found", "training_file")


async def test_a_running_job_tells_how_far_it_is_and_what_it_costs(desk: Stand) -> None:
    job = await created(desk)
    order = {"recipe": "lora_sft", "hyperparameters": {"n_epochs": 3, "batch_size": 4, "lora_rank": 8}}
    values = {"step": 5, "steps": 10, "trained_s": 10.0, "trained_tokens": 1000, "order": order}
    await move(desk.store, job, status="running", phase="training", attempt=2, started_at=1.0, **values)
    told = (await desk.ask("GET", f"{JOBS}/{job}")).json()
    assert told["estimated_finish"] > told["created_at"]
    assert told["trained_tokens"] is None
    assert told["hyperparameters"] == {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": "auto"}
    assert told["method"]["supervised"]["hyperparameters"]["lora_rank"] == 8
    shown = told["penstock"]
    assert (shown["step"], shown["steps"], shown["attempt"], shown["trained_tokens"]) == (5, 10, 2, 1000)


async def test_a_scrape_counts_the_jobs_of_the_whole_stack(desk: Stand) -> None:
    await created(desk)
    await move(desk.store, await created(desk), status="queued")
    text = (await desk.ask("GET", "/metrics", key="admin")).text
    for status, count in (("validating_files", 1), ("queued", 1), ("running", 0)):
        assert f'penstock_fine_tuning_jobs{{status="{status}"}} {count}' in text


async def test_a_report_is_json_or_a_page_and_is_not_there_before_the_gate_has_spoken(desk: Stand) -> None:
    job = await created(desk)
    assert_error(await desk.ask("GET", f"{JOBS}/{job}/report"), 404, "not_found")
    tasks = {"a|b": {"examples": 3, "candidate": 0.51234}}
    golden = {"examples": 3, "scores": {"candidate": 0.51234}, "tasks": tasks}
    report = {"passed": False, "reasons": ["Worse."], "golden": golden}
    await move(desk.store, job, status="failed", phase="done", finished_at=5.0, report=report)
    assert (await desk.ask("GET", f"{JOBS}/{job}/report")).json() == report
    page = await desk.ask("GET", f"{JOBS}/{job}/report", params={"format": "markdown"})
    assert page.headers["content-type"].startswith("text/markdown")
    assert "The candidate **did not pass**." in page.text
    assert "* Worse." in page.text
    assert "| a\\|b | 3 | 51.2% |" in page.text
    assert (await desk.ask("GET", f"{JOBS}/{job}")).json()["penstock"]["report"] == {"passed": False}
