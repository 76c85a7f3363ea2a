"""Weights of networks: the one reader of their files, and which network they are of.

It stands below the models, as a training reads weights as `dehaze` does. What a name such as `okdnet` stands for, the
weights that come with the package, lies in this folder: NAME.safetensors.
"""
