using System.Net.Sockets;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>What a socket must be before a ring may use it.</summary>
public static class SocketMode
{
    /// <summary>
    /// Makes a socket wait: of a file with O_NONBLOCK the kernel answers EAGAIN to an entry that would have
    /// to wait, instead of completing it later. The runtime sets the mark with the first asynchronous call.
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
