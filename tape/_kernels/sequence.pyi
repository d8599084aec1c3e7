"""Recurrent layers over a whole sequence, as kernels of ops."""

__all__ = ["GRU", "GRU_GRAD", "LSTM", "LSTM_GRAD", "RNN", "RNN_GRAD", "Recurrent"]

class Recurrent: ...

RNN: Recurrent
RNN_GRAD: Recurrent
LSTM: Recurrent
LSTM_GRAD: Recurrent
GRU: Recurrent
GRU_GRAD: Recurrent
