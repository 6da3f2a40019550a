"""The classification network with and without RSA, and its way to disk and back."""

import pytest
import torch
from safetensors.torch import load_file

from rca.config import Aggregation, Backbone, ConfigError, Contrast, Head, Memory, TrainCam
from rca.method.aggregation import aggregate
from rca.models.cam_network import CamNetwork, final_head, projection_head
from rca.models.inference import for_inference
from rca.models.weights import read_config, save_weights

BACKBONE = Backbone(name="mobilenet_v2", stride=16, weights="none")
CLASSES = ("cat", "dog")


def network(depth: int = 1, **rsa) -> CamNetwork:
    memory = Memory(background=rsa.get("background", False))
    head = Head(depth=depth, width=8)
    cfg = TrainCam(backbone=BACKBONE, head=head, memory=memory, rsa=Aggregation(**rsa))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CamNetwork(len(CLASSES), cfg).eval()


def test_forward__shapes():
    with torch.no_grad():
        maps = network(prototypes=3)(torch.randn(2, 3, 64, 48))
    assert maps.features.shape == (2, 1280, 4, 3)
    assert maps.coarse.shape == maps.final.shape == (2, 2, 4, 3)


def test_forward__without_rsa_is_the_plain_cam():
    net = network(enabled=False)
    with torch.no_grad():
        maps = net(torch.randn(1, 3, 32, 32))
    assert maps.final is maps.coarse
    assert not [name for name in net.state_dict() if "prototypes" in name or "final" in name]


@pytest.mark.parametrize("rsa", [{}, {"enabled": False}, {"attention": "parametric"}], ids=str)
def test_final_maps__are_those_of_the_forward_pass(rsa):
    net, images = network(**rsa), torch.randn(2, 3, 32, 48)
    if net.rsa.enabled:
        net.prototypes.normal_()
        net.prototypes_valid.fill_(True)
    with torch.no_grad():
        assert torch.equal(net.final_maps(images), net(images).final)


def test_forward__a_linear_final_head_sees_the_aggregated_features():
    net, image = network(depth=0, prototypes=3, null_prototype=True), torch.randn(1, 3, 64, 32)
    net.prototypes.normal_()
    net.prototypes_valid[0] = True
    with torch.no_grad():
        maps = net(image)
        joined = aggregate(
            maps.features,
            net.prototypes,
            net.prototypes_valid,
            scale=net.rsa.scale,
            temperature=net.rsa.temperature,
            null=True,
        )
        torch.testing.assert_close(maps.final, net.final_head(joined))
        ready = for_inference(net, torch.device("cpu"))
        torch.testing.assert_close(ready.final_maps(image), maps.final, rtol=1e-4, atol=1e-4)


def test_forward__prototypes_change_the_final_map_and_not_the_coarse_one():
    net, image = network(prototypes=3), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = net(image)
        net.prototypes.copy_(torch.randn(net.prototypes.shape))
        net.prototypes_valid.fill_(True)
        after = net(image)
    assert torch.equal(before.coarse, after.coarse)
    assert not torch.allclose(before.final, after.final)


def test_forward__prototypes_of_the_background_take_part():
    net, image = network(prototypes=3, background=True), torch.randn(1, 3, 32, 32)
    assert net.prototypes.shape == (3, 3, 1280)  # two classes and the background
    with torch.no_grad():
        net.prototypes.copy_(torch.randn(net.prototypes.shape))
        net.prototypes_valid[:2] = True
        before = net(image)
        net.prototypes_valid[2] = True
        after = net(image)
    assert after.final.shape == before.final.shape  # the background is no class
    assert not torch.allclose(before.final, after.final)


def test_projection_head__kinds():
    regions = torch.randn(5, 8)
    assert projection_head(8, Contrast()) is None
    linear = projection_head(8, Contrast(projection="linear", projection_width=3))
    nonlinear = projection_head(8, Contrast(projection="nonlinear", projection_width=3))
    assert linear(regions).shape == nonlinear(regions).shape == (5, 3)
    torch.testing.assert_close(linear(2 * regions) + linear(0 * regions), 2 * linear(regions))
    bent = nonlinear(2 * regions) + nonlinear(0 * regions)
    assert not torch.allclose(bent, 2 * nonlinear(regions))


def test_train_cam__background_prototypes_need_a_memory_of_the_background():
    with pytest.raises(ValueError, match=r"`rsa.background` needs .* `memory.background`"):
        TrainCam(rsa=Aggregation(background=True))


def test_forward__parametric_aggregation_is_learned():
    net = network(prototypes=3, attention="parametric").train()
    net.prototypes.normal_()
    net.prototypes_valid.fill_(True)
    net(torch.randn(1, 3, 32, 32)).final.sum().backward()
    gradients = [parameter.grad for parameter in net.aggregation.parameters()]
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert not hasattr(network(prototypes=3), "aggregation")


def test_final_head__per_class_is_a_head_for_each_class():
    head = final_head(4, 3, Head(depth=2, width=5), Aggregation(heads="per_class"))
    context = torch.randn(2, 8, 6, 6)
    reduced, maps = head[0](context), head(context)
    for label in range(3):
        x = reduced
        for layer in head[1:]:
            if isinstance(layer, torch.nn.Conv2d):
                rows = len(layer.weight) // 3  # this class's filters
                own = slice(label * rows, (label + 1) * rows)
                x = torch.nn.functional.conv2d(
                    x, layer.weight[own], layer.bias[own], padding=layer.padding
                )
            else:
                x = layer(x)
        torch.testing.assert_close(maps[:, label : label + 1], x)


def test_forward__runs_the_head_of_queries_where_asked():
    cfg = TrainCam(backbone=BACKBONE, head=Head(depth=0), rsc=Contrast(query="head"))
    net, image = CamNetwork(2, cfg), torch.randn(2, 3, 32, 32)
    maps = net(image, querying=True)
    assert maps.queries.shape == maps.features.shape
    assert not torch.equal(maps.queries, maps.features)
    maps = net(image)
    assert maps.queries is maps.features


def test_weights__come_back_with_prototypes_and_configuration(tmp_path):
    net = network(prototypes=3)
    net.prototypes.normal_()
    net.prototypes_valid.fill_(True)
    cfg = TrainCam(backbone=BACKBONE, head=Head(depth=1, width=8), rsa=net.rsa)
    save_weights(tmp_path / "w.safetensors", net, CLASSES, cfg)
    again = CamNetwork(2, read_config(tmp_path / "w.safetensors", TrainCam, CLASSES))
    again.load_state_dict(load_file(tmp_path / "w.safetensors"))
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net(image).final, again.eval()(image).final)


def test_read_config__other_classes_are_refused(tmp_path):
    net = network(enabled=False)
    save_weights(tmp_path / "w.safetensors", net, CLASSES, TrainCam(rsa=net.rsa))
    with pytest.raises(ConfigError, match="trained for cat, dog; the index has cow"):
        read_config(tmp_path / "w.safetensors", TrainCam, ("cow",))


def test_read_config__damaged_weights_are_named(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"cut off")
    with pytest.raises(ConfigError, match=r"w.safetensors: no usable weights"):
        read_config(tmp_path / "w.safetensors", TrainCam, CLASSES)
