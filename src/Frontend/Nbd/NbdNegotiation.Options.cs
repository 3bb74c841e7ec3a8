using System.Buffers;
using System.Buffers.Binary;

namespace Ublk.Frontend.Nbd;

/// <content>What each option means ("Option types").</content>
internal sealed partial class NbdNegotiation
{
    /// <summary>Our number for base:allocation. In a list it means nothing and is 0.</summary>
    internal const uint AllocationContextId = 1;

    private const string NoSuchExport = "the client asks for an export that is not there";

    private void Answer(NbdOption option, ReadOnlySpan<byte> data, IBufferWriter<byte> output)
    {
        if (Forbid(option) is { } refusal)
        {
            if (option == NbdOption.ExportName)
            {
                Refuse("an export was asked for when it may not be"); // This option has no error reply.
                return;
            }

            NbdOptionReplies.End(output, option, refusal);
            return;
        }

        switch (option)
        {
            case NbdOption.ExportName:
                AnswerExportName(data, output);
                break;
            case NbdOption.Abort:
                NbdOptionReplies.End(output, option, NbdOptionReply.Ack);
                Stage = NbdNegotiationStage.Ended;
                break;
            case NbdOption.List when data.IsEmpty:
                AnswerList(output);
                break;
            case NbdOption.StartTls when data.IsEmpty:
                AnswerStartTls(output);
                break;
            case NbdOption.Info or NbdOption.Go:
                AnswerInfo(option, data, output);
                break;
            case NbdOption.StructuredReply when data.IsEmpty:
                AnswerStructuredReply(output);
                break;
            case NbdOption.ExtendedHeaders when data.IsEmpty:
                _style = NbdReplyStyle.Extended;
                NbdOptionReplies.End(output, option, NbdOptionReply.Ack);
                break;
            case NbdOption.ListMetaContext or NbdOption.SetMetaContext:
                AnswerMetaContext(option, data, output);
                break;
            case NbdOption.List or NbdOption.StartTls or NbdOption.StructuredReply or
                NbdOption.ExtendedHeaders:
                NbdOptionReplies.End(output, option, NbdOptionReply.Invalid, "this option has no data"u8);
                break;
            default:
                NbdOptionReplies.End(output, option, NbdOptionReply.Unsupported, "unknown option"u8);
                break;
        }
    }

    // What is answered whatever the option says.
    private NbdOptionReply? Forbid(NbdOption option)
    {
        if (option == NbdOption.Abort)
        {
            return null;
        }

        if (IsStopping)
        {
            return NbdOptionReply.Shutdown;
        }

        // Whoever does not speak the fixed newstyle knows one option only.
        if (!_clientFlags.HasFlag(NbdHandshakeFlags.FixedNewstyle) && option != NbdOption.ExportName)
        {
            return NbdOptionReply.Policy;
        }

        bool mustSecure = _options.Tls == NbdTlsPolicy.Required && !_isSecured;
        return mustSecure && option != NbdOption.StartTls ? NbdOptionReply.TlsRequired : null;
    }

    private void AnswerExportName(ReadOnlySpan<byte> name, IBufferWriter<byte> output)
    {
        if (Find(name) is not { } export || _style == NbdReplyStyle.Extended)
        {
            Refuse(_style == NbdReplyStyle.Extended
                ? "extended headers do not go with NBD_OPT_EXPORT_NAME" : NoSuchExport);
            return;
        }

        bool withPadding = !_clientFlags.HasFlag(NbdHandshakeFlags.NoZeroes);
        NbdOptionReplies.ExportName(
            output, export.Target.RefreshSize(), export.FlagsFor(_style), withPadding);
        Agree(export, _style);
    }

    private void AnswerList(IBufferWriter<byte> output)
    {
        foreach (NbdExport export in _exports)
        {
            NbdOptionReplies.Server(output, export);
        }

        NbdOptionReplies.End(output, NbdOption.List, NbdOptionReply.Ack);
    }

    private void AnswerStartTls(IBufferWriter<byte> output)
    {
        if (_isSecured || _options.Tls == NbdTlsPolicy.None)
        {
            NbdOptionReplies.End(output, NbdOption.StartTls,
                _isSecured ? NbdOptionReply.Invalid : NbdOptionReply.Policy);
            return;
        }

        NbdOptionReplies.End(output, NbdOption.StartTls, NbdOptionReply.Ack);
        Stage = NbdNegotiationStage.Securing;
    }

    private void AnswerStructuredReply(IBufferWriter<byte> output)
    {
        if (_style == NbdReplyStyle.Extended)
        {
            NbdOptionReplies.End(
                output, NbdOption.StructuredReply, NbdOptionReply.ExtendedHeadersRequired);
            return;
        }

        _style = NbdReplyStyle.Structured;
        NbdOptionReplies.End(output, NbdOption.StructuredReply, NbdOptionReply.Ack);
    }

