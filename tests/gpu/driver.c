/* NVIDIA's driver where there is none: the functions of libcuda and NVML that harness/device/gpu.py calls.

   Written from the signatures in nvml.h and cuda.h. What it says comes from the file that FAKE_GPU names, a line
   a fact ("temperature 71"); "temperature error 3" makes the function return that code. What is not planted is
   not supported. -DOLD leaves out what older drivers do not have. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long long u64;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned int gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned long long referenceTime, violationTime; } nvmlViolationTime_t;
typedef struct {
    unsigned int pid;
    unsigned long long usedGpuMemory;
    unsigned int gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

static int text(const char *key, char *into, unsigned int room) {
    char line[256], value[256];
    FILE *file = fopen(getenv("FAKE_GPU"), "r");
    int code = NOT_SUPPORTED;
    size_t length = strlen(key);
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && line[length] == ' ') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, sizeof value, "%s", line + length + 1);
            code = SUCCESS;
            if (sscanf(value, "error %d", &code) != 1)
                snprintf(into, room, "%s", value);
        }
    if (file)
        fclose(file);
    return code;
}

static int number(const char *key, u64 *into) {
    char value[64];
    int code = text(key, value, sizeof value);
    if (code == SUCCESS)
        *into = strtoull(value, NULL, 0);
    return code;
}

static int small(const char *key, unsigned int *into) {
    u64 value;
    int code = number(key, &value);
    if (code == SUCCESS)
        *into = (unsigned int)value;
    return code;
}

int cuInit(unsigned int flags) { u64 said; return number("cuInit", &said) == NOT_SUPPORTED ? (int)flags : 100; }
int cuDeviceGetCount(int *count) { unsigned int said = 1; int code = small("devices", &said); *count = (int)said; return code == NOT_SUPPORTED ? 0 : code; }
int cuDeviceGet(int *device, int ordinal) { *device = 40 + ordinal; return 0; }
int cuDeviceGetPCIBusId(char *into, int room, int device) {
    char key[16];
    snprintf(key, sizeof key, "bus%d", device - 40);
    return text(key, into, (unsigned int)room) ? 101 : 0;
}

static char chosen[32];

int nvmlInit_v2(void) { u64 said; int code = number("init", &said); return code == NOT_SUPPORTED ? SUCCESS : code; }
const char *nvmlErrorString(int code) {
    return code == NOT_SUPPORTED ? "Not Supported" : code == NOT_FOUND ? "Not Found"
         : code == 9 ? "Driver Not Loaded" : "Unknown Error";
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device) {
    snprintf(chosen, sizeof chosen, "%s", bus);
    *device = chosen;
    return SUCCESS;
}
int nvmlSystemGetDriverVersion(char *into, unsigned int room) { return text("driver", into, room); }
int nvmlDeviceGetName(void *device, char *into, unsigned int room) {
    char key[64];
    snprintf(key, sizeof key, "name@%s", (char *)device);
    return text(key, into, room);
}
int nvmlDeviceGetUUID(void *device, char *into, unsigned int room) { (void)device; return text("uuid", into, room); }
int nvmlDeviceGetClockInfo(void *device, int kind, unsigned int *mhz) {
    (void)device;
    return small(kind == 1 ? "clock_sm" : kind == 2 ? "clock_mem" : "clock", mhz);
}
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {
    (void)device;
    return sensor ? NOT_SUPPORTED : small("temperature", celsius);
}
int nvmlDeviceGetPowerUsage(void *device, unsigned int *mw) { (void)device; return small("power", mw); }
int nvmlDeviceGetUtilizationRates(void *device, nvmlUtilization_t *into) {
    (void)device;
    into->memory = 99;
    return small("utilization", &into->gpu);
}
int nvmlDeviceGetMemoryInfo(void *device, nvmlMemory_t *into) {
    (void)device;
    into->free = 1;
    int code = number("memory_total", &into->total);
    return code ? code : number("memory_used", &into->used);
}
#ifndef OLD
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *bits) {
    (void)device;
    return number("reasons", bits);
}
#endif
int nvmlDeviceGetViolationStatus(void *device, int policy, nvmlViolationTime_t *into) {
    char key[32];
    (void)device;
    into->referenceTime = 77;
    snprintf(key, sizeof key, "policy%d", policy);
    return number(key, &into->violationTime);
}
/* Two processes, this one ("process") and another; this one is missing where nothing is planted. */
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, nvmlProcessInfo_t *into) {
    u64 own;
    (void)device;
    unsigned int there = number("process", &own) == SUCCESS ? 2 : 1;
    if (*count < there || !into) {
        *count = there;
        return INSUFFICIENT_SIZE;
    }
    *count = there;
    into[0] = (nvmlProcessInfo_t){.pid = 1, .usedGpuMemory = 12345, .gpuInstanceId = ~0u, .computeInstanceId = ~0u};
    if (there == 2)
        into[1] = (nvmlProcessInfo_t){.pid = (unsigned int)getpid(), .usedGpuMemory = own,
                                      .gpuInstanceId = ~0u, .computeInstanceId = ~0u};
    return SUCCESS;
}
