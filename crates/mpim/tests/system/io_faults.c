// Put in front of the C library's functions by LD_PRELOAD: makes the writing calls on files below $IO_FAULTS_DIR fail while
// the file $IO_FAULTS_CONTROL says "read-only" (writes fail) or "flush fails".
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int fault_is(const char *wanted) {
  const char *control = getenv("IO_FAULTS_CONTROL");
  char text[32] = {0};
  int fd = control ? (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return 0;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  return length > 0 && strncmp(text, wanted, strlen(wanted)) == 0;
}

static int concerned(int fd) {
  const char *dir = getenv("IO_FAULTS_DIR");
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (!dir || length <= 0) return 0;
  path[length] = 0;
  return strncmp(path, dir, strlen(dir)) == 0;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define REFUSE(fd, fault, error) \
  if (concerned(fd) && fault_is(fault)) { errno = error; return -1; }

ssize_t write(int fd, const void *data, size_t size) {
  REFUSE(fd, "read-only", EROFS)
  return syscall(SYS_write, fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  REFUSE(fd, "read-only", EROFS)
  return NEXT(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  REFUSE(fd, "read-only", EROFS)
  return NEXT(pwrite64)(fd, data, size, at);
}
int ftruncate(int fd, off_t size) {
  REFUSE(fd, "read-only", EROFS)
  return NEXT(ftruncate)(fd, size);
}
int ftruncate64(int fd, off64_t size) {
  REFUSE(fd, "read-only", EROFS)
  return NEXT(ftruncate64)(fd, size);
}
int fsync(int fd) {
  REFUSE(fd, "flush fails", EIO)
  return NEXT(fsync)(fd);
}
int fdatasync(int fd) {
  REFUSE(fd, "flush fails", EIO)
  return NEXT(fdatasync)(fd);
}
