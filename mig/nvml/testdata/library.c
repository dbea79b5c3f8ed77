/*
 * A library with the part of NVML that this package cannot do without, of one simulated
 * A100 in MIG mode, and none of the rest: a call of anything else ends the process, as
 * with a real library that is too old.
 *
 * NO_DRIVER: it starts and finds no driver. TOO_OLD: it has no instances at a place.
 */
#include <stdio.h>
#include <string.h>
#include "nvml.h"

typedef struct { unsigned id, slices, max, sms, size, mib, starts[8], count; } profile_t;

/* By NVML's number; those without instances are none of this board's. */
static const profile_t profiles[] = {
	[0] = {19, 1, 7, 14, 1, 4864, {0, 1, 2, 3, 4, 5, 6}, 7},
	[1] = {14, 2, 3, 28, 2, 9856, {0, 2, 4}, 3},
	[2] = {9, 3, 2, 42, 4, 19968, {4, 0}, 2},
	[3] = {5, 4, 1, 56, 4, 19968, {0}, 1},
	[4] = {0, 7, 1, 98, 8, 40192, {0}, 1},
	[7] = {20, 1, 1, 14, 1, 4864, {0, 1, 2, 3, 4, 5, 6}, 7},
	[9] = {15, 1, 4, 14, 2, 9856, {0, 2, 4, 6}, 4},
	[17] = {0},
};

typedef struct nvmlGpuInstance_st { int live, compute; unsigned number, start; } gi_t;
static gi_t gis[16];
static int device, mig_devices[16];

static nvmlDevice_t handle(void *p) { nvmlDevice_t d; d.handle = p; return d; }
static nvmlGpuInstance_t gi_handle(gi_t *p) { nvmlGpuInstance_t g; g.handle = p; return g; }
static gi_t *gi_of(nvmlGpuInstance_t g) { return (gi_t *)g.handle; }

static const profile_t *by_id(unsigned id, unsigned *number) {
	for (unsigned n = 0; n < 18; n++)
		if (profiles[n].max > 0 && profiles[n].id == id) {
			if (number) *number = n;
			return &profiles[n];
		}
	return NULL;
}

const char *nvmlErrorString(nvmlReturn_t r) { return r == NVML_SUCCESS ? "Success" : "Some error"; }

nvmlReturn_t nvmlInit_v2(void) {
#ifdef NO_DRIVER
	return NVML_ERROR_DRIVER_NOT_LOADED;
#else
	return NVML_SUCCESS;
#endif
}

nvmlReturn_t nvmlShutdown(void) { return NVML_SUCCESS; }

