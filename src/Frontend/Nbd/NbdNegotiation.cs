using System.Buffers;
using System.Buffers.Binary;

namespace Ublk.Frontend.Nbd;

/// <summary>Whether clients secure the connection.</summary>
public enum NbdTlsPolicy
{
    /// <summary>They cannot.</summary>
    None,
    /// <summary>They may.</summary>
    Offered,
    /// <summary>Before that they are told nothing.</summary>
    Required,
}

/// <summary>How far a negotiation is.</summary>
internal enum NbdNegotiationStage : byte
{
    /// <summary>The client has not said yet what it understands of the greeting.</summary>
    Greeting,
    /// <summary>The client asks, one option after the other.</summary>
    Options,
    /// <summary>
    /// STARTTLS was granted. What follows is the handshake of TLS; then
    /// <see cref="NbdNegotiation.OnSecured"/>.
    /// </summary>
    Securing,
    /// <summary>An export was chosen: what follows are requests.</summary>
    Agreed,
    /// <summary>The client wants no more, or is to be hung up on.</summary>
    Ended,
}

/// <summary>What came out of a negotiation.</summary>
/// <param name="Export">The export.</param>
/// <param name="Style">How requests come and are answered.</param>
/// <param name="HasContext">Whether BLOCK_STATUS may ask for base:allocation.</param>
internal readonly record struct NbdAgreement(NbdExport Export, NbdReplyStyle Style, bool HasContext);

/// <summary>What a negotiation puts up with.</summary>
internal sealed record NbdNegotiationOptions
{
    /// <summary>Whether clients secure the connection.</summary>
    public NbdTlsPolicy Tls { get; init; }

    /// <summary>Longest read or write in bytes that clients are told of.</summary>
    public int MaxPayloadBytes { get; init; } = NbdProtocol.MaxPayloadBytes;

    /// <summary>Longest data of an option in bytes that is looked at: several of the longest names.</summary>
    public int MaxDataBytes { get; init; } = 4 * NbdProtocol.MaxStringBytes;

    /// <summary>Longest data of an option that is skipped with an error; beyond it the client is hung up on.
    /// </summary>
    public int MaxSkippedBytes { get; init; } = 1 << 20;

    /// <summary>Options after which a client that still chose nothing is hung up on.</summary>
    public int MaxOptions { get; init; } = 1024;
}

/// <summary>
/// The server's side of the fixed newstyle handshake: bytes in, bytes out, and in the end an agreement or
/// none. No sockets, no clock. Takes one message at a time, so that what it answers can be sent before the
/// next.
/// </summary>
internal sealed partial class NbdNegotiation
{
    private const NbdHandshakeFlags Offered = NbdHandshakeFlags.FixedNewstyle | NbdHandshakeFlags.NoZeroes;

    private readonly NbdNegotiationOptions _options;
    private readonly IReadOnlyList<NbdExport> _exports;
    private NbdHandshakeFlags _clientFlags;
    private NbdReplyStyle _style;
    private NbdExport? _contextExport;
    private NbdOption _skippedOption;
    private long _skipBytes;
    private int _optionCount;
    private bool _isSecured;

    /// <summary>Begins with <see cref="Greet"/>.</summary>
    /// <param name="options">What it puts up with.</param>
    /// <param name="exports">What clients may choose from, one or more.</param>
    public NbdNegotiation(NbdNegotiationOptions options, IReadOnlyList<NbdExport> exports)
    {
        _options = options;
        _exports = exports;
    }

    /// <summary>How far it is.</summary>
    public NbdNegotiationStage Stage { get; private set; }

    /// <summary>What was agreed, once the stage says so.</summary>
    public NbdAgreement Agreement { get; private set; }

    /// <summary>Why the client is hung up on; null where it wanted that itself.</summary>
    public string? Complaint { get; private set; }

    /// <summary>The server goes: every further option gets an error.</summary>
    public bool IsStopping { get; set; }

    /// <summary>Says the first word.</summary>
    /// <param name="output">Takes what is to be sent.</param>
    public static void Greet(IBufferWriter<byte> output) => NbdOptionReplies.Greeting(output, Offered);

