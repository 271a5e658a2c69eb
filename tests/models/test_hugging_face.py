"""Hugging Face's models, tiny and with random weights: forward and generation with a cache of keys and values."""
from __future__ import annotations

import copy

import pytest
import torch

from .compare import DEVICE, close

transformers = pytest.importorskip("transformers")
VOCABULARY = 61
SMALL = dict(vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def gpt2():
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(
        **SMALL, n_positions=64, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        **SMALL, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64))


def bert():
    return transformers.BertForMaskedLM(transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=0))


def padded():
    tokens = torch.randint(3, VOCABULARY, (2, 12))
    mask = torch.ones_like(tokens)
    mask[1, :4] = 0    # on the left, as generation wants it
    return tokens, mask


@pytest.mark.parametrize("make", [gpt2, llama, bert])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_forward(make, attention):
    model = make().eval()
    model.set_attn_implementation(attention)
    ours = copy.deepcopy(model).to(DEVICE)
    tokens, mask = padded()
    with torch.no_grad():
        want = model(tokens, attention_mask=mask).logits
        got = ours(tokens.to(DEVICE), attention_mask=mask.to(DEVICE)).logits
    close(got, want, "logits")


@pytest.mark.parametrize("make", [gpt2, llama])
@pytest.mark.parametrize("settings", [dict(do_sample=False), dict(do_sample=False, num_beams=3)], ids=["greedy", "beams"])
def test_generate(make, settings):
    model = make().eval()
    ours = copy.deepcopy(model).to(DEVICE)
    tokens, mask = padded()
    settings = dict(max_new_tokens=6, use_cache=True, pad_token_id=0, **settings)
    want = model.generate(tokens, attention_mask=mask, **settings)
    got = ours.generate(tokens.to(DEVICE), attention_mask=mask.to(DEVICE), **settings)
    assert got.device.type == DEVICE
    assert want.size(1) > tokens.size(1)
    assert torch.equal(got.cpu(), want)


def test_sampling_is_reproducible():
    model = gpt2().eval().to(DEVICE)
    tokens, mask = (t.to(DEVICE) for t in padded())
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(model.generate(tokens, attention_mask=mask, max_new_tokens=6, do_sample=True, top_k=20, top_p=0.9, pad_token_id=0).cpu())
    assert torch.equal(*drawn)


@pytest.mark.parametrize("make", [gpt2, llama, bert])
def test_gradients(make):
    model = make().eval()
    ours = copy.deepcopy(model).to(DEVICE)
    tokens, mask = padded()
    losses = []
    for side, device in ((model, "cpu"), (ours, DEVICE)):
        loss = side(tokens.to(device), attention_mask=mask.to(device), labels=tokens.to(device)).loss
        loss.backward()
        losses.append(loss)
    close(losses[1], losses[0], "loss")
    theirs = dict(model.named_parameters())
    for name, parameter in ours.named_parameters():
        close(parameter.grad, theirs[name].grad, f"gradient of {name}")
