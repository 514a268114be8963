import os
from dataclasses import replace

import psutil
import pytest

from benchmarks.engine_facts import EngineFacts, cache_config, differences, engine_config, missing
from benchmarks.processes import allowed_cores, libraries

LOG = (
    "(EngineCore pid=7) INFO [core.py:123] Initializing a V1 LLM engine (v0.29.0) with config: model='/m', "
    "dtype=torch.bfloat16, max_seq_len=2048, pooler=Config(a='x, y', b=[1, 2]), compilation={'mode': 0, 'n': None}\n"
    "(EngineCore pid=8) INFO [core.py:123] Initializing a V1 LLM engine (v0.29.0) with config: model='/other'\n"
)
SCRAPE = """\
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="128",card="small",enable_prefix_caching="True",engine="0",replica="a"} 1.0
vllm:cache_config_info{block_size="16",card="large",enable_prefix_caching="True",engine="0",replica="b"} 1.0
"""


@pytest.fixture
def facts() -> EngineFacts:
    environment = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "1"}
    cache = {"block_size": "128"}
    return EngineFacts({"dtype": "bf16"}, "2,048", ("1",), "0-1", (0,), (("libgomp.so.1",),), environment, cache, {})


def test_the_logged_configuration_is_cut_at_its_top_level() -> None:
    assert engine_config(LOG, pid=7) == {
        "model": "'/m'",
        "dtype": "torch.bfloat16",
        "max_seq_len": "2048",
        "pooler": "Config(a='x, y', b=[1, 2])",
        "compilation": "{'mode': 0, 'n': None}",
    }


def test_the_configuration_of_another_process_is_not_taken() -> None:
    assert engine_config(LOG, pid=8) == {"model": "'/other'"}
    assert engine_config(LOG, pid=9) == {}


def test_the_cache_configuration_is_that_of_the_card() -> None:
    assert cache_config(SCRAPE, card="large") == {"block_size": "16", "enable_prefix_caching": "True"}
    assert cache_config(SCRAPE, card="other") is None


def test_the_cache_configuration_of_a_single_engine_needs_no_card() -> None:
    text = 'vllm:cache_config_info{block_size="32",note="a \\"b\\", c"} 1.0'
    assert cache_config(text, card="any") == {"block_size": "32", "note": 'a \\"b\\", c'}
    assert cache_config("vllm:num_requests_running 0.0", card="any") is None


def test_the_same_engine_has_no_differences(facts: EngineFacts) -> None:
    assert differences(facts, facts) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"config": {"dtype": "fp32"}}, "config.dtype: bf16 / fp32"),
        ({"config": {}}, "config.dtype: bf16 / None"),
        ({"environment": {"OMP_NUM_THREADS": "1"}}, "environment.VLLM_CPU_OMP_THREADS_BIND: 1 / None"),
        ({"cache": {"block_size": "16"}}, "cache.block_size: 128 / 16"),
        ({"worker_cores": ("0",)}, "worker_cores: ('1',) / ('0',)"),
        ({"kv_tokens": "4,096"}, "kv_tokens: 2,048 / 4,096"),
        ({"libraries": (("libomp.so",),)}, "libraries: (('libgomp.so.1',),) / (('libomp.so',),)"),
        ({"niceness": (15,)}, "niceness: (0,) / (15,)"),
    ],
)
def test_a_difference_is_named(facts: EngineFacts, change: dict[str, object], named: str) -> None:
    assert differences(facts, replace(facts, **change)) == [named]


def test_an_engine_is_compared_by_what_it_shows(facts: EngineFacts) -> None:
    assert differences(facts, replace(facts, cache=None)) == []
    assert differences(facts, replace(facts, environment={})) == []


def test_an_engine_that_shows_nothing_is_not_taken_as_equal(facts: EngineFacts) -> None:
    assert missing(facts) == []
    assert missing(replace(facts, config={}, worker_cores=())) == ["config", "worker_cores"]


def test_the_libraries_of_a_live_process_are_read_from_the_kernel() -> None:
    assert all("lib" in name for name in libraries(psutil.Process()))
    with pytest.raises(psutil.NoSuchProcess):
        libraries(psutil.Process(2**22 - 1))


def test_the_cores_of_a_live_process_are_read_from_the_kernel() -> None:
    cores = sorted(os.sched_getaffinity(0))
    found = allowed_cores(psutil.Process())
    assert str(cores[0]) in found
    assert str(cores[-1]) in found