    // Data: 32 bits length of the name, the name, 16 bits number of requests, 16 bits each.
    private void AnswerInfo(NbdOption option, ReadOnlySpan<byte> data, IBufferWriter<byte> output)
    {
        if (!TryTakeText(ref data, out ReadOnlySpan<byte> name) || data.Length < sizeof(ushort) ||
            data.Length != sizeof(ushort) * (1 + BinaryPrimitives.ReadUInt16BigEndian(data)))
        {
            NbdOptionReplies.End(output, option, NbdOptionReply.Invalid, "the lengths do not fit"u8);
            return;
        }

        if (Find(name) is not { } export)
        {
            NbdOptionReplies.End(output, option, NbdOptionReply.Unknown, "no export has this name"u8);
            return;
        }

        bool knowsBlocks = TellInfo(option, export, data[sizeof(ushort)..], output);
        if (!knowsBlocks && export.Limits.LogicalBlockBytes > DefaultBlockBytes)
        {
            NbdOptionReplies.InfoBlockSize(output, option, export, _options.MaxPayloadBytes);
            NbdOptionReplies.End(output, option, NbdOptionReply.BlockSizeRequired,
                "the export has larger blocks than usual; ask for their size"u8);
            return;
        }

        NbdOptionReplies.InfoExport(output, option, export.Target.RefreshSize(), export.FlagsFor(_style));
        NbdOptionReplies.End(output, option, NbdOptionReply.Ack);
        if (option == NbdOption.Go)
        {
            Agree(export, _style);
        }
    }

    /// <summary>
    /// Sectors: what clients keep to that do not ask. The protocol's own default is 1 byte, but no client in
    /// use that does without asking reads or writes less than a sector; one that does gets EINVAL.
    /// </summary>
    private const int DefaultBlockBytes = 512;

    private bool TellInfo(
        NbdOption option, NbdExport export, ReadOnlySpan<byte> wanted, IBufferWriter<byte> output)
    {
        // A client names each once; one that does not is still told once.
        Span<bool> isTold = stackalloc bool[(int)NbdInfo.BlockSize + 1];
        for (; !wanted.IsEmpty; wanted = wanted[sizeof(ushort)..])
        {
            ushort info = BinaryPrimitives.ReadUInt16BigEndian(wanted);
            if (info >= isTold.Length || isTold[info])
            {
                continue;
            }

            isTold[info] = true;
            switch ((NbdInfo)info)
            {
                case NbdInfo.Name:
                    NbdOptionReplies.InfoText(output, option, NbdInfo.Name, export.NameBytes);
                    break;
                case NbdInfo.Description when !export.DescriptionBytes.IsEmpty:
                    NbdOptionReplies.InfoText(output, option, NbdInfo.Description, export.DescriptionBytes);
                    break;
                case NbdInfo.BlockSize:
                    NbdOptionReplies.InfoBlockSize(output, option, export, _options.MaxPayloadBytes);
                    break;
            }
        }

        return isTold[(int)NbdInfo.BlockSize];
    }

    // Data: 32 bits length of the name, the name, 32 bits number of queries, each with 32 bits of length.
    private void AnswerMetaContext(NbdOption option, ReadOnlySpan<byte> data, IBufferWriter<byte> output)
    {
        bool isSet = option == NbdOption.SetMetaContext;
        _contextExport = isSet ? null : _contextExport; // Also where it fails.
        if (_style == NbdReplyStyle.Simple)
        {
            NbdOptionReplies.End(
                output, option, NbdOptionReply.Invalid, "ask for structured replies first"u8);
            return;
        }

        if (!TryTakeText(ref data, out ReadOnlySpan<byte> name) ||
            !TryFindContext(isSet, data, out bool isWanted))
        {
            NbdOptionReplies.End(output, option, NbdOptionReply.Invalid, "the lengths do not fit"u8);
            return;
        }

        if (Find(name) is not { } export)
        {
            NbdOptionReplies.End(output, option, NbdOptionReply.Unknown, "no export has this name"u8);
            return;
        }

        if (isWanted)
        {
            _contextExport = isSet ? export : _contextExport;
            NbdOptionReplies.MetaContext(
                output, option, isSet ? AllocationContextId : 0, NbdProtocol.AllocationContext);
        }

        NbdOptionReplies.End(output, option, NbdOptionReply.Ack);
    }

    // Queries for other contexts are not ours and say nothing. None at all asks a list for everything.
    private static bool TryFindContext(bool isSet, ReadOnlySpan<byte> data, out bool isWanted)
    {
        isWanted = false;
        if (data.Length < sizeof(uint))
        {
            return false;
        }

        uint count = BinaryPrimitives.ReadUInt32BigEndian(data);
        data = data[sizeof(uint)..];
        isWanted = count == 0 && !isSet;
        for (; count > 0; count--)
        {
            if (!TryTakeText(ref data, out ReadOnlySpan<byte> query))
            {
                return false;
            }

            isWanted |= query.SequenceEqual(NbdProtocol.AllocationContext) ||
                (!isSet && query.SequenceEqual(NbdProtocol.BaseContexts));
        }

        return data.IsEmpty;
    }

    private static bool TryTakeText(ref ReadOnlySpan<byte> data, out ReadOnlySpan<byte> text)
    {
        text = default;
        if (data.Length < sizeof(uint))
        {
            return false;
        }

        uint length = BinaryPrimitives.ReadUInt32BigEndian(data);
        if (length > NbdProtocol.MaxStringBytes || length > data.Length - sizeof(uint))
        {
            return false;
        }

        text = data.Slice(sizeof(uint), (int)length);
        data = data[(sizeof(uint) + (int)length)..];
        return true;
    }
}
