from __future__ import annotations

import copy
import itertools

import pytest
import torch
from paper import OAA, attention_drop

from rca.method.accumulation import AttentionStore
from rca.method.cams import normalise_cams

IMAGES = ["2007_000032", "2007_000039", "2007_000063"]
TAGS = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 1]])
SIZE = (3, 5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_store() -> AttentionStore:
    return AttentionStore(IMAGES, TAGS, SIZE)


def a_step(seed: int, rows: list[int]) -> tuple[list[str], torch.Tensor, ...]:
    """Arguments of an update for the images of `rows`."""
    cams = torch.randn(len(rows), 4, *SIZE, generator=seeded(seed))
    logits = 3 * torch.randn(len(rows), 4, generator=seeded(seed + 100))
    return [IMAGES[row] for row in rows], cams, TAGS[rows], logits


STEPS = [a_step(seed, rows) for seed, rows in enumerate([[0, 1], [2, 0], [1, 2], [2, 1, 0]])]


def test_update__equals_loop() -> None:
    store, naive = a_store(), {}
    for names, cams, tags, logits in STEPS:
        store.update(names, cams, tags, logits, gate=OAA.gate)
        for name, cam, tag, logit in zip(names, cams, tags, logits, strict=True):
            for c in range(4):
                if tag[c] and torch.sigmoid(logit[c]) >= 0.1:
                    scaled = cam[c].clamp(min=0) / cam[c].max()
                    naive[name, c] = torch.maximum(naive.get((name, c), scaled), scaled)
    maps = store.get(IMAGES)
    assert maps.shape == (3, 4, *SIZE)
    for (b, name), c in itertools.product(enumerate(IMAGES), range(4)):
        expected = naive.get((name, c), torch.zeros(SIZE))
        torch.testing.assert_close(maps[b, c], expected, atol=1e-3, rtol=0)  # float16
    assert any((logits.sigmoid() < 0.1)[tags.bool()].any() for _, _, tags, logits in STEPS)


def test_update__order_of_steps_does_not_matter() -> None:
    stores = []
    for order in itertools.permutations(STEPS):
        store = a_store()
        for step in order:
            store.update(*step, gate=OAA.gate)
        stores.append(store.maps)
    assert all(torch.equal(maps, stores[0]) for maps in stores)


def test_update__same_image_twice_in_a_batch_counts_twice() -> None:
    names, cams, tags, logits = STEPS[0]
    again = torch.randn(2, 4, *SIZE, generator=seeded(50))
    one, two = a_store(), a_store()
    one.update(names, cams, tags, logits, gate=OAA.gate)
    one.update(names, again, tags, logits, gate=OAA.gate)
    two.update(
        names * 2, torch.cat([cams, again]), tags.repeat(2, 1), logits.repeat(2, 1), gate=OAA.gate
    )
    assert torch.equal(one.maps, two.maps)


def test_update__below_the_gate_only_where_nothing_is_yet_and_on_request() -> None:
    names, cams, tags, _ = a_step(0, [1])  # its one class is 1
    sure, unsure = torch.full((1, 4), 5.0), torch.full((1, 4), -5.0)
    store = a_store()
    store.update(names, cams, tags, unsure, gate=OAA.gate)
    assert not store.get(names).any()
    assert not store.seen.any()
    store.update(names, cams, tags, unsure, gate=OAA.gate, missing_too=True)
    first = store.get(names)
    torch.testing.assert_close(first[0, 1], normalise_cams(cams)[0, 1], atol=1e-3, rtol=0)
    # What is there is not added to by an unsure map, though by a sure one.
    store.update(names, cams.flip(-1), tags, unsure, gate=OAA.gate, missing_too=True)
    assert torch.equal(store.get(names), first)
    store.update(names, cams.flip(-1), tags, sure, gate=OAA.gate)
    assert torch.equal(store.get(names), torch.maximum(first, first.flip(-1)))


def test_update__absent_classes_stay_zero() -> None:
    store = a_store()
    everything = torch.ones(3, 4)
    store.update(IMAGES, torch.rand(3, 4, *SIZE), everything, everything, gate=OAA.gate)
    present = store.get(IMAGES).amax((-2, -1)) > 0
    assert torch.equal(present, TAGS.bool())
    assert len(store.maps) == TAGS.sum()  # and take no room


def test_update__tags_of_the_batch_narrow_it_down() -> None:
    store = a_store()
    tags = torch.tensor([[0, 0, 1, 0]])
    store.update(IMAGES[:1], torch.rand(1, 4, *SIZE), tags, torch.ones(1, 4), gate=OAA.gate)
    assert (store.get(IMAGES[:1]).amax((-2, -1)) > 0).tolist() == [[False, False, True, False]]


def test_attention_store__stores_of_several_processes_combine_by_the_maximum() -> None:
    whole, one, two = a_store(), a_store(), a_store()
    for number, step in enumerate(STEPS):
        whole.update(*step, gate=OAA.gate)
        (one if number % 2 else two).update(*step, gate=OAA.gate)
    assert torch.equal(torch.maximum(one.maps, two.maps), whole.maps)
    assert torch.equal(one.seen | two.seen, whole.seen)


def test_attention_store__state_goes_through_a_checkpoint() -> None:
    store, resumed = a_store(), a_store()
    for step in STEPS[:2]:
        store.update(*step, gate=OAA.gate)
    state = copy.deepcopy(store.state_dict())
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    resumed.load_state_dict(state)
    for each in (store, resumed):
        each.update(*STEPS[2], gate=OAA.gate)
    assert torch.equal(store.get(IMAGES), resumed.get(IMAGES))


def test_attention_store__refuses_the_state_of_other_images() -> None:
    other = AttentionStore(IMAGES[::-1], TAGS, SIZE)
    with pytest.raises(ValueError, match="of other images"):
        other.load_state_dict(a_store().state_dict())


def test_attention_store__refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"maps are \(4, 5\), the store holds \(3, 5\)"):
        a_store().update(
            IMAGES[:1], torch.zeros(1, 4, 4, 5), TAGS[:1], torch.zeros(1, 4), gate=OAA.gate
        )
    with pytest.raises(KeyError, match="2007_999999: not an image of this attention store"):
        a_store().get(["2007_999999"])
    with pytest.raises(ValueError, match="3 images, 2 names"):
        AttentionStore(["a", "b", "a"], TAGS, SIZE)
    with pytest.raises(ValueError, match="tags of 3"):
        AttentionStore(["a", "b"], TAGS, SIZE)


