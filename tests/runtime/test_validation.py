"""torch's check of the arguments of distributions, switched off for a while."""

from torch.distributions import Distribution

from vaeflow.runtime.validation import no_validation, validation_kept


def test_the_switch_is_turned_back():
    before = Distribution._validate_args
    with no_validation():
        assert not Distribution._validate_args
    assert Distribution._validate_args == before


def test_blocks_that_overlap_turn_it_back_at_the_last_end():
    """As in two threads, of which the first to begin is the first to end."""
    before = Distribution._validate_args
    first, second = no_validation(), no_validation()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not Distribution._validate_args
    second.__exit__(None, None, None)
    assert Distribution._validate_args == before


def test_an_import_decides_nothing():
    before = Distribution._validate_args
    with validation_kept():
        Distribution.set_default_validate_args(not before)
    assert Distribution._validate_args == before
