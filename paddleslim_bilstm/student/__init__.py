"""The student: a Bi-LSTM, its vocabulary, its embeddings from the teacher, its losses and its training."""
