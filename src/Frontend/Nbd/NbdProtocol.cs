namespace Ublk.Frontend.Nbd;

/// <summary>
/// Numbers of the NBD protocol; every field is in network byte order. Source: doc/proto.md of the nbd
/// project, "Values" and "Message layouts"; what belongs to extended headers is from its branch
/// extension-ext-header.
/// </summary>
internal static class NbdProtocol
{
    /// <summary>First word of the greeting, "NBDMAGIC".</summary>
    public const ulong GreetingMagic = 0x4e42444d41474943;

    /// <summary>Second word of the greeting, and first of every option, "IHAVEOPT".</summary>
    public const ulong OptionMagic = 0x49484156454f5054;

    public const ulong OptionReplyMagic = 0x0003e889045565a9;

    public const uint RequestMagic = 0x25609513;
    public const uint ExtendedRequestMagic = 0x21e41c71;
    public const uint SimpleReplyMagic = 0x67446698;
    public const uint StructuredReplyMagic = 0x668e33ef;
    public const uint ExtendedReplyMagic = 0x6e8a278c;

    /// <summary>Two magic numbers and the handshake flags.</summary>
    public const int GreetingBytes = 8 + 8 + 2;

    public const int ClientFlagsBytes = 4;

    /// <summary>Magic, option, length.</summary>
    public const int OptionHeadBytes = 8 + 4 + 4;

    /// <summary>Magic, option, kind of reply, length.</summary>
    public const int OptionReplyHeadBytes = 8 + 4 + 4 + 4;

    /// <summary>Zeros behind the answer to EXPORT_NAME, unless both sides can do without.</summary>
    public const int ExportNamePaddingBytes = 124;

    /// <summary>Longest name or text in bytes ("Strings").</summary>
    public const int MaxStringBytes = 4096;

    /// <summary>
    /// Payload in bytes up to which no client may be hung up on for its length alone ("Size constraints").
    /// </summary>
    public const int MaxPayloadBytes = 32 << 20;

    /// <summary>The only metadata context: which ranges of an export hold nothing.</summary>
    public static ReadOnlySpan<byte> AllocationContext => "base:allocation"u8;

    /// <summary>The query that asks for every context of its namespace.</summary>
    public static ReadOnlySpan<byte> BaseContexts => "base:"u8;
}

/// <summary>Flags of the greeting; the client answers those it knows.</summary>
[Flags]
internal enum NbdHandshakeFlags : ushort
{
    None = 0,
    FixedNewstyle = 1 << 0,
    NoZeroes = 1 << 1,
}

/// <summary>What an export can do.</summary>
[Flags]
internal enum NbdTransmissionFlags : ushort
{
    None = 0,
    HasFlags = 1 << 0,
    ReadOnly = 1 << 1,
    SendFlush = 1 << 2,
    SendFua = 1 << 3,
    Rotational = 1 << 4,
    SendTrim = 1 << 5,
    SendWriteZeroes = 1 << 6,
    SendDf = 1 << 7,
    CanMultiConn = 1 << 8,
    SendCache = 1 << 10,
    SendFastZero = 1 << 11,
    BlockStatusPayload = 1 << 12,
}

/// <summary>What a client asks for while options are negotiated.</summary>
internal enum NbdOption : uint
{
    None = 0,
    ExportName = 1,
    Abort = 2,
    List = 3,
    StartTls = 5,
    Info = 6,
    Go = 7,
    StructuredReply = 8,
    ListMetaContext = 9,
    SetMetaContext = 10,
    ExtendedHeaders = 11,
}

/// <summary>What an option is answered with.</summary>
internal enum NbdOptionReply : uint
{
    None = 0,
    Ack = 1,
    Server = 2,
    Info = 3,
    MetaContext = 4,
    Unsupported = 0x80000001,
    Policy = 0x80000002,
    Invalid = 0x80000003,
    Platform = 0x80000004,
    TlsRequired = 0x80000005,
    Unknown = 0x80000006,
    Shutdown = 0x80000007,
    BlockSizeRequired = 0x80000008,
    TooBig = 0x80000009,
    ExtendedHeadersRequired = 0x8000000a,
}

/// <summary>Aspects of an export that INFO and GO tell.</summary>
internal enum NbdInfo : ushort
{
    Export = 0,
    Name = 1,
    Description = 2,
    BlockSize = 3,
}

/// <summary>What a request asks for.</summary>
internal enum NbdCommand : ushort
{
    Read = 0,
    Write = 1,
    Disconnect = 2,
    Flush = 3,
    Trim = 4,
    Cache = 5,
    WriteZeroes = 6,
    BlockStatus = 7,
}

/// <summary>How a request is to be done.</summary>
[Flags]
internal enum NbdCommandFlags : ushort
{
    None = 0,
    Fua = 1 << 0,
    NoHole = 1 << 1,
    DontFragment = 1 << 2,
    RequestOne = 1 << 3,
    FastZero = 1 << 4,
    PayloadLength = 1 << 5,
}

/// <summary>Kinds of chunks of structured and extended replies.</summary>
internal enum NbdChunk : ushort
{
    None = 0,
    OffsetData = 1,
    OffsetHole = 2,
    BlockStatus = 5,
    BlockStatusExtended = 6,
    Error = 0x8001,
    ErrorOffset = 0x8002,
}

/// <summary>Errors as clients know them ("Error values").</summary>
internal enum NbdError : uint
{
    None = 0,
    Permission = 1,
    Io = 5,
    Memory = 12,
    Invalid = 22,
    NoSpace = 28,
    Overflow = 75,
    NotSupported = 95,
    Shutdown = 108,
}

/// <summary>What is known of a range in the context base:allocation.</summary>
[Flags]
internal enum NbdExtentFlags : uint
{
    None = 0,
    Hole = 1 << 0,
    Zero = 1 << 1,
}

/// <summary>How requests are answered; negotiated once for a connection.</summary>
internal enum NbdReplyStyle : byte
{
    /// <summary>A number for the outcome, then the bytes of a read.</summary>
    Simple,
    /// <summary>Chunks, each with its kind and length.</summary>
    Structured,
    /// <summary>The same with heads of 32 bytes, and 64 bits for the length of requests.</summary>
    Extended,
}
