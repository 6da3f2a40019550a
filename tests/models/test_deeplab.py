"""DeepLab's heads against their definitions."""

import pytest
import torch

from rca.config import Backbone, TrainSeg
from rca.models.deeplab import DeepLab

BACKBONE = Backbone(name="mobilenet_v2", stride=16, weights="none")


@pytest.mark.parametrize("head", ["deeplab_v2", "large_fov", "deeplab_v3"])
def test_forward__logits_of_background_and_classes_at_input_size(head):
    network = DeepLab(6, TrainSeg(head=head, backbone=BACKBONE)).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 3, 48, 64)).shape == (2, 7, 48, 64)


def test_deeplab_v2__is_the_sum_of_its_branches():
    network = DeepLab(2, TrainSeg(head="deeplab_v2", backbone=BACKBONE)).eval()
    features = torch.randn(1, 1280, 5, 5)
    with torch.no_grad():
        expected = torch.zeros(1, 3, 5, 5)
        for branch in network.head:
            expected += branch(features)
        torch.testing.assert_close(network.head(features), expected)


@pytest.mark.parametrize(("stride", "rates"), [(8, [6, 12, 18, 24]), (16, [3, 6, 9, 12])])
def test_deeplab_v2__rates_keep_their_reach_in_image_pixels(stride, rates):
    backbone = Backbone(name="mobilenet_v2", stride=stride, weights="none")
    network = DeepLab(2, TrainSeg(head="deeplab_v2", backbone=backbone))
    assert [branch.dilation[0] for branch in network.head] == rates
