/* A libcuda of paper: enough of the driver for numba-cuda to find a device, to load a kernel and to be told of errors.
   FAKE_INIT, FAKE_ALLOC, FAKE_LAUNCH: what these calls return; FAKE_<n>: the value of device attribute n.
   A launch is written to stdout, and what was set before it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *current;

static int number(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

static int cuInit(unsigned flags) { return number("FAKE_INIT", 0); }
static int cuDriverGetVersion(int *version) { *version = number("FAKE_VERSION", 12090); return 0; }
static int cuDeviceGetCount(int *count) { *count = number("FAKE_COUNT", 1); return 0; }
static int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
static int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Paper GPU", length); return 0; }
static int cuDeviceGetUuid(char *uuid, int device) { memset(uuid, 1, 16); return 0; }
static int cuDeviceGetAttribute(int *value, int which, int device) {
    char name[32];
    sprintf(name, "FAKE_%d", which);
    *value = number(name, 0);
    return 0;
}
static int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &current; return 0; }
static int cuCtxGetCurrent(void **context) { *context = current; return 0; }
static int cuCtxSetCurrent(void *context) { current = context; return 0; }
static int cuCtxPushCurrent(void *context) { current = context; return 0; }
static int cuCtxPopCurrent(void **context) { *context = current; current = 0; return 0; }
static int cuCtxGetDevice(int *device) { *device = 0; return 0; }
static int cuMemGetInfo(size_t *free, size_t *total) { *free = 123400000; *total = 4000000000; return 0; }
static int cuMemAlloc(void **pointer, size_t size) { *pointer = (void *)0x1000; return number("FAKE_ALLOC", 0); }

static int copied(const char *way, void *target, const void *source, size_t size) {
    if (source == (void *)0x1000) memset(target, 7, size);
    printf("%s %zu bytes\n", way, size);
    fflush(stdout);
    return number("FAKE_COPY", 0);
}
static int cuMemcpyHtoD(void *target, const void *source, size_t size) {
    return target == (void *)0x1000 ? copied("to the device", target, source, size) : 1;
}
static int cuMemcpyDtoH(void *target, const void *source, size_t size) {
    return source == (void *)0x1000 ? copied("from the device", target, source, size) : 1;
}
static int cuMemcpyDtoD(void *target, void *source, size_t size) {
    printf("from %p to %p: %zu bytes\n", source, target, size);
    fflush(stdout);
    return 0;
}
static int cuStreamSynchronize(void *stream) { printf("waited for stream %p\n", stream); return 0; }

static int cuLibraryLoadData(void **library) { *library = (void *)0x10; return 0; }
static int cuLibraryGetKernel(void **kernel) { *kernel = (void *)0x20; return 0; }
static int cuKernelSetAttribute(int which, int value, void *kernel, int device) {
    printf("attribute %d of %p: %d\n", which, kernel, value);
    return 0;
}
typedef struct { int id; char gap[4]; union { char room[64]; int number; } value; } Attribute;
typedef struct { unsigned grid[3], block[3], shared; void *stream; Attribute *attributes; unsigned count; } Launch;
static int cuLaunchKernelEx(const Launch *launch, void *kernel, void **arguments, void **more) {
    printf("%p: grid %u %u %u, block %u %u %u, shared %u, stream %p", kernel, launch->grid[0], launch->grid[1],
           launch->grid[2], launch->block[0], launch->block[1], launch->block[2], launch->shared, launch->stream);
    for (unsigned k = 0; k < launch->count; k++)
        printf(", attribute %d: %d", launch->attributes[k].id, launch->attributes[k].value.number);
    printf("\n");
    for (int k = 0; k < number("FAKE_ARGUMENTS", 0); k++) printf("%lld ", *(long long *)arguments[k]);
    printf("\n");
    fflush(stdout);
    return number("FAKE_LAUNCH", 0);
}
static int fine(void) { return 0; }
static int unknown(void) { return 999; }

#define KNOWN(f) {#f, (void *)f}
static struct { const char *name; void *function; } functions[] = {
    KNOWN(cuInit), KNOWN(cuDriverGetVersion), KNOWN(cuDeviceGetCount), KNOWN(cuDeviceGet), KNOWN(cuDeviceGetName),
    KNOWN(cuDeviceGetUuid), KNOWN(cuDeviceGetAttribute), KNOWN(cuDevicePrimaryCtxRetain), KNOWN(cuCtxGetCurrent),
    KNOWN(cuCtxSetCurrent), KNOWN(cuCtxPushCurrent), KNOWN(cuCtxPopCurrent), KNOWN(cuCtxGetDevice),
    KNOWN(cuMemGetInfo), KNOWN(cuMemAlloc), KNOWN(cuLibraryLoadData), KNOWN(cuLibraryGetKernel),
    KNOWN(cuMemcpyHtoD), KNOWN(cuMemcpyDtoH), KNOWN(cuMemcpyDtoD), KNOWN(cuStreamSynchronize),
    KNOWN(cuKernelSetAttribute), KNOWN(cuLaunchKernelEx), {"cuKernelGetFunction", (void *)cuLibraryLoadData},
    {"cuLibraryGetModule", (void *)cuLibraryLoadData}, {"cuKernelGetAttribute", (void *)fine},
    {"cuFuncGetAttribute", (void *)fine}, {"cuMemFree", (void *)fine}, {"cuLibraryUnload", (void *)fine}};

int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status) {
    *function = strcmp(name, "cuGetProcAddress") ? (void *)unknown : (void *)cuGetProcAddress_v2;
    for (unsigned k = 0; k < sizeof functions / sizeof *functions; k++)
        if (!strcmp(name, functions[k].name)) *function = functions[k].function;
    if (status) *status = 0;
    return 0;
}
int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, function, version, flags, 0);
}
