/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 *
 * A client of the allocator with nothing of Berth's in it: libgbinder, an implementation of Binder
 * in C that knows neither AOSP's code nor rsbinder's, carries parcels that are put together and taken
 * apart by hand from the AIDL files. What the service understands and what it answers is then the
 * wire format, and not two ends of one library that agree with each other.
 *
 * It prints a line for each step that went as it must, and ends with 1 and a reason at the first that
 * did not.
 */

#include <errno.h>
#include <fcntl.h>
#include <gbinder.h>
#include <inttypes.h>
#include <linux/dma-buf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVICE "vendor.berth.allocator.IAllocator/default"
#define ALLOCATOR "vendor.berth.allocator.IAllocator"
#define SESSION "vendor.berth.allocator.IAllocatorSession"
#define CALLBACK "vendor.berth.allocator.IAllocatorCallback"

/* Transactions count from 1 in the order of an AIDL file's methods. */
enum { IS_SUPPORTED = 2, OPEN_SESSION = 3 };
enum { ALLOCATE = 1, FREE = 4, GET = 5, CLOSE = 12 };

/* IBinder.h of AOSP: B_PACK_CHARS('_','P','N','G') and ('_','N','T','F'). */
enum { PING = GBINDER_FOURCC('_', 'P', 'N', 'G'), INTERFACE = GBINDER_FOURCC('_', 'N', 'T', 'F') };

/* What the AIDL compiler gives a versioned interface beside its methods. */
enum { INTERFACE_VERSION = 1 + 0xfffffe, INTERFACE_HASH = 1 + 0xfffffd };

/* binder/Status.h of AOSP. */
enum { EX_NONE = 0, EX_SERVICE_SPECIFIC = -8 };

/* The AIDL files. */
enum { SHAPE_LINEAR_BYTES = 0, ACCESS_READ_WRITE = 0 };

#define BUFFER_BYTES (1024 * 1024)

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("FAILED: ", stdout);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    exit(1);
}

#define MUST(condition) ((condition) ? (void)0 : fail("%s (line %d)", #condition, __LINE__))

/* Sends a request; the reader stands behind the status of the answer, which must be "no exception". */
static GBinderRemoteReply* call(GBinderClient* client, guint32 code, GBinderLocalRequest* request,
                                GBinderReader* reader) {
    int status = 0;
    gint32 exception = 0;
    GBinderRemoteReply* reply = gbinder_client_transact_sync_reply(client, code, request, &status);
    gbinder_local_request_unref(request);
    if (!reply || status) fail("transaction %u ended with status %d", code, status);
    gbinder_remote_reply_init_reader(reply, reader);
    MUST(gbinder_reader_read_int32(reader, &exception));
    if (exception != EX_NONE) {
        char* message = gbinder_reader_read_string16(reader);
        fail("transaction %u ended with exception %d: %s", code, exception, message);
    }
    return reply;
}

/* Sends a request that must be refused with an error of the service's own; prints it. */
static void refused(GBinderClient* client, guint32 code, GBinderLocalRequest* request,
                    const char* what) {
    int status = 0;
    gint32 exception = 0, trace = 0, error = 0;
    GBinderReader reader;
    GBinderRemoteReply* reply = gbinder_client_transact_sync_reply(client, code, request, &status);
    gbinder_local_request_unref(request);
    if (!reply || status) fail("transaction %u ended with status %d", code, status);
    gbinder_remote_reply_init_reader(reply, &reader);
    MUST(gbinder_reader_read_int32(&reader, &exception));
    if (exception != EX_SERVICE_SPECIFIC) fail("%s: exception %d", what, exception);
    char* message = gbinder_reader_read_string16(&reader);
    MUST(message);
    MUST(gbinder_reader_read_int32(&reader, &trace) && trace == 0);
    MUST(gbinder_reader_read_int32(&reader, &error));
    printf("%s: error %d: %s\n", what, error, message);
    g_free(message);
    gbinder_remote_reply_unref(reply);
}