    /// <summary>
    /// The connection is secure now. Nothing that was said before counts, and options go on without a new
    /// greeting ("NBD_OPT_STARTTLS").
    /// </summary>
    public void OnSecured()
    {
        _isSecured = true;
        _style = NbdReplyStyle.Simple;
        _contextExport = null;
        Stage = NbdNegotiationStage.Options;
    }

    /// <summary>Takes the next message as far as it is there, and answers it.</summary>
    /// <param name="input">What has come and was not taken.</param>
    /// <param name="output">Takes what is to be sent.</param>
    /// <returns>
    /// How many bytes were taken; with 0 and an unchanged stage more have to come first.
    /// </returns>
    public long Take(in ReadOnlySequence<byte> input, IBufferWriter<byte> output)
    {
        if (_skipBytes > 0)
        {
            return Skip(input.Length, output);
        }

        return Stage switch
        {
            NbdNegotiationStage.Greeting => TakeClientFlags(input),
            NbdNegotiationStage.Options => TakeOption(input, output),
            _ => 0,
        };
    }

    private long TakeClientFlags(in ReadOnlySequence<byte> input)
    {
        if (input.Length < NbdProtocol.ClientFlagsBytes)
        {
            return 0;
        }

        Span<byte> bytes = stackalloc byte[NbdProtocol.ClientFlagsBytes];
        input.Slice(0, bytes.Length).CopyTo(bytes);
        uint flags = BinaryPrimitives.ReadUInt32BigEndian(bytes);
        if ((flags & ~(uint)Offered) != 0)
        {
            Refuse($"the client answers the greeting with flags 0x{flags:x}, which were not offered");
            return 0;
        }

        _clientFlags = (NbdHandshakeFlags)flags;
        Stage = NbdNegotiationStage.Options;
        return bytes.Length;
    }

    private long TakeOption(in ReadOnlySequence<byte> input, IBufferWriter<byte> output)
    {
        if (input.Length < NbdProtocol.OptionHeadBytes)
        {
            return 0;
        }

        Span<byte> head = stackalloc byte[NbdProtocol.OptionHeadBytes];
        input.Slice(0, head.Length).CopyTo(head);
        var option = (NbdOption)BinaryPrimitives.ReadUInt32BigEndian(head[8..]);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(head[12..]);
        if (BinaryPrimitives.ReadUInt64BigEndian(head) != NbdProtocol.OptionMagic)
        {
            Refuse("an option does not begin with its magic number");
            return 0;
        }

        if (length > _options.MaxSkippedBytes || _optionCount == _options.MaxOptions)
        {
            Refuse(length > _options.MaxSkippedBytes ? $"an option has {length} bytes of data"
                : $"the client has sent {_optionCount} options and chosen no export");
            return 0;
        }

        if (length > _options.MaxDataBytes)
        {
            _optionCount++;
            _skippedOption = option;
            _skipBytes = length;
            return head.Length;
        }

        if (input.Length < head.Length + length)
        {
            return 0;
        }

        _optionCount++;
        byte[] data = ArrayPool<byte>.Shared.Rent((int)length + 1);
        input.Slice(head.Length, length).CopyTo(data);
        Answer(option, data.AsSpan(0, (int)length), output);
        ArrayPool<byte>.Shared.Return(data);
        return head.Length + length;
    }

    private long Skip(long available, IBufferWriter<byte> output)
    {
        long count = Math.Min(available, _skipBytes);
        _skipBytes -= count;
        if (_skipBytes > 0 || count == 0)
        {
            return count;
        }

        if (_skippedOption == NbdOption.ExportName)
        {
            Refuse("the name of the export is too long");
        }
        else
        {
            NbdOptionReplies.End(output, _skippedOption, NbdOptionReply.TooBig, "too much data"u8);
        }

        return count;
    }

    private void Refuse(string complaint)
    {
        Complaint ??= complaint;
        Stage = NbdNegotiationStage.Ended;
    }

    private void Agree(NbdExport export, NbdReplyStyle style)
    {
        Agreement = new NbdAgreement(export, style, _contextExport == export);
        Stage = NbdNegotiationStage.Agreed;
    }

    // An empty name is the default: the first.
    private NbdExport? Find(ReadOnlySpan<byte> name)
    {
        foreach (NbdExport export in _exports)
        {
            if (export.NameBytes.SequenceEqual(name))
            {
                return export;
            }
        }

        return name.IsEmpty ? _exports[0] : null;
    }
}
