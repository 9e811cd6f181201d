from policies.fleet.prefix import CHUNK, Prefixes


def test_the_longest_beginning_a_replica_has_seen() -> None:
    seen, shared = Prefixes(), "s" * 2 * CHUNK
    seen.sent(shared + "a" * CHUNK, "one")
    seen.sent(shared, "two")
    assert seen.cached(shared + "a" * CHUNK) == {"one": 3 * CHUNK, "two": 2 * CHUNK}
    assert seen.cached("t" + shared) == {}
    assert seen.cached("s" * (CHUNK - 1)) == {}


def test_it_forgets_a_replica_and_the_oldest_chunks() -> None:
    seen = Prefixes(most=2)
    seen.sent("a" * CHUNK, "one")
    seen.sent("b" * 2 * CHUNK, "one")
    assert seen.cached("a" * CHUNK) == {}
    assert seen.cached("b" * 2 * CHUNK) == {"one": 2 * CHUNK}
    seen.forget("one")
    assert seen.cached("b" * 2 * CHUNK) == {}