/* BufferDescriptor.aidl, for a linear buffer. */
static void append_descriptor(GBinderWriter* writer, gint64 bytes) {
    GBinderWriter descriptor;
    gbinder_writer_start_parcelable(writer, &descriptor);
    gbinder_writer_append_string16(&descriptor, "libgbinder");
    gbinder_writer_append_int32(&descriptor, 1); /* shape: there is one */
    gbinder_writer_append_int32(&descriptor, SHAPE_LINEAR_BYTES);
    gbinder_writer_append_int64(&descriptor, bytes);
    gbinder_writer_append_int64(&descriptor, 0x33); /* usage: CPU_READ_OFTEN, CPU_WRITE_OFTEN */
    gbinder_writer_append_string16(&descriptor, NULL); /* heap */
    gbinder_writer_append_int32(&descriptor, 0);       /* flags */
    gbinder_writer_append_int32(&descriptor, 0);       /* options */
    gbinder_writer_finish_parcelable(&descriptor);
}

static GBinderLocalRequest* allocation(GBinderClient* session, gint64 bytes, gint32 count) {
    GBinderLocalRequest* request = gbinder_client_new_request(session);
    GBinderWriter writer;
    gbinder_local_request_init_writer(request, &writer);
    append_descriptor(&writer, bytes);
    gbinder_writer_append_int32(&writer, count);
    return request;
}

/* A ParcelFileDescriptor that must be there: present, without a second channel, the object. */
static int read_descriptor(GBinderReader* reader) {
    gint32 present = 0, channel = 0;
    MUST(gbinder_reader_read_int32(reader, &present) && present == 1);
    MUST(gbinder_reader_read_int32(reader, &channel) && channel == 0);
    int fd = gbinder_reader_read_dup_fd(reader);
    MUST(fd >= 0);
    return fd;
}

/* Maps the buffer, writes under CPU access and reads it back. */
static void use(int fd) {
    struct dma_buf_sync sync = {.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW};
    MUST(lseek(fd, 0, SEEK_END) == BUFFER_BYTES);
    unsigned char* bytes = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(bytes != MAP_FAILED);
    MUST(ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync) == 0);
    for (size_t i = 0; i < BUFFER_BYTES; i++) MUST(bytes[i] == 0);
    for (size_t i = 0; i < BUFFER_BYTES; i++) bytes[i] = (unsigned char)(i * 7);
    for (size_t i = 0; i < BUFFER_BYTES; i++) MUST(bytes[i] == (unsigned char)(i * 7));
    sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
    MUST(ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync) == 0);
    MUST(munmap(bytes, BUFFER_BYTES) == 0);
}

/* What the kernel says of the descriptor: the exporter's name and the buffer's. */
static void describe(int fd) {
    char path[64], line[256], link[256] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    MUST(readlink(path, link, sizeof link - 1) > 0);
    printf("link: %s\n", link);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE* info = fopen(path, "r");
    MUST(info);
    while (fgets(line, sizeof line, info)) {
        if (!strncmp(line, "exp_name:", 9) || !strncmp(line, "name:", 5)) fputs(line, stdout);
    }
    fclose(info);
}

static GBinderLocalReply* no_notice_is_expected(GBinderLocalObject* object,
                                                GBinderRemoteRequest* request, guint code,
                                                guint flags, int* status, void* data) {
    (void)object, (void)request, (void)flags, (void)data;
    printf("notice %u\n", code);
    *status = GBINDER_STATUS_OK;
    return NULL;
}

static GBinderRemoteObject* find(GBinderServiceManager* manager) {
    int status = 0;
    gboolean listed = FALSE;
    char** services = gbinder_servicemanager_list_sync(manager);
    MUST(services);
    for (char** name = services; *name; name++) listed |= !strcmp(*name, SERVICE);
    g_strfreev(services);
    MUST(listed);
    printf("listed: %s\n", SERVICE);
    GBinderRemoteObject* found = gbinder_servicemanager_get_service_sync(manager, SERVICE, &status);
    MUST(found);
    return gbinder_remote_object_ref(found);
}

static void ping(GBinderClient* allocator) {
    int status = 0;
    GBinderReader reader;
    GBinderRemoteReply* reply =
            gbinder_client_transact_sync_reply(allocator, PING, NULL, &status);
    MUST(reply && status == 0);
    gbinder_remote_reply_unref(reply);
    reply = gbinder_client_transact_sync_reply(allocator, INTERFACE, NULL, &status);
    MUST(reply && status == 0);
    gbinder_remote_reply_init_reader(reply, &reader);
    char* descriptor = gbinder_reader_read_string16(&reader);
    MUST(descriptor && !strcmp(descriptor, ALLOCATOR));
    printf("answers: %s\n", descriptor);
    g_free(descriptor);
    gbinder_remote_reply_unref(reply);
}

