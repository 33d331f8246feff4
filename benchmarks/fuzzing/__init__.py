"""What others feed runner, mutated: targets, the corpora that they start from, and the child that runs them."""
