"""Recorded graphs, to look into and to cut: walk, find, and sections as modules.

>>> import tape
>>> x = tape.tensor([1.0, 2.0]).named("x")
>>> y = (x * 2).named("doubled").sum()
>>> tape.graph.find(y, "doubled").tolist()
[2.0, 4.0]
"""

from tape.graph.clone import clone_function as clone_function
from tape.graph.clone import extract as extract
from tape.graph.clone import splice as splice
from tape.graph.walk import find as find
from tape.graph.walk import find_all as find_all
from tape.graph.walk import walk as walk
