/* A stand-in for libnvidia-ml.so.1 that the real `pynvml` module (nvidia-ml-py) loads.
 *
 *   gcc -shared -fPIC -O2 -Wall -Wextra -o libnvidia-ml.so.1 fake_nvml.c
 *   LD_LIBRARY_PATH=. FAKE_NVML_STATE=state.txt python ...
 *
 * Every call reads FAKE_NVML_STATE again, so a test changes the "hardware" while the program runs.
 * The file has `key value` lines; `#` starts a comment:
 *
 *   count 2                     number of GPUs (default 1)
 *   gpu0.temp 71                and mem_total, mem_used, mem_free, mem_reserved (bytes), util, memutil,
 *                               power, power_limit, power_default (mW), persistence (0/1), fan, sm_clock, mem_clock, max_sm_clock (MHz),
 *                               reasons (throttle bit mask), slowdown, shutdown (deg C), pstate, name, uuid,
 *                               procs (pid:bytes,pid:bytes; bytes -1 = not available), mig (0/1),
 *                               compute (8.6), ecc (count)
 *   gpu0.error 15               every call on that GPU returns this code (15 = GPU_IS_LOST)
 *   error.nvmlInitWithFlags 18  that function returns this code (18 = LIB_RM_VERSION_MISMATCH)
 *   gpu0.error.nvmlDeviceGetFanSpeed 3   that function on that GPU (3 = NOT_SUPPORTED)
 *   sleep_ms.nvmlDeviceGetTemperature 5000   the call hangs for that long first
 *   crash.nvmlDeviceGetTemperature 1         the call ends the process, as a lost GPU can
 *
 * Write the state file with rename(), never in place. No NVIDIA header is needed: only the structs used
 * here are declared, with the sizes that pynvml's version words carry.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7
#define VERSION_MISMATCH 25
#define NA_ULL 0xffffffffffffffffULL

typedef unsigned long long u64;
typedef unsigned int u32;
typedef struct { u64 total, free_, used; } Memory;                      /* v1 */
typedef struct { u32 version; u64 total, reserved, free_, used; } Memory2; /* 0x02000028 */
typedef struct { u32 gpu, memory; } Util;
typedef struct { u32 version, sensor; int temp; } Temp1;                /* 0x0100000C */
typedef struct { u32 version; int margin; } Margin1;                    /* 0x01000008 */
typedef struct { u32 pid; u64 used; u32 gi, ci; } Proc;                  /* v2/v3 */
typedef struct { char legacy[16]; u32 domain, bus, device, pciDeviceId, pciSubSystemId; char busId[32]; } Pci;

static int inits;

static const char *lookup(const char *key) { /* thread-safe enough: one static buffer per thread */
    static __thread char buf[512];
    const char *path = getenv("FAKE_NVML_STATE");
    FILE *f = path ? fopen(path, "r") : NULL;
    if (!f) return NULL;
    size_t n = strlen(key);
    const char *hit = NULL;
    while (fgets(buf, sizeof buf, f)) {
        char *p = buf;
        while (*p == ' ') p++;
        if (!strncmp(p, key, n) && (p[n] == ' ' || p[n] == '=')) {
            p += n;
            while (*p == ' ' || *p == '=') p++;
            p[strcspn(p, "\r\n")] = 0;
            hit = p;
            break;
        }
    }
    fclose(f);
    return hit;
}
static u64 num(const char *key, u64 dflt) { const char *v = lookup(key); return v ? strtoull(v, NULL, 0) : dflt; }
static int dev(void *h) { return (int)(long)h - 1; }
static const char *gk(void *h, const char *name) { static __thread char k[192]; snprintf(k, sizeof k, "gpu%d.%s", dev(h), name); return k; }
static u64 gnum(void *h, const char *name, u64 dflt) { return num(gk(h, name), dflt); }

static int gate(const char *fn, void *h) {
    char k[160];
    snprintf(k, sizeof k, "sleep_ms.%s", fn);
    u64 ms = num(k, 0);
    if (ms) usleep((useconds_t)(ms * 1000));
    snprintf(k, sizeof k, "crash.%s", fn);
    if (num(k, 0)) abort();
    snprintf(k, sizeof k, "error.%s", fn);
    int e = (int)num(k, 0);
    if (e) return e;
    if (!inits && strncmp(fn, "nvmlInit", 8)) return UNINITIALIZED;
    if (h) {
        if (dev(h) < 0 || dev(h) >= (int)num("count", 1)) return INVALID_ARGUMENT;
        if ((e = (int)gnum(h, "error", 0))) return e;
        snprintf(k, sizeof k, "error.%s", fn);
        if ((e = (int)gnum(h, k, 0))) return e;
    }
    return OK;
}
#define GATE(h) do { int e_ = gate(__func__, h); if (e_) return e_; } while (0)
static int put(char *out, u32 len, const char *s) { if (strlen(s) + 1 > len) return INSUFFICIENT_SIZE; strcpy(out, s); return OK; }