static void tell_version(GBinderClient* allocator) {
    GBinderReader reader;
    gint32 version = 0;
    GBinderRemoteReply* reply =
            call(allocator, INTERFACE_VERSION, gbinder_client_new_request(allocator), &reader);
    MUST(gbinder_reader_read_int32(&reader, &version));
    gbinder_remote_reply_unref(reply);
    reply = call(allocator, INTERFACE_HASH, gbinder_client_new_request(allocator), &reader);
    char* hash = gbinder_reader_read_string16(&reader);
    MUST(hash);
    printf("version: %d, hash %s\n", version, hash);
    g_free(hash);
    gbinder_remote_reply_unref(reply);
}

static GBinderRemoteObject* open_session(GBinderServiceManager* manager, GBinderClient* allocator) {
    GBinderReader reader;
    GBinderWriter writer, config;
    GBinderLocalObject* callback =
            gbinder_servicemanager_new_local_object(manager, CALLBACK, no_notice_is_expected, NULL);
    GBinderLocalRequest* request = gbinder_client_new_request(allocator);
    gbinder_local_request_init_writer(request, &writer);
    gbinder_writer_start_parcelable(&writer, &config);
    gbinder_writer_append_string16(&config, "a client in C");
    gbinder_writer_append_int64(&config, 0); /* maxBytes: the service's */
    gbinder_writer_append_int32(&config, 0); /* maxBuffers: the service's */
    gbinder_writer_finish_parcelable(&config);
    gbinder_writer_append_local_object(&writer, callback);
    GBinderRemoteReply* reply = call(allocator, OPEN_SESSION, request, &reader);
    GBinderRemoteObject* session = gbinder_reader_read_object(&reader);
    MUST(session);
    gbinder_remote_reply_unref(reply);
    puts("session: open");
    return session;
}

/* BufferLayout.aidl, of a linear buffer; the heap's name. */
static char* read_layout(GBinderReader* reader) {
    GBinderReader layout;
    gboolean present = FALSE, dma_buf = FALSE;
    gint64 size = 0, allocated = 0;
    gint32 image = -1;
    MUST(gbinder_reader_start_parcelable(reader, &layout, &present) && present);
    MUST(gbinder_reader_read_int64(&layout, &size) && size == BUFFER_BYTES);
    MUST(gbinder_reader_read_int64(&layout, &allocated) && allocated == BUFFER_BYTES);
    char* heap = gbinder_reader_read_string16(&layout);
    MUST(heap);
    MUST(gbinder_reader_read_bool(&layout, &dma_buf) && dma_buf);
    MUST(gbinder_reader_read_int32(&layout, &image) && image == 0);
    gbinder_reader_finish_parcelable(&layout);
    return heap;
}

/* The only buffer of an Allocation.aidl; its id. */
static gint64 read_allocation(GBinderReader* reader, int* fd) {
    GBinderReader answer, buffers;
    gboolean present = FALSE;
    gint64 id = 0;
    gint32 count = 0, flags = 0;
    MUST(gbinder_reader_start_parcelable(reader, &answer, &present) && present);
    char* heap = read_layout(&answer);
    MUST(gbinder_reader_start_parcelable(&answer, &buffers, &present) && present);
    MUST(gbinder_reader_read_int64(&buffers, &id) && id > 0);
    MUST(gbinder_reader_read_int32(&buffers, &count) && count == 1);
    MUST(gbinder_reader_read_int32(&buffers, &flags));
    MUST(gbinder_reader_read_int32(&buffers, &count) && count == 1);
    *fd = read_descriptor(&buffers);
    MUST(gbinder_reader_read_int32(&buffers, &count) && count == 0);
    MUST(gbinder_reader_read_int32(&buffers, &count) && count == 1);
    gbinder_reader_finish_parcelable(&buffers);
    gbinder_reader_finish_parcelable(&answer);
    printf("allocated: buffer %" PRId64 " of heap %s\n", id, heap);
    g_free(heap);
    return id;
}

