// SPDX-License-Identifier: Apache-2.0
/*
 * Calls into libc, for pyoci.kernel: what that needs of _ctypes, and no more. Built into runtime.c's interpreter.
 *
 * To load _ctypes, with libffi behind it, and to derive its classes takes 1.0 ms of each command. This takes 0.05, and a
 * call a third of the time. Where it is not built in, _ctypes does the same.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

enum { most_arguments = 7 };

/* What a function object holds, as the bytes that are its `self`. */
struct function {
    long (*address)(long, ...);
    int returns_long;
    Py_ssize_t count;
    char kinds[most_arguments + 1]; /* l: an integer; p: an address or None; s: bytes or None */
};

static int last_errno;

static int convert(char kind, PyObject *argument, long *result)
{
    if (kind != 'l' && argument == Py_None) {
        *result = 0;
    } else if (kind != 's') {
        *result = (long)PyLong_AsUnsignedLongMask(argument);
        return *result == -1 && PyErr_Occurred() ? -1 : 0;
    } else if (PyBytes_Check(argument)) {
        *result = (long)PyBytes_AS_STRING(argument);
    } else {
        PyErr_SetString(PyExc_TypeError, "a string for libc must be bytes");
        return -1;
    }
    return 0;
}

/* The interpreter's lock is held meanwhile: there is one thread, and what a clone3 leaves in the child must be sane. */
static PyObject *call(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    struct function function;
    long a[most_arguments] = {0};

    memcpy(&function, PyBytes_AS_STRING(self), sizeof function);
    if (count != function.count) {
        PyErr_Format(PyExc_TypeError, "takes %zd arguments, not %zd", function.count, count);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (convert(function.kinds[i], arguments[i], &a[i]))
            return NULL;
    errno = 0;
    long result = function.address(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    last_errno = errno;
    return PyLong_FromLong(function.returns_long ? result : (int)result);
}

static PyMethodDef call_method = {"function", (PyCFunction)(void (*)(void))call, METH_FASTCALL, NULL};

/* function(name, kinds): a function of libc. All return an int but syscall(2). */
static PyObject *make_function(PyObject *module, PyObject *arguments)
{
    struct function function = {0};
    const char *name, *kinds;

    if (!PyArg_ParseTuple(arguments, "ss", &name, &kinds))
        return NULL;
    function.count = strlen(kinds);
    function.returns_long = !strcmp(name, "syscall");
    *(void **)&function.address = dlsym(RTLD_DEFAULT, name);
    if (!function.address || function.count > most_arguments) {
        PyErr_Format(PyExc_AttributeError, "libc has no %s(%s)", name, kinds);
        return NULL;
    }
    strcpy(function.kinds, kinds);
    PyObject *self = PyBytes_FromStringAndSize((char *)&function, sizeof function);
    if (!self)
        return NULL;
    PyObject *made = PyCFunction_New(&call_method, self);
    Py_DECREF(self);
    return made;
}

/* address(bytearray, offset=0): where a byte of it is. It must outlive whatever goes by that, and keep its size. */
static PyObject *address(PyObject *module, PyObject *arguments)
{
    PyObject *array;
    long offset = 0;

    if (!PyArg_ParseTuple(arguments, "Y|l", &array, &offset))
        return NULL;
    return PyLong_FromUnsignedLong((unsigned long)PyByteArray_AS_STRING(array) + offset);
}

static PyObject *get_errno(PyObject *module, PyObject *nothing)
{
    return PyLong_FromLong(last_errno);
}

static PyMethodDef methods[] = {
    {"function", make_function, METH_VARARGS, NULL},
    {"address", address, METH_VARARGS, NULL},
    {"get_errno", get_errno, METH_NOARGS, NULL},
    {0},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_pyoci_calls", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__pyoci_calls(void)
{
    return PyModule_Create(&definition);
}
