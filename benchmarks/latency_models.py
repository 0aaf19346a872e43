"""Whole models that a latency model is judged on: classic families at random widths, depths and resolutions.

Convolutional families are built from the zoo's blocks, transformers and most modern networks by Hugging Face's own
code. `variant(family, seed)` is one of them; `low_rank` factorizes its layers; pruning and bits are passes and
act on the captured program.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from zoo.convolutional import Branches, Dense, Inverted, Residual, Shuffle, SqueezeExcite, conv

from compressor.devices.latency.networks.parts import settle

__all__ = ["FAMILIES", "TRANSFORMERS", "Variant", "dropped", "low_rank", "variant"]


@dataclass(frozen=True)
class Variant:
    """A module with random weights and one batch of two."""

    family: str
    seed: int
    module: nn.Module
    args: tuple[Tensor, ...] = ()
    kwargs: dict[str, Tensor] = field(default_factory=dict)


def variant(family: str, seed: int) -> Variant:
    """The same one each time."""
    torch.manual_seed(seed)
    draw = random.Random(f"{family} {seed}")
    module, inputs = FAMILIES[family](draw)
    if isinstance(inputs, dict):
        return Variant(family, seed, module.eval(), (), inputs)
    settle(module.eval(), inputs)
    return Variant(family, seed, module, inputs)


@torch.no_grad()
def low_rank(module: nn.Module, share: float, smallest: int = 64) -> int:
    """Replace linear layers and 1×1 convolutions in place by pairs of `share` of their full rank; how many."""
    count = 0
    for name, child in list(module.named_children()):
        pair = _pair(child, share, smallest)
        if pair is None:
            count += low_rank(child, share, smallest)
        else:
            setattr(module, name, pair.eval())
            count += 1
    return count


def _pair(layer: nn.Module, share: float, smallest: int) -> nn.Module | None:
    weight = getattr(layer, "weight", None)
    if weight is None or weight.dim() < 2 or min(weight.shape[:2]) < smallest:
        return None
    rank = max(8, round(share * min(weight.shape[:2])))
    if type(layer) is nn.Linear:
        bias = layer.bias is not None
        return nn.Sequential(nn.Linear(layer.in_features, rank, False), nn.Linear(rank, layer.out_features, bias))
    if type(layer) is nn.Conv2d and layer.kernel_size == (1, 1) and layer.groups == 1 and layer.stride == (1, 1):
        first = nn.Conv2d(layer.in_channels, rank, 1, bias=False)
        return nn.Sequential(first, nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None))
    return None


def dropped(module: nn.Module) -> int:
    """Take out every other block that leaves its input's shape alone, in place; how many went."""
    count = 0
    for name, child in list(module.named_children()):
        if isinstance(child, nn.ModuleList) and len(child) > 1 and _is_stack(child):
            setattr(module, name, nn.ModuleList(list(child)[::2]))
            count += len(child) // 2
        else:
            count += dropped(child)
    blocks = [name for name, child in module.named_children() if _keeps_shape(child)]
    for name in blocks[1::2]:
        setattr(module, name, nn.Identity())
    return count + len(blocks[1::2])


def _is_stack(layers: nn.ModuleList) -> bool:
    """Whether all blocks are alike and hold the same shapes: a transformer's layers, not its stages."""
    if len({type(block) for block in layers}) > 1:
        return False
    return len({tuple(tuple(p.shape) for p in block.parameters()) for block in layers}) == 1


def _keeps_shape(block: nn.Module) -> bool:
    if isinstance(block, Residual):
        return isinstance(block.shortcut, nn.Identity)
    return isinstance(block, Inverted) and bool(block.residual)


Built = tuple[nn.Module, Any]


def _wide(draw: random.Random, width: float, low: float = 0.5, high: float = 1.3, multiple: int = 8) -> int:
    return max(multiple, round(width * draw.uniform(low, high) / multiple) * multiple)


def _side(draw: random.Random, *sides: int) -> int:
    return draw.choice(sides or (128, 160, 192, 224))


def _images(side: int) -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, side, side),)


def _pooled(width: int, classes: int = 1000) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]


