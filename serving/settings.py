"""Every setting of a stack, its unit and its reason. Profiles (`serving/profiles/*.yaml`) and `PENSTOCK__…` fill it.

Owns names, defaults and checks. Does not own model cards (`models/catalog`) or where the state folder lies (`cli`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from finetune.gate.floor import GateFloor
from models.artifacts import ArtifactSettings
from models.artifacts.folder import FolderSettings
from models.config import Frozen
from models.errors import ConfigurationError
from models.problems import first_problem, yaml_problem
from models.types import Tier
from router.policies import PolicySettings, StaticSettings, classifier_of

PROFILES = Path(__file__).parent / "profiles"


class HttpSettings(Frozen):
    """The public listener and what it refuses."""

    host: str = Field("127.0.0.1", description="Address of the public listener; 0.0.0.0 opens it to the network.")
    port: int = Field(8000, ge=1, le=65535, description="Port of the public listener.")
    allowed_hosts: tuple[str, ...] = Field((), description="Host names accepted in `Host`; empty accepts every name.")
    max_body_bytes: int = Field(4 * 2**20, gt=0, description="Longest JSON body.")
    max_upload_bytes: int = Field(2**30, gt=0, description="Longest file, such as an adapter, packed and unpacked.")
    max_header_bytes: int = Field(32 * 2**10, gt=0, description="Longest header block.")
    max_header_fields: int = Field(100, gt=0, description="Most header fields.")
    max_target_bytes: int = Field(8 * 2**10, gt=0, description="Longest request target.")
    max_json_depth: int = Field(64, gt=0, description="Deepest JSON nesting.")
    max_messages: int = Field(2048, gt=0, description="Most messages in one chat request.")
    max_n: int = Field(8, gt=0, description="Most choices in one request.")


class TimerSettings(Frozen):
    """How long each part of a call may take, in seconds."""

    body_s: float = Field(10, gt=0, description="From the headers to the end of the request body.")
    connect_s: float = Field(2, gt=0, description="Opening a connection to an engine replica.")
    first_token_s: float = Field(30, gt=0, description="From sending a request to an engine to its first event.")
    between_tokens_s: float = Field(20, gt=0, description="Silence of an engine inside a stream.")
    total_s: float = Field(900, gt=0, description="The whole call; also the longest stream that a drain waits for.")
    write_stall_s: float = Field(30, gt=0, description="A client that reads nothing for so long is closed.")
    keep_alive_s: float = Field(10, gt=0, description="Silence after which a comment keeps the stream open.")
    suspect_s: float = Field(10, gt=0, description="How long a replica that failed is tried last.")
    conversation_s: float = Field(
        0.05, gt=0, description="Looking up which tier a conversation has reached at other gateways."
    )


class GatewaySettings(Frozen):
    """The gateway deployment."""

    replicas: int = Field(1, ge=1, description="Gateway processes behind HAProxy.")
    breaker_failures: int = Field(5, ge=1, description="Failures in a row of one replica that open its breaker.")
    attempts: int = Field(3, ge=1, le=3, description="Most engine attempts for one request, all before the first byte.")


class EngineSettings(Frozen):
    """One card's engine deployment in this profile."""

    card: str = Field(description="Id of a model card of the catalog.")
    replicas: int = Field(1, ge=0, description="Replicas to start with; the fixed number when `max_replicas` is unset.")
    max_replicas: int | None = Field(None, ge=1, description="Set: autoscale from `replicas` up to this many.")
    target_ongoing: int = Field(16, ge=1, description="Requests per replica that the autoscaler aims at.")
    max_running: int = Field(64, ge=1, description="Requests that one replica works on at the same time.")
    max_queued: int = Field(64, ge=0, description="Requests that wait at one replica, over all gateways; more get 503.")
    queue_timeout_s: float = Field(10, gt=0, description="Longest wait in that queue.")
    cores: int = Field(1, ge=1, description="Cores that one CPU replica binds its worker threads to.")
    gpu_share: float = Field(
        1.0, gt=0, le=1, description="Part of a GPU that each worker reserves; below 1 engines share one GPU."
    )
    surge: bool = Field(
        True, description="A rolling change starts the new replica first; off where no spare accelerator is there."
    )
    engine_args: dict[str, Any] = Field(default_factory=dict, description="vLLM engine arguments over the card's own.")

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> EngineSettings:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas: {self.max_replicas} is less than replicas, {self.replicas}")
        return self


