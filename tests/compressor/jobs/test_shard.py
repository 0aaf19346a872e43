"""Every job is of one shard, and what is none is refused."""

from __future__ import annotations

import pytest

from compressor.errors import InputError
from compressor.jobs.shard import Shard, parse_shard


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_job_is_of_one_shard(count: int) -> None:
    shards = [parse_shard(f"{index}/{count}") for index in range(1, count + 1)]
    for position in range(20):
        assert sum(shard.has(position) for shard in shards) == 1
    assert max(sum(shard.has(p) for p in range(20)) for shard in shards) <= -(-20 // count)
    assert str(shards[-1]) == f"{count}/{count}"


def test_none_is_all() -> None:
    assert parse_shard(None) == Shard(1, 1)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "a/b", "-1/3", "1/3/3", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no shard") as told:
        parse_shard(text)
    assert told.value.where == "--shard"
