// SPDX-License-Identifier: Apache-2.0
/*
 * The interpreter that pyoci runs in, where there was a compiler and Python's own library when it was installed: the same
 * Python, linked into a program of ours that starts no more of it than a command needs. Launcher.c executes it.
 *
 * `python3 -I -S -B` takes 5.6 ms to its first line, this 2.3. CPython starts in two phases (PEP 587): the core has the built-in types, the
 * built-in modules and what is needed to import them; the main phase finds the standard library, makes what imports from
 * files, loads codecs and opens the standard streams. No command does any of that on its usual way: the package comes from the archive,
 * codecs for UTF-8 are built in, and what is written goes through write(2). So the main phase comes with the first module
 * that the core cannot find (see `complete`): an explanation of what is wrong with a configuration, say.
 *
 * The functions that part the two are CPython's "private provisional API". Each is looked for when this is linked, and
 * where one is missing (a later Python, a shared library that hides it), all is started at once: slower by 2 ms, else the
 * same. `hack/install` tries what it has built, and goes without if that does not run. It is the same with modules that are
 * frozen (see `_Py_Deepfreeze_Init`).
 *
 * Compiled in: INTERPRETER, by whose place Python finds its library; LIBRARY, the directory that has the package and the
 * archive; EXTENSIONS, a list of {"name", "path"}: modules that this Python has as shared objects, and the core would not find.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <fcntl.h>
#include <marshal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT(value) #value
#define VERSION(major, minor) TEXT(major) TEXT(minor)
#define ARCHIVE LIBRARY "/modules.cpython-" VERSION(PY_MAJOR_VERSION, PY_MINOR_VERSION)

extern PyStatus _Py_InitializeMain(void) __attribute__((weak));
extern int _PySignal_Init(int) __attribute__((weak));
extern int __real__Py_Deepfreeze_Init(void) __attribute__((weak));
extern int _PyStaticCode_InternStrings(PyCodeObject *) __attribute__((weak));
extern PyObject *_Py_get_importlib__bootstrap_toplevel(void) __attribute__((weak));
extern PyStatus __real__PyCodec_InitRegistry(PyInterpreterState *) __attribute__((weak));
PyMODINIT_FUNC PyInit__pyoci_calls(void);

static const char *const extensions[][2] = {EXTENSIONS{NULL, NULL}};
static int is_complete, has_registry;
enum { head_size = 65536 };

static _Noreturn void fail(const char *step, const char *reason)
{
    dprintf(STDERR_FILENO, "pyoci: %s: %s\n", step, reason);
    _exit(1);
}

static void check(PyStatus status)
{
    if (PyStatus_Exception(status))
        fail("start Python", status.err_msg ? status.err_msg : "it exits");
}

/*
 * What CPython calls to prepare the modules that it has frozen as objects (`deepfreeze.c`, until 3.12): two dozen of the
 * standard library, 0.9 MB, of which every string is interned. The core needs but the first of them, which imports the
 * others; they are left alone until `complete`. That is 0.7 ms, with the pages that need not be written to. The linker
 * brings the call here (--wrap).
 */
int __wrap__Py_Deepfreeze_Init(void)
{
    if (is_complete || !_PyStaticCode_InternStrings || !_Py_get_importlib__bootstrap_toplevel)
        return __real__Py_Deepfreeze_Init();
    return _PyStaticCode_InternStrings((PyCodeObject *)_Py_get_importlib__bootstrap_toplevel());
}

/*
 * What the main phase calls since 3.13 to make the registry of codecs and of error handlers, without which the core crashes
 * when it comes upon a byte that is no UTF-8; earlier Pythons make it when it is asked for. It ends with an import of
 * encodings, for the codecs that are no part of the core: that is left to the main phase.
 */
PyStatus __wrap__PyCodec_InitRegistry(PyInterpreterState *interpreter)
{
    if (!has_registry)
        return __real__PyCodec_InitRegistry(interpreter);
    PyObject *encodings = PyImport_ImportModule("encodings");
    Py_XDECREF(encodings);
    return encodings ? PyStatus_Ok() : PyStatus_Error("import encodings");
}

/* The first part of that, for the core. An empty module stands where the import finds it. */
static PyStatus make_registry(void)
{
    PyObject *modules = PyImport_GetModuleDict(), *none = PyModule_New("encodings");
    if (!none || PyDict_SetItemString(modules, "encodings", none))
        return PyStatus_NoMemory();
    PyStatus status = __real__PyCodec_InitRegistry(PyInterpreterState_Get());
    Py_DECREF(none);
    if (PyDict_DelItemString(modules, "encodings"))
        return PyStatus_NoMemory();
    has_registry = 1;
    return status;
}