class TierSettings(Frozen):
    """Which card serves which tier, and which tier serves when a policy has no opinion."""

    small: str = Field(description="Card of the small tier.")
    large: str = Field(description="Card of the large tier.")
    default: Tier = Field("large", description="Tier for `auto` when the policy cannot decide.")

    def card(self, tier: Tier) -> str:
        """The card id of a tier."""
        return self.small if tier == "small" else self.large


class StoreSettings(Frozen):
    """Where keys and records live."""

    url: SecretStr | None = Field(
        None, description="SQLAlchemy URL: `postgresql+asyncpg://…`. Unset: SQLite in the state folder."
    )
    flush_interval_s: float = Field(0.05, gt=0, description="How long a finished record may wait for its batch.")
    retention_days: int = Field(30, ge=1, description="Records older than this are deleted.")


class AdapterSettings(Frozen):
    """Adapters: what orgs may hold, and how releases go."""

    warm_s: float = Field(
        600, ge=0, description="How long a version that was replaced stays loaded, so that a rollback is at once."
    )
    load_s: float = Field(120, gt=0, description="Longest load of one version on one replica, with its warm-up.")
    gone_s: float = Field(5, gt=0, description="A gateway that was silent for so long counts as gone.")
    affinity: bool = Field(
        True,
        description="A version's calls go to its own replica, which has it in a slot; off: to any, for comparison.",
    )
    org_max_adapters: int = Field(1000, ge=1, description="Most adapters of one org.")
    org_max_bytes: int = Field(50 * 2**30, ge=1, description="Most bytes of all versions of one org.")


class FineTuningSettings(Frozen):
    """Fine-tuning: what orgs may ask for, and what their trainings may take."""

    trainers: int = Field(1, ge=1, description="Most trainings at once; the others are queued, fairly between orgs.")
    gpus: float = Field(
        1,
        gt=0,
        description="GPUs of one training, where the stack has any: a share of one, its memory included, or several.",
    )
    threads: int | None = Field(None, ge=1, description="Threads of one training on a CPU; unset: torch's choice.")
    attempts: int = Field(3, ge=1, description="Lost workers without a new checkpoint between them that end a job.")
    lost_s: float = Field(20, gt=0, description="A worker that was silent for so long counts as lost.")
    max_hours: float = Field(24, gt=0, description="Longest training of one job, over all its workers.")
    usd_per_million_tokens: float = Field(0, ge=0, description="Price of trained tokens.")
    keep_days: float = Field(7, gt=0, description="How long checkpoints are kept after a job's end.")
    org_max_jobs: int = Field(100, ge=1, description="Most jobs of one org that have not ended.")
    max_file_bytes: int = Field(512 * 2**20, ge=1, description="Largest file for fine-tuning.")
    org_max_file_bytes: int = Field(20 * 2**30, ge=1, description="Most bytes of all files of one org.")
    gate_floor: GateFloor = Field(
        default_factory=GateFloor,
        description="The laxest thresholds that a job's own gate may have: it may be stricter. Unset: no floor.",
    )

    @property
    def gpu_processes(self) -> int:
        """Of one training where the stack has GPUs: one for each."""
        return max(1, int(self.gpus))

    @field_validator("gpus")
    @classmethod
    def _several_are_whole(cls, gpus: float) -> float:
        if gpus > 1 and not gpus.is_integer():
            raise ValueError(f"a share of one GPU, or a whole number of them, not {gpus:g}")
        return gpus


class RaySettings(Frozen):
    """The Ray cluster under the stack."""

    address: str | None = Field(None, description="Join this running cluster; unset starts a node of our own.")
    num_cpus: int = Field(32, ge=1, description="Logical CPUs of our own node: bookkeeping of Ray, not cores.")
    accelerator: Literal["cpu", "gpu"] = Field("cpu", description="What the engines run on.")
    gpu: str | None = Field(None, description="The GPU that the profile is made for; its cards are checked against it.")
    gpus: int = Field(1, ge=1, description="GPUs that the profile is made for, over all nodes.")
    object_store_bytes: int = Field(
        128 * 2**20, ge=80 * 2**20, description="Ray's object store; nothing large lives there."
    )


