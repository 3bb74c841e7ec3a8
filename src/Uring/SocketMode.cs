using System.Net.Sockets;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>What a socket must be before a ring may use it.</summary>
public static class SocketMode
{
    /// <summary>
    /// Takes the mark O_NONBLOCK from a socket, which the runtime sets with the first asynchronous call. An
    /// entry must wait, not be answered EAGAIN or EINPROGRESS. Sends and receives wait with the mark, too, on
    /// the kernels seen, but connecting does not, and nothing promises it.
    /// </summary>
    /// <param name="socket">The open socket.</param>
    /// <exception cref="SystemCallException">When the kernel refuses.</exception>
    public static void MakeBlocking(SafeSocketHandle socket)
    {
        int fd = RingFile.Of(socket).Number;
        int flags = Libc.Check("fcntl", Libc.FileControl(fd, Libc.GetFlags, 0));
        if ((flags & Libc.NonBlocking) != 0)
        {
            _ = Libc.Check("fcntl", Libc.FileControl(fd, Libc.SetFlags, flags & ~Libc.NonBlocking));
        }
    }
}
