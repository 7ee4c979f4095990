"""The checks of the contract, a file for each kind of part."""