class Settings(BaseSettings):
    """One stack. Order of strength: `PENSTOCK__SECTION__FIELD`, then the profile, then the defaults here."""

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK__", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    profile: str = Field(description="Name of the profile that was loaded.")
    http: HttpSettings = Field(default_factory=HttpSettings)
    timers: TimerSettings = Field(default_factory=TimerSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    engines: tuple[EngineSettings, ...] = Field(min_length=1, description="The engines of this stack.")
    tiers: TierSettings
    router: PolicySettings = Field(default_factory=StaticSettings, description="The routing policy behind `auto`.")
    store: StoreSettings = Field(default_factory=StoreSettings)
    artifacts: ArtifactSettings = Field(
        default_factory=FolderSettings,
        description="Where published router models and adapters are kept, version by version.",
    )
    adapters: AdapterSettings = Field(default_factory=AdapterSettings)
    fine_tuning: FineTuningSettings = Field(default_factory=FineTuningSettings)
    ray: RaySettings = Field(default_factory=RaySettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        *_: PydanticBaseSettingsSource,
        **sources: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the profile, which arrives as keyword arguments."""
        return sources["env_settings"], sources["init_settings"]

    @model_validator(mode="after")
    def _gpu_has_a_name(self) -> Settings:
        if (self.ray.accelerator == "gpu") != (self.ray.gpu is not None):
            raise ValueError("ray.gpu: name the GPU when, and only when, `ray.accelerator` is gpu")
        return self

    @model_validator(mode="after")
    def _a_training_has_its_gpus(self) -> Settings:
        if self.ray.accelerator == "gpu" and self.fine_tuning.gpus > self.ray.gpus:
            wanted, there = self.fine_tuning.gpus, self.ray.gpus
            raise ValueError(f"fine_tuning.gpus: a training wants {wanted:g}, and the profile is made for {there}")
        return self

    @model_validator(mode="after")
    def _versions_reach_every_classifier(self) -> Settings:
        joined, reads = self.ray.address is not None, classifier_of(self.router) is not None
        if joined and reads and not self.artifacts.reaches_every_node:
            raise ValueError(
                "artifacts.shared: on a joined cluster (`ray.address`) a classifier may run on any node, and the folder"
                " of published routers is on this one. Set it where every node mounts the folder, or use another store,"
                " such as `artifacts.kind` s3"
            )
        return self

    @model_validator(mode="after")
    def _tiers_are_engines(self) -> Settings:
        cards = [engine.card for engine in self.engines]
        if doubled := {card for card in cards if cards.count(card) > 1}:
            raise ValueError(f"engines: card {sorted(doubled)[0]!r} is listed twice")
        for name in ("small", "large"):
            card = getattr(self.tiers, name)
            if card not in cards:
                raise ValueError(f"tiers.{name}: card {card!r} is not among engines: {', '.join(cards)}")
        return self


def profile_names() -> list[str]:
    """The profiles that ship with the package."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def read_profile(profile: str) -> dict[str, Any]:
    """A profile as its author wrote it, by name or by path to a YAML file."""
    path = _path(profile)
    try:
        values = yaml.safe_load(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(f"Unknown profile {profile!r}. Shipped: {', '.join(profile_names())}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"Profile {profile!r} cannot be read.", detail=str(error)) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"Profile {profile!r} is not YAML: {yaml_problem(error)}.") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values) or "profile" in values:
        raise ConfigurationError(f"Profile {profile!r} must be a mapping of sections: {', '.join(_sections())}.")
    return values


def load_settings(profile: str, overrides: dict[str, Any] | None = None) -> Settings:
    """The settings of a profile under the environment; `overrides` (section → fields) is stronger than both.

    Whatever is wrong is refused with the field's or the variable's name.
    """
    values = read_profile(profile)
    _refuse_unknown_variables(os.environ)
    try:
        settings = Settings(profile=_path(profile).stem, **values)
        changed = {name: _changed(getattr(settings, name), fields) for name, fields in (overrides or {}).items()}
    except ValidationError as error:
        raise ConfigurationError(f"Profile {profile!r}: {first_problem(error, whole='settings')}.") from error
    except SettingsError as error:
        raise ConfigurationError("A PENSTOCK__ variable holds a section that is no JSON.", detail=str(error)) from error
    return settings.model_copy(update=changed)


def _changed(section: BaseModel, fields: dict[str, Any]) -> BaseModel:
    return type(section).model_validate({**section.model_dump(), **fields})


def _path(profile: str) -> Path:
    return Path(profile) if profile.endswith((".yaml", ".yml")) else PROFILES / f"{profile}.yaml"


def _sections() -> list[str]:
    return [name for name in Settings.model_fields if name != "profile"]


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    prefix = "PENSTOCK__"
    for name in environment:
        if name.upper().startswith(prefix) and name[len(prefix) :].split("__")[0].lower() not in _sections():
            raise ConfigurationError(f"Unknown setting {name[:64]!r}. Sections: {', '.join(_sections())}.")