int nvmlInitWithFlags(u32 flags) { (void)flags; GATE(NULL); inits++; return OK; }
int nvmlInit_v2(void) { GATE(NULL); inits++; return OK; }
int nvmlShutdown(void) { GATE(NULL); inits--; return OK; }
const char *nvmlErrorString(int r) { (void)r; return "fake error"; }
int nvmlSystemGetDriverVersion(char *o, u32 n) { GATE(NULL); const char *v = lookup("driver"); return put(o, n, v ? v : "550.54.15"); }
int nvmlSystemGetNVMLVersion(char *o, u32 n) { GATE(NULL); return put(o, n, "12.550.54.15"); }
int nvmlSystemGetCudaDriverVersion(int *v) { GATE(NULL); *v = 12040; return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { GATE(NULL); *v = 12040; return OK; }
int nvmlDeviceGetCount_v2(u32 *n) { GATE(NULL); *n = (u32)num("count", 1); return OK; }
int nvmlDeviceGetHandleByIndex_v2(u32 i, void **h) {
    GATE(NULL);
    if (i >= num("count", 1)) return INVALID_ARGUMENT;
    *h = (void *)(long)(i + 1);
    int e = (int)gnum(*h, "error", 0); /* a lost GPU fails here too */
    return e;
}
int nvmlDeviceGetUUID(void *h, char *o, u32 n) { GATE(h); const char *v = lookup(gk(h, "uuid")); char d[64]; snprintf(d, sizeof d, "GPU-00000000-0000-0000-0000-%012d", dev(h)); return put(o, n, v ? v : d); }
int nvmlDeviceGetHandleByUUID(const char *u, void **h) {
    GATE(NULL);
    for (u32 i = 0; i < num("count", 1); i++) { char b[96]; *h = (void *)(long)(i + 1); if (!nvmlDeviceGetUUID(*h, b, sizeof b) && !strcmp(b, u)) return OK; }
    return NOT_FOUND;
}
int nvmlDeviceGetIndex(void *h, u32 *i) { GATE(h); *i = (u32)dev(h); return OK; }
int nvmlDeviceGetName(void *h, char *o, u32 n) { GATE(h); const char *v = lookup(gk(h, "name")); return put(o, n, v ? v : "NVIDIA Fake RTX 0000"); }
int nvmlDeviceGetPciInfo_v3(void *h, Pci *p) { GATE(h); memset(p, 0, sizeof *p); p->bus = (u32)dev(h) + 1; snprintf(p->busId, sizeof p->busId, "00000000:%02X:00.0", p->bus); snprintf(p->legacy, sizeof p->legacy, "0000:%02X:00.0", p->bus); return OK; }
static void mem(void *h, u64 *t, u64 *u, u64 *f, u64 *r) { *t = gnum(h, "mem_total", 24ULL << 30); *u = gnum(h, "mem_used", 1ULL << 30); *r = gnum(h, "mem_reserved", 300ULL << 20); *f = gnum(h, "mem_free", *t - *u - *r); }
int nvmlDeviceGetMemoryInfo(void *h, Memory *m) { GATE(h); u64 r; mem(h, &m->total, &m->used, &m->free_, &r); m->used += r; return OK; } /* v1 counts the reserve as used */
int nvmlDeviceGetMemoryInfo_v2(void *h, Memory2 *m) { GATE(h); if (m->version != (sizeof(Memory2) | 2u << 24)) return VERSION_MISMATCH; mem(h, &m->total, &m->used, &m->free_, &m->reserved); return OK; }
int nvmlDeviceGetTemperature(void *h, u32 s, u32 *t) { GATE(h); if (s) return NOT_SUPPORTED; *t = (u32)gnum(h, "temp", 45); return OK; }
int nvmlDeviceGetTemperatureV(void *h, Temp1 *t) { GATE(h); if (t->version != (sizeof(Temp1) | 1u << 24)) return VERSION_MISMATCH; if (t->sensor) return NOT_SUPPORTED; t->temp = (int)gnum(h, "temp", 45); return OK; }
int nvmlDeviceGetMarginTemperature(void *h, Margin1 *t) { GATE(h); if (t->version != (sizeof(Margin1) | 1u << 24)) return VERSION_MISMATCH; t->margin = (int)gnum(h, "slowdown", 90) - (int)gnum(h, "temp", 45); return OK; }
int nvmlDeviceGetTemperatureThreshold(void *h, u32 kind, u32 *t) { GATE(h); if (kind > 1) return NOT_SUPPORTED; *t = (u32)(kind ? gnum(h, "slowdown", 90) : gnum(h, "shutdown", 95)); return OK; }
int nvmlDeviceGetUtilizationRates(void *h, Util *u) { GATE(h); u->gpu = (u32)gnum(h, "util", 0); u->memory = (u32)gnum(h, "memutil", 0); return OK; }
int nvmlDeviceGetPowerUsage(void *h, u32 *v) { GATE(h); *v = (u32)gnum(h, "power", 25000); return OK; }
int nvmlDeviceGetEnforcedPowerLimit(void *h, u32 *v) { GATE(h); *v = (u32)gnum(h, "power_limit", 350000); return OK; }
int nvmlDeviceGetPowerManagementLimit(void *h, u32 *v) { GATE(h); *v = (u32)gnum(h, "power_limit", 350000); return OK; }
int nvmlDeviceGetFanSpeed(void *h, u32 *v) { GATE(h); *v = (u32)gnum(h, "fan", 30); return OK; }
int nvmlDeviceGetNumFans(void *h, u32 *v) { GATE(h); *v = 1; return OK; }
int nvmlDeviceGetFanSpeed_v2(void *h, u32 fan, u32 *v) { GATE(h); if (fan) return INVALID_ARGUMENT; *v = (u32)gnum(h, "fan", 30); return OK; }
int nvmlDeviceGetClockInfo(void *h, u32 type, u32 *v) { GATE(h); if (type == 2) *v = (u32)gnum(h, "mem_clock", 9751); else if (type < 4) *v = (u32)gnum(h, "sm_clock", 210); else return INVALID_ARGUMENT; return OK; }
int nvmlDeviceGetMaxClockInfo(void *h, u32 type, u32 *v) { GATE(h); if (type == 2) *v = (u32)gnum(h, "mem_clock", 9751); else *v = (u32)gnum(h, "max_sm_clock", 2100); return OK; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *h, u64 *v) { GATE(h); *v = gnum(h, "reasons", 1); return OK; }
int nvmlDeviceGetCurrentClocksEventReasons(void *h, u64 *v) { GATE(h); *v = gnum(h, "reasons", 1); return OK; }
int nvmlDeviceGetSupportedClocksEventReasons(void *h, u64 *v) { GATE(h); *v = 0x1ff; return OK; }
int nvmlDeviceGetPerformanceState(void *h, u32 *v) { GATE(h); *v = (u32)gnum(h, "pstate", 8); return OK; }
int nvmlDeviceGetMigMode(void *h, u32 *cur, u32 *pend) { GATE(h); const char *v = lookup(gk(h, "mig")); if (!v) return NOT_SUPPORTED; *cur = *pend = (u32)atoi(v); return OK; }
int nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) { GATE(h); const char *v = lookup(gk(h, "compute")); *a = 8; *b = 6; if (v) sscanf(v, "%d.%d", a, b); return OK; }
int nvmlDeviceGetTotalEccErrors(void *h, u32 t, u32 c, u64 *v) { (void)t; (void)c; GATE(h); const char *s = lookup(gk(h, "ecc")); if (!s) return NOT_SUPPORTED; *v = strtoull(s, NULL, 0); return OK; }
static int procs(void *h, u32 *n, Proc *out) {
    char copy[512];
    const char *v = lookup(gk(h, "procs"));
    snprintf(copy, sizeof copy, "%s", v ? v : "");
    u32 have = 0, cap = *n;
    char *save = NULL;
    for (char *t = strtok_r(copy, ",", &save); t; t = strtok_r(NULL, ",", &save), have++)
        if (out && have < cap) { char *c = strchr(t, ':'); out[have] = (Proc){(u32)atoi(t), c && c[1] != '-' ? strtoull(c + 1, NULL, 0) : NA_ULL, 0xffffffffu, 0xffffffffu}; }
    *n = have;
    return have > cap || (have && !out) ? INSUFFICIENT_SIZE : OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, u32 *n, Proc *o) { GATE(h); return procs(h, n, o); }
int nvmlDeviceGetComputeRunningProcesses_v2(void *h, u32 *n, Proc *o) { GATE(h); return procs(h, n, o); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *h, u32 *n, Proc *o) { GATE(h); (void)o; *n = 0; return OK; }
int nvmlDeviceGetPersistenceMode(void *h, u32 *v) { GATE(h); *v = (u32)gnum(h, "persistence", 1); return OK; }
int nvmlDeviceGetPowerManagementDefaultLimit(void *h, u32 *v) { GATE(h); *v = (u32)gnum(h, "power_default", 350000); return OK; }
