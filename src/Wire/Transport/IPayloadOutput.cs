using Ublk.Uring;

namespace Ublk.Wire.Transport;

/// <summary>
/// What the output of a connection can do beside <see cref="System.IO.Pipelines.PipeWriter"/>: send payload
/// from where it lies.
/// </summary>
public interface IPayloadOutput
{
    /// <summary>
    /// Puts payload behind what was written so far; like that, it goes with the next flush. Not copied:
    /// nobody changes the bytes before the owner hears of them. On the connection's thread.
    /// </summary>
    /// <param name="payload">Memory of this process, 1 byte or more.</param>
    /// <param name="owner">Hears once that the bytes are free; at once when the connection has ended.</param>
    /// <exception cref="InvalidOperationException">
    /// The output was completed, or far more was written than <c>FlushAsync</c> asked to wait for.
    /// </exception>
    void Append(in IoBuffer payload, IPayloadOwner owner);
}

/// <summary>Owns payload that a connection sends.</summary>
public interface IPayloadOwner
{
    /// <summary>
    /// The connection has nothing of the payload any more: it was given to the kernel, or the connection
    /// ended before. Said once per <see cref="IPayloadOutput.Append"/>, on the connection's thread.
    /// </summary>
    /// <param name="payload">As appended.</param>
    void OnPayloadSent(in IoBuffer payload);
}
