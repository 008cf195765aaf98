/* A libcuda of paper: enough of the driver for numba-cuda to find a device, and to be told of each error by it.
   FAKE_INIT, FAKE_ALLOC: what these calls return; FAKE_<n>: the value of device attribute n. */
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
static int cuMemAlloc(void **pointer, size_t size) { return number("FAKE_ALLOC", 2); }
static int unknown(void) { return 999; }

#define KNOWN(f) {#f, (void *)f}
static struct { const char *name; void *function; } functions[] = {
    KNOWN(cuInit), KNOWN(cuDriverGetVersion), KNOWN(cuDeviceGetCount), KNOWN(cuDeviceGet), KNOWN(cuDeviceGetName),
    KNOWN(cuDeviceGetUuid), KNOWN(cuDeviceGetAttribute), KNOWN(cuDevicePrimaryCtxRetain), KNOWN(cuCtxGetCurrent),
    KNOWN(cuCtxSetCurrent), KNOWN(cuCtxPushCurrent), KNOWN(cuCtxPopCurrent), KNOWN(cuCtxGetDevice),
    KNOWN(cuMemGetInfo), KNOWN(cuMemAlloc)};

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
