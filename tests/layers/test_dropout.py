import pytest
import torch

from spacy_birnn.layers.dropout import locked_dropout


def test_a_mask_is_locked_within_a_sequence_and_fresh_for_each():
    lengths = torch.tensor([4, 0, 3, 1])
    dropped = locked_dropout(torch.ones(8, 50), lengths, 0.5).split(lengths.tolist())
    for rows in dropped:
        assert (rows == rows[:1]).all()
    first, third, fourth = (rows[0] for rows in dropped if len(rows))
    assert not torch.equal(first, third) and not torch.equal(third, fourth)


@pytest.mark.parametrize("rate", [0.2, 0.75])
def test_the_share_that_is_kept_is_scaled_up(rate):
    dropped = locked_dropout(torch.ones(1, 20000), torch.tensor([1]), rate)
    assert sorted(dropped.unique().tolist()) == pytest.approx([0, 1 / (1 - rate)])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)


def test_rate_0_changes_nothing():
    X = torch.randn(3, 2)
    assert torch.equal(locked_dropout(X, torch.tensor([1, 2]), 0.0), X)


def test_torchs_default_type_does_not_matter():
    X, lengths = torch.ones(5, 3, dtype=torch.float32), torch.tensor([2, 3])
    torch.set_default_dtype(torch.float64)
    try:
        assert locked_dropout(X, lengths, 0.5).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
