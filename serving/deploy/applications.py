"""From settings and cards to the Ray Serve application: the gateway, and behind it one deployment per engine.

One application, because Serve opens a public listener for the ingress of every application, and an engine must not have
one. Each deployment carries the digest of what needs new processes when it changes: the same digest again is no
restart, so a changed replica count only scales and a second `up` with nothing changed does nothing. Edge file: imports
Ray.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from typing import Any

from ray import serve
from ray.serve._private.common import DeploymentID
from ray.serve.deployment import Application
from ray.serve.llm import LLMConfig, build_llm_deployment

from models.catalog import ModelStore, engine_arguments
from router.policies import classifier_of
from serving.classifier.client import NAME as CLASSIFIER
from serving.classifier.replica import ClassifierPlan, ClassifierReplica
from serving.deploy.environment import DRAIN_MARGIN_S
from serving.deploy.gateway import GatewayPlan, GatewayReplica
from serving.engines.adapter_start import AdapterPlan
from serving.engines.autoscaling import autoscaling_options
from serving.engines.door import DoorSettings
from serving.engines.lora_slots import EXTENSION
from serving.engines.replica import EngineReplica, ReplicaSettings
from serving.settings import EngineSettings, Settings

APPLICATION = "penstock"
GATEWAY = "gateway"
UNLIMITED = 1_000_000  # Serve counts nothing here: the doors and the gateway's own limits do


def engine_deployment(card: str) -> DeploymentID:
    """The Serve deployment of a card's engine."""
    return DeploymentID(name=card, app_name=APPLICATION)


def classifier_deployment() -> DeploymentID:
    """The Serve deployment that reads prompts for a trained router."""
    return DeploymentID(name=CLASSIFIER, app_name=APPLICATION)


def stack_application(
    plan: GatewayPlan,
    *,
    models: ModelStore,
    claims: str,
    adapters: AdapterPlan | None = None,
    classifier: ClassifierPlan | None = None,
) -> Application:
    """The whole stack: the gateway bound to its engines, and to the classifier where the policy needs one.

    `adapters`: None where no engine loads any, whatever its card says.
    """
    settings = plan.settings
    engines = [
        engine_application(plan, engine, models=models, claims=claims, adapters=adapters) for engine in settings.engines
    ]
    if classifier is not None:
        engines.append(classifier_application(classifier, settings))
    deployment = serve.deployment(
        GatewayReplica,
        name=GATEWAY,
        num_replicas=settings.gateway.replicas,
        max_ongoing_requests=UNLIMITED,
        ray_actor_options={"num_cpus": 1},
        logging_config={"enable_access_log": False},  # the gateway's own line says more
        **_lifetime(settings, surge=True),
    )
    # Of the engines a gateway knows the cards, and finds out the rest: their limits may change without it.
    frozen = settings.model_dump(mode="json", exclude={"engines": True, "gateway": {"replicas"}, "artifacts": True})
    if (reads := classifier_of(settings.router)) is not None:  # of the classifier it knows where to ask, and how long
        frozen["router"] = [settings.router.kind, reads.name, reads.deadline_s]
    cards = [card.model_dump(mode="json") for card in plan.cards.values()]
    return _versioned(
        deployment.bind(plan, *engines), [frozen, cards, plan.store_url, plan.spool, _adapter_facts(plan)]
    )


def _adapter_facts(plan: GatewayPlan) -> Any:
    """What of adapters needs a new gateway when it changes."""
    if plan.adapters is None:
        return None
    bases = {card: [base.revision, base.max_rank, base.modules] for card, base in plan.adapters.bases.items()}
    return [bases, plan.adapters.artifacts.model_dump(mode="json"), plan.adapters.artifacts_home]


