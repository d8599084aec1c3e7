"""Speed and memory of tape beside NumPy, PyTorch and JAX, measured in turns in one process.

Run `python -m benchmarks` from the project's folder (`--help` lists the options). How to read it:

* One line is one comparison: what tape took, against whom, what that one took, the ratio, and the
  range in which the middle half of the ratios fell. `3.2x the speed` means the other one needed
  3.2 times as long; a row about tape alone gives the plain quotient (`0.71x the time`).
* Contenders take turns within every round, in an order that rotates, so a machine that slows down
  or gets busy slows all of them; the ratio is the median over rounds of ratios within a round.
* With one thread the clock counts processor time, so that what other programs do meanwhile is left
  out; with more threads it is the clock on the wall. The line above the table says which.
* All see the same float32 data and the same number of threads (one unless `--threads` says more),
  the cycle collector is off while the clock runs (as in `timeit`), and where contenders compute
  the same thing their results are compared before any clock starts.
* `-` stands for a peer that is not installed. A line without a target is there for information.

Files: `row` says what a row is, `timing` runs contenders in turns, `rows_ops`, `rows_train` and
`rows_memory` declare the rows, `probe` is what memory rows run in a process of their own,
`networks` writes one training program in each library, `report` prints, `machine` sets threads.
"""
