"""What a training needs beside its network: precision, order, randomness, checkpoints, signals, journal, validation.

Nothing here touches BasicSR; `compat` and the models bring the two together.
"""
