namespace Ublk.Wire.Transport;

/// <summary>Limits of the connections of one loop.</summary>
public sealed record RingTransportOptions
{
    /// <summary>Number of the group of provided buffers, unique in the loop's ring.</summary>
    public ushort BufferGroup { get; init; } = 1;

    /// <summary>
    /// Provided buffers that all connections share, a power of two up to 32768. When all are taken, each
    /// connection goes on with single receives into blocks of its own.
    /// </summary>
    public int BufferCount { get; init; } = 64;

    /// <summary>Size of a provided buffer in bytes; one receive fills at most one.</summary>
    public int BufferBytes { get; init; } = 32 << 10;

    /// <summary>
    /// Buffers, provided or its own, that a connection may hold unread, 2 or more; then it stops receiving
    /// until half of them came back, and its peer has to wait. In bytes this is also the most that a reader
    /// can ask to see at once: one that wants more without consuming anything loses the connection.
    /// </summary>
    public int MaxHeldBuffers { get; init; } = 16;

    /// <summary>Connections at once, with those being made; one more is refused.</summary>
    public int MaxConnections { get; init; } = 1024;

    /// <summary>
    /// Bytes flushed and not sent from which on <c>FlushAsync</c> waits: two of the longest payload.
    /// </summary>
    public int PauseUnsentBytes { get; init; } = 2 << 20;

    /// <summary>Bytes not sent below which a waiting <c>FlushAsync</c> goes on.</summary>
    public int ResumeUnsentBytes { get; init; } = 1 << 20;

    /// <summary>
    /// Parts (payloads, and what is written between them) that may wait to be sent; from half of them on
    /// <c>FlushAsync</c> waits. One more is an error of the writer: it does not wait. Twice what a volume's
    /// window of 4096 operations comes to, which its writer sends without waiting.
    /// </summary>
    public int MaxUnsentParts { get; init; } = 16 << 10;

    /// <summary>Whether no limit contradicts another.</summary>
    internal bool IsSound =>
        MaxHeldBuffers >= 2 && BufferBytes >= 1 && MaxConnections >= 1 &&
        (long)BufferBytes * BufferCount <= 1 << 30 && ResumeUnsentBytes >= 1 &&
        PauseUnsentBytes >= ResumeUnsentBytes && PauseUnsentBytes <= 1 << 30 && MaxUnsentParts >= 4;
}
