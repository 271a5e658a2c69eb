"""Elements more than 2^31 bytes, and more than 2^31 elements, apart: views of a large block of which little is touched."""
import pytest
import torch

from .families import DEVICE

FAR = 2**30 + 12          # elements between the rows of a view: its third row begins beyond 2^31
FLOAT_FAR = 2**29 + 20    # of four bytes: the second row does


@pytest.fixture(scope="module")
def memory():
    block = torch.empty(4 * FAR + 4096, dtype=torch.int8, device=DEVICE)      # nothing is written: no memory is taken
    yield block
    del block
    torch.usbgpu.empty_cache()


def rows(memory, dtype=torch.int8):
    """Three rows of eight, far apart, with known values: (the view, the same on the CPU)."""
    if dtype == torch.float32:
        view = memory[:(memory.numel() // 4) * 4].view(torch.float32).as_strided((2, 8), (FLOAT_FAR, 1), 5)
    else:
        view = memory.as_strided((3, 8), (FAR, 1), 3)
    values = ((torch.arange(view.numel()) * 7) % 23 - 11).reshape(view.shape).to(dtype)
    view.copy_(values)
    return view, values


OPERATIONS = {
    "add": lambda x: x + x,
    "transposed": lambda x: x.t() * 2,
    "compare": lambda x: x > 0,
    "cast": lambda x: x.to(torch.float64),
    "where": lambda x: torch.where(x > 0, x, -x),
    "clone": lambda x: x.clone(),
    "sum": lambda x: x.sum(),
    "sum of rows": lambda x: x.sum(1),
    "sum of columns": lambda x: x.sum(0),
    "amax": lambda x: x.amax(0),
    "argmin": lambda x: x.argmin(1),
    "any": lambda x: (x == 3).any(),
    "cumsum": lambda x: x.cumsum(0),
    "cummax": lambda x: x.cummax(0).values,
    "sort": lambda x: x.sort(0).values,
    "topk": lambda x: x.topk(2, 1).values,
    "unique": lambda x: x.unique(),
    "index": lambda x: x[torch.tensor([1, 0], device=x.device)],
    "index_select": lambda x: x.index_select(0, torch.tensor([1, 1], device=x.device)),
    "gather": lambda x: x.gather(0, torch.ones(1, 8, dtype=torch.long, device=x.device)),
    "take": lambda x: x.take(torch.tensor([15, 2, 9], device=x.device)),
    "masked_select": lambda x: x.masked_select(x > 0),
    "nonzero": lambda x: (x > 4).nonzero(),
    "cat": lambda x: torch.cat([x, x], 0),
    "stack": lambda x: torch.stack([x, x], 1),
    "flip": lambda x: x.flip(0),
    "roll": lambda x: x.roll(1, 0),
    "tril": lambda x: x.tril(),
    "last row": lambda x: x[-1] + 1,
    "equal": lambda x: torch.tensor(torch.equal(x, x.clone())),
}
FLOATING = {
    "softmax": lambda x: x.softmax(1),
    "mm": lambda x: x @ x.t(),
    "layer_norm": lambda x: torch.nn.functional.layer_norm(x, (8,)),
    "norm": lambda x: x.norm(dim=1),
    "var": lambda x: x.var(0),
    "gelu": lambda x: torch.nn.functional.gelu(x),
    "embedding": lambda x: torch.nn.functional.embedding(torch.tensor([1, 0, 1], device=x.device), x),
    "pad": lambda x: torch.nn.functional.pad(x, (1, 1), mode="reflect"),
    "max_pool": lambda x: torch.nn.functional.max_pool1d(x, 2),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_reading(memory, name):
    x, expected = rows(memory)
    torch.testing.assert_close(OPERATIONS[name](x).cpu(), OPERATIONS[name](expected))


@pytest.mark.parametrize("name", {**OPERATIONS, **FLOATING})
def test_reading_floats(memory, name):
    x, expected = rows(memory, torch.float32)
    run = {**OPERATIONS, **FLOATING}[name]
    torch.testing.assert_close(run(x).cpu(), run(expected))


WRITES = {
    "fill": lambda x: x.fill_(3),
    "zero": lambda x: x.zero_(),
    "in place": lambda x: x.add_(x),
    "column": lambda x: x[:, 2:5].mul_(2),
    "out": lambda x: torch.mul(x[0], 2, out=x[1]),
    "out of all": lambda x: torch.add(torch.ones_like(x.contiguous()), 1, out=x),
    "masked_fill": lambda x: x.masked_fill_(x > 0, 1),
    "index_put": lambda x: x.__setitem__((torch.tensor([1], device=x.device), torch.tensor([7], device=x.device)), 5),
    "index_fill": lambda x: x.index_fill_(0, torch.tensor([1], device=x.device), 4),
    "index_add": lambda x: x.index_add_(0, torch.tensor([1, 0], device=x.device), x[:2].clone()),
    "scatter": lambda x: x.scatter_(0, torch.ones(1, 8, dtype=torch.long, device=x.device), 2),
    "cumsum out": lambda x: torch.cumsum(x.clone(), 0, out=x) if x.dtype.is_floating_point else x,
    "from the host": lambda x: x[1:].copy_(torch.arange(8)),
    "put": lambda x: x.put_(torch.tensor([15, 0], device=x.device), x[0, :2].clone()),
    "swap": lambda x: x.copy_(x.flip(0)),
}


@pytest.mark.parametrize("dtype", (torch.int8, torch.float32), ids=str)
@pytest.mark.parametrize("name", WRITES)
def test_writing(memory, name, dtype):
    x, expected = rows(memory, dtype)
    WRITES[name](x)
    WRITES[name](expected)
    assert torch.equal(x.cpu(), expected)


def test_numbers_of_elements_beyond_32_bits(memory):
    """What never looks at the elements: shapes, offsets, views."""
    wide = torch.zeros(1, device=DEVICE).expand(2**33)
    assert wide.numel() == 2**33 and wide[2**32 + 5].item() == 0
    assert wide.view(2**11, 2**22)[2**10, 7].item() == 0
    x = memory[-3:]
    assert x.storage_offset() > 2**32
    x.copy_(torch.tensor([1, 2, 3], dtype=torch.int8))
    assert x.tolist() == [1, 2, 3] and memory[-2].item() == 2
    i = torch.tensor([memory.numel() - 1, memory.numel() - 3], device=DEVICE)
    assert memory.index_select(0, i).tolist() == [3, 1]
    assert memory[i].tolist() == [3, 1] and memory.take(i).tolist() == [3, 1] and memory.gather(0, i).tolist() == [3, 1]
    memory.index_put_((i,), torch.tensor([9, 8], dtype=torch.int8, device=DEVICE))
    assert memory[-3:].tolist() == [8, 2, 9]
    memory.index_fill_(0, i[:1], 4)
    assert memory[-1].item() == 4
    with pytest.raises(IndexError):
        memory[i + 1].cpu()
