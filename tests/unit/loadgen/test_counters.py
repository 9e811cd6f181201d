from loadgen import counters

FIRST = b"""# HELP vllm:generation_tokens_total x
vllm:generation_tokens_total{engine="0"} 100.0
vllm:generation_tokens_total{engine="1"} 50.0
vllm:spec_decode_num_draft_tokens_total{engine="0"} 10.0
vllm:spec_decode_num_accepted_tokens_total{engine="0"} 5.0
vllm:num_requests_running{engine="0"} 3.0
python_gc_objects_collected_total{generation="0"} 1.0
"""
SECOND = (
    FIRST.replace(b"100.0", b"160.0")
    .replace(b" 10.0", b" 70.0")
    .replace(b" 5.0", b" 35.0")
    .replace(b"vllm:", b"ray_vllm_")
)


def test_families_are_summed_under_either_prefix() -> None:
    assert counters.sample(FIRST, 1.0)["generation_tokens_total"] == 150
    assert counters.sample(SECOND, 1.0)["generation_tokens_total"] == 210


def test_speculation_between_two_readings() -> None:
    found = counters.speculation(counters.sample(FIRST, 1.0), counters.sample(SECOND, 3.0))
    assert found["k"] == 60 / (60 - 30)
    assert found["accepted_share"] == 0.5
    assert found["tokens_per_s"] == 30
    assert found["wasted_draft_tokens"] == 30


def test_nothing_drafted_and_a_restarted_server() -> None:
    old, new = {"at_s": 0.0, "generation_tokens_total": 90.0}, {"at_s": 1.0, "generation_tokens_total": 20.0}
    found = counters.over_time([old, new])
    assert (found["k"], found["accepted_share"], found["tokens_per_s"]) == ([0.0], [None], [20.0])
    assert counters.over_time([old]) == {}
