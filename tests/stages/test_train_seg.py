"""The segmentation loss against a loop over pixels, and where the labels come from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rca.data.images import DataError, write_label_map
from rca.data.index import Index, Record
from rca.data.palette import voc_palette
from rca.training.segmentation_training import label_reader, segmentation_loss


def batch(seed=0):
    draws = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=draws, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 4, 5), generator=draws)
    labels[0, :2] = 255
    return logits, labels


def pixel_losses(logits, labels):
    """(label, loss) of every pixel that is not ignored."""
    probabilities = logits.softmax(1)
    return [
        (label, -probabilities[b, label, y, x].log().item())
        for (b, y, x), label in np.ndenumerate(labels.numpy())
        if label != 255
    ]


def test_segmentation_loss__is_the_mean_over_labelled_pixels():
    logits, labels = batch()
    losses = [loss for _, loss in pixel_losses(logits, labels)]
    assert segmentation_loss(logits, labels).item() == pytest.approx(np.mean(losses))


def test_segmentation_loss__balanced_halves_the_means_of_background_and_classes():
    logits, labels = batch()
    losses = pixel_losses(logits, labels)
    background = np.mean([loss for label, loss in losses if label == 0])
    classes = np.mean([loss for label, loss in losses if label != 0])
    found = segmentation_loss(logits, labels, balanced=True).item()
    assert found == pytest.approx((background + classes) / 2)


@pytest.mark.parametrize("balanced", [False, True])
def test_segmentation_loss__all_ignored_is_zero_with_zero_gradient(balanced):
    logits, labels = batch()
    logits.requires_grad_()
    loss = segmentation_loss(logits, torch.full_like(labels, 255), balanced)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("balanced", [False, True])
def test_segmentation_loss__parts_of_processes_add_up_to_the_whole(balanced):
    logits, labels = batch()
    labels[1, 2:] = 0  # the images differ in their counts
    whole = segmentation_loss(logits, labels, balanced)
    parts = []
    for image in (0, 1):
        # What the counts of both are, in the order in which they are asked for.
        counts = iter(label_counts(labels, balanced))
        parts.append(
            segmentation_loss(
                logits[[image]], labels[[image]], balanced, lambda _, left=counts: next(left)
            )
        )
    assert sum(parts).item() == pytest.approx(whole.item())


def label_counts(labels, balanced):
    background, known = (labels == 0).sum(), (labels != 255).sum()
    return [background, known - background] if balanced else [known]


@pytest.mark.parametrize("balanced", [False, True])
def test_segmentation_loss__gradient(balanced):
    logits, labels = batch()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: segmentation_loss(x, labels, balanced), logits)


def data(folder: Path) -> tuple[Index, Record]:
    truth = folder / "truth.png"
    write_label_map(truth, np.full((2, 3), 1, np.uint8), voc_palette())
    record = Record("a", "train", folder / "a.jpg", truth, None, 3, 2, ("cat",))
    values = np.arange(256, dtype=np.uint8)
    return Index(folder, ("cat",), values, voc_palette(), (record,)), record


def test_label_reader__pseudo_reads_the_labels_and_never_the_mask(tmp_path):
    index, record = data(tmp_path)
    write_label_map(tmp_path / "labels" / "a.png", np.zeros((2, 3), np.uint8), voc_palette())
    record.mask.unlink()
    assert not label_reader(index, "pseudo", tmp_path / "labels")(record).any()


def test_label_reader__truth_reads_the_mask(tmp_path):
    index, record = data(tmp_path)
    assert (label_reader(index, "truth", tmp_path / "labels")(record) == 1).all()


def test_label_reader__a_label_map_of_another_size_is_named(tmp_path):
    index, record = data(tmp_path)
    write_label_map(tmp_path / "labels" / "a.png", np.zeros((4, 4), np.uint8), voc_palette())
    with pytest.raises(DataError, match=r"a\.png: is 4 × 4, the image is 3 × 2"):
        label_reader(index, "pseudo", tmp_path / "labels")(record)
