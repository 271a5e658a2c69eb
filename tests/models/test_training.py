"""Models of the kinds people train, each against the CPU, with no operator on the CPU."""
from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from . import networks
from .compare import forward, train

STEPS = 3


def images(channels=3, size=12, batch=4, classes=5):
    return [(torch.randn(batch, channels, size, size), torch.randint(classes, (batch,))) for _ in range(STEPS)]


def lambda_module(call, model):
    class Call(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *inputs):
            return call(self.model, *inputs)

    return Call()


def cross_entropy(model, x, y):
    return F.cross_entropy(model(x), y)


def test_mlp():
    model = nn.Sequential(nn.Linear(20, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 16), nn.SiLU(), nn.Linear(16, 5))
    train(model, [(torch.randn(8, 20), torch.randint(5, (8,))) for _ in range(STEPS)], cross_entropy)


def test_cnn_with_batch_norm():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    train(model, images(), cross_entropy)
    forward(model, torch.randn(2, 3, 12, 12))


def test_resnet18_forward():
    forward(networks.resnet18(width=8, classes=10), torch.randn(1, 3, 64, 64))


def test_resnet_block_training():
    train(networks.ResNet(blocks=(1, 1), width=8, classes=5), images(size=16), cross_entropy)


@pytest.mark.parametrize("fused", [None, True], ids=["foreach", "fused"])
def test_tiny_gpt(fused):
    model = networks.GPT(vocabulary=31, width=32, heads=4, layers=2, context=16)
    batches = [(torch.randint(31, (2, 16)), torch.randint(31, (2, 16))) for _ in range(STEPS)]
    train(model, batches, lambda m, x, y: F.cross_entropy(m(x).flatten(0, 1), y.flatten()),
          lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1, fused=fused))


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_encoder_training(norm_first):
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=norm_first, activation="gelu")
    model = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(32), enable_nested_tensor=False)
    mask = torch.zeros(3, 10, dtype=torch.bool)
    mask[1, 7:] = True
    batches = [(torch.randn(3, 10, 32), torch.randn(3, 10, 32), mask) for _ in range(STEPS)]
    train(model, batches, lambda m, x, y, pad: F.mse_loss(m(x, src_key_padding_mask=pad), y))


@pytest.mark.parametrize("norm_first, activation", [(False, "relu"), (True, "gelu")])
def test_transformer_encoder_inference(norm_first, activation):
    """One operator per layer, where nothing is trained."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=norm_first, activation=activation)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    forward(model, torch.randn(3, 10, 32))
    padding = torch.zeros(3, 10, dtype=torch.bool)
    padding[1, 7:] = True
    forward(lambda_module(lambda m, x, pad: m(x, src_key_padding_mask=pad), model), torch.randn(3, 10, 32), padding)
    causal = nn.Transformer.generate_square_subsequent_mask(10)
    forward(lambda_module(lambda m, x, mask: m(x, mask=mask), model), torch.randn(3, 10, 32), causal)


@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attention_inference(need_weights):
    attention = nn.MultiheadAttention(32, 4, batch_first=True)
    x, y = torch.randn(2, 6, 32), torch.randn(2, 9, 32)
    forward(lambda_module(lambda m, q, k: m(q, q, q, need_weights=need_weights), attention), x, y)
    forward(lambda_module(lambda m, q, k: m(q, k, k, need_weights=need_weights), attention), x, y)
    forward(lambda_module(lambda m, q, k: m(q, q, q, need_weights=need_weights, average_attn_weights=False), attention), x, y)


def test_transformer_seq2seq():
    model = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True)
    batches = [(torch.randn(2, 6, 16), torch.randn(2, 5, 16), torch.randn(2, 5, 16)) for _ in range(STEPS)]
    train(model, batches, lambda m, x, y, z: F.mse_loss(m(x, y, tgt_is_causal=True, tgt_mask=nn.Transformer.generate_square_subsequent_mask(5, device=x.device)), z))


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent(cell):
    model = networks.Recurrent(cell, vocabulary=17, width=12, classes=5)
    batches = [(torch.randint(17, (4, 7)), torch.randint(5, (4,))) for _ in range(STEPS)]
    train(model, batches, cross_entropy)


def test_autoencoder():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(4, 8, 4, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1), nn.Sigmoid())
    train(model, [(torch.rand(4, 1, 12, 12),) for _ in range(STEPS)], lambda m, x: F.mse_loss(m(x), x))


@pytest.mark.parametrize("upsample", ["nearest", "bilinear", "transposed"])
def test_unet(upsample):
    model = networks.UNet(width=4, upsample=upsample)
    batches = [(torch.randn(2, 1, 12, 12), (torch.rand(2, 1, 12, 12) < 0.5).float()) for _ in range(STEPS)]
    train(model, batches, lambda m, x, y: F.binary_cross_entropy_with_logits(m(x), y))


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
def test_recommender(mode):
    model = networks.Recommender(users=11, items=23, width=8, mode=mode)
    batches = [(torch.randint(11, (6,)), torch.randint(23, (19,)), torch.tensor([0, 3, 3, 8, 12, 15]), torch.rand(6))
               for _ in range(STEPS)]
    train(model, batches, lambda m, user, items, offsets, y: F.binary_cross_entropy(torch.sigmoid(m(user, items, offsets)), y),
          lambda p: torch.optim.Adagrad(p, lr=0.05))
