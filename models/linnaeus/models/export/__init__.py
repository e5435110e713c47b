"""Writes models for other programs: version folders for the server, and ONNX.

`version_folder` writes the version folder of a model of the zoo (`torchscript`) or of a user's own TorchScript
(`torchscript_import`).
"""
