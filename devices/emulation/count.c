/* Counts the instructions that a guest thread executes between two marks: a plugin of qemu's user mode.
 *
 *     cc -O2 -shared -fPIC -DAPI=1 -o count.so count.c        COMPRESS_COUNTS=FILE qemu-aarch64 -plugin count.so ...
 *
 * The guest marks by a system call that no kernel has: syscall(MARK, 1) begins, syscall(MARK, 0) ends and appends a
 * line with the count to FILE. Only the marking thread is counted. A block of translated code counts whole as it is
 * entered; the few that a signal or a fault leaves early count too much, the same in every run.
 *
 * Debian ships no qemu-plugin.h, so what is used of the documented API (qemu, docs/devel/tcg-plugins.rst) is declared
 * here. These functions are alike in API versions 1 to 4; qemu refuses versions that it no longer or not yet knows.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef API
#define API 1
#endif
#define MARK 25454 /* also in runner/counting.py */
#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
typedef struct qemu_plugin_tb block;
extern size_t qemu_plugin_tb_n_insns(const block *tb);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*translated)(plugin_id, block *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(block *tb, void (*entered)(unsigned, void *), int flags, void *data);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id id,
    void (*called)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                   uint64_t));

EXPORT int qemu_plugin_version = API;

/* A guest thread is a thread of qemu's, so a thread's own variables are a guest thread's. */
static __thread uint64_t executed;
static __thread int counting;

static void entered(unsigned cpu, void *instructions) {
    (void)cpu;
    executed += (uintptr_t)instructions;
}

static void translated(plugin_id id, block *tb) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, entered, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb));
}

/* The file is opened anew each time: a descriptor that stays open would be among the guest's, which may close it. */
static void write_down(uint64_t count) {
    const char *path = getenv("COMPRESS_COUNTS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file == NULL) {
        perror("count.so: COMPRESS_COUNTS");
        return;
    }
    fprintf(file, "%llu\n", (unsigned long long)count);
    fclose(file);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t begins, uint64_t b, uint64_t c, uint64_t d,
                   uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    uint64_t count = executed;
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != MARK)
        return;
    if (!begins && counting)
        write_down(count);
    counting = begins != 0;
    executed = 0;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