def _alexnet(draw: random.Random) -> Built:
    c = [_wide(draw, width) for width in (64, 192, 384, 256, 256)]
    hidden, kernel, size = draw.choice((512, 1024, 2048)), draw.choice((3, 5)), draw.choice((9, 11))
    return nn.Sequential(
        nn.Conv2d(3, c[0], size, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(c[0], c[1], kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(c[1], c[2], 3, padding=1), nn.ReLU(), nn.Conv2d(c[2], c[3], 3, padding=1), nn.ReLU(),
        nn.Conv2d(c[3], c[4], 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Dropout(),
        nn.Linear(c[4] * 36, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(),
        nn.Linear(hidden, 1000),
    ), _images(224)  # fmt: skip


def _vgg(draw: random.Random) -> Built:
    layers: list[nn.Module] = []
    inside, norm = 3, draw.random() < 0.5
    side = _side(draw, 96, 112, 128, 160)
    for width, most in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        out = _wide(draw, width, 0.3, 0.8)
        for _ in range(draw.randint(1, most)):
            layers += [nn.Conv2d(inside, out, 3, padding=1), *([nn.BatchNorm2d(out)] if norm else []), nn.ReLU()]
            inside = out
        layers.append(nn.MaxPool2d(2))
    hidden = draw.choice((256, 512, 1024))
    head = [nn.Flatten(), nn.Linear(inside * (side // 32) ** 2, hidden), nn.ReLU(), nn.Linear(hidden, 1000)]
    return nn.Sequential(*layers, *head), _images(side)


def _resnet(draw: random.Random, block: str) -> Built:
    width, excite = _wide(draw, 64, 0.4, 1.0), draw.random() < 0.15
    groups = draw.choice((1, 1, 1, 8)) if block == "bottleneck" else 1
    layers: list[nn.Module] = [conv(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inside, times = width, 4 if block == "bottleneck" else 1
    for stage in range(4):
        middle = _wide(draw, width * 2**stage, 0.8, 1.2)
        out = middle * times
        for index in range(draw.randint(1, 3)):
            stride = 2 if index == 0 and stage else 1
            body: list[nn.Module] = (
                [conv(inside, middle, 1), conv(middle, middle, 3, stride, groups), conv(middle, out, 1, act=None)]
                if block == "bottleneck"
                else [conv(inside, middle, 3, stride), conv(middle, out, 3, act=None)]
            )
            body += [SqueezeExcite(out)] if excite else []
            shortcut = conv(inside, out, 1, stride, act=None) if stride > 1 or inside != out else None
            layers.append(Residual(nn.Sequential(*body), shortcut, nn.ReLU()))
            inside = out
    return nn.Sequential(*layers, *_pooled(inside)), _images(_side(draw))


def _densenet(draw: random.Random) -> Built:
    growth = draw.choice((12, 16, 24, 32))
    inside = 2 * growth
    layers: list[nn.Module] = [conv(3, inside, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for stage, most in enumerate((5, 6, 8, 6)):
        depth = draw.randint(2, most)
        layers.append(Dense(inside, growth, depth))
        inside += depth * growth
        if stage < 3:
            out = inside // 2
            layers += [nn.BatchNorm2d(inside), nn.ReLU(), nn.Conv2d(inside, out, 1, bias=False), nn.AvgPool2d(2)]
            inside = out
    return nn.Sequential(*layers, nn.BatchNorm2d(inside), nn.ReLU(), *_pooled(inside)), _images(_side(draw))


def _squeezenet(draw: random.Random) -> Built:
    inside = _wide(draw, 64)
    layers: list[nn.Module] = [
        nn.Conv2d(3, inside, draw.choice((3, 7)), 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
    ]
    for index, (squeezed, out) in enumerate(
        ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
    ):
        squeezed, out = _wide(draw, squeezed), _wide(draw, out)
        wide = Branches(
            nn.Sequential(nn.Conv2d(squeezed, out, 1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(squeezed, out, 3, padding=1), nn.ReLU()),
        )
        layers += [nn.Conv2d(inside, squeezed, 1), nn.ReLU(), wide]
        inside = 2 * out
        layers += [nn.MaxPool2d(3, 2, ceil_mode=True)] if index in (1, 3) else []
    layers += [nn.Dropout(), nn.Conv2d(inside, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers), _images(_side(draw))


def _googlenet(draw: random.Random) -> Built:
    def block(inside: int, sizes: tuple[int, ...]) -> tuple[nn.Module, int]:
        a, b, c, d, e, f = (_wide(draw, size) for size in sizes)
        module = Branches(
            conv(inside, a, 1), nn.Sequential(conv(inside, b, 1), conv(b, c)),
            nn.Sequential(conv(inside, d, 1), conv(d, e, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(inside, f, 1)),
        )  # fmt: skip
        return module, a + c + e + f

    first, second = _wide(draw, 64), _wide(draw, 192)
    layers: list[nn.Module] = [conv(3, first, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), conv(first, first, 1)]
    layers += [conv(first, second), nn.MaxPool2d(3, 2, ceil_mode=True)]
    inside = second
    for index, sizes in enumerate((
        (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64),
        (256, 160, 320, 32, 128, 128),
    )):  # fmt: skip
        module, inside = block(inside, sizes)
        layers += [module, *([nn.MaxPool2d(3, 2, ceil_mode=True)] if index in (1, 3) else [])]
    return nn.Sequential(*layers, *_pooled(inside)), _images(_side(draw))


def _shufflenet(draw: random.Random) -> Built:
    inside, stem = 24, 24
    layers: list[nn.Module] = [conv(3, stem, 3, 2), nn.MaxPool2d(3, 2, 1)]
    for width, depth in zip((116, 232, 464), (3, 6, 3), strict=True):
        out = _wide(draw, width, 0.4, 1.4, 4)
        for index in range(draw.randint(2, depth + 1)):
            layers.append(Shuffle(inside, out, 2 if index == 0 else 1))
            inside = out
    last = _wide(draw, 1024, 0.5, 1.0)
    return nn.Sequential(*layers, conv(inside, last, 1), *_pooled(last)), _images(_side(draw))


def _mobile(
    draw: random.Random, stages: tuple[tuple[int, ...], ...], act: Any, gate: Any, sizes: tuple[int, ...]
) -> Built:
    inside = _wide(draw, 32, 0.5, 1.0)
    layers: list[nn.Module] = [conv(3, inside, 3, 2, act=act)]
    for expand, width, depth, stride in stages:
        out, size = _wide(draw, width, 0.5, 1.2), draw.choice(sizes)
        excited = gate if gate is not None and draw.random() < 0.7 else None
        for index in range(draw.randint(1, depth)):
            times = expand if expand == 1 else draw.choice((3, 4, 6))
            layers.append(Inverted(inside, out, stride if index == 0 else 1, times, size, act, excited))
            inside = out
    last = _wide(draw, 1280, 0.5, 1.0)
    return nn.Sequential(*layers, conv(inside, last, 1, act=act), *_pooled(last)), _images(_side(draw))


_V3 = ((1, 16, 1, 1), (4, 24, 2, 2), (4, 40, 3, 2), (6, 80, 4, 2), (6, 112, 2, 1), (6, 160, 3, 2))
_EFFICIENT = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 40, 2, 2),
    (6, 80, 3, 2),
    (6, 112, 3, 1),
    (6, 192, 3, 2),
    (6, 320, 1, 1),
)
_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _mobilenet_v1(draw: random.Random) -> Built:
    inside = _wide(draw, 32, 0.4, 1.0)
    layers: list[nn.Module] = [conv(3, inside, 3, 2)]
    for width, stride in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        (512, 1),
        (512, 1),
        (1024, 2),
        (1024, 1),
    ):
        out = _wide(draw, width, 0.4, 1.0)
        layers += [conv(inside, inside, draw.choice((3, 3, 5)), stride, inside), conv(inside, out, 1)]
        inside = out
    return nn.Sequential(*layers, *_pooled(inside)), _images(_side(draw))


def _hugging(kind: str, head: str, **sizes: Any) -> nn.Module:
    import transformers

    config = transformers.AutoConfig.for_model(kind, **sizes)
    model: nn.Module = getattr(transformers, head)(config)
    return model


def _pixels(side: int) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(2, 3, side, side)}


def _convnext(draw: random.Random) -> Built:
    width, side = _wide(draw, 64, 0.5, 1.2), _side(draw, 96, 128, 160)
    return _hugging(
        "convnext", "ConvNextForImageClassification", hidden_sizes=[width, 2 * width, 4 * width, 8 * width],
        depths=[draw.randint(1, 3), draw.randint(1, 3), draw.randint(1, 5), draw.randint(1, 2)], num_labels=1000,
    ), _pixels(side)  # fmt: skip


def _heads(draw: random.Random) -> tuple[int, int]:
    size = draw.choice((32, 64, 64))
    heads = draw.randint(3, 12) if size == 64 else draw.randint(4, 12)
    return heads, heads * size


def _vit(draw: random.Random) -> Built:
    heads, width = _heads(draw)
    patch, side = draw.choice(((16, 224), (16, 160), (16, 128), (32, 224), (14, 112), (8, 64)))
    return _hugging(
        draw.choice(("vit", "deit")), "ViTForImageClassification", hidden_size=width, num_attention_heads=heads,
        num_hidden_layers=draw.randint(2, 8), intermediate_size=round(width * draw.choice((2, 3, 4))), image_size=side,
        patch_size=patch, num_labels=1000,
    ) if draw.random() < 0.6 else _hugging(
        "deit", "DeiTForImageClassification", hidden_size=width, num_attention_heads=heads,
        num_hidden_layers=draw.randint(2, 8), intermediate_size=round(width * draw.choice((2, 3, 4))), image_size=side,
        patch_size=patch, num_labels=1000,
    ), _pixels(side)  # fmt: skip


def _swin(draw: random.Random) -> Built:
    width = 32 * draw.choice((1, 2, 3))
    side, window, stages = draw.choice(((112, 7, 3), (128, 4, 3), (224, 7, 3), (128, 8, 3)))
    heads = max(1, width // 32)
    return _hugging(
        "swin", "SwinForImageClassification", image_size=side, patch_size=4, window_size=window, embed_dim=width,
        depths=[draw.randint(1, 2) for _ in range(stages)], num_heads=[heads * 2**i for i in range(stages)],
        mlp_ratio=draw.choice((2.0, 3.0, 4.0)), num_labels=1000,
    ), _pixels(side)  # fmt: skip


def _words(draw: random.Random, vocabulary: int) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(3, vocabulary, (2, draw.choice((16, 32, 64, 96, 128, 192))))}


def _bert(draw: random.Random) -> Built:
    heads, width = _heads(draw)
    vocabulary = draw.randint(2000, 30000)
    sizes = {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": draw.randint(2, 8),
        "vocab_size": vocabulary,
    }
    sizes["intermediate_size"] = round(width * draw.choice((2, 3, 4)))
    model = _hugging("bert", "BertForSequenceClassification", num_labels=draw.choice((2, 20)), **sizes)
    return model, _words(draw, vocabulary)


def _gpt(draw: random.Random) -> Built:
    heads, width = _heads(draw)
    vocabulary = draw.randint(500, 8000)
    return _hugging(
        "gpt2", "GPT2LMHeadModel", n_embd=width, n_head=heads, n_layer=draw.randint(2, 8), vocab_size=vocabulary,
        n_inner=round(width * draw.choice((2, 3, 4))), use_cache=False,
    ), _words(draw, vocabulary)  # fmt: skip


def _llama(draw: random.Random) -> Built:
    heads, width = _heads(draw)
    vocabulary = draw.randint(500, 8000)
    shared = heads // 2 if heads % 2 == 0 and draw.random() < 0.5 else heads
    return _hugging(
        "llama", "LlamaForCausalLM", hidden_size=width, num_attention_heads=heads, num_key_value_heads=shared,
        num_hidden_layers=draw.randint(2, 6), intermediate_size=round(width * draw.choice((2, 2.7, 3.5)) / 8) * 8,
        vocab_size=vocabulary, use_cache=False,
    ), _words(draw, vocabulary)  # fmt: skip


FAMILIES: dict[str, Callable[[random.Random], Built]] = {
    "alexnet": _alexnet,
    "vgg": _vgg,
    "resnet": lambda draw: _resnet(draw, "basic"),
    "resnet-bottleneck": lambda draw: _resnet(draw, "bottleneck"),
    "densenet": _densenet,
    "squeezenet": _squeezenet,
    "googlenet": _googlenet,
    "shufflenet-v2": _shufflenet,
    "mobilenet-v1": _mobilenet_v1,
    "mobilenet-v2": lambda draw: _mobile(draw, _V2, nn.ReLU6, None, (3, 3, 5)),
    "mobilenet-v3": lambda draw: _mobile(draw, _V3, nn.Hardswish, nn.Hardsigmoid, (3, 5)),
    "efficientnet": lambda draw: _mobile(draw, _EFFICIENT, nn.SiLU, nn.Sigmoid, (3, 5)),
    "convnext": _convnext,
    "vit": _vit,
    "swin": _swin,
    "bert": _bert,
    "gpt": _gpt,
    "llama": _llama,
}
TRANSFORMERS = ("convnext", "vit", "swin", "bert", "gpt", "llama")  # their linear layers take weights in blocks
