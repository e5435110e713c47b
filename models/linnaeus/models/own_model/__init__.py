"""What a model file of a user's own is, and whether it can be served: for `linnaeus-zoo check` and `import`.

Nothing here unpickles a file. TorchScript is loaded and run; all other formats are recognized by their content.
"""
