/* A libcuda of paper: enough of the driver for numba-cuda to find a device, to load a kernel and to be told of errors.
   FAKE_INIT, FAKE_ALLOC, FAKE_LAUNCH: what these calls return; FAKE_<n>: the value of device attribute n.
   A launch is written to stdout, and what was set before it; with FAKE_SAY=1 the name of every call instead (2: nothing),
   and memory is the host's. Nothing is computed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *current;

static int number(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

static int saying(void) { return number("FAKE_SAY", 0); }
static void said(const char *name) {
    if (saying() == 1) printf("%s\n", name), fflush(stdout);
}
#define SAY said(__func__)

static int cuInit(unsigned flags) { SAY; return number("FAKE_INIT", 0); }
static int cuDriverGetVersion(int *version) { SAY; *version = number("FAKE_VERSION", 12090); return 0; }
static int cuDeviceGetCount(int *count) { SAY; *count = number("FAKE_COUNT", 1); return 0; }
static int cuDeviceGet(int *device, int ordinal) { SAY; *device = ordinal; return 0; }
static int cuDeviceGetName(char *name, int length, int device) { SAY; strncpy(name, "Paper GPU", length); return 0; }
static int cuDeviceGetUuid(char *uuid, int device) { SAY; memset(uuid, 1, 16); return 0; }
static int cuDeviceGetAttribute(int *value, int which, int device) {
    SAY;
    char name[32];
    sprintf(name, "FAKE_%d", which);
    *value = number(name, 0);
    return 0;
}
static int cuDevicePrimaryCtxRetain(void **context, int device) { SAY; *context = &current; return 0; }
static int cuCtxGetCurrent(void **context) { SAY; *context = current; return 0; }
static int cuCtxSetCurrent(void *context) { SAY; current = context; return 0; }
static int cuCtxPushCurrent(void *context) { SAY; current = context; return 0; }
static int cuCtxPopCurrent(void **context) { SAY; *context = current; current = 0; return 0; }
static int cuCtxGetDevice(int *device) { SAY; *device = 0; return 0; }
static int cuMemGetInfo(size_t *free, size_t *total) { SAY; *free = 123400000; *total = 4000000000; return 0; }
static int cuMemAlloc(void **pointer, size_t size) {
    SAY;
    *pointer = saying() ? calloc(1, size) : (void *)0x1000;
    return number("FAKE_ALLOC", 0);
}
static int cuMemFree(void *pointer) { SAY; return 0; }

static int copied(const char *way, void *target, const void *source, size_t size) {
    if (saying()) return memcpy(target, source, size), number("FAKE_COPY", 0);
    if (source == (void *)0x1000) memset(target, 7, size);
    printf("%s %zu bytes\n", way, size);
    fflush(stdout);
    return number("FAKE_COPY", 0);
}
static int cuMemcpyHtoD(void *target, const void *source, size_t size) {
    SAY;
    return saying() || target == (void *)0x1000 ? copied("to the device", target, source, size) : 1;
}
static int cuMemcpyDtoH(void *target, const void *source, size_t size) {
    SAY;
    return saying() || source == (void *)0x1000 ? copied("from the device", target, source, size) : 1;
}
static int cuMemcpyHtoDAsync(void *target, const void *source, size_t size, void *stream) {
    SAY;
    return copied("to the device", target, source, size);
}
static int cuMemcpyDtoHAsync(void *target, const void *source, size_t size, void *stream) {
    SAY;
    return copied("from the device", target, source, size);
}
static int cuMemcpyDtoDAsync(void *target, const void *source, size_t size, void *stream) {
    SAY;
    return copied("on the device", target, source, size);
}
typedef struct {
    size_t x, y, z, lod; int type; const char *host; char *device; void *array, *reserved; size_t pitch, height;
} Side;
typedef struct { Side from, to; size_t width, height, depth; } Copy;
static int cuMemcpy3DAsync(const Copy *c, void *stream) {
    SAY;
    if (c->from.type != 2 || c->to.type != 2 || c->from.pitch < c->width || c->to.pitch < c->width) return 1;
    for (size_t layer = 0; layer < c->depth; layer++)
        for (size_t row = 0; row < c->height; row++)
            memcpy(c->to.device + (layer * c->to.height + row) * c->to.pitch,
                   c->from.device + (layer * c->from.height + row) * c->from.pitch, c->width);
    return 0;
}
static int cuMemsetD8Async(void *target, unsigned char value, size_t size, void *stream) {
    SAY;
    memset(target, value, size);
    return 0;
}
static int cuPointerGetAttribute(int *value, int which, void *pointer) {
    SAY;
    *value = number("FAKE_ORDINAL", 0);
    return number("FAKE_POINTER", 0);
}
static int cuEventCreate(void **event, unsigned flags) { SAY; *event = (void *)0x50; return flags == 2 ? 0 : 1; }
static int named(void *stream, void *event) {
    if (saying() == 1) printf("  %p\n", stream), fflush(stdout);
    return event == (void *)0x50 ? 0 : 400;
}
static int cuEventRecord(void *event, void *stream) { SAY; return named(stream, event); }
static int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { SAY; return named(stream, event); }
static int cuStreamIsCapturing(void *stream, int *status) { SAY; *status = number("FAKE_CAPTURING", 0); return 0; }
static int cuStreamSynchronize(void *stream) { SAY; return 0; }
static int cuCtxSynchronize(void) { SAY; return 0; }
static int cuDevicePrimaryCtxRelease(int device) { SAY; return 0; }
static int cuDevicePrimaryCtxReset(int device) { SAY; return 0; }

static int cuLibraryLoadData(void **library) { SAY; *library = (void *)0x10; return 0; }
static int cuLibraryGetKernel(void **kernel) { SAY; *kernel = (void *)0x20; return 0; }
static int cuKernelSetAttribute(int which, int value, void *kernel, int device) {
    SAY;
    if (!saying()) printf("attribute %d of %p: %d\n", which, kernel, value);
    return 0;
}
typedef struct { int id; char gap[4]; union { char room[64]; int number; } value; } Attribute;
typedef struct { unsigned grid[3], block[3], shared; void *stream; Attribute *attributes; unsigned count; } Launch;
static int cuLaunchKernelEx(const Launch *launch, void *kernel, void **arguments, void **more) {
    SAY;
    if (saying()) return number("FAKE_LAUNCH", 0);
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
    KNOWN(cuMemGetInfo), KNOWN(cuMemAlloc), KNOWN(cuMemFree), KNOWN(cuLibraryLoadData), KNOWN(cuLibraryGetKernel),
    KNOWN(cuMemcpyHtoD), KNOWN(cuMemcpyDtoH), KNOWN(cuMemcpyHtoDAsync), KNOWN(cuMemcpyDtoHAsync),
    KNOWN(cuMemcpyDtoDAsync), KNOWN(cuMemcpy3DAsync), KNOWN(cuMemsetD8Async), KNOWN(cuPointerGetAttribute),
    KNOWN(cuEventCreate), KNOWN(cuEventRecord), KNOWN(cuStreamWaitEvent), KNOWN(cuStreamIsCapturing),
    KNOWN(cuStreamSynchronize), KNOWN(cuCtxSynchronize), KNOWN(cuDevicePrimaryCtxRelease),
    KNOWN(cuDevicePrimaryCtxReset), {"cuEventDestroy", (void *)fine},
    KNOWN(cuKernelSetAttribute), KNOWN(cuLaunchKernelEx), {"cuKernelGetFunction", (void *)cuLibraryLoadData},
    {"cuLibraryGetModule", (void *)cuLibraryLoadData}, {"cuKernelGetAttribute", (void *)fine},
    {"cuFuncGetAttribute", (void *)fine}, {"cuLibraryUnload", (void *)fine}};

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
