from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paper import admitted, memory_bank

from rca.method.memory import MemoryBank

RINGS = ["fifo", "ema", "slot_ema"]  # updates that know nothing of images
UPDATES = [*RINGS, "image_ema"]
CLASSES, SLOTS, CHANNELS = 3, 4, 2


def bank(update: str, momentum: float = 0.9) -> MemoryBank:
    return memory_bank(
        CLASSES, SLOTS, CHANNELS, update, momentum, torch.Generator().manual_seed(5)
    ).double()


class NaiveMemory:
    """One region after another, one list per class."""

    def __init__(self, memory: MemoryBank, update: str) -> None:
        self.rows = memory.rows.clone()
        self.update, self.momentum = update, 0.9
        self.pointer = [0] * CLASSES
        self.written = [SLOTS if update == "slot_ema" else 0] * CLASSES
        self.owner: dict[tuple[int, int], int] = {}

    def enqueue_images(self, embeddings, labels, images) -> None:
        """`image_ema`: images that have an entry are blended into it, then others are copied."""
        regions = list(zip(embeddings, labels.tolist(), images.tolist(), strict=True))
        slots = {(label, image): slot for (label, slot), image in self.owner.items()}
        for embedding, label, image in regions:
            if (label, image) in slots:
                row = self.rows[label, slots[label, image]]
                row.mul_(self.momentum).add_((1 - self.momentum) * embedding)
        for embedding, label, image in regions:
            if (label, image) not in slots:
                slot = self.pointer[label]
                self.owner[label, slot] = image
                self.rows[label, slot] = embedding
                self.pointer[label] = (slot + 1) % SLOTS
                self.written[label] = min(self.written[label] + 1, SLOTS)

    def enqueue(self, embeddings: torch.Tensor, labels: torch.Tensor) -> None:
        for embedding, label in zip(embeddings, labels.tolist(), strict=True):
            slot = self.pointer[label]
            fresh = slot >= self.written[label]
            if self.update == "fifo" or (self.update == "ema" and fresh):
                self.rows[label, slot] = embedding
            else:
                old = self.rows[label, slot]
                self.rows[label, slot] = self.momentum * old + (1 - self.momentum) * embedding
            self.pointer[label] = (slot + 1) % SLOTS
            self.written[label] = min(self.written[label] + 1, SLOTS)


# Batches of 0 to 14 regions with 4 slots: not filled, wrapped around, and several rounds at once.
batches = st.lists(st.lists(st.integers(0, CLASSES - 1), max_size=14), max_size=5)


@pytest.mark.parametrize("update", RINGS)
@settings(max_examples=60, deadline=None)
@given(batches=batches, seed=st.integers(0, 100))
def test_enqueue__equals_loop(update: str, batches: list[list[int]], seed: int) -> None:
    memory = bank(update)
    naive = NaiveMemory(memory, update)
    draws = torch.Generator().manual_seed(seed)
    for labels in (torch.tensor(batch, dtype=torch.long) for batch in batches):
        embeddings = torch.randn(len(labels), CHANNELS, generator=draws, dtype=torch.float64)
        memory.enqueue(embeddings, labels)
        naive.enqueue(embeddings, labels)
    torch.testing.assert_close(memory.rows, naive.rows)
    assert memory.pointer.tolist() == naive.pointer
    assert memory.count.tolist() == naive.written
    for label, written in enumerate(naive.written):
        assert memory.filled[label].tolist() == [slot < written for slot in range(SLOTS)]


@settings(max_examples=80, deadline=None)
@given(
    # Up to nine images a batch among eleven: entries are blended, and the oldest leave.
    batches=st.lists(st.sets(st.integers(0, 10), max_size=9), max_size=6),
    seed=st.integers(0, 100),
)
def test_enqueue__image_ema_equals_loop(batches: list[set[int]], seed: int) -> None:
    memory = bank("image_ema")
    naive = NaiveMemory(memory, "image_ema")
    draws = torch.Generator().manual_seed(seed)
    for batch in batches:
        tags = torch.rand(len(batch), CLASSES, generator=draws) < 0.6
        rows, labels = tags.nonzero(as_tuple=True)
        images = torch.tensor(sorted(batch), dtype=torch.long)[rows]
        embeddings = torch.randn(len(labels), CHANNELS, generator=draws, dtype=torch.float64)
        memory.enqueue(embeddings, labels, images)
        naive.enqueue_images(embeddings, labels, images)
    torch.testing.assert_close(memory.rows, naive.rows)
    assert memory.pointer.tolist() == naive.pointer
    assert memory.count.tolist() == naive.written
    owners = {(c, m): int(memory.owner[c, m]) for c in range(CLASSES) for m in range(SLOTS)}
    assert {place: image for place, image in owners.items() if image >= 0} == naive.owner