def classifier_application(plan: ClassifierPlan, settings: Settings) -> Application:
    """The processes that read prompts. A successor is there before the one that it replaces goes."""
    classifier = plan.classifier
    deployment = serve.deployment(
        ClassifierReplica,
        name=CLASSIFIER,
        num_replicas=classifier.replicas,
        max_ongoing_requests=UNLIMITED,
        ray_actor_options={"num_cpus": 1, "num_gpus": classifier.gpu_share},
        logging_config={"enable_access_log": False},
        **_lifetime(settings, surge=True),
    )
    fixed = {field.name: getattr(plan, field.name) for field in fields(plan) if field.name != "classifier"}
    # How many there are, and what gateways do by themselves, needs no new process.
    free = {"replicas", "deadline_s", "model", "large_share", "gpu_share"}
    artifacts = plan.artifacts.model_dump(mode="json")
    frozen = classifier.model_dump(mode="json", exclude=free)
    return _versioned(deployment.bind(plan), [frozen, {**fixed, "artifacts": artifacts}])


def engine_application(
    plan: GatewayPlan, engine: EngineSettings, *, models: ModelStore, claims: str, adapters: AdapterPlan | None
) -> Application:
    """One card's engine."""
    settings, card = plan.settings, plan.cards[engine.card]
    arguments = engine_arguments(card, engine.engine_args)
    plan_of_adapters = adapters if arguments.get("enable_lora") else None
    if plan_of_adapters is not None:
        arguments["worker_extension_cls"] = EXTENSION
    on_cpu = settings.ray.accelerator == "cpu"
    replica = ReplicaSettings(
        card=card.id,
        token=plan.engine_token,
        door=DoorSettings(engine.max_running, engine.max_queued, engine.queue_timeout_s),
        cores=engine.cores if on_cpu else None,
        claims=claims,
        loopback=settings.ray.address is None,
        adapters=plan_of_adapters,
    )
    source = str(models.resolve(card))
    config = LLMConfig(
        model_loading_config={"model_id": card.id, "model_source": source},
        engine_kwargs=arguments,
        accelerator_config={"kind": settings.ray.accelerator},
        placement_group_config={"bundle_per_worker": {"CPU": 1} if on_cpu else {"CPU": 1, "GPU": engine.gpu_share}},
        log_engine_metrics=False,
        deployment_config=_deployment_options(settings, engine),
        runtime_env={"env_vars": {"HF_HUB_OFFLINE": "1"}},
    )
    application = build_llm_deployment(
        config,
        name_prefix="",
        bind_kwargs={"replica": replica},
        override_serve_options={"name": card.id},
        deployment_cls=EngineReplica,
    )
    stored = None
    if plan_of_adapters is not None:
        stored = [plan_of_adapters.artifacts.model_dump(mode="json"), plan_of_adapters.home, plan_of_adapters.cache]
    return _versioned(application, [arguments, source, asdict(replace(replica, adapters=None)), stored])


def _deployment_options(settings: Settings, engine: EngineSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"max_ongoing_requests": UNLIMITED, **_lifetime(settings, surge=engine.surge)}
    options["ray_actor_options"] = {"num_cpus": 0}
    if engine.max_replicas is None:
        return {**options, "num_replicas": engine.replicas}
    options["autoscaling_config"] = autoscaling_options(
        engine.replicas, engine.max_replicas, target_ongoing=engine.target_ongoing
    )
    return options


def _lifetime(settings: Settings, *, surge: bool) -> dict[str, Any]:
    """Health and ends: a replica that goes has time for the longest call, and its successor is there first."""
    return {
        "graceful_shutdown_timeout_s": settings.timers.total_s + DRAIN_MARGIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": 5,
        "health_check_timeout_s": 20,
        "max_surge_percent": 100 if surge else 0,
    }


def _versioned(application: Application, facts: Any) -> Application:
    """Pin Serve's code version, random otherwise (each deploy would be a restart); a new Penstock is a new one."""
    known = json.dumps([version("penstock"), facts], sort_keys=True, default=str)
    digest = hashlib.sha256(known.encode()).hexdigest()
    application._bound_deployment._version = digest[:16]
    return application
