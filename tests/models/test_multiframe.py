"""AVE+MF and AVE+OF: shapes and sizes worked out by hand; but for the vision encoder they are AVE-Net."""

import pytest
import torch
from helpers import relative_error
from torch import nn

from configs.schema import Model
from models import build_net
from models.avenet import AVENet
from models.multiframe import AVENetMF, AVENetOF
from utils.health import health_metrics

LEADING = {AVENetMF: (3, 9), AVENetOF: (23,)}  # of the frames' shape, before height and width


def inputs(kind, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(count, *LEADING[kind], 32, 32, generator=generator)
    return frames, torch.randn(count, 1, 48, 32, generator=generator)


def small(kind, seed=0, **settings):
    torch.manual_seed(seed)
    return kind(**{"width": 4, "dim": 16} | settings)


def shapes(encoder, frames):
    """{name: shape of the output without the batch} of an encoder's layers."""
    seen = {}
    for name, layer in encoder.named_children():
        layer.register_forward_hook(lambda _, __, out, name=name: seen.update({name: tuple(out.shape[1:])}))
    with torch.no_grad():
        encoder.eval()(frames)
    return seen


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_mf_shapes_are_the_papers_across_the_picture_and_halve_in_time_at_each_pool():
    """(channels, time, height, width) of 25 frames; width 4 stands for the paper's 64."""
    assert shapes(AVENetMF(width=4).vision, torch.randn(1, 3, 25, 224, 224)) == {
        "conv1_1": (4, 25, 112, 112), "conv1_2": (4, 25, 112, 112), "pool1": (4, 12, 56, 56),
        "conv2_1": (8, 12, 56, 56), "conv2_2": (8, 12, 56, 56), "pool2": (8, 6, 28, 28),
        "conv3_1": (16, 6, 28, 28), "conv3_2": (16, 6, 28, 28), "pool3": (16, 3, 14, 14),
        "conv4_1": (32, 3, 14, 14), "conv4_2": (32, 3, 14, 14),
    }  # fmt: skip


def test_of_streams_are_three_blocks_each_and_join_before_conv4_1():
    net = AVENetOF(width=4)
    frames = torch.randn(1, 23, 224, 224)
    blocks = {
        "conv1_1": (4, 112, 112), "conv1_2": (4, 112, 112), "pool1": (4, 56, 56),
        "conv2_1": (8, 56, 56), "conv2_2": (8, 56, 56), "pool2": (8, 28, 28),
        "conv3_1": (16, 28, 28), "conv3_2": (16, 28, 28), "pool3": (16, 14, 14),
    }  # fmt: skip
    assert shapes(net.vision.frame, frames[:, :3]) == shapes(net.vision.flow, frames[:, 3:]) == blocks
    assert shapes(net.vision.both, torch.randn(1, 32, 14, 14)) == {"conv4_1": (32, 14, 14), "conv4_2": (32, 14, 14)}
    assert net.vision(frames).shape == (1, 32, 14, 14)


def test_the_frame_goes_into_one_stream_and_the_flow_into_the_other():
    net, (frames, _) = small(AVENetOF).eval(), inputs(AVENetOF, 2)
    seen = {}
    net.vision.frame.register_forward_pre_hook(lambda _, args: seen.update(frame=args[0]))
    net.vision.flow.register_forward_pre_hook(lambda _, args: seen.update(flow=args[0]))
    net.embed_frames(frames)
    assert torch.equal(seen["frame"], frames[:, :3]) and torch.equal(seen["flow"], frames[:, 3:])


def test_layers_are_of_three_dimensions_each_with_batch_norm_and_relu():
    kinds = [type(layer) for layer in AVENetMF(width=4).vision.modules() if not list(layer.children())]
    pair = [nn.Conv3d, nn.BatchNorm3d, nn.ReLU] * 2
    assert kinds == [*pair, nn.MaxPool3d, *pair, nn.MaxPool3d, *pair, nn.MaxPool3d, *pair]


def test_parameter_counts_are_those_worked_out_by_hand():
    """Convolutions have no bias; batch norm has a scale and a shift."""
    chain = (3, 64, 64, 128, 128, 256, 256, 512, 512)
    by_hand = sum(27 * chain[i] * chain[i + 1] + 2 * chain[i + 1] for i in range(8))
    plain = AVENet()
    assert count(AVENetMF().vision) == by_hand == 14_054_208
    # Two streams of conv1_1 .. conv3_2, of 3 and of 20 channels, then 256 + 256 -> 512 -> 512.
    stream = 128 + 36_992 + 73_984 + 147_712 + 295_424 + 590_336
    both = (9 * 512 * 512 + 1024) * 2
    of = AVENetOF()
    assert count(of.vision) == (9 * 3 * 64 + stream) + (9 * 20 * 64 + stream) + both == 7_023_040
    # All that comes after is AVE-Net's.
    for net in (AVENetMF(), of):
        assert count(net) - count(net.vision) == count(plain) - count(plain.vision) == 4_850_500
        rest = {name: p.shape for name, p in net.named_parameters() if not name.startswith("vision.")}
        assert rest == {name: p.shape for name, p in plain.named_parameters() if not name.startswith("vision.")}


def test_build_gives_the_streams_as_many_fields_as_the_data_has():
    net = build_net(Model(name="AVENet_OF", width=4), flow_fields=3)
    assert net.embed_frames(torch.randn(2, 9, 32, 32)).shape == (2, 128)
    assert build_net(Model(name="AVENet_OF", width=4)).vision.flow.conv1_1[0].in_channels == 20


@pytest.mark.parametrize("kind", LEADING, ids=lambda kind: kind.__name__)
def test_a_start_from_data_health_and_groups_are_as_of_avenet(kind):
    net = small(kind)
    frames, sounds = inputs(kind, 48)

    def alike():
        with torch.no_grad():
            v, a, logits = net.train()(frames, sounds)
        return health_metrics(v, a, logits, net.logit_scale())

    before = alike()
    net.data_dependent_init(frames, sounds)
    after = alike()
    assert before["cosine_frames"] > 0.6 and abs(after["cosine_frames"]) < 0.15 and after["logit_scale"] == 12
    body, decision = net.parameter_groups(20.0)
    grouped = [id(p) for group in (body, decision) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())


def test_every_frame_counts_and_so_does_their_order():
    net, (frames, sounds) = small(AVENetMF), inputs(AVENetMF, 48)
    net.data_dependent_init(frames, sounds)  # else all embeddings are nearly the same
    with torch.no_grad():
        plain = net.embed_frames(frames)
        assert not torch.allclose(plain, net.embed_frames(frames.flip(2)), atol=1e-2)
        for k in (0, 4, 7):  # the last of nine is left over by the pools, but conv1_2 has seen it
            other = frames.clone()
            other[:, :, k] = other[:, :, k].flip(0)  # of another clip
            assert not torch.allclose(plain, net.embed_frames(other), atol=1e-2)


def test_under_bf16_autocast_the_streams_run_in_bf16_and_the_head_in_float32():
    net, (frames, sounds) = small(AVENetOF).eval(), inputs(AVENetOF, 2)
    seen = []
    net.vision.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        v, a, logits = net(frames, sounds)
    assert seen == [torch.bfloat16] and v.dtype == a.dtype == logits.dtype == torch.float32


def test_on_a_cpu_gradients_of_3d_convolutions_are_right_under_autocast():
    """In bf16 some are whatever lay in memory: fill it with what shows."""
    net, (frames, _) = small(AVENetMF), inputs(AVENetMF, 4)
    found = []
    for enabled in (False, True):
        del [torch.full((1000 * k,), 1e20) for k in range(1, 60, 7)][:]
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = net.embed_frames(frames)[:, 0].sum()
        out.backward()
        found.append([p.grad.clone() for p in net.vision.parameters()])
    assert all(relative_error(a, b) < 1e-4 for a, b in zip(*found, strict=True))


def test_in_a_mirrored_frame_what_moved_to_the_right_moves_to_the_left():
    net = AVENetOF(4, 16, flow_fields=2)
    frames = torch.randn(2, 7, 6, 8)
    turned = net.flip_frames(frames)
    torch.testing.assert_close(turned[:, [0, 1, 2, 4, 6]], frames[:, [0, 1, 2, 4, 6]].flip(-1))
    torch.testing.assert_close(turned[:, [3, 5]], -frames[:, [3, 5]].flip(-1))
