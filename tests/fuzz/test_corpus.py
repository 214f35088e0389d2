"""Every kept input, through its target once more: no fuzzer needed, so no target rots."""

import pytest

from .run import corpus_file, kept
from .seeds import SEEDS
from .targets import ALL, Target


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_the_kept_inputs_break_no_promise(target: Target) -> None:
    inputs = list(kept(target.name))
    assert len(inputs) > 10, corpus_file(target.name)
    for data in (b"", *SEEDS[target.name], *inputs):
        target.run(data)
