"""Ranks among real pictures of the same group, against a plain sort."""

import pytest
import torch

from grn.errors import UsageError
from grn.evaluation.neighbours import Label, match, share_within


def test_ranks_equal_a_plain_sort_within_the_group():
    generator = torch.Generator().manual_seed(0)
    labels = [Label(f"name {i}", group) for group in ("noto", "3d") for i in range(8)]
    gallery = torch.randn(16, 5, generator=generator) * torch.rand(16, 1, generator=generator)
    queries = torch.randn(16, 5, generator=generator)
    found = match(queries, labels, gallery, labels)
    for query, label, m in zip(queries, labels, found, strict=True):
        own = [i for i, other in enumerate(labels) if other.group == label.group]
        order = sorted(own, key=lambda i: -torch.cosine_similarity(query, gallery[i], dim=0).item())
        assert [labels[i].name for i in order].index(label.name) + 1 == m.rank
        assert m.nearest == labels[order[0]].name
    assert len({m.rank for m in found}) > 2


def test_of_several_pictures_with_the_name_the_nearest_counts():
    gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    labels = [Label("cat", "noto"), Label("cat", "noto"), Label("dog", "noto")]
    (found,) = match(torch.tensor([[0.1, 1.0]]), [Label("cat", "noto")], gallery, labels)
    assert (found.rank, found.nearest) == (1, "cat")
    (found,) = match(torch.tensor([[0.55, 0.8]]), [Label("cat", "noto")], gallery, labels)
    assert (found.rank, found.nearest) == (2, "dog")


def test_share_within_counts_ranks():
    labels = [Label(str(i), "g") for i in range(4)]
    gallery = torch.eye(4)
    queries = torch.tensor([[1.0, 0, 0, 0], [1, 0.9, 0, 0], [1, 0.9, 0.8, 0], [1, 0.9, 0.8, 0.7]])
    found = match(queries, labels, gallery, labels)
    assert [m.rank for m in found] == [1, 2, 3, 4]
    assert [share_within(found, k) for k in (1, 2, 5)] == [0.25, 0.5, 1.0]


def test_a_name_that_the_gallery_lacks_is_refused():
    with pytest.raises(UsageError, match=r"'dog' in 'noto'.*--among"):
        match(torch.ones(1, 2), [Label("dog", "noto")], torch.ones(2, 2), [Label("cat", "noto"), Label("dog", "3d")])
