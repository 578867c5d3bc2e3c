"""``QuantBiLSTM``: the student with an int8 embedding and an int8 LSTM, for ONNX Runtime."""
