"""What export.py writes: a net's weights and settings, and its computation as files for other programs."""

OPSET = 18  # of ONNX: what torch's exporter writes without a conversion
