/* Where in the user's program an op is called: the innermost Python frame outside of tape's files.

   Two pointers are read, nothing is made: no frame object, no line number. The code object is a
   borrowed reference, the instruction is counted in bytes, as PyCode_Addr2Line wants it. */
#ifndef TAPE_FRAMES_H
#define TAPE_FRAMES_H

#include <Python.h>
#include <string.h>

#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#include "internal/pycore_frame.h"
#endif

/* The folder of tape's own files, set once when it is imported. */
typedef struct {
    const char *text;
    Py_ssize_t length;
} TapeFolder;

static inline int tape_is_in_folder(PyCodeObject *code, const TapeFolder *folder) {
    PyObject *name = code->co_filename;
    const Py_ssize_t last = folder->length - 1;
    if (!PyUnicode_IS_COMPACT_ASCII(name) || PyUnicode_GET_LENGTH(name) <= last)
        return 0;
    const Py_UCS1 *text = PyUnicode_1BYTE_DATA(name);
    /* The separator at the folder's end is most often not there: then nothing is called. */
    return text[last] == (Py_UCS1)folder->text[last] && memcmp(text, folder->text, (size_t)last) == 0;
}

/* Whether this is __array__ or __dlpack__ of tensors, by which others ask for a value. */
static inline int tape_exports(PyCodeObject *code) {
    return PyUnicode_CompareWithASCIIString(code->co_name, "array") == 0
        || PyUnicode_CompareWithASCIIString(code->co_name, "dlpack") == 0;
}

#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000

static inline PyObject *tape_caller(const TapeFolder *folder, int *lasti) {
#if PY_VERSION_HEX < 0x030D0000
    _PyInterpreterFrame *frame = PyThreadState_Get()->cframe->current_frame;
#else
    _PyInterpreterFrame *frame = PyThreadState_Get()->current_frame;
#endif
    for (; frame != NULL; frame = frame->previous) {
#if PY_VERSION_HEX < 0x030D0000
        PyCodeObject *code = frame->f_code;
#else
        PyCodeObject *code = (PyCodeObject *)frame->f_executable;
#endif
#if PY_VERSION_HEX >= 0x030C0000
        if (frame->owner == FRAME_OWNED_BY_CSTACK || !PyCode_Check(code)) continue;
#endif
        if (tape_is_in_folder(code, folder)) continue;
        *lasti = (int)sizeof(_Py_CODEUNIT) * _PyInterpreterFrame_LASTI(frame);
        return (PyObject *)code;
    }
    return NULL;
}

/* Whether the innermost Python frame, but for those that export values, is none of tape's files. */
static inline int tape_called_by_user(const TapeFolder *folder) {
#if PY_VERSION_HEX < 0x030D0000
    _PyInterpreterFrame *frame = PyThreadState_Get()->cframe->current_frame;
#define TAPE_CODE(frame) ((frame)->f_code)
#else
    _PyInterpreterFrame *frame = PyThreadState_Get()->current_frame;
#define TAPE_CODE(frame) ((PyCodeObject *)(frame)->f_executable)
#endif
    for (; frame != NULL; frame = frame->previous) {
        PyCodeObject *code = TAPE_CODE(frame);
#if PY_VERSION_HEX >= 0x030C0000
        if (frame->owner == FRAME_OWNED_BY_CSTACK || !PyCode_Check(code)) continue;
#endif
        if (!tape_is_in_folder(code, folder)) return 1;
        if (!tape_exports(code)) return 0;
    }
    return 0;
}

#else /* by the public calls, which may make frame objects */

#if PY_VERSION_HEX < 0x030B0000
#define TAPE_LASTI(frame) ((frame)->f_lasti * (int)sizeof(_Py_CODEUNIT))
#include <frameobject.h>
#else
#define TAPE_LASTI(frame) PyFrame_GetLasti(frame)
#endif

static inline PyObject *tape_caller(const TapeFolder *folder, int *lasti) {
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    PyObject *found = NULL;
    while (frame != NULL && found == NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        PyFrameObject *back = NULL;
        if (tape_is_in_folder(code, folder)) {
            back = PyFrame_GetBack(frame);
        } else {
            *lasti = TAPE_LASTI(frame);
            found = (PyObject *)code; /* alive while its frame runs */
        }
        Py_DECREF(code);
        Py_DECREF(frame);
        frame = back;
    }
    return found;
}

static inline int tape_called_by_user(const TapeFolder *folder) {
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    int answer = -1;
    while (frame != NULL && answer < 0) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        PyFrameObject *back = PyFrame_GetBack(frame);
        if (!tape_is_in_folder(code, folder))
            answer = 1;
        else if (!tape_exports(code))
            answer = 0;
        Py_DECREF(code);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    return answer == 1;
}

#endif
#endif
