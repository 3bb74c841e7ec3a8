using Microsoft.AspNetCore.Connections;
using Ublk.Uring.Native;

namespace Ublk.Wire.Transport;

/// <summary>Results of the kernel as the exceptions that users of connections know.</summary>
internal static class TransportErrors
{
    /// <summary>
    /// What a reader or writer sees: <see cref="ConnectionResetException"/> when the peer is gone, else an
    /// <see cref="IOException"/> with the kernel's number.
    /// </summary>
    /// <param name="what">What was tried.</param>
    /// <param name="result">−errno.</param>
    public static IOException Of(string what, int result)
    {
        var error = new SystemCallException(what, result);
        return result is -Errno.ECONNRESET or -Errno.EPIPE
            ? new ConnectionResetException(error.Message, error) : error;
    }
}