nvmlReturn_t nvmlSystemGetDriverVersion(char *v, unsigned n) { snprintf(v, n, "%s", "470.1"); return NVML_SUCCESS; }
nvmlReturn_t nvmlSystemGetNVMLVersion(char *v, unsigned n) { snprintf(v, n, "%s", "11.470.1"); return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *d) {
	if (index > 0) return NVML_ERROR_INVALID_ARGUMENT;
	*d = handle(&device);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *uuid, unsigned n) {
	if ((void *)d.handle == &device) snprintf(uuid, n, "GPU-1");
	else snprintf(uuid, n, "MIG-%d", (int)((int *)d.handle - mig_devices));
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *name, unsigned n) { snprintf(name, n, "Some A100"); return NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *p) {
	memset(p, 0, sizeof *p);
	snprintf(p->busId, sizeof p->busId, "00000000:3B:00.0");
	p->pciDeviceId = 0x20B010DE;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *m) {
	m->total = 40536ULL << 20, m->used = 100ULL << 20, m->free = m->total - m->used;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned *now, unsigned *pending) {
	*now = *pending = NVML_DEVICE_MIG_ENABLE;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t d, unsigned n, nvmlGpuInstanceProfileInfo_t *info) {
	if (n >= 18) return NVML_ERROR_INVALID_ARGUMENT;
	const profile_t *p = &profiles[n];
	if (p->max == 0) return NVML_ERROR_NOT_SUPPORTED;
	memset(info, 0, sizeof *info);
	info->id = p->id, info->sliceCount = p->slices, info->instanceCount = p->max;
	info->multiprocessorCount = p->sms, info->memorySizeMB = p->mib;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements_v2(nvmlDevice_t d, unsigned id, nvmlGpuInstancePlacement_t *all, unsigned *count) {
	const profile_t *p = by_id(id, NULL);
	if (!p) return NVML_ERROR_INVALID_ARGUMENT;
	if (all)
		for (unsigned n = 0; n < p->count; n++) all[n].start = p->starts[n], all[n].size = p->size;
	*count = p->count;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstances(nvmlDevice_t d, unsigned id, nvmlGpuInstance_t *all, unsigned *count) {
	unsigned number;
	*count = 0;
	if (!by_id(id, &number)) return NVML_ERROR_INVALID_ARGUMENT;
	for (int n = 0; n < 16; n++)
		if (gis[n].live && gis[n].number == number) all[(*count)++] = gi_handle(&gis[n]);
	return NVML_SUCCESS;
}

#ifndef TOO_OLD
nvmlReturn_t nvmlDeviceCreateGpuInstanceWithPlacement(nvmlDevice_t d, unsigned id, const nvmlGpuInstancePlacement_t *at, nvmlGpuInstance_t *made) {
	unsigned number, same = 1;
	const profile_t *p = by_id(id, &number);
	if (!p || at->size != p->size) return NVML_ERROR_INVALID_ARGUMENT;
	gi_t *free = NULL;
	for (int n = 0; n < 16; n++) {
		gi_t *g = &gis[n];
		if (!g->live) {
			free = g;
			continue;
		}
		const profile_t *q = &profiles[g->number];
		if (at->start < g->start + q->size && g->start < at->start + p->size) return NVML_ERROR_INSUFFICIENT_RESOURCES;
		if (g->number == number) same++;
	}
	if (!free || same > p->max) return NVML_ERROR_INSUFFICIENT_RESOURCES;
	free->live = 1, free->compute = 0, free->number = number, free->start = at->start;
	*made = gi_handle(free);
	return NVML_SUCCESS;
}
#endif

nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t g, nvmlGpuInstanceInfo_t *info) {
	gi_t *gi = gi_of(g);
	const profile_t *p = &profiles[gi->number];
	if (!gi->live) return NVML_ERROR_NOT_FOUND;
	memset(info, 0, sizeof *info);
	info->device = handle(&device);
	info->id = 8 / p->size - 1 + gi->start / p->size, info->profileId = p->id;
	info->placement.start = gi->start, info->placement.size = p->size;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceDestroy(nvmlGpuInstance_t g) {
	if (!gi_of(g)->live) return NVML_ERROR_NOT_FOUND;
	if (gi_of(g)->compute) return NVML_ERROR_IN_USE;
	gi_of(g)->live = 0;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(nvmlGpuInstance_t g, unsigned n, unsigned engines, nvmlComputeInstanceProfileInfo_t *info) {
	static const unsigned slices[] = {1, 2, 3, 4, 7};
	if (n >= 5 || slices[n] > profiles[gi_of(g)->number].slices) return NVML_ERROR_NOT_SUPPORTED;
	memset(info, 0, sizeof *info);
	info->id = n, info->sliceCount = slices[n], info->instanceCount = 1;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstances(nvmlGpuInstance_t g, unsigned id, nvmlComputeInstance_t *all, unsigned *count) {
	gi_t *gi = gi_of(g);
	*count = gi->compute == (int)id + 1;
	if (*count) all[0].handle = (void *)gi;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceCreateComputeInstance(nvmlGpuInstance_t g, unsigned id, nvmlComputeInstance_t *made) {
	if (gi_of(g)->compute) return NVML_ERROR_INSUFFICIENT_RESOURCES;
	gi_of(g)->compute = id + 1;
	made->handle = (void *)gi_of(g);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlComputeInstanceGetInfo_v2(nvmlComputeInstance_t c, nvmlComputeInstanceInfo_t *info) {
	gi_t *gi = (gi_t *)c.handle;
	memset(info, 0, sizeof *info);
	info->device = handle(&mig_devices[gi - gis]), info->gpuInstance = gi_handle(gi), info->profileId = gi->compute - 1;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlComputeInstanceDestroy(nvmlComputeInstance_t c) {
	((gi_t *)c.handle)->compute = 0;
	return NVML_SUCCESS;
}
