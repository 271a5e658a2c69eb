"""Outputs that share memory with themselves or with operands: what the CPU refuses is refused, what it takes is right."""
import pytest
import torch

from .families import DEVICE, assert_same

# Each gets a vector of 24 numbers and may write to it; the result is the vector afterwards, or torch's error.
CASES = {
    # an output whose elements share memory
    "add to expanded": lambda x: x[:1].expand(4).add_(1),
    "add out expanded": lambda x: torch.add(x[:4], 1, out=x[4:5].expand(4)),
    "unary to expanded": lambda x: x[:1].expand(4).exp_(),
    "fill expanded": lambda x: x[:1].expand(4).fill_(2),
    "zero expanded": lambda x: x[:1].expand(4).zero_(),
    "copy to expanded": lambda x: x[:1].expand(4).copy_(torch.ones_like(x[:4])),
    "copy from the host to expanded": lambda x: x[:1].expand(4).copy_(torch.ones(4)),
    "random to expanded": lambda x: x[:1].expand(4).random_(0, 1),
    "masked_fill expanded": lambda x: x[:1].expand(4).masked_fill_(x[:4] > 0, 2),
    "scatter expanded": lambda x: x[:1].expand(4).scatter_(0, (x[:4] * 0).long(), 2),
    "index_fill expanded": lambda x: x[:1].expand(4).index_fill_(0, (x[:1] * 0).long(), 2),
    "index_add expanded": lambda x: x[:1].expand(4).index_add_(0, (x[:2] * 0).long(), x[2:4].clone()),
    "index_put expanded": lambda x: x[:1].expand(4).index_put_(((x[:1] * 0).long(),), x[3].clone()),
    "put expanded": lambda x: x[:1].expand(4).put_((x[:1] * 0).long(), x[3:4].clone()),
    "cumsum out expanded": lambda x: torch.cumsum(x[:4], 0, out=x[4:5].expand(4)),
    "sum out expanded": lambda x: torch.sum(x[:8].view(4, 2), 1, out=x[8:9].expand(4)),
    "clamp expanded": lambda x: x[:1].expand(4).clamp_(0, 1),
    "where out expanded": lambda x: torch.where(x[:4] > 2, x[:4], x[4:8], out=x[9:10].expand(4)),
    "mm out expanded": lambda x: torch.mm(x[:4].view(2, 2), x[:4].view(2, 2), out=x[8:9].expand(2, 2)),
    "cat out expanded": lambda x: torch.cat([x[:2], x[2:4]], out=x[8:9].expand(4)),
    # an output that overlaps an operand in part
    "add shifted": lambda x: torch.add(x[:8], 1, out=x[1:9]),
    "mul of views shifted": lambda x: x[1:9].mul_(x[:8]),
    "exp shifted": lambda x: torch.exp(x[:8], out=x[4:12]),
    "compare shifted": lambda x: x[1:9].lt_(x[:8]),
    "where shifted": lambda x: torch.where(x[:4] > 2, x[:4], x[4:8], out=x[2:6]),
    "cumsum shifted": lambda x: torch.cumsum(x[:8], 0, out=x[4:12]),
    "gather shifted": lambda x: torch.gather(x[:4], 0, (x[:4] * 0).long(), out=x[2:6]),
    "index_select shifted": lambda x: torch.index_select(x[:4], 0, (x[:4] * 0).long(), out=x[2:6]),
    "take shifted": lambda x: torch.take(x[:4], (x[:4] * 0).long(), out=x[2:6]),
    "masked_fill shifted": lambda x: x[1:5].masked_fill_(x[:4] > 1, x[2]),
    "scatter shifted": lambda x: x[1:5].scatter_(0, (x[:4] * 0).long(), x[:4]),
    "index_add shifted": lambda x: x[1:5].index_add_(0, (x[:2] * 0).long(), x[:2]),
    "index_put shifted": lambda x: x[1:5].index_put_(((x[:2] * 0).long(),), x[2:4]),
    "cat shifted": lambda x: torch.cat([x[:2], x[2:4]], out=x[1:5]),
    "masked_select shifted": lambda x: torch.masked_select(x[:4], x[:4] >= 0, out=x[2:6]),
    # the same memory, the same order: allowed
    "add to itself": lambda x: torch.add(x, x, out=x),
    "square in place": lambda x: x.mul_(x),
    "exp in place": lambda x: torch.exp(x, out=x),
    "cumsum in place": lambda x: x.cumsum_(0),
    "where in place": lambda x: torch.where(x > 2, x, -x, out=x),
    "copy of itself": lambda x: x.copy_(x),
    # disjoint, though interleaved
    "even from odd": lambda x: x[::2].add_(x[1::2]),
    "columns": lambda x: x.view(6, 4)[:, :2].copy_(x.view(6, 4)[:, 2:]),
    # the operand is all of the output, in another order
    "transposed copy": lambda x: x[:16].view(4, 4).copy_(x[:16].view(4, 4).t()),
    "transposed add": lambda x: x[:16].view(4, 4).add_(x[:16].view(4, 4).t()),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_overlap(name):
    x = torch.arange(24.0) % 5
    y = x.to(DEVICE)
    try:
        CASES[name](x)
    except RuntimeError as error:
        with pytest.raises(RuntimeError) as ours:
            CASES[name](y)
        words = str(error).split(".")[0]
        assert str(ours.value).split(".")[0] == words
        return
    CASES[name](y)
    assert_same(y, x)
