/* A driver's library (NVML) that says of GPUs what a file of the test says of them.

   PLIMSOLL_NVML: count|name|MiB|compute capability major|minor, such as 8|NVIDIA H100 80GB HBM3|81559|9|0
   Only what gpu-feature-discovery asks for; types are NVML's, as its public header documents them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3 };
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct {
  char legacy[16];
  unsigned int domain, bus, device, pci_device_id, pci_subsystem_id;
  char id[32];
} pci;

static struct { int count, mib, major, minor; char name[96]; } told;
static char devices[64];

int nvmlInit_v2(void) {
  const char *text = getenv("PLIMSOLL_NVML");
  return text && sscanf(text, "%d|%95[^|]|%d|%d|%d", &told.count, told.name, &told.mib,
                        &told.major, &told.minor) == 5 ? SUCCESS : 9 /* driver not loaded */;
}
int nvmlInit(void) { return nvmlInit_v2(); }
int nvmlInitWithFlags(unsigned int flags) { return nvmlInit_v2(); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code ? "an error of the test's library" : "success"; }
int nvmlSystemGetDriverVersion(char *text, unsigned int most) { snprintf(text, most, "580.95.05"); return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return SUCCESS; }
int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = told.count; return SUCCESS; }
int nvmlDeviceGetCount(unsigned int *count) { return nvmlDeviceGetCount_v2(count); }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = &devices[index]; return SUCCESS; }
int nvmlDeviceGetHandleByIndex(unsigned int index, void **device) { return nvmlDeviceGetHandleByIndex_v2(index, device); }
int nvmlDeviceGetName(void *device, char *text, unsigned int most) { snprintf(text, most, "%s", told.name); return SUCCESS; }
int nvmlDeviceGetUUID(void *device, char *text, unsigned int most) {
  snprintf(text, most, "GPU-00000000-0000-0000-0000-%012d", (int)((char *)device - devices));
  return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(void *device, memory *found) {
  *found = (memory){ .total = (unsigned long long)told.mib << 20, .free = (unsigned long long)told.mib << 20 };
  return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2 *found) {
  found->total = found->free = (unsigned long long)told.mib << 20; found->reserved = found->used = 0;
  return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) { *major = told.major; *minor = told.minor; return SUCCESS; }
int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending) { *current = *pending = 0; return SUCCESS; }
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned int *count) { *count = 0; return SUCCESS; }
int nvmlDeviceIsMigDeviceHandle(void *device, unsigned int *is) { *is = 0; return SUCCESS; }
int nvmlDeviceGetPciInfo_v3(void *device, pci *found) {
  memset(found, 0, sizeof *found);
  snprintf(found->id, sizeof found->id, "00000000:%02X:00.0", 1 + (int)((char *)device - devices));
  return SUCCESS;
}
int nvmlDeviceGetPciInfo_v2(void *device, pci *found) { return nvmlDeviceGetPciInfo_v3(device, found); }
int nvmlDeviceGetPciInfo(void *device, pci *found) { return nvmlDeviceGetPciInfo_v3(device, found); }
