"""Makes int8 versions of float32 versions, by NNCF's quantization after training, and judges them.

`pictures` reads the pictures, `split` divides them into those to calibrate by and those to judge by, `conversion`
makes an OpenVINO model of an artifact, `int8` quantizes it, `agreement` judges what came of it, and `quantize` writes
the version. Nothing here prints or parses a command line.
"""
