"""Recorded graphs, to look into, to draw and to cut: walk, find, plot, sections as modules.

>>> import tape
>>> x = tape.tensor([1.0, 2.0]).named("x")
>>> y = (x * 2).named("doubled").sum()
>>> tape.graph.find(y, "doubled").tolist()
[2.0, 4.0]
"""

from tape.graph.clone import clone_function as clone_function
from tape.graph.clone import extract as extract
from tape.graph.clone import splice as splice
from tape.graph.plot import Plot as Plot
from tape.graph.plot import plot as plot
from tape.graph.walk import find as find
from tape.graph.walk import find_all as find_all
from tape.graph.walk import walk as walk
