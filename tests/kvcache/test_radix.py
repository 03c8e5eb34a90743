"""The radix tree against SGLang's own example, a plain second implementation, and hand-worked engine runs."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sim.kvcache.protocol import KVRoom
from sim.kvcache.radix import Node, Radix, RadixKVCache
from sim.request import Request, Segments
from tests.kvcache.naive_radix import NaiveRadix
from tests.serving import engine, steps_of


def tree(pages: int = 1000, page: int = 1) -> RadixKVCache:
    return Radix().build(KVRoom(pages, page, 1000, True))


def prompt(request_id: int, *names: Any, answer: int = 1) -> Request:
    """A prompt of tokens given by name, one each."""
    segments: Segments = tuple((name, 1) for name in names)
    return Request(request_id, 0.0, len(names), answer, segments=segments)


def serve(cache: RadixKVCache, request: Request) -> int:
    """Admit, compute the prompt, finish; return the tokens found."""
    hit = cache.lookup(request)
    cache.adopt(request, hit)
    cache.grow(request, request.prompt_tokens - hit.tokens)
    request.generated_tokens = 1
    cache.landed(request, request.prompt_tokens)
    cache.check([(request, request.computed_tokens)])
    cache.free(request)
    return hit.tokens


def sizes(node: Node) -> list[Any]:
    return [(child.tokens, sizes(child)) for child in node.children.values()]


def test_the_example_of_sglangs_radix_cache() -> None:
    """radix_cache.py ends with it: five insertions, then a look-up of 1 2 3 13 14, of which 1 2 3 is there."""
    cache = tree()
    for id, names in enumerate([(1, 2, 3), (1, 2, 3), (1, 2, 4, 5), (1, 2, 4, 5, 6, 7), (8, 9, 10, 11, 12)]):
        serve(cache, prompt(id, *names))
    assert cache.lookup(prompt(9, 1, 2, 3, 13, 14)).tokens == 3
    assert sizes(cache.root) == [(2, [(1, []), (2, [(2, [])])]), (5, [])]
    assert cache.evictable_blocks == 12
    assert cache.empty_blocks == 988


def test_the_last_known_token_is_computed_even_if_it_is_there() -> None:
    cache = tree()
    serve(cache, prompt(0, *range(8)))
    assert cache.lookup(prompt(1, *range(8))).tokens == 7


def test_pages_are_found_whole() -> None:
    """Pages of 4: of 9 equal tokens two pages are found, of 7 one."""
    cache = tree(page=4)
    serve(cache, prompt(0, *range(12)))
    assert cache.lookup(prompt(1, *range(9), "x", "y")).tokens == 8
    assert cache.lookup(prompt(2, *range(7), "x", "y")).tokens == 4
    assert cache.lookup(prompt(3, *range(3), "x", "y")).tokens == 0


def test_leaves_go_whole_and_the_least_recently_used_first() -> None:
    """Room for 10 tokens: 1 2 (3 4 | 5 6 7) holds 7; 3 4 is used again, so 5 6 7 goes, whole, for one token."""
    cache = tree(pages=10)
    serve(cache, prompt(0, 1, 2, 3, 4))
    serve(cache, prompt(1, 1, 2, 5, 6, 7))
    serve(cache, prompt(2, 1, 2, 3, 4))
    assert cache.empty_blocks == 3
    newcomer = prompt(3, 11, 12, 13, 14)
    cache.adopt(newcomer, cache.lookup(newcomer))
    cache.grow(newcomer, 4)
    assert sizes(cache.root) == [(2, [(1, [(1, [])])])]
    assert cache.empty_blocks == 2
    assert cache.evicted_blocks == 3


def test_a_prefix_is_found_once_it_has_been_computed_not_before() -> None:
    """vLLM lets the second request hit blocks of the same step; SGLang lets it compute them, and drops the copies."""
    requests = [Request(id, 0.0, 9, 2, segments=(("system", 8), (id, 1))) for id in range(2)]
    replica = engine(kv_cache=Radix(), block_size=1, num_gpu_blocks=101)
    plans = steps_of(replica, requests)
    assert [chunk.new_tokens for chunk in plans[0].chunks] == [9, 9]
    late = Request(2, 0.0, 9, 1, segments=(("system", 8), ("other", 1)))
    steps_of(replica, [late])
    assert [request.cached_tokens for request in [*requests, late]] == [0, 0, 8]
    # In the tree: 8 of the system prompt; and a last prompt token with its answer's first, twice; `late`'s last token.
    assert replica.kv.used_blocks == 0
    assert replica.kv.empty_blocks == 100 - (8 + 2 + 2 + 1)


def test_a_retracted_request_keeps_its_prompt_only() -> None:
    """Two requests of 3 prompt tokens in 10 pages; in step 2 the first needs the second's."""
    requests = [Request(id, 0.0, 3, 5) for id in range(2)]
    replica = engine(kv_cache=Radix(), block_size=1, num_gpu_blocks=11, max_model_len=10)
    steps_of(replica, requests)
    assert [request.preemptions for request in requests] == [0, 1]
    # It had computed 3 + 2 tokens when the sixth page of the first was missing; its 2 decoded ones are recomputed.
    assert requests[1].recomputed_tokens == 2


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_as_the_plain_implementation(data: st.DataObject) -> None:
    page = data.draw(st.sampled_from([1, 2, 4]))
    pages = data.draw(st.integers(12, 40)) * 2 // page
    cache, plain = tree(pages, page), NaiveRadix(pages, page)
    running: list[Request] = []
    content: dict[Request, list[Any]] = {}
    for id in range(data.draw(st.integers(1, 30))):
        action = data.draw(st.sampled_from(["admit", "admit", "grow", "land", "finish", "retract"]))
        if action == "admit":
            request = Request(id, 0.0, 1, 20)
            request.segments = data.draw(_segments(id))
            request.prompt_tokens = sum(length for _, length in request.segments)
            tokens = [(name, offset) for name, length in request.segments for offset in range(length)]
            content[request] = tokens + [(("answer", id), offset) for offset in range(20)]
            hit = cache.lookup(request)
            assert hit.tokens == plain.found(tokens[:-1])
            if cache.can_admit(request, hit, len(tokens), 0):
                cache.adopt(request, hit)
                plain.admit(id, tokens, hit.tokens)
                cache.grow(request, len(tokens) - hit.tokens)
                plain.take(id, -(-len(tokens) // page) - hit.tokens // page)
                running.append(request)
        elif running:
            request = running[data.draw(st.integers(0, len(running) - 1))]
            computed = request.computed_tokens
            if action == "grow" and computed < request.prompt_tokens + 19:
                pages_needed = cache.growth_blocks(request, 1)
                if pages_needed <= cache.free_blocks:
                    cache.grow(request, 1)
                    plain.take(request.id, pages_needed)
            elif action == "land":
                cache.landed(request, computed)
                plain.insert(request.id, content[request][:computed])
            elif action in ("finish", "retract"):
                running.remove(request)
                (cache.free(request) if action == "finish" else cache.set_aside(request, computed))
                if action == "finish":
                    plain.insert(request.id, content[request][:computed])
                plain.leave(request.id)
        assert (cache.empty_blocks, cache.evictable_blocks) == (plain.empty(), plain.evictable())
        cache.check([(request, request.computed_tokens) for request in running])


@st.composite
def _segments(draw: st.DrawFn, id: int) -> Segments:
    names = st.one_of(st.sampled_from(["a", "b"]), st.just(f"own{id}"), st.just(f"own{max(id - 1, 0)}"))
    pieces = draw(st.lists(st.tuples(names, st.integers(1, 7)), min_size=1, max_size=3))
    return tuple(pieces)
