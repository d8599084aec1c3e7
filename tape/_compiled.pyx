"""The one shared object of all that is compiled: it finds and loads the modules in it.

Note [One object]: a shared object for each module costs some 10 kB and a search for its file, and
puts what one op runs, a dozen modules, at places in the instruction cache that nobody chose. In one
object the linker lays what is hot together and what handles errors apart. So setup.py compiles each
module by itself, gives the function that starts it a name of its own, and links them all with this
one, the only one that Python finds by its file. `import tape` begins here: from then on this loader
is asked first. It is how PEP 489 wants a module of several made: create it, then run it.
"""

import os
import sys
from importlib.util import spec_from_file_location

from cpython.object cimport PyObject

cdef extern from *:
    """
    #define MODULE(name, start) PyMODINIT_FUNC start(void);
    #include "modules.h"
    #undef MODULE
    #define MODULE(name, start) {name, start},
    static const struct { const char *name; PyObject *(*start)(void); } parts[] = {
    #include "modules.h"
        {NULL, NULL},
    };
    """
    ctypedef struct Part:
        const char* name
        PyObject* (*start)()
    const Part* parts
    ctypedef struct PyModuleDef
    object PyModule_FromDefAndSpec(PyModuleDef* definition, object spec)
    PyModuleDef* PyModule_GetDef(object module) except NULL
    int PyModule_ExecDef(object module, PyModuleDef* definition) except -1


cdef dict listed():
    """The place in `parts` of each module, by name."""
    cdef dict found = {}
    cdef Py_ssize_t i = 0
    while parts[i].name is not NULL:
        found[parts[i].name.decode()] = i
        i += 1
    return found


class Loader:
    """What importlib asks for the modules in this object."""

    places = listed()

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        """The spec of a module that is in here, else None.

        Raises:
            ModuleNotFoundError: its source is here, but it was written after this object was built.
        """
        if name in cls.places:
            return spec_from_file_location(name, __file__, loader=cls)
        if name.startswith("tape."):
            here = os.path.dirname(os.path.dirname(__file__))
            if os.path.exists(os.path.join(here, *name.split(".")) + ".pyx"):
                message = f"{name} is not in {__file__}: build it again, see CONTRIBUTING.md"
                raise ModuleNotFoundError(message, name=name)
        return None

    @classmethod
    def create_module(cls, spec):
        """The module, not run yet."""
        cdef Py_ssize_t place = cls.places[spec.name]
        return PyModule_FromDefAndSpec(<PyModuleDef*>parts[place].start(), spec)

    @staticmethod
    def exec_module(module):
        """Run it."""
        PyModule_ExecDef(module, PyModule_GetDef(module))


sys.meta_path.insert(0, Loader)
