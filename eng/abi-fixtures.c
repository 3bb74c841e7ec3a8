/*
 * Prints sizes, offsets and constants of the Linux interfaces qublk declares itself, one fact per
 * line; eng/abi-fixtures compiles it against the newest kernel headers and keeps the output.
 *
 * generated.h comes from that script: the structs and constants of io_uring and ublk, taken from
 * the headers. What is listed here is what those headers do not define.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/stat.h>
#include <linux/ublk_cmd.h>

#define SIZE(type) printf("size %s %zu\n", #type, sizeof(struct type));
#define OFFSET(type, member) \
    printf("offset %s.%s %zu\n", #type, #member, offsetof(struct type, member));
#define MEMBER(type, member) \
    OFFSET(type, member) \
    printf("width %s.%s %zu\n", #type, #member, sizeof(((struct type *)0)->member));
#define CONSTANT(name) \
    if ((name) < 0) \
        printf("const %s %lld\n", #name, (long long)(name)); \
    else \
        printf("const %s %llu\n", #name, (unsigned long long)(name));

#include "generated.h"

int main(void)
{
    print_generated();

    SIZE(flock)
    MEMBER(flock, l_type)
    MEMBER(flock, l_whence)
    MEMBER(flock, l_start)
    MEMBER(flock, l_len)
    MEMBER(flock, l_pid)
    SIZE(iovec)
    MEMBER(iovec, iov_base)
    MEMBER(iovec, iov_len)
    SIZE(msghdr)
    MEMBER(msghdr, msg_name)
    MEMBER(msghdr, msg_namelen)
    MEMBER(msghdr, msg_iov)
    MEMBER(msghdr, msg_iovlen)
    MEMBER(msghdr, msg_control)
    MEMBER(msghdr, msg_controllen)
    MEMBER(msghdr, msg_flags)
    SIZE(sockaddr_in)
    MEMBER(sockaddr_in, sin_family)
    MEMBER(sockaddr_in, sin_port)
    MEMBER(sockaddr_in, sin_addr)
    SIZE(sockaddr_in6)
    MEMBER(sockaddr_in6, sin6_family)
    MEMBER(sockaddr_in6, sin6_port)
    MEMBER(sockaddr_in6, sin6_flowinfo)
    MEMBER(sockaddr_in6, sin6_addr)
    MEMBER(sockaddr_in6, sin6_scope_id)
    SIZE(sockaddr_un)
    MEMBER(sockaddr_un, sun_family)
    MEMBER(sockaddr_un, sun_path)

    CONSTANT(AF_INET)
    CONSTANT(AF_INET6)
    CONSTANT(AF_UNIX)
    CONSTANT(AT_EMPTY_PATH)
    CONSTANT(AT_FDCWD)
    CONSTANT(BLKDISCARD)
    CONSTANT(BLKFLSBUF)
    CONSTANT(BLKGETSIZE64)
    CONSTANT(BLKPBSZGET)
    CONSTANT(BLKROGET)
    CONSTANT(BLKSSZGET)
    CONSTANT(BLKZEROOUT)
    CONSTANT(EFD_CLOEXEC)
    CONSTANT(EFD_NONBLOCK)
    CONSTANT(EFD_SEMAPHORE)
    CONSTANT(F_GETFL)
    CONSTANT(F_OFD_GETLK)
    CONSTANT(F_OFD_SETLK)
    CONSTANT(F_OFD_SETLKW)
    CONSTANT(F_RDLCK)
    CONSTANT(F_SETFL)
    CONSTANT(F_UNLCK)
    CONSTANT(F_WRLCK)
    CONSTANT(LOCK_EX)
    CONSTANT(LOCK_NB)
    CONSTANT(LOCK_SH)
    CONSTANT(LOCK_UN)
    CONSTANT(MAP_ANONYMOUS)
    CONSTANT(MAP_POPULATE)
    CONSTANT(MAP_PRIVATE)
    CONSTANT(MAP_SHARED)
    CONSTANT(MCL_CURRENT)
    CONSTANT(MCL_FUTURE)
    CONSTANT(MCL_ONFAULT)
    CONSTANT(MSG_MORE)
    CONSTANT(MSG_NOSIGNAL)
    CONSTANT(MSG_WAITALL)
    CONSTANT(O_ACCMODE)
    CONSTANT(O_CLOEXEC)
    CONSTANT(O_CREAT)
    CONSTANT(O_DIRECT)
    CONSTANT(O_DIRECTORY)
    CONSTANT(O_DSYNC)
    CONSTANT(O_EXCL)
    CONSTANT(O_NONBLOCK)
    CONSTANT(O_RDONLY)
    CONSTANT(O_RDWR)
    CONSTANT(O_TRUNC)
    CONSTANT(O_WRONLY)
    CONSTANT(PROT_READ)
    CONSTANT(PROT_WRITE)
    CONSTANT(PR_GET_IO_FLUSHER)
    CONSTANT(PR_SET_IO_FLUSHER)
    CONSTANT(SOCK_CLOEXEC)
    CONSTANT(SOCK_STREAM)
    CONSTANT(SYS_io_uring_enter)
    CONSTANT(SYS_io_uring_register)
    CONSTANT(SYS_io_uring_setup)
    CONSTANT(SYS_statx)
    return 0;
}