/* A Buffer.aidl: the id, and the identity that every descriptor of the memory has. */
static void read_buffer(GBinderReader* reader, gint64 expected, int allocated) {
    GBinderReader answer, info, descriptor;
    gboolean present = FALSE;
    gint64 id = 0, device = 0, inode = 0;
    struct stat status;
    MUST(gbinder_reader_start_parcelable(reader, &answer, &present) && present);
    MUST(gbinder_reader_start_parcelable(&answer, &info, &present) && present);
    MUST(gbinder_reader_read_int64(&info, &id) && id == expected);
    MUST(gbinder_reader_start_parcelable(&info, &descriptor, &present) && present);
    gbinder_reader_finish_parcelable(&descriptor);
    g_free(read_layout(&info));
    MUST(gbinder_reader_read_int64(&info, &device));
    MUST(gbinder_reader_read_int64(&info, &inode));
    gbinder_reader_finish_parcelable(&info);
    int fd = read_descriptor(&answer);
    gbinder_reader_finish_parcelable(&answer);
    MUST(fstat(fd, &status) == 0);
    MUST((gint64)status.st_dev == device && (gint64)status.st_ino == inode);
    MUST(fstat(allocated, &status) == 0);
    MUST((gint64)status.st_dev == device && (gint64)status.st_ino == inode);
    MUST(close(fd) == 0);
    puts("got again: of the identity as told");
}

static GBinderLocalRequest* freeing(GBinderClient* session, gint64 id) {
    GBinderWriter writer;
    GBinderLocalRequest* request = gbinder_client_new_request(session);
    gbinder_local_request_init_writer(request, &writer);
    gbinder_writer_append_int32(&writer, 1);
    gbinder_writer_append_int64(&writer, id);
    return request;
}

static GBinderLocalRequest* getting(GBinderClient* session, gint64 id) {
    GBinderWriter writer;
    GBinderLocalRequest* request = gbinder_client_new_request(session);
    gbinder_local_request_init_writer(request, &writer);
    gbinder_writer_append_int64(&writer, id);
    gbinder_writer_append_int32(&writer, ACCESS_READ_WRITE);
    return request;
}

static void work(GBinderClient* allocator, GBinderClient* session) {
    GBinderReader reader;
    GBinderWriter writer;
    gboolean supported = FALSE;
    int fd = -1;

    GBinderLocalRequest* request = gbinder_client_new_request(allocator);
    gbinder_local_request_init_writer(request, &writer);
    append_descriptor(&writer, BUFFER_BYTES);
    GBinderRemoteReply* reply = call(allocator, IS_SUPPORTED, request, &reader);
    MUST(gbinder_reader_read_bool(&reader, &supported) && supported);
    gbinder_remote_reply_unref(reply);

    reply = call(session, ALLOCATE, allocation(session, BUFFER_BYTES, 1), &reader);
    gint64 id = read_allocation(&reader, &fd);
    gbinder_remote_reply_unref(reply);
    reply = call(session, GET, getting(session, id), &reader);
    read_buffer(&reader, id, fd);
    gbinder_remote_reply_unref(reply);
    describe(fd);
    use(fd);
    MUST(close(fd) == 0);
    puts("used: written and read under CPU access");

    refused(session, ALLOCATE, allocation(session, -1, 1), "a size of -1");
    refused(session, ALLOCATE, allocation(session, BUFFER_BYTES, 65), "65 at once");
    gbinder_remote_reply_unref(call(session, FREE, freeing(session, id), &reader));
    puts("freed");
    refused(session, FREE, freeing(session, id), "freed again");
    request = gbinder_client_new_request(session);
    gbinder_remote_reply_unref(call(session, CLOSE, request, &reader));
    puts("session: closed");
}

int main(void) {
    /* The sixth form of Android's service manager, and the third of its transactions' header. */
    GBinderServiceManager* manager = gbinder_servicemanager_new2("/dev/binder", "aidl6", "aidl3");
    MUST(manager && gbinder_servicemanager_wait(manager, 10000));
    GBinderRemoteObject* found = find(manager);
    GBinderClient* allocator = gbinder_client_new(found, ALLOCATOR);
    ping(allocator);
    tell_version(allocator);
    GBinderRemoteObject* opened = open_session(manager, allocator);
    GBinderClient* session = gbinder_client_new(opened, SESSION);
    work(allocator, session);
    gbinder_client_unref(session);
    gbinder_remote_object_unref(opened);
    gbinder_client_unref(allocator);
    gbinder_remote_object_unref(found);
    gbinder_servicemanager_unref(manager);
    return 0;
}