def test_attention_store__on_every_device(device) -> None:
    store = a_store().to(device)
    names, *tensors = STEPS[3]
    store.update(names, *(tensor.to(device) for tensor in tensors), gate=OAA.gate)
    expected = a_store()
    expected.update(*STEPS[3], gate=OAA.gate)
    assert torch.equal(store.get(IMAGES).cpu(), expected.get(IMAGES))


def test_attention_drop__erases_what_is_above_the_threshold_in_any_class() -> None:
    attention = torch.zeros(1, 2, 2, 2)
    attention[0, 0, 0, 1], attention[0, 1, 1, 0], attention[0, 1, 1, 1] = 0.61, 1.0, 0.6
    images = torch.full((1, 3, 4, 6), 2.0)
    dropped = attention_drop(images, attention, [seeded()], probability=1.0)
    expected = torch.tensor([[2.0, 0.0], [0.0, 2.0]]).repeat_interleave(2, 0)
    assert torch.equal(dropped[0], expected.repeat_interleave(3, 1).expand(3, 4, 6))
    assert torch.equal(attention_drop(images, attention, [seeded()], probability=0.0), images)


def test_attention_drop__tosses_a_coin_for_each_image() -> None:
    images, attention = torch.ones(400, 1, 1, 1), torch.ones(400, 2, 1, 1)
    draws = [[seeded(number) for number in range(400)] for _ in range(2)]
    one, two = (attention_drop(images, attention, each).flatten() for each in draws)
    assert torch.equal(one, two)
    assert set(one.tolist()) == {0.0, 1.0}
    assert 160 < one.sum() < 240