def test_enqueue__image_ema_blends_an_image_into_its_own_entry_alone() -> None:
    memory = memory_bank(1, 3, 1, "image_ema", momentum=0.75)
    one = torch.zeros(1, dtype=torch.long)
    memory.enqueue(torch.tensor([[4.0]]), one, torch.tensor([7]))
    memory.enqueue(torch.tensor([[8.0]]), one, torch.tensor([9]))
    memory.enqueue(torch.tensor([[0.0]]), one, torch.tensor([7]))
    assert memory.rows[0, :, 0].tolist() == [3, 8, 0]  # 0.75 · 4 + 0.25 · 0
    assert memory.count.tolist() == [2]


def test_enqueue__image_ema_must_be_told_the_images() -> None:
    with pytest.raises(ValueError, match="'image_ema' keeps an entry an image: pass the images"):
        bank("image_ema").enqueue(torch.zeros(1, CHANNELS), torch.tensor([0]))


def test_enqueue__a_fifo_keeps_the_last_regions_and_wraps_around() -> None:
    memory = memory_bank(2, 3, 1)
    memory.enqueue(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 1]))
    assert memory.rows[1, :, 0].tolist() == [1, 2, 0]
    assert memory.filled.tolist() == [[False, False, False], [True, True, False]]
    # Past the end, writing goes on from the beginning.
    memory.enqueue(torch.tensor([[3.0], [4.0]]), torch.tensor([1, 1]))
    assert memory.rows[1, :, 0].tolist() == [4, 2, 3]
    # More than there are slots: the last ones stay.
    memory.enqueue(torch.arange(10.0, 18.0)[:, None], torch.ones(8, dtype=torch.long))
    assert sorted(memory.rows[1, :, 0].tolist()) == [15, 16, 17]
    assert not memory.filled[0].any()


def test_enqueue__last_class_is_kept() -> None:
    memory = bank("fifo")
    memory.enqueue(torch.ones(1, CHANNELS), torch.tensor([CLASSES - 1]))
    assert memory.count.tolist() == [0, 0, 1]


@pytest.mark.parametrize("update", RINGS)
def test_enqueue__how_regions_are_grouped_does_not_matter(update: str, draws) -> None:
    embeddings = torch.randn(30, CHANNELS, generator=draws, dtype=torch.float64)
    labels = torch.randint(CLASSES, (30,), generator=draws)
    at_once, in_parts = bank(update), bank(update)
    at_once.enqueue(embeddings, labels)
    for part, classes in zip(embeddings.split(7), labels.split(7), strict=True):
        in_parts.enqueue(part, classes)
    torch.testing.assert_close(at_once.state_dict(), in_parts.state_dict())


def test_enqueue__updates_differ(draws) -> None:
    embeddings = torch.randn(8, CHANNELS, generator=draws, dtype=torch.float64)
    rows = []
    for update in UPDATES:
        memory = bank(update)
        for part in embeddings.split(4):  # the same four images twice
            memory.enqueue(part, torch.zeros(4, dtype=torch.long), torch.tensor([3, 1, 0, 2]))
        rows.append(memory.rows[0])
    fifo, ema, slot_ema, image_ema = rows
    torch.testing.assert_close(fifo, embeddings[4:])
    torch.testing.assert_close(ema, 0.9 * embeddings[:4] + 0.1 * embeddings[4:])
    torch.testing.assert_close(image_ema, ema)  # as long as they come in the same order
    assert not torch.allclose(slot_ema, ema)
    memory = bank("image_ema")
    for part, order in zip(embeddings.split(4), ([0, 1, 2, 3], [3, 2, 1, 0]), strict=True):
        memory.enqueue(part, torch.zeros(4, dtype=torch.long), torch.tensor(order))
    torch.testing.assert_close(memory.rows[0], 0.9 * embeddings[:4] + 0.1 * embeddings[4:].flip(0))


