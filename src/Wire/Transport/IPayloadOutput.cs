using Ublk.Uring;

namespace Ublk.Wire.Transport;

/// <summary>The output of a connection that sends payload from where it lies.</summary>
public interface IPayloadOutput
{
    /// <summary>Sends bytes behind everything written so far, without a copy.</summary>
    /// <param name="payload">Memory; unchanged until the owner hears.</param>
    /// <param name="owner">Hears once, also when the connection ends before.</param>
    void Append(in IoBuffer payload, IPayloadOwner owner);
}

/// <summary>Owns bytes that are being sent.</summary>
public interface IPayloadOwner
{
    /// <summary>The transport does not need the bytes any more.</summary>
    /// <param name="payload">As they were given.</param>
    void OnPayloadSent(in IoBuffer payload);
}
