using Ublk.Uring;

namespace Ublk.Wire.Transport;

/// <summary>
/// What the input of a connection can do beside <see cref="System.IO.Pipelines.PipeReader"/>: receive payload
/// where it is to lie, without a copy.
/// </summary>
public interface IPayloadInput
{
    /// <summary>
    /// Consumes all of what was read last, in place of advancing, and has what comes next go into memory. On
    /// the connection's thread. Worth it for long payload: what follows it comes in receives of its own.
    /// </summary>
    /// <param name="destination">
    /// Memory of this process, 1 byte or more; the connection's until the answer, whatever that is.
    /// </param>
    /// <returns>Whether it is full; otherwise the peer has said that nothing follows.</returns>
    /// <exception cref="InvalidOperationException">Nothing was read, or the reader was completed.</exception>
    ValueTask<bool> ReceiveAsync(IoBuffer destination);
}
