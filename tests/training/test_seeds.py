"""Independent streams from one seed."""

import torch

from rca.training.seeds import derive_seed, generator


def test_derive_seed__depends_on_every_part():
    seeds = {
        derive_seed(0),
        derive_seed(1),
        derive_seed(0, "view"),
        derive_seed(0, "order"),
        derive_seed(0, "view", 0),
        derive_seed(0, "view", 1),
    }
    assert len(seeds) == 6


def test_generator__same_purpose_same_numbers():
    first, second = (torch.rand(4, generator=generator(3, "view", 1)) for _ in range(2))
    assert torch.equal(first, second)


def test_generator__leaves_the_global_state_alone():
    before = torch.get_rng_state()
    torch.rand(4, generator=generator(0, "x"))
    assert torch.equal(torch.get_rng_state(), before)