/* complete(): start the rest of Python. True if it was not yet. */
static PyObject *complete(PyObject *self, PyObject *nothing)
{
    if (is_complete)
        Py_RETURN_FALSE;
    is_complete = 1;
    if (__real__Py_Deepfreeze_Init && __real__Py_Deepfreeze_Init())
        return PyErr_NoMemory();
    PyStatus status = _Py_InitializeMain();
    if (!PyStatus_Exception(status))
        Py_RETURN_TRUE;
    PyErr_Format(PyExc_ImportError, "start the rest of Python: %s", status.err_msg ? status.err_msg : "it exits");
    return NULL;
}

static void start_python(int argc, char **argv)
{
    PyPreConfig before;
    PyConfig config;

    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    before.configure_locale = 0;
    check(Py_PreInitialize(&before));
    if (PyImport_AppendInittab("_pyoci_calls", PyInit__pyoci_calls))
        fail("start Python", "out of memory");

    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.parse_argv = 0;
    config.install_signal_handlers = 1;
    is_complete = !(_Py_InitializeMain && _PySignal_Init);
    config._init_main = is_complete;
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    check(PyConfig_SetBytesString(&config, &config.program_name, INTERPRETER));
    check(PyConfig_SetBytesString(&config, &config.executable, INTERPRETER));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    PyGC_Disable(); /* until the modules are there (see pyoci/archive.py): nothing of what is made till then is garbage */
    if (!is_complete && __real__PyCodec_InitRegistry)
        check(make_registry());
    if (!is_complete && _PySignal_Init(1)) /* SIGINT interrupts, and a reader who has gone is an error, not our end */
        fail("start Python", "set signal handlers");
}

/*
 * The object that is marshalled in the archive, from `distance` bytes before its end on; all of the archive's head if that is
 * 0. It is mapped meanwhile, with all its pages at once, and no longer: what stays mapped counts as memory.
 */
static PyObject *unmarshal(Py_ssize_t distance, Py_ssize_t size)
{
    int fd = open(ARCHIVE, O_RDONLY | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || fstat(fd, &status)) {
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, ARCHIVE);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    Py_ssize_t start = distance ? status.st_size - distance : 0, before = start & (sysconf(_SC_PAGESIZE) - 1);
    if (!distance && size > status.st_size)
        size = status.st_size;
    char *map = mmap(NULL, before + size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, start - before);
    PyObject *object = NULL;
    if (map == MAP_FAILED)
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, ARCHIVE);
    else
        object = PyMarshal_ReadObjectFromString(map + before, size);
    close(fd);
    if (map != MAP_FAILED)
        munmap(map, before + size);
    return object;
}

/* load(distance, size): the same for Python. */
static PyObject *load(PyObject *self, PyObject *arguments)
{
    Py_ssize_t distance, size;

    if (!PyArg_ParseTuple(arguments, "nn", &distance, &size))
        return NULL;
    return unmarshal(distance, size);
}

/* Everything else is Python's: run the archive's own code, and the package with it. */
static int run(int argc, char **argv)
{
    static PyMethodDef functions[] = {{"complete", complete, METH_NOARGS, NULL}, {"load", load, METH_VARARGS, NULL}};
    PyObject *head, *names, *words, *files, *started = NULL;

    head = unmarshal(0, head_size);
    names = Py_BuildValue(
        "{sssssO}", "__name__", "pyoci.archive", "__file__", LIBRARY "/pyoci/archive.py", "__builtins__", PyEval_GetBuiltins());
    words = PyList_New(0);
    files = PyDict_New();
    if (!head || !names || !words || !files)
        return -1;
    for (int i = 0; i < argc; i++) {
        PyObject *word = PyUnicode_DecodeFSDefault(argv[i]);
        if (!word || PyList_Append(words, word))
            return -1;
    }
    for (int i = 0; extensions[i][0]; i++)
        if (PyDict_SetItemString(files, extensions[i][0], PyUnicode_DecodeFSDefault(extensions[i][1])))
            return -1;
    if (PySys_SetObject("argv", words) || PySys_SetObject("executable", PyUnicode_DecodeFSDefault(INTERPRETER)))
        return -1;
    if (!PyEval_EvalCode(PyTuple_GET_ITEM(head, 0), names, names))
        return -1;
    started = PyObject_CallFunction(
        PyDict_GetItemString(names, "start"), "sNNOO", LIBRARY, PyCFunction_New(&functions[1], NULL),
        PyCFunction_New(&functions[0], NULL), PyTuple_GET_ITEM(head, 1), files);
    return started ? 0 : -1;
}

int main(int argc, char **argv)
{
    start_python(argc, argv);
    if (run(argc, argv)) {
        PyObject *type, *value, *trace, *text = NULL;
        PyErr_Fetch(&type, &value, &trace);
        if (type && value)
            text = PyUnicode_FromFormat("%s: %S", ((PyTypeObject *)type)->tp_name, value);
        fail("load the runtime itself", text ? PyUnicode_AsUTF8(text) : "no memory");
    }
    return 1; /* the command line leaves by itself */
}