def test_enqueue__slot_ema_stays_noise_for_long() -> None:
    memory = bank("slot_ema", momentum=0.99)
    noise = memory.rows.clone()
    assert memory.filled.all()  # from the start
    assert noise.abs().min() > 0
    for _ in range(50):
        memory.enqueue(torch.zeros(SLOTS, CHANNELS), torch.zeros(SLOTS, dtype=torch.long))
    torch.testing.assert_close(memory.rows[0], noise[0] * 0.99**50)  # 61 % of it
    assert torch.equal(memory.rows[1:], noise[1:])


def test_enqueue__writes_in_place_and_keeps_no_graph() -> None:
    memory = bank("fifo")
    before = memory.rows.data_ptr()
    memory.enqueue(torch.ones(2, CHANNELS, requires_grad=True), torch.tensor([0, 1]))
    assert memory.rows.data_ptr() == before
    assert not memory.rows.requires_grad


def test_enqueue__half_precision_regions_are_stored_in_full() -> None:
    memory = memory_bank(1, 2, 2)
    memory.enqueue(torch.ones(1, 2, dtype=torch.bfloat16), torch.tensor([0]))
    assert memory.rows.dtype == torch.float32
    assert memory.rows[0, 0].tolist() == [1, 1]


def test_enqueue__on_every_device(device) -> None:
    memory = memory_bank(2, 3, 1).to(device)
    labels = torch.tensor([1, 0, 1, 1, 1], device=device)
    memory.enqueue(torch.arange(5.0, device=device)[:, None], labels)
    assert memory.rows[..., 0].tolist() == [[1, 0, 0], [4, 2, 3]]


@pytest.mark.parametrize("shape", [(2, CHANNELS + 1), (3, CHANNELS), (2,)])
def test_enqueue__refuses_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"the memory takes \(R, 2\) with \(R,\)"):
        bank("fifo").enqueue(torch.zeros(shape), torch.tensor([0, 1]))


def test_memory_bank__state_goes_through_a_checkpoint(draws) -> None:
    memory = bank("fifo")
    memory.enqueue(torch.randn(9, CHANNELS, generator=draws), torch.tensor([0, 1, 2] * 3))
    resumed = bank("fifo")
    resumed.load_state_dict(copy.deepcopy(memory.state_dict()))
    for each in (memory, resumed):
        each.enqueue(torch.ones(3, CHANNELS), torch.tensor([2, 2, 0]))
    torch.testing.assert_close(memory.state_dict(), resumed.state_dict())
    assert torch.equal(memory.filled, resumed.filled)


def test_memory_bank__refuses_unknown_updates_and_noise_without_a_seed() -> None:
    with pytest.raises(ValueError, match="memory update 'lifo': use 'fifo'"):
        memory_bank(2, 3, 4, "lifo")
    with pytest.raises(ValueError, match="pass a generator"):
        memory_bank(2, 3, 4, "slot_ema")


def test_admitted__equals_loop(draws) -> None:
    tags = (torch.rand(4, 5, generator=draws) > 0.5).float()
    logits = 3 * torch.randn(4, 5, generator=draws)
    nonempty = torch.rand(4, 5, generator=draws) > 0.2
    entering = admitted(tags, logits, 0.7, nonempty)
    for b in range(4):
        for c in range(5):
            probability = 1 / (1 + torch.exp(-logits[b, c]).item())
            expected = tags[b, c] == 1 and probability > 0.7 and nonempty[b, c]
            assert bool(entering[b, c]) == bool(expected)
    assert torch.equal(admitted(tags, logits, 0.7), tags.bool() & (logits.sigmoid() > 0.7))


def test_admitted__a_score_at_the_gate_stays_outside() -> None:
    assert not admitted(torch.ones(1, 1), torch.zeros(1, 1), gate=0.5).any()
    assert admitted(torch.ones(1, 1), torch.full((1, 1), 1e-3), gate=0.5).all()
